//! The baseline: additive increase, multiplicative decrease.
//!
//! Why: a controller that is as simple as can be tells what another one's complexity is worth. It grows by 40 kbit/s a second, and
//! falls to 85 % of what arrives where packets wait for 50 ms longer than they ever did, or a tenth of them is lost. It takes
//! every loss for congestion and every delay for a queue.

use super::rate::RateMeter;
use super::{Cc, Config, Fate, Outcome, Reason, State};
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// In a second.
const GROWTH: Bitrate = Bitrate::from_kbps(40);
const KEEP_PERMILLE: u64 = 850;
const QUEUE_MICROS: i64 = 50_000;
const LOSS_PERMILLE: u64 = 100;
/// What a cut did shows after so long.
const CUT_EVERY: Duration = Duration::from_millis(300);

/// See the module.
#[derive(Debug)]
pub struct Aimd {
    config: Config,
    estimate: Bitrate,
    acked: RateMeter,
    fastest: Option<i64>,
    queue: i64,
    loss_permille: u64,
    updated: Option<Timestamp>,
    cut: Option<Timestamp>,
    reason: Reason,
}

impl Aimd {
    /// At its start rate.
    pub fn new(config: Config) -> Aimd {
        Aimd {
            estimate: config.start.clamp(config.min, config.max),
            config,
            acked: RateMeter::default(),
            fastest: None,
            queue: 0,
            loss_permille: 0,
            updated: None,
            cut: None,
            reason: Reason::Start,
        }
    }
}

impl Cc for Aimd {
    fn on_sent(&mut self, _now: Timestamp, _size: DataSize) {}

    fn on_feedback(&mut self, now: Timestamp, outcomes: &[Outcome], _rtt: Option<Duration>) {
        let mut lost = 0;
        for outcome in outcomes {
            match outcome.fate {
                Fate::Arrived(arrival) => {
                    let delay = arrival.micros_from(outcome.sent);
                    let fastest = *self.fastest.get_or_insert(delay);
                    self.fastest = Some(fastest.min(delay));
                    self.queue = delay - fastest;
                    self.acked.push(arrival, outcome.size);
                }
                Fate::Lost => lost += 1000,
                Fate::Untold => {}
            }
        }
        let share = lost / outcomes.len().max(1) as u64;
        self.loss_permille = (self.loss_permille * 7 + share) / 8;
        let passed = self.updated.replace(now).map_or(Duration::ZERO, |then| now.since(then));
        let crowded = self.queue > QUEUE_MICROS;
        if !crowded && self.loss_permille < LOSS_PERMILLE {
            let grown = self.estimate + GROWTH * passed.as_micros() as u64 / 1_000_000;
            self.estimate = grown.min(self.config.max);
            self.reason = Reason::Increase;
        } else if self.cut.is_none_or(|cut| now.since(cut) >= CUT_EVERY) {
            self.cut = Some(now);
            let acked = self.acked.over(Duration::from_millis(500));
            self.estimate = acked.permille(KEEP_PERMILLE).min(self.estimate).max(self.config.min);
            self.reason = if crowded { Reason::Delay } else { Reason::Loss };
        }
    }

    fn on_tick(&mut self, _now: Timestamp) {}

    fn estimate(&self) -> Bitrate {
        self.estimate
    }

    fn state(&self) -> State {
        State {
            reason: self.reason,
            acked: self.acked.over(Duration::from_secs(1)),
            queue: Duration::from_micros(self.queue.max(0) as u64),
            loss_permille: self.loss_permille as u32,
            on_trial: false,
            probes: 0,
        }
    }
}
