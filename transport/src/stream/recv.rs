//! The receiving side of a stream.

use crate::rtcp::{ReportBlock, Rtcp};
use crate::rtp::Header;
use std::time::Duration;
use undertone_media::{MediaTime, Packet, SeqNo, Ssrc, Timestamp};

/// When lost packets are asked for again.
#[derive(Clone, Debug)]
pub struct NackConfig {
    /// A gap is taken for a loss when this many later packets have come. Default 1: at once. More where the
    /// path reorders.
    pub reorder: u64,
    /// How often one packet is asked for. Default 10.
    pub tries: u32,
    /// How long after its loss was noticed a packet is still useful. Default 1 s; playout may end it sooner
    /// ([`RecvStream::abandon_before`]).
    pub useful: Duration,
    /// Added to the round-trip time before asking again. Default 10 ms.
    pub margin: Duration,
    /// Asks a second time this long after the first request, without waiting for its answer, since a request
    /// is cheap and can be lost too; the sender answers once. Default `None`.
    pub echo: Option<Duration>,
    /// The usual time between two packets of a steady stream: when nothing came for longer, the next packet
    /// is asked for as if a later one had shown the gap, once. Default `None`: bursts and pauses are normal.
    pub cadence: Option<Duration>,
}

impl Default for NackConfig {
    fn default() -> NackConfig {
        NackConfig {
            reorder: 1,
            tries: 10,
            useful: Duration::from_secs(1),
            margin: Duration::from_millis(10),
            echo: None,
            cadence: None,
        }
    }
}

/// Settings of a [`RecvStream`].
#[derive(Clone, Debug)]
pub struct RecvConfig {
    /// Which stream.
    pub ssrc: Ssrc,
    /// The payload type that retransmitted packets get back (`apt` of RFC 4588 §8.1).
    pub payload_type: u8,
    /// Ticks of media time per second.
    pub clock_rate: u32,
    /// The payload type of retransmissions; `None` if there are none.
    pub rtx_payload_type: Option<u8>,
    /// When to ask for lost packets; `None`: never.
    pub nack: Option<NackConfig>,
}

/// What a stream has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvStats {
    /// Packets that came, each counted once, retransmitted ones included.
    pub received: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that did not come the first time.
    pub lost: u64,
    /// Of these, the ones that came as retransmissions.
    pub repaired: u64,
    /// Packets that came again though they were here.
    pub duplicates: u64,
    /// Packets that make no sense: far outside the stream, or a retransmission too short to be one.
    pub bad: u64,
    /// Packets asked for, repeated requests included.
    pub requested: u64,
    /// Interarrival jitter (RFC 3550 §A.8).
    pub jitter: Duration,
}

/// Unwraps, deduplicates and counts the packets of one stream, and asks for lost ones.
#[derive(Debug)]
pub struct RecvStream {
    config: RecvConfig,
    stats: RecvStats,
}

impl RecvStream {
    /// A stream that has received nothing.
    pub fn new(config: RecvConfig) -> RecvStream {
        RecvStream { config, stats: RecvStats::default() }
    }

    /// The settings.
    pub fn config(&self) -> &RecvConfig {
        &self.config
    }

    /// Takes a packet of the stream or of its RTX stream, told apart by payload type. `None` if it brings
    /// nothing new.
    pub fn receive(&mut self, now: Timestamp, header: &Header, payload: &[u8]) -> Option<Packet> {
        let _ = (now, header, payload);
        None
    }

    /// The packets to ask for now; they count as asked for. Empty most of the time.
    pub fn nack(&mut self, now: Timestamp, rtt: Option<Duration>) -> Vec<u16> {
        let _ = (now, rtt);
        Vec::new()
    }

    /// When to call [`RecvStream::nack`] if nothing comes before.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Playout has passed: what is missing before `seq` is no longer asked for.
    pub fn abandon_before(&mut self, seq: SeqNo) {
        let _ = seq;
    }

    /// Until when the missing packet `seq` may still come: when the answer to the newest request is due, or
    /// to the request about to be made. `None` if it is not missing or is given up. Later requests move it
    /// on: ask again at that time.
    pub fn repairable_until(&self, seq: SeqNo, rtt: Option<Duration>) -> Option<Timestamp> {
        let _ = (seq, rtt);
        None
    }

    /// A sender report about this stream arrived: the next report block answers it.
    pub fn on_sender_report(&mut self, now: Timestamp, report: &Rtcp) {
        let _ = (now, report);
    }

    /// The time of capture, on the sender's NTP clock (32.32), of the sample dated `time`; known once a
    /// sender report came. It is what lip sync compares.
    pub fn capture_ntp(&self, time: MediaTime) -> Option<u64> {
        let _ = time;
        None
    }

    /// A report block about all received so far; the share lost counts from the last block.
    pub fn report_block(&mut self, now: Timestamp) -> ReportBlock {
        let _ = now;
        ReportBlock { ssrc: self.config.ssrc, ..ReportBlock::default() }
    }

    /// What happened so far.
    pub fn stats(&self) -> RecvStats {
        self.stats
    }
}
