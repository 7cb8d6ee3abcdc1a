//! How a stream plays out: what a listener's end tells the speaker's beside what arrived.
//!
//! Why: who protects has to know how long the listener's end will wait for repairs, and what came of them. Report blocks
//! (RFC 3550 §6.4.1) count what was lost on the way, before any repair; RFC 3611 and RFC 7003 would say some of the rest in
//! 36 bytes and more. This says it in 24, between ends that know each other.
//!
//! ```text
//!  0               1               2               3
//! |V=2|P|  FMT=15 |    PT=206     |           length = 5          |
//! |                        SSRC of the sender                     |
//! |                        SSRC of the stream                     |
//! |      'U'      |      'T'      |      'P'      |      'O'      |
//! |     slack     |      held     |    made up    |    resent     |
//! |     copied    |     coded     |      deep     |   low-rate    |
//! ```
//!
//! An application layer feedback message (RFC 4585 §6.4). Slack and held are in steps of 10 ms, the rest are shares of what
//! was played, pauses left out, in 255ths since the report before. A later version may append; what is appended is skipped.

use super::Reader;
use std::time::Duration;
use undertone_media::Ssrc;

pub(super) const NAME: [u8; 4] = *b"UTPO";

/// The step of times.
const STEP: Duration = Duration::from_millis(10);

/// How a stream plays out at the listener's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayoutReport {
    /// Who tells.
    pub sender: Ssrc,
    /// Of which stream.
    pub media: Ssrc,
    /// The longest that the listener's end will wait for repairs; in whole steps of 10 ms, at most 2.55 s.
    pub slack: Duration,
    /// The delay above the fastest path that it aims at now; likewise.
    pub held: Duration,
    /// Where what was played came from.
    pub shares: Shares,
}

/// Where what was played came from but for packets that came the first time: shares in 255ths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Nowhere: the decoder made it up.
    pub made_up: u8,
    /// Packets sent again (RFC 4588).
    pub resent: u8,
    /// Copies in later packets (RFC 2198).
    pub copied: u8,
    /// Combinations in later packets (RFC 8681).
    pub coded: u8,
    /// Deep redundancy of later packets.
    pub deep: u8,
    /// The low-rate copy in the next packet.
    pub low_rate: u8,
}

impl Shares {
    /// A share of a whole, rounded; but what is there at all shows.
    pub fn of(part: u64, whole: u64) -> u8 {
        let share = (part.min(whole) * 255 + whole / 2).checked_div(whole).unwrap_or(0) as u8;
        share.max(u8::from(part > 0))
    }
}

fn steps(time: Duration) -> u8 {
    (time.as_micros() / STEP.as_micros()).min(255) as u8
}

impl PlayoutReport {
    /// Reads what follows the two SSRCs and the name.
    pub(super) fn read(sender: Ssrc, media: Ssrc, body: &mut Reader<'_>) -> Option<PlayoutReport> {
        let [slack, held, made_up, resent, copied, coded, deep, low_rate] = body.take()?;
        Some(PlayoutReport {
            sender,
            media,
            slack: STEP * u32::from(slack),
            held: STEP * u32::from(held),
            shares: Shares { made_up, resent, copied, coded, deep, low_rate },
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Shares { made_up, resent, copied, coded, deep, low_rate } = self.shares;
        out.extend_from_slice(&self.sender.0.to_be_bytes());
        out.extend_from_slice(&self.media.0.to_be_bytes());
        out.extend_from_slice(&NAME);
        out.extend_from_slice(&[steps(self.slack), steps(self.held)]);
        out.extend_from_slice(&[made_up, resent, copied, coded, deep, low_rate]);
    }
}
