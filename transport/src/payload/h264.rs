//! H.264 in RTP (RFC 6184, packetization-mode 1): single NAL units, STAP-A, FU-A.

use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

/// Cuts one access unit in Annex B form into payloads of at most `max_payload` bytes. The last one's packet
/// carries the marker.
pub fn packetize(annexb: &[u8], max_payload: usize) -> Vec<Vec<u8>> {
    let _ = (annexb, max_payload);
    Vec::new()
}

/// Puts the payloads of one access unit, in order and complete, together in Annex B form. `None` if they do
/// not fit together: a fragment is missing, or the peer sent nonsense.
pub fn assemble<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let _ = payloads.into_iter().count();
    None
}

/// Whether a payload begins a picture that a decoder can start with: it holds a sequence parameter set, or
/// the beginning of an IDR slice.
pub fn is_key(payload: &[u8]) -> bool {
    let _ = payload;
    false
}

/// A whole access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its date on the stream's clock.
    pub time: MediaTime,
    /// Its first packet.
    pub first: SeqNo,
    /// Its last packet.
    pub last: SeqNo,
    /// When the packet that completed it arrived.
    pub arrival: Timestamp,
    /// A decoder can start with it.
    pub key: bool,
    /// No packet is missing between the frame before and this one: a decoder that decoded that one can
    /// decode this one.
    pub continuous: bool,
    /// NAL units in Annex B form.
    pub data: Vec<u8>,
}

/// Collects packets, in whatever order they come, into access units, in order.
#[derive(Debug, Default)]
pub struct Depacketizer {}

impl Depacketizer {
    /// An empty one.
    pub fn new() -> Depacketizer {
        Depacketizer::default()
    }

    /// Takes a packet. Duplicates, and packets of frames already given out or given up, are ignored.
    pub fn push(&mut self, packet: Packet) {
        let _ = packet;
    }

    /// The next whole frame in order, if all before it were given out or given up.
    pub fn poll(&mut self) -> Option<Frame> {
        None
    }

    /// Gives up all that is missing before `seq`: frames from there on come out without it.
    pub fn skip_to(&mut self, seq: SeqNo) {
        let _ = seq;
    }

    /// Where the first whole key frame behind a gap begins: what one may skip to.
    pub fn next_key(&self) -> Option<SeqNo> {
        None
    }
}
