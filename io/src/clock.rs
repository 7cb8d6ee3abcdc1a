//! The one place where time is read.
//!
//! Why: machines take `now: Timestamp`; somebody must own the zero of that scale, its place among
//! `std::time::Instant`s (libraries want those) and its place in the calendar (tokens expire by it).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use undertone_media::Timestamp;

/// A monotonic clock that began at [`Timestamp::ZERO`]. Copies share their zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    unix_start: Duration,
}

impl Clock {
    /// A clock that begins now.
    #[allow(clippy::new_without_default)] // Two defaults would be two clocks; making one should be seen.
    pub fn new() -> Clock {
        let unix_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), unix_start }
    }

    /// The time since the beginning.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The instant that [`Timestamp::ZERO`] stands for.
    pub fn anchor(&self) -> Instant {
        self.start
    }

    /// The beginning in Unix time, for what a calendar limits.
    pub fn unix_start(&self) -> Duration {
        self.unix_start
    }

    /// An instant on this clock; zero if it lies before the beginning.
    pub fn at(&self, instant: Instant) -> Timestamp {
        Timestamp::from_micros(instant.saturating_duration_since(self.start).as_micros() as u64)
    }

    /// A point of this clock as an instant.
    pub fn instant(&self, time: Timestamp) -> Instant {
        self.start + Duration::from_micros(time.as_micros())
    }

    /// Sleeps until `time`; returns at once if it has passed.
    pub fn sleep_until(&self, time: Timestamp) {
        std::thread::sleep(time.since(self.now()));
    }
}

/// Asks the kernel to wake the calling thread when it said, not up to 50 µs later as is its habit of
/// saving power. Only Linux has the habit and the knob; elsewhere nothing is done.
pub fn precise_timers() {
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)] // std has no prctl.
    // SAFETY: this prctl reads one integer argument and changes nothing but this thread's timer slack.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_map_there_and_back() {
        let clock = Clock::new();
        let time = Timestamp::from_micros(1_234_567);
        assert_eq!(clock.at(clock.instant(time)), time);
        assert_eq!(clock.at(clock.anchor()), Timestamp::ZERO);
        assert!(clock.unix_start() > Duration::from_secs(1_700_000_000), "the calendar is past 2023");
    }

    #[test]
    fn sleeping_never_ends_early() {
        let clock = Clock::new();
        precise_timers();
        let until = clock.now() + Duration::from_millis(5);
        clock.sleep_until(until);
        assert!(clock.now() >= until);
        clock.sleep_until(until);
    }
}
