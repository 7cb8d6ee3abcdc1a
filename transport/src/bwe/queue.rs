//! How much of a path's delay is a queue.
//!
//! Why: of all signs of congestion the queue comes first, before loss, and says by how much one is over.
//! One-way delay has an unknown offset (two clocks) and noise (radio, bursts, jitter). A standing queue delays
//! even the fastest of the latest packets, so that one is compared with what it used to be at its best in the
//! last ten seconds.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::Timestamp;

/// The best is kept per second for so many seconds: clocks drift and paths change, so none holds for ever,
/// and a controller that drains its queue sees the true one more often than this.
const BASE_SECONDS: usize = 10;
/// Delays kept, by sending time.
const MEMORY: Duration = Duration::from_secs(1);
/// The standing queue is the least over so long, and so many packets.
const RECENT: Duration = Duration::from_millis(100);
const RECENT_PACKETS: usize = 4;
/// A quiet path's threshold for the standing queue, and the largest.
const THRESHOLD_MIN_MICROS: i64 = 20_000;
const THRESHOLD_MAX_MICROS: i64 = 150_000;

/// The queue's size now, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Standing queue.
    pub(super) queue: i64,
    /// More than this is a queue and not noise.
    pub(super) threshold: i64,
    /// It is shorter than shortly before.
    pub(super) falling: bool,
    /// How long ago the oldest packet left that this was seen in: what one does shows after so long.
    pub(super) lag: Duration,
}

#[derive(Debug, Default)]
pub(super) struct QueueMeter {
    /// Second of sending, and the least delay of the fastest packets seen in it.
    base: VecDeque<(u64, i64)>,
    delays: VecDeque<(Timestamp, i64)>,
    /// How far the usual packet lies above the fastest of its second, smoothed.
    noise: i64,
    updated: Option<Timestamp>,
}

impl QueueMeter {
    /// One-way delays come in the order of sending; their offset is unknown but constant.
    pub(super) fn push(&mut self, sent: Timestamp, delay: i64) {
        self.delays.push_back((sent, delay));
        while self.delays.front().is_some_and(|(at, _)| sent.since(*at) > MEMORY) {
            self.delays.pop_front();
        }
    }

    /// The newest delay.
    pub(super) fn last(&self) -> Option<i64> {
        self.delays.back().map(|(_, delay)| *delay)
    }

    /// The queue as packets sent after `since` found it; `None` as long as there are too few to tell whether
    /// it grows or drains.
    pub(super) fn standing(&mut self, now: Timestamp, since: Timestamp) -> Option<Standing> {
        self.follow_noise(now);
        let newest = self.delays.back()?.0;
        let mut windows = [None::<i64>; 2];
        let mut oldest = newest;
        let after = self.delays.iter().rev().take_while(|(sent, _)| *sent > since);
        for (i, &(sent, delay)) in after.enumerate() {
            let age = newest.since(sent);
            let window = if i < RECENT_PACKETS || age <= RECENT {
                0
            } else if i < 3 * RECENT_PACKETS || age <= 3 * RECENT {
                1
            } else {
                break;
            };
            windows[window] = Some(windows[window].map_or(delay, |least| least.min(delay)));
            if window == 0 {
                oldest = sent;
            }
        }
        let [Some(recent), before] = windows else { return None };
        let base = self.follow_base(newest, recent.min(before.unwrap_or(recent)));
        let before = before?;
        Some(Standing {
            queue: recent - base,
            threshold: (THRESHOLD_MIN_MICROS + self.noise * 3 / 2).min(THRESHOLD_MAX_MICROS),
            // RFC 8888 counts in 1/1024 s: less than two of them is no change.
            falling: recent + 2_000 < before,
            lag: now.since(oldest),
        })
    }

    fn follow_base(&mut self, newest: Timestamp, fastest: i64) -> i64 {
        let second = newest.as_micros() / 1_000_000;
        match self.base.back_mut() {
            Some((at, least)) if *at == second => *least = (*least).min(fastest),
            _ => self.base.push_back((second, fastest)),
        }
        while self.base.len() > BASE_SECONDS {
            self.base.pop_front();
        }
        self.base.iter().map(|(_, least)| *least).min().unwrap_or(fastest)
    }

    /// The noise follows what is seen over some seconds: a growing queue spreads delays too, but is answered
    /// sooner than that.
    fn follow_noise(&mut self, now: Timestamp) {
        const FOLLOW_MICROS: i64 = 3_000_000;
        let mut delays: Vec<i64> = self.delays.iter().map(|(_, delay)| *delay).collect();
        if delays.len() < 8 {
            return;
        }
        let Some(&least) = delays.iter().min() else { return };
        let middle = delays.len() / 2;
        let spread = *delays.select_nth_unstable(middle).1 - least;
        let passed = self.updated.replace(now).map_or(0, |then| now.micros_from(then)).min(FOLLOW_MICROS);
        self.noise += (spread - self.noise) * passed / FOLLOW_MICROS;
    }

    /// The delay as it stands is the path's own, as it turned out.
    pub(super) fn rebase(&mut self) {
        self.base.clear();
    }
}
