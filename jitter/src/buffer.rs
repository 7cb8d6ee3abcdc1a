//! Packets in order, once each.
//!
//! Why: the network reorders, repeats and forgets. What leaves here leaves in order of sequence number
//! and never twice. Not here: when it leaves (`playout`).

use std::collections::BTreeMap;
use std::time::Duration;
use undertone_media::{Packet, SeqNo};

/// What a packet holds, as the codec reads it from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How long its sound lasts.
    pub duration: Duration,
    /// It also carries a coarse copy of the packet before it (Opus in-band FEC, RFC 6716 §2.1.7).
    pub lbrr: bool,
    /// How far before its own start its deep redundancy (DRED) reaches; zero if it carries none.
    pub dred: Duration,
    /// Nothing may follow for a while: the sender pauses (DTX, RFC 6716 §2.1.9). What then does not come is not
    /// missing.
    pub pause: bool,
}

impl Contents {
    /// A packet without redundancy.
    pub const fn plain(duration: Duration) -> Contents {
        Contents { duration, lbrr: false, dred: Duration::ZERO, pause: false }
    }
}

impl From<Duration> for Contents {
    fn from(duration: Duration) -> Contents {
        Contents::plain(duration)
    }
}

/// A packet that waits for its turn.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) packet: Packet,
    pub(crate) contents: Contents,
}

/// What became of a packet that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It waits for its turn.
    Stored,
    /// The same sequence number waits already.
    Duplicate,
}

/// The packets that wait.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    packets: BTreeMap<SeqNo, Stored>,
}

impl Buffer {
    pub(crate) fn insert(&mut self, packet: Packet, contents: Contents) -> Inserted {
        match self.packets.entry(packet.seq) {
            std::collections::btree_map::Entry::Occupied(_) => Inserted::Duplicate,
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Stored { packet, contents });
                Inserted::Stored
            }
        }
    }

    /// The packet whose turn is next.
    pub(crate) fn first(&self) -> Option<&Stored> {
        self.packets.values().next()
    }

    /// The packet whose turn is last.
    pub(crate) fn newest(&self) -> Option<&Stored> {
        self.packets.values().next_back()
    }

    pub(crate) fn take_first(&mut self) -> Option<Stored> {
        self.packets.pop_first().map(|(_, stored)| stored)
    }

    /// In order of sequence number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.packets.values()
    }

    /// How long all of it plays.
    pub(crate) fn duration(&self) -> Duration {
        self.packets.values().map(|stored| stored.contents.duration).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(crate) fn clear(&mut self) {
        self.packets.clear();
    }
}
