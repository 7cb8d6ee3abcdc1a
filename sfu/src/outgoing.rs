//! One receive slot of a subscriber: the stream that goes out, whoever is in it.
//!
//! Why: the subscriber negotiated this SSRC once. A source enters at a key frame, and may be paused and
//! resumed; the numbers run on through all of it (`rewrite`).
//!
//! Wire: RTP, RTX (RFC 4588). Not here: who is in the slot (`slots`), when packets leave (`link`).

use crate::negotiate::SlotConfig;
use crate::protect::Protection;
use crate::rewrite::{Place, Rewriter, SourceId};
use crate::source::{Relayed, Source};
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, Kind, Timestamp};
use undertone_transport::rtcp::{ReportBlock, Rtcp};
use undertone_transport::rtp::{Descriptor, Extension, Extensions, Header, Mid};

/// How many resends are remembered, so that one packet asked for twice in a round trip goes once.
const RESENT: usize = 256;
/// How many sender reports are remembered until they are answered.
const REPORTED: usize = 8;
/// How many sealed packets are kept where RTX is missing: a second of speech.
const KEPT: usize = 50;

/// What may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Nothing until a packet comes that a receiver can start with.
    AwaitingKey,
    /// Everything.
    Open,
    /// Nothing: the subscriber's link cannot carry it.
    Paused,
}

/// What becomes of a packet that is offered to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes out there.
    Send(Place),
    /// It goes out there, and it is the first: what came after it must follow.
    Start(Place),
    /// It stays out; a key frame is wanted.
    NeedsKey,
    /// It stays out.
    Withhold,
}

/// One outgoing stream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) config: SlotConfig,
    /// Redundancy, for sound and who reads it.
    pub(crate) protection: Option<Protection>,
    /// Whose stream is in it: participant and source.
    source: Option<(u32, SourceId)>,
    gate: Gate,
    rewriter: Rewriter,
    rtx_seq: u16,
    /// The newest packet's date on the wire.
    newest_time: u32,
    packets: u32,
    octets: u32,
    /// Sent along until the subscriber reports on the stream, for those who cannot tell it by its SSRC.
    mid: Option<Mid>,
    resent: VecDeque<(SourceId, u64, Timestamp)>,
    /// Sealed packets under their numbers, and when each last left.
    kept: VecDeque<(u16, Timestamp, Vec<u8>)>,
    /// A sender report told the present source's clock.
    pub(crate) dated: bool,
    /// What the subscriber's link leaves for this picture; `None`: it has shown no limit.
    pub(crate) limit: Option<Bitrate>,
    /// What reports will be known by when they are answered, and when they left.
    reported: VecDeque<(u32, Timestamp)>,
}

impl Outgoing {
    /// A slot that starts at numbers drawn from `random`.
    pub(crate) fn new(config: SlotConfig, random: u64) -> Outgoing {
        // RFC 3711 §3.3.1: a first number in the lower half cannot be lost across a wrap.
        let rewriter = Rewriter::new(config.clock_rate, random as u16 & 0x7fff, (random >> 32) as u32);
        let mid = config.extensions.id(Extension::Mid).and_then(|_| Mid::new(config.mid.as_bytes()));
        Outgoing {
            protection: Protection::new(&config),
            config,
            source: None,
            gate: Gate::AwaitingKey,
            rewriter,
            rtx_seq: (random >> 16) as u16 & 0x7fff,
            newest_time: (random >> 32) as u32,
            packets: 0,
            octets: 0,
            mid,
            resent: VecDeque::new(),
            kept: VecDeque::new(),
            dated: false,
            limit: None,
            reported: VecDeque::new(),
        }
    }

    pub(crate) fn source(&self) -> Option<(u32, SourceId)> {
        self.source
    }

    /// Puts a source in, or none. True if a key frame must be asked for.
    pub(crate) fn set_source(&mut self, source: Option<(u32, SourceId)>) -> bool {
        if self.source == source {
            return false;
        }
        self.source = source;
        self.rewriter.close();
        self.dated = false;
        // A paused slot stays so for the next source; an empty one begins anew, on trust.
        if self.gate == Gate::Open || source.is_none() {
            self.gate = Gate::AwaitingKey;
        }
        self.needs_key()
    }

    /// A source is in, and cannot start before its next key frame.
    pub(crate) fn needs_key(&self) -> bool {
        self.source.is_some() && self.gate == Gate::AwaitingKey && self.config.kind == Kind::Video
    }

    /// Stops or resumes. True if a key frame must be asked for.
    pub(crate) fn play(&mut self, play: bool) -> bool {
        match (play, self.gate) {
            (false, Gate::Paused) | (true, Gate::AwaitingKey | Gate::Open) => false,
            (false, _) => {
                self.rewriter.close();
                self.gate = Gate::Paused;
                false
            }
            (true, Gate::Paused) => {
                self.gate = Gate::AwaitingKey;
                self.needs_key()
            }
        }
    }

    pub(crate) fn playing(&self) -> bool {
        self.gate != Gate::Paused
    }

    /// Finds a packet its place.
    pub(crate) fn offer(&mut self, now: Timestamp, packet: &Relayed) -> Verdict {
        let current = self.source.is_some_and(|(_, id)| id == packet.source);
        if packet.payload.is_empty() {
            // Padding, with which a publisher probes its own link: nothing to pass on.
            if current && self.gate == Gate::Open {
                self.rewriter.elide(packet.source, packet.seq);
            }
            return Verdict::Withhold;
        }
        let starts = current && self.gate == Gate::AwaitingKey && packet.key;
        if starts {
            self.rewriter.switch(now, packet.source, packet.seq, packet.time, packet.frame);
            self.gate = Gate::Open;
        }
        match self.rewriter.place(packet.source, packet.seq, packet.time, packet.frame) {
            Some(place) if starts => Verdict::Start(place),
            Some(place) => Verdict::Send(place),
            None if current && self.needs_key() => Verdict::NeedsKey,
            None => Verdict::Withhold,
        }
    }

    /// Which packet went out under this number.
    pub(crate) fn origin(&self, wire: u16) -> Option<(SourceId, undertone_media::SeqNo)> {
        self.rewriter.origin(wire)
    }

    /// Where a packet that went out goes again; `None` if it just did, or if retransmission was not agreed. Asked for within
    /// `pause` it does not.
    pub(crate) fn resend(&mut self, now: Timestamp, packet: &Relayed, pause: Duration) -> Option<Place> {
        self.config.rtx?;
        let (id, seq) = (packet.source, packet.seq.0);
        if self.resent.iter().any(|&(i, s, until)| (i, s) == (id, seq) && now < until) {
            return None;
        }
        let place = self.rewriter.place(packet.source, packet.seq, packet.time, packet.frame)?;
        self.repeats(now + pause, packet);
        Some(place)
    }

    /// Notes that a packet goes out as a retransmission, and not once more before `until`; false if that was not agreed.
    pub(crate) fn repeats(&mut self, until: Timestamp, packet: &Relayed) -> bool {
        if self.resent.len() == RESENT {
            self.resent.pop_front();
        }
        self.resent.push_back((packet.source, packet.seq.0, until));
        self.config.rtx.is_some()
    }

    /// Keeps a sealed packet for [`Outgoing::repeat`].
    pub(crate) fn keep(&mut self, now: Timestamp, wire: u16, sealed: Vec<u8>) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((wire, now, sealed));
    }

    /// A kept packet to be sent again; `None` if it is gone, or just left.
    pub(crate) fn repeat(&mut self, now: Timestamp, wire: u16, apart: Duration) -> Option<&[u8]> {
        let (_, left, sealed) =
            self.kept.iter_mut().find(|(kept, left, _)| *kept == wire && now.since(*left) >= apart)?;
        *left = now;
        Some(sealed)
    }

    /// The extensions of a packet that goes out.
    fn extensions(&self, packet: &Relayed, place: Place) -> Extensions {
        let dd = packet.ext.dd.filter(|_| self.config.kind == Kind::Video);
        Extensions {
            mid: self.mid,
            audio_level: packet.ext.audio_level,
            capture_time: packet.ext.capture_time,
            dd: dd.map(|dd| renumber(dd, place.frame_offset)),
            ..Extensions::default()
        }
    }

    /// The header of a packet that goes out, counted.
    pub(crate) fn header(&mut self, packet: &Relayed, place: Place) -> Header {
        self.newest_time = place.time.wire();
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload.len() as u32);
        Header {
            payload_type: self.config.payload_type,
            marker: packet.marker,
            seq: place.seq.wire(),
            timestamp: place.time.wire(),
            ssrc: self.config.ssrc,
            ext: self.extensions(packet, place),
        }
    }

    /// The header of a packet that goes out again; its payload is the original number, then the payload.
    pub(crate) fn rtx_header(&mut self, packet: &Relayed, place: Place) -> Option<Header> {
        let (ssrc, payload_type) = self.config.rtx?;
        let seq = self.rtx_seq;
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        Some(Header {
            payload_type,
            marker: packet.marker,
            seq,
            timestamp: place.time.wire(),
            ssrc,
            ext: self.extensions(packet, place),
        })
    }

    /// Whether padding can be sent beside its packets.
    pub(crate) fn pads(&self) -> bool {
        self.config.kind == Kind::Video && self.config.rtx.is_some()
    }

    /// The header of a packet of padding, which travels with the retransmissions.
    pub(crate) fn padding(&mut self) -> Option<Header> {
        let (ssrc, payload_type) = self.config.rtx?;
        let seq = self.rtx_seq;
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        let ext = Extensions { mid: self.mid, ..Extensions::default() };
        Some(Header { payload_type, marker: false, seq, timestamp: self.newest_time, ssrc, ext })
    }

    /// How the stream's dates map to the publisher's clock; `None` while nothing flows or the publisher has
    /// not told.
    pub(crate) fn sender_report(&self, now: Timestamp, source: &Source) -> Option<Rtcp> {
        let (ntp, time) = source.point(now)?;
        let date = self.rewriter.date(source.id, time)?;
        Some(Rtcp::SenderReport {
            ssrc: self.config.ssrc,
            ntp,
            rtp_time: date.wire(),
            packets: self.packets,
            octets: self.octets,
            blocks: Vec::new(),
        })
    }

    /// A sender report left.
    pub(crate) fn reported(&mut self, now: Timestamp, ntp: u64) {
        if self.reported.len() == REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back(((ntp >> 16) as u32, now));
    }

    /// The subscriber reports on the stream, so it knows whose it is. The round trip, if it answers one of
    /// our reports: by when that left, since the time in it is the publisher's.
    pub(crate) fn answered(&mut self, now: Timestamp, block: &ReportBlock) -> Option<Duration> {
        self.mid = None;
        let (_, left) = self.reported.iter().find(|(known, _)| *known == block.last_sr)?;
        let held = Duration::from_micros(u64::from(block.delay_since_last_sr) * 1_000_000 / 65_536);
        now.since(*left).checked_sub(held)
    }
}

/// A dependency descriptor with its frame number (the second and third byte) moved on.
fn renumber(descriptor: Descriptor, offset: u16) -> Descriptor {
    let bytes = descriptor.as_bytes();
    let Some(&[first, hi, lo]) = bytes.first_chunk::<3>().filter(|_| offset != 0) else {
        return descriptor;
    };
    let [hi, lo] = u16::from_be_bytes([hi, lo]).wrapping_add(offset).to_be_bytes();
    let mut moved = [0; 127];
    moved[..bytes.len()].copy_from_slice(bytes);
    moved[..3].copy_from_slice(&[first, hi, lo]);
    Descriptor::new(&moved[..bytes.len()]).unwrap_or(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_keeps_all_but_its_number() {
        let old = Descriptor::new(&[0xc5, 0xff, 0xfe, 1, 2, 3]).unwrap();
        assert_eq!(renumber(old, 3).as_bytes(), [0xc5, 0x00, 0x01, 1, 2, 3]);
        let odd = Descriptor::new(&[0xc5]).unwrap();
        assert_eq!(renumber(odd, 3), odd);
    }
}
