//! Spreads packets over time, so that a large picture does not fill the bottleneck's queue at once.
//!
//! Why: thirty packets sent back to back are thirty packets of delay for the speech behind them. A packet
//! leaves when those before it have drained at the pacing rate, so the rate should lie somewhat above the
//! estimate. Speech goes first and waits for nothing: at most one packet of video is still on its way out.
//! No wait is longer than [`Config::max_wait`]; a queue that would need more drains faster instead, since a
//! late picture is worse than a short burst.
//!
//! Not here: which pictures to drop or to code smaller (the engine, by [`Pacer::delay`]).

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Speech and its repair: it waits for nothing.
    Audio,
    /// Repair of pictures: what it repairs is older than any new picture.
    Rtx,
    /// Pictures.
    Video,
    /// Padding that asks how much the path can carry; only when nothing else waits.
    Probe,
}

/// Settings of a [`Pacer`].
#[derive(Clone, Debug)]
pub struct Config {
    /// First rate. Default 300 kbit/s, as the estimator starts.
    pub rate: Bitrate,
    /// Longest that anything waits: what would wait longer is sent faster than the rate. Default 250 ms.
    pub max_wait: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config { rate: Bitrate::from_kbps(300), max_wait: Duration::from_millis(250) }
    }
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    size: DataSize,
    since: Timestamp,
}

/// A queue before the network, for items of any kind.
#[derive(Debug)]
pub struct Pacer<T> {
    config: Config,
    /// One for each priority.
    queues: [VecDeque<Waiting<T>>; 4],
    queued: DataSize,
    /// When all that was sent has drained at the pacing rate; speech counts, though it does not wait.
    free_at: Timestamp,
}

impl<T> Pacer<T> {
    /// An empty one.
    pub fn new(config: Config) -> Pacer<T> {
        Pacer {
            config,
            queues: [const { VecDeque::new() }; 4],
            queued: DataSize::ZERO,
            free_at: Timestamp::ZERO,
        }
    }

    /// Sets the rate at which the queue drains; what is on its way out is rated anew.
    pub fn set_rate(&mut self, now: Timestamp, rate: Bitrate) {
        let pending = self.config.rate * self.free_at.since(now);
        self.config.rate = rate;
        if self.free_at > now {
            self.free_at = now + (pending / rate).min(self.config.max_wait);
        }
    }

    /// The rate at which the queue drains.
    pub fn rate(&self) -> Bitrate {
        self.config.rate
    }

    /// Queues an item of `size` bytes on the wire.
    pub fn enqueue(&mut self, now: Timestamp, priority: Priority, item: T, size: DataSize) {
        self.queued += size;
        self.queues[priority as usize].push_back(Waiting { item, size, since: now });
    }

    /// The next item that may leave now. Call it until it gives none, after each
    /// [`Pacer::enqueue`] and at [`Pacer::deadline`].
    pub fn poll(&mut self, now: Timestamp) -> Option<T> {
        let priority = self.next_priority()?;
        if now < self.leaves_at(priority)? {
            return None;
        }
        let waiting = self.queues[priority].pop_front()?;
        // The time that the packet takes at the rate, or the larger rate at which the queue keeps its bound.
        let rate = self.config.rate.max(self.queued.per(self.config.max_wait));
        self.queued -= waiting.size;
        let taken = (waiting.size / rate).min(self.config.max_wait);
        self.free_at = (self.free_at.max(now) + taken).min(now + self.config.max_wait);
        Some(waiting.item)
    }

    fn next_priority(&self) -> Option<usize> {
        self.queues.iter().position(|queue| !queue.is_empty())
    }

    fn leaves_at(&self, priority: usize) -> Option<Timestamp> {
        let first = self.queues[priority].front()?;
        if priority == Priority::Audio as usize {
            return Some(first.since);
        }
        Some(self.free_at.min(first.since + self.config.max_wait).max(first.since))
    }

    /// When the next item may leave; `None` if none waits.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.leaves_at(self.next_priority()?)
    }

    /// How much waits.
    pub fn queued(&self) -> DataSize {
        self.queued
    }

    /// How long an item waits that is queued now with a priority, unless more important ones come.
    pub fn wait(&self, now: Timestamp, priority: Priority) -> Duration {
        if priority == Priority::Audio {
            return Duration::ZERO;
        }
        let before = self.queues.iter().take(priority as usize + 1).flatten();
        let size: DataSize = before.map(|waiting| waiting.size).sum();
        (self.free_at.since(now) + size / self.config.rate).min(self.config.max_wait)
    }

    /// How much waits with a priority.
    pub fn waiting(&self, priority: Priority) -> DataSize {
        self.queues[priority as usize].iter().map(|waiting| waiting.size).sum()
    }

    /// How long all that waits needs at the rate.
    pub fn delay(&self) -> Duration {
        self.queued / self.config.rate
    }

    /// Drops what waits with a priority, for instance pictures that a key frame makes obsolete.
    pub fn clear(&mut self, priority: Priority) {
        for waiting in self.queues[priority as usize].drain(..) {
            self.queued -= waiting.size;
        }
    }
}
