//! One direction of an emulated path.
//!
//! Order: loss first, then the bottleneck with its drop-tail queue, then what a radio adds, then delay and
//! jitter. A lost datagram takes no room in the queue; rates count IP and UDP headers, since sizes do.
//!
//! ```text
//! offer ─ loss ─ outage ─┬─ queue ─ rate or trace, stalls ─ grant ─ retries ─ delay + U(0, jitter) ─ Arrives
//!             └ Lost     └ Overflowed
//! ```
//!
//! Not here: duplication and corruption, which UDP paths hardly show.

use crate::loss::{Draws, Loss, Outages, Purpose};
use crate::queue::Bottleneck;
use crate::radio::Stalls;
use crate::trace::Trace;
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Fate, Link, Timestamp};

pub use crate::loss::{Outage, Share};
pub use crate::radio::{Retry, Stall};

/// What one direction of a path does to datagrams. The default does nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Time that every datagram takes, besides queueing. Default none.
    pub delay: Duration,
    /// The most that a datagram takes on top, drawn uniformly from none to this. Default none.
    pub jitter: Duration,
    /// Whether jitter may let a datagram overtake another. Default no: real queues keep order, so one that
    /// would overtake arrives together with the one before it.
    pub reorder: bool,
    /// The share of datagrams that is lost in the long run. Default none.
    pub loss: Share,
    /// How many datagrams in a row a loss takes on average. Default 1: losses are independent, which makes
    /// runs of 1 / (1 − loss) by chance; a smaller value than that means the same.
    pub burst: u32,
    /// Stretches of time in which all is lost, besides `loss`. Default none.
    pub outage: Option<Outage>,
    /// What the link carries a second, headers included. Default `None`: no limit.
    pub rate: Option<Bitrate>,
    /// A recorded capacity, instead of `rate`. Default none.
    pub trace: Option<Trace>,
    /// How much may wait before the bottleneck, in time at its rate (behind a trace: at its mean rate). A
    /// datagram that finds more than this waiting is dropped. Default 300 ms, as RFC 8867 §5 has it.
    pub queue: Duration,
    /// A radio sends at multiples of this time only. Default none: whenever it is free.
    pub grant: Duration,
    /// Transmissions that are made again. Default none.
    pub retry: Option<Retry>,
    /// Stretches of time in which all waits. A `trace` goes on after each where it stood. Default none.
    pub stall: Option<Stall>,
}

impl Default for LinkConfig {
    fn default() -> LinkConfig {
        LinkConfig {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: false,
            loss: Share::ZERO,
            burst: 1,
            outage: None,
            rate: None,
            trace: None,
            queue: Duration::from_millis(300),
            grant: Duration::ZERO,
            retry: None,
            stall: None,
        }
    }
}

/// Something about a link that becomes different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// See [`LinkConfig::loss`].
    Loss(Share),
    /// See [`LinkConfig::burst`].
    Burst(u32),
    /// See [`LinkConfig::outage`]; the link begins in the good state.
    Outage(Option<Outage>),
    /// See [`LinkConfig::rate`]; ends a trace.
    Rate(Option<Bitrate>),
    /// See [`LinkConfig::queue`].
    Queue(Duration),
    /// See [`LinkConfig::delay`].
    Delay(Duration),
    /// See [`LinkConfig::jitter`].
    Jitter(Duration),
    /// See [`LinkConfig::reorder`].
    Reorder(bool),
}

/// What a link has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams offered.
    pub offered: u64,
    /// Of them, those lost by chance or by an outage.
    pub lost: u64,
    /// Of them, those that found the queue full.
    pub overflowed: u64,
    /// What came, or will come, out at the other end.
    pub delivered: DataSize,
}

/// A link that follows a [`LinkConfig`] and, from given times on, changes of it.
#[derive(Clone, Debug)]
pub struct LinkModel {
    loss: Loss,
    outages: Outages,
    bottleneck: Bottleneck,
    queue: Duration,
    delay: Duration,
    jitter: Duration,
    reorder: bool,
    jitter_draws: Draws,
    grant: Duration,
    retry: Option<Retry>,
    retry_draws: Draws,
    stalls: Stalls,
    /// Changes still to come, in order of time.
    changes: VecDeque<(Timestamp, Change)>,
    newest_arrival: Timestamp,
    stats: LinkStats,
}

impl LinkModel {
    /// A link. Each direction of each path of a run has a `direction` of its own, so that their luck
    /// differs: 0 and 1 between two ends, 2k and 2k + 1 up from and down to client k of a server.
    pub fn new(seed: u64, direction: u64, config: &LinkConfig) -> LinkModel {
        LinkModel {
            loss: Loss::new(seed, direction, config.loss, config.burst),
            outages: Outages::new(seed, direction, config.outage),
            bottleneck: match &config.trace {
                Some(trace) => Bottleneck::recorded(trace.clone()),
                None => Bottleneck::fixed(config.rate),
            },
            queue: config.queue,
            delay: config.delay,
            jitter: config.jitter,
            reorder: config.reorder,
            jitter_draws: Draws::new(seed, direction, Purpose::Jitter),
            grant: config.grant,
            retry: config.retry,
            retry_draws: Draws::new(seed, direction, Purpose::Retry),
            stalls: Stalls::new(seed, direction, config.stall),
            changes: VecDeque::new(),
            newest_arrival: Timestamp::ZERO,
            stats: LinkStats::default(),
        }
    }

    /// Changes the link from `at` on: now, or later in the run. What is known in advance should be told in
    /// advance, because a datagram's time of arrival is fixed when it is offered: only a rate that was
    /// announced counts for what is still waiting when it comes.
    pub fn change(&mut self, at: Timestamp, change: Change) {
        if let Change::Rate(rate) = change {
            self.bottleneck.set_rate(self.stalls.worked(at), rate);
        }
        let place = self.changes.partition_point(|&(other, _)| other <= at);
        self.changes.insert(place, (at, change));
    }

    /// What the link has done so far.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    fn apply_due(&mut self, now: Timestamp) {
        while let Some(&(at, change)) = self.changes.front().filter(|&&(at, _)| at <= now) {
            self.changes.pop_front();
            match change {
                Change::Loss(share) => self.loss.set_share(share),
                Change::Burst(packets) => self.loss.set_burst(packets),
                Change::Outage(outage) => self.outages.set(at, outage),
                Change::Queue(queue) => self.queue = queue,
                Change::Delay(delay) => self.delay = delay,
                Change::Jitter(jitter) => self.jitter = jitter,
                Change::Reorder(reorder) => self.reorder = reorder,
                Change::Rate(_) => {} // The bottleneck was told in advance.
            }
        }
    }
}

impl Link for LinkModel {
    fn offer(&mut self, now: Timestamp, size: DataSize) -> Fate {
        self.apply_due(now);
        self.stats.offered += 1;
        // Every packet takes one draw of each kind, whatever its fate: draw n belongs to packet n.
        let lost = self.loss.next_is_lost();
        let jitter = Duration::from_micros(self.jitter_draws.up_to(self.jitter.as_micros() as u64));
        let retry_draw = self.retry_draws.next();
        let retries = self.retry.map_or(Duration::ZERO, |retry| retry.delay(retry_draw));

        if lost || self.outages.is_out(now) {
            self.stats.lost += 1;
            return Fate::Lost;
        }
        self.stalls.advance(now);
        let Some(worked) = self.bottleneck.offer(self.stalls.worked(now), size, self.queue) else {
            self.stats.overflowed += 1;
            return Fate::Overflowed;
        };
        let left = next_grant(self.stalls.when(worked), self.grant);
        let mut arrival = left + retries + self.delay + jitter;
        if !self.reorder {
            arrival = arrival.max(self.newest_arrival);
        }
        self.newest_arrival = self.newest_arrival.max(arrival);
        self.stats.delivered += size;
        Fate::Arrives(arrival)
    }
}

/// The first multiple of `grant` from `at` on; `at` itself without one.
fn next_grant(at: Timestamp, grant: Duration) -> Timestamp {
    match grant.as_micros() as u64 {
        0 => at,
        grant => Timestamp::from_micros(at.as_micros().div_ceil(grant) * grant),
    }
}
