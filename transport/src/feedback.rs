//! Tells a sender what arrived when, and a sender what that means.

use crate::bwe::Outcome;
use crate::rtcp::Rtcp;
use undertone_media::{DataSize, Ssrc, Timestamp};

/// Which feedback two ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Transport-wide numbers in a header extension: what browsers speak.
    Twcc,
    /// RFC 8888, which costs media packets nothing: between our own ends.
    Ccfb,
}

/// The name under which a packet's fate is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketId {
    /// Its transport-wide number.
    Twcc(u16),
    /// Its stream and sequence number as they travel, retransmissions included.
    Rtp(Ssrc, u16),
}

/// Receiver side: notes what arrives and says so now and then.
#[derive(Debug)]
pub struct Recorder {}

impl Recorder {
    /// An empty one that reports as `sender`.
    pub fn new(format: Format, sender: Ssrc) -> Recorder {
        let _ = (format, sender);
        Recorder {}
    }

    /// A packet arrived; `size` is its size on the wire, which sets how often reports pay.
    pub fn on_packet(&mut self, now: Timestamp, id: PacketId, size: DataSize) {
        let _ = (now, id, size);
    }

    /// When the next report is due; `None` if there is nothing to report.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// A report, if one is due.
    pub fn poll(&mut self, now: Timestamp) -> Option<Rtcp> {
        let _ = now;
        None
    }
}

/// Sender side: remembers what was sent until feedback tells its fate.
#[derive(Debug, Default)]
pub struct SentLog {}

impl SentLog {
    /// An empty one.
    pub fn new() -> SentLog {
        SentLog::default()
    }

    /// A packet left; `size` is its size on the wire.
    pub fn on_sent(&mut self, now: Timestamp, id: PacketId, size: DataSize) {
        let _ = (now, id, size);
    }

    /// What a report tells, in the order of sending; empty if it is no such report.
    pub fn on_feedback(&mut self, now: Timestamp, report: &Rtcp) -> Vec<Outcome> {
        let _ = (now, report);
        Vec::new()
    }
}
