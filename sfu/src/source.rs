//! One published stream: repaired, remembered, measured.
//!
//! Why: everything that is the same for all subscribers is done here once per packet: the header is read,
//! a lost packet asked for, a retransmission put back in its place, key frames found, and the packet kept
//! for those who ask again.
//!
//! Wire: RTP and RTX as `transport::stream` reads them. Not here: who gets the packets (`room`, `forward`).

use crate::ceiling::Ceiling;
use crate::keyframe::Requests;
use crate::rewrite::{SourceId, ticks};
use std::sync::Arc;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Kind, MediaTime, Packet, SeqNo, Ssrc, Timestamp};
use undertone_transport::payload::{dd, h264, vp8};
use undertone_transport::recovery::{red, rlc};
use undertone_transport::rtcp::{self, Rtcp};
use undertone_transport::rtp::{Extensions, Header};
use undertone_transport::stream::{NackConfig, RecvConfig, RecvStream};

/// How many packets are kept for retransmission: 5 s of speech, 4 s of video at 2.5 Mbit/s. Powers of two.
const CACHE_AUDIO: usize = 256;
const CACHE_VIDEO: usize = 1024;
/// A camera that sends nothing for this long gives its slots up until it sends again.
const STALE: Duration = Duration::from_secs(5);
/// What the rate is measured over, in ticks of [`RateMeter::TICK`].
const RATE_BUCKETS: usize = 4;

/// What tells a key frame where no dependency descriptor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    H264,
    Vp8,
    /// A receiver can start at any packet: audio.
    Any,
    /// Nothing but the descriptor.
    Opaque,
}

impl Codec {
    pub(crate) fn from_name(name: &str, kind: Kind) -> Codec {
        match kind {
            Kind::Audio => Codec::Any,
            Kind::Video if name.eq_ignore_ascii_case("H264") => Codec::H264,
            Kind::Video if name.eq_ignore_ascii_case("VP8") => Codec::Vp8,
            Kind::Video => Codec::Opaque,
        }
    }
}

/// A packet as every subscriber will get it, but for the numbers.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) source: SourceId,
    pub(crate) seq: SeqNo,
    pub(crate) time: MediaTime,
    pub(crate) marker: bool,
    /// It was lost on the publisher's link, and came again.
    pub(crate) repaired: bool,
    /// Only what is passed on: level, capture time, dependency descriptor.
    pub(crate) ext: Extensions,
    /// A receiver can start here.
    pub(crate) key: bool,
    /// The frame number in the descriptor.
    pub(crate) frame: Option<u16>,
    pub(crate) payload: Vec<u8>,
}

/// The newest packets by sequence number.
#[derive(Debug)]
struct Cache {
    ring: Vec<Option<Arc<Relayed>>>,
}

impl Cache {
    fn new(packets: usize) -> Cache {
        Cache { ring: vec![None; packets] }
    }

    fn insert(&mut self, packet: Arc<Relayed>) {
        let at = packet.seq.0 as usize % self.ring.len();
        self.ring[at] = Some(packet);
    }

    fn get(&self, seq: SeqNo) -> Option<&Arc<Relayed>> {
        self.ring[seq.0 as usize % self.ring.len()].as_ref().filter(|packet| packet.seq == seq)
    }
}

/// Bytes per second over the last second.
#[derive(Clone, Debug, Default)]
struct RateMeter {
    buckets: [u64; RATE_BUCKETS],
    at: usize,
}

impl RateMeter {
    /// How often [`RateMeter::turn`] is called.
    const TICK: Duration = Duration::from_millis(250);

    fn add(&mut self, bytes: u64) {
        self.buckets[self.at] += bytes;
    }

    fn turn(&mut self) {
        self.at = (self.at + 1) % RATE_BUCKETS;
        self.buckets[self.at] = 0;
    }

    /// The mean of the full buckets.
    fn rate(&self) -> Bitrate {
        let full: u64 = self.buckets.iter().sum::<u64>() - self.buckets[self.at];
        DataSize::from_bytes(full).per(RateMeter::TICK * (RATE_BUCKETS as u32 - 1))
    }
}

/// A point that is known on the publisher's NTP clock and on the stream's media clock, and when it was told.
#[derive(Clone, Copy, Debug)]
struct Mark {
    ntp: u64,
    time: MediaTime,
    told: Timestamp,
}

/// What a source is made from.
#[derive(Clone, Debug)]
pub(crate) struct SourceConfig {
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) ssrc: Ssrc,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
    /// Payload types of packets with copies, and with repair symbols, of those with `payload_type`.
    pub(crate) red_payload_type: Option<u8>,
    pub(crate) rlc_payload_type: Option<u8>,
    pub(crate) clock_rate: u32,
    /// The publisher answers NACKs.
    pub(crate) nack: bool,
}

/// One published stream.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) id: SourceId,
    pub(crate) kind: Kind,
    pub(crate) ssrc: Ssrc,
    /// A camera that has sent nothing for a while; it has no slot.
    pub(crate) stale: bool,
    pub(crate) requests: Requests,
    pub(crate) ceiling: Ceiling,
    /// Who gets it: place in the room, place among the slots.
    pub(crate) routes: Vec<(usize, usize)>,
    codec: Codec,
    clock_rate: u32,
    stream: RecvStream,
    red_payload_type: Option<u8>,
    /// For packets of that payload type.
    rlc: Option<(u8, rlc::Decoder)>,
    descriptors: dd::Parser,
    cache: Cache,
    newest: Option<SeqNo>,
    newest_time: MediaTime,
    last_packet: Timestamp,
    rate: RateMeter,
    mark: Option<Mark>,
}

impl Source {
    pub(crate) fn new(now: Timestamp, id: SourceId, config: &SourceConfig) -> Source {
        let stream = RecvStream::new(RecvConfig {
            ssrc: config.ssrc,
            payload_type: config.payload_type,
            clock_rate: config.clock_rate,
            rtx_payload_type: config.rtx_payload_type,
            nack: config.nack.then(|| match config.kind {
                // Every subscriber waits for it: what is small is asked for eagerly, and twice.
                Kind::Audio => NackConfig {
                    useful: Duration::from_millis(500),
                    echo: Some(Duration::from_millis(10)),
                    tail: true,
                    ..NackConfig::default()
                },
                Kind::Video => NackConfig::video(),
            }),
        });
        Source {
            id,
            kind: config.kind,
            ssrc: config.ssrc,
            stale: false,
            requests: Requests::default(),
            ceiling: Ceiling::default(),
            routes: Vec::new(),
            codec: config.codec,
            clock_rate: config.clock_rate,
            stream,
            red_payload_type: config.red_payload_type,
            rlc: config.rlc_payload_type.map(|it| (it, rlc::Decoder::new(config.payload_type))),
            descriptors: dd::Parser::default(),
            cache: Cache::new(if config.kind == Kind::Audio { CACHE_AUDIO } else { CACHE_VIDEO }),
            newest: None,
            newest_time: MediaTime::default(),
            last_packet: now,
            rate: RateMeter::default(),
            mark: None,
        }
    }

    /// Takes a packet off the wire. Returns what is new in it, oldest first: lost ones that it brings back,
    /// and itself.
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        header: &Header,
        payload: &[u8],
        wire_bytes: usize,
    ) -> Vec<Arc<Relayed>> {
        let mut news = Vec::new();
        if self.red_payload_type == Some(header.payload_type) {
            for (place, (header, payload)) in red::split(header, payload).into_iter().enumerate() {
                let packet = match place {
                    0 => self.stream.receive(now, &header, payload),
                    _ => self.stream.receive_copy(now, &header, payload),
                };
                news.extend(packet.map(|packet| (packet, header.ext)));
            }
        } else if let Some((_, decoder)) = self.rlc.as_mut().filter(|(it, _)| *it == header.payload_type) {
            let Some(carrier) = decoder.open(payload) else { return Vec::new() };
            let plain = Header { payload_type: self.stream.config().payload_type, ..*header };
            let packet = self.stream.receive(now, &plain, carrier.payload);
            news.extend(packet.map(|packet| (packet, header.ext)));
            if !carrier.partial {
                for (header, payload) in decoder.receive(&plain, &carrier, carrier.payload) {
                    let packet = self.stream.receive_copy(now, &header, &payload);
                    news.extend(packet.map(|packet| (packet, header.ext)));
                }
            }
        } else {
            news.extend(self.stream.receive(now, header, payload).map(|packet| (packet, header.ext)));
        }
        // In the order in which they go on, so that those before can be protected by those after.
        news.sort_by_key(|(packet, _)| packet.seq);
        if !news.is_empty() {
            self.rate.add(wire_bytes as u64);
            self.last_packet = now;
        }
        news.into_iter().map(|(packet, ext)| self.relayed(now, packet, &ext)).collect()
    }

    /// Makes a packet one that can be passed on, and remembers it.
    fn relayed(&mut self, now: Timestamp, packet: Packet, ext: &Extensions) -> Arc<Relayed> {
        if self.newest.is_none_or(|newest| packet.seq > newest) {
            self.newest = Some(packet.seq);
            self.newest_time = packet.time;
        }
        let facts = ext.dd.and_then(|dd| self.descriptors.parse(dd.as_bytes()));
        let key = match (facts, self.codec) {
            (_, Codec::Any) => true,
            (Some(facts), _) => facts.key && facts.start,
            (None, Codec::H264) => h264::is_key(&packet.payload),
            (None, Codec::Vp8) => vp8::is_key(&packet.payload),
            (None, Codec::Opaque) => false,
        };
        if key && self.kind == Kind::Video {
            self.requests.satisfied(now);
        }
        let relayed = Arc::new(Relayed {
            source: self.id,
            seq: packet.seq,
            time: packet.time,
            marker: packet.marker,
            repaired: packet.repaired,
            ext: Extensions {
                audio_level: ext.audio_level,
                capture_time: ext.capture_time,
                dd: ext.dd,
                ..Extensions::default()
            },
            key,
            frame: facts.map(|facts| facts.frame_number),
            payload: packet.payload,
        });
        if !relayed.payload.is_empty() {
            self.cache.insert(relayed.clone());
        }
        relayed
    }

    /// A packet that went by lately.
    pub(crate) fn cached(&self, seq: SeqNo) -> Option<&Arc<Relayed>> {
        self.cache.get(seq)
    }

    /// The packets after `seq` that came before it.
    pub(crate) fn cached_after(&self, seq: SeqNo) -> impl Iterator<Item = &Arc<Relayed>> {
        let newest = self.newest.unwrap_or(seq).min(seq + self.cache.ring.len() as u64);
        (seq.0 + 1..=newest.0).filter_map(|seq| self.cache.get(SeqNo(seq)))
    }

    /// The packets to ask the publisher for now.
    pub(crate) fn nack(&mut self, now: Timestamp, rtt: Option<Duration>) -> Vec<u16> {
        match self.stream.deadline() {
            Some(deadline) if deadline <= now => self.stream.nack(now, rtt),
            _ => Vec::new(),
        }
    }

    /// When something is due: a NACK, a key frame request.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        [self.stream.deadline(), self.requests.deadline()].into_iter().flatten().min()
    }

    /// A report on what came, for the publisher.
    pub(crate) fn report_block(&mut self, now: Timestamp) -> rtcp::ReportBlock {
        self.stream.report_block(now)
    }

    /// Packets that came again or came back so far.
    pub(crate) fn recovered(&self) -> u64 {
        self.stream.stats().repaired
    }

    /// The publisher's sender report about this stream.
    pub(crate) fn on_sender_report(&mut self, now: Timestamp, report: &Rtcp) {
        let Rtcp::SenderReport { ntp, rtp_time, .. } = report else { return };
        self.stream.on_sender_report(now, report);
        if self.newest.is_none() {
            return;
        }
        let ahead = i64::from(rtp_time.wrapping_sub(self.newest_time.wire()) as i32);
        if let Some(time) = self.newest_time.0.checked_add_signed(ahead) {
            self.mark = Some(Mark { ntp: *ntp, time: MediaTime(time), told: now });
        }
    }

    /// A point on the publisher's NTP clock and the same on the stream's media clock, for the subscribers'
    /// sender reports; `None` before the publisher told one. The publisher's own time is passed on, since it
    /// is exact: how long its report was under way nobody knows, and it cancels out here. Each point is a
    /// new one, so that reports can be told apart when they are answered.
    pub(crate) fn point(&self, now: Timestamp) -> Option<(u64, MediaTime)> {
        let mark = self.mark?;
        let passed = now.since(mark.told);
        let ntp = mark.ntp.wrapping_add(((passed.as_micros() << 32) / 1_000_000) as u64);
        Some((ntp, mark.time + ticks(passed.as_micros() as u64, self.clock_rate)))
    }

    /// A quarter of a second passed. True if the source has just fallen silent for good. A microphone
    /// never does, since speech pauses.
    pub(crate) fn turn(&mut self, now: Timestamp) -> bool {
        self.rate.turn();
        let silent = self.kind == Kind::Video && now.since(self.last_packet) >= STALE;
        !std::mem::replace(&mut self.stale, silent) && silent
    }

    /// Its rate on the publisher's wire over the last second.
    pub(crate) fn rate(&self) -> Bitrate {
        self.rate.rate()
    }

    /// What its packets hold.
    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut meter = RateMeter::default();
        for _ in 0..8 {
            meter.add(2_500);
            meter.turn();
        }
        assert_eq!(meter.rate(), Bitrate::from_kbps(80));
    }
}
