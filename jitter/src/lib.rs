//! Decides what plays when.
//!
//! Invariant: jitter never decodes, never stretches, never reads a clock, and draws no random numbers.
//! It is told what arrived and how much decoded sound is still unplayed; it answers what to do next. The
//! engine tells the codec.
//!
//! ```text
//! packets → buffer (order, duplicates) → playout (every 10 ms: play, recover, conceal, wait)
//!         ↘ arrival (delay above the fastest path) → target (how long to hold) ↗
//! video packets → frames (whole, decodable pictures in order, dated)      sync (lips)
//! ```
//!
//! The engine's loop, every 10 ms:
//!
//! ```text
//! loop {
//!     match buffer.decide(now, pcm.duration(), |seq| stream.repairable_until(seq, rtt)) {
//!         Playout::Play { packet, stretch, .. } => decode into pcm, then stretch,
//!         Playout::Recover { from, how, missing, .. } => recover into pcm, conceal if that fails,
//!         Playout::Conceal { duration } => conceal into pcm,
//!         Playout::Silence { duration } => comfort noise or zeros into pcm,
//!         Playout::Wait => break,
//!     }
//! }
//! play the first 10 ms of pcm
//! ```

pub mod arrival;
mod buffer;
mod decision;
mod edge;
pub mod frames;
mod playout;
pub mod sync;
pub mod target;

pub use buffer::Contents;
pub use decision::{How, Playout, Stats, Stretch};
pub use playout::{Config, JitterBuffer};
