//! What a radio does to a datagram that it does not lose: waits for its turn, sends again, stands still.
//!
//! Why: on 2G, LTE or Wi-Fi the delay that a jitter buffer fights is hardly ever a uniform draw per packet. It
//! is a block repeated after a fixed time (which holds back all that follow, since the link keeps order), or
//! a hand-over during which everything waits and then comes at once.

use crate::loss::{Draws, Purpose, Share};
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::Timestamp;

/// Transmissions that fail and are made again: hybrid ARQ, acknowledged RLC, Wi-Fi's retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many transmissions fail; draws are independent.
    pub failing: Share,
    /// How much later each further one comes, in milliseconds.
    pub step_ms: u32,
    /// After so many the datagram gets through: what fails for good is the link's `loss`.
    pub most: u32,
}

impl Retry {
    /// What this draw, uniform in 64 bits, adds to a datagram's delay.
    pub(crate) fn delay(&self, draw: u64) -> Duration {
        const ONE: u128 = 1 << 64;
        let mut chance = ONE;
        let mut again = 0;
        while again < self.most {
            chance = chance * u128::from(self.failing.as_ppm()) / u128::from(Share::ALL.as_ppm());
            if u128::from(draw) >= chance {
                break;
            }
            again += 1;
        }
        Duration::from_millis(u64::from(self.step_ms) * u64::from(again))
    }
}

/// Stretches of time in which the link stands still and everything waits: hand-overs, scans of other channels.
/// Nothing is lost by them unless the queue overflows; see `Outage` for stretches that lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// From the end of one to the start of the next, in milliseconds, on average: drawn uniformly from half to
    /// one and a half of it.
    pub every_ms: u32,
    /// Whether the time between is exactly this instead, as under a fixed schedule.
    pub steady: bool,
    /// The shortest, in milliseconds.
    pub least_ms: u32,
    /// The longest, in milliseconds; lengths are drawn uniformly.
    pub most_ms: u32,
}

/// The stalls of one link direction, and the clock that stands still during them.
///
/// The bottleneck runs by *worked* time, in which a stall takes none. So a packet in service when a stall
/// begins goes on after it, and what waits leaves at the rate of the link, as out of a real queue.
#[derive(Clone, Debug)]
pub(crate) struct Stalls {
    draws: Draws,
    stall: Option<Stall>,
    /// Start and end in microseconds, those that are not over yet or were not when last looked at.
    known: VecDeque<(u64, u64)>,
    /// When the latest drawn one is over.
    drawn_until: u64,
    /// Sum of those that are over and forgotten.
    stood: u64,
}

impl Stalls {
    pub(crate) fn new(seed: u64, direction: u64, stall: Option<Stall>) -> Stalls {
        let draws = Draws::new(seed, direction, Purpose::Stall);
        Stalls { draws, stall, known: VecDeque::new(), drawn_until: 0, stood: 0 }
    }

    fn draw(&mut self, stall: Stall) {
        let micros = |ms: u32| u64::from(ms) * 1000;
        let every = micros(stall.every_ms).max(1);
        // A run begins anywhere between two stalls.
        let gap = match (self.drawn_until, stall.steady) {
            (0, _) => self.draws.up_to(every),
            (_, true) => every,
            (_, false) => every / 2 + self.draws.up_to(every),
        };
        let range = micros(stall.most_ms.saturating_sub(stall.least_ms));
        let start = self.drawn_until + gap.max(1);
        self.drawn_until = start + micros(stall.least_ms) + self.draws.up_to(range);
        self.known.push_back((start, self.drawn_until));
    }

    /// Forgets what was over before `now`, which never goes back.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some(&(start, end)) = self.known.front().filter(|&&(_, end)| end <= now.as_micros()) {
            self.stood += end - start;
            self.known.pop_front();
        }
    }

    /// How long the link has worked at `at`, which is not before the latest `advance`.
    pub(crate) fn worked(&mut self, at: Timestamp) -> Timestamp {
        let at = at.as_micros();
        let Some(stall) = self.stall else { return Timestamp::from_micros(at) };
        while self.drawn_until <= at {
            self.draw(stall);
        }
        let stood: u64 =
            self.known.iter().map(|&(start, end)| end.min(at).saturating_sub(start.min(at))).sum();
        Timestamp::from_micros(at.saturating_sub(self.stood + stood))
    }

    /// When the link has worked so long, which is not before the latest `advance`.
    pub(crate) fn when(&mut self, worked: Timestamp) -> Timestamp {
        let mut at = worked.as_micros() + self.stood;
        let Some(stall) = self.stall else { return Timestamp::from_micros(at) };
        let mut next = 0;
        loop {
            let Some(&(start, end)) = self.known.get(next) else {
                self.draw(stall);
                continue;
            };
            if at <= start {
                return Timestamp::from_micros(at);
            }
            at += end - start;
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDOVER: Stall = Stall { every_ms: 500, steady: false, least_ms: 20, most_ms: 90 };

    #[test]
    fn worked_time_stands_still_in_stalls_and_when_is_its_inverse() {
        let mut stalls = Stalls::new(3, 0, Some(HANDOVER));
        let (mut last, mut stood) = (Timestamp::ZERO, 0);
        for ms in 0..20_000 {
            let now = Timestamp::from_millis(ms);
            stalls.advance(now);
            let worked = stalls.worked(now);
            assert!(worked >= last && worked.since(last) <= Duration::from_millis(1), "{now:?}");
            stood += u64::from(worked == last);
            let back = stalls.when(worked);
            assert_eq!(stalls.worked(back), worked, "{now:?}");
            last = worked;
        }
        // 20 s hold about 36 stalls of 55 ms on average.
        assert!((1200..2800).contains(&stood), "{stood} ms");
    }

    #[test]
    fn what_was_forgotten_changes_nothing() {
        let ask = |advancing: bool| {
            let mut stalls = Stalls::new(5, 1, Some(HANDOVER));
            let mut asked = Vec::new();
            for ms in (0..30_000).step_by(7) {
                let now = Timestamp::from_millis(ms);
                if advancing {
                    stalls.advance(now);
                }
                let worked = stalls.worked(now);
                asked.push((worked, stalls.when(worked + Duration::from_millis(3))));
            }
            asked
        };
        assert_eq!(ask(true), ask(false));
    }

    #[test]
    fn steady_stalls_are_equally_far_apart() {
        let mut stalls =
            Stalls::new(1, 0, Some(Stall { every_ms: 15_000, steady: true, least_ms: 30, most_ms: 30 }));
        let _ = stalls.worked(Timestamp::from_millis(100_000));
        let starts: Vec<u64> = stalls.known.iter().map(|&(start, _)| start).collect();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 15_030_000), "{starts:?}");
    }

    #[test]
    fn retries_fail_as_often_as_they_are_told_to_and_end() {
        let retry = Retry { failing: Share::from_percent(10.0), step_ms: 8, most: 3 };
        let mut draws = Draws::new(1, 0, Purpose::Retry);
        let mut counts = [0u32; 4];
        for _ in 0..1_000_000 {
            counts[(retry.delay(draws.next()).as_millis() / 8) as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([900_000.0, 90_000.0, 9_000.0, 1_000.0]) {
            assert!((f64::from(count) / expected - 1.0).abs() < 0.1, "{counts:?}");
        }
        let always = Retry { failing: Share::ALL, step_ms: 5, most: 4 };
        assert_eq!(always.delay(u64::MAX), Duration::from_millis(20));
    }
}
