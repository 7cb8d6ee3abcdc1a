//! Payload formats: how a coded frame is cut into packets, put together again, and known for what it is.
//!
//! Not here: Opus, whose packet is the payload (RFC 7587 §4.2); RTP headers (`rtp`); when a frame may be
//! played (`jitter`).

pub mod dd;
pub mod h264;
pub mod vp8;
