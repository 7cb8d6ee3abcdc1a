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

/// Sixteenths of a dB above the quietest level (−127 dBov).
type Loudness = i32;

const DB: Loudness = 16;
/// What a speaker must be louder by to pass the one before: 8 dB, beyond what one voice varies by within a
/// sentence.
const MARGIN: Loudness = 8 * DB;
/// A speaker's loudness fades by 15 dB a second once silent: a pause between sentences does not cost the
/// slot, a finished turn does when somebody else speaks.
const FADE_PER_SEC: Loudness = 15 * DB;

/// How loud one source has been lately.
#[derive(Clone, Copy, Debug, Default)]
struct Voice {
    level: Loudness,
    at: Timestamp,
}

impl Voice {
    /// Half the way up per packet, so that one click wins nothing.
    fn hear(&mut self, now: Timestamp, level: u8, voice: bool) {
        let faded = self.loudness(now);
        let heard = if voice { Loudness::from(127u8.saturating_sub(level)) * DB } else { 0 };
        self.level = if heard > faded { faded + (heard - faded) / 2 } else { faded };
        self.at = now;
    }

    fn loudness(&self, now: Timestamp) -> Loudness {
        let millis = now.since(self.at).as_millis().min(60_000) as Loudness;
        (self.level - FADE_PER_SEC * millis / 1000).max(0)
    }
}

/// The speakers of a room, roughly from loud to silent: each stays behind the one before until it is louder
/// by a margin. So every subscriber, however many slots it has, hears the front of one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Speakers {
    ranking: Vec<(SourceId, Voice)>,
}

impl Speakers {
    /// A microphone comes, last.
    pub(crate) fn add(&mut self, source: SourceId) {
        self.ranking.push((source, Voice::default()));
    }

    /// Only these are still there.
    pub(crate) fn retain(&mut self, there: impl Fn(SourceId) -> bool) {
        self.ranking.retain(|&(source, _)| there(source));
    }

    /// A packet of `source` has this level (0 loudest … 127 silent, RFC 6464 §3); `voice` is false for known
    /// noise. Tells the source's new place if it passed others.
    pub(crate) fn hear(&mut self, now: Timestamp, source: SourceId, level: u8, voice: bool) -> Option<usize> {
        let mut place = self.ranking.iter().position(|&(id, _)| id == source)?;
        self.ranking[place].1.hear(now, level, voice);
        let loudness = self.ranking[place].1.loudness(now);
        let start = place;
        while place > 0 && loudness > self.ranking[place - 1].1.loudness(now) + MARGIN {
            self.ranking.swap(place, place - 1);
            place -= 1;
        }
        (place < start).then_some(place)
    }

    /// From loud to silent.
    pub(crate) fn ranking(&self) -> impl Iterator<Item = SourceId> {
        self.ranking.iter().map(|&(source, _)| source)
    }
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
    use std::time::Duration;

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

    /// Everybody speaks for a second at the levels given, from speaker 1 on.
    fn speak(speakers: &mut Speakers, now: &mut Timestamp, levels: &[u8]) {
        for _ in 0..50 {
            *now += Duration::from_millis(20);
            for (at, &level) in levels.iter().enumerate() {
                speakers.hear(*now, SourceId(at as u64 + 1), level, level < 127);
            }
        }
    }

    fn room(count: u64) -> Speakers {
        let mut speakers = Speakers::default();
        (1..=count).for_each(|id| speakers.add(SourceId(id)));
        speakers
    }

    #[test]
    fn the_loudest_come_first_but_not_by_a_cough() {
        let (mut speakers, mut now) = (room(3), Timestamp::ZERO);
        speak(&mut speakers, &mut now, &[50, 47, 20]);
        assert_eq!(speakers.ranking().collect::<Vec<_>>(), ids(&[3, 1, 2]), "2 is only 3 dB above 1");
        // One packet of 2 that is 7 dB louder moves nothing; a loud sentence does.
        assert_eq!(speakers.hear(now, SourceId(2), 40, true), None);
        speak(&mut speakers, &mut now, &[50, 5, 20]);
        assert_eq!(speakers.ranking().collect::<Vec<_>>(), ids(&[2, 3, 1]));
    }

    #[test]
    fn silence_fades_and_noise_is_no_voice() {
        let (mut speakers, mut now) = (room(2), Timestamp::ZERO);
        speak(&mut speakers, &mut now, &[10, 127]);
        // Loud noise of 2 does not pass 1's pause.
        speak(&mut speakers, &mut now, &[127, 127]);
        assert_eq!(speakers.hear(now, SourceId(2), 0, false), None);
        // Her voice does, once his has faded.
        speak(&mut speakers, &mut now, &[127, 127]);
        speak(&mut speakers, &mut now, &[127, 30]);
        assert_eq!(speakers.ranking().collect::<Vec<_>>(), ids(&[2, 1]));
    }
}
