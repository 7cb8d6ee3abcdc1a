//! Whole, decodable pictures in order.

use std::time::Duration;
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

/// Limits of one video stream's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Ticks a second of the stream's media time. Default 90 000 (RFC 6184 §5.1).
    pub clock_rate: u32,
    /// The longest that a picture is held back to even out arrival. Default 500 ms: past it a late
    /// picture is better than a late call.
    pub max_delay: Duration,
    /// The most packets kept. Default 4096: about 4 s at 8 Mbit/s.
    pub max_packets: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { clock_rate: 90_000, max_delay: Duration::from_millis(500), max_packets: 4096 }
    }
}

/// What a packet says about its picture: from the dependency descriptor, or from the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The first packet of its picture.
    pub start: bool,
    /// The last packet of its picture (usually the RTP marker).
    pub end: bool,
    /// Its picture needs no other to be decoded.
    pub key: bool,
}

/// A whole picture, decodable if every one before it was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its date.
    pub time: MediaTime,
    /// It needs no other picture.
    pub key: bool,
    /// Its packets, in order, none missing.
    pub packets: Vec<Packet>,
    /// When its last packet arrived.
    pub complete: Timestamp,
    /// When it should be shown; not before now.
    pub show: Timestamp,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets offered.
    pub received: u64,
    /// Of them, those that came again.
    pub duplicates: u64,
    /// Of them, those whose picture was over.
    pub late: u64,
    /// Pictures given out.
    pub frames: u64,
    /// Of them, key frames.
    pub keys: u64,
    /// How often the picture froze because a frame was lost for good.
    pub freezes: u64,
    /// Packets thrown away while waiting for a key frame, or because too many waited.
    pub dropped: u64,
    /// Delay above the fastest path that is aimed at now.
    pub target: Duration,
}

/// One video stream's buffer.
#[derive(Debug)]
pub struct FrameBuffer {
    #[allow(dead_code)]
    config: Config,
    stats: Stats,
}

impl FrameBuffer {
    /// An empty buffer, which waits for a key frame.
    pub fn new(config: Config) -> FrameBuffer {
        FrameBuffer { config, stats: Stats::default() }
    }

    /// Takes a packet that arrived at `now`.
    pub fn insert(&mut self, _now: Timestamp, _packet: Packet, _facts: Facts) {}

    /// The next picture, if it is whole, decodable and due. Ask after each [`FrameBuffer::insert`] and at
    /// [`FrameBuffer::deadline`], until `None`. `repairable` is as in [`crate::JitterBuffer::decide`].
    pub fn poll(
        &mut self,
        _now: Timestamp,
        repairable: impl Fn(SeqNo) -> Option<Timestamp>,
    ) -> Option<Frame> {
        let _ = repairable(SeqNo(0));
        None
    }

    /// When to poll next if nothing arrives before.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// A key frame is needed: send a PLI (RFC 4585 §6.3.1), paced by the caller, as long as this is true.
    pub fn wants_key(&self) -> bool {
        true
    }

    /// Delays pictures at least by so much above the fastest path (see [`crate::sync`]).
    pub fn hold(&mut self, _floor: Duration) {}

    /// Local time minus media time of the picture last given out, in microseconds.
    pub fn playout_offset(&self) -> Option<i64> {
        None
    }

    /// Counters and levels.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
