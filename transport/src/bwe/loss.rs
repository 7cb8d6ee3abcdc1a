//! Which losses are congestion.
//!
//! Why: a radio loses packets at any rate, a full queue only above its own. One cannot see which from the
//! losses; one can try. When more is lost than the path is known to lose by itself, the rate falls to what
//! arrives, once. If the losses stop, they were congestion. If they go on as before, they are the path's
//! own, are remembered as such, and cost no rate any more. While the rate grows anyway, that is a trial by itself: a full queue
//! would lose all that is more.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{DataSize, Timestamp};

/// Losses are counted over so long at most.
const MEMORY: Duration = Duration::from_secs(3);
/// Judged over so long at least, and so many packets outside a trial.
const JUDGED: Duration = Duration::from_millis(800);
const JUDGED_PACKETS: u64 = 40;
/// Growth by so much, in thousandths, tells a full queue from a radio.
const GREW_PERMILLE: u64 = 1_400;

#[derive(Clone, Copy, Debug)]
struct Packet {
    sent: Timestamp,
    size: DataSize,
    lost: bool,
}

#[derive(Debug, Default)]
pub(super) struct LossMeter {
    fates: VecDeque<Packet>,
    lost: u64,
    /// What the path loses by itself, in thousandths.
    inherent: u64,
    /// The share lost before the rate was lowered to find out.
    trial: Option<u64>,
}

/// What the losses say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    None,
    /// More than the path is known to lose: lower the rate and see.
    Try,
    /// The trial made no difference: take it back.
    Refuted,
    /// The trial ended the losses.
    Confirmed,
}

impl LossMeter {
    pub(super) fn push(&mut self, sent: Timestamp, size: DataSize, lost: bool) {
        self.fates.push_back(Packet { sent, size, lost });
        self.lost += u64::from(lost);
        while let Some(old) = self.fates.front().filter(|old| sent.since(old.sent) > MEMORY) {
            self.lost -= u64::from(old.lost);
            self.fates.pop_front();
        }
    }

    /// The share lost lately, in thousandths.
    pub(super) fn permille(&self) -> u64 {
        (self.lost * 1000).checked_div(self.fates.len() as u64).unwrap_or(0)
    }

    /// What the path loses by itself, in thousandths.
    pub(super) fn inherent(&self) -> u64 {
        self.inherent
    }

    pub(super) fn judge(&mut self) -> Verdict {
        let packets = self.fates.len() as u64;
        let (Some(first), Some(last)) = (self.fates.front(), self.fates.back()) else { return Verdict::None };
        // A trial lasts until the path's own losses would have shown five times.
        let enough = self.trial.map_or(packets >= JUDGED_PACKETS, |before| packets * before >= 5_000);
        if !enough || last.sent.since(first.sent) < JUDGED {
            return Verdict::None;
        }
        let share = self.permille();
        if let Some(before) = self.trial.take() {
            // Congestion would have ended with its cause. What chance alone had raised falls too, but not
            // so far.
            if share * 10 >= before * 4 {
                self.inherent = self.inherent.max(share);
                return Verdict::Refuted;
            }
            return Verdict::Confirmed;
        }
        if share < self.inherent {
            self.inherent -= (self.inherent - share) / 64;
        }
        // Two standard deviations of the count, so that chance is not taken for change.
        let deviation = (share.max(self.inherent) * (1000 - share.min(900)) / packets).isqrt();
        if share <= self.inherent + 50 + 2 * deviation {
            return Verdict::None;
        }
        if self.grew_unharmed() {
            self.inherent = share;
            return Verdict::None;
        }
        Verdict::Try
    }

    /// Whether much more was sent of late than before and no more of it was lost, where a full queue would have lost what was
    /// more.
    fn grew_unharmed(&self) -> bool {
        let (Some(first), Some(last)) = (self.fates.front(), self.fates.back()) else { return false };
        let middle = first.sent + last.sent.since(first.sent) / 2;
        let split = self.fates.partition_point(|packet| packet.sent < middle);
        let half = |packets: std::collections::vec_deque::Iter<'_, Packet>| {
            packets.fold((0, 0, 0), |(count, lost, bytes), packet| {
                (count + 1, lost + u64::from(packet.lost), bytes + packet.size.as_bytes())
            })
        };
        let (before, before_lost, less) = half(self.fates.range(..split));
        let (after, after_lost, more) = half(self.fates.range(split..));
        if before == 0 || after == 0 || more * 1000 < less * GREW_PERMILLE {
            return false;
        }
        let share = before_lost * 1000 / before;
        let congested = 1000 - (1000 - share) * less / more;
        after_lost * 1000 / after < u64::midpoint(share, congested)
    }

    /// The rate was lowered: count anew.
    pub(super) fn begin_trial(&mut self) {
        self.trial = Some(self.permille());
        self.restart();
    }

    /// The rate was lowered for another reason: a trial would prove nothing.
    pub(super) fn restart_without_trial(&mut self) {
        self.trial = None;
        self.restart();
    }

    fn restart(&mut self) {
        self.fates.clear();
        self.lost = 0;
    }
}
