//! The bottleneck of a link: a drop-tail queue before a fixed rate, or before a recorded one.
//!
//! Why integers in nanoseconds: a 60-byte packet at 100 Mbit/s takes 4.8 µs, and rounding each to a whole
//! microsecond would be a wrong rate. Times turn to microseconds when a packet leaves.
//!
//! A datagram that finds more waiting than the queue holds overflows. The queue is given in milliseconds at
//! the link's rate, so on a fixed rate that is the longest wait; behind a trace the mean rate counts.
//!
//! Rates change at times known in advance, and a queue drains at the rate of the moment: a packet that
//! waits across a change is served by both. A change that comes unannounced leaves the packets that were
//! offered before it at the times they were given.

use crate::trace::{OPPORTUNITY, Trace};
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// One direction's bottleneck, and how far it is booked.
#[derive(Clone, Debug)]
pub(crate) struct Bottleneck {
    /// Holds until the first rate is announced.
    recorded: Option<Recorded>,
    fixed: FixedRate,
}

impl Bottleneck {
    pub(crate) fn fixed(rate: Option<Bitrate>) -> Bottleneck {
        Bottleneck { recorded: None, fixed: FixedRate { rates: vec![(0, rate)], free_at: 0 } }
    }

    pub(crate) fn recorded(trace: Trace) -> Bottleneck {
        let recorded = Recorded { trace, next: 0, left: OPPORTUNITY.as_bytes() };
        Bottleneck { recorded: Some(recorded), fixed: FixedRate { rates: Vec::new(), free_at: 0 } }
    }

    /// When a datagram that is offered now leaves; `None` if the queue is full.
    pub(crate) fn offer(&mut self, now: Timestamp, size: DataSize, queue: Duration) -> Option<Timestamp> {
        if let Some(recorded) = &mut self.recorded {
            if self.fixed.rates.first().is_none_or(|&(from, _)| from > nanos(now)) {
                return recorded.offer(now, size, queue);
            }
            self.fixed.free_at = nanos(recorded.booked_until());
            self.recorded = None;
        }
        self.fixed.offer(now, size, queue)
    }

    /// Announces the rate from `at` on; the last word on one instant counts. A recording ends there.
    pub(crate) fn set_rate(&mut self, at: Timestamp, rate: Option<Bitrate>) {
        let at = nanos(at);
        self.fixed.rates.retain(|&(from, _)| from != at);
        let place = self.fixed.rates.partition_point(|&(from, _)| from < at);
        self.fixed.rates.insert(place, (at, rate));
    }
}

fn nanos(at: Timestamp) -> u64 {
    at.as_micros().saturating_mul(1000)
}

/// Bits × 10⁹, so that rate × nanoseconds needs no division.
fn nanobits(size: DataSize) -> u128 {
    u128::from(size.as_bits()) * 1_000_000_000
}

/// A fixed rate, with the changes of it that are known.
#[derive(Clone, Debug)]
pub(crate) struct FixedRate {
    /// From when which rate holds, in order of time; the first also holds before.
    rates: Vec<(u64, Option<Bitrate>)>,
    /// When the last datagram that was accepted has left.
    free_at: u64,
}

impl FixedRate {
    fn offer(&mut self, now: Timestamp, size: DataSize, queue: Duration) -> Option<Timestamp> {
        let now = nanos(now);
        // Only the rate that holds and those to come matter.
        let past = self.rates.partition_point(|&(from, _)| from <= now);
        self.rates.drain(..past.saturating_sub(1));

        let rate = self.rates.first().and_then(|&(_, rate)| rate);
        if let Some(rate) = rate {
            let holds = u128::from(rate.as_bps()) * queue.as_nanos();
            if self.capacity(now, self.free_at) > holds || rate == Bitrate::ZERO {
                return None;
            }
        }
        self.free_at = self.served(now.max(self.free_at), nanobits(size))?;
        Some(Timestamp::from_micros(self.free_at.div_ceil(1000)))
    }

    /// The stretches of one rate from `from` on: begin, end, rate.
    fn stretches(&self, from: u64) -> impl Iterator<Item = (u64, u64, Option<Bitrate>)> + '_ {
        self.rates.iter().enumerate().filter_map(move |(index, &(begin, rate))| {
            let begin = if index == 0 { 0 } else { begin };
            let end = self.rates.get(index + 1).map_or(u64::MAX, |&(next, _)| next);
            (end > from).then_some((begin.max(from), end, rate))
        })
    }

    /// What the link moves from `from` to `to`. What has no limit books no time, so it counts nothing.
    fn capacity(&self, from: u64, to: u64) -> u128 {
        let stretches = self.stretches(from).take_while(|&(begin, ..)| begin < to);
        stretches
            .map(|(begin, end, rate)| match rate {
                Some(rate) => u128::from(rate.as_bps()) * u128::from(end.min(to) - begin),
                None => 0,
            })
            .sum()
    }

    /// When work that begins at `from` is done; `None` if no rate ever comes.
    fn served(&self, from: u64, mut work: u128) -> Option<u64> {
        for (begin, end, rate) in self.stretches(from) {
            let Some(rate) = rate else { return Some(begin) };
            let rate = u128::from(rate.as_bps());
            let most = rate * u128::from(end - begin);
            if work <= most && rate > 0 {
                return Some(begin + work.div_ceil(rate) as u64);
            }
            work -= most;
        }
        None
    }
}

/// A recorded capacity, and the opportunity that the next datagram begins in.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    trace: Trace,
    next: u64,
    /// Bytes that opportunity `next` still has.
    left: u64,
}

impl Recorded {
    fn offer(&mut self, now: Timestamp, size: DataSize, queue: Duration) -> Option<Timestamp> {
        let whole = OPPORTUNITY.as_bytes();
        let first = self.trace.first_after(now);
        if self.next < first {
            // Nothing waits, and what was left of an earlier opportunity is gone.
            (self.next, self.left) = (first, whole);
        }
        // All capacity between now and the last booked byte is taken, so it is what waits.
        let waiting = (self.next - first + 1) * whole - self.left;
        if DataSize::from_bytes(waiting) > self.trace.mean_rate() * queue {
            return None;
        }
        let mut bytes = size.as_bytes();
        while bytes > self.left {
            bytes -= self.left;
            (self.next, self.left) = (self.next + 1, whole);
        }
        self.left -= bytes;
        Some(self.trace.time_of(self.next))
    }

    /// When the last datagram that was accepted has left; the past if none waits.
    fn booked_until(&self) -> Timestamp {
        match (self.left == OPPORTUNITY.as_bytes(), self.next.checked_sub(1)) {
            (false, _) => self.trace.time_of(self.next),
            (true, Some(before)) => self.trace.time_of(before),
            (true, None) => Timestamp::ZERO,
        }
    }
}
