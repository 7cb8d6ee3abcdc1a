//! The machine: demultiplexing, timers, channels.

use crate::{Config, Stats};
use undertone_media::{Input, Machine, Output, Timestamp};

/// A selective forwarding unit.
pub struct Sfu {
    stats: Stats,
}

impl Sfu {
    /// An SFU without rooms.
    pub fn new(_config: Config) -> Sfu {
        Sfu { stats: Stats::default() }
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Takes no more joins, tells everybody why and ends all channels. Poll what it says before stopping.
    pub fn drain(&mut self, _now: Timestamp) {}
}

impl Machine for Sfu {
    fn handle(&mut self, _now: Timestamp, _input: Input<'_>) {}

    fn poll(&mut self) -> Option<Output> {
        None
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }
}
