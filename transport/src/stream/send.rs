//! The sending side of a stream.

use crate::rtcp::Rtcp;
use crate::rtp::{Extensions, Header};
use std::time::Duration;
use undertone_media::{MediaTime, SeqNo, Ssrc, Timestamp};

/// The stream that carries retransmissions (RFC 4588).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtx {
    /// Its own source.
    pub ssrc: Ssrc,
    /// Its own payload type.
    pub payload_type: u8,
}

/// Settings of a [`SendStream`].
#[derive(Clone, Debug)]
pub struct SendConfig {
    /// Which stream.
    pub ssrc: Ssrc,
    /// Names the codec.
    pub payload_type: u8,
    /// Ticks of media time per second.
    pub clock_rate: u32,
    /// How lost packets are sent again; `None`: not at all.
    pub rtx: Option<Rtx>,
    /// How long packets are remembered for that. Default in [`SendConfig::new`]: 1 s.
    pub cache: Duration,
    /// First sequence number; random in a real call (RFC 3550 §5.1).
    pub first_seq: u16,
    /// First sequence number of the RTX stream.
    pub first_rtx_seq: u16,
    /// Added to media time on the wire; random in a real call.
    pub timestamp_offset: u32,
}

impl SendConfig {
    /// A stream with random numbers drawn from `random`, without RTX.
    pub fn new(ssrc: Ssrc, payload_type: u8, clock_rate: u32, random: u64) -> SendConfig {
        SendConfig {
            ssrc,
            payload_type,
            clock_rate,
            rtx: None,
            cache: Duration::from_secs(1),
            // RFC 3711 §3.3.1: a first number in the lower half cannot be lost across a wrap.
            first_seq: random as u16 & 0x7fff,
            first_rtx_seq: (random >> 16) as u16 & 0x7fff,
            timestamp_offset: (random >> 32) as u32,
        }
    }
}

/// A packet sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resend {
    /// Its header, in the RTX stream.
    pub header: Header,
    /// Original sequence number, then the original payload (RFC 4588 §4).
    pub payload: Vec<u8>,
}

/// Numbers the packets of one stream, and remembers them for those who ask again.
#[derive(Debug)]
pub struct SendStream {
    config: SendConfig,
}

impl SendStream {
    /// A stream that has sent nothing.
    pub fn new(config: SendConfig) -> SendStream {
        SendStream { config }
    }

    /// The settings.
    pub fn config(&self) -> &SendConfig {
        &self.config
    }

    /// The header of the next packet.
    pub fn next(&mut self, time: MediaTime, marker: bool, ext: Extensions) -> Header {
        let _ = (time, marker, ext);
        Header::default()
    }

    /// Counts a packet that leaves, and remembers it for [`SendStream::resend`].
    pub fn store(&mut self, now: Timestamp, header: &Header, payload: &[u8]) {
        let _ = (now, header, payload);
    }

    /// The packet `seq` again, if it is remembered, was not sent within half a round trip, and RTX was
    /// agreed.
    pub fn resend(&mut self, now: Timestamp, seq: u16, rtt: Option<Duration>) -> Option<Resend> {
        let _ = (now, seq, rtt);
        None
    }

    /// A sender report, for a media clock that stands at `at` at the NTP time `ntp` (see
    /// [`crate::rtcp::ntp`]).
    pub fn sender_report(&self, ntp: u64, at: MediaTime) -> Rtcp {
        Rtcp::SenderReport {
            ssrc: self.config.ssrc,
            ntp,
            rtp_time: at.wire(),
            packets: 0,
            octets: 0,
            blocks: Vec::new(),
        }
    }

    /// The number of the next packet.
    pub fn next_seq(&self) -> SeqNo {
        SeqNo(0)
    }
}
