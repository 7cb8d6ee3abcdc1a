//! One audio slot: packets in, 10 ms of PCM out.
//!
//! Here the jitter buffer's decisions meet the codec: `jitter` says what, the decoder and the stretcher do
//! it, and a queue of decoded sound evens out packets of 20–120 ms into steps of 10. Each step remembers
//! where it came from and when it was captured, which is all that the statistics need.

mod gap;
mod packets;
mod patience;
mod pause;
mod queue;
mod stretch;

pub use packets::Formats;
pub(crate) use packets::protected;
pub(crate) use pause::{empty, empty_duration};

use crate::config::PATIENCE_MAX;
use crate::{Effort, Timing};
use gap::{Gap, Join};
use patience::{EARLY, Patience};
use pause::Background;
use queue::Queue;
use std::collections::BTreeMap;
use std::time::Duration;
use undertone_codec::CodecError;
use undertone_codec::opus::{self, Decoder, DecoderConfig};
use undertone_codec::stretch::{Change, Stretcher};
use undertone_jitter::{How, JitterBuffer, Playout, Stretch};
use undertone_media::{MediaTime, Packet, SampleRate, SeqNo, Ssrc, Timestamp};
use undertone_transport::recovery::rlc;
use undertone_transport::rtcp::{PlayoutReport, Shares};
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

/// How a slot listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Samples a second of what is heard, whatever is sent. Default 16 kHz.
    pub rate: SampleRate,
    /// How much of the processor decoding may take. Default medium.
    pub effort: Effort,
    /// The longest that is waited for repairs. Default 400 ms.
    pub patience: Duration,
}

impl Default for Listening {
    fn default() -> Listening {
        Listening { rate: SampleRate::default(), effort: Effort::default(), patience: PATIENCE_MAX }
    }
}

/// One audio slot.
pub struct AudioReceiver {
    /// The stream's numbers, repairs and reports.
    pub stream: RecvStream,
    rate: SampleRate,
    formats: Formats,
    /// Undoes the sliding-window code.
    code: rlc::Decoder,
    /// How far back the newest packets can bring others back; `None` where their form has no room for repair.
    coded: Option<Duration>,
    patience: Patience,
    /// The longest that is waited for repairs.
    slack: Duration,
    /// How long a packet is, if the newest came with a copy of the one before.
    copied: Option<Duration>,
    jitter: JitterBuffer,
    decoder: Decoder,
    stretcher: Stretcher,
    background: Background,
    queue: Queue,
    scratch: Vec<i16>,
    /// How what was made up would have gone on.
    tail: Vec<i16>,
    /// What is about to be stretched, and the part of it that is.
    decoded: Vec<i16>,
    block: Vec<i16>,
    /// Where real sound ended that was decoded last.
    heard_until: Option<MediaTime>,
    /// Nobody spoke in it.
    quiet: bool,
    /// What was made up since then.
    gap: Option<Gap>,
    /// What brought the packets back that wait for their turn.
    repaired: BTreeMap<SeqNo, Origin>,
    /// The packet whose deep redundancy was read last, and how far that reaches.
    deep: Option<SeqNo>,
    undecodable: u64,
    frames: [u64; Origin::COUNT],
    /// The same when the speaker's end was told last.
    told: [u64; Origin::COUNT],
    /// Samples that stretching took out, and put in.
    stretched: (u64, u64),
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
        listening: Listening,
    ) -> Result<AudioReceiver, CodecError> {
        let seed = stream.config().ssrc.0;
        let rate = listening.rate;
        let level = listening.effort.level();
        Ok(AudioReceiver {
            code: rlc::Decoder::new(stream.config().payload_type),
            stream,
            rate,
            formats,
            coded: None,
            patience: Patience::default(),
            slack: listening.patience,
            told: [0; Origin::COUNT],
            copied: None,
            repaired: BTreeMap::new(),
            deep: None,
            jitter: JitterBuffer::new(playout),
            decoder: Decoder::new(DecoderConfig { rate, level })?,
            stretcher: Stretcher::new(rate.hz())?,
            background: Background::new(rate, seed),
            queue: Queue::new(rate),
            scratch: Vec::with_capacity(12 * rate.frame()),
            tail: Vec::with_capacity(gap::tail_samples(rate)),
            decoded: Vec::with_capacity(12 * rate.frame()),
            block: Vec::with_capacity(5 * rate.frame()),
            heard_until: None,
            quiet: false,
            gap: None,
            undecodable: 0,
            frames: [0; Origin::COUNT],
            stretched: (0, 0),
        })
    }

    /// Adds the next 10 ms of this slot, so many samples as `mix` has, to it.
    pub fn pull(&mut self, now: Timestamp, rtt: Option<Duration>, timing: Timing, mix: &mut [i32]) -> Played {
        let asked = rtt.and_then(|rtt| self.stream.repair_delay(rtt));
        // Once copies come, most losses are mended by the next packet.
        if let Some(after) = asked.map(|asked| self.copied.map_or(asked, |copied| copied.min(asked))) {
            self.jitter.expect_repair(after);
        }
        // What the code brings back comes as late as the packets that carry it.
        let reach = self.coded.map(|reach| reach + patience::in_steps(self.jitter.lateness()));
        let wanted = reach.unwrap_or_default().min(self.slack);
        let patience = self.patience.update(now, self.stream.stats().lost, wanted);
        let known = self.coded.is_some() || patience > Duration::ZERO;
        self.jitter.wait_for_repairs(known.then_some(patience.saturating_sub(EARLY)));
        // A decision is about one packet, and no packet is shorter than 2.5 ms: the bound is never met
        // by a sound buffer, and keeps a broken one from hanging the speaker.
        for _ in 0..16 {
            let queued = self.queue.duration();
            let stream = &self.stream;
            let repairable = |seq| match reach {
                Some(reach) => stream.expected_at(seq).map(|due| due + reach),
                None => stream.repairable_until(seq, rtt),
            };
            let playout = self.jitter.decide(now, queued, repairable);
            if matches!(playout, Playout::Wait) {
                break;
            }
            self.act(playout);
        }
        let (origin, time) = self.queue.take(mix);
        self.frames[origin as usize] += 1;
        let captured = time.and_then(|time| self.stream.capture_ntp(time));
        let mouth_to_ear = captured.and_then(|captured| timing.since(now, captured));
        Played { origin, mouth_to_ear }
    }

    /// Does what the jitter buffer decided.
    fn act(&mut self, playout: Playout) {
        self.scratch.clear();
        let (origin, time) = match playout {
            Playout::Play { packet, stretch, .. } if self.pause(&packet, stretch) => (Origin::Silence, None),
            Playout::Play { packet, begun, stretch, .. } => {
                let joins = self.resume(packet.time);
                if self.decoder.decode(&packet.payload, &mut self.scratch).is_err() {
                    self.undecodable += 1;
                    let samples = opus::packet_duration(&packet.payload)
                        .map_or(self.rate.frame(), |it| self.rate.samples(it));
                    self.decoder.conceal(samples, &mut self.scratch);
                    (Origin::Plc, Some(packet.time))
                } else {
                    self.heard_until = Some(packet.time + self.rate.ticks(self.scratch.len()));
                    let before = self.rate.ticks(self.scratch.len()) as i64;
                    self.scratch.drain(..self.rate.samples(begun).min(self.scratch.len()));
                    match joins {
                        Join::InPhase if begun.is_zero() => self.join(stretch),
                        Join::InPhase | Join::InStep => self.join_in_step(),
                        Join::Not => self.background.join(&mut self.scratch),
                    }
                    let paused = self.stretcher.pause(&self.scratch);
                    self.quiet = paused;
                    self.jitter.heard(paused);
                    match stretch {
                        Stretch::None => {}
                        Stretch::Faster(budget) => self.stretch(Change::Faster, budget),
                        Stretch::Slower(budget) => self.stretch(Change::Slower, budget),
                    }
                    // What is left of a stretched packet is dated by its end, where what follows joins.
                    let removed = before - self.rate.ticks(self.scratch.len()) as i64;
                    let time = MediaTime(packet.time.0.saturating_add_signed(removed));
                    let by = self.repaired.remove(&packet.seq).unwrap_or(Origin::Rtx);
                    self.repaired = self.repaired.split_off(&packet.seq);
                    (if packet.repaired { by } else { Origin::Decoded }, Some(time))
                }
            }
            Playout::Recover { from, missing, how, .. } => {
                let wanted = self.rate.samples(missing);
                let back = match how {
                    How::Lbrr => wanted,
                    How::Dred(before) => self.rate.samples(before),
                };
                let time = from.time - self.rate.ticks(back);
                let joins = self.resume(time);
                let (origin, done) = match how {
                    How::Lbrr => {
                        (Origin::Lbrr, self.decoder.recover_lbrr(&from.payload, wanted, &mut self.scratch))
                    }
                    How::Dred(before) => {
                        (Origin::Dred, self.recover_deep(&from, self.rate.samples(before), wanted))
                    }
                };
                if done {
                    self.heard_until = Some(time + self.rate.ticks(self.scratch.len()));
                    match joins {
                        Join::InPhase => self.join(Stretch::None),
                        Join::InStep => self.join_in_step(),
                        Join::Not => {}
                    }
                    (origin, None)
                } else {
                    self.scratch.clear();
                    self.decoder.conceal(wanted, &mut self.scratch);
                    (Origin::Plc, None)
                }
            }
            Playout::Conceal { duration } => {
                self.bridge_over(self.rate.samples(duration));
                (Origin::Plc, None)
            }
            Playout::Silence { duration } => {
                self.make_up(self.rate.samples(duration), true);
                self.background.fill(self.rate.samples(duration), &mut self.scratch);
                (Origin::Silence, None)
            }
            Playout::Wait => return,
        };
        self.remember(origin);
        self.queue.push(&self.scratch, origin, time);
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

    /// Steps of 10 ms played so far, by origin.
    pub fn frames(&self, origin: Origin) -> u64 {
        self.frames[origin as usize]
    }

    /// What the speaker's end is to know of how its speech plays out, since it was told last.
    pub(crate) fn playout_report(&mut self, sender: Ssrc) -> PlayoutReport {
        let before = std::mem::replace(&mut self.told, self.frames);
        let since = |origin: Origin| self.frames[origin as usize] - before[origin as usize];
        let all = [
            Origin::Decoded,
            Origin::Rtx,
            Origin::Copy,
            Origin::Code,
            Origin::Lbrr,
            Origin::Dred,
            Origin::Plc,
        ];
        let played = all.into_iter().map(since).sum();
        let share = |origin| Shares::of(since(origin), played);
        PlayoutReport {
            sender,
            media: self.stream.config().ssrc,
            slack: self.slack,
            held: self.jitter.target(),
            shares: Shares {
                made_up: share(Origin::Plc),
                resent: share(Origin::Rtx),
                copied: share(Origin::Copy),
                coded: share(Origin::Code),
                deep: share(Origin::Dred),
                low_rate: share(Origin::Lbrr),
            },
        }
    }

    /// What of protection this slot undoes.
    pub(crate) fn formats(&self) -> Formats {
        self.formats
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
const OPUS_CLOCK: u32 = SampleRate::Full.hz();
