//! Time as a parameter.
//!
//! Why: a machine that reads no clock runs the same in real time under `io` and in virtual time under
//! `sim`. `std::time::Instant` has no zero and cannot be made from a number, so the type is our own.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in time: whole microseconds since the session began. Tests begin at [`Timestamp::ZERO`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The beginning of the session.
    pub const ZERO: Timestamp = Timestamp(0);

    /// A point `micros` microseconds into the session.
    pub const fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros)
    }

    /// A point `millis` milliseconds into the session.
    pub const fn from_millis(millis: u64) -> Timestamp {
        Timestamp(millis * 1000)
    }

    /// Microseconds since the session began.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Seconds since the session began, for reports; decisions stay in whole microseconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Time passed since `earlier`; zero if `earlier` is later, since clocks of two paths may cross.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Signed microseconds from `other` to `self`.
    pub const fn micros_from(self, other: Timestamp) -> i64 {
        self.0 as i64 - other.0 as i64
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(span.as_micros() as u64))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    /// Stops at zero: nothing happens before the session.
    fn sub(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.as_micros() as u64))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
