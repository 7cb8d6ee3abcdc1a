//! Packets in: what they carry of others is brought back, and all wait for their turn.

use super::pause::PAUSE_BYTES;
use super::{AudioReceiver, Origin};
use crate::FrameTransform;
use std::time::Duration;
use undertone_codec::opus;
use undertone_jitter::Contents;
use undertone_media::{EncodedFrame, Kind, Packet, Timestamp};
use undertone_transport::recovery::red;
use undertone_transport::rtp;

/// Payload types of packets that carry others beside their own, as far as they were agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// Copies (RFC 2198).
    pub red: Option<u8>,
    /// The sliding-window code ([`rlc`]).
    pub rlc: Option<u8>,
}

impl AudioReceiver {
    /// Takes an RTP packet of this stream or of its retransmissions.
    pub fn receive(
        &mut self,
        now: Timestamp,
        header: &rtp::Header,
        payload: &[u8],
        transform: &mut dyn FrameTransform,
    ) {
        let format = Some(header.payload_type);
        if format == self.formats.rlc {
            return self.receive_coded(now, header, payload, transform);
        }
        if format == self.formats.red {
            return self.receive_copied(now, header, payload, transform);
        }
        if header.payload_type == self.stream.config().payload_type {
            self.copied = None;
            self.coded = None;
        }
        let packet = self.stream.receive(now, header, payload);
        self.insert(now, packet, transform);
    }

    /// A packet with copies of others.
    fn receive_copied(
        &mut self,
        now: Timestamp,
        header: &rtp::Header,
        payload: &[u8],
        transform: &mut dyn FrameTransform,
    ) {
        let mut parts = red::split(header, payload).into_iter();
        if let Some((header, payload)) = parts.next() {
            self.copied = opus::packet_duration(payload);
            let packet = self.stream.receive(now, &header, payload);
            self.insert(now, packet, transform);
        }
        for (header, payload) in parts {
            let copy = self.stream.receive_copy(now, &header, payload);
            self.insert_repaired(now, copy, Origin::Copy, transform);
        }
    }

    /// A packet with combinations of others.
    fn receive_coded(
        &mut self,
        now: Timestamp,
        header: &rtp::Header,
        payload: &[u8],
        transform: &mut dyn FrameTransform,
    ) {
        let Some(carrier) = self.code.open(payload) else {
            self.undecodable += 1;
            return;
        };
        let protected = protected(carrier.payload, !carrier.partial);
        let recovered = self.code.receive(header, &carrier, &protected);
        // Who sends in this form and repairs nothing says that there is nothing to wait for.
        let ticks = u64::from(self.code.reach().unwrap_or_default());
        let reach = ticks * 1_000_000 / u64::from(self.stream.config().clock_rate);
        self.coded = Some(Duration::from_micros(reach));
        let own = rtp::Header { payload_type: self.stream.config().payload_type, ..*header };
        let packet = self.stream.receive(now, &own, carrier.payload);
        self.insert(now, packet, transform);
        for (header, payload) in recovered {
            let copy = self.stream.receive_copy(now, &header, &payload);
            self.insert_repaired(now, copy, Origin::Code, transform);
        }
    }

    /// Packets got lost before there was any media: the first are waited for as if some of them were.
    pub(crate) fn on_rough_start(&mut self, now: Timestamp) {
        self.patience.loss = Some(now);
    }

    /// While lost packets come back by themselves, or their gist does, they need not be asked for.
    pub(crate) fn settle(&mut self) {
        if self.coded.is_some() {
            self.stream.forgo();
        }
    }

    fn insert_repaired(
        &mut self,
        now: Timestamp,
        packet: Option<Packet>,
        origin: Origin,
        transform: &mut dyn FrameTransform,
    ) {
        if let Some(packet) = &packet {
            self.repaired.insert(packet.seq, origin);
        }
        self.insert(now, packet, transform);
    }

    /// Puts a packet, if there is one, where it waits for its turn.
    fn insert(&mut self, now: Timestamp, packet: Option<Packet>, transform: &mut dyn FrameTransform) {
        let Some(mut packet) = packet else { return };
        let data = std::mem::take(&mut packet.payload);
        let mut frame = EncodedFrame { kind: Kind::Audio, time: packet.time, captured: now, key: true, data };
        if !transform.inbound(&mut frame) {
            self.undecodable += 1;
            return;
        }
        packet.payload = frame.data;
        let Some(duration) = opus::packet_duration(&packet.payload) else {
            self.undecodable += 1;
            return;
        };
        self.deep = Some(packet.seq);
        let deep = self.decoder.parse_dred(&packet.payload);
        let contents = Contents {
            lbrr: opus::has_lbrr(&packet.payload),
            dred: deep.map_or(Duration::ZERO, |span| span.duration()),
            pause: packet.payload.len() <= PAUSE_BYTES,
            ..Contents::plain(duration)
        };
        self.jitter.insert(now, packet, contents);
    }
}

/// What of a payload protection repeats: all of it, or the speech alone and not what that tells of the past. A relay, and
/// whoever cannot read the payload, can tell no part of it.
pub(crate) fn protected(payload: &[u8], whole: bool) -> Vec<u8> {
    let bare = if whole { None } else { opus::strip(payload) };
    bare.unwrap_or_else(|| payload.to_vec())
}
