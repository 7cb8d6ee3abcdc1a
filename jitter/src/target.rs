//! How long to hold packets.
//!
//! Why: a longer hold conceals less and makes talking harder. A percentile of past delays, as other
//! buffers use, prices neither: one stall pins it for seconds, and a thousand packets late in one burst
//! count a thousandfold though they interrupt the talk once. Here every candidate target is *played*
//! against what has just arrived, by the same rules as the real playout, and pays for what its listener
//! would have suffered. The unit is a millisecond of delay for as long as it lasts; a millisecond of talk lost
//! costs as much as one more millisecond of delay for [`Costs::loss`], a millisecond in which talk stood still and
//! went on later as much as for [`Costs::stall`]. Old bills fade. The cheapest candidate is the target.
//!
//! Three things follow without a rule of their own. A single outlier never pays: holding for it would cost
//! its height for the whole memory, which is longer than its concealment is worth. Loss with repair
//! holds exactly as long as repairs take: a resent packet bills its own duration to every candidate that
//! would have played past it, so at 10 % loss waiting for repairs is cheap, and at 0.1 %, or when no
//! repair ever comes, it is not done. And jitter with an end (a Wi-Fi poll, a radio frame) is covered whole, since
//! the last milliseconds cost little and save an event each time, while a tail without end is not.
//!
//! The first moments: every packet is billed as if it came later by a share of its delay that shrinks with what has
//! been heard, because the worst of a few draws is not yet the worst.
//!
//! Not here: the fastest path (`arrival`); what a delay means for lips (`sync`).

use std::time::Duration;

/// Candidates, in ms above the fastest path. Fine where a millisecond matters, coarse where it does not.
const CANDIDATES_MS: [i64; 46] = [
    0, 2, 5, 8, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 90, 100, 110, 120, 130, 140, 150,
    160, 170, 180, 190, 200, 220, 240, 260, 280, 320, 360, 400, 480, 560, 640, 800, 1000, 1300, 1600, 2000,
];

/// What a listener suffers from, priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// A millisecond of talk lost is as bad as a millisecond more delay for so long. Default 30 s: the E-model
    /// (ITU-T G.107, Ie 5, Bpl 15) trades the first 1 % of loss for 230 ms of comfortable delay.
    pub loss: Duration,
    /// A millisecond in which the talk stood still for want of packets, and then went on where it had been, is as bad
    /// as a millisecond more delay for so long. Default 10 s: nothing is lost but time, and what waiting for it costs
    /// is mostly delay that is no longer comfortable, of which G.107 trades 1 % for 42 ms.
    pub stall: Duration,
    /// However short it is, a standstill counts so much more: it is heard as such, and so is what makes it good.
    /// Default 20 ms: one packet.
    pub event: Duration,
    /// Delay above the fastest path beyond this counts [`Costs::steep`] times, as talkers begin to
    /// interrupt each other. Default 150 ms: G.107 bends at 177 ms of the whole path.
    pub comfortable: Duration,
    /// How many times a millisecond beyond [`Costs::comfortable`] counts. Default 6, as in G.107
    /// (0.134 against 0.024).
    pub steep: u32,
    /// How fast old bills fade (to 1/e). Default 40 s: longer than [`Costs::loss`], or a single
    /// outlier could hold the target up.
    pub memory: Duration,
    /// Before anything is known, each candidate owes what it would have cost on a path without jitter for so long: what
    /// comes first is soon believed, but the first stall of a call does not pin the target. Default 5 s.
    pub prior: Duration,
}

impl Default for Costs {
    fn default() -> Costs {
        Costs {
            loss: Duration::from_secs(30),
            stall: Duration::from_secs(10),
            event: Duration::from_millis(20),
            comfortable: Duration::from_millis(150),
            steep: 6,
            memory: Duration::from_secs(40),
            prior: Duration::from_secs(5),
        }
    }
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// Newest so far: until it came nothing could be played in its place, so the talk stood still.
    InOrder,
    /// Behind a newer one: overtaken, or brought back from redundancy. Until it came, the talk could go on
    /// past it.
    Straggling,
    /// Lost, and here all the same, resent or as a copy.
    Repaired,
    /// A picture. It freezes the one before it until it comes; those after it catch up at once.
    Picture,
}

/// One candidate, as its listener would hear it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    target: i64,
    /// Transit at which it now plays.
    playing: i64,
    /// What its listener has suffered: microseconds squared, fading.
    bill: u64,
}

/// Finds the target delay.
#[derive(Clone, Debug)]
pub struct Target {
    costs: Costs,
    candidates: Vec<Candidate>,
    chosen: usize,
    base: Option<i64>,
    /// How much talk has been heard, in µs, as far as it still matters.
    heard: u64,
    /// How late a lost packet is that was asked for once, in µs.
    repair: i64,
    /// The sender protects packets and has said for how long; see [`Target::trust`].
    trusting: bool,
}

/// How many times what comes counts in the first moments of a call, at most.
const EAGER: u64 = 5;

/// After so much talk, in µs, a packet is expected to be exceeded by a third of its delay, later by less.
const SURPRISE: i64 = 500_000;

/// The most that the fastest path may move before playout follows, in µs.
const LEEWAY_MAX: i64 = 40_000;

/// The target moves for at least this much delay, in µs, saved over the whole memory.
const WORTHWHILE: u64 = 1_000;

/// Playout is asked every 10 ms, so sound is made up in such steps.
const STEP: i64 = 10_000;

/// How much of a packet of `duration` stretching takes out when it plays `excess` too late, all in µs; `pause`:
/// nobody speaks in it.
///
/// Small excesses go slowly: each stretch can be heard, and what made the buffer grow is likely to come again soon.
/// The rest goes in pauses if there is one, where no cut is heard, and else faster the more there is: a second in two
/// seconds.
pub(crate) fn shorten(excess: i64, duration: i64, pause: bool) -> i64 {
    let permille = match (excess, pause) {
        (..20_000, _) => 25,
        (_, true) => 750,
        (..60_000, _) => 150,
        (..150_000, _) => 300,
        (..300_000, _) => 500,
        _ => 750,
    };
    excess.min(duration * permille / 1000).max(0)
}

/// How much stretching adds to a packet of `duration` when it plays `deficit` too early, all in µs.
pub(crate) fn lengthen(deficit: i64, duration: i64) -> i64 {
    deficit.min(duration / 2).max(0)
}

impl Target {
    /// A target that starts at `start` and stays within `min..=max`.
    pub fn new(costs: Costs, min: Duration, max: Duration, start: Duration) -> Target {
        let (min, max) = (min.as_micros() as i64, max.as_micros() as i64);
        let max = max.max(min);
        let start = (start.as_micros() as i64).clamp(min, max);
        let mut targets: Vec<i64> = CANDIDATES_MS.iter().map(|ms| (ms * 1000).clamp(min, max)).collect();
        targets.push(start);
        targets.sort_unstable();
        targets.dedup();
        let prior = costs.prior.as_micros() as u64;
        let candidates: Vec<Candidate> = targets
            .into_iter()
            .map(|target| Candidate {
                target,
                playing: target,
                bill: price(&costs, (target - start).abs()).saturating_mul(prior),
            })
            .collect();
        let chosen = candidates.iter().position(|c| c.target == start).unwrap_or(0);
        Target { costs, candidates, chosen, base: None, heard: 0, repair: 0, trusting: false }
    }

    /// The delay above the fastest path to aim at.
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.micros() as u64)
    }

    /// How far the fastest path may move before playout need follow, in µs: a share of what jitter has made of the target.
    /// What the target is measured from does not matter to it, as long as that keeps still; but after an overload the fastest
    /// path is not to hang high.
    pub(crate) fn leeway(&self) -> i64 {
        (self.micros() / 4).min(LEEWAY_MAX)
    }

    pub(crate) fn micros(&self) -> i64 {
        self.candidates.get(self.chosen).map_or(0, |c| c.target)
    }

    /// A lost packet that is asked for is back so long after its turn, if nothing more goes wrong.
    pub fn expect_repair(&mut self, after: Duration) {
        self.repair = after.as_micros() as i64;
    }

    /// Whether what repairs cost and bring was weighed elsewhere, by who knows what is still to come: then they are not
    /// billed here.
    pub(crate) fn trust(&mut self, trusting: bool) {
        self.trusting = trusting;
    }

    /// Whether it does.
    pub(crate) fn trusts(&self) -> bool {
        self.trusting
    }

    /// A packet of `duration` did not come in its turn. Loss comes at a rate, where a stall comes once: a packet
    /// lost in the first second of a call tells of one a second. So in the first moments it bills for all the
    /// memory that was not heard yet, up to a point, and at once: the delay to have when the next is lost is
    /// taken while this one is waited for, in one move.
    pub fn on_missing(&mut self, duration: Duration) {
        self.presume(duration, u64::saturating_add);
    }

    /// What did not come in its turn was overtaken and not lost.
    fn on_overtaken(&mut self, duration: Duration) {
        self.presume(duration, u64::saturating_sub);
    }

    fn presume(&mut self, duration: Duration, change: impl Fn(u64, u64) -> u64) {
        if self.trusting {
            return;
        }
        let Some(repaired) = self.presumed() else { return };
        let suffered = self.costs.loss.as_micros() as u64 * duration.as_micros() as u64;
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.playing < repaired) {
            candidate.bill = change(candidate.bill, suffered);
        }
    }

    /// How many times over what comes first counts: a single straggler is none, a loss may be the first of many.
    fn eager(&self) -> u64 {
        let memory = self.costs.memory.as_micros() as u64;
        memory / self.heard.max(memory / EAGER).max(1)
    }

    /// The transit up to which losses are billed beforehand; `None` once they are known by experience.
    fn presumed(&self) -> Option<i64> {
        Some(self.base? + self.repair).filter(|_| self.eager() > 1)
    }

    /// Takes a packet of `duration` that came with `transit` while the fastest path showed `base`, both in
    /// microseconds from one origin.
    pub fn on_arrival(&mut self, transit: i64, base: i64, duration: Duration, coming: Coming) {
        let span = (duration.as_micros() as i64).clamp(1, 200_000);
        let memory = self.costs.memory.as_micros().max(span as u128);
        let (loss, stall) = (self.costs.loss.as_micros() as u64, self.costs.stall.as_micros() as u64);
        let event = self.costs.event.as_micros() as u64;
        if self.base.is_none() {
            for candidate in &mut self.candidates {
                candidate.playing = base + candidate.target;
            }
        }
        self.base = Some(base);
        if self.trusting && coming == Coming::Repaired {
            return;
        }
        let presumed = self.presumed().unwrap_or(i64::MIN);
        if coming == Coming::Straggling {
            self.on_overtaken(duration);
        }
        if coming == Coming::InOrder {
            self.heard = (self.heard + span as u64).min(memory as u64);
        }
        let eager = self.eager();
        let surprise = (transit - base).max(0) * SURPRISE / (2 * SURPRISE + self.heard as i64);
        for candidate in &mut self.candidates {
            let aim = base + candidate.target;
            let late = transit - candidate.playing;
            let mut suffered = 0;
            match coming {
                Coming::InOrder if late + surprise > 0 => {
                    let made_up = (late + surprise + STEP - 1) / STEP * STEP;
                    candidate.playing += made_up;
                    suffered = stall.saturating_mul(made_up as u64 + event);
                }
                Coming::InOrder => {
                    let excess = candidate.playing - aim;
                    if excess > STEP {
                        // It cannot play faster than packets come.
                        candidate.playing -= shorten(excess, span, false).min(-late);
                    } else {
                        candidate.playing += lengthen(-excess, span);
                    }
                }
                // Billed when it was missed.
                Coming::Repaired if candidate.playing < presumed => {}
                Coming::Straggling | Coming::Repaired if late > 0 => {
                    suffered = loss.saturating_mul(span as u64) / eager;
                }
                Coming::Straggling | Coming::Repaired => {}
                Coming::Picture => {
                    candidate.playing = aim;
                    suffered = loss.saturating_mul((transit - aim).max(0) as u64);
                }
            }
            let mut owes = candidate.bill;
            if !matches!(coming, Coming::Straggling | Coming::Repaired) {
                // Time passes once: a straggler shares its place with what played instead.
                owes -= (u128::from(owes) * span as u128 / memory) as u64;
                let delay = price(&self.costs, candidate.playing - base);
                owes = owes.saturating_add(delay.saturating_mul(span as u64));
            }
            candidate.bill = owes.saturating_add(suffered);
        }
        self.choose();
    }

    /// Moves to the cheapest candidate if it is clearly cheaper: each move is heard as stretching.
    fn choose(&mut self) {
        let Some((cheapest, bill)) =
            self.candidates.iter().map(|c| c.bill).enumerate().min_by_key(|&(_, bill)| bill)
        else {
            return;
        };
        let memory = self.costs.memory.as_micros() as u64;
        // However bad a candidate would have been, its debt stays within reach of the cheapest's: else a bad
        // minute would be held against low delay for many good ones.
        let held = self.candidates.get(cheapest).map_or(0, |c| price(&self.costs, c.target));
        let ceiling = bill.saturating_add(held.saturating_mul(memory));
        for candidate in self.candidates.iter_mut().take(cheapest) {
            candidate.bill = candidate.bill.min(ceiling);
        }
        let current = self.candidates.get(self.chosen).map_or(u64::MAX, |c| c.bill);
        if bill.saturating_add(WORTHWHILE * memory) < current {
            self.chosen = cheapest;
        }
    }

    /// The origin of transits moved by `by`: the stream began anew on the same network.
    pub(crate) fn rebase(&mut self, by: i64) {
        for candidate in &mut self.candidates {
            candidate.playing += by;
        }
    }
}

/// What a listener suffers from a delay, in microseconds of comfortable delay.
fn price(costs: &Costs, delay: i64) -> u64 {
    let delay = delay.max(0) as u64;
    let beyond = delay.saturating_sub(costs.comfortable.as_micros() as u64);
    delay.saturating_add(beyond.saturating_mul(u64::from(costs.steep.saturating_sub(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Duration = Duration::from_millis(20);

    fn fresh() -> Target {
        Target::new(Costs::default(), Duration::ZERO, Duration::from_secs(2), Duration::ZERO)
    }

    /// Packets with these delays above the fastest path, in ms.
    fn arrive(target: &mut Target, delays: impl IntoIterator<Item = i64>) -> u128 {
        for delay in delays {
            target.on_arrival(5_000_000 + delay * 1000, 5_000_000, PACKET, Coming::InOrder);
        }
        target.delay().as_millis()
    }

    #[test]
    fn no_jitter_no_delay() {
        assert_eq!(arrive(&mut fresh(), [0; 1000]), 0);
    }

    #[test]
    fn jitter_is_covered_within_a_second() {
        let delay = arrive(&mut fresh(), (0..50).map(|n| n * 7 % 30));
        assert!(
            (20..=45).contains(&delay),
            "{delay} ms: all that came, and some more as long as little is known"
        );
    }

    #[test]
    fn one_outlier_of_any_height_is_not_held_for_long() {
        for height in [20, 50, 150, 400, 1000, 1900] {
            for before in [0, 10, 1000] {
                let mut target = fresh();
                arrive(&mut target, vec![0; before]);
                // All that was sent in the stall comes at its end.
                arrive(&mut target, (0..=height / 20).map(|n| height - n * 20));
                // In the first moments it might be the path's way; after that nothing is held at all.
                let delay = arrive(&mut target, vec![0; if before < 500 { 1000 } else { 50 }]);
                assert!(delay <= 5, "{delay} ms for {height} ms after {before} packets");
            }
        }
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut target = fresh();
        assert!(arrive(&mut target, (0..2000).map(|n| n * 7 % 100)) >= 80);
        assert_eq!(arrive(&mut target, [0; 50 * 40]), 0);
    }

    #[test]
    fn stragglers_are_waited_for_only_if_they_are_many() {
        let resend = |every: usize| {
            let mut target = fresh();
            for n in 0..3000 {
                target.on_arrival(5_000_000, 5_000_000, PACKET, Coming::InOrder);
                if n % every == 0 {
                    target.on_arrival(5_070_000, 5_000_000, PACKET, Coming::Straggling);
                }
            }
            target.delay().as_millis()
        };
        assert_eq!(resend(10), 70);
        assert_eq!(resend(1000), 0);
    }

    #[test]
    fn limits_hold() {
        let (min, max) = (Duration::from_millis(33), Duration::from_millis(77));
        let mut target = Target::new(Costs::default(), min, max, Duration::ZERO);
        assert_eq!(target.delay(), min);
        let delay = arrive(&mut target, (0..1000).map(|n| if n % 50 == 0 { 200 } else { 0 }));
        assert!((33..=77).contains(&delay), "{delay} ms");
        assert_eq!(arrive(&mut target, [0; 5000]), 33);
    }
}
