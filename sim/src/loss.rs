//! Which datagrams a link loses.
//!
//! Why: two engines can be compared only if the link treats packet `n` of a direction alike whatever was
//! sent, so every draw depends on the seed, the direction and the packet's number and on nothing else.
//!
//! The model is the two-state chain of Gilbert (1960) and Elliott (1963): in the good state nothing is
//! lost, in the bad state everything is. It steps once a packet for loss in bursts, and once a millisecond
//! for outages, which hit the same stretches of time whatever the packet rate is.
//!
//! Not here: datagrams that a full queue drops (`queue`).

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::fmt;
use undertone_media::Timestamp;

/// A share of a whole, in millionths, so that comparing it with a draw needs no float.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    /// None of it.
    pub const ZERO: Share = Share(0);
    /// All of it.
    pub const ALL: Share = Share(1_000_000);

    /// So many millionths; more than a whole is a whole.
    pub const fn from_ppm(ppm: u32) -> Share {
        Share(if ppm > 1_000_000 { 1_000_000 } else { ppm })
    }

    /// So many percent, as people give it, rounded to a millionth and held within 0 and 100.
    pub fn from_percent(percent: f64) -> Share {
        Share((percent.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }

    /// In millionths.
    pub const fn as_ppm(self) -> u32 {
        self.0
    }

    /// In percent, for people.
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.as_percent())
    }
}

/// Stretches of time in which everything is lost, as in a tunnel or under interference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// How long the link works, on average, in whole milliseconds; at least 1.
    pub good_ms: u32,
    /// How long it is out, on average, in whole milliseconds; at least 1.
    pub bad_ms: u32,
}

/// One link direction's source of random numbers for one purpose.
///
/// ChaCha (RFC 8439's function, 8 rounds) as a counter: draw `n` of a stream is a function of seed and `n`.
#[derive(Clone, Debug)]
pub struct Draws(ChaCha8Rng);

/// What a stream of draws decides. Apart, so that turning jitter on does not move a single loss.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Which datagrams get lost.
    Loss = 0,
    /// When all of them do.
    Outage = 1,
    /// How much longer they take.
    Jitter = 2,
    /// How often a radio sends them again.
    Retry = 3,
    /// When all of them wait.
    Stall = 4,
    /// What others send over the link.
    Traffic = 5,
}

impl Draws {
    /// The draws of one direction for one purpose.
    pub fn new(seed: u64, direction: u64, purpose: Purpose) -> Draws {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&direction.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(purpose as u64);
        Draws(rng)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// The next draw scaled to `0..=most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        ((u128::from(self.next()) * (u128::from(most) + 1)) >> 64) as u64
    }
}

/// One whole in the fixed point that probabilities are compared in; draws are 32 bits of this.
const ONE: u64 = 1 << 32;

/// Two states, and how likely the bad one comes next after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chain {
    bad_after_good: u64,
    bad_after_bad: u64,
}

impl Chain {
    /// The chain that is bad for `share` of its steps in the long run, in runs of `mean_run` on average.
    ///
    /// Independent draws already make runs of 1 / (1 − share): a shorter mean means just that, and gives
    /// exactly Bernoulli loss.
    fn new(share: Share, mean_run: u32) -> Chain {
        let (bad, good) = (u64::from(share.0), u64::from(Share::ALL.0 - share.0));
        // At the ends there is no way out of a state by itself, so a change must not leave one stuck in it.
        if bad == 0 || good == 0 {
            let always = if bad == 0 { 0 } else { ONE };
            return Chain { bad_after_good: always, bad_after_bad: always };
        }
        let independent = ONE * bad / u64::from(Share::ALL.0);
        let leave = (ONE / u64::from(mean_run.max(1))).min(ONE - independent);
        // In balance as many steps enter the bad state as leave it: good · enter = bad · leave.
        Chain { bad_after_good: leave * bad / good, bad_after_bad: ONE - leave }
    }

    fn step(self, bad: bool, draw: u64) -> bool {
        draw >> 32 < if bad { self.bad_after_bad } else { self.bad_after_good }
    }
}

/// Loss by packet number.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    draws: Draws,
    chain: Chain,
    share: Share,
    burst: u32,
    /// `None` before the first packet, whose state is drawn from the long run's shares.
    bad: Option<bool>,
}

impl Loss {
    pub(crate) fn new(seed: u64, direction: u64, share: Share, burst: u32) -> Loss {
        let draws = Draws::new(seed, direction, Purpose::Loss);
        Loss { draws, chain: Chain::new(share, burst), share, burst, bad: None }
    }

    /// What follows keeps its place in the draws: a change does not shift later packets' luck.
    pub(crate) fn set_share(&mut self, share: Share) {
        self.share = share;
        self.chain = Chain::new(share, self.burst);
    }

    pub(crate) fn set_burst(&mut self, burst: u32) {
        self.burst = burst;
        self.chain = Chain::new(self.share, burst);
    }

    /// Whether the next packet is lost. Called once for each packet that is offered, lost or not.
    pub(crate) fn next_is_lost(&mut self) -> bool {
        let draw = self.draws.next();
        let lost = match self.bad {
            None => Chain::new(self.share, 1).step(false, draw),
            Some(bad) => self.chain.step(bad, draw),
        };
        self.bad = Some(lost);
        lost
    }
}

/// Loss by time: the chain steps once a millisecond and begins in the good state.
#[derive(Clone, Debug)]
pub(crate) struct Outages {
    draws: Draws,
    chain: Option<Chain>,
    bad: bool,
    /// The millisecond that `bad` speaks of.
    at_ms: u64,
}

impl Outages {
    pub(crate) fn new(seed: u64, direction: u64, outage: Option<Outage>) -> Outages {
        let draws = Draws::new(seed, direction, Purpose::Outage);
        Outages { draws, chain: outage.map(Outages::chain), bad: false, at_ms: 0 }
    }

    fn chain(outage: Outage) -> Chain {
        Chain {
            bad_after_good: ONE / u64::from(outage.good_ms.max(1)),
            bad_after_bad: ONE - ONE / u64::from(outage.bad_ms.max(1)),
        }
    }

    /// From `now` on the link has these outages, beginning in the good state.
    pub(crate) fn set(&mut self, now: Timestamp, outage: Option<Outage>) {
        self.is_out(now);
        self.chain = outage.map(Outages::chain);
        self.bad = false;
    }

    /// Whether the link is out at `now`, which never goes back.
    pub(crate) fn is_out(&mut self, now: Timestamp) -> bool {
        let now_ms = now.as_micros() / 1000;
        let Some(chain) = self.chain else {
            self.at_ms = now_ms;
            return false;
        };
        while self.at_ms < now_ms {
            self.at_ms += 1;
            self.bad = chain.step(self.bad, self.draws.next());
        }
        self.bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(share: Share, burst: u32, packets: usize) -> Vec<bool> {
        let mut loss = Loss::new(7, 0, share, burst);
        (0..packets).map(|_| loss.next_is_lost()).collect()
    }

    fn share_and_mean_run(lost: &[bool]) -> (f64, f64) {
        let total = lost.iter().filter(|&&l| l).count() as f64;
        let runs = (0..lost.len()).filter(|&i| lost[i] && (i == 0 || !lost[i - 1])).count() as f64;
        (total / lost.len() as f64, total / runs)
    }

    #[test]
    fn long_run_share_and_mean_burst_are_what_was_asked_for() {
        for (percent, burst) in [(1.0, 3), (10.0, 5), (30.0, 2), (50.0, 10), (80.0, 20)] {
            let (share, run) = share_and_mean_run(&losses(Share::from_percent(percent), burst, 3_000_000));
            assert!((share * 100.0 / percent - 1.0).abs() < 0.06, "{percent} %, {burst}: {share}");
            assert!((run / f64::from(burst) - 1.0).abs() < 0.06, "{percent} %, {burst}: run {run}");
        }
    }

    #[test]
    fn a_burst_of_one_is_independent_loss() {
        for percent in [10.0, 50.0, 70.0] {
            let (share, run) = share_and_mean_run(&losses(Share::from_percent(percent), 1, 200_000));
            assert!((share * 100.0 / percent - 1.0).abs() < 0.03, "{percent} %: {share}");
            let chance = 1.0 / (1.0 - percent / 100.0);
            assert!((run / chance - 1.0).abs() < 0.03, "{percent} %: run {run}");
        }
    }

    #[test]
    fn more_loss_loses_the_same_packets_and_others() {
        let (few, many) =
            (losses(Share::from_percent(5.0), 1, 5000), losses(Share::from_percent(20.0), 1, 5000));
        assert!(few.iter().zip(&many).all(|(few, many)| !few || *many));
    }

    #[test]
    fn none_and_all() {
        assert!(losses(Share::ZERO, 5, 1000).iter().all(|l| !l));
        assert!(losses(Share::ALL, 5, 1000).iter().all(|l| *l));
    }

    #[test]
    fn a_burst_ends_when_loss_is_switched_off() {
        let mut loss = Loss::new(7, 0, Share::ALL, 50);
        assert!((0..10).all(|_| loss.next_is_lost()));
        loss.set_share(Share::ZERO);
        assert!((0..100).all(|_| !loss.next_is_lost()));
    }

    #[test]
    fn outages_last_as_long_as_asked_and_do_not_depend_on_the_packet_rate() {
        let outage = Some(Outage { good_ms: 900, bad_ms: 100 });
        let out = |step_ms: u64| -> Vec<bool> {
            let mut outages = Outages::new(3, 1, outage);
            (0..2_000_000)
                .step_by(step_ms as usize)
                .map(|ms| outages.is_out(Timestamp::from_millis(ms)))
                .collect()
        };
        let each = out(1);
        let (share, run) = share_and_mean_run(&each);
        assert!((share - 0.1).abs() < 0.01, "{share}");
        assert!((run - 100.0).abs() < 6.0, "{run}");
        assert!(out(20).iter().enumerate().all(|(i, &bad)| bad == each[i * 20]));
    }
}
