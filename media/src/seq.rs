//! Sequence numbers and media time, unwrapped once where a packet enters.
//!
//! Why: arithmetic modulo 2^16 and 2^32 spread through an engine is where its worst bugs live. RTP's
//! fields (RFC 3550 §5.1) become plain growing integers at the wire, and stay so.

use crate::Timestamp;
use std::ops::{Add, Sub};
use std::time::Duration;

/// The source of one RTP stream (RFC 3550 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssrc(pub u32);

/// A packet's place in its stream. Never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(pub u64);

impl SeqNo {
    /// The 16 bits that travel.
    pub const fn wire(self) -> u16 {
        self.0 as u16
    }

    /// How many packets `self` is ahead of `other`; negative if behind.
    pub const fn ahead_of(self, other: SeqNo) -> i64 {
        self.0 as i64 - other.0 as i64
    }

    /// The packet after this one.
    pub const fn next(self) -> SeqNo {
        SeqNo(self.0 + 1)
    }
}

impl Add<u64> for SeqNo {
    type Output = SeqNo;
    fn add(self, n: u64) -> SeqNo {
        SeqNo(self.0 + n)
    }
}

/// A place on a stream's own media clock, in ticks of its RTP clock rate (48 000 for Opus, 90 000 for
/// video). Never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(pub u64);

impl MediaTime {
    /// The 32 bits that travel.
    pub const fn wire(self) -> u32 {
        self.0 as u32
    }

    /// Time from `earlier` to `self` at `clock_rate` ticks per second; zero if `earlier` is later.
    pub const fn since(self, earlier: MediaTime, clock_rate: u32) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0) * 1_000_000 / clock_rate as u64)
    }
}

impl Add<u64> for MediaTime {
    type Output = MediaTime;
    fn add(self, ticks: u64) -> MediaTime {
        MediaTime(self.0 + ticks)
    }
}

impl Sub<u64> for MediaTime {
    type Output = MediaTime;
    fn sub(self, ticks: u64) -> MediaTime {
        MediaTime(self.0.saturating_sub(ticks))
    }
}

/// Turns 16-bit sequence numbers into [`SeqNo`]s: each is taken as the nearest to the newest seen.
///
/// The first packet starts one whole cycle in, so that packets from before it still have a number.
#[derive(Clone, Debug, Default)]
pub struct SeqUnwrapper {
    newest: Option<u64>,
}

impl SeqUnwrapper {
    /// The unwrapped number of a packet that arrived.
    pub fn unwrap(&mut self, wire: u16) -> SeqNo {
        let seq = self.peek(wire);
        self.newest = Some(self.newest.map_or(seq.0, |newest| newest.max(seq.0)));
        seq
    }

    /// The same, for a number that is merely spoken of (a NACK, a report): nothing is remembered.
    pub fn peek(&self, wire: u16) -> SeqNo {
        SeqNo(match self.newest {
            None => 0x1_0000 + u64::from(wire),
            Some(newest) => newest.saturating_add_signed(i64::from(wire.wrapping_sub(newest as u16) as i16)),
        })
    }
}

/// Turns 32-bit RTP timestamps into [`MediaTime`]s, in the same way.
#[derive(Clone, Debug, Default)]
pub struct TimeUnwrapper {
    newest: Option<u64>,
}

impl TimeUnwrapper {
    /// The unwrapped time of a packet that arrived.
    pub fn unwrap(&mut self, wire: u32) -> MediaTime {
        let time = self.peek(wire);
        self.newest = Some(self.newest.map_or(time.0, |newest| newest.max(time.0)));
        time
    }

    /// The same, without remembering it.
    pub fn peek(&self, wire: u32) -> MediaTime {
        MediaTime(match self.newest {
            None => 0x1_0000_0000 + u64::from(wire),
            Some(newest) => newest.saturating_add_signed(i64::from(wire.wrapping_sub(newest as u32) as i32)),
        })
    }
}

/// A media packet as it came off the wire: decrypted, unwrapped, not yet decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its place in the stream.
    pub seq: SeqNo,
    /// What its samples or picture are dated.
    pub time: MediaTime,
    /// RTP marker: the start of a talk spurt, or the end of a picture.
    pub marker: bool,
    /// RTP payload type, which names the codec.
    pub payload_type: u8,
    /// When it reached this machine.
    pub arrival: Timestamp,
    /// True if it came as a retransmission: its delay says nothing about the path.
    pub repaired: bool,
    /// The payload, without the RTP header.
    pub payload: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_survive_the_wrap_and_reordering() {
        let mut unwrapper = SeqUnwrapper::default();
        let seqs: Vec<u64> =
            [65534u16, 65535, 0, 65533, 2, 1].iter().map(|&w| unwrapper.unwrap(w).0).collect();
        let first = 0x1_0000 + 65534;
        assert_eq!(seqs, [first, first + 1, first + 2, first - 1, first + 4, first + 3]);
    }

    #[test]
    fn media_time_survives_the_wrap() {
        let mut unwrapper = TimeUnwrapper::default();
        let a = unwrapper.unwrap(u32::MAX - 479);
        let b = unwrapper.unwrap(480);
        assert_eq!(b.since(a, 48_000), Duration::from_millis(20));
    }

    #[test]
    fn a_number_spoken_of_moves_nothing() {
        let mut unwrapper = SeqUnwrapper::default();
        let seq = unwrapper.unwrap(10);
        assert_eq!(unwrapper.peek(9), SeqNo(seq.0 - 1));
        assert_eq!(unwrapper.peek(30_000), seq + 29_990);
        assert_eq!(unwrapper.unwrap(11), seq.next());
    }
}
