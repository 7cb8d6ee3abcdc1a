//! What of a subscriber's streams its link can carry.
//!
//! Why: a link that cannot carry everything queues or drops everything, and then nobody is understood.
//! Audio is always sent; video streams are sent in slot order while they fit the estimate. A publisher is
//! told to be slower first (`ceiling`); what then does not fit is paused.
//!
//! An estimate that has not yet grown is no proof of a narrow link, since it grows only under load. So a
//! video stream begins on trust, and is paused only when the link shows congestion. It is tried again when
//! the estimator takes its alarm back, or after a back-off that doubles with every failed try; a try ends
//! at the first sign of loss, since the sound suffers from it.
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
/// A stream that survives this long after it was resumed has passed.
const TRIAL: Duration = Duration::from_secs(8);
/// More loss than before the trial, in thousandths, that ends it: beyond what chance does to the 150 packets
/// of sound that the estimator remembers.
const TRIAL_LOSS: u32 = 80;
/// Share of the estimate that may be overdrawn before a running stream is paused, so that a picture with
/// motion in it does not flap.
const TOLERANCE_PERMILLE: u64 = 1100;

/// A picture that is not far over the estimate plays on for so long: its publisher has been told to be
/// slower (`ceiling`).
const PATIENCE: Duration = Duration::from_millis(2500);
/// Share of what the link carries that is far over it.
const FAR_PERMILLE: u64 = 1600;

/// What is known of a subscriber's link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// The estimator's.
    pub(crate) estimate: Bitrate,
    /// What arrived lately: the estimate may lie below that while a queue drains.
    pub(crate) acked: Bitrate,
    /// It has queued or dropped lately.
    pub(crate) congested: bool,
    /// It did so just now.
    pub(crate) pressed: bool,
    /// It may be dropping what is above the estimate; only keeping to that will tell.
    pub(crate) losing: bool,
    /// Share of packets lost lately.
    pub(crate) loss_permille: u32,
}

/// What one video slot wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// The source's present rate on the wire; zero if it sends nothing.
    pub(crate) rate: Bitrate,
    /// It is being sent now.
    pub(crate) playing: bool,
}

/// A stream has been resumed, and what comes of it is not yet known.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since: Timestamp,
    loss_permille: u32,
}

/// The state of one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Allocator {
    backoff: Duration,
    retry_at: Timestamp,
    trial: Option<Trial>,
    /// Since when what plays has been over the estimate of a congested link.
    over: Option<Timestamp>,
}

impl Default for Allocator {
    fn default() -> Allocator {
        Allocator { backoff: BACKOFF, retry_at: Timestamp::ZERO, trial: None, over: None }
    }
}

impl Allocator {
    /// A resumed stream is being watched: ask with every report.
    pub(crate) fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Which of the video slots, in order of importance, may play from now on. `audio` is what goes out
    /// beside them.
    pub(crate) fn allocate(
        &mut self,
        now: Timestamp,
        link: Capacity,
        audio: Bitrate,
        demands: &[Demand],
    ) -> Vec<bool> {
        if self.trial.is_some_and(|trial| now.since(trial.since) >= TRIAL) {
            self.trial = None;
            self.backoff = BACKOFF;
        }
        // The stream on trial is the last that plays: what plays before it was there when all was well.
        let failed = self.trial.is_some_and(|trial| link.loss_permille > trial.loss_permille + TRIAL_LOSS);
        let last_playing = demands.iter().rposition(|demand| demand.playing);
        let playing = demands.iter().filter(|demand| demand.playing).map(|demand| demand.rate);
        let wanted = audio + playing.sum();
        if !link.congested || wanted <= link.estimate.permille(TOLERANCE_PERMILLE) {
            self.over = None;
        } else {
            self.over.get_or_insert(now);
        }
        let patient = !link.losing
            && self.over.is_some_and(|since| now.since(since) < PATIENCE)
            && wanted <= link.estimate.max(link.acked).permille(FAR_PERMILLE);
        let mut used = audio;
        let mut full = false;
        let mut play = Vec::with_capacity(demands.len());
        for (at, demand) in demands.iter().enumerate() {
            let fits = used + demand.rate <= link.estimate;
            let bearable = used + demand.rate <= link.estimate.permille(TOLERANCE_PERMILLE);
            let keep = if full {
                // What is less important never plays instead of what is more.
                false
            } else if demand.playing {
                (bearable || !link.congested || patient) && !(failed && last_playing == Some(at))
            } else {
                // One trial at a time: the next waits for its outcome. What fits need not wait until the alarm is
                // forgotten: its publisher has been told to be slower (`ceiling`), and a drained queue is no reason.
                let may = if fits { !link.pressed } else { !link.congested && now >= self.retry_at };
                self.trial.is_none() && may
            };
            if demand.playing && !keep && !full {
                if self.trial.take().is_some() {
                    self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                }
                self.retry_at = now + self.backoff;
            }
            if keep && !demand.playing {
                self.trial = Some(Trial { since: now, loss_permille: link.loss_permille });
            }
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

    fn link(estimate: u64, congested: bool) -> Capacity {
        let estimate = kbps(estimate);
        Capacity { estimate, acked: estimate, congested, pressed: congested, losing: false, loss_permille: 0 }
    }

    fn playing(rates: &[u64]) -> Vec<Demand> {
        rates.iter().map(|&rate| Demand { rate: kbps(rate), playing: true }).collect()
    }

    #[test]
    fn video_begins_on_trust_and_stops_when_the_link_says_so() {
        let mut subscriber = Allocator::default();
        let now = Timestamp::from_millis(250);
        let wanted = playing(&[500, 500]);
        assert_eq!(subscriber.allocate(now, link(300, false), kbps(30), &wanted), [true, true]);
        assert_eq!(subscriber.allocate(now, link(600, true), kbps(30), &wanted), [true, false]);
        assert_eq!(subscriber.allocate(now, link(40, true), kbps(30), &wanted), [false, false]);
    }

    #[test]
    fn the_more_important_picture_wins() {
        let mut subscriber = Allocator::default();
        let wanted = playing(&[900, 100]);
        let play = subscriber.allocate(Timestamp::ZERO, link(300, true), kbps(30), &wanted);
        assert_eq!(play, [false, false], "a small picture does not play instead of the first");
    }

    #[test]
    fn a_false_alarm_costs_little() {
        let mut subscriber = Allocator::default();
        let wanted = playing(&[500]);
        let paused = [Demand { playing: false, ..wanted[0] }];
        let now = Timestamp::from_millis;
        assert_eq!(subscriber.allocate(now(0), link(100, true), kbps(30), &wanted), [false]);
        assert_eq!(subscriber.allocate(now(500), link(100, false), kbps(30), &paused), [false]);
        // The estimator found that the losses had another cause.
        assert_eq!(subscriber.allocate(now(1000), link(600, false), kbps(30), &paused), [true]);
    }

    #[test]
    fn what_fits_again_plays_once_the_queue_has_drained() {
        let mut subscriber = Allocator::default();
        let paused = |rate| [Demand { rate: kbps(rate), playing: false }];
        let now = Timestamp::from_millis;
        assert_eq!(subscriber.allocate(now(0), link(300, true), kbps(30), &playing(&[700])), [false]);
        // The publisher has been told, and is slower.
        assert_eq!(subscriber.allocate(now(250), link(300, true), kbps(30), &paused(200)), [false]);
        let drained = Capacity { pressed: false, ..link(300, true) };
        assert_eq!(subscriber.allocate(now(500), drained, kbps(30), &paused(500)), [false]);
        assert_eq!(subscriber.allocate(now(750), drained, kbps(30), &paused(200)), [true]);
    }

    #[test]
    fn what_the_link_has_just_carried_is_not_far_over_it() {
        let mut subscriber = Allocator::default();
        // The estimate is low so that the queue drains.
        let draining = Capacity { acked: kbps(450), ..link(300, true) };
        assert_eq!(subscriber.allocate(Timestamp::ZERO, draining, kbps(30), &playing(&[600])), [true]);
        let thin = Capacity { acked: kbps(300), ..draining };
        assert_eq!(subscriber.allocate(Timestamp::ZERO, thin, kbps(30), &playing(&[600])), [false]);
    }

    #[test]
    fn tries_again_ever_more_rarely_and_stops_at_the_first_loss() {
        let mut subscriber = Allocator::default();
        let mut is_playing = true;
        let mut tries = vec![];
        for step in 0..400 {
            let now = Timestamp::from_millis(step * 250);
            let demand = [Demand { rate: kbps(500), playing: is_playing }];
            // The link drops a quarter of the packets as soon as the picture is there.
            let loss_permille = if is_playing { 250 } else { 10 };
            let link = Capacity { loss_permille, ..link(100, step == 0) };
            let play = subscriber.allocate(now, link, kbps(30), &demand)[0];
            if play && !is_playing {
                tries.push(step * 250);
            }
            is_playing = play;
        }
        assert_eq!(tries, [4_000, 12_250, 28_500, 60_750]);
    }
}
