//! One audio slot: packets in, 10 ms of PCM out.
//!
//! Here the jitter buffer's decisions meet the codec: `jitter` says what, the decoder and the stretcher do
//! it, and a queue of decoded sound evens out packets of 20–120 ms into steps of 10. Each step remembers
//! where it came from and when it was captured, which is all that the statistics need.

use crate::{FRAME_SAMPLES, FrameTransform, OPUS_TICKS_PER_SAMPLE, Timing};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use undertone_codec::opus::{self, Decoder, DecoderConfig, Level};
use undertone_codec::stretch::{Change, Stretcher};
use undertone_codec::{CodecError, SAMPLE_RATE};
use undertone_jitter::{Contents, How, JitterBuffer, Playout, Stretch};
use undertone_media::{EncodedFrame, Kind, MediaTime, Packet, SeqNo, Timestamp};
use undertone_transport::recovery::{red, rlc};
use undertone_transport::rtp;
use undertone_transport::stream::RecvStream;

/// Where 10 ms of played sound came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A packet that came the first time.
    Decoded,
    /// A packet that was asked for and came again (RFC 4588).
    Rtx,
    /// A copy in a later packet (RFC 2198).
    Copy,
    /// Combinations in later packets (RFC 8681).
    Code,
    /// The low-rate copy in the next packet.
    Lbrr,
    /// Deep redundancy in a later packet.
    Dred,
    /// Made up by the decoder.
    Plc,
    /// Nobody spoke, or nothing has come yet.
    Silence,
}

impl Origin {
    /// How many there are.
    pub const COUNT: usize = Origin::Silence as usize + 1;
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
    formats: Formats,
    /// Undoes the sliding-window code.
    code: rlc::Decoder,
    /// How far back the newest packets can bring others back; `None` while packets carry no repair.
    coded: Option<Duration>,
    patience: Patience,
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
    /// What brought the packets back that wait for their turn.
    repaired: BTreeMap<SeqNo, Origin>,
    /// The packet whose deep redundancy was read last, and how far that reaches.
    deep: Option<SeqNo>,
    undecodable: u64,
    frames: [u64; Origin::COUNT],
    /// Samples that stretching took out, and put in.
    stretched: (u64, u64),
}

/// How long to wait for what the sender's code brings back: as far as it reached of late, while packets get lost. Each move
/// of playout is heard, so it goes up at once, and down only when it has been too long for a while.
#[derive(Debug, Default)]
struct Patience {
    /// Losses counted so far, and when the newest was noticed.
    lost: u64,
    loss: Option<Timestamp>,
    /// How long to wait, and since when less would do.
    held: Duration,
    needed: Timestamp,
}

/// Playout moves in steps of 10 ms, and would settle so much above what is asked for on average.
const EARLY: Duration = Duration::from_millis(5);
/// Where a packet was lost less long ago, more are to come.
const LOSSY_FOR: Duration = Duration::from_secs(8);
/// While they come, playout does not move for a shorter wait that has sufficed for less long.
const HELD_FOR: Duration = Duration::from_secs(20);

impl Patience {
    fn update(&mut self, now: Timestamp, lost: u64, reach: Duration) -> Duration {
        if lost != std::mem::replace(&mut self.lost, lost) {
            self.loss = Some(now);
        }
        let lossy = self.loss.is_some_and(|loss| now.since(loss) < LOSSY_FOR);
        let wanted = if lossy { reach } else { Duration::ZERO };
        if wanted >= self.held || !lossy || now.since(self.needed) >= HELD_FOR {
            (self.held, self.needed) = (wanted, now);
        }
        self.held
    }
}

/// Payload types of packets that carry others beside their own, as far as they were agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    /// Copies (RFC 2198).
    pub red: Option<u8>,
    /// The sliding-window code ([`rlc`]).
    pub rlc: Option<u8>,
}

impl AudioReceiver {
    /// A slot for one stream.
    ///
    /// # Errors
    /// `CodecError` if the decoder cannot be made.
    pub fn new(
        stream: RecvStream,
        formats: Formats,
        playout: undertone_jitter::Config,
    ) -> Result<AudioReceiver, CodecError> {
        Ok(AudioReceiver {
            code: rlc::Decoder::new(stream.config().payload_type),
            stream,
            formats,
            coded: None,
            patience: Patience::default(),
            copied: None,
            repaired: BTreeMap::new(),
            deep: None,
            jitter: JitterBuffer::new(playout),
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
            frames: [0; Origin::COUNT],
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
        let ticks = self.code.reach().map(u64::from);
        self.coded = ticks.map(|ticks| {
            Duration::from_micros(ticks * 1_000_000 / u64::from(self.stream.config().clock_rate))
        });
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
        let patience = self.patience.update(now, self.stream.stats().lost, self.coded.unwrap_or_default());
        let known = self.coded.is_some() || patience > Duration::ZERO;
        self.jitter.wait_for_repairs(known.then_some(patience.saturating_sub(EARLY)));
        // A decision is about one packet, and no packet is shorter than 2.5 ms: the bound is never met
        // by a sound buffer, and keeps a broken one from hanging the speaker.
        for _ in 0..16 {
            let queued = Duration::from_micros(self.pcm.len() as u64 * 1_000_000 / u64::from(SAMPLE_RATE));
            let (stream, coded) = (&self.stream, self.coded);
            let repairable = |seq| match coded {
                Some(reach) => stream.expected_at(seq).map(|due| due + reach),
                None => stream.repairable_until(seq, rtt),
            };
            let playout = self.jitter.decide(now, queued, repairable);
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
                    let by = self.repaired.remove(&packet.seq).unwrap_or(Origin::Rtx);
                    self.repaired = self.repaired.split_off(&packet.seq);
                    (if packet.repaired { by } else { Origin::Decoded }, Some(time))
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
                    How::Dred(before) => (Origin::Dred, self.recover_deep(&from, samples(before), wanted)),
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

    /// Plays what a later packet tells of the past: `wanted` samples, `offset` before that packet.
    fn recover_deep(&mut self, from: &Packet, offset: usize, wanted: usize) -> bool {
        // Reading it takes as long as decoding: once a packet is enough.
        if self.deep != Some(from.seq) {
            self.deep = Some(from.seq);
            self.decoder.parse_dred(&from.payload);
        }
        self.decoder.recover_dred(offset, wanted, &mut self.scratch)
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

/// What of a payload protection repeats: all of it, or the speech alone and not what that tells of the past. A relay, and
/// whoever cannot read the payload, can tell no part of it.
pub(crate) fn protected(payload: &[u8], whole: bool) -> Vec<u8> {
    let bare = if whole { None } else { opus::strip(payload) };
    bare.unwrap_or_else(|| payload.to_vec())
}

/// Samples in a duration.
fn samples(duration: Duration) -> usize {
    (duration.as_micros() as u64 * u64::from(SAMPLE_RATE) / 1_000_000) as usize
}
