//! The receiving side of a stream: unwraps, deduplicates, counts, and undoes RTX.

use super::NackConfig;
use super::nack::Nack;
use crate::rtcp::{ReportBlock, Rtcp};
use crate::rtp::Header;
use std::collections::BTreeSet;
use std::time::Duration;
use undertone_media::{MediaTime, Packet, SeqNo, Ssrc, TimeUnwrapper, Timestamp};

/// RFC 3550 §A.1, MAX_DROPOUT: a larger step forward is a new stream in disguise, unless a second packet
/// follows it.
const DROPOUT_MAX: i64 = 3000;
/// How far behind the newest a packet may still be new; retransmissions are late by nature.
const MISORDER_MAX: i64 = 3000;
/// Packets of as much sound are long.
const LONG: Duration = Duration::from_millis(60);
/// Until when packets from before the first one are welcome: how many later ones may have come.
const FIRST_MISORDER_MAX: u64 = 16;

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
    /// Of these, the ones that came again: as retransmissions, or as copies in later packets.
    pub repaired: u64,
    /// Packets that came though they were here already.
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
    times: TimeUnwrapper,
    /// First and newest number; `None` before the first packet.
    span: Option<(SeqNo, SeqNo)>,
    /// Numbers before the newest that never came, so that a late packet is told from a duplicate.
    absent: BTreeSet<SeqNo>,
    /// After a wild step: the number that would confirm it.
    restart: Option<u16>,
    nack: Option<Nack>,
    stats: RecvStats,
    /// Numbers passed over before the last restart, and packets that came on the original stream.
    expected_before: u64,
    originals: u64,
    /// Both at the last report block.
    reported: (u64, u64),
    /// Transit of the last original packet, and the jitter times 16, in ticks (RFC 3550 §A.8).
    transit: Option<i64>,
    jitter_x16: i64,
    /// Number, media time and arrival of the newest packet: for the pace of the stream.
    newest_time: Option<(SeqNo, MediaTime, Timestamp)>,
    interval: Option<Duration>,
    /// NTP time, media time and arrival of the newest sender report.
    sender_report: Option<(u64, MediaTime, Timestamp)>,
}

impl RecvStream {
    /// A stream that has received nothing.
    pub fn new(config: RecvConfig) -> RecvStream {
        RecvStream {
            times: TimeUnwrapper::default(),
            span: None,
            absent: BTreeSet::new(),
            restart: None,
            nack: config.nack.clone().map(Nack::new),
            stats: RecvStats::default(),
            expected_before: 0,
            originals: 0,
            reported: (0, 0),
            transit: None,
            jitter_x16: 0,
            newest_time: None,
            interval: None,
            sender_report: None,
            config,
        }
    }

    /// The settings.
    pub fn config(&self) -> &RecvConfig {
        &self.config
    }

    /// Takes a packet of the stream or of its RTX stream, told apart by payload type. `None` if it brings
    /// nothing new.
    pub fn receive(&mut self, now: Timestamp, header: &Header, payload: &[u8]) -> Option<Packet> {
        let repaired = self.config.rtx_payload_type == Some(header.payload_type);
        let (wire, payload) = if repaired {
            if payload.is_empty() {
                return None; // padding that probes the path
            }
            let Some((osn, rest)) = payload.split_first_chunk() else {
                self.stats.bad += 1;
                return None;
            };
            (u16::from_be_bytes(*osn), rest)
        } else {
            (header.seq, payload)
        };
        self.accept(now, header, wire, payload, repaired)
    }

    /// Takes a copy of a packet that a later one carried ([`crate::recovery`]), after that later one. `None` if it
    /// brings nothing new, as nearly always.
    pub fn receive_copy(&mut self, now: Timestamp, header: &Header, payload: &[u8]) -> Option<Packet> {
        let (_, newest) = self.span?;
        let step = i64::from(header.seq.wrapping_sub(newest.wire()) as i16);
        let seq = SeqNo(newest.0.saturating_add_signed(step));
        if !self.absent.contains(&seq) {
            return None;
        }
        self.accept(now, header, header.seq, payload, true)
    }

    fn accept(
        &mut self,
        now: Timestamp,
        header: &Header,
        wire: u16,
        payload: &[u8],
        repaired: bool,
    ) -> Option<Packet> {
        let seq = self.place(now, wire, repaired)?;
        let time = self.times.unwrap(header.timestamp);
        self.stats.received += 1;
        self.stats.bytes += payload.len() as u64;
        if repaired {
            self.stats.repaired += 1;
        } else {
            self.originals += 1;
            self.measure(now, header.timestamp);
        }
        if let Some(nack) = &mut self.nack {
            nack.on_arrival(seq);
        }
        self.pace(now, seq, time);
        Some(Packet {
            seq,
            time,
            marker: header.marker,
            payload_type: if repaired { self.config.payload_type } else { header.payload_type },
            arrival: now,
            repaired,
            payload: payload.to_vec(),
        })
    }

    /// The number of a packet, if it is new; notices gaps and restarts.
    fn place(&mut self, now: Timestamp, wire: u16, repaired: bool) -> Option<SeqNo> {
        let Some((first, newest)) = self.span else {
            let seq = SeqNo(0x1_0000 + u64::from(wire));
            self.span = Some((seq, seq));
            return Some(seq);
        };
        let step = i64::from(wire.wrapping_sub(newest.wire()) as i16);
        if !(-MISORDER_MAX..=DROPOUT_MAX).contains(&step) {
            if repaired || self.restart != Some(wire) {
                if !repaired {
                    self.restart = Some(wire.wrapping_add(1));
                }
                self.stats.bad += 1;
                return None;
            }
            // Two in a row: the sender began anew (RFC 3550 §A.1). Numbers here go on growing.
            let seq = newest + u64::from(wire.wrapping_sub(newest.wire()));
            self.expected_before += newest.0 - first.0 + 1;
            self.span = Some((seq, seq));
            self.restart = None;
            self.absent.clear();
            self.transit = None;
            self.newest_time = None;
            if let Some(nack) = &mut self.nack {
                nack.restart();
            }
            return Some(seq);
        }
        self.restart = None;
        let seq = SeqNo(newest.0.saturating_add_signed(step));
        if seq > newest {
            self.absent.extend((newest.0 + 1..seq.0).map(SeqNo));
            let horizon = SeqNo(seq.0.saturating_sub(MISORDER_MAX as u64));
            while self.absent.first().is_some_and(|&old| old < horizon) {
                self.absent.pop_first();
            }
            self.span = Some((first, seq));
            if let Some(nack) = &mut self.nack {
                nack.on_newest(now, newest.next(), seq);
            }
            return Some(seq);
        }
        if seq < first && newest.0 - seq.0 <= FIRST_MISORDER_MAX {
            // Overtaken before anything was here.
            self.absent.extend((seq.0 + 1..first.0).map(SeqNo));
            self.span = Some((seq, newest));
            return Some(seq);
        }
        if !self.absent.remove(&seq) {
            self.stats.duplicates += 1;
            return None;
        }
        Some(seq)
    }

    /// Interarrival jitter (RFC 3550 §A.8), in integers as there.
    fn measure(&mut self, now: Timestamp, timestamp: u32) {
        let ticks = (u128::from(now.as_micros()) * u128::from(self.config.clock_rate) / 1_000_000) as u32;
        let transit = i64::from(ticks.wrapping_sub(timestamp) as i32);
        if let Some(last) = self.transit.replace(transit) {
            let d = i64::from(transit.wrapping_sub(last) as i32).abs();
            self.jitter_x16 += d - ((self.jitter_x16 + 8) >> 4);
        }
        let jitter_ticks = (self.jitter_x16 >> 4).max(0) as u64;
        self.stats.jitter =
            Duration::from_micros(jitter_ticks * 1_000_000 / u64::from(self.config.clock_rate.max(1)));
    }

    /// Learns how often packets come, for [`NackConfig::tail`].
    fn pace(&mut self, now: Timestamp, seq: SeqNo, time: MediaTime) {
        match self.newest_time {
            Some((newest, ..)) if seq <= newest => return,
            Some((newest, at, _)) if seq == newest.next() && time > at => {
                self.interval = Some(time.since(at, self.config.clock_rate));
            }
            _ => {}
        }
        self.newest_time = Some((seq, time, now));
        let slack = self.slack();
        if let (Some(nack), Some(interval)) = (&mut self.nack, self.interval) {
            nack.expect(seq.next(), now + interval + slack);
        }
    }

    /// The packets to ask for now; they count as asked for. Empty most of the time. Call it after each
    /// packet and at [`RecvStream::deadline`].
    pub fn nack(&mut self, now: Timestamp, rtt: Option<Duration>) -> Vec<u16> {
        let wanted = self.nack.as_mut().map_or(Vec::new(), |nack| nack.poll(now, rtt));
        self.stats.requested += wanted.len() as u64;
        wanted
    }

    /// When to call [`RecvStream::nack`] if nothing comes before.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.nack.as_ref()?.deadline()
    }

    /// Playout has passed: what is missing before `seq` is no longer asked for. It may still come.
    pub fn abandon_before(&mut self, seq: SeqNo) {
        if let Some(nack) = &mut self.nack {
            nack.abandon_before(seq);
        }
    }

    /// Until when the missing packet `seq` may still come: when the answer to the newest request is due, or
    /// to the one about to be made. `None` if it is not missing or is given up. Each request moves it on, so
    /// call [`RecvStream::nack`] before this.
    pub fn repairable_until(&self, seq: SeqNo, rtt: Option<Duration>) -> Option<Timestamp> {
        self.nack.as_ref()?.repairable_until(seq, rtt)
    }

    /// Lost packets come back without being asked for.
    pub fn forgo(&mut self) {
        if let Some(nack) = &mut self.nack {
            nack.restart();
        }
    }

    /// When a packet should have come, at the pace of the newest; `None` while that is unknown.
    pub fn expected_at(&self, seq: SeqNo) -> Option<Timestamp> {
        let (newest, _, arrival) = self.newest_time?;
        let behind = u32::try_from(newest.ahead_of(seq)).ok()?;
        Some(Timestamp::ZERO + arrival.since(Timestamp::ZERO).saturating_sub(self.interval? * behind))
    }

    /// How long after its turn a lost packet is back if it is asked for; `None`: it is not. A request may have
    /// to be repeated ([`NackConfig::echo`]) within that time.
    pub fn repair_delay(&self, rtt: Duration) -> Option<Duration> {
        let config = self.config.nack.as_ref()?;
        // Half the margin: a little late is likely, and each move of the target is heard.
        let noticed = if config.tail { self.slack() } else { self.interval? };
        Some(noticed + config.echo.unwrap_or_default() + rtt + config.margin / 2)
    }

    /// How long a packet may be overdue before it is taken for lost.
    fn slack(&self) -> Duration {
        // Long packets are sent on thin paths, which they fill: they come by up to their length later or earlier for
        // their size alone, and to send one again delays all behind it.
        let interval = self.interval.unwrap_or_default();
        let own = if interval >= LONG { interval } else { interval / 2 };
        (self.stats.jitter * 4).max(own).max(Duration::from_millis(10))
    }

    /// A sender report arrived: if it is about this stream, the next report block answers it.
    pub fn on_sender_report(&mut self, now: Timestamp, report: &Rtcp) {
        if let Rtcp::SenderReport { ssrc, ntp, rtp_time, .. } = report
            && *ssrc == self.config.ssrc
        {
            self.sender_report = Some((*ntp, self.times.peek(*rtp_time), now));
        }
    }

    /// When the sample dated `time` was captured, on the sender's NTP clock (32.32); known once a sender
    /// report came. Lip sync compares it between streams.
    pub fn capture_ntp(&self, time: MediaTime) -> Option<u64> {
        let (ntp, at, _) = self.sender_report?;
        let ticks = i128::from(time.0) - i128::from(at.0);
        let ahead = (ticks << 32) / i128::from(self.config.clock_rate.max(1));
        u64::try_from(i128::from(ntp) + ahead).ok()
    }

    /// Packets that should have come, and those that came the first time.
    fn counts(&self) -> (u64, u64) {
        let span = self.span.map_or(0, |(first, newest)| newest.0 - first.0 + 1);
        (self.expected_before + span, self.originals)
    }

    /// A report block about all received so far; the share lost counts from the last block. Retransmissions
    /// repair nothing here (RFC 4588 §6.3): it is the path that is reported.
    pub fn report_block(&mut self, now: Timestamp) -> ReportBlock {
        let (expected, originals) = self.counts();
        let (expected_then, originals_then) = std::mem::replace(&mut self.reported, (expected, originals));
        let new = expected - expected_then;
        let lost = new.saturating_sub(originals - originals_then);
        let (last_sr, delay_since_last_sr) = self.sender_report.map_or((0, 0), |(ntp, _, arrival)| {
            ((ntp >> 16) as u32, (now.since(arrival).as_micros() * 65_536 / 1_000_000) as u32)
        });
        ReportBlock {
            ssrc: self.config.ssrc,
            fraction_lost: (lost * 256).checked_div(new).map_or(0, |share| share.min(255) as u8),
            cumulative_lost: (expected as i64 - originals as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: self.span.map_or(0, |(_, newest)| (newest.0 - 0x1_0000) as u32),
            jitter: (self.jitter_x16 >> 4).clamp(0, i64::from(u32::MAX)) as u32,
            last_sr,
            delay_since_last_sr,
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> RecvStats {
        let (expected, originals) = self.counts();
        RecvStats { lost: expected.saturating_sub(originals), ..self.stats }
    }
}
