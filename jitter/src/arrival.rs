//! How late packets come, against the fastest that the path has shown lately.
//!
//! Why: sender and receiver share no clock, so the delay of a packet is only known up to a constant. Local
//! arrival minus media time is that delay plus the constant (its *transit*, RFC 3550 §6.4.1 calls the
//! difference of two of them D); the smallest lately is the path without queues. All delays of this crate
//! are measured above that *base*.
//!
//! Clock drift: a sender's crystal that runs 200 ppm off moves every transit by 12 ms a minute. The base is
//! the smallest of the last [`WINDOW_SECS`] seconds in which packets came, so it follows either way with an
//! error of 2 ms, and an hour of drift adds nothing.
//!
//! Where there is jitter the smallest of ten seconds is luck, and playout that followed it would move for nothing. So the
//! base has leeway there: it follows as if on a rope, which does not pull before it is taut.
//!
//! A longer packet is there later: by what it is longer, since it is sent when it is full, and on a thin path by up to as much
//! again, since it takes longer to cross. So another packet time has another base, at once.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{MediaTime, SeqNo, Timestamp};

/// How many active seconds the fastest path is remembered.
pub const WINDOW_SECS: usize = 10;

/// Microseconds of media time.
pub(crate) fn media_micros(time: MediaTime, clock_rate: u32) -> i64 {
    let micros = u128::from(time.0) * 1_000_000 / u128::from(clock_rate.max(1));
    // A quarter of the range leaves room for differences of whatever a peer may claim.
    micros.min(i64::MAX as u128 / 4) as i64
}

/// Ticks of media time in a span.
pub(crate) fn ticks(span: Duration, clock_rate: u32) -> u64 {
    (span.as_micros() * u128::from(clock_rate) / 1_000_000) as u64
}

/// Transit of something dated `time` that is here, or plays, at `at`: microseconds with an arbitrary but
/// fixed origin.
pub(crate) fn transit(at: Timestamp, time: MediaTime, clock_rate: u32) -> i64 {
    at.as_micros() as i64 - media_micros(time, clock_rate)
}

/// The fastest path lately.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// Smallest transit of each active second, oldest first, with that second's number.
    seconds: VecDeque<(u64, i64)>,
    /// The base in force.
    base: Option<i64>,
}

impl Arrivals {
    /// Takes the transit of a packet that arrived at `now`. The base stays within `leeway` of the smallest in the window,
    /// both in µs.
    pub fn on_arrival(&mut self, now: Timestamp, transit: i64, leeway: i64) {
        let second = now.as_micros() / 1_000_000;
        match self.seconds.back_mut() {
            // A second without packets (a pause) says nothing of the path and pushes nothing out.
            Some((current, smallest)) if *current >= second => *smallest = transit.min(*smallest),
            _ => self.seconds.push_back((second, transit)),
        }
        if self.seconds.len() > WINDOW_SECS {
            self.seconds.pop_front();
        }
        let smallest = self.seconds.iter().map(|&(_, smallest)| smallest).min().unwrap_or(transit);
        let leeway = leeway.max(0);
        self.base = Some(self.base.unwrap_or(smallest).clamp(smallest - leeway, smallest + leeway));
    }

    /// Packets are longer from now on by `longer`, in µs, than those before; the first of them had this transit.
    pub(crate) fn on_packet_time(&mut self, longer: i64, transit: i64) {
        if let Some(base) = &mut self.base {
            // Full packets keep a path busy at most, so it takes no longer to cross than to speak.
            let (least, most) = (longer.min(2 * longer), longer.max(2 * longer));
            *base = transit.clamp(*base + least, *base + most);
            self.seconds.clear();
        }
    }

    /// The transit of the fastest path; `None` before the first packet.
    pub fn base(&self) -> Option<i64> {
        self.base
    }
}

/// How late the latest packets came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lateness {
    /// Above the fastest path, in µs, the oldest first.
    latest: VecDeque<i64>,
}

/// Packets that lateness is told from: a second of short ones.
const LATEST: usize = 48;

impl Lateness {
    pub(crate) fn push(&mut self, late: i64) {
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(late.max(0));
    }

    /// Seven of eight packets come no later than this, in µs.
    pub(crate) fn usual(&self) -> i64 {
        let mut sorted = [0; LATEST];
        let count = self.latest.len();
        sorted.iter_mut().zip(&self.latest).for_each(|(to, late)| *to = *late);
        let most = count * 7 / 8;
        sorted
            .get_mut(..count)
            .filter(|sorted| !sorted.is_empty())
            .map_or(0, |sorted| *sorted.select_nth_unstable(most).1)
    }
}

/// Whether a packet continues the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Continues,
    /// It belongs to something else, perhaps to this stream's new beginning.
    Stray,
    /// The second in a row next to a stray: the stream has begun anew (RFC 3550 A.1).
    Restarts,
}

/// A packet this many numbers from the newest is not of the stream as we know it. RFC 3550 A.1 has 3000 for
/// MAX_DROPOUT; so does this.
const MAX_DROPOUT: i64 = 3000;

/// Nor is one whose transit is this far, in µs, from the newest's.
const MAX_JUMP: i64 = 10_000_000;

/// Tells a stream from what merely shares its ssrc: a sender that restarted, a source switched without
/// rewriting, noise that passed for a packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Continuity {
    /// Number and transit of the newest packet.
    pub(crate) newest: Option<(SeqNo, i64)>,
    stray: Option<(SeqNo, i64)>,
}

impl Continuity {
    /// Judges a packet. `contradicts` says that it cannot continue the stream whatever its numbers.
    pub(crate) fn judge(&mut self, seq: SeqNo, transit: i64, contradicts: bool) -> Verdict {
        let near = |(other, its): (SeqNo, i64), numbers: i64, jump: i64| {
            seq.ahead_of(other).abs() <= numbers && (transit - its).abs() <= jump
        };
        if !contradicts && self.newest.is_none_or(|newest| near(newest, MAX_DROPOUT, MAX_JUMP)) {
            self.stray = None;
            return Verdict::Continues;
        }
        match self.stray.replace((seq, transit)) {
            Some(stray) if stray.0 != seq && near(stray, 16, 1_000_000) => {
                *self = Continuity::default();
                Verdict::Restarts
            }
            _ => Verdict::Stray,
        }
    }

    /// Remembers a packet that was taken; true if it is the newest.
    pub(crate) fn take(&mut self, seq: SeqNo, transit: i64) -> bool {
        let newer = self.newest.is_none_or(|(newest, _)| seq > newest);
        if newer {
            self.newest = Some((seq, transit));
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_forgets_a_faster_path_after_ten_active_seconds() {
        let mut arrivals = Arrivals::default();
        arrivals.on_arrival(Timestamp::ZERO, 5_000, 0);
        for ms in (0..9_999).step_by(20) {
            arrivals.on_arrival(Timestamp::from_millis(ms), 40_000, 0);
        }
        assert_eq!(arrivals.base(), Some(5_000));
        arrivals.on_arrival(Timestamp::from_millis(10_000), 40_000, 0);
        assert_eq!(arrivals.base(), Some(40_000));
    }

    #[test]
    fn a_pause_makes_it_forget_nothing() {
        let mut arrivals = Arrivals::default();
        arrivals.on_arrival(Timestamp::ZERO, 5_000, 0);
        arrivals.on_arrival(Timestamp::from_millis(60_000), 40_000, 0);
        assert_eq!(arrivals.base(), Some(5_000));
    }

    #[test]
    fn longer_packets_have_another_base_at_once() {
        let before = |longer: i64, transit| {
            let mut arrivals = Arrivals::default();
            arrivals.on_arrival(Timestamp::ZERO, 50_000, 0);
            arrivals.on_packet_time(longer, transit);
            arrivals.on_arrival(Timestamp::from_millis(100), transit, 0);
            arrivals.base()
        };
        assert_eq!(before(60_000, 110_000), Some(110_000), "a wide path");
        assert_eq!(before(60_000, 170_000), Some(170_000), "a path that is as thin as can be");
        assert_eq!(before(-60_000, -30_000), Some(-30_000), "and back");
    }

    #[test]
    fn with_leeway_it_moves_no_more_than_it_must() {
        let mut arrivals = Arrivals::default();
        let mut base = |ms, transit, leeway| {
            arrivals.on_arrival(Timestamp::from_millis(ms), transit, leeway);
            arrivals.base()
        };
        assert_eq!(base(0, 50_000, 20_000), Some(50_000));
        assert_eq!(base(20, 31_000, 20_000), Some(50_000), "luck");
        assert_eq!(base(40, 10_000, 20_000), Some(30_000), "pulled");
        assert_eq!(base(60, 10_000, 0), Some(10_000), "no jitter, no leeway");
    }
}
