//! The microphone's side: 10 ms steps in, coded packets out.

use crate::Coding;
use crate::adapt::{COPIES_MAX, HEADERS_CHEAP, Path, Plan, Planner, Protection, Reason, music};
use crate::receiver::{Formats, empty, empty_duration, protected};
use std::collections::VecDeque;
use undertone_codec::opus::{Encoder, EncoderConfig};
use undertone_codec::{CodecError, level};
use undertone_media::{Bitrate, DataSize, EncodedFrame, Kind, MediaTime, SampleRate, Sound, Timestamp};
use undertone_transport::recovery::{red, rlc};
use undertone_transport::rtcp::Rtcp;
use undertone_transport::rtp::{AudioLevel, Header};
use undertone_transport::stream::SendStream;

/// Whether the listener was told that nothing follows, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    No,
    /// Once, by a packet of this date.
    Once(MediaTime, Why),
    Said(Why),
}

/// Why nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Nobody speaks.
    Quiet,
    /// The microphone is muted.
    Muted,
}

/// What comes from the microphone, and what is made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speaking {
    /// Samples a second that are pushed.
    pub rate: SampleRate,
    /// What is sent while the path carries it; a voice goes everywhere.
    pub sound: Sound,
    /// How speech is coded.
    pub coding: Coding,
}

/// Cuts the microphone's sound into packets as planned, and codes them.
pub struct AudioSender {
    /// The stream's numbers, memory and reports.
    pub stream: SendStream,
    encoder: Encoder,
    rate: SampleRate,
    planner: Planner,
    /// Decides whether music is sent, if it is to be.
    music: Option<music::Planner>,
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
    /// What a thin path may be filled with, and what a packet costs beside its payload.
    thin: Option<(Bitrate, DataSize)>,
    /// Of what was sent, what had not crossed it when the newest packet left.
    crossing: DataSize,
}

/// How long after it is sent a packet may be on its way into a thin path, in thousandths of its own length: one that is
/// larger than the mean holds up those behind it, which then are to be smaller.
const CROSSING_PERMILLE: u64 = 1_150;

/// What in-band repair is armed against, in percent: the codec then repeats from 16 kbit/s on, not too coarsely.
const IN_BAND_LOSS: u8 = 20;

/// A speaker louder than this (−dBov, RFC 6464) is taken to speak.
const VOICE_LEVEL: u8 = 50;

impl AudioSender {
    /// A sender for one stream over a path as known now.
    ///
    /// # Errors
    /// `CodecError` if the encoder cannot be made.
    pub fn new(
        stream: SendStream,
        formats: Formats,
        speaking: Speaking,
        path: &Path,
    ) -> Result<AudioSender, CodecError> {
        let Speaking { rate, sound, coding } = speaking;
        let planner = Planner::new(path);
        let plan = planner.current();
        let encoder = Encoder::new(&EncoderConfig {
            rate,
            sound: Sound::Speech,
            bitrate: plan.coded(),
            lbrr: in_band(&plan),
            complexity: coding.effort.complexity(),
            dtx: coding.dtx,
            narrowband: plan.narrowband,
            redundancy: path.peer.redundancy,
        })?;
        let mut sender = AudioSender {
            stream,
            encoder,
            rate,
            planner,
            music: (sound == Sound::Music).then(|| music::Planner::new(path)),
            pending: Vec::with_capacity(10 * rate.frame()),
            time: MediaTime(0),
            last: None,
            level: 127,
            pause: Pause::No,
            coded: Vec::with_capacity(512),
            formats,
            before: VecDeque::new(),
            code: rlc::Encoder::new(),
            symbol: 0,
            thin: None,
            crossing: DataSize::ZERO,
        };
        sender.follow();
        Ok(sender)
    }

    /// Takes the newest 10 ms, whose last sample was captured at `now`. Returns a coded frame when enough
    /// has come together.
    ///
    /// # Errors
    /// `CodecError` if the encoder refuses, which would be our own bug.
    pub fn push(&mut self, now: Timestamp, pcm: &[i16]) -> Result<Option<EncodedFrame>, CodecError> {
        self.pending.extend_from_slice(pcm);
        let wanted = self.rate.samples(self.plan().packet);
        if self.pending.len() < wanted {
            return Ok(None);
        }
        let captured = now - self.rate.duration(self.pending.len());
        let largest = self.largest();
        self.encoder.set_largest(largest);
        let packet = &self.pending[..wanted];
        self.level = level::rms_dbov(packet);
        let coded = self.encoder.encode(packet, &mut self.coded);
        let time = self.time;
        self.last = Some((time, captured));
        self.time = time + self.rate.ticks(wanted);
        self.pending.drain(..wanted);
        coded?;
        // Two bytes or less are a pause, of which only the beginning is sent (RFC 7587 §3.1.3).
        if self.coded.len() <= 2 {
            return Ok(self.say_pause(time, captured, Why::Quiet));
        }
        self.pause = match self.pause {
            // In a pause the encoder tells now and then what the background is like; it most likely goes on.
            Pause::Said(Why::Quiet) => Pause::Once(time, Why::Quiet),
            _ => Pause::No,
        };
        let data = self.coded.clone();
        Ok(Some(EncodedFrame { kind: Kind::Audio, time, captured, key: true, data }))
    }

    /// Says, at the beginning of a pause, that nothing follows: twice, in case one is lost. An Opus packet of one byte
    /// stands for silence to come (RFC 6716 §3.1).
    fn say_pause(&mut self, time: MediaTime, captured: Timestamp, why: Why) -> Option<EncodedFrame> {
        let data = empty(*self.coded.first()?, why == Why::Muted);
        let length = self.rate.ticks(self.rate.samples(empty_duration(&data)));
        self.pause = match self.pause {
            Pause::Said(said) if said == why => return None,
            // The second goes when the first is over.
            Pause::Once(first, said) if said == why && time < first + length => return None,
            Pause::Once(_, said) if said == why => Pause::Said(why),
            _ => Pause::Once(time, why),
        };
        Some(EncodedFrame { kind: Kind::Audio, time, captured, key: true, data })
    }

    /// Adds to a coded packet what the plan lets it tell of the past.
    pub fn enrich(&mut self, coded: &[u8]) -> Vec<u8> {
        let mut enriched = Vec::new();
        match self.plan().redundancy {
            Some(wanted) if self.encoder.dress(wanted, coded, &mut enriched) => enriched,
            _ => coded.to_vec(),
        }
    }

    /// How large the next packet may be coded, on a thin path.
    fn largest(&mut self) -> Option<usize> {
        let (budget, overhead) = self.thin?;
        let plan = self.plan();
        self.crossing = self.crossing.saturating_sub(budget * plan.packet);
        let room = (budget * plan.packet).as_bytes() * CROSSING_PERMILLE / 1000;
        // What is not speech is as large as planned.
        let speech = plan.bitrate * plan.packet;
        let beside = (plan.cost(overhead) * plan.packet).saturating_sub(speech);
        Some(room.saturating_sub((self.crossing + beside).as_bytes()) as usize)
    }

    /// Adds to a packet about to leave what brings back those before it, as planned: all of their payloads if `whole`, else
    /// the speech alone.
    pub fn protect(&mut self, header: Header, payload: Vec<u8>, whole: bool) -> (Header, Vec<u8>) {
        let (header, payload) = self.protected(header, payload, whole);
        if let Some((_, overhead)) = self.thin {
            self.crossing += overhead + DataSize::from_bytes(payload.len() as u64);
        }
        (header, payload)
    }

    fn protected(&mut self, header: Header, payload: Vec<u8>, whole: bool) -> (Header, Vec<u8>) {
        let plan = self.plan();
        if !matches!(plan.protection, Protection::Copies(_)) {
            // Copies are of the packets right before, and these are not remembered now.
            self.before.clear();
        }
        // On a thin path no speech is sent again: it would delay all that follows. A code that repairs nothing costs two bytes
        // and says so, and that there is nothing to wait for.
        let protection = match plan.protection {
            Protection::None if self.thin.is_some() && self.sending() == Sound::Speech => {
                Protection::Code { window: 0, permille: 0 }
            }
            protection => protection,
        };
        match (protection, self.formats) {
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

    /// While muted the media clock goes on, so that the listener's buffer sees a pause and no gap.
    pub fn skip(&mut self, now: Timestamp, pcm: &[i16]) -> Option<EncodedFrame> {
        let time = self.time;
        let skipped = self.pending.len() + pcm.len();
        let captured = now - self.rate.duration(skipped);
        self.time = time + self.rate.ticks(skipped);
        self.pending.clear();
        self.say_pause(time, captured, Why::Muted)
    }

    /// Plans anew for the path as known now, of which music, if it is to be sent, may take more than speech.
    pub fn adapt(&mut self, now: Timestamp, path: &Path, music: Bitrate) {
        let carries = self.music.as_mut().map(|it| it.update(now, &Path { budget: music, ..*path }));
        if !matches!(carries, Some(Ok(_))) {
            self.planner.update(now, path);
        }
        self.follow();
        self.thin = (path.budget < HEADERS_CHEAP).then_some((path.budget, path.overhead));
    }

    /// Keeps to this plan for speech until the next [`AudioSender::adapt`].
    pub fn keep_to(&mut self, plan: Plan) {
        self.planner.set(plan);
        self.follow();
    }

    /// Tells the encoder of the plan in force.
    fn follow(&mut self) {
        let plan = self.plan();
        self.encoder.set_sound(self.sending());
        self.encoder.set_lbrr(in_band(&plan));
        self.encoder.set_bitrate(plan.coded());
        self.encoder.set_narrowband(plan.narrowband);
    }

    /// What is sent: music, if it was asked for and while the path carries it.
    pub fn sending(&self) -> Sound {
        match &self.music {
            Some(music) if music.current().is_ok() => Sound::Music,
            _ => Sound::Speech,
        }
    }

    /// Why that is sent.
    pub fn reason(&self) -> Reason {
        let withheld = self.music.as_ref().and_then(|music| music.current().err());
        withheld.unwrap_or(self.plan().reason)
    }

    /// The plan in force.
    pub fn plan(&self) -> Plan {
        let music = self.music.as_ref().and_then(|music| music.current().ok());
        music.unwrap_or(self.planner.current())
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
        let ticks = SampleRate::Full.samples(since) as u64;
        Some(self.stream.sender_report(ntp, time + ticks))
    }
}

fn in_band(plan: &Plan) -> Option<u8> {
    (plan.protection == Protection::InBand).then_some(IN_BAND_LOSS)
}
