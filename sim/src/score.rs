//! How good a call was.
//!
//! Why: PESQ and its kin need a licence or Python; what every run can say by itself is the E-model (ITU-T
//! G.107), percentiles, how late sound came, and where it was missing.
//!
//! Delay is found by cross-correlation, computed exactly in integers (a number-theoretic transform), so a
//! figure is the same on every processor.
//!
//! Not here: what the engine counts itself (concealment, recovery).

use std::ops::Range;
use std::time::Duration;

/// Mean opinion score by the E-model, simplified as ITU-T G.107 §7 and G.113 allow: R = 93.2 − Id − Ie,eff
/// with Ie = 5 and Bpl = 15 (a wideband codec with concealment) and random loss.
///
/// `delay_ms` is mouth to ear, `loss_percent` what the listener did not get. From 1 (bad) to 4.29.
pub fn mos(delay_ms: f64, loss_percent: f64) -> f64 {
    const IE: f64 = 5.0;
    const BPL: f64 = 15.0;
    let delay_impairment = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let equipment_impairment = IE + (95.0 - IE) * loss_percent / (loss_percent + BPL);
    let r = (93.2 - delay_impairment - equipment_impairment).clamp(0.0, 100.0);
    // The polynomial dips below 1 for R under 6.5, where G.107 Annex B says 1.
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0)
}

/// The value that `percent` % of `values` do not exceed (nearest rank); `None` of nothing.
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Where a sound was found again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// How many samples later it came.
    pub lag: usize,
    /// How alike the two are there: 1 is the same but for loudness, under 0.3 trust nothing.
    pub correlation: f64,
}

/// Finds `sent` in `received`: the lag of 0 to `max_lag` samples at which they are most alike. `None` if
/// one of them is silent or empty.
pub fn find(sent: &[i16], received: &[i16], max_lag: usize) -> Option<Match> {
    let received = &received[..received.len().min(sent.len() + max_lag)];
    let products = correlate(sent, received, max_lag);
    let energy = |samples: &[i16]| samples.iter().map(|&s| i64::from(s) * i64::from(s)).sum::<i64>();
    let sent_energy = energy(sent);
    let mut beside = energy(&received[..received.len().min(sent.len())]);
    let mut best: Option<Match> = None;
    for (lag, &product) in products.iter().enumerate() {
        if product > 0 && beside > 0 {
            let correlation = product as f64 / (sent_energy as f64 * beside as f64).sqrt();
            if best.is_none_or(|best| correlation > best.correlation) {
                best = Some(Match { lag, correlation });
            }
        }
        let at = |index: usize| received.get(index).map_or(0, |&s| i64::from(s) * i64::from(s));
        beside += at(lag + sent.len()) - at(lag);
    }
    best
}

/// Follows a delay through a call: looks for each `window` samples of `sent` that hold sound, every `hop`,
/// in `received` at a lag of up to `max_lag`. `None` where the window is silent or is not found again
/// (correlation under 0.5). Both begin at the same instant.
pub fn track(
    sent: &[i16],
    received: &[i16],
    window: usize,
    hop: usize,
    max_lag: usize,
) -> Vec<Option<Match>> {
    let floor = power_floor(sent, window.max(1));
    let starts = (0..(sent.len() + 1).saturating_sub(window)).step_by(hop.max(1));
    starts
        .map(|start| {
            let sound = &sent[start..start + window];
            if power(sound) <= floor {
                return None;
            }
            find(sound, received.get(start..)?, max_lag).filter(|found| found.correlation >= 0.5)
        })
        .collect()
}

/// The longest silence in `received` that `sent` did not have, in whole frames of 10 ms.
///
/// Of each stretch in which nothing is heard, only the frames count in which `sent`, `lag` samples before,
/// speaks; because a jitter buffer moves that lag, the kindest one within ±100 ms is taken for each stretch.
/// Silence is 40 dB under the loud parts (the 95th percentile of frames) of `sent`. Cut off what came before
/// the call was up, or its set-up is the gap.
pub fn longest_gap(sent: &[i16], received: &[i16], sample_rate: u32, lag: usize) -> Duration {
    const SLACK_FRAMES: isize = 10;
    let frame = (sample_rate as usize / 100).max(1);
    let floor = power_floor(sent, frame);
    // spoken[n] counts the frames before frame n of `sent` that speak.
    let mut spoken = vec![0usize];
    for samples in sent.chunks_exact(frame) {
        spoken.push(spoken[spoken.len() - 1] + usize::from(power(samples) > floor));
    }
    let spoken_before = |n: isize| spoken[n.clamp(0, spoken.len() as isize - 1) as usize];
    let missed = |silence: Range<usize>| {
        let shift = (lag / frame) as isize;
        let shifts = shift - SLACK_FRAMES..=shift + SLACK_FRAMES;
        let missed = shifts
            .map(|by| spoken_before(silence.end as isize - by) - spoken_before(silence.start as isize - by));
        missed.min().unwrap_or(0)
    };
    let mut longest = 0;
    let mut silent_from = None;
    let frames = received.chunks_exact(frame).map(|samples| power(samples) <= floor);
    for (index, silent) in frames.chain([false]).enumerate() {
        match (silent, silent_from) {
            (true, None) => silent_from = Some(index),
            (false, Some(from)) => {
                longest = longest.max(missed(from..index));
                silent_from = None;
            }
            _ => {}
        }
    }
    Duration::from_millis(10 * longest as u64)
}

/// Mean square of some samples.
fn power(samples: &[i16]) -> u64 {
    let sum: u64 = samples.iter().map(|&s| u64::from(s.unsigned_abs()) * u64::from(s.unsigned_abs())).sum();
    sum / (samples.len() as u64).max(1)
}

/// What counts as silence: 40 dB under the 95th percentile of frames.
fn power_floor(samples: &[i16], frame: usize) -> u64 {
    let mut powers: Vec<u64> = samples.chunks_exact(frame).map(power).collect();
    powers.sort_unstable();
    powers.get(powers.len() * 95 / 100).map_or(0, |loud| loud / 10_000)
}

/// Σ sent[i] · received[i + lag] for each lag from 0 to `max_lag`, exactly.
fn correlate(sent: &[i16], received: &[i16], max_lag: usize) -> Vec<i64> {
    let size = (sent.len() + received.len()).next_power_of_two().max(2);
    // Correlation is convolution with the reversed signal.
    let mut a: Vec<u64> = sent.iter().rev().map(|&s| field::from_signed(s.into())).collect();
    let mut b: Vec<u64> = received.iter().map(|&s| field::from_signed(s.into())).collect();
    a.resize(size, 0);
    b.resize(size, 0);
    let root = field::root_of_unity(size);
    transform(&mut a, root);
    transform(&mut b, root);
    for (a, b) in a.iter_mut().zip(&b) {
        *a = field::mul(*a, *b);
    }
    transform(&mut a, field::inverse(root));
    let scale = field::inverse(size as u64);
    let lag_zero = sent.len().wrapping_sub(1);
    (0..=max_lag)
        .map(|lag| match a.get(lag_zero.wrapping_add(lag)) {
            Some(&sum) if !sent.is_empty() => field::to_signed(field::mul(sum, scale)),
            _ => 0,
        })
        .collect()
}

/// A number-theoretic transform in place: a Fourier transform (Cooley and Tukey, radix 2) whose root of
/// unity is an integer, so that nothing is rounded.
fn transform(values: &mut [u64], root: u64) {
    let size = values.len();
    let bits = size.trailing_zeros();
    for index in 0..size {
        let mirror = index.reverse_bits() >> (usize::BITS - bits);
        if index < mirror {
            values.swap(index, mirror);
        }
    }
    // Powers of the root, once for all rounds: round k uses each (size / 2k)-th of them.
    let mut powers = vec![1; size / 2];
    for index in 1..powers.len() {
        powers[index] = field::mul(powers[index - 1], root);
    }
    let mut half = 1;
    while half < size {
        let stride = size / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((low, high), &power) in low.iter_mut().zip(high).zip(powers.iter().step_by(stride)) {
                let turned = field::mul(*high, power);
                *high = field::sub(*low, turned);
                *low = field::add(*low, turned);
            }
        }
        half *= 2;
    }
}

/// Arithmetic modulo p = 2^64 − 2^32 + 1, a prime with roots of unity for every power of two up to 2^32.
/// A minute of full-scale sound sums to 2^50, far below p, so sums come back exactly.
mod field {
    const P: u64 = 0xFFFF_FFFF_0000_0001;

    pub(super) fn add(a: u64, b: u64) -> u64 {
        let (sum, carried) = a.overflowing_add(b);
        if carried || sum >= P { sum.wrapping_sub(P) } else { sum }
    }

    pub(super) fn sub(a: u64, b: u64) -> u64 {
        if a >= b { a - b } else { P - (b - a) }
    }

    /// 2^64 ≡ 2^32 − 1 and 2^96 ≡ −1, so the product folds without a division.
    pub(super) fn mul(a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        let (low, high) = (product as u64, (product >> 64) as u64);
        let (middle, top) = (high & 0xFFFF_FFFF, high >> 32);
        add(sub(if low >= P { low - P } else { low }, top), middle * 0xFFFF_FFFF)
    }

    fn power(mut base: u64, mut exponent: u64) -> u64 {
        let mut result = 1;
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = mul(result, base);
            }
            base = mul(base, base);
            exponent >>= 1;
        }
        result
    }

    /// 7 generates the field's multiplicative group.
    pub(super) fn root_of_unity(size: usize) -> u64 {
        power(7, (P - 1) / size as u64)
    }

    pub(super) fn inverse(a: u64) -> u64 {
        power(a, P - 2)
    }

    pub(super) fn from_signed(value: i64) -> u64 {
        if value < 0 { P - value.unsigned_abs() } else { value as u64 }
    }

    pub(super) fn to_signed(value: u64) -> i64 {
        if value > P / 2 { -((P - value) as i64) } else { value as i64 }
    }
}
