//! Lips: sound and picture of one person play with the same delay after capture.
//!
//! Why: their buffers have targets of their own. The one that is ahead is held back by what it is ahead,
//! never the other hurried. Wire: sender reports tie each stream's media time to the sender's NTP clock
//! (RFC 3550 §6.4.1); abs-capture-time does the same through an SFU.
//!
//! ```text
//! let holds = align(audio_clock.lag(jitter.standing()?)?, video_clock.lag(frames.standing()?)?);
//! jitter.hold(holds.audio);
//! frames.hold(holds.video);
//! ```
//!
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

    /// How far playout is behind capture; `None` before the first anchor.
    pub fn lag(&self, standing: Standing) -> Option<Lag> {
        let fastest = standing.base - self.captured(MediaTime(0))?;
        Some(Lag { fastest, aimed: fastest + standing.target.as_micros() as i64 })
    }
}

/// Where a buffer stands of its own accord, without a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Transit of its fastest path: local time minus media time, in microseconds.
    pub base: i64,
    /// How much above it the buffer aims.
    pub target: Duration,
}

/// A stream's playout behind its capture, in microseconds. The origin is arbitrary (two machines' clocks),
/// but the same for all streams of one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Over the fastest path.
    pub fastest: i64,
    /// As the buffer aims.
    pub aimed: i64,
}

/// How much to hold each of two streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// For [`crate::JitterBuffer::hold`].
    pub audio: Duration,
    /// For [`crate::frames::FrameBuffer::hold`].
    pub video: Duration,
}

/// Sound may be this much ahead of the picture before anyone sees it, in µs (ITU-R BT.1359-1: 45 ms).
const SOUND_EARLY: i64 = 40_000;

/// And this much behind it (ITU-R BT.1359-1: 125 ms).
const SOUND_LATE: i64 = 100_000;

/// The most that sound waits for its picture, in µs: past it, talking matters more than lips.
const MOST_AUDIO: i64 = 200_000;

/// The most that a picture waits for its sound, in µs.
const MOST_VIDEO: i64 = 1_000_000;

/// How much to hold sound and picture of one person, so that nobody sees them apart. Neither is held for a
/// difference that cannot be seen, since delay is always heard.
pub fn align(audio: Lag, video: Lag) -> Holds {
    let ahead = video.aimed - audio.aimed;
    let hold = |lag: Lag, by: i64| Duration::from_micros((lag.aimed + by - lag.fastest).max(0) as u64);
    if ahead > SOUND_EARLY {
        Holds { audio: hold(audio, (ahead - SOUND_EARLY).min(MOST_AUDIO)), video: Duration::ZERO }
    } else if -ahead > SOUND_LATE {
        Holds { audio: Duration::ZERO, video: hold(video, (-ahead - SOUND_LATE).min(MOST_VIDEO)) }
    } else {
        Holds::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1 << 32;

    fn lag(clock: &CaptureClock, base: i64, target_ms: u64) -> Lag {
        let standing = Standing { base, target: Duration::from_millis(target_ms) };
        clock.lag(standing).expect("anchored")
    }

    /// Sound at 48 kHz and picture at 90 kHz, both captured from NTP second 100 on, with random origins.
    fn clocks() -> (CaptureClock, CaptureClock) {
        let (mut audio, mut video) = (CaptureClock::new(48_000), CaptureClock::new(90_000));
        audio.anchor(100 * SECOND, MediaTime(480_000));
        video.anchor(100 * SECOND + SECOND / 2, MediaTime(9_000_000 + 45_000));
        (audio, video)
    }

    #[test]
    fn media_time_becomes_capture_time_before_and_after_the_anchor() {
        let (audio, video) = clocks();
        assert_eq!(audio.captured(MediaTime(480_000 - 48_000)), Some(99_000_000));
        assert_eq!(video.captured(MediaTime(9_000_000 + 90_000)), Some(101_000_000));
    }

    #[test]
    fn a_late_picture_holds_sound_to_where_nobody_sees_it() {
        let (audio, video) = clocks();
        // Arrival at local second 5 of what was captured at NTP second 100: media seconds 10 and 100.
        let sound = lag(&audio, 5_000_000 - 10_000_000, 20);
        let picture = lag(&video, 5_000_000 - 100_000_000, 180);
        assert_eq!(picture.aimed - sound.aimed, 160_000);
        // 160 ms apart, 40 unseen: 120 more than the 20 of its own.
        assert_eq!(align(sound, picture), Holds { audio: Duration::from_millis(140), video: Duration::ZERO });
    }

    #[test]
    fn late_sound_holds_the_picture_and_small_differences_hold_nothing() {
        let (audio, video) = clocks();
        let picture = lag(&video, 5_000_000 - 100_000_000, 0);
        let late = lag(&audio, 5_000_000 - 10_000_000, 300);
        assert_eq!(align(late, picture).video, Duration::from_millis(200));
        let near = lag(&audio, 5_000_000 - 10_000_000, 90);
        assert_eq!(align(near, picture), Holds::default());
    }
}
