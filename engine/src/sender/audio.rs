//! The microphone's side: 10 ms steps in, coded packets out.

use crate::OPUS_TICKS_PER_SAMPLE;
use crate::adapt::{COPIES_MAX, Path, Plan, Planner, Protection};
use crate::receiver::{Formats, protected};
use std::collections::VecDeque;
use std::time::Duration;
use undertone_codec::opus::{Encoder, EncoderConfig};
use undertone_codec::{CodecError, SAMPLE_RATE, level};
use undertone_media::{EncodedFrame, Kind, MediaTime, Timestamp};
use undertone_transport::recovery::{red, rlc};
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
    formats: Formats,
    /// Timestamps and payloads of the last packets, for copies.
    before: VecDeque<(u32, Vec<u8>)>,
    code: rlc::Encoder,
    /// Bytes of its symbols.
    symbol: usize,
}

/// A speaker louder than this (−dBov, RFC 6464) is taken to speak.
const VOICE_LEVEL: u8 = 50;

impl AudioSender {
    /// A sender for one stream over a path as known now.
    ///
    /// # Errors
    /// `CodecError` if the encoder cannot be made.
    pub fn new(stream: SendStream, formats: Formats, path: &Path) -> Result<AudioSender, CodecError> {
        let planner = Planner::new(path);
        let encoder = Encoder::new(&EncoderConfig {
            bitrate: planner.current().bitrate,
            narrowband: planner.current().narrowband,
            redundancy: path.peer.redundancy,
            ..EncoderConfig::default()
        })?;
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
            formats,
            before: VecDeque::new(),
            code: rlc::Encoder::new(),
            symbol: 0,
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

    /// Adds to a coded packet what the plan lets it tell of the past.
    pub fn enrich(&mut self, coded: &[u8]) -> Vec<u8> {
        let mut enriched = Vec::new();
        match self.plan().redundancy {
            Some(wanted) if self.encoder.dress(wanted, coded, &mut enriched) => enriched,
            _ => coded.to_vec(),
        }
    }

    /// Adds to a packet about to leave what brings back those before it, as planned: all of their payloads if `whole`, else
    /// the speech alone.
    pub fn protect(&mut self, header: Header, payload: Vec<u8>, whole: bool) -> (Header, Vec<u8>) {
        let plan = self.plan();
        if !matches!(plan.protection, Protection::Copies(_)) {
            // Copies are of the packets right before, and these are not remembered now.
            self.before.clear();
        }
        match (plan.protection, self.formats) {
            (Protection::Code { window, permille }, Formats { rlc: Some(rlc), .. }) => {
                let mean = plan.bitrate.as_bps() as u128 * plan.packet.as_micros() / 8_000_000;
                let ideal = rlc::symbol_size(mean as usize);
                // Another size begins a new window, in which nothing is protected at first.
                if ideal * 3 < self.symbol * 2 || ideal * 2 > self.symbol * 3 {
                    self.symbol = ideal;
                }
                let code = rlc::Plan {
                    window: window.into(),
                    rate: permille,
                    symbol: self.symbol,
                    ..rlc::Plan::default()
                };
                self.code.dress(&header, &protected(&payload, whole), &payload, &code, rlc)
            }
            (Protection::Copies(count), Formats { red: Some(red), .. }) => {
                let copies = self.before.iter().rev().take(count.into()).rev();
                let copies: Vec<_> = copies.map(|(at, copy)| (*at, copy.as_slice())).collect();
                let joined = red::join(&header, &payload, &copies, red);
                self.before.push_back((header.timestamp, payload.clone()));
                if self.before.len() > COPIES_MAX {
                    self.before.pop_front();
                }
                joined.unwrap_or((header, payload))
            }
            _ => (header, payload),
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
        let plan = self.planner.update(now, path);
        self.follow(plan);
    }

    /// Keeps to this plan until the next [`AudioSender::adapt`].
    pub fn keep_to(&mut self, plan: Plan) {
        self.planner.set(plan);
        self.follow(plan);
    }

    fn follow(&mut self, plan: Plan) {
        self.encoder.set_bitrate(plan.bitrate);
        self.encoder.set_narrowband(plan.narrowband);
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
