//! How much of a path's delay is a queue.
//!
//! Why: of all signs of congestion the queue comes first, before loss, and says by how much one is over.
//! One-way delay has an unknown offset (two clocks) and noise (radio, bursts, jitter). A standing queue delays
//! even the fastest of the latest packets, so that one is compared with what it used to be at its best in the
//! last ten seconds. Where packets keep their order, noise delays the fastest too: one that is held up holds up those
//! behind it, until all come at once. A queue lets them go no faster than the path carries, which tells the two apart.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::Timestamp;

/// The best is kept per second for so many seconds: clocks drift and paths change, so none holds for ever,
/// and a controller that drains its queue sees the true one more often than this.
const BASE_SECONDS: usize = 10;
/// Delays kept, by sending time, and of how many packets at least: of few that come, most others being lost, longer ago.
const MEMORY: Duration = Duration::from_secs(1);
const MEMORY_PACKETS: usize = 3 * RECENT_PACKETS;
/// The standing queue is the least over so long, more where there is noise, and so many packets.
const RECENT: Duration = Duration::from_millis(100);
const RECENT_PACKETS: usize = 4;
/// A standing queue is one that exceeds the noise by so much.
const MARGIN_MICROS: i64 = 5_000;
/// So much noise everybody allows for: large pictures make more of it, and who allowed for less would give way to them.
const NOISE_LEAST_MICROS: i64 = 14_000;
/// More is not taken for noise.
const NOISE_MAX_MICROS: i64 = 180_000;
/// Packets that were sent at least so far apart, and came so many times closer together, were held up: no queue lets
/// them go so fast that was filled by what is sent.
const APART_MICROS: i64 = 8_000;
const FASTER: i64 = 8;

/// The queue's size now, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Standing queue.
    pub(super) queue: i64,
    /// How much of it may be noise.
    pub(super) noise: i64,
    /// More than this is a queue.
    pub(super) threshold: i64,
    /// What the newest packet found; more than the standing queue while that grows.
    pub(super) newest: i64,
    /// It drains, and will be gone within a second.
    pub(super) falling: bool,
    /// How long ago the oldest packet left that this was seen in: what one does shows after so long.
    pub(super) lag: Duration,
}

/// The packets of a stretch of time.
#[derive(Default)]
struct Window {
    fastest: Option<i64>,
    oldest: Timestamp,
}

impl Window {
    /// Packets come newest first.
    fn add(&mut self, sent: Timestamp, delay: i64) {
        self.fastest = Some(self.fastest.map_or(delay, |fastest| fastest.min(delay)));
        self.oldest = sent;
    }
}

#[derive(Debug)]
pub(super) struct QueueMeter {
    /// Second of sending, and the least delay of the fastest packets seen in it.
    base: VecDeque<(u64, i64)>,
    /// None of them is forgotten.
    base_held: bool,
    delays: VecDeque<(Timestamp, i64)>,
    /// The usual difference between the delays of two packets in a row, and of it what all have in common: a queue that
    /// grows or drains is no noise.
    differences: Mean,
    drift: Mean,
    /// How much earlier than the packet before them packets could have come that came together with it.
    held_up: Mean,
    /// The delay of the first packet of those that came together last.
    first: i64,
}

/// A mean that follows: of all so far, then of the last 64 or so.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    /// Times 64.
    value_x64: i64,
    count: i64,
}

impl Mean {
    /// As if much had been nothing so far.
    const DOUBTFUL: Mean = Mean { value_x64: 0, count: 32 };

    fn push(&mut self, value: i64) {
        self.count = (self.count + 1).min(64);
        self.value_x64 += (value * 64 - self.value_x64) / self.count;
    }

    fn times(self, factor: i64) -> i64 {
        factor * self.value_x64 / 64
    }
}

impl Default for QueueMeter {
    fn default() -> QueueMeter {
        QueueMeter {
            base: VecDeque::new(),
            base_held: false,
            delays: VecDeque::new(),
            // What fills in the first moments of a thin path, where packets differ in size, is to be seen as a queue.
            differences: Mean::DOUBTFUL,
            drift: Mean::DOUBTFUL,
            held_up: Mean::default(),
            first: 0,
        }
    }
}

impl QueueMeter {
    /// One-way delays come in the order of sending; their offset is unknown but constant.
    pub(super) fn push(&mut self, sent: Timestamp, delay: i64) {
        if let Some(&(before, last)) = self.delays.back() {
            let difference = (delay - last).clamp(-NOISE_MAX_MICROS, NOISE_MAX_MICROS);
            self.differences.push(difference.abs());
            self.drift.push(difference);
            let sent_apart = sent.since(before).as_micros() as i64;
            let came_apart = sent_apart + delay - last;
            if sent_apart < APART_MICROS || came_apart * FASTER > sent_apart {
                self.first = delay;
            }
            self.held_up.push((self.first - delay).clamp(0, NOISE_MAX_MICROS));
        } else {
            self.first = delay;
        }
        self.delays.push_back((sent, delay));
        while self.delays.len() > MEMORY_PACKETS
            && self.delays.front().is_some_and(|(at, _)| sent.since(*at) > MEMORY)
        {
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
        let newest = self.delays.back()?.0;
        let differences = self.differences.times(3) - self.drift.times(3).abs();
        let noise = (differences + self.held_up.times(2)).clamp(0, NOISE_MAX_MICROS);
        // The noisier the path, the longer it takes until one packet is as fast as the path is.
        let span = (RECENT + Duration::from_micros(3 * noise as u64)).min(MEMORY / 3);
        let (mut recent, mut before) = (Window::default(), Window::default());
        let after = self.delays.iter().rev().take_while(|(sent, _)| *sent > since);
        for (i, &(sent, delay)) in after.enumerate() {
            let age = newest.since(sent);
            if i < RECENT_PACKETS || age <= span {
                recent.add(sent, delay);
            } else if i < 3 * RECENT_PACKETS || age <= 3 * span {
                before.add(sent, delay);
            } else {
                break;
            }
        }
        let fastest = recent.fastest?;
        let base = self.follow_base(newest, before.fastest.map_or(fastest, |before| before.min(fastest)));
        let queue = fastest - base;
        let drained = before.fastest? - fastest;
        let meanwhile = recent.oldest.since(before.oldest).as_micros() as i64;
        Some(Standing {
            queue,
            noise,
            threshold: noise.max(NOISE_LEAST_MICROS) + MARGIN_MICROS,
            newest: self.last()? - base,
            // RFC 8888 counts in 1/1024 s: less than two of them is no change.
            falling: drained > 2_000 && drained * 1_000_000 >= queue * meanwhile,
            lag: now.since(recent.oldest),
        })
    }

    fn follow_base(&mut self, newest: Timestamp, fastest: i64) -> i64 {
        let second = newest.as_micros() / 1_000_000;
        match self.base.back_mut() {
            Some((at, least)) if *at == second => *least = (*least).min(fastest),
            _ => self.base.push_back((second, fastest)),
        }
        if self.base_held {
            // The least is enough.
            let least = self.base.iter().copied().min_by_key(|(_, delay)| *delay);
            self.base.clear();
            self.base.extend(least);
        }
        while self.base.len() > BASE_SECONDS {
            self.base.pop_front();
        }
        self.base.iter().map(|(_, least)| *least).min().unwrap_or(fastest)
    }

    /// While others keep a queue standing, the path without one is not seen, and must not be forgotten.
    pub(super) fn hold_base(&mut self, held: bool) {
        self.base_held = held;
    }

    /// What delays are measured from has changed.
    pub(super) fn restart(&mut self) {
        *self = QueueMeter::default();
    }

    /// The delay as it stands is the path's own, as it turned out.
    pub(super) fn rebase(&mut self) {
        self.base.clear();
    }
}
