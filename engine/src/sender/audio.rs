//! The microphone's side: 10 ms steps in, coded packets out.

use crate::OPUS_TICKS_PER_SAMPLE;
use crate::adapt::{Path, Plan, Planner, RequestMeter};
use std::time::Duration;
use undertone_codec::opus::{Encoder, EncoderConfig};
use undertone_codec::{CodecError, SAMPLE_RATE, level};
use undertone_media::{EncodedFrame, Kind, MediaTime, Timestamp};
use undertone_transport::recovery::red;
use undertone_transport::rtcp::Rtcp;
use undertone_transport::rtp::{AudioLevel, Header};
use undertone_transport::stream::SendStream;

/// Whether the listener was told that nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    No,
    /// Once, by a packet of this date.
    Once(MediaTime),
    Said,
}

/// Cuts the microphone's sound into packets as planned, and codes them.
pub struct AudioSender {
    /// The stream's numbers, memory and reports.
    pub stream: SendStream,
    encoder: Encoder,
    planner: Planner,
    pending: Vec<i16>,
    /// Media time of the first pending sample.
    time: MediaTime,
    /// Media time and capture time of the packet coded last, for sender reports.
    last: Option<(MediaTime, Timestamp)>,
    level: u8,
    pause: Pause,
    coded: Vec<u8>,
    /// Payload type of packets with copies, if the listener reads them.
    red: Option<u8>,
    /// Timestamp and payload of the last packet.
    before: Option<(u32, Vec<u8>)>,
    requests: RequestMeter,
    /// The newest packet that was asked for again.
    requested: Option<u16>,
}

/// A speaker louder than this (−dBov, RFC 6464) is taken to speak.
const VOICE_LEVEL: u8 = 50;

impl AudioSender {
    /// A sender for one stream over a path as known now; `red` is the payload type of packets that carry
    /// copies, if agreed.
    ///
    /// # Errors
    /// `CodecError` if the encoder cannot be made.
    pub fn new(stream: SendStream, red: Option<u8>, path: &Path) -> Result<AudioSender, CodecError> {
        let planner = Planner::new(path);
        let encoder =
            Encoder::new(&EncoderConfig { bitrate: planner.current().bitrate, ..EncoderConfig::default() })?;
        Ok(AudioSender {
            stream,
            encoder,
            planner,
            pending: Vec::with_capacity(SAMPLE_RATE as usize / 10),
            time: MediaTime(0),
            last: None,
            level: 127,
            pause: Pause::No,
            coded: Vec::with_capacity(512),
            red,
            before: None,
            requests: RequestMeter::default(),
            requested: None,
        })
    }

    /// Takes the newest 10 ms, whose last sample was captured at `now`. Returns a coded frame when enough
    /// has come together.
    ///
    /// # Errors
    /// `CodecError` if the encoder refuses, which would be our own bug.
    pub fn push(&mut self, now: Timestamp, pcm: &[i16]) -> Result<Option<EncodedFrame>, CodecError> {
        self.pending.extend_from_slice(pcm);
        let wanted = samples(self.planner.current().packet);
        if self.pending.len() < wanted {
            return Ok(None);
        }
        let captured = now - duration(self.pending.len());
        let packet = &self.pending[..wanted];
        self.level = level::rms_dbov(packet);
        let coded = self.encoder.encode(packet, &mut self.coded);
        let time = self.time;
        self.last = Some((time, captured));
        self.time = time + wanted as u64 * OPUS_TICKS_PER_SAMPLE;
        self.pending.drain(..wanted);
        self.pause = Pause::No;
        coded?;
        // Two bytes or less are silence that need not be sent (RFC 7587 §3.1.3).
        Ok((self.coded.len() > 2).then(|| EncodedFrame {
            kind: Kind::Audio,
            time,
            captured,
            key: true,
            data: self.coded.clone(),
        }))
    }

    /// Puts a copy of the packet before in a packet about to leave, if the plan says so.
    pub fn dress(&mut self, header: Header, payload: Vec<u8>) -> (Header, Vec<u8>) {
        self.requests.on_sent();
        let before = self.before.replace((header.timestamp, payload.clone()));
        let joined = match (self.red, &before) {
            (Some(red), Some((at, copy))) if self.plan().copies => {
                red::join(&header, &payload, &[(*at, copy)], red)
            }
            _ => None,
        };
        joined.unwrap_or((header, payload))
    }

    /// The listener asks for packets again: the first news of a loss, before any report.
    pub fn on_requests(&mut self, seqs: &[u16]) {
        for &seq in seqs {
            // A packet may be asked for several times, but was lost once.
            if self.requested.is_none_or(|newest| (seq.wrapping_sub(newest) as i16) > 0) {
                self.requested = Some(seq);
                self.requests.on_requested();
            }
        }
    }

    /// While muted the media clock goes on, so that the listener's buffer sees a pause and no gap. The first two
    /// packets of a pause say so, twice in case one is lost: an Opus packet of one byte stands for silence to
    /// come (RFC 6716 §3.1).
    pub fn skip(&mut self, now: Timestamp, pcm: &[i16]) -> Option<EncodedFrame> {
        let time = self.time;
        let captured = now - duration(self.pending.len() + pcm.len());
        self.time = time + (self.pending.len() + pcm.len()) as u64 * OPUS_TICKS_PER_SAMPLE;
        self.pending.clear();
        // The second goes when the first is over, and that was as long as its packet time says.
        let length = samples(self.planner.current().packet) as u64 * OPUS_TICKS_PER_SAMPLE;
        let data = match (self.pause, self.coded.first()) {
            (_, None) | (Pause::Said, _) => return None,
            (Pause::Once(first), _) if time < first + length => return None,
            (_, Some(toc)) => vec![toc & 0xfc],
        };
        self.pause = if self.pause == Pause::No { Pause::Once(time) } else { Pause::Said };
        Some(EncodedFrame { kind: Kind::Audio, time, captured, key: true, data })
    }

    /// Plans anew for the path as known now.
    pub fn adapt(&mut self, now: Timestamp, path: &Path) {
        let before = self.planner.current();
        let plan = self.planner.update(now, path, self.requests.percent());
        if plan.bitrate != before.bitrate {
            self.encoder.set_bitrate(plan.bitrate);
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> Plan {
        self.planner.current()
    }

    /// How loud the last packet was.
    pub fn level(&self) -> AudioLevel {
        AudioLevel { voice: self.level < VOICE_LEVEL, level: self.level }
    }

    /// A sender report. A sample leaves the far decoder later than it entered our encoder, by the codec's
    /// lookahead: the report dates the sound, not the packet, so that lips and delays are right.
    pub fn report(&self, now: Timestamp, ntp: u64) -> Option<Rtcp> {
        let (time, captured) = self.last?;
        let since = now.since(captured) + self.encoder.lookahead();
        let ticks = since.as_micros() as u64 * u64::from(SAMPLE_RATE) * OPUS_TICKS_PER_SAMPLE / 1_000_000;
        Some(self.stream.sender_report(ntp, time + ticks))
    }
}

fn samples(duration: Duration) -> usize {
    (duration.as_micros() as u64 * u64::from(SAMPLE_RATE) / 1_000_000) as usize
}

fn duration(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / u64::from(SAMPLE_RATE))
}
