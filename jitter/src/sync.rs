//! Lips: sound and picture of one person play with the same delay after capture.
//!
//! Why: their buffers have targets of their own. The one that is ahead is held back by what it is ahead,
//! never the other hurried. Wire: sender reports tie each stream's media time to the sender's NTP clock
//! (RFC 3550 §6.4.1); abs-capture-time does the same through an SFU.
//! Not here: the clocks of sender and receiver are not compared, only two streams of one sender.

use std::time::Duration;
use undertone_media::MediaTime;

/// Ties one stream's media time to its sender's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct CaptureClock {
    clock_rate: u32,
    /// NTP time in microseconds, and the media time captured then.
    anchor: Option<(i64, MediaTime)>,
}

impl CaptureClock {
    /// A clock without an anchor, for a stream of so many ticks a second.
    pub const fn new(clock_rate: u32) -> CaptureClock {
        CaptureClock { clock_rate, anchor: None }
    }

    /// A sender report or an abs-capture-time extension: `time` was captured at `ntp` (RFC 3550 §4: 32
    /// bits of seconds, 32 of fraction).
    pub fn anchor(&mut self, ntp: u64, time: MediaTime) {
        let micros = (i128::from(ntp) * 1_000_000) >> 32;
        self.anchor = Some((micros as i64, time));
    }

    /// When `time` was captured, in microseconds of the sender's NTP clock; `None` before the first anchor.
    pub fn captured(&self, time: MediaTime) -> Option<i64> {
        let (micros, at) = self.anchor?;
        let ticks = i128::from(time.0) - i128::from(at.0);
        Some(micros + (ticks * 1_000_000 / i128::from(self.clock_rate.max(1))) as i64)
    }

    /// Local playout minus capture, in microseconds, of a stream whose buffer reports `playout_offset`. Its
    /// origin is arbitrary but the same for all streams of one sender.
    pub fn latency(&self, playout_offset: i64) -> Option<i64> {
        Some(playout_offset - self.captured(MediaTime(0))?)
    }
}

/// How much to hold each of two streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// For [`crate::JitterBuffer::hold`].
    pub audio: Duration,
    /// For [`crate::frames::FrameBuffer::hold`].
    pub video: Duration,
}
