//! The shape of an emulated link, so that `sim` (virtual time) and `io`'s relay (real time) run the same
//! model without knowing each other.

use crate::{DataSize, Timestamp};

/// What becomes of a datagram on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at this time.
    Arrives(Timestamp),
    /// The link lost it, as radio does.
    Lost,
    /// The queue before the bottleneck was full.
    Overflowed,
}

/// One direction of a path.
pub trait Link {
    /// Offers a datagram whose size counts its IP and UDP headers. Calls come in order of `now`.
    fn offer(&mut self, now: Timestamp, size: DataSize) -> Fate;
}
