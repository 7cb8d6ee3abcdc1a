//! Where playout stands in the stream.
//!
//! Why: one place where time and numbers move, so that nothing plays twice and nothing plays before what it
//! follows. Not here: why it moves (`playout`).

use crate::arrival::ticks;
use std::time::Duration;
use undertone_media::{MediaTime, Packet, SeqNo};

/// The longest span that one packet is believed to hold (RFC 6716 §2.1.4: 120 ms).
pub(crate) const MAX_PACKET: Duration = Duration::from_millis(120);

/// Where playout stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// The packet whose turn is next.
    pub(crate) seq: SeqNo,
    /// The media time at which it should begin.
    pub(crate) time: MediaTime,
    /// How much of it is past.
    pub(crate) begun: Duration,
    /// How long the packet before it lasted: the best guess for one that is missing.
    pub(crate) packet: Duration,
    /// Which of the 128 packets before it have played, the nearest lowest.
    played: u128,
    /// What was played last was made up.
    pub(crate) made_up: bool,
    /// The sender said that it pauses after what was played last.
    pub(crate) pause: bool,
    /// Made up and silent time since packets ran out: whether it was a stall or a pause is known only when
    /// the next packet comes.
    pub(crate) starved: Duration,
    /// How much of `starved` is counted as silence by now.
    pub(crate) starved_silent: Duration,
}

impl Edge {
    /// Playout stands right before this packet.
    pub(crate) fn before(packet: &Packet) -> Edge {
        Edge {
            seq: packet.seq,
            time: packet.time,
            begun: Duration::ZERO,
            packet: MAX_PACKET,
            played: 0,
            made_up: false,
            pause: false,
            starved: Duration::ZERO,
            starved_silent: Duration::ZERO,
        }
    }

    /// Passes over everything before `seq`.
    pub(crate) fn advance(&mut self, seq: SeqNo, time: MediaTime) {
        let by = seq.ahead_of(self.seq).max(0);
        self.played = u32::try_from(by).ok().and_then(|by| self.played.checked_shl(by)).unwrap_or(0);
        self.seq = self.seq.max(seq);
        self.time = time;
        self.begun = Duration::ZERO;
    }

    /// Passes over one missing packet of so much.
    pub(crate) fn skip(&mut self, duration: Duration, clock_rate: u32) {
        self.advance(self.seq.next(), self.time + ticks(duration, clock_rate));
    }

    /// Passes over the next packet by playing it.
    pub(crate) fn play(&mut self, duration: Duration, clock_rate: u32) {
        self.skip(duration, clock_rate);
        self.played |= 1;
        self.packet = duration;
        self.made_up = false;
    }

    /// Whether a packet before the edge was played, as far as is remembered.
    pub(crate) fn has_played(&self, seq: SeqNo) -> bool {
        let back = self.seq.ahead_of(seq) - 1;
        (0..128).contains(&back) && self.played >> back & 1 == 1
    }
}
