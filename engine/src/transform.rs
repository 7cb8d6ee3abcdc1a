//! The place between codec and packetiser where end-to-end encryption lives.
//!
//! Why here: an SFU forwards packets without reading them, so what is done to a whole coded frame before it
//! is cut into packets stays done until the other end has put it together again (RFC 9605 §3).

use undertone_media::EncodedFrame;

/// Changes coded frames on their way out and back.
pub trait FrameTransform {
    /// A frame of ours, before it is cut into packets.
    fn outbound(&mut self, frame: &mut EncodedFrame);

    /// A frame of a peer's, after it is put together. False drops it: it is not what it claims to be.
    fn inbound(&mut self, frame: &mut EncodedFrame) -> bool;

    /// Whether what leaves can be read by nobody but the peer's transform: then packets are protected whole, else without
    /// what they tell of the past. Default yes.
    fn is_opaque(&self) -> bool {
        true
    }
}

/// No transform.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl FrameTransform for Plain {
    fn outbound(&mut self, _frame: &mut EncodedFrame) {}

    fn inbound(&mut self, _frame: &mut EncodedFrame) -> bool {
        true
    }

    fn is_opaque(&self) -> bool {
        false
    }
}
