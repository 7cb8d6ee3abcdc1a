//! RTP streams: numbers, memory and repair on the sending side; unwrapping, statistics and requests on the
//! receiving side.
//!
//! Wire: RFC 3550 (numbers, reports), RFC 4588 (RTX), RFC 4585 §6.2.1 (generic NACK).
//!
//! Not here: what comes without being asked for ([`crate::recovery`]), what plays when (`jitter`), when RTCP
//! leaves (the caller bundles it).

mod copies;
mod nack;
mod recv;
mod send;

pub use copies::Copies;
pub use nack::NackConfig;
pub use recv::{RecvConfig, RecvStats, RecvStream};
pub use send::{Resend, Rtx, SendConfig, SendStream};
