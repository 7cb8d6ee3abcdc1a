//! Comfort noise: what a pause sounds like when its packets are not sent.
//!
//! Why: with discontinuous transmission nothing arrives while the speaker is silent. Digital silence in that place
//! sounds as if the line had dropped, and the room behind the voice goes on and off with every word. So the listener's
//! end remembers how the pauses sounded that it did hear, and makes more of the same: noise through an all-pole filter
//! with the level and the spectral envelope of the last background (the way of SILK's comfort noise, and of
//! RFC 3389, with the receiver as its own witness).
//!
//! ```text
//! heard  ──▶ speech?  no ─▶ autocorrelation, averaged ─▶ filter (Levinson) and gain
//!                                                              │
//! seeded white noise ──────────────────────────────────────────▶ fill
//! ```
//!
//! The filter goes on from the last samples that were heard, so that noise begins without a click;
//! [`ComfortNoise::join`] fades it into what follows.
//!
//! Not here: when there is nothing to play (`jitter`), whether it was speech ([`crate::level::Vad`]).

use undertone_media::SampleRate;

/// Poles of the filter at 16 kHz: enough for the tilt and the few broad bumps of a room. It sees as far back at any rate.
const ORDER: usize = 10;
/// Poles at 48 kHz.
const MOST: usize = ORDER * SampleRate::Full.per_wide();

/// A heard block counts with this weight against all before it: 20 ms blocks are forgotten in a quarter of a second.
const WEIGHT: f64 = 1.0 / 12.0;

/// A block so much more powerful than the background (6 dB) is rather the end of a word, or a door…
const OUTLIER: f64 = 4.0;
/// …and counts so much less; if it goes on, it is the background after all.
const OUTLIER_WEIGHT: f64 = 1.0 / 64.0;

/// Each pole is drawn in by this factor, so that a hum in the background becomes a bump and not a whistle: as much in the
/// same time at 48 kHz.
const fn calm(rate: SampleRate) -> f64 {
    match rate {
        SampleRate::Wide => 0.97,
        SampleRate::Full => 0.99,
    }
}

/// White noise at this share of the power keeps the filter well-behaved.
const FLOOR: f64 = 1e-3;

/// Learns the background behind a voice, and continues it.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    rate: SampleRate,
    /// Power, and likeness to itself up to so many samples later as the filter has poles: a mean over the pauses heard.
    background: [f64; MOST + 1],
    /// Prediction coefficients of the filter, and its gain for noise that is uniform in ±1.
    filter: [f64; MOST],
    gain: f64,
    stale: bool,
    /// The last samples that were played, the newest first.
    past: [f64; MOST],
    random: u32,
}

impl ComfortNoise {
    /// Knows no background yet: until it has heard one, it makes silence. The same seed makes the same noise.
    pub fn new(rate: SampleRate, seed: u32) -> ComfortNoise {
        ComfortNoise {
            rate,
            background: [0.0; MOST + 1],
            filter: [0.0; MOST],
            gain: 0.0,
            stale: false,
            past: [0.0; MOST],
            random: seed ^ 0x9e37_79b9,
        }
    }

    /// Takes what was played, 10 or 20 ms at a time; where it is no `speech`, learns from it.
    ///
    /// Not for what [`ComfortNoise::fill`] made: it would learn from itself.
    pub fn hear(&mut self, pcm: &[i16], speech: bool) {
        for (past, &sample) in self.past.iter_mut().zip(pcm.iter().rev()) {
            *past = f64::from(sample);
        }
        if speech || pcm.len() <= self.order() {
            return;
        }
        let power = likeness(pcm, 0);
        let known = self.background[0];
        let weight = match known {
            0.0 => 1.0,
            known if power > OUTLIER * known => OUTLIER_WEIGHT,
            _ => WEIGHT,
        };
        // However loud it is, one block raises the background by no more than a decibel.
        let scale = if known > 0.0 { (4.0 * OUTLIER * known / power.max(1e-9)).min(1.0) } else { 1.0 };
        let order = self.order();
        for (lag, mean) in self.background[..=order].iter_mut().enumerate() {
            *mean += weight * (scale * likeness(pcm, lag) - *mean);
        }
        self.stale = true;
    }

    /// Appends `samples` of the background.
    pub fn fill(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.shape();
        out.extend((0..samples).map(|_| self.sample()));
    }

    /// Fades from the background into the beginning of `next`, which follows what was filled.
    pub fn join(&mut self, next: &mut [i16]) {
        self.shape();
        // 5 ms.
        let length = (self.rate.frame() / 2).min(next.len());
        for (index, sample) in next[..length].iter_mut().enumerate() {
            let (noise, step) = (i32::from(self.sample()), index as i32 + 1);
            let mixed = noise * (length as i32 + 1 - step) + i32::from(*sample) * step;
            *sample = (mixed / (length as i32 + 1)) as i16;
        }
    }

    fn order(&self) -> usize {
        ORDER * self.rate.per_wide()
    }

    /// One sample more.
    fn sample(&mut self) -> i16 {
        // Xorshift (Marsaglia): white enough to hear, and the same everywhere.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let white = f64::from(self.random as i32) / f64::from(1u32 << 31);
        let order = self.order();
        let past = &mut self.past[..order];
        let predicted: f64 = self.filter.iter().zip(&*past).map(|(a, past)| a * past).sum();
        let sample = self.gain * white + predicted;
        past.rotate_right(1);
        past[0] = if sample.abs() < 1e-6 { 0.0 } else { sample };
        sample.round().clamp(-32_768.0, 32_767.0) as i16
    }

    /// Brings filter and gain up to what was heard last.
    fn shape(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let order = self.order();
        self.filter = predictor(&self.background[..=order], calm(self.rate));
        // The filter's power gain, from its response to one impulse: 16 ms hold all of it.
        let (mut power, mut past) = (1.0, [0.0; MOST]);
        let past = &mut past[..order];
        past[0] = 1.0;
        for _ in 0..self.rate.hz() / 1000 * 16 {
            let next: f64 = self.filter.iter().zip(&*past).map(|(a, past)| a * past).sum();
            power += next * next;
            past.rotate_right(1);
            past[0] = next;
        }
        // Noise that is uniform in ±1 has a third of its peak's power.
        self.gain = (3.0 * self.background[0] / power).sqrt();
    }
}

/// Mean product of samples that are `lag` apart.
fn likeness(pcm: &[i16], lag: usize) -> f64 {
    let sum: i64 = pcm.iter().zip(&pcm[lag..]).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
    sum as f64 / pcm.len() as f64
}

/// Coefficients that predict a sample from those before it (Levinson-Durbin), each drawn in by `calm`.
fn predictor(likeness: &[f64], calm: f64) -> [f64; MOST] {
    let mut filter = [0.0; MOST];
    let mut error = likeness[0] * (1.0 + FLOOR);
    for order in 0..likeness.len() - 1 {
        if error <= 0.0 {
            break;
        }
        let known: f64 = (0..order).map(|i| filter[i] * likeness[order - i]).sum();
        let reflection = (likeness[order + 1] - known) / error;
        if reflection.abs() >= 1.0 {
            break;
        }
        let before = filter;
        filter[order] = reflection;
        for i in 0..order {
            filter[i] -= reflection * before[order - 1 - i];
        }
        error *= 1.0 - reflection * reflection;
    }
    let mut drawn = 1.0;
    for coefficient in &mut filter {
        drawn *= calm;
        *coefficient *= drawn;
    }
    filter
}
