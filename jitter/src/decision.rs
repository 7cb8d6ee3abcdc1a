//! What the engine is told to do.
//!
//! Why: deciding is apart from doing. These are orders to the codec, which may refuse them (a stretch that
//! finds no pitch, redundancy that does not decode); the next decision sees what became of them in how much
//! is queued.

use std::time::Duration;
use undertone_media::{Packet, SeqNo};

/// How to change the length of what is decoded, without changing its pitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Not at all.
    None,
    /// Take out about this much, as pitch periods allow: the buffer holds more than it needs. Never more
    /// than three quarters of the packet.
    Faster(Duration),
    /// Put in about this much, as pitch periods allow: the buffer holds less than it should.
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
        /// So much of its beginning is past, since as much was made up in its place: not to be played.
        begun: Duration,
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
