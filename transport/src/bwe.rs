//! How fast to send: an estimate of what the path carries, from delay and loss.

use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// What became of one packet, as feedback told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it was sent.
    pub sent: Timestamp,
    /// Its size on the wire.
    pub size: DataSize,
    /// When it arrived, on the receiver's clock with an unknown offset; `None` if it was lost.
    pub arrival: Option<Timestamp>,
}

/// Why the estimate is what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was heard yet.
    #[default]
    Start,
    /// The path carries all that is sent: more is tried.
    Increase,
    /// The application sends less than the estimate, so more would prove nothing.
    AppLimited,
    /// The path's queue grows, or drains.
    Hold,
    /// The queue grew: less.
    Delay,
    /// Packets were lost to an overflowing queue: less.
    Loss,
    /// No feedback comes.
    Silence,
}

/// The estimator's view, for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Why the estimate last changed, or did not.
    pub reason: Reason,
    /// What arrived lately.
    pub acked: Bitrate,
    /// Standing delay in queues, as far as delay above the least seen shows it.
    pub queue: Duration,
    /// Share of packets lost lately, in thousandths.
    pub loss_permille: u32,
}

/// A congestion controller.
pub trait Cc {
    /// A packet leaves.
    fn on_sent(&mut self, now: Timestamp, size: DataSize);
    /// Feedback tells what became of packets, in the order they were sent.
    fn on_feedback(&mut self, now: Timestamp, outcomes: &[Outcome], rtt: Option<Duration>);
    /// Time passes.
    fn on_tick(&mut self, now: Timestamp);
    /// How much may be sent, everything on the wire counted.
    fn estimate(&self) -> Bitrate;
    /// Why.
    fn state(&self) -> State;
}

/// Settings of a [`DelayLoss`] controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// First estimate. Default 300 kbit/s.
    pub start: Bitrate,
    /// Never less. Default 10 kbit/s.
    pub min: Bitrate,
    /// Never more. Default 5 Mbit/s.
    pub max: Bitrate,
}

impl Default for Config {
    fn default() -> Config {
        Config { start: Bitrate::from_kbps(300), min: Bitrate::from_kbps(10), max: Bitrate::from_kbps(5000) }
    }
}

/// The first controller.
#[derive(Debug)]
pub struct DelayLoss {
    estimate: Bitrate,
}

impl DelayLoss {
    /// At its start rate.
    pub fn new(config: Config) -> DelayLoss {
        DelayLoss { estimate: config.start }
    }
}

impl Cc for DelayLoss {
    fn on_sent(&mut self, _now: Timestamp, _size: DataSize) {}
    fn on_feedback(&mut self, _now: Timestamp, _outcomes: &[Outcome], _rtt: Option<Duration>) {}
    fn on_tick(&mut self, _now: Timestamp) {}
    fn estimate(&self) -> Bitrate {
        self.estimate
    }
    fn state(&self) -> State {
        State::default()
    }
}
