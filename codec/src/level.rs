//! How loud it is, and whether anybody speaks.
//!
//! Why: the level travels with every packet (RFC 6464), so that an SFU can choose speakers without decoding.
//!
//! Not here: who is chosen (`sfu`).

use crate::SAMPLE_RATE;
use earshot::Detector;
use std::fmt;
use undertone_media::SampleRate;

/// The level of samples below full scale in whole decibels, as RFC 6464 §3 wants it: 0 is the loudest,
/// 127 is digital silence.
pub fn rms_dbov(pcm: &[i16]) -> u8 {
    let energy: u64 = pcm.iter().map(|&s| u64::from(s.unsigned_abs()).pow(2)).sum();
    if energy == 0 {
        return 127;
    }
    // Integers, so that every machine agrees: a threshold falls from half a decibel below full scale in
    // steps of one decibel. The mean square has 32 fractional bits.
    let mean = (u128::from(energy) << 32) / pcm.len() as u128;
    let full_scale = 1u128 << (30 + 32);
    let mut threshold = full_scale * 891_250_938 / 1_000_000_000; // 10^−0.05
    let mut level = 0;
    while level < 127 && mean < threshold {
        threshold = threshold * 794_328_235 / 1_000_000_000; // 10^−0.1
        level += 1;
    }
    level
}

/// Samples in the 16 ms that the detector's network looks at.
const WINDOW: usize = SAMPLE_RATE as usize * 16 / 1000;

/// Tells speech from everything else, by a small network (`earshot`).
pub struct Vad {
    detector: Detector,
    rate: SampleRate,
    window: [i16; WINDOW],
    filled: usize,
    speech: bool,
}

impl Vad {
    /// A detector that has heard nothing.
    pub fn new(rate: SampleRate) -> Vad {
        Vad { detector: Detector::default(), rate, window: [0; WINDOW], filled: 0, speech: false }
    }

    /// Takes the next samples, whole ones at 16 kHz, and says whether there was speech in any window of 16 ms
    /// that they completed; if they completed none, what was said last holds.
    pub fn is_speech(&mut self, mut pcm: &[i16]) -> bool {
        let mut verdict = None;
        // The network knows 16 kHz. A mean of neighbours lets some of what is above 8 kHz through, where a voice has
        // little.
        let per = self.rate.per_wide();
        while pcm.len() >= per {
            let (head, rest) = pcm.split_at((pcm.len() / per).min(WINDOW - self.filled) * per);
            let window = &mut self.window[self.filled..];
            for (sample, samples) in window.iter_mut().zip(head.chunks_exact(per)) {
                *sample = (samples.iter().map(|&it| i32::from(it)).sum::<i32>() / per as i32) as i16;
            }
            self.filled += head.len() / per;
            pcm = rest;
            if self.filled == WINDOW {
                self.filled = 0;
                let speech = self.detector.predict_i16(&self.window) >= 0.5; // the network's own threshold
                verdict = Some(verdict.unwrap_or(false) || speech);
            }
        }
        self.speech = verdict.unwrap_or(self.speech);
        self.speech
    }
}

impl fmt::Debug for Vad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vad").field("speech", &self.speech).finish_non_exhaustive()
    }
}
