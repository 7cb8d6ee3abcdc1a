//! Tells the sender what arrived when; and on the sender's side, what a report means.
//!
//! Why: congestion control sees only what reports tell it, and every report costs the reverse path some 60
//! bytes of headers. So they come as often as a small share of the media rate pays for, sooner while a
//! stream is new, and at once when the path seems to change.
//! Wire: transport-wide feedback towards browsers, RFC 8888 between our own ends (`rtcp`).
//!
//! Not here: what follows from it (`bwe`).

mod sent;

pub use sent::SentLog;

use crate::bwe::THIN;
use crate::rtcp::{self, CcfbFeedback, CcfbReport, CcfbStream, Rtcp, TwccFeedback};
use std::collections::BTreeMap;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, SeqNo, SeqUnwrapper, Ssrc, Timestamp};

/// IP, UDP, SRTCP index and tag, and the fixed part of a report.
const REPORT_OVERHEAD: DataSize = DataSize::from_bytes(28 + 20 + 20);
/// Each stream's entry in an RFC 8888 report.
const STREAM_OVERHEAD: DataSize = DataSize::from_bytes(8);
/// Numbers in one report and stream: with its headers that stays below the smallest usual MTU.
const NUMBERS_MAX: u64 = 500;
/// A hole of so many packets is an event worth reporting.
const BURST: u64 = 3;

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
    /// Its stream and sequence number as they travel, those of the RTX stream for retransmissions.
    Rtp(Ssrc, u16),
}

/// How often to report.
#[derive(Clone, Debug)]
pub struct Config {
    /// What reports may cost, in thousandths of the media rate; what they say of each packet, two bytes,
    /// comes on top. Default 30.
    pub share_permille: u64,
    /// Never more often. Default 50 ms.
    pub min_interval: Duration,
    /// Never more seldom while packets come. Default 500 ms: with headers, 250 ms would cost a call of
    /// 24 kbit/s more than 2 kbit/s.
    pub max_interval: Duration,
    /// The interval is at most [`Config::young_interval`] for so long after the first packet, since the
    /// sender still searches for the path's rate. Default 2 s.
    pub young: Duration,
    /// Default 100 ms.
    pub young_interval: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            share_permille: 30,
            min_interval: Duration::from_millis(50),
            max_interval: Duration::from_millis(500),
            young: Duration::from_secs(2),
            young_interval: Duration::from_millis(100),
        }
    }
}

/// What came of one stream (or of the whole transport) and is not yet reported.
#[derive(Debug, Default)]
struct Track {
    numbers: SeqUnwrapper,
    /// The first number not reported on; `None` before the first packet.
    next: Option<u64>,
    arrivals: BTreeMap<u64, Timestamp>,
}

/// Notices that packets come more slowly than they used to, as they do when a queue begins to grow.
#[derive(Debug, Default)]
struct Spacing {
    last: Option<Timestamp>,
    smoothed_micros: u64,
    stretched: u32,
}

impl Spacing {
    fn on_packet(&mut self, now: Timestamp) -> bool {
        let Some(last) = self.last.replace(now) else { return false };
        let gap = now.since(last).as_micros() as u64;
        let usual = self.smoothed_micros;
        self.smoothed_micros = if usual == 0 { gap } else { (usual * 7 + gap) / 8 };
        let stretched = usual > 0 && gap > usual * 3 / 2 + 2_000;
        self.stretched = if stretched { self.stretched + 1 } else { 0 };
        self.stretched == 3
    }
}

/// Receiver side: notes what arrives and says so now and then.
#[derive(Debug)]
pub struct Recorder {
    config: Config,
    format: Format,
    sender: Ssrc,
    tracks: BTreeMap<Ssrc, Track>,
    media: Ssrc,
    spacing: Spacing,
    first: Option<Timestamp>,
    last_report: Timestamp,
    urgent: bool,
    /// Packets and bytes since the last report, and packets that are missing between them.
    packets: u64,
    size: DataSize,
    missing: u64,
    /// What is sent to us, lost packets included: where many are lost, reports are as cheap and dearly needed.
    rate: Bitrate,
    count: u8,
}

impl Recorder {
    /// An empty one that reports as `sender`.
    pub fn new(format: Format, sender: Ssrc) -> Recorder {
        Recorder::with_config(format, sender, Config::default())
    }

    /// The same, with settings of one's own.
    pub fn with_config(format: Format, sender: Ssrc, config: Config) -> Recorder {
        Recorder {
            config,
            format,
            sender,
            tracks: BTreeMap::new(),
            media: Ssrc(0),
            spacing: Spacing::default(),
            first: None,
            last_report: Timestamp::ZERO,
            urgent: false,
            packets: 0,
            size: DataSize::ZERO,
            missing: 0,
            rate: Bitrate::ZERO,
            count: 0,
        }
    }

    /// Names a stream of the peer's, for transport-wide reports, whose packet ids carry none: libwebrtc
    /// ignores a report about an SSRC that it does not send, and takes the path for dead.
    pub fn on_stream(&mut self, ssrc: Ssrc) {
        self.media = ssrc;
    }

    /// A packet arrived, media or retransmission; `size` is its size on the wire, headers included. An id of
    /// the other format is ignored.
    pub fn on_packet(&mut self, now: Timestamp, id: PacketId, size: DataSize) {
        let (ssrc, wire) = match (self.format, id) {
            (Format::Twcc, PacketId::Twcc(seq)) => (Ssrc(0), seq),
            (Format::Ccfb, PacketId::Rtp(ssrc, seq)) => (ssrc, seq),
            _ => return,
        };
        if let PacketId::Rtp(ssrc, _) = id {
            self.media = ssrc;
        }
        self.first.get_or_insert(now);
        self.packets += 1;
        self.size += size;
        let track = self.tracks.entry(ssrc).or_default();
        let newest = track.arrivals.last_key_value().map(|(&newest, _)| newest);
        let SeqNo(seq) = track.numbers.unwrap(wire);
        let next = *track.next.get_or_insert(seq);
        // What was reported as lost stays so: the sender has drawn its conclusions.
        if seq >= next {
            track.arrivals.entry(seq).or_insert(now);
            let expected = newest.map_or(next, |newest| newest + 1);
            self.urgent |= seq >= expected + BURST;
            self.missing += seq.saturating_sub(expected).min(NUMBERS_MAX);
        }
        self.urgent |= self.spacing.on_packet(now) || self.packets >= NUMBERS_MAX;
    }

    fn is_young(&self, now: Timestamp) -> bool {
        self.first.is_some_and(|first| now.since(first) < self.config.young)
    }

    /// The usual interval at the present rate.
    fn interval(&self, now: Timestamp) -> Duration {
        let streams = if self.format == Format::Ccfb { self.tracks.len().max(1) as u64 } else { 0 };
        let cost = REPORT_OVERHEAD + STREAM_OVERHEAD * streams;
        let affordable = cost / self.rate.permille(self.config.share_permille);
        let mut interval = affordable.clamp(self.config.min_interval, self.config.max_interval);
        if self.is_young(now) {
            // On a thin path even that is dear: twice the usual share, no more.
            let affordable = cost / self.rate.permille(self.config.share_permille * 2);
            let young = self.config.young_interval.max(self.config.min_interval);
            let young = if self.rate == Bitrate::ZERO { young } else { affordable.max(young) };
            interval = interval.min(young);
        }
        interval
    }

    /// When the next report is due; `None` if there is nothing to report.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.packets == 0 {
            return None;
        }
        let interval = self.interval(self.last_report);
        // An event does not wait, but many of them must not cost more than twice the usual; and where reports are dear,
        // those of a young stream are as many as it can bear.
        // There a report takes as long as speech does.
        let thin = self.rate > Bitrate::ZERO && self.rate < THIN;
        let soonest = if thin { interval } else { self.config.min_interval * 2 };
        let dear = thin && self.is_young(self.last_report);
        let wait = if self.urgent && !dear { (interval / 2).min(soonest) } else { interval };
        Some(self.last_report + wait)
    }

    /// A report, if one is due.
    pub fn poll(&mut self, now: Timestamp) -> Option<Rtcp> {
        if now < self.deadline()? {
            return None;
        }
        Some(self.report(now))
    }

    /// A report, if one is half due: for a datagram of RTCP that leaves anyway and pays the headers.
    pub fn poll_early(&mut self, now: Timestamp) -> Option<Rtcp> {
        let due = self.deadline()?;
        (now + due.since(self.last_report) / 2 >= due).then(|| self.report(now))
    }

    fn report(&mut self, now: Timestamp) -> Rtcp {
        let elapsed = now.since(self.last_report.max(self.first.unwrap_or(now)));
        if elapsed > Duration::ZERO {
            let sent = self.size * (self.packets + self.missing) / self.packets.max(1);
            let rate = sent.per(elapsed.max(Duration::from_millis(20)));
            self.rate = if self.rate == Bitrate::ZERO { rate } else { (self.rate + rate) / 2 };
        }
        self.last_report = now;
        self.urgent = false;
        (self.packets, self.missing, self.size) = (0, 0, DataSize::ZERO);
        match self.format {
            Format::Ccfb => Rtcp::Ccfb(self.ccfb(now)),
            Format::Twcc => Rtcp::Twcc(self.twcc()),
        }
    }

    fn ccfb(&mut self, now: Timestamp) -> CcfbFeedback {
        let mut streams = Vec::new();
        for (&ssrc, track) in &mut self.tracks {
            let Some((&newest, _)) = track.arrivals.last_key_value() else { continue };
            let begin = track.next.unwrap_or(newest).max(newest.saturating_sub(NUMBERS_MAX - 1));
            let reports = (begin..=newest)
                .map(|seq| {
                    track.arrivals.get(&seq).map(|&arrival| {
                        let age = now.since(arrival).as_micros() * 1024 / 1_000_000;
                        CcfbReport { ecn: 0, age: age.min(u128::from(rtcp::AGE_OVER_RANGE)) as u16 }
                    })
                })
                .collect();
            streams.push(CcfbStream { ssrc, begin_seq: SeqNo(begin).wire(), reports });
            track.arrivals.clear();
            track.next = Some(newest + 1);
        }
        CcfbFeedback { sender: self.sender, streams, timestamp: (rtcp::ntp(now) >> 16) as u32 }
    }

    fn twcc(&mut self) -> TwccFeedback {
        let track = self.tracks.entry(Ssrc(0)).or_default();
        let newest = track.arrivals.last_key_value().map_or(0, |(&newest, _)| newest);
        let begin = track.next.unwrap_or(newest).max(newest.saturating_sub(NUMBERS_MAX - 1));
        let first = track.arrivals.range(begin..).next().map_or(0, |(_, at)| at.as_micros());
        let reference = first / rtcp::REFERENCE_MICROS as u64;
        let mut ticks = (reference * rtcp::REFERENCE_MICROS as u64 / rtcp::TICK_MICROS as u64) as i64;
        let mut deltas = Vec::new();
        for seq in begin..=newest {
            let delta = match track.arrivals.get(&seq) {
                None => None,
                Some(arrival) => {
                    let at = (arrival.as_micros() / rtcp::TICK_MICROS as u64) as i64;
                    // A step of more than 8 s fits no delta: the packets behind it are not reported.
                    let Ok(delta) = i16::try_from(at - ticks) else { break };
                    ticks = at;
                    Some(delta)
                }
            };
            deltas.push(delta);
        }
        track.arrivals.clear();
        track.next = Some(newest + 1);
        self.count = self.count.wrapping_add(1);
        TwccFeedback {
            sender: self.sender,
            media: self.media,
            base_seq: SeqNo(begin).wire(),
            reference_time: (reference & 0xff_ffff) as u32,
            feedback_count: self.count.wrapping_sub(1),
            deltas,
        }
    }
}
