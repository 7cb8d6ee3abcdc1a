//! One audio slot: packets in, 10 ms of PCM out.
//!
//! Here the jitter buffer's decisions meet the codec: `jitter` says what, the decoder and the stretcher do
//! it, and a queue of decoded sound evens out packets of 20–120 ms into steps of 10. Each step remembers
//! where it came from and when it was captured, which is all that the statistics need.

use crate::{FRAME_SAMPLES, FrameTransform, OPUS_TICKS_PER_SAMPLE, Timing};
use std::collections::VecDeque;
use std::time::Duration;
use undertone_codec::opus::{self, Decoder, DecoderConfig, Level};
use undertone_codec::stretch::{Change, Stretcher};
use undertone_codec::{CodecError, SAMPLE_RATE};
use undertone_jitter::{Contents, How, JitterBuffer, Playout, Stretch};
use undertone_media::{EncodedFrame, Kind, MediaTime, Packet, Timestamp};
use undertone_transport::rtp;
use undertone_transport::stream::{RecvStream, red};

/// Where 10 ms of played sound came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A packet that came the first time.
    Decoded,
    /// A packet that came again: resent (RFC 4588), or as a copy in the next one (RFC 2198).
    Rtx,
    /// The low-rate copy in the next packet.
    Lbrr,
    /// Deep redundancy in a later packet.
    Dred,
    /// Made up by the decoder.
    Plc,
    /// Nobody spoke, or nothing has come yet.
    Silence,
}

/// What a slot played in one step of 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Where most of it came from.
    pub origin: Origin,
    /// How long ago its first sample entered the speaker's microphone, if the speaker's clock is known.
    pub mouth_to_ear: Option<Duration>,
}

/// A run of decoded sound of one origin.
#[derive(Clone, Copy, Debug)]
struct Span {
    samples: usize,
    origin: Origin,
    /// The media time of its first sample; `None` for sound that nobody made.
    time: Option<MediaTime>,
}

/// Made up sound after the last that was real.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The media time at which the real sound ended.
    from: MediaTime,
    /// How much was made up since.
    samples: usize,
    /// The last of it was silence and not the decoder's.
    silent: bool,
}

/// How a voice would have gone on after a gap, as far as it is asked for: a pitch period and a cross-fade.
const TAIL_SAMPLES: usize = SAMPLE_RATE as usize * 20 / 1000;

/// How much is stretched at once: what the pitch of most voices needs and packets have at least.
const PIECE_SAMPLES: usize = 2 * FRAME_SAMPLES;

/// To take so much out of a piece, or put it in, is urgent.
const URGENT_SAMPLES: usize = FRAME_SAMPLES;

/// A longer gap says nothing to the decoder any more.
const LONGEST_LOSS: Duration = Duration::from_secs(1);

/// A packet no longer than this holds no speech: the sender pauses (RFC 7587 §3.1.3).
const PAUSE_BYTES: usize = 2;

/// One audio slot.
pub struct AudioReceiver {
    /// The stream's numbers, repairs and reports.
    pub stream: RecvStream,
    /// Payload type of packets with copies.
    red: Option<u8>,
    /// How long a packet is, if the newest came with a copy of the one before.
    copied: Option<Duration>,
    jitter: JitterBuffer,
    decoder: Decoder,
    stretcher: Stretcher,
    pcm: Vec<i16>,
    scratch: Vec<i16>,
    /// How what was made up would have gone on.
    tail: Vec<i16>,
    /// What is about to be stretched, and the part of it that is.
    decoded: Vec<i16>,
    block: Vec<i16>,
    /// Where real sound ended that was decoded last.
    heard_until: Option<MediaTime>,
    /// What was made up since then.
    gap: Option<Gap>,
    spans: VecDeque<Span>,
    undecodable: u64,
    frames: [u64; 6],
    /// Samples that stretching took out, and put in.
    stretched: (u64, u64),
}

impl AudioReceiver {
    /// A slot for one stream; `red` is the payload type of packets that carry copies, if agreed.
    ///
    /// # Errors
    /// `CodecError` if the decoder cannot be made.
    pub fn new(
        stream: RecvStream,
        red: Option<u8>,
        clock_rate: u32,
        playout_slack: Duration,
    ) -> Result<AudioReceiver, CodecError> {
        let buffer = undertone_jitter::Config {
            clock_rate,
            min_delay: playout_slack,
            start_delay: playout_slack,
            ..Default::default()
        };
        Ok(AudioReceiver {
            stream,
            red,
            copied: None,
            jitter: JitterBuffer::new(buffer),
            decoder: Decoder::new(DecoderConfig { level: Level::Lace })?,
            stretcher: Stretcher::new(SAMPLE_RATE)?,
            pcm: Vec::with_capacity(8 * FRAME_SAMPLES),
            scratch: Vec::with_capacity(12 * FRAME_SAMPLES),
            tail: Vec::with_capacity(TAIL_SAMPLES),
            decoded: Vec::with_capacity(12 * FRAME_SAMPLES),
            block: Vec::with_capacity(5 * FRAME_SAMPLES),
            heard_until: None,
            gap: None,
            spans: VecDeque::new(),
            undecodable: 0,
            frames: [0; 6],
            stretched: (0, 0),
        })
    }

    /// Takes an RTP packet of this stream or of its retransmissions.
    pub fn receive(
        &mut self,
        now: Timestamp,
        header: &rtp::Header,
        payload: &[u8],
        transform: &mut dyn FrameTransform,
    ) {
        if self.red != Some(header.payload_type) {
            if header.payload_type == self.stream.config().payload_type {
                self.copied = None;
            }
            let packet = self.stream.receive(now, header, payload);
            return self.insert(now, packet, transform);
        }
        let mut parts = red::split(header, payload).into_iter();
        if let Some((header, payload)) = parts.next() {
            self.copied = opus::packet_duration(payload);
            let packet = self.stream.receive(now, &header, payload);
            self.insert(now, packet, transform);
        }
        for (header, payload) in parts {
            let copy = self.stream.receive_copy(now, &header, payload);
            self.insert(now, copy, transform);
        }
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
        let contents = Contents {
            lbrr: opus::has_lbrr(&packet.payload),
            pause: packet.payload.len() <= PAUSE_BYTES,
            ..Contents::plain(duration)
        };
        self.jitter.insert(now, packet, contents);
    }

    /// Adds the next 10 ms of this slot to `mix`.
    pub fn pull(
        &mut self,
        now: Timestamp,
        rtt: Option<Duration>,
        timing: Timing,
        mix: &mut [i32; FRAME_SAMPLES],
    ) -> Played {
        let asked = rtt.and_then(|rtt| self.stream.repair_delay(rtt));
        // Once copies come, most losses are mended by the next packet.
        if let Some(after) = asked.map(|asked| self.copied.map_or(asked, |copied| copied.min(asked))) {
            self.jitter.expect_repair(after);
        }
        // A decision is about one packet, and no packet is shorter than 2.5 ms: the bound is never met
        // by a sound buffer, and keeps a broken one from hanging the speaker.
        for _ in 0..16 {
            let queued = Duration::from_micros(self.pcm.len() as u64 * 1_000_000 / u64::from(SAMPLE_RATE));
            let stream = &self.stream;
            let playout = self.jitter.decide(now, queued, |seq| stream.repairable_until(seq, rtt));
            if matches!(playout, Playout::Wait) {
                break;
            }
            self.act(playout);
        }
        self.take(now, timing, mix)
    }

    /// Does what the jitter buffer decided.
    fn act(&mut self, playout: Playout) {
        self.scratch.clear();
        let (origin, time) = match playout {
            Playout::Play { packet, stretch, .. } => {
                let joins = self.resume(packet.time);
                if self.decoder.decode(&packet.payload, &mut self.scratch).is_err() {
                    self.undecodable += 1;
                    let samples = opus::packet_duration(&packet.payload).map_or(FRAME_SAMPLES, samples);
                    self.decoder.conceal(samples, &mut self.scratch);
                    (Origin::Plc, Some(packet.time))
                } else {
                    self.heard_until = Some(packet.time + self.scratch.len() as u64 * OPUS_TICKS_PER_SAMPLE);
                    let before = self.scratch.len() as i64;
                    if joins {
                        self.join(stretch);
                    }
                    let paused = self.stretcher.pause(&self.scratch);
                    self.jitter.heard(paused);
                    match stretch {
                        Stretch::None => {}
                        Stretch::Faster(budget) => self.stretch(Change::Faster, budget),
                        Stretch::Slower(budget) => self.stretch(Change::Slower, budget),
                    }
                    // What is left of a stretched packet is dated by its end, where what follows joins.
                    let removed = (before - self.scratch.len() as i64) * OPUS_TICKS_PER_SAMPLE as i64;
                    let time = MediaTime(packet.time.0.saturating_add_signed(removed));
                    (if packet.repaired { Origin::Rtx } else { Origin::Decoded }, Some(time))
                }
            }
            Playout::Recover { from, missing, how, .. } => {
                let wanted = samples(missing);
                let back = match how {
                    How::Lbrr => wanted,
                    How::Dred(before) => samples(before),
                };
                let time = from.time - back as u64 * OPUS_TICKS_PER_SAMPLE;
                let joins = self.resume(time);
                let (origin, done) = match how {
                    How::Lbrr => {
                        (Origin::Lbrr, self.decoder.recover_lbrr(&from.payload, wanted, &mut self.scratch))
                    }
                    How::Dred(before) => {
                        let parsed = self.decoder.parse_dred(&from.payload).is_some();
                        let offset = samples(before);
                        (Origin::Dred, parsed && self.decoder.recover_dred(offset, wanted, &mut self.scratch))
                    }
                };
                if done {
                    self.heard_until = Some(time + self.scratch.len() as u64 * OPUS_TICKS_PER_SAMPLE);
                    if joins {
                        self.join(Stretch::None);
                    }
                    (origin, None)
                } else {
                    self.scratch.clear();
                    self.decoder.conceal(wanted, &mut self.scratch);
                    (Origin::Plc, None)
                }
            }
            Playout::Conceal { duration } => {
                self.make_up(samples(duration), false);
                self.decoder.conceal(samples(duration), &mut self.scratch);
                (Origin::Plc, None)
            }
            Playout::Silence { duration } => {
                self.make_up(samples(duration), true);
                self.scratch.resize(samples(duration), 0);
                (Origin::Silence, None)
            }
            Playout::Wait => return,
        };
        self.pcm.extend_from_slice(&self.scratch);
        self.spans.push_back(Span { samples: self.scratch.len(), origin, time });
    }

    /// Keeps account of what is not real, and at its beginning the decoder's state.
    fn make_up(&mut self, samples: usize, silent: bool) {
        let Some(from) = self.heard_until else { return };
        let gap = self.gap.get_or_insert_with(|| {
            self.decoder.remember();
            Gap { from, samples: 0, silent }
        });
        gap.samples += samples;
        gap.silent = silent;
    }

    /// Real sound that begins at `time` is about to be decoded. If as much was made up as is missing before it, the
    /// decoder goes on from there. If not, because packets were late rather than lost, its state goes back to where
    /// real sound ended, so that it decodes as it was coded; true: what was made up has to be joined to it.
    fn resume(&mut self, time: MediaTime) -> bool {
        let Some(gap) = self.gap.take() else { return false };
        let missing = time.since(gap.from, OPUS_CLOCK);
        if samples(missing) == gap.samples {
            return false;
        }
        self.tail.clear();
        if gap.silent {
            self.tail.resize(TAIL_SAMPLES, 0);
        } else {
            self.decoder.conceal(TAIL_SAMPLES, &mut self.tail);
        }
        self.decoder.rewind();
        if !missing.is_zero() && missing <= LONGEST_LOSS {
            self.decoder.conceal(samples(missing), &mut self.scratch);
            self.scratch.clear();
        }
        true
    }

    /// Fades from what was made up into what was just decoded, in phase: later than ordered by up to a pitch period,
    /// or, where playout should hurry, earlier.
    fn join(&mut self, stretch: Stretch) {
        if let Stretch::Faster(budget) = stretch {
            let skipped = self.stretcher.join(&self.tail, &mut self.scratch, samples(budget));
            self.stretched.0 += skipped as u64;
            return;
        }
        let extra = self.stretcher.bridge(&self.tail, &mut self.scratch);
        self.pcm.extend(self.scratch.drain(..extra));
        if extra > 0 {
            self.spans.push_back(Span { samples: extra, origin: Origin::Plc, time: None });
        }
    }

    /// Changes the length of what was just decoded by about `budget`, as far as pitch periods allow. What is not played
    /// yet of the sound before serves to find them. Long packets are changed piece by piece.
    fn stretch(&mut self, change: Change, budget: Duration) {
        let pieces = self.scratch.len().div_ceil(PIECE_SAMPLES).max(1);
        let share = samples(budget) / pieces;
        let urgent = share >= URGENT_SAMPLES;
        let unplayed = self.pcm.len();
        std::mem::swap(&mut self.scratch, &mut self.decoded);
        self.scratch.clear();
        self.scratch.append(&mut self.pcm);
        for piece in self.decoded.chunks(PIECE_SAMPLES) {
            self.scratch.extend_from_slice(piece);
            let block = self.scratch.len().saturating_sub(piece.len() + FRAME_SAMPLES);
            self.block.clear();
            self.block.extend(self.scratch.drain(block..));
            let changed =
                self.stretcher.stretch(&mut self.block, change, share, urgent).unsigned_abs() as u64;
            self.scratch.append(&mut self.block);
            match change {
                Change::Faster => self.stretched.0 += changed,
                Change::Slower => self.stretched.1 += changed,
            }
        }
        let unplayed = unplayed.min(self.scratch.len());
        self.pcm.extend(self.scratch.drain(..unplayed));
    }

    /// Plays 10 ms from the queue.
    fn take(&mut self, now: Timestamp, timing: Timing, mix: &mut [i32; FRAME_SAMPLES]) -> Played {
        let first = self.spans.front().copied();
        let available = self.pcm.len().min(FRAME_SAMPLES);
        for (sum, sample) in mix.iter_mut().zip(self.pcm.drain(..available)) {
            *sum += i32::from(sample);
        }
        let mut left = available;
        while left > 0 {
            let Some(span) = self.spans.front_mut() else { break };
            let part = span.samples.min(left);
            span.samples -= part;
            span.time = span.time.map(|time| time + part as u64 * OPUS_TICKS_PER_SAMPLE);
            left -= part;
            if span.samples == 0 {
                self.spans.pop_front();
            }
        }
        let origin = first.map_or(Origin::Silence, |span| span.origin);
        self.frames[origin as usize] += 1;
        let captured = first.and_then(|span| span.time).and_then(|time| self.stream.capture_ntp(time));
        let mouth_to_ear = captured.and_then(|captured| timing.since(now, captured));
        Played { origin, mouth_to_ear }
    }

    /// Steps of 10 ms played so far, by origin.
    pub fn frames(&self, origin: Origin) -> u64 {
        self.frames[origin as usize]
    }

    /// Samples that stretching took out, and put in.
    pub fn stretched(&self) -> (u64, u64) {
        self.stretched
    }

    /// Packets whose payload was no Opus packet: the speaker's fault.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// The jitter buffer's own account.
    pub fn jitter(&self) -> &JitterBuffer {
        &self.jitter
    }

    /// Holds the sound back, so that the picture of the same person can keep up.
    pub fn hold(&mut self, floor: Duration) {
        self.jitter.hold(floor);
    }
}

/// Ticks a second of Opus (RFC 7587 §4.1).
const OPUS_CLOCK: u32 = SAMPLE_RATE * OPUS_TICKS_PER_SAMPLE as u32;

/// Samples in a duration.
fn samples(duration: Duration) -> usize {
    (duration.as_micros() as u64 * u64::from(SAMPLE_RATE) / 1_000_000) as usize
}
