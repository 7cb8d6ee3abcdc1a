//! What a loudspeaker, a room and a fan do to a microphone, undone: echo cancellation (AEC3), noise
//! suppression and gain control by `sonora`, in frames of 10 ms.
//!
//! Why: without it a call on loudspeakers sends everybody their own voice back. Files and tests do not need
//! it, so the engine runs it for devices only.
//!
//! Not here: reading devices (`io::device`); voice activity ([`crate::level`]).

use crate::CodecError;
use sonora::config::{AdaptiveDigital, EchoCanceller, GainController2, HighPassFilter, NoiseSuppression};
use sonora::{AudioProcessing, Config, StreamConfig};
use std::time::Duration;
use undertone_media::SampleRate;

/// Which parts of a [`FrontEnd`] run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontEndConfig {
    /// Samples a second of microphone and loudspeaker. Default 16 kHz.
    pub rate: SampleRate,
    /// Take out what comes from the loudspeaker. Default yes; pointless with headphones.
    pub cancel_echo: bool,
    /// Take out steady noise. Default yes.
    pub suppress_noise: bool,
    /// Bring quiet and loud speakers to one level. Default yes.
    pub control_gain: bool,
}

impl Default for FrontEndConfig {
    fn default() -> FrontEndConfig {
        FrontEndConfig {
            rate: SampleRate::default(),
            cancel_echo: true,
            suppress_noise: true,
            control_gain: true,
        }
    }
}

/// The signal chain between microphone and encoder. Echo canceller and noise suppressor delay by 8 ms each.
#[derive(Debug)]
pub struct FrontEnd {
    chain: AudioProcessing,
    scratch: Box<[i16]>,
}

impl FrontEnd {
    /// Prepares the chain.
    pub fn new(config: FrontEndConfig) -> FrontEnd {
        let stream = StreamConfig::new(config.rate.hz(), 1);
        let chain = AudioProcessing::builder()
            .config(Config {
                high_pass_filter: Some(HighPassFilter::default()),
                echo_canceller: config.cancel_echo.then(EchoCanceller::default),
                noise_suppression: config.suppress_noise.then(NoiseSuppression::default),
                gain_controller2: config.control_gain.then(|| GainController2 {
                    adaptive_digital: Some(AdaptiveDigital::default()),
                    ..GainController2::default()
                }),
                ..Config::default()
            })
            .capture_config(stream)
            .render_config(stream)
            .build();
        FrontEnd { chain, scratch: vec![0; config.rate.frame()].into() }
    }

    /// Tells what the loudspeaker is about to play, 10 ms of it.
    ///
    /// # Errors
    /// `ApiMisuse` if it is not 10 ms.
    pub fn render(&mut self, pcm: &[i16]) -> Result<(), CodecError> {
        if pcm.len() != self.scratch.len() {
            return Err(NOT_A_FRAME);
        }
        self.chain.process_render_i16(pcm, &mut self.scratch).map_err(|_| NOT_A_FRAME)
    }

    /// Cleans what the microphone heard, 10 ms of it, in place.
    ///
    /// # Errors
    /// `ApiMisuse` if it is not 10 ms.
    pub fn capture(&mut self, pcm: &mut [i16]) -> Result<(), CodecError> {
        if pcm.len() != self.scratch.len() {
            return Err(NOT_A_FRAME);
        }
        self.chain.process_capture_i16(pcm, &mut self.scratch).map_err(|_| NOT_A_FRAME)?;
        pcm.copy_from_slice(&self.scratch);
        Ok(())
    }

    /// Hints how long it takes from [`FrontEnd::render`] until the microphone hears it: the buffers of both
    /// devices. The canceller finds the rest itself.
    pub fn set_device_delay(&mut self, delay: Duration) {
        // Out of range means clamped, which is what is wanted.
        let _ = self.chain.set_stream_delay_ms(i32::try_from(delay.as_millis()).unwrap_or(i32::MAX).min(500));
    }
}

const NOT_A_FRAME: CodecError = CodecError::ApiMisuse("the front end takes 10 ms at a time");
