//! What a thin path carries, from how much longer its large packets take.
//!
//! Why: at 24 kbit/s a hundred bytes take 33 ms. Packets of speech differ by as much, so a handful of them tell the
//! bottleneck's rate before any queue has: delay grows with size by one over the rate. On a wide path the difference drowns
//! in jitter, and nothing is told, which is as well: there a queue costs little to find.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// Packets looked back on.
const MEMORY: Duration = Duration::from_secs(4);
const PACKETS: usize = 40;
/// Packets sent closer together than this are not counted.
const APART: Duration = Duration::from_millis(15);
/// So many must agree, their sizes must differ by so much (standard deviation), and size must explain so much of delay.
const PACKETS_LEAST: usize = 6;
const PACKETS_SURE: usize = 12;
const SPREAD_BYTES: i128 = 12;
const EXPLAINED_PERMILLE: i128 = 800;
/// Above this the slope is too small to trust.
const RATE_MAX: Bitrate = Bitrate::from_kbps(120);

#[derive(Debug, Default)]
pub(super) struct SlopeMeter {
    /// When sent, bytes, and delay in µs from an unknown origin.
    packets: VecDeque<(Timestamp, i128, i128)>,
}

impl SlopeMeter {
    pub(super) fn push(&mut self, sent: Timestamp, size: DataSize, delay: i64) {
        // Packets of one burst wait for each other.
        if self.packets.back().is_some_and(|(before, ..)| sent.since(*before) < APART) {
            return;
        }
        self.packets.push_back((sent, i128::from(size.as_bytes()), i128::from(delay)));
        while self.packets.len() > PACKETS
            || self.packets.front().is_some_and(|(at, ..)| sent.since(*at) > MEMORY)
        {
            self.packets.pop_front();
        }
    }

    /// Sums of squares around the means, times the count: of sizes, of delays, of both; if there are enough packets.
    fn sums(&self) -> Option<(i128, i128, i128)> {
        let count = self.packets.len() as i128;
        if self.packets.len() < PACKETS_LEAST {
            return None;
        }
        let size: i128 = self.packets.iter().map(|it| it.1).sum();
        let delay: i128 = self.packets.iter().map(|it| it.2).sum();
        let (mut sizes, mut delays, mut both) = (0, 0, 0);
        for (_, bytes, micros) in &self.packets {
            let (bytes, micros) = (bytes * count - size, micros * count - delay);
            sizes += bytes * bytes;
            delays += micros * micros;
            both += bytes * micros;
        }
        (sizes / (count * count * count) >= SPREAD_BYTES * SPREAD_BYTES).then_some((sizes, delays, both))
    }

    /// The bottleneck's rate, if it shows: the slope of a line through sizes and delays (least squares).
    pub(super) fn rate(&self) -> Option<Bitrate> {
        let (sizes, delays, both) = self.sums()?;
        if both <= 0
            || both / 1000 * (both / 1000) * 1000 < EXPLAINED_PERMILLE * (sizes / 1000) * (delays / 1000)
        {
            return None;
        }
        // Bytes for a microsecond, in bits for a second.
        let bps = sizes.saturating_mul(8_000_000) / both;
        let rate = Bitrate::from_bps(u64::try_from(bps).ok()?);
        (rate <= RATE_MAX).then_some(rate)
    }

    /// What the path surely carries, at most [`RATE_MAX`]: the slope and what it may be steeper, four standard errors, since a
    /// queue makes delays of one another.
    ///
    /// From each packet to the next: while a queue drains and packets grow, large ones are fast on any path.
    pub(super) fn at_least(&self) -> Option<Bitrate> {
        if self.packets.len() < PACKETS_SURE {
            return None;
        }
        let steps =
            || self.packets.iter().zip(self.packets.iter().skip(1)).map(|(a, b)| (b.1 - a.1, b.2 - a.2));
        let count = self.packets.len() as i128 - 1;
        let sizes: i128 = steps().map(|(bytes, _)| bytes * bytes).sum();
        let both: i128 = steps().map(|(bytes, micros)| bytes * micros).sum();
        // Two packets differ by twice the variance of one.
        if sizes < 2 * count * SPREAD_BYTES * SPREAD_BYTES {
            return None;
        }
        // Microseconds for a mebibyte.
        let slope = (both << 20) / sizes;
        let left: i128 = steps().map(|(bytes, micros)| (micros - ((bytes * slope) >> 20)).pow(2)).sum();
        let error = (((left << 20) / sizes / (count - 1)) << 20).isqrt();
        let steepest = (slope + 4 * error).max(1);
        let bps = (8_000_000i128 << 20) / steepest;
        Some(Bitrate::from_bps(u64::try_from(bps).ok()?).min(RATE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of speech over a link, each `jitter` µs late by turns.
    fn meter(kbps: i64, jitter: i64) -> SlopeMeter {
        let mut meter = SlopeMeter::default();
        for n in 0..20 {
            let bytes = 90 + n * 37 % 80;
            let delay = 500_000 + bytes * 8_000 / kbps + n % 3 * jitter;
            meter.push(Timestamp::from_millis(60 * n as u64), DataSize::from_bytes(bytes as u64), delay);
        }
        meter
    }

    #[test]
    fn a_thin_path_tells_its_rate() {
        for kbps in [8, 16, 24, 48] {
            let rate = meter(kbps, 1000).rate().expect("it shows").as_kbps_f64();
            assert!((rate / kbps as f64 - 1.0).abs() < 0.15, "{kbps} kbit/s: {rate}");
        }
    }

    #[test]
    fn a_path_surely_carries_no_more_than_it_does() {
        for (kbps, jitter) in [(16, 0), (24, 1_000), (24, 10_000), (48, 5_000)] {
            let surely = meter(kbps, jitter).at_least().expect("there are enough").as_kbps_f64();
            assert!(surely <= kbps as f64 * 1.01, "{kbps} kbit/s, jitter {jitter} µs: {surely}");
        }
        assert_eq!(meter(5_000, 0).at_least(), Some(RATE_MAX));
        assert!(meter(5_000, 3_000).at_least() >= Some(Bitrate::from_kbps(40)));
    }

    #[test]
    fn a_queue_that_drains_makes_no_path_wide() {
        let mut meter = SlopeMeter::default();
        for n in 0..30i64 {
            // Packets become longer when it has drained.
            let (bytes, queue) =
                if n < 15 { (180 + n % 4 * 10, 150_000 - n * 10_000) } else { (340 + n % 4 * 10, 0) };
            let sent = Timestamp::from_millis(60 * n as u64);
            meter.push(sent, DataSize::from_bytes(bytes as u64), bytes * 8_000 / 24 + queue);
        }
        let surely = meter.at_least().expect("there are enough").as_kbps_f64();
        assert!(surely <= 25.0, "{surely} of 24 kbit/s");
    }

    #[test]
    fn a_wide_or_restless_path_tells_nothing() {
        assert_eq!(meter(2_000, 0).rate(), None);
        assert_eq!(meter(100, 10_000).rate(), None);
    }

    #[test]
    fn packets_of_one_size_tell_nothing() {
        let mut meter = SlopeMeter::default();
        for n in 0..20 {
            meter.push(Timestamp::from_millis(60 * n), DataSize::from_bytes(100), 1_000 * n as i64);
        }
        assert_eq!(meter.rate(), None);
    }
}
