//! Tells a publisher how fast its pictures may be.
//!
//! Why: a publisher sees its own link only. Where a subscriber's is narrower, a slower picture is better than
//! none; with one coded picture for all, that is the publisher's to make.
//!
//! Wire: REMB (draft-alvestrand-rmcat-remb-03), which browsers obey beside their own estimate. Not here: what
//! the links carry (`link`), which of them counts (`forward`).

use std::time::Duration;
use undertone_media::{Bitrate, Timestamp};

/// A limit is told again so often, in case it was lost: a publisher may forget one that is not renewed.
const RENEWAL: Duration = Duration::from_secs(1);
/// A change by more than this share is told at once.
const STEP_PERMILLE: u64 = 50;
/// A picture that takes no more than this of its share of a link is far from any limit: an estimate is believed up to twice
/// what it has shown, and some more.
const MODEST_PERMILLE: u64 = 300;
/// By how much a picture may grow at once on a link that has shown a limit, and beyond its share on one that has not.
const GROWTH_PERMILLE: u64 = 1500;
const LEEWAY_PERMILLE: u64 = 1100;
/// Told when there is no limit any more, and how often.
const UNLIMITED: Bitrate = Bitrate::from_kbps(50_000);
const RELEASES: u8 = 3;

/// What a link limits a picture to of which it leaves `share`; `None`: to nothing that matters.
///
/// Where the link has shown a limit, or the picture is paused until it fits, it `must` keep to its share. An estimate that
/// grows under a picture below it soon promises too much, so each step shows first that it is carried.
/// Elsewhere a picture keeps what it has and does not outrun the estimate: on a good uplink it would double before a full
/// queue could tell, and then all of it would have to stop.
pub(crate) fn limit(share: Bitrate, rate: Bitrate, must: bool) -> Option<Bitrate> {
    let modest = share.permille(MODEST_PERMILLE);
    if must {
        return Some(rate.permille(GROWTH_PERMILLE).max(modest).min(share));
    }
    (rate > modest).then(|| share.max(rate.permille(LEEWAY_PERMILLE)))
}

/// What one publisher was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ceiling {
    told: Option<(Bitrate, Timestamp)>,
    /// How often the end of the last limit is still to be told.
    releases: u8,
}

impl Ceiling {
    /// What to tell the publisher now. Ask every quarter of a second.
    pub(crate) fn poll(&mut self, now: Timestamp, limit: Option<Bitrate>) -> Option<Bitrate> {
        let Some(limit) = limit else {
            if self.told.take().is_some() {
                self.releases = RELEASES;
            }
            let releases = self.releases;
            self.releases = releases.saturating_sub(1);
            return (releases > 0).then_some(UNLIMITED);
        };
        if let Some((told, at)) = self.told {
            let step = told.permille(STEP_PERMILLE);
            let near = limit.saturating_sub(told) <= step && told.saturating_sub(limit) <= step;
            if near && now.since(at) < RENEWAL {
                return None;
            }
        }
        self.told = Some((limit, now));
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_what_it_has_and_does_not_outrun_its_share() {
        let kbps = Bitrate::from_kbps;
        assert_eq!(limit(kbps(300), kbps(80), false), None, "far from its share");
        assert_eq!(limit(kbps(300), kbps(200), false), Some(kbps(300)));
        assert_eq!(
            limit(kbps(300), kbps(1_000), false),
            Some(kbps(1_100)),
            "nothing shows that it is too much"
        );
        assert_eq!(limit(kbps(300), kbps(1_000), true), Some(kbps(300)));
        assert_eq!(limit(kbps(900), kbps(400), true), Some(kbps(600)), "the estimate is ahead");
        assert_eq!(limit(kbps(900), kbps(0), true), Some(kbps(270)), "a still picture may begin to move");
    }

    #[test]
    fn changes_are_told_at_once_and_limits_renewed() {
        let mut ceiling = Ceiling::default();
        let kbps = Bitrate::from_kbps;
        let mut told = vec![];
        for step in 0..20 {
            let now = Timestamp::from_millis(step * 250);
            let limit = match step {
                0..2 => None,
                2..6 => Some(kbps(400)),
                6..13 => Some(kbps(300 + step)),
                _ => None,
            };
            told.extend(ceiling.poll(now, limit).map(|rate| (step, rate)));
        }
        let released = (13..16).map(|step| (step, UNLIMITED));
        let expected: Vec<_> =
            [(2, kbps(400)), (6, kbps(306)), (10, kbps(310))].into_iter().chain(released).collect();
        assert_eq!(told, expected);
    }
}
