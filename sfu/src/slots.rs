//! Which sources are in a subscriber's slots.
//!
//! Why: a subscriber negotiates a few receive slots once; in a larger room the sources take turns in them.
//! A source that stays wanted keeps its slot, so that nothing is switched without need.
//! Audio: the loudest speakers by the level that each packet carries (RFC 6464), with hysteresis, so that a
//! cough does not take a slot from a speaker. Video: roster order.
//!
//! Not here: switching packets over (`rewrite`), what the subscriber's link can carry (`allocate`).

use crate::rewrite::SourceId;
use undertone_media::Timestamp;

/// What a challenger must be louder by to take a place from one of the loudest: 8 dB, beyond what one voice
/// varies within a sentence.
const MARGIN: Loudness = 8 * DB;
/// A speaker's loudness fades by 15 dB a second once silent: a second's pause between sentences does not
/// cost the slot, a finished turn does when somebody else speaks.
const FADE_PER_SEC: Loudness = 15 * DB;
const DB: Loudness = 16;

/// Sixteenths of a dB above the quietest level (−127 dBov).
pub(crate) type Loudness = i32;

/// How loud one source has been lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Voice {
    level: Loudness,
    at: Timestamp,
}

impl Voice {
    /// Takes a packet's level (0 loudest … 127 silent, RFC 6464 §3); `voice` is false for known noise.
    /// Half the way up per packet, so that one click wins nothing.
    pub(crate) fn hear(&mut self, now: Timestamp, level: u8, voice: bool) {
        let faded = self.loudness(now);
        let heard = if voice { Loudness::from(127u8.saturating_sub(level)) * DB } else { 0 };
        self.level = if heard > faded { faded + (heard - faded) / 2 } else { faded };
        self.at = now;
    }

    /// Its loudness now.
    pub(crate) fn loudness(&self, now: Timestamp) -> Loudness {
        let millis = now.since(self.at).as_millis().min(60_000) as Loudness;
        (self.level - FADE_PER_SEC * millis / 1000).max(0)
    }
}

/// Picks the `count` loudest of `sources` (in roster order), favouring those `chosen` before. The result
/// is in order of loudness, ties in roster order.
pub(crate) fn loudest(
    now: Timestamp,
    sources: &[(SourceId, Voice)],
    chosen: &[SourceId],
    count: usize,
) -> Vec<SourceId> {
    let mut ranked: Vec<(Loudness, SourceId)> = sources
        .iter()
        .map(|(id, voice)| {
            let favour = if chosen.contains(id) { MARGIN } else { 0 };
            (voice.loudness(now) + favour, *id)
        })
        .collect();
    ranked.sort_by_key(|&(loudness, _)| std::cmp::Reverse(loudness));
    ranked.truncate(count);
    ranked.into_iter().map(|(_, id)| id).collect()
}

/// True if `challenger` is loud enough to take a place from one of the `chosen` (loudness now of each).
pub(crate) fn contends(challenger: Loudness, chosen: impl Iterator<Item = Loudness>) -> bool {
    chosen.min().is_some_and(|quietest| challenger > quietest + MARGIN)
}

/// Puts `wanted` sources (best first) into slots: who is still wanted stays, the rest fill free slots.
pub(crate) fn assign(slots: &[Option<SourceId>], wanted: &[SourceId]) -> Vec<Option<SourceId>> {
    let wanted = &wanted[..wanted.len().min(slots.len())];
    let mut result: Vec<Option<SourceId>> =
        slots.iter().map(|slot| slot.filter(|source| wanted.contains(source))).collect();
    let mut entering = wanted.iter().filter(|source| !slots.contains(&Some(**source)));
    for slot in &mut result {
        if slot.is_none() {
            *slot = entering.next().copied();
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<SourceId> {
        ids.iter().map(|&id| SourceId(id)).collect()
    }

    fn some(ids: &[u64]) -> Vec<Option<SourceId>> {
        ids.iter().map(|&id| (id > 0).then_some(SourceId(id))).collect()
    }

    #[test]
    fn who_stays_wanted_keeps_the_slot() {
        assert_eq!(assign(&some(&[0, 0, 0]), &ids(&[1, 2])), some(&[1, 2, 0]));
        assert_eq!(assign(&some(&[1, 2, 3]), &ids(&[3, 4, 1])), some(&[1, 4, 3]));
        assert_eq!(assign(&some(&[1, 2]), &ids(&[2])), some(&[0, 2]));
        assert_eq!(assign(&some(&[1]), &ids(&[2, 1])), some(&[2]));
        assert_eq!(assign(&some(&[]), &ids(&[2, 1])), some(&[]));
    }

    #[test]
    fn the_loudest_win_but_not_by_a_cough() {
        let mut now = Timestamp::ZERO;
        let (mut anna, mut ben, mut cleo) = (Voice::default(), Voice::default(), Voice::default());
        for _ in 0..50 {
            now += std::time::Duration::from_millis(20);
            anna.hear(now, 20, true);
            ben.hear(now, 25, true);
            cleo.hear(now, 30, true);
        }
        let sources = |cleo| [(SourceId(1), anna), (SourceId(2), ben), (SourceId(3), cleo)];
        let chosen = loudest(now, &sources(cleo), &[], 2);
        assert_eq!(chosen, ids(&[1, 2]));
        // Cleo is now a little louder than Ben: not enough. Then much louder: she takes his place.
        let mut louder = cleo;
        louder.hear(now, 20, true);
        assert_eq!(loudest(now, &sources(louder), &chosen, 2), ids(&[1, 2]));
        assert!(!contends(louder.loudness(now), [anna, ben].iter().map(|v| v.loudness(now))));
        for _ in 0..8 {
            louder.hear(now, 5, true);
        }
        assert!(contends(louder.loudness(now), [anna, ben].iter().map(|v| v.loudness(now))));
        assert_eq!(loudest(now, &sources(louder), &chosen, 2), ids(&[3, 1]));
    }

    #[test]
    fn silence_fades_and_noise_is_no_voice() {
        let mut voice = Voice::default();
        for _ in 0..10 {
            voice.hear(Timestamp::ZERO, 10, true);
        }
        let fresh = voice.loudness(Timestamp::ZERO);
        assert!(voice.loudness(Timestamp::from_millis(2000)) <= fresh - 30 * DB);
        let mut noise = Voice::default();
        noise.hear(Timestamp::ZERO, 0, false);
        assert_eq!(noise.loudness(Timestamp::ZERO), 0);
    }
}
