//! How long playout waits for repairs.
//!
//! Why: who protects says how long to wait. How far back the sender's repair reaches tells what it weighed against the
//! delay; here that is held steady.

use crate::adapt::HELD_FOR;
use std::time::Duration;
use undertone_media::Timestamp;

/// How long to wait for what the sender's code brings back: as far as it reached of late, while packets get lost. Each move
/// of playout is heard, so it goes up at once, and down only when it has been too long for a while.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Losses counted so far, and when the newest was noticed.
    lost: u64,
    pub(super) loss: Option<Timestamp>,
    /// How long to wait, and since when less would do.
    held: Duration,
    needed: Timestamp,
}

/// Playout moves in steps of 10 ms, and would settle so much above what is asked for on average.
pub(super) const EARLY: Duration = Duration::from_millis(5);
/// Where a packet was lost less long ago, more are to come.
const LOSSY_FOR: Duration = Duration::from_secs(8);

/// What changes little by little is followed in steps so large.
const STEP_MS: u64 = 20;

/// How late repairs come, rounded up to a few steps.
pub(super) fn in_steps(lateness: Duration) -> Duration {
    Duration::from_millis((lateness.as_micros() as u64).div_ceil(1_000).next_multiple_of(STEP_MS))
}

impl Patience {
    pub(super) fn update(&mut self, now: Timestamp, lost: u64, reach: Duration) -> Duration {
        if lost != std::mem::replace(&mut self.lost, lost) {
            self.loss = Some(now);
        }
        let lossy = self.loss.is_some_and(|loss| now.since(loss) < LOSSY_FOR);
        let wanted = if lossy { reach } else { Duration::ZERO };
        if wanted >= self.held || !lossy || now.since(self.needed) >= HELD_FOR {
            (self.held, self.needed) = (wanted, now);
        }
        self.held
    }
}
