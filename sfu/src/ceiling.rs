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
/// Told when there is no limit any more, and how often.
const UNLIMITED: Bitrate = Bitrate::from_kbps(50_000);
const RELEASES: u8 = 3;

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
