//! What of a subscriber's streams its link can carry.
//!
//! Why: a link that cannot carry everything queues everything, and then nobody is understood. Audio is
//! always sent; video streams are sent in slot order while they fit the estimate, and paused otherwise.
//!
//! An estimate that has not yet grown is no proof of a narrow link, since it grows only under load. So a
//! video stream begins on trust, is paused only when the link shows congestion, and is tried again after a
//! back-off that doubles with every failed try.
//!
//! Not here: the estimate itself (`transport::bwe`); lower layers of a source, which simulcast brings.

use std::time::Duration;
use undertone_media::{Bitrate, Timestamp};

/// How often the question is asked again.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);
/// First wait before a paused stream is tried again.
const BACKOFF: Duration = Duration::from_secs(4);
/// Longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A stream that survives this long after a try has passed it.
const TRIAL: Duration = Duration::from_secs(8);
/// Share of the estimate that may be overdrawn before a running stream is paused, so that a picture with
/// motion in it does not flap.
const TOLERANCE_PERMILLE: u64 = 1100;

/// What one video slot wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// The source's present rate on the wire; zero if it sends nothing.
    pub(crate) rate: Bitrate,
    /// It is being sent now.
    pub(crate) playing: bool,
}

/// The state of one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Allocator {
    backoff: Duration,
    retry_at: Timestamp,
    /// Since when the last tried stream has been on trial.
    trial: Option<Timestamp>,
}

impl Default for Allocator {
    fn default() -> Allocator {
        Allocator { backoff: BACKOFF, retry_at: Timestamp::ZERO, trial: None }
    }
}

impl Allocator {
    /// Which of the video slots, in order of importance, may play from now on. `audio` is what goes out
    /// beside them; `congested` says that the link has queued or dropped lately.
    pub(crate) fn allocate(
        &mut self,
        now: Timestamp,
        estimate: Bitrate,
        congested: bool,
        audio: Bitrate,
        demands: &[Demand],
    ) -> Vec<bool> {
        if self.trial.is_some_and(|since| now.since(since) >= TRIAL) {
            self.trial = None;
            self.backoff = BACKOFF;
        }
        let mut used = audio;
        let mut full = false;
        let mut play = Vec::with_capacity(demands.len());
        for demand in demands {
            let fits = used + demand.rate <= estimate;
            let bearable = used + demand.rate <= estimate.permille(TOLERANCE_PERMILLE);
            let keep = if demand.playing {
                !full && (bearable || !congested)
            } else {
                // After a pause nothing is known but that it did not fit then.
                !full && (fits && !congested && self.trial.is_none() || now >= self.retry_at && !congested)
            };
            if demand.playing && !keep && !full {
                if self.trial.take().is_some() {
                    self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                }
                self.retry_at = now + self.backoff;
            }
            if keep && !demand.playing {
                self.trial = Some(now);
                // One at a time: the next try waits for this one's outcome.
                self.retry_at = now + TRIAL;
            }
            // What is less important never plays instead of what is more.
            full |= !keep;
            if keep {
                used += demand.rate;
            }
            play.push(keep);
        }
        play
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kbps(kbps: u64) -> Bitrate {
        Bitrate::from_kbps(kbps)
    }

    fn playing(rates: &[u64]) -> Vec<Demand> {
        rates.iter().map(|&rate| Demand { rate: kbps(rate), playing: true }).collect()
    }

    #[test]
    fn video_begins_on_trust_and_stops_when_the_link_says_so() {
        let mut link = Allocator::default();
        let now = Timestamp::from_millis(250);
        let wanted = playing(&[500, 500]);
        assert_eq!(link.allocate(now, kbps(300), false, kbps(30), &wanted), [true, true]);
        assert_eq!(link.allocate(now, kbps(600), true, kbps(30), &wanted), [true, false]);
        assert_eq!(link.allocate(now, kbps(40), true, kbps(30), &wanted), [false, false]);
    }

    #[test]
    fn the_more_important_picture_wins() {
        let mut link = Allocator::default();
        let wanted = playing(&[900, 100]);
        let play = link.allocate(Timestamp::ZERO, kbps(300), true, kbps(30), &wanted);
        assert_eq!(play, [false, false], "a small picture does not play instead of the first");
    }

    #[test]
    fn tries_again_ever_more_rarely() {
        let mut link = Allocator::default();
        let mut is_playing = true;
        let mut tries = vec![];
        for step in 0..400 {
            let now = Timestamp::from_millis(step * 250);
            let demand = [Demand { rate: kbps(500), playing: is_playing }];
            // The link chokes a quarter second after each start.
            let play = link.allocate(now, kbps(100), is_playing, kbps(30), &demand)[0];
            if play && !is_playing {
                tries.push(step * 250 / 1000);
            }
            is_playing = play;
        }
        assert_eq!(tries, [4, 12, 28, 60]);
    }
}
