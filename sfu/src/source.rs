//! One published stream: repaired, remembered, measured.
//!
//! Why: everything that is the same for all subscribers is done here once per packet: the header is read,
//! a lost packet asked for, a retransmission put back in its place, key frames found, and the packet kept
//! for those who ask again.
//!
//! Wire: RTP and RTX as `transport::stream` reads them. Not here: who gets the packets (`room`, `forward`).

use crate::keyframe::Requests;
use crate::rewrite::{SourceId, ticks};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Kind, MediaTime, SeqNo, Ssrc, Timestamp};
use undertone_transport::payload::{dd, h264, vp8};
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
    /// Only what is passed on: level, capture time (on the SFU's clock), dependency descriptor.
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

/// A point that is known on the publisher's NTP clock and on the stream's media clock.
#[derive(Clone, Copy, Debug)]
struct Mark {
    ntp: u64,
    time: MediaTime,
}

/// The publisher's clock against ours: shared by its streams, so that lips stay in sync.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerClock {
    /// Wall-clock time at our time zero: subscribers with true clocks can tell mouth-to-ear delay.
    epoch: Duration,
    /// The least round trip seen.
    rtt: Option<Duration>,
    /// Our time minus its time at the arrival of the newest sender reports, NTP 32.32.
    offsets: VecDeque<i64>,
}

impl PeerClock {
    const WINDOW: usize = 16;

    /// Nothing known of the peer yet; our own clock showed `epoch` at [`Timestamp::ZERO`].
    pub(crate) fn new(epoch: Duration) -> PeerClock {
        PeerClock { epoch, ..PeerClock::default() }
    }

    /// Our own time, NTP 32.32.
    pub(crate) fn ntp(&self, now: Timestamp) -> u64 {
        rtcp::ntp(now + self.epoch)
    }

    pub(crate) fn on_round_trip(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(rtt, |least| least.min(rtt)));
    }

    fn observe(&mut self, now: Timestamp, ntp: u64) {
        if self.offsets.len() == PeerClock::WINDOW {
            self.offsets.pop_front();
        }
        self.offsets.push_back(self.ntp(now).wrapping_sub(ntp) as i64);
    }

    /// The offset with the least network delay in it, less that delay: half a round trip, as NTP takes it.
    fn offset(&self) -> Option<i64> {
        let delay = (self.rtt.unwrap_or_default().as_micros() << 31) / 1_000_000;
        Some(self.offsets.iter().copied().min()? - delay as i64)
    }

    /// A time of the peer's on our clock.
    fn ours(&self, theirs: u64) -> Option<u64> {
        Some(theirs.wrapping_add_signed(self.offset()?))
    }
}

/// What a source is made from.
#[derive(Clone, Debug)]
pub(crate) struct SourceConfig {
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) ssrc: Ssrc,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
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
    /// Who gets it: place in the room, place among the slots.
    pub(crate) routes: Vec<(usize, usize)>,
    codec: Codec,
    clock_rate: u32,
    stream: RecvStream,
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
                Kind::Video => NackConfig::default(),
            }),
        });
        Source {
            id,
            kind: config.kind,
            ssrc: config.ssrc,
            stale: false,
            requests: Requests::default(),
            routes: Vec::new(),
            codec: config.codec,
            clock_rate: config.clock_rate,
            stream,
            descriptors: dd::Parser::default(),
            cache: Cache::new(if config.kind == Kind::Audio { CACHE_AUDIO } else { CACHE_VIDEO }),
            newest: None,
            newest_time: MediaTime::default(),
            last_packet: now,
            rate: RateMeter::default(),
            mark: None,
        }
    }

    /// Takes a packet off the wire; `None` if it brings nothing new.
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        clock: &PeerClock,
        header: &Header,
        payload: &[u8],
        wire_bytes: usize,
    ) -> Option<Arc<Relayed>> {
        let packet = self.stream.receive(now, header, payload)?;
        self.rate.add(wire_bytes as u64);
        self.last_packet = now;
        if self.newest.is_none_or(|newest| packet.seq > newest) {
            self.newest = Some(packet.seq);
            self.newest_time = packet.time;
        }
        let facts = header.ext.dd.and_then(|dd| self.descriptors.parse(dd.as_bytes()));
        let key = match (facts, self.codec) {
            (_, Codec::Any) => true,
            (Some(facts), _) => facts.key && facts.start,
            (None, Codec::H264) => h264::is_key(&packet.payload),
            (None, Codec::Vp8) => vp8::is_key(&packet.payload),
            (None, Codec::Opaque) => false,
        };
        if key && self.kind == Kind::Video {
            self.requests.satisfied();
        }
        let relayed = Arc::new(Relayed {
            source: self.id,
            seq: packet.seq,
            time: packet.time,
            marker: packet.marker,
            repaired: packet.repaired,
            ext: Extensions {
                audio_level: header.ext.audio_level,
                capture_time: header.ext.capture_time.and_then(|theirs| clock.ours(theirs)),
                dd: header.ext.dd,
                ..Extensions::default()
            },
            key,
            frame: facts.map(|facts| facts.frame_number),
            payload: packet.payload,
        });
        if !relayed.payload.is_empty() {
            self.cache.insert(relayed.clone());
        }
        Some(relayed)
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

    /// Packets recovered by retransmission so far.
    pub(crate) fn recovered(&self) -> u64 {
        self.stream.stats().repaired
    }

    /// The publisher's sender report about this stream.
    pub(crate) fn on_sender_report(&mut self, now: Timestamp, clock: &mut PeerClock, report: &Rtcp) {
        let Rtcp::SenderReport { ntp, rtp_time, .. } = report else { return };
        self.stream.on_sender_report(now, report);
        if self.newest.is_none() {
            return;
        }
        clock.observe(now, *ntp);
        let ahead = i64::from(rtp_time.wrapping_sub(self.newest_time.wire()) as i32);
        if let Some(time) = self.newest_time.0.checked_add_signed(ahead) {
            self.mark = Some(Mark { ntp: *ntp, time: MediaTime(time) });
        }
    }

    /// What the stream's media clock shows now, if a sender report told.
    pub(crate) fn media_now(&self, now: Timestamp, clock: &PeerClock) -> Option<MediaTime> {
        let mark = self.mark?;
        let passed = clock.ntp(now).wrapping_sub(clock.ours(mark.ntp)?) as i64;
        let micros = (i128::from(passed) * 1_000_000) >> 32;
        let moved = ticks(micros.unsigned_abs() as u64, self.clock_rate) as i64;
        Some(MediaTime(mark.time.0.checked_add_signed(if micros < 0 { -moved } else { moved })?))
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
    fn the_peers_clock_is_read_at_its_least_delay() {
        let mut clock = PeerClock::default();
        let theirs = |ms: u64| rtcp::ntp(Timestamp::from_millis(1_000_000 + ms));
        clock.observe(Timestamp::from_millis(1080), theirs(1000));
        clock.observe(Timestamp::from_millis(2020), theirs(2000));
        clock.observe(Timestamp::from_millis(3050), theirs(3000));
        let ours = clock.ours(theirs(5000)).unwrap();
        let expected = rtcp::ntp(Timestamp::from_millis(5020));
        assert!(ours.abs_diff(expected) < 1 << 16, "{ours} {expected}");

        // Of the 20 ms at least, the way took 15; the clocks are 5 ms apart.
        clock.on_round_trip(Duration::from_millis(30));
        clock.on_round_trip(Duration::from_millis(44));
        let ours = clock.ours(theirs(5000)).unwrap();
        let expected = rtcp::ntp(Timestamp::from_millis(5005));
        assert!(ours.abs_diff(expected) < 1 << 16, "{ours} {expected}");
    }

    #[test]
    fn a_wall_clock_is_kept() {
        let mut clock = PeerClock::new(Duration::from_secs(1_000));
        let theirs = rtcp::ntp(Timestamp::from_millis(1_001_000));
        clock.observe(Timestamp::from_millis(1_000), theirs);
        assert!(clock.ours(theirs).unwrap().abs_diff(theirs) < 1 << 16);
    }

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
