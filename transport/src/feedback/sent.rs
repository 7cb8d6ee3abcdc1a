//! The sender's side of feedback: remembers what was sent until a report tells its fate.

use super::PacketId;
use crate::bwe::{Fate, Outcome};
use crate::rtcp::{self, Rtcp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use undertone_media::{DataSize, SeqNo, SeqUnwrapper, Ssrc, TimeUnwrapper, Timestamp};

/// What no report has mentioned for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Sent {
    seq: SeqNo,
    at: Timestamp,
    size: DataSize,
}

#[derive(Debug, Default)]
struct Track {
    numbers: SeqUnwrapper,
    sent: VecDeque<Sent>,
}

/// Remembers what was sent until feedback tells its fate.
#[derive(Debug, Default)]
pub struct SentLog {
    /// One for the whole transport under `None`, or one for each stream.
    tracks: BTreeMap<Option<Ssrc>, Track>,
    /// The receiver's clock, in 65 536ths of a second (RFC 8888) or in 1/256 of 64 ms.
    clock: TimeUnwrapper,
    /// Smoothed, and when it was measured last.
    rtt: Option<(Duration, Timestamp)>,
}

impl SentLog {
    /// An empty one.
    pub fn new() -> SentLog {
        SentLog::default()
    }

    /// A packet left; `size` is its size on the wire, headers included.
    pub fn on_sent(&mut self, now: Timestamp, id: PacketId, size: DataSize) {
        let (key, wire) = match id {
            PacketId::Twcc(seq) => (None, seq),
            PacketId::Rtp(ssrc, seq) => (Some(ssrc), seq),
        };
        let track = self.tracks.entry(key).or_default();
        while track.sent.front().is_some_and(|old| now.since(old.at) > MEMORY) {
            track.sent.pop_front();
        }
        let seq = track.numbers.unwrap(wire);
        if track.sent.back().is_none_or(|last| last.seq < seq) {
            track.sent.push_back(Sent { seq, at: now, size });
        }
    }

    /// What a report tells, in the order of sending; empty if it is no such report, or nothing new.
    pub fn on_feedback(&mut self, now: Timestamp, report: &Rtcp) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut sample = None;
        match report {
            Rtcp::Ccfb(feedback) => {
                let clock = (u128::from(self.clock.unwrap(feedback.timestamp).0) * 1_000_000 / 65_536) as i64;
                for stream in &feedback.streams {
                    let Some(track) = self.tracks.get_mut(&Some(stream.ssrc)) else { continue };
                    for (i, report) in stream.reports.iter().enumerate() {
                        let fate = match report.map(|report| report.arrival_micros()) {
                            None => Fate::Lost,
                            Some(None) => Fate::Untold,
                            Some(Some(age)) => Fate::Arrived(at(clock + age)),
                        };
                        let told = track.settle(stream.begin_seq.wrapping_add(i as u16), fate, &mut outcomes);
                        // Its round trip, less the time that the report waited at the receiver.
                        if let (Some(sent), Fate::Arrived(arrival)) = (told, fate) {
                            let held = Duration::from_micros((clock - arrival.as_micros() as i64) as u64);
                            shortest(&mut sample, now.since(sent).saturating_sub(held));
                        }
                    }
                }
            }
            Rtcp::Twcc(feedback) => {
                let Some(track) = self.tracks.get_mut(&None) else { return outcomes };
                let reference = (self.clock.unwrap(feedback.reference_time << 8).0 >> 8) as i64;
                for (seq, arrival) in feedback.arrivals() {
                    let fate = arrival.map_or(Fate::Lost, |micros| {
                        Fate::Arrived(at(reference * rtcp::REFERENCE_MICROS + micros))
                    });
                    let told = track.settle(seq, fate, &mut outcomes);
                    // How long the report waited is not told: the newest packet comes closest.
                    if let (Some(sent), Fate::Arrived(_)) = (told, fate) {
                        shortest(&mut sample, now.since(sent));
                    }
                }
            }
            _ => {}
        }
        if let Some(sample) = sample {
            self.rtt = Some((self.rtt.map_or(sample, |before| smooth(before, sample, now)), now));
        }
        outcomes.sort_by_key(|outcome| outcome.sent);
        outcomes
    }

    /// The round-trip time, smoothed, as the reports show it; `None` before the first.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|(rtt, _)| rtt)
    }
}

impl Track {
    /// Takes a packet and all before it off the record. Tells when it was sent, if it was there.
    fn settle(&mut self, wire: u16, fate: Fate, outcomes: &mut Vec<Outcome>) -> Option<Timestamp> {
        let seq = self.numbers.peek(wire);
        // A report about packets never sent would clear the record.
        if self.sent.back().is_none_or(|last| last.seq < seq) {
            return None;
        }
        while self.sent.front().is_some_and(|sent| sent.seq <= seq) {
            let sent = self.sent.pop_front()?;
            let fate = if sent.seq == seq { fate } else { Fate::Untold };
            outcomes.push(Outcome { sent: sent.at, size: sent.size, fate });
            if sent.seq == seq {
                return Some(sent.at);
            }
        }
        None
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros.max(0) as u64)
}

/// By an eighth towards the sample (RFC 6298 §2.3), and by more where reports are rare: what was a second ago counts for
/// nothing, however few told of it.
fn smooth((rtt, then): (Duration, Timestamp), sample: Duration, now: Timestamp) -> Duration {
    let weight = (now.since(then).as_millis() as u32).clamp(125, 1000);
    (rtt * (1000 - weight) + sample * weight) / 1000
}

fn shortest(shortest: &mut Option<Duration>, sample: Duration) {
    *shortest = Some(shortest.map_or(sample, |shortest| shortest.min(sample)));
}
