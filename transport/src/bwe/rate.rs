//! The rate of something counted, over the latest stretch of its time.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

const MEMORY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct RateMeter {
    events: VecDeque<(Timestamp, DataSize)>,
    began: Option<Timestamp>,
}

impl RateMeter {
    pub(super) fn push(&mut self, at: Timestamp, size: DataSize) {
        self.began.get_or_insert(at);
        // Reordering and several streams: the meter's time does not go back.
        let at = self.events.back().map_or(at, |(last, _)| at.max(*last));
        self.events.push_back((at, size));
        while self.events.front().is_some_and(|(first, _)| at.since(*first) >= MEMORY) {
            self.events.pop_front();
        }
    }

    /// The mean over the last `window` before the newest event, or over all time if that is shorter; at
    /// least 50 ms, since a first burst has no rate.
    pub(super) fn over(&self, window: Duration) -> Bitrate {
        let (Some((newest, _)), Some(began)) = (self.events.back(), self.began) else { return Bitrate::ZERO };
        let window = window.min(newest.since(began)).max(Duration::from_millis(50));
        let recent = self.events.iter().rev().take_while(|(at, _)| newest.since(*at) < window);
        recent.map(|(_, size)| *size).sum::<DataSize>().per(window)
    }

    /// The mean over the shortest stretch with enough packets in it to mean something.
    pub(super) fn recent(&self) -> Bitrate {
        const ENOUGH: usize = 12;
        let Some((newest, _)) = self.events.back() else { return Bitrate::ZERO };
        let enough = |window: Duration| {
            self.events.iter().rev().take_while(|(at, _)| newest.since(*at) < window).count() >= ENOUGH
        };
        let windows = [Duration::from_millis(200), Duration::from_millis(500)];
        let window = windows.into_iter().find(|window| enough(*window)).unwrap_or(MEMORY);
        self.over(window)
    }
}
