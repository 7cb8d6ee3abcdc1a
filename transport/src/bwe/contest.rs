//! Sharing a queue with those who fill it.
//!
//! Why: who gives way to every queue gets nothing beside TCP, which gives way to a full one only. That is noticed by giving
//! way: a queue of our own drains when we send less, and this one did not. From then on delay tells nothing, and only losses
//! count, as they do for TCP (RFC 5681, and RFC 9438 where round trips are long): a packet more each round trip, but no less a
//! second than TCP gains, and a part less for each round trip with a loss. When the queue drains and stays short, or nothing was
//! lost for long, the others have gone.
//!
//! Not here: the rate when nobody else fills the queue (the module above).

use super::{Fate, Outcome};
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// Cuts further apart are about different queues.
const EPISODE: Duration = Duration::from_secs(15);
/// Cuts after which the queue was longer, by so much in thousandths, that tell of others; and one that was shorter by so much
/// tells of none.
const IN_VAIN: u32 = 3;
const LONGER_PERMILLE: i64 = 1_100;
const SHORTER_PERMILLE: i64 = 600;
/// What is left after a round trip with a loss, in thousandths: CUBIC keeps 700 and grows faster then.
const KEEP_PERMILLE: u64 = 800;
/// Growth in a second at least, however long the round trip is.
const GROWTH: Bitrate = Bitrate::from_kbps(120);
/// A packet of media.
const PACKET: DataSize = DataSize::from_bytes(1_200);
/// A queue that is short for so long is nobody's: TCP fills it again sooner.
const GONE_SHORT: Duration = Duration::from_millis(2_000);
/// Nor does it take TCP so long to fill it to the brim.
const GONE_LOSSLESS: Duration = Duration::from_secs(15);

/// Whether giving way helps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspicion {
    /// When the first cut of several was, and what was sent then.
    first: Option<(Timestamp, Bitrate)>,
    in_vain: u32,
    /// The estimate and the queue, in µs, at the last cut.
    last: (Bitrate, i64),
    /// When a packet was lost last that the path does not lose anyway.
    lost: Option<Timestamp>,
}

impl Suspicion {
    /// Feedback came; `inherent`: what the path loses by itself, in thousandths.
    pub(super) fn on_feedback(&mut self, now: Timestamp, outcomes: &[Outcome], inherent: u64) {
        if crowded(outcomes, inherent) {
            self.lost = Some(now);
        }
    }

    /// The estimate is cut for a queue of so many µs; `stands`: what was sent lately was no more than the estimate and arrived,
    /// and no more than that: so the path is no less than it was, and nothing of ours drains. Returns the rate before all cuts
    /// if others fill the queue.
    pub(super) fn on_cut(
        &mut self,
        now: Timestamp,
        estimate: Bitrate,
        queue: i64,
        stands: bool,
    ) -> Option<Bitrate> {
        let (since, before) = *self.first.get_or_insert((now, estimate));
        let (last_estimate, last_queue) = std::mem::replace(&mut self.last, (estimate, queue));
        let drained = queue * 1000 < last_queue * SHORTER_PERMILLE;
        if drained || !stands || estimate > last_estimate || now.since(since) > EPISODE {
            (self.first, self.in_vain) = (Some((now, estimate)), 0);
            return None;
        }
        self.in_vain += u32::from(queue * 1000 > last_queue * LONGER_PERMILLE);
        // Who fills a queue makes it run over.
        let runs_over = self.lost.is_some_and(|lost| now.since(lost) < EPISODE);
        (self.in_vain >= IN_VAIN && runs_over).then_some(before)
    }
}

/// Whether more was lost than a path does that loses so many of a thousand anyway.
fn crowded(outcomes: &[Outcome], inherent: u64) -> bool {
    let lost = outcomes.iter().filter(|it| it.fate == Fate::Lost).count() as u64;
    lost * 1000 > outcomes.len() as u64 * inherent * 2
}

/// The rate while others fill the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    pub(super) rate: Bitrate,
    updated: Timestamp,
    /// When a loss made it less.
    stepped_back: Timestamp,
    /// Since when the queue is short.
    short: Option<Timestamp>,
}

impl Contest {
    pub(super) fn new(now: Timestamp, rate: Bitrate) -> Contest {
        Contest { rate, updated: now, stepped_back: now, short: None }
    }

    /// Feedback came; `short`: the queue is no longer than if nobody filled it; `inherent`: what the path loses by itself, in
    /// thousandths. False when the others have gone.
    pub(super) fn on_feedback(
        &mut self,
        now: Timestamp,
        outcomes: &[Outcome],
        rtt: Duration,
        short: bool,
        inherent: u64,
    ) -> bool {
        let rtt = rtt.max(Duration::from_millis(20));
        if crowded(outcomes, inherent) && now.since(self.stepped_back) >= rtt {
            self.rate = self.rate.permille(KEEP_PERMILLE);
            self.stepped_back = now;
        } else {
            let passed = now.since(self.updated).min(rtt).as_micros() as u64;
            let round = PACKET.per(rtt) * passed / rtt.as_micros().max(1) as u64;
            self.rate += round.max(GROWTH * passed / 1_000_000);
        }
        self.updated = now;
        self.short = short.then(|| self.short.unwrap_or(now));
        let gone = self.short.is_some_and(|since| now.since(since) >= GONE_SHORT);
        !gone && now.since(self.stepped_back) < GONE_LOSSLESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kbps(kbps: u64) -> Bitrate {
        Bitrate::from_kbps(kbps)
    }

    const RTT: Duration = Duration::from_millis(300);

    fn outcome(fate: Fate) -> Outcome {
        Outcome { sent: Timestamp::ZERO, size: PACKET, fate }
    }

    /// Cuts of so many kbit/s at queues of so many ms, a second apart, after a loss.
    fn cut(cuts: &[(u64, i64)], stands: bool) -> Option<Bitrate> {
        let mut suspicion = Suspicion::default();
        suspicion.on_feedback(Timestamp::ZERO, &[outcome(Fate::Lost)], 0);
        let at = |n| Timestamp::from_millis(1_000 * n as u64);
        let told = |(n, &(rate, queue)): (usize, &(u64, i64))| {
            suspicion.on_cut(at(n), kbps(rate), queue * 1_000, stands)
        };
        cuts.iter().enumerate().filter_map(told).last()
    }

    #[test]
    fn giving_way_in_vain_tells_of_others() {
        let in_vain = [(1000, 25), (900, 50), (800, 60), (700, 60), (600, 90)];
        assert_eq!(cut(&in_vain, true), Some(kbps(1000)));
        assert_eq!(cut(&in_vain, false), None, "the path itself carries less");
        assert_eq!(cut(&[(1000, 300), (500, 200), (450, 120), (400, 60)], true), None, "what is left drains");
        let again = [(1000, 25), (920, 28), (1010, 31), (930, 35), (1000, 39)];
        assert_eq!(cut(&again, true), None, "our own queue, again and again");
    }

    #[test]
    fn losses_cost_rate_and_a_queue_that_stays_short_is_nobodys() {
        let mut contest = Contest::new(Timestamp::ZERO, kbps(1000));
        let mut on = |ms, fate, short| {
            let stays = contest.on_feedback(Timestamp::from_millis(ms), &[outcome(fate)], RTT, short, 0);
            (stays, contest.rate)
        };
        let came = Fate::Arrived(Timestamp::ZERO);
        assert!(on(500, came, false).1 > kbps(1000));
        assert!(on(600, Fate::Lost, false).1 < kbps(850));
        assert!(on(1_000, came, true).0 && on(2_000, came, false).0 && on(2_500, came, true).0);
        assert!(on(4_400, came, true).0 && !on(4_500, came, true).0, "two seconds");
    }
}
