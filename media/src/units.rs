//! Rates and sizes as integers, since floats differ between processors and would break replay.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};
use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

impl Bitrate {
    /// No bits at all.
    pub const ZERO: Bitrate = Bitrate(0);

    /// So many bits per second.
    pub const fn from_bps(bps: u64) -> Bitrate {
        Bitrate(bps)
    }

    /// So many thousand bits per second.
    pub const fn from_kbps(kbps: u64) -> Bitrate {
        Bitrate(kbps * 1000)
    }

    /// Bits per second.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// Thousand bits per second, for people.
    pub fn as_kbps_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// This rate times a ratio given in thousandths, so that replay needs no floats.
    pub const fn permille(self, permille: u64) -> Bitrate {
        Bitrate(self.0 * permille / 1000)
    }

    /// The rate less `other`, or zero.
    pub const fn saturating_sub(self, other: Bitrate) -> Bitrate {
        Bitrate(self.0.saturating_sub(other.0))
    }
}

/// Bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataSize(u64);

impl DataSize {
    /// Nothing.
    pub const ZERO: DataSize = DataSize(0);

    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> DataSize {
        DataSize(bytes)
    }

    /// Bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// Bits.
    pub const fn as_bits(self) -> u64 {
        self.0 * 8
    }

    /// The mean rate that moves this size in `span`; zero over no time.
    pub fn per(self, span: Duration) -> Bitrate {
        match span.as_micros() {
            0 => Bitrate::ZERO,
            micros => Bitrate((u128::from(self.as_bits()) * 1_000_000 / micros) as u64),
        }
    }

    /// The size less `other`, or zero.
    pub const fn saturating_sub(self, other: DataSize) -> DataSize {
        DataSize(self.0.saturating_sub(other.0))
    }
}

impl Mul<Duration> for Bitrate {
    type Output = DataSize;
    fn mul(self, span: Duration) -> DataSize {
        DataSize((u128::from(self.0) * span.as_micros() / 8_000_000) as u64)
    }
}

#[allow(clippy::suspicious_arithmetic_impl)] // bytes become bits, seconds microseconds
impl Div<Bitrate> for DataSize {
    type Output = Duration;
    /// How long the rate needs for the size, rounded up to a microsecond. A rate of zero needs for ever:
    /// `Duration::MAX`.
    fn div(self, rate: Bitrate) -> Duration {
        match rate.0 {
            0 => Duration::MAX,
            bps => Duration::from_micros(
                (u128::from(self.as_bits()) * 1_000_000).div_ceil(u128::from(bps)) as u64
            ),
        }
    }
}

macro_rules! arithmetic {
    ($unit:ident) => {
        impl Add for $unit {
            type Output = $unit;
            fn add(self, other: $unit) -> $unit {
                $unit(self.0 + other.0)
            }
        }
        impl AddAssign for $unit {
            fn add_assign(&mut self, other: $unit) {
                self.0 += other.0;
            }
        }
        impl Sub for $unit {
            type Output = $unit;
            fn sub(self, other: $unit) -> $unit {
                $unit(self.0 - other.0)
            }
        }
        impl SubAssign for $unit {
            fn sub_assign(&mut self, other: $unit) {
                self.0 -= other.0;
            }
        }
        impl Mul<u64> for $unit {
            type Output = $unit;
            fn mul(self, times: u64) -> $unit {
                $unit(self.0 * times)
            }
        }
        impl Div<u64> for $unit {
            type Output = $unit;
            fn div(self, parts: u64) -> $unit {
                $unit(self.0 / parts)
            }
        }
        impl Sum for $unit {
            fn sum<I: Iterator<Item = $unit>>(all: I) -> $unit {
                $unit(all.map(|one| one.0).sum())
            }
        }
    };
}
arithmetic!(Bitrate);
arithmetic!(DataSize);

impl fmt::Debug for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s", self.as_kbps_f64())
    }
}

impl fmt::Debug for DataSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_times_time_is_size_and_back() {
        let rate = Bitrate::from_kbps(24);
        let size = rate * Duration::from_millis(20);
        assert_eq!(size, DataSize::from_bytes(60));
        assert_eq!(size / rate, Duration::from_millis(20));
        assert_eq!(size.per(Duration::from_millis(20)), rate);
    }

    #[test]
    fn no_rate_takes_for_ever() {
        assert_eq!(DataSize::from_bytes(1) / Bitrate::ZERO, Duration::MAX);
        assert_eq!(DataSize::from_bytes(1).per(Duration::ZERO), Bitrate::ZERO);
    }
}
