//! RTP streams: numbering, memory and repair on the sending side; unwrapping, statistics and requests on the
//! receiving side.

mod recv;
mod send;

pub use recv::{NackConfig, RecvConfig, RecvStats, RecvStream};
pub use send::{Resend, Rtx, SendConfig, SendStream};
