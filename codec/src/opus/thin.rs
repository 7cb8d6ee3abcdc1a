//! What becomes of speech where there are hardly any bits for it.
//!
//! Why: three things that nobody would hear at the default rate decide how good 6 to 9 kbit/s are.
//!
//! - *Bandwidth.* Below 8 kbit/s a wideband frame is nearly all description (spectrum, pitch, gains), and nothing is left
//!   of the voice itself. At half the bandwidth more is understood, though it sounds like a telephone:
//!
//!   | 20 ms packets, kbit/s | PESQ-WB narrow, wide | ESTOI | PLCMOS |
//!   |---|---|---|---|
//!   | 6 | 2.38, 1.76 | .84, .76 | 2.9, 3.6 |
//!   | 7 | 2.82, 2.45 | .88, .83 | 3.2, 3.9 |
//!   | 8 | 3.14, 3.00 | .91, .88 | 3.5, 4.0 |
//! - *Rumble.* What microphones hear below a voice costs as much as the voice: without it 7 kbit/s sound like 7.3. Above
//!   [`RUMBLE_BELOW`] it is a part of the sound, and stays.
//! - *The mean.* libopus pays back what it overspends and forgets what it saves: at narrow bandwidth 4 % of the rate.
//!   [`Account`] remembers both.
//!
//! To save in pauses for what is said after them does not pay: SILK spends a quarter less there by itself, and what is taken
//! from the background and from the first sound of a word is heard more than what it buys.
//!
//! Not here: which rate is asked for (`engine::adapt`).

use super::LONGEST;
use crate::SAMPLE_RATE;
use undertone_media::{Bitrate, SampleRate};

/// At this rate and above rumble is coded with the voice.
pub(super) const RUMBLE_BELOW: Bitrate = Bitrate::from_bps(11_000);

/// Up to this rate packets of 20 ms are narrowband…
const NARROW_SHORT: Bitrate = Bitrate::from_bps(8_000);
/// …and longer ones, which describe with less, up to this.
const NARROW_LONG: Bitrate = Bitrate::from_bps(7_700);
/// Speech that is narrow stays so until the rate is so much higher: each change is heard.
const HYSTERESIS: Bitrate = Bitrate::from_bps(400);
/// The shortest frame that counts as long: 40 ms.
const LONG_FRAME: usize = SAMPLE_RATE as usize * 40 / 1000;

/// Whether frames of so many samples are better narrow at this rate; `narrow`: the last one was.
pub(super) fn narrow(rate: Bitrate, frame: usize, narrow: bool) -> bool {
    let limit = if frame < LONG_FRAME { NARROW_SHORT } else { NARROW_LONG };
    rate <= if narrow { limit + HYSTERESIS } else { limit }
}

/// Keeps the mean rate to what was asked for: what is saved is spent, within seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    rate: Bitrate,
    /// What is left over, in bits times [`SAMPLE_RATE`], so that no frame's share is rounded.
    saved: i64,
}

/// What is saved or owed is made good within so many samples, half a second.
const MADE_GOOD: i64 = SAMPLE_RATE as i64 / 2;

/// Of the rate, in thousandths: no frame is asked for with more or less than this beside it, since a thin link has no room
/// for bursts.
const SWING_PERMILLE: i64 = 150;

impl Account {
    /// Nothing saved, nothing owed.
    pub fn new(rate: Bitrate) -> Account {
        Account { rate, saved: 0 }
    }

    /// The rate that is kept to on average.
    pub fn rate(&self) -> Bitrate {
        self.rate
    }

    /// Another rate from now on. What was saved at the old one is not spent at the new one: that may be lower because the
    /// link carries no more.
    pub fn set(&mut self, rate: Bitrate) {
        if rate != self.rate {
            *self = Account::new(rate);
        }
    }

    /// What to ask for the next frame, in bit/s.
    pub fn ask(&self) -> i64 {
        let rate = self.rate.as_bps() as i64;
        let swing = rate * SWING_PERMILLE / 1000;
        rate + (self.saved / MADE_GOOD).clamp(-swing, swing)
    }

    /// A frame of so many samples took so many bytes.
    pub fn book(&mut self, samples: usize, bytes: usize) {
        let rate = self.rate.as_bps() as i64;
        let bound = rate * MADE_GOOD;
        let used = bytes as i64 * 8 * i64::from(SAMPLE_RATE);
        self.saved = (self.saved + rate * samples as i64 - used).clamp(-bound, bound);
    }
}

/// Takes out what is below a voice: second order, Butterworth, 3 dB at 100 Hz.
#[derive(Clone, Debug)]
pub(super) struct HighPass {
    rate: SampleRate,
    state: [f64; 2],
    /// How much of it is in force, 0 to 1: it comes and goes without a click.
    share: f64,
    filtered: Vec<i16>,
}

/// Numerator (its first, and half of its second, coefficient) and denominator.
const fn coefficients(rate: SampleRate) -> (f64, [f64; 2]) {
    match rate {
        SampleRate::Wide => (0.972_613_898_499_843_8, [-1.944_477_657_767_093_5, 0.945_977_936_232_281_3]),
        SampleRate::Full => (0.990_786_697_940_427, [-1.981_488_509_144_573_5, 0.981_658_282_617_134_3]),
    }
}

/// It comes or goes within 20 ms.
const fn share_step(rate: SampleRate) -> f64 {
    1.0 / (rate.hz() as f64 * 0.02)
}

impl HighPass {
    /// In force from the first sample on, or not.
    pub fn new(rate: SampleRate, on: bool) -> HighPass {
        let filtered = Vec::with_capacity(LONGEST * rate.per_wide());
        HighPass { rate, state: [0.0; 2], share: f64::from(u8::from(on)), filtered }
    }

    /// The next samples with it, as far as it is in force, on its way to `on`.
    pub fn run(&mut self, pcm: &[i16], on: bool) -> &[i16] {
        let HighPass { rate, state: [first, second], share, filtered } = self;
        let (numerator, denominator) = coefficients(*rate);
        let step = if on { share_step(*rate) } else { -share_step(*rate) };
        filtered.clear();
        filtered.extend(pcm.iter().map(|&sample| {
            let sample = f64::from(sample);
            let passed = numerator * sample + *first;
            *first = -2.0 * numerator * sample - denominator[0] * passed + *second;
            *second = numerator * sample - denominator[1] * passed;
            *share = (*share + step).clamp(0.0, 1.0);
            (sample + (passed - sample) * *share).round() as i16
        }));
        filtered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = SAMPLE_RATE as usize / 50;

    #[test]
    fn what_is_saved_is_spent_but_not_at_once() {
        let mut account = Account::new(Bitrate::from_bps(8_000));
        assert_eq!(account.ask(), 8_000);
        for _ in 0..10 {
            account.book(FRAME, 10);
        }
        // 100 bytes are left over: 800 bits, of which half a second makes 1600 bit/s.
        assert_eq!(account.ask(), 8_000 + 1_200);
        for _ in 0..10 {
            account.book(FRAME, 30);
        }
        assert_eq!(account.ask(), 8_000);
        account.book(FRAME, 60);
        assert_eq!(account.ask(), 8_000 - 640);
    }

    #[test]
    fn silence_saves_no_more_than_half_a_second() {
        let mut account = Account::new(Bitrate::from_bps(8_000));
        for _ in 0..10_000 {
            account.book(FRAME, 1);
        }
        for _ in 0..25 {
            account.book(FRAME, 40);
        }
        assert_eq!(account.ask(), 8_000);
        for _ in 0..25 {
            account.book(FRAME, 1);
        }
        account.set(Bitrate::from_bps(6_000));
        assert_eq!(account.ask(), 6_000);
    }

    #[test]
    fn rumble_goes_and_a_voice_stays() {
        for rate in [SampleRate::Wide, SampleRate::Full] {
            let kept = |hertz: f64| {
                let step = hertz * std::f64::consts::TAU / f64::from(rate.hz());
                let tone: Vec<i16> =
                    (0..rate.hz()).map(|n| (8_000.0 * (f64::from(n) * step).sin()) as i16).collect();
                let half = tone.len() / 2;
                let energy = |pcm: &[i16]| pcm[half..].iter().map(|&s| f64::from(s).powi(2)).sum::<f64>();
                10.0 * (energy(HighPass::new(rate, true).run(&tone, true)) / energy(&tone)).log10()
            };
            assert!(kept(30.0) < -20.0 && kept(50.0) < -11.0, "{} {}", kept(30.0), kept(50.0));
            assert!((-3.1..-2.9).contains(&kept(100.0)), "{}", kept(100.0));
            assert!(kept(200.0) > -0.4 && kept(1_000.0) > -0.01, "{} {}", kept(200.0), kept(1_000.0));
        }
    }

    #[test]
    fn it_comes_and_goes_without_a_click() {
        let rumble: Vec<i16> = (0..8_000).map(|n| (3_000.0 * (n as f64 * 0.02).sin()) as i16).collect();
        let mut pass = HighPass::new(SampleRate::Wide, false);
        let mut out = pass.run(&rumble[..1_600], false).to_vec();
        assert_eq!(out, rumble[..1_600]);
        out.extend_from_slice(pass.run(&rumble[1_600..4_800], true));
        out.extend_from_slice(pass.run(&rumble[4_800..], false));
        assert_eq!(out[5_200..], rumble[5_200..]);
        let steepest = out.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max();
        assert!(steepest < Some(90), "{steepest:?}");
    }

    #[test]
    fn bandwidth_does_not_flutter() {
        let rate = Bitrate::from_bps;
        assert!(narrow(rate(8_000), FRAME, false) && !narrow(rate(8_001), FRAME, false));
        assert!(!narrow(rate(8_000), 3 * FRAME, false) && narrow(rate(7_500), 3 * FRAME, false));
        assert!(narrow(rate(8_400), FRAME, true) && !narrow(rate(9_000), FRAME, true));
    }
}
