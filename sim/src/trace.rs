//! Links whose capacity was recorded: mahimahi packet-delivery traces.
//!
//! Format (mahimahi, `mm-link`): a text line holds a whole number of milliseconds, at which one packet of
//! 1504 bytes may leave; equal lines are several packets in that millisecond. Lines do not decrease. At its
//! end the trace starts over, its clock moved on by the last line.
//!
//! An opportunity is 1504 bytes, not a packet: it may carry several small packets or a part of a large one,
//! as long as they wait already; what no packet claims is gone.
//!
//! Not here: reading files (the caller hands in the text).

use std::fmt;
use std::sync::Arc;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// What one delivery opportunity carries.
pub const OPPORTUNITY: DataSize = DataSize::from_bytes(1504);

/// A recorded capacity. Cheap to clone: the recording is shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Trace {
    at_ms: Arc<[u64]>,
}

/// Why a text is no trace. The fault lies in the file that the caller gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceError {
    /// The line, counted from 1, is not a whole number of milliseconds.
    NotANumber(usize),
    /// The line, counted from 1, is earlier than the one before it.
    Decreasing(usize),
    /// There is no line at all.
    Empty,
    /// The last line is 0, so the trace would start over without end in no time.
    NoDuration,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::NotANumber(line) => {
                write!(f, "trace line {line} is not a whole number of milliseconds; give a mahimahi trace")
            }
            TraceError::Decreasing(line) => write!(f, "trace line {line} is earlier than the line before it"),
            TraceError::Empty => write!(f, "the trace has no lines"),
            TraceError::NoDuration => write!(f, "the trace ends at 0 ms; its last line must be later"),
        }
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// Reads the text of a mahimahi trace. Empty lines do not count.
    pub fn parse(text: &str) -> Result<Trace, TraceError> {
        let mut at_ms: Vec<u64> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            // Ten digits are 115 days, and keep every sum below far from overflow.
            let at = line.parse().ok().filter(|&at: &u64| at < 10_000_000_000);
            let at = at.ok_or(TraceError::NotANumber(index + 1))?;
            if at_ms.last().is_some_and(|&last| at < last) {
                return Err(TraceError::Decreasing(index + 1));
            }
            at_ms.push(at);
        }
        match at_ms.last() {
            None => Err(TraceError::Empty),
            Some(0) => Err(TraceError::NoDuration),
            Some(_) => Ok(Trace { at_ms: at_ms.into() }),
        }
    }

    /// The mean capacity over one round.
    pub fn mean_rate(&self) -> Bitrate {
        let bits = self.at_ms.len() as u128 * u128::from(OPPORTUNITY.as_bits());
        Bitrate::from_bps((bits * 1000 / u128::from(self.round_ms())) as u64)
    }

    /// What may leave from `from` on and before `until`.
    pub fn capacity(&self, from: Timestamp, until: Timestamp) -> DataSize {
        let before = |at: Timestamp| {
            at.as_micros().checked_sub(1).map_or(0, |last| self.first_after(Timestamp::from_micros(last)))
        };
        OPPORTUNITY * before(until).saturating_sub(before(from))
    }

    /// After how many milliseconds the trace starts over. At least 1.
    pub fn round_ms(&self) -> u64 {
        self.at_ms.last().map_or(1, |&last| last.max(1))
    }

    /// When opportunity `number` comes; they are counted from 0 through all rounds.
    pub(crate) fn time_of(&self, number: u64) -> Timestamp {
        let len = self.at_ms.len() as u64;
        let in_round = self.at_ms.get((number % len) as usize).copied().unwrap_or_default();
        Timestamp::from_millis((number / len).saturating_mul(self.round_ms()).saturating_add(in_round))
    }

    /// The first opportunity later than `now`: one at `now` has gone, as in mahimahi.
    pub(crate) fn first_after(&self, now: Timestamp) -> u64 {
        let now_ms = now.as_micros() / 1000;
        let (round, in_round) = (now_ms / self.round_ms(), now_ms % self.round_ms());
        let gone = self.at_ms.partition_point(|&at| at <= in_round) as u64;
        round * self.at_ms.len() as u64 + gone
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} opportunities in {} ms)", self.at_ms.len(), self.round_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opportunities_start_over_after_the_last_line() {
        let trace = Trace::parse("0\n4\n4\n10\n").unwrap();
        let times: Vec<u64> = (0..9).map(|n| trace.time_of(n).as_micros() / 1000).collect();
        assert_eq!(times, [0, 4, 4, 10, 10, 14, 14, 20, 20]);
    }

    #[test]
    fn first_after_is_the_inverse_of_time_of() {
        let trace = Trace::parse("1\n4\n4\n10").unwrap();
        for micros in (0..45_000).step_by(250) {
            let now = Timestamp::from_micros(micros);
            let first = trace.first_after(now);
            // Opportunities come at whole milliseconds and are judged against the millisecond of `now`.
            let now_ms = Timestamp::from_millis(micros / 1000);
            assert!(trace.time_of(first) > now_ms, "{now:?}");
            assert!(first == 0 || trace.time_of(first - 1) <= now_ms, "{now:?}");
        }
    }

    #[test]
    fn mean_rate_is_opportunities_over_the_round() {
        assert_eq!(Trace::parse("5\n10").unwrap().mean_rate(), Bitrate::from_bps(2 * 1504 * 8 * 100));
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(Trace::parse("1\nx"), Err(TraceError::NotANumber(2)));
        assert_eq!(Trace::parse("1\n-2"), Err(TraceError::NotANumber(2)));
        assert_eq!(Trace::parse("3\n\n2"), Err(TraceError::Decreasing(3)));
        assert_eq!(Trace::parse("\n\n"), Err(TraceError::Empty));
        assert_eq!(Trace::parse("0\n0"), Err(TraceError::NoDuration));
    }
}
