//! What a path loses by itself, apart from what a full queue loses.
//!
//! Why: a packet that a radio lost may as well be sent twice from the start. What a queue lost that overflowed would be
//! lost again, and there would be more of it.

use std::time::Duration;

/// A queue so long may have overflowed.
const OVERFLOWING: Duration = Duration::from_millis(60);
/// So many packets tell.
const PACKETS: u32 = 100;

/// Counts the losses of packets that met no long queue.
#[derive(Debug, Default)]
pub(crate) struct OwnLosses {
    packets: u32,
    /// Of a million.
    lost: u32,
}

impl OwnLosses {
    /// A packet's fate is known, while so long a queue stands.
    pub(crate) fn on_packet(&mut self, lost: bool, queue: Duration) {
        if queue >= OVERFLOWING {
            return;
        }
        self.packets = (self.packets + 1).min(PACKETS);
        self.lost = (self.lost * (self.packets - 1) + u32::from(lost) * 1_000_000) / self.packets;
    }

    /// How many of a thousand, lately; `None` if too few packets told.
    pub(crate) fn permille(&self) -> Option<u32> {
        (self.packets == PACKETS).then_some(self.lost / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_queue_loses_does_not_count() {
        let mut losses = OwnLosses::default();
        assert_eq!(losses.permille(), None);
        (0..1_000).for_each(|n| losses.on_packet(n % 5 == 0, Duration::from_millis(5)));
        (0..500).for_each(|_| losses.on_packet(true, Duration::from_millis(300)));
        assert!(losses.permille().is_some_and(|lost| (180..=220).contains(&lost)), "{losses:?}");
        (0..500).for_each(|_| losses.on_packet(false, Duration::from_millis(5)));
        assert!(losses.permille().is_some_and(|lost| lost < 5), "{losses:?}");
    }
}
