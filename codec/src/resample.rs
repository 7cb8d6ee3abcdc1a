//! One sample rate to another, in a stream.
//!
//! Why: devices and files come at 8–192 kHz, the codec runs at 16. A windowed sinc by `rubato`, in steps of
//! 2.5 ms so that it adds little delay.
//!
//! Not here: drift between two clocks (`jitter` stretches instead).

use crate::CodecError;
use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Async, FixedAsync, Resampler as _, SincInterpolationParameters, WindowFunction};
use std::fmt;
use std::time::Duration;

/// Taps of the filter at the lower of both rates: half of it is the delay, 2 ms at 16 kHz.
const TAPS: u32 = 64;

/// Where the filter is 6 dB down, as a share of what the lower rate can hold. With these taps and window its
/// slope runs from 0.84 to 1.0: 16 kHz keep everything below 6.7 kHz and let no alias in (−74 dB).
const CUTOFF: f32 = 0.92;

/// Converts a mono stream from one rate to another.
pub struct Resampler {
    /// None when both rates are one: samples pass untouched.
    sinc: Option<Async<f32>>,
    step: usize,
    pending: Vec<f32>,
    produced: Vec<f32>,
    from_hz: u32,
    to_hz: u32,
}

impl Resampler {
    /// Prepares a stream of `channels` channels, which must be one.
    ///
    /// # Errors
    /// `ApiMisuse` if a rate is not within 8–192 kHz, or `channels` is not 1.
    pub fn new(from_hz: u32, to_hz: u32, channels: usize) -> Result<Resampler, CodecError> {
        let rates = 8_000..=192_000;
        if !rates.contains(&from_hz) || !rates.contains(&to_hz) {
            return Err(CodecError::ApiMisuse("sample rates go from 8 to 192 kHz"));
        }
        if channels != 1 {
            return Err(CodecError::ApiMisuse("only mono is resampled: mix down first"));
        }
        let step = (from_hz / 400) as usize;
        let mut resampler = Resampler {
            sinc: None,
            step,
            pending: Vec::with_capacity(2 * step),
            produced: Vec::new(),
            from_hz,
            to_hz,
        };
        if from_hz != to_hz {
            let taps = (TAPS * from_hz.max(to_hz) / to_hz).next_multiple_of(8) as usize;
            let shape = SincInterpolationParameters::new(taps, WindowFunction::Blackman).f_cutoff(CUTOFF);
            let ratio = f64::from(to_hz) / f64::from(from_hz);
            let sinc = Async::new_sinc(ratio, 1.0, &shape, step, 1, FixedAsync::Input)
                .map_err(|_| CodecError::ApiMisuse("these sample rates cannot be converted"))?;
            resampler.produced = vec![0.0; sinc.output_frames_max()];
            resampler.sinc = Some(sinc);
        }
        Ok(resampler)
    }

    /// Takes samples, however many, and appends to `out` what can be made of them; up to 2.5 ms wait for the
    /// next call.
    pub fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        let Some(sinc) = &mut self.sinc else {
            out.extend_from_slice(pcm);
            return;
        };
        for &sample in pcm {
            self.pending.push(f32::from(sample));
            if self.pending.len() < self.step {
                continue;
            }
            let capacity = self.produced.len();
            let made = SequentialSlice::new(&self.pending, 1, self.step).ok().and_then(|input| {
                let mut output = SequentialSlice::new_mut(&mut self.produced, 1, capacity).ok()?;
                sinc.process_into_buffer(&input, &mut output, None).ok()
            });
            debug_assert!(made.is_some(), "the buffers are as large as the resampler asked for");
            let (_, frames) = made.unwrap_or((0, 0));
            out.extend(self.produced[..frames].iter().map(|s| s.round().clamp(-32768.0, 32767.0) as i16));
            self.pending.clear();
        }
    }

    /// How much later a sample comes out than it went in, not counting what waits for a whole step.
    pub fn delay(&self) -> Duration {
        let samples = self.sinc.as_ref().map_or(0, |sinc| sinc.output_delay() as u64);
        Duration::from_micros(samples * 1_000_000 / u64::from(self.to_hz))
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resampler({} to {} Hz)", self.from_hz, self.to_hz)
    }
}
