//! Samples and pictures to coded frames and back, and the signal processing around them.
//!
//! Invariant: codec never decides and never waits. It reads no clock, holds no queue, and knows nothing of
//! packets, loss or time: `jitter` says what to play, `engine` says at which rate, and a call here turns
//! exactly the samples it is given. After `new`, the speech path allocates nothing but the caller's output.
//!
//! Sound is mono, 16 kHz or 48 ([`undertone_media::SampleRate`]); pictures are I420.
//! Not here: RTP payload formats (`transport::payload`), when to stretch or conceal (`jitter`), which
//! protection to send (`engine::adapt`).

pub mod echo;
mod error;
pub mod h264;
pub mod level;
pub mod noise;
pub mod opus;
pub mod pattern;
pub mod resample;
pub mod scale;
pub mod stretch;
pub mod y4m;

pub use error::CodecError;

/// Samples a second of speech: wideband, the rate at which the enhancement networks of the decoder (LACE, deep PLC)
/// work.
pub const SAMPLE_RATE: u32 = undertone_media::SampleRate::Wide.hz();
