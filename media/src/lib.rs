//! The nouns that every other crate speaks in, and the one shape that every machine has.
//!
//! Invariant: this crate imports nothing, reads no clock, and does no I/O. Units are types: rate × time
//! is size, size ÷ rate is time, and other mixes do not compile.

mod frame;
mod link;
mod machine;
mod seq;
mod sound;
mod time;
mod units;

pub use frame::{AudioFrame, EncodedFrame, Kind, VideoFrame};
pub use link::{Fate, Link};
pub use machine::{Input, Machine, Output, Transmit};
pub use seq::{MediaTime, Packet, SeqNo, SeqUnwrapper, Ssrc, TimeUnwrapper};
pub use sound::{SampleRate, Sound};
pub use time::Timestamp;
pub use units::{Bitrate, DataSize};
