//! How music is sent, or that a voice is, for now.
//!
//! Why apart from speech: what makes speech survive (long packets, low rates, networks that know voices) does nothing for
//! music. It wants rate, and every packet: lost ones are asked for, or come as copies. Where the path is too thin, or loses
//! so much that neither helps, a voice in its place is worth more than music in shreds; and going to and fro is worse than
//! either, so music comes back only when the path has carried it clearly for a while.

use super::survival::{Channel, ONE};
use super::{COPIES_MAX, Path, Plan, Protection, Reason};
use std::time::Duration;
use undertone_media::{Bitrate, Timestamp};

/// What music takes of a path however wide: above it nobody hears a difference.
pub(crate) const MUSIC_MOST: Bitrate = Bitrate::from_kbps(160);
/// Coded rates: less sounds worse than a voice does, more like the same.
const RATES: (Bitrate, Bitrate) = (Bitrate::from_kbps(32), Bitrate::from_kbps(128));
/// From here on few hear what is missing.
const RATE_GOOD: Bitrate = Bitrate::from_kbps(64);
/// Long packets are for where headers are too dear.
const PACKETS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(40)];
/// So many of a million packets may stay lost.
const LEFT_MOST: u64 = 15 * ONE / 1000;
/// From mouth to ear, repairs apart: where it takes longer, what is asked for comes too late.
const ASKED_WITHIN: Duration = Duration::from_millis(120);
/// Music comes back if so much of the path, in thousandths, carries it…
const CLEARLY_PERMILLE: u64 = 800;
/// …for so long; each time that it did not last, for twice as long.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_MOST: Duration = Duration::from_secs(40);
/// Music that lasted so long has lasted.
const LASTING: Duration = Duration::from_secs(20);

/// How to send music on this path, with the fewest copies and the shortest packets that do; or why that cannot be:
/// [`Reason::Scarce`] or [`Reason::Torn`].
pub fn plan(path: &Path) -> Result<Plan, Reason> {
    let mut scarce = false;
    for packet in PACKETS {
        let channel = Channel::new(path.loss, packet);
        let copies_most = if path.peer.copies { COPIES_MAX } else { 0 };
        for copies in 0..=copies_most {
            let left = if copies == 0 { unrequited(path, &channel) } else { channel.dark(copies) };
            if left > LEFT_MOST {
                continue;
            }
            scarce = true;
            let bare = Plan {
                packet,
                bitrate: Bitrate::ZERO,
                protection: if copies == 0 { Protection::None } else { Protection::Copies(copies as u8) },
                redundancy: None,
                narrowband: false,
                patience: packet * copies as u32,
                reason: Reason::Ample,
            };
            let room = path.budget.saturating_sub(bare.cost(path.overhead)).as_bps();
            // In whole kbit/s, so that a plan is not another one all the time.
            let bitrate = Bitrate::from_kbps(room / (1 + copies as u64) / 1000).min(RATES.1);
            if bitrate >= RATES.0 {
                let reason = match () {
                    () if channel.lost() > 0 => Reason::Lossy,
                    () if packet > PACKETS[0] => Reason::HeadersTooDear,
                    () if bitrate < RATE_GOOD => Reason::Scarce,
                    () => Reason::Ample,
                };
                return Ok(Plan { bitrate, reason, ..bare });
            }
        }
    }
    Err(if scarce { Reason::Scarce } else { Reason::Torn })
}

/// Packets that stay lost where they are asked for again: of those lost, the ones whose request or whose second sending is
/// lost too.
fn unrequited(path: &Path, channel: &Channel) -> u64 {
    let lost = channel.lost();
    let in_time = path.delay.is_some_and(|delay| delay <= ASKED_WITHIN);
    if in_time { lost * 2 * lost / ONE } else { lost }
}

/// Keeps to music or to a voice until there is good reason for the other.
#[derive(Clone, Debug)]
pub struct Planner {
    current: Result<Plan, Reason>,
    /// When music came back.
    back: Option<Timestamp>,
    /// Since when the path would carry music clearly, and how long it must.
    clear: Option<Timestamp>,
    wait: Duration,
}

impl Planner {
    /// Begins with what suits `path`.
    pub fn new(path: &Path) -> Planner {
        Planner { current: plan(path), back: None, clear: None, wait: WAIT }
    }

    /// The plan for music, or why a voice is sent.
    pub fn current(&self) -> Result<Plan, Reason> {
        self.current
    }

    /// Reconsiders. What no longer goes is given up at once.
    pub fn update(&mut self, now: Timestamp, path: &Path) -> Result<Plan, Reason> {
        let next = plan(path);
        if self.current.is_ok() {
            if next.is_err() {
                let lasted = self.back.is_none_or(|back| now.since(back) >= LASTING);
                self.wait = if lasted { WAIT } else { (self.wait * 2).min(WAIT_MOST) };
                self.clear = None;
            }
            self.current = next;
            return self.current;
        }
        let part = Path { budget: path.budget.permille(CLEARLY_PERMILLE), ..*path };
        self.clear = plan(&part).is_ok().then_some(self.clear.unwrap_or(now));
        if self.clear.is_some_and(|clear| now.since(clear) >= self.wait) {
            self.back = Some(now);
            self.current = next;
        } else if next.is_err() {
            self.current = next;
        }
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::Peer;
    use crate::adapt::tests::{OVERHEAD, path};

    #[test]
    fn a_plan_costs_no_more_than_its_budget_and_keeps_its_rates() {
        for kbps in 20..200 {
            for permille in [0, 20, 80, 200, 300, 500] {
                let Ok(plan) = plan(&path(kbps, permille)) else { continue };
                assert!(plan.cost(OVERHEAD) <= Bitrate::from_kbps(kbps), "{kbps}, {permille}: {plan:?}");
                assert!((RATES.0..=RATES.1).contains(&plan.bitrate), "{plan:?}");
            }
        }
    }

    #[test]
    fn a_wide_clean_path_has_all_of_it() {
        let plan = plan(&path(160, 0)).unwrap();
        assert_eq!((plan.bitrate, plan.packet, plan.reason), (RATES.1, PACKETS[0], Reason::Ample));
        assert_eq!(plan.protection, Protection::None);
    }

    #[test]
    fn few_losses_are_asked_for_more_are_copied_and_many_are_too_many() {
        let protection = |permille| plan(&path(160, permille)).map(|plan| plan.protection);
        assert_eq!(protection(50), Ok(Protection::None));
        assert_eq!(protection(100), Ok(Protection::Copies(1)));
        assert_eq!(protection(200), Ok(Protection::Copies(2)));
        assert_eq!(protection(500), Err(Reason::Torn));
        // Where asking takes too long, and where the listener reads no copies.
        let far = Path { delay: Some(Duration::from_millis(200)), ..path(160, 50) };
        assert_eq!(plan(&far).unwrap().protection, Protection::Copies(1));
        let bare = Path { peer: Peer::default(), ..path(160, 100) };
        assert_eq!(plan(&bare), Err(Reason::Torn));
    }

    #[test]
    fn thin_paths_have_longer_packets_and_thinner_ones_a_voice() {
        let on = |kbps| plan(&path(kbps, 0));
        assert_eq!(on(50).map(|plan| (plan.packet, plan.reason)), Ok((PACKETS[1], Reason::HeadersTooDear)));
        assert_eq!(on(40), Err(Reason::Scarce));
    }

    #[test]
    fn a_voice_comes_at_once_and_music_when_it_will_last() {
        let (wide, thin) = (path(100, 0), path(30, 0));
        let at = Timestamp::from_millis;
        let mut planner = Planner::new(&wide);
        assert_eq!(planner.update(at(1_000), &thin), Err(Reason::Scarce));
        assert!(planner.update(at(2_000), &wide).is_err());
        assert!(planner.update(at(6_900), &wide).is_err());
        assert!(planner.update(at(7_000), &wide).is_ok(), "clear for five seconds");
        // It did not last: the path has to be clear for longer.
        assert!(planner.update(at(8_000), &thin).is_err());
        assert!(planner.update(at(9_000), &wide).is_err());
        assert!(planner.update(at(15_000), &wide).is_err());
        // Nor does a moment count in which it was not clear.
        assert!(planner.update(at(16_000), &path(45, 0)).is_err());
        assert!(planner.update(at(17_000), &wide).is_err());
        assert!(planner.update(at(26_900), &wide).is_err());
        assert!(planner.update(at(27_000), &wide).is_ok());
        assert!(planner.update(at(60_000), &thin).is_err());
        assert!(planner.update(at(61_000), &wide).is_err());
        assert!(planner.update(at(66_000), &wide).is_ok(), "it had lasted");
    }
}
