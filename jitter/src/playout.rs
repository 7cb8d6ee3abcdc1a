//! What to play in the next 10 ms.

use crate::buffer::{Buffer, Contents};
use std::time::Duration;
use undertone_media::{Packet, SeqNo, Timestamp};

/// Limits of one stream's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Ticks a second of the stream's media time. Default 48 000, as RTP counts Opus (RFC 7587 §4.1).
    pub clock_rate: u32,
    /// The target never falls below this. Default zero: on a clean network a packet that arrives on its
    /// tick plays on that tick.
    pub min_delay: Duration,
    /// The target never exceeds this, and sound older than it is not kept. Default 2 s: beyond it people
    /// stop talking anyway.
    pub max_delay: Duration,
    /// The target before anything is known of the network. Default zero.
    pub start_delay: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            clock_rate: 48_000,
            min_delay: Duration::ZERO,
            max_delay: Duration::from_secs(2),
            start_delay: Duration::ZERO,
        }
    }
}

/// How to change the length of what is decoded, without changing its pitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Not at all.
    None,
    /// Take out up to this much: the buffer holds more than it needs.
    Faster(Duration),
    /// Put in up to this much: the buffer holds less than it should.
    Slower(Duration),
}

/// How a missing packet is brought back from a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// From the coarse copy in the packet right after it.
    Lbrr,
    /// From the deep redundancy, at this span before the start of the packet that carries it.
    Dred(Duration),
}

/// What the engine does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Playout {
    /// Decode this packet, then stretch.
    Play {
        /// The packet whose turn it is.
        packet: Packet,
        /// Whether and how much to stretch what it decodes to.
        stretch: Stretch,
        /// What was played just before was made up: cross-fade into this one.
        after_gap: bool,
    },
    /// Bring a missing packet back; if the codec cannot, conceal `missing`.
    Recover {
        /// The packet that carries the redundancy. It stays in the buffer and is played in its own turn.
        from: Packet,
        /// The packet brought back.
        seq: SeqNo,
        /// How long the packet brought back lasts.
        missing: Duration,
        /// Where to look.
        how: How,
    },
    /// Make up this much sound.
    Conceal {
        /// How much.
        duration: Duration,
    },
    /// Nobody speaks: before the first packet, or in a pause of the sender (DTX). Comfort noise or zeros.
    Silence {
        /// How much.
        duration: Duration,
    },
    /// Enough is decoded for the next 10 ms.
    Wait,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets offered.
    pub received: u64,
    /// Of them, those that came again.
    pub duplicates: u64,
    /// Of them, those whose turn was over.
    pub late: u64,
    /// Of them, those thrown away unplayed because too much waited.
    pub dropped: u64,
    /// Of them, those from nowhere near the stream's sequence or time.
    pub strays: u64,
    /// How often the stream began anew.
    pub restarts: u64,
    /// Packets played.
    pub played: u64,
    /// Of them, those that came as a retransmission.
    pub played_repaired: u64,
    /// Packets played with an order to shorten.
    pub faster: u64,
    /// Packets played with an order to lengthen.
    pub slower: u64,
    /// Missing packets ordered back from the next one's copy.
    pub recovered_lbrr: u64,
    /// Missing packets ordered back from deep redundancy.
    pub recovered_dred: u64,
    /// Orders to conceal.
    pub conceals: u64,
    /// Sound made up. A pause of the sender (DTX), once known as such, does not count.
    pub concealed: Duration,
    /// Sound of pauses.
    pub silence: Duration,
    /// Delay above the fastest path that is aimed at now.
    pub target: Duration,
    /// Delay above the fastest path at which the last packet began to play.
    pub delay: Duration,
    /// Sound that waits undecoded.
    pub buffered: Duration,
}

/// One stream's jitter buffer.
#[derive(Debug)]
pub struct JitterBuffer {
    #[allow(dead_code)]
    config: Config,
    buffer: Buffer,
    stats: Stats,
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new(config: Config) -> JitterBuffer {
        JitterBuffer { config, buffer: Buffer::default(), stats: Stats::default() }
    }

    /// Takes a packet that arrived at `now`. Late and repeated ones are counted and dropped.
    pub fn insert(&mut self, _now: Timestamp, packet: Packet, contents: impl Into<Contents>) {
        self.buffer.insert(packet, contents.into());
    }

    /// What to do next, given that `queued` of decoded sound is still unplayed at `now`. Ask every 10 ms,
    /// again and again until the answer is [`Playout::Wait`]. `repairable` says until when a missing
    /// packet may still come; `None`: never.
    pub fn decide(
        &mut self,
        _now: Timestamp,
        queued: Duration,
        repairable: impl Fn(SeqNo) -> Option<Timestamp>,
    ) -> Playout {
        let _ = repairable(SeqNo(0));
        if queued >= Duration::from_millis(10) {
            return Playout::Wait;
        }
        match self.buffer.take_first() {
            Some(stored) => {
                Playout::Play { packet: stored.packet, stretch: Stretch::None, after_gap: false }
            }
            None => Playout::Silence { duration: Duration::from_millis(10) },
        }
    }

    /// The delay above the fastest path that is aimed at now.
    pub fn target(&self) -> Duration {
        self.stats.target
    }

    /// Delays this stream at least by so much above its fastest path, so that its partner can keep up
    /// (see [`crate::sync`]). Zero lets go.
    pub fn hold(&mut self, _floor: Duration) {}

    /// Local time minus media time of what plays, in microseconds: what [`crate::sync`] compares. `None`
    /// until something has played.
    pub fn playout_offset(&self) -> Option<i64> {
        None
    }

    /// Counters and levels.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
