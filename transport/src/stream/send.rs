//! The sending side of a stream: numbers its packets, and remembers them for those who ask again.
//!
//! Wire: RTX, RFC 4588: a retransmission has a source and numbers of its own, so that it disturbs neither
//! the loss statistics nor the replay protection of the original stream. Padding that probes the path travels there, too.

use crate::rtcp::Rtcp;
use crate::rtp::{Extensions, Header};
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{MediaTime, SeqNo, Ssrc, Timestamp};

/// Packets remembered at most, whatever their age: about 4 s of 8 Mbit/s.
const CACHE_PACKETS: usize = 4096;

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
    /// How lost packets are sent again; `None`: not at all. Default `None`.
    pub rtx: Option<Rtx>,
    /// How long packets are remembered for that. Default 1 s: longer, and playout has passed.
    pub cache: Duration,
    /// First sequence number; random in a real call (RFC 3550 §5.1).
    pub first_seq: u16,
    /// First sequence number of the RTX stream.
    pub first_rtx_seq: u16,
    /// Added to media time on the wire; random in a real call.
    pub timestamp_offset: u32,
}

impl SendConfig {
    /// A stream whose random numbers come from `random`, without RTX.
    pub fn new(ssrc: Ssrc, payload_type: u8, clock_rate: u32, random: u64) -> SendConfig {
        SendConfig {
            ssrc,
            payload_type,
            clock_rate,
            rtx: None,
            cache: Duration::from_secs(1),
            // RFC 3711 §3.3.1: from the lower half, the loss of the first packets cannot hide a wrap.
            first_seq: random as u16 & 0x7fff,
            first_rtx_seq: (random >> 16) as u16 & 0x7fff,
            timestamp_offset: (random >> 32) as u32,
        }
    }
}

/// A packet sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resend {
    /// Its header, in the RTX stream. It has the extensions of the original but those that number or date
    /// the sending.
    pub header: Header,
    /// Original sequence number, then the original payload (RFC 4588 §4).
    pub payload: Vec<u8>,
}

#[derive(Debug)]
struct Cached {
    seq: SeqNo,
    sent: Timestamp,
    /// Not sent again before this.
    again: Timestamp,
    header: Header,
    payload: Vec<u8>,
}

/// Numbers the packets of one stream, and remembers them for those who ask again.
#[derive(Debug)]
pub struct SendStream {
    config: SendConfig,
    next_seq: SeqNo,
    next_rtx_seq: u16,
    /// The newest packet's date on the wire.
    newest_time: u32,
    cache: VecDeque<Cached>,
    packets: u32,
    octets: u32,
}

impl SendStream {
    /// A stream that has sent nothing.
    pub fn new(config: SendConfig) -> SendStream {
        SendStream {
            // One cycle in, as a receiver counts, so that "before the first" has a number.
            next_seq: SeqNo(0x1_0000 + u64::from(config.first_seq)),
            next_rtx_seq: config.first_rtx_seq,
            newest_time: config.timestamp_offset,
            cache: VecDeque::new(),
            packets: 0,
            octets: 0,
            config,
        }
    }

    /// The settings.
    pub fn config(&self) -> &SendConfig {
        &self.config
    }

    /// The number of the next packet.
    pub fn next_seq(&self) -> SeqNo {
        self.next_seq
    }

    /// The header of the next packet.
    pub fn next(&mut self, time: MediaTime, marker: bool, ext: Extensions) -> Header {
        let seq = self.next_seq.wire();
        self.next_seq = self.next_seq.next();
        self.newest_time = self.wire_time(time);
        Header {
            payload_type: self.config.payload_type,
            marker,
            seq,
            timestamp: self.newest_time,
            ssrc: self.config.ssrc,
            ext,
        }
    }

    fn wire_time(&self, time: MediaTime) -> u32 {
        time.wire().wrapping_add(self.config.timestamp_offset)
    }

    /// Counts a packet that leaves, and remembers it for [`SendStream::resend`]. Packets come in the order
    /// of their numbers.
    pub fn store(&mut self, now: Timestamp, header: &Header, payload: &[u8]) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        if self.config.rtx.is_none() {
            return;
        }
        while self
            .cache
            .front()
            .is_some_and(|old| now.since(old.sent) > self.config.cache || self.cache.len() >= CACHE_PACKETS)
        {
            self.cache.pop_front();
        }
        let seq = self.unwrap(header.seq);
        if self.cache.back().is_none_or(|last| last.seq < seq) {
            let header = *header;
            self.cache.push_back(Cached { seq, sent: now, again: now, header, payload: payload.to_vec() });
        }
    }

    /// The sent packet that a wire number means: the nearest to the newest.
    fn unwrap(&self, wire: u16) -> SeqNo {
        let next = self.next_seq;
        SeqNo(next.0.saturating_add_signed(i64::from(wire.wrapping_sub(next.wire()) as i16)))
    }

    /// The packet `seq` once more. `None` if RTX was not agreed, if the packet is not remembered, or if it has just
    /// been sent again: whoever asks within `pause` of that cannot have seen it yet, and may ask several times in case a
    /// request is lost.
    pub fn resend(&mut self, now: Timestamp, seq: u16, pause: Duration) -> Option<Resend> {
        let at = self.find(now, seq)?;
        let cached = self.cache.get_mut(at)?;
        if now < cached.again {
            return None;
        }
        cached.again = now + pause;
        self.copy(now, seq)
    }

    /// The packet `seq` once more, unasked or beside another copy. `None` if RTX was not agreed, or if the packet is
    /// not remembered.
    pub fn copy(&mut self, now: Timestamp, seq: u16) -> Option<Resend> {
        let rtx = self.config.rtx?;
        let cached = self.cache.get(self.find(now, seq)?)?;
        let mut header = cached.header;
        header.ssrc = rtx.ssrc;
        header.payload_type = rtx.payload_type;
        header.seq = self.next_rtx_seq;
        header.ext.twcc = None;
        header.ext.abs_send_time = None;
        self.next_rtx_seq = self.next_rtx_seq.wrapping_add(1);
        let mut payload = Vec::with_capacity(2 + cached.payload.len());
        payload.extend_from_slice(&cached.seq.wire().to_be_bytes());
        payload.extend_from_slice(&cached.payload);
        Some(Resend { header, payload })
    }

    /// The header of a packet of padding ([`crate::rtp::pad`]) in the RTX stream, where it leaves no gap in the media.
    /// `None` if RTX was not agreed.
    pub fn padding(&mut self) -> Option<Header> {
        let Rtx { ssrc, payload_type } = self.config.rtx?;
        let seq = self.next_rtx_seq;
        self.next_rtx_seq = seq.wrapping_add(1);
        let timestamp = self.newest_time;
        Some(Header { payload_type, seq, timestamp, ssrc, ..Header::default() })
    }

    /// What was sent so far is of no use any more: nobody gets it again.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    fn find(&self, now: Timestamp, seq: u16) -> Option<usize> {
        let seq = self.unwrap(seq);
        let at = self.cache.binary_search_by_key(&seq, |cached| cached.seq).ok()?;
        (now.since(self.cache.get(at)?.sent) <= self.config.cache).then_some(at)
    }

    /// A sender report without blocks, for a media clock that stands at `at` at the NTP time `ntp` (see
    /// [`crate::rtcp::ntp`]).
    pub fn sender_report(&self, ntp: u64, at: MediaTime) -> Rtcp {
        Rtcp::SenderReport {
            ssrc: self.config.ssrc,
            ntp,
            rtp_time: self.wire_time(at),
            packets: self.packets,
            octets: self.octets,
            blocks: Vec::new(),
        }
    }
}
