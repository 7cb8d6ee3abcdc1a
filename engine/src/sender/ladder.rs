//! How large pictures are coded, and how many of them.
//!
//! Why: of a large picture that gets few bits only blocks are left, and the encoder leaves out others to pay for it. A
//! smaller one that gets as many bits looks better even when it is shown large. What "few" is depends on what is filmed,
//! so the ladder watches the quantiser: it says how coarse pictures are, and follows a simple law. Twice the bits take
//! off 4.5 of it, and twice the pixels add 3.5 (`cargo run --release -p undertone-codec --example ladder FILE.y4m`).
//! From a picture's quantiser, bits and size follows how demanding it is, and from that, how coarse it would be in any
//! other size and at any other rate.
//!
//! Not here: the rate (`adapt`), the scaling (`codec::scale`).

use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// What pictures are to keep longest where bits are few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Motion: they become smaller, as faces may.
    #[default]
    Smooth,
    /// Detail: they become fewer, as those of a screen or a page may.
    Clear,
}

/// One way to code pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rung {
    /// Their sides, in eighths of those of the camera's pictures.
    eighths: usize,
    /// One of so many is coded.
    pub(crate) every: u32,
}

impl Rung {
    /// The size for pictures that the camera takes in this size.
    pub(crate) fn size(self, width: usize, height: usize) -> (usize, usize) {
        let side = |side: usize| (side * self.eighths / 8 / 2 * 2).max(SIDE_LEAST.min(side));
        (side(width), side(height))
    }
}

const fn rung(eighths: usize, every: u32) -> Rung {
    Rung { eighths, every }
}

/// On the lowest the encoder leaves out what it cannot pay for.
const SMOOTH: &[Rung] = &[rung(8, 1), rung(6, 1), rung(4, 1), rung(3, 1), rung(2, 1)];
const CLEAR: &[Rung] = &[rung(8, 1), rung(8, 2), rung(8, 3), rung(8, 4), rung(6, 4), rung(4, 4), rung(2, 4)];
const SIDE_LEAST: usize = 16;

/// The quantiser that pictures may have after a step up, and after a step down.
const FINE: i64 = 29 * UNIT;
const GOOD: i64 = 31 * UNIT;
/// They become smaller when it has been above this for a while, and at once above that.
const COARSE: i64 = 34 * UNIT;
const COARSE_FOR: Duration = Duration::from_millis(1_200);
const UNBEARABLE: i64 = 40 * UNIT;
/// A step up costs a key frame, and is worth it only if it lasts. Each time that one did not last, the next waits twice as
/// long.
const FINE_FOR: Duration = Duration::from_millis(1_500);
const FINE_FOR_MOST: Duration = Duration::from_secs(48);
const LASTS: Duration = Duration::from_secs(10);

/// Quantisers and logarithms are counted in sixteenths.
const UNIT: i64 = 16;
/// What the pictures of a call usually demand, as far as is known before the first.
const USUAL_DEMAND: i64 = 30 * UNIT;
/// The demand is the mean of so many pictures.
const PICTURES: i64 = 45;

/// Chooses the rung.
#[derive(Debug)]
pub(crate) struct Ladder {
    prefer: Prefer,
    at: usize,
    demand: i64,
    fine_since: Option<Timestamp>,
    coarse_since: Option<Timestamp>,
    risen: Option<Timestamp>,
    fine_for: Duration,
}

impl Ladder {
    /// At the rung for a first rate, and pictures of so many pixels and so often.
    pub(crate) fn new(prefer: Prefer, rate: Bitrate, pixels: usize, fps: u32) -> Ladder {
        let mut ladder = Ladder {
            prefer,
            at: 0,
            demand: USUAL_DEMAND,
            fine_since: None,
            coarse_since: None,
            risen: None,
            fine_for: FINE_FOR,
        };
        ladder.at = ladder.highest(GOOD, rate, pixels, fps);
        ladder
    }

    /// How pictures are to be coded.
    pub(crate) fn rung(&self) -> Rung {
        self.rungs()[self.at]
    }

    fn rungs(&self) -> &'static [Rung] {
        match self.prefer {
            Prefer::Smooth => SMOOTH,
            Prefer::Clear => CLEAR,
        }
    }

    /// A picture of so many pixels, no key frame, was coded.
    pub(crate) fn on_picture(&mut self, quantiser: u32, size: DataSize, pixels: usize) {
        let demand = i64::from(quantiser) * UNIT - law(size.as_bytes() * 8, pixels);
        self.demand += (demand - self.demand) / PICTURES;
    }

    /// What follows from a rate, for a camera whose pictures have so many pixels and come so often.
    pub(crate) fn adapt(&mut self, now: Timestamp, rate: Bitrate, pixels: usize, fps: u32) {
        let quantiser = self.expected(self.rung(), rate, pixels, fps);
        let lasted = |since: &mut Option<Timestamp>, holds: bool| {
            *since = since.filter(|_| holds).or(holds.then_some(now));
            since.map_or(Duration::ZERO, |since| now.since(since))
        };
        let higher = self.highest(FINE, rate, pixels, fps);
        let fine = lasted(&mut self.fine_since, higher < self.at);
        let coarse = lasted(&mut self.coarse_since, quantiser > COARSE);
        if quantiser > UNBEARABLE || coarse >= COARSE_FOR {
            let lower = self.highest(GOOD, rate, pixels, fps);
            if lower > self.at && self.risen.is_some_and(|risen| now.since(risen) < LASTS) {
                self.fine_for = (self.fine_for * 2).min(FINE_FOR_MOST);
            }
            self.at = lower.max(self.at);
            self.coarse_since = None;
        } else if fine >= self.fine_for {
            self.at = higher;
            self.risen = Some(now);
            self.fine_since = None;
        }
    }

    /// The highest rung whose pictures would be no coarser.
    fn highest(&self, most: i64, rate: Bitrate, pixels: usize, fps: u32) -> usize {
        let rungs = self.rungs();
        let bearable = |rung: &Rung| self.expected(*rung, rate, pixels, fps) <= most;
        rungs.iter().position(bearable).unwrap_or(rungs.len() - 1)
    }

    /// The quantiser of pictures on a rung.
    fn expected(&self, rung: Rung, rate: Bitrate, pixels: usize, fps: u32) -> i64 {
        let pixels = pixels * rung.eighths * rung.eighths / 64;
        // The fewer there are, the more differs from one to the next: half of what they gain.
        let every = (1 + rung.every).div_ceil(2);
        self.demand + law(rate.as_bps() * u64::from(every) / u64::from(fps.max(1)), pixels)
    }
}

/// The quantiser of a picture of so many bits and pixels, apart from how demanding it is.
fn law(bits: u64, pixels: usize) -> i64 {
    (7 * log2(pixels as u64) - 9 * log2(bits)) / 2
}

/// In sixteenths, by straight lines between powers of two.
fn log2(of: u64) -> i64 {
    let of = of.max(1);
    let whole = i64::from(of.ilog2());
    whole * UNIT + ((of << 4 >> whole) as i64 & (UNIT - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: usize = 1280 * 720;

    fn kbps(rate: u64) -> Bitrate {
        Bitrate::from_kbps(rate)
    }

    fn start(prefer: Prefer, rate: u64) -> Ladder {
        Ladder::new(prefer, kbps(rate), HD, 30)
    }

    #[test]
    fn the_start_by_rate() {
        let heights = |prefer| {
            [60, 150, 250, 400, 800, 1_500].map(|rate| {
                let rung = start(prefer, rate).rung();
                (rung.size(1280, 720).1, rung.every)
            })
        };
        assert_eq!(heights(Prefer::Smooth), [(180, 1), (180, 1), (270, 1), (360, 1), (540, 1), (720, 1)]);
        assert_eq!(heights(Prefer::Clear), [(180, 4), (360, 4), (540, 4), (720, 4), (720, 2), (720, 1)]);
    }

    #[test]
    fn odd_sides_become_even() {
        assert_eq!(rung(3, 1).size(638, 358), (238, 134));
        assert_eq!(rung(2, 1).size(48, 32), (16, 16));
    }

    #[test]
    fn what_is_filmed_decides() {
        let mut still = start(Prefer::Smooth, 300);
        let mut wild = start(Prefer::Smooth, 300);
        let at = still.at;
        for n in 0..150u64 {
            let now = Timestamp::from_millis(n * 33);
            still.on_picture(20, DataSize::from_bytes(1_250), 640 * 360);
            wild.on_picture(45, DataSize::from_bytes(1_250), 480 * 270);
            still.adapt(now, kbps(300), HD, 30);
            wild.adapt(now, kbps(300), HD, 30);
        }
        assert!(still.at < at && at < wild.at, "{} {at} {}", still.at, wild.at);
    }

    #[test]
    fn up_in_one_step_and_only_if_it_lasts() {
        let mut ladder = start(Prefer::Smooth, 250);
        let mut heights = Vec::new();
        for ms in (0..6_000).step_by(20) {
            // A rate that jumps to and fro, and then stays.
            let rate = if ms < 3_000 && ms / 700 % 2 == 0 { 250 } else { 2_000 };
            ladder.adapt(Timestamp::from_millis(ms), kbps(rate), HD, 30);
            heights.push(ladder.rung().size(1280, 720).1);
        }
        heights.dedup();
        assert_eq!(heights, [270, 720]);
    }

    #[test]
    fn a_step_up_that_did_not_last_comes_later_next_time() {
        let mut ladder = start(Prefer::Smooth, 300);
        let mut ups = 0;
        for ms in (0..60_000).step_by(20) {
            let before = ladder.at;
            let rate = if ms / 3_000 % 2 == 0 { 300 } else { 1_500 };
            ladder.adapt(Timestamp::from_millis(ms), kbps(rate), HD, 30);
            ups += u32::from(ladder.at < before);
        }
        assert!((1..=2).contains(&ups), "{ups}");
    }
}
