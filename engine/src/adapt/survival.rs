//! How many packets stay lost for all that protection does.
//!
//! Why: which protection is worth its bytes depends on how losses come, on how long the listener can wait and on how
//! much is sent again, and no table has room for all of it. The chances below are exact for losses that come as Gilbert's
//! two-state chain has them (1960), so that the choice rests on arithmetic.
//!
//! All chances are in millionths, all amounts of sent data in quarters of a packet: integers, so that every machine plans
//! alike.

use super::Loss;
use std::time::Duration;

/// A whole.
pub(super) const ONE: u64 = 1_000_000;
/// A packet, in the unit in which repair is counted.
const PACKET: usize = 4;

/// How packets of one length get lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channel {
    /// A packet is lost.
    lost: u64,
    /// So is the one after a lost one.
    again: u64,
    /// And the one after one that came.
    begins: u64,
}

impl Channel {
    /// What `loss` does to packets of this length: one that lasts for a time hits fewer of the long ones in a row.
    pub(super) fn new(loss: Loss, packet: Duration) -> Channel {
        let lost = (u64::from(loss.permille) * 1000).min(ONE - 10_000);
        let run = loss.run.as_micros() as u64;
        let again = match run {
            0 => lost,
            _ => ONE.saturating_sub(packet.as_micros() as u64 * ONE / run).max(lost),
        };
        let begins = if lost == 0 { 0 } else { lost * (ONE - again) / (ONE - lost) };
        Channel { lost, again, begins }
    }

    /// Share of packets lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Share of packets that are lost, and after which `packets` more are.
    pub(super) fn dark(&self, packets: usize) -> u64 {
        (0..packets).fold(self.lost, |share, _| share * self.again / ONE)
    }

    /// Share of packets that are lost and that a sliding-window code of `rate` quarter packets of repair a packet has not
    /// brought back after 0, 1, 2, … `window` more packets.
    ///
    /// As much must come as was lost: a loss adds a packet to what is missing, an arrival takes `rate` off it, and when
    /// nothing is missing all is back (RFC 8681's code over GF(256) needs a thousandth more). What is older than the
    /// window is given up.
    pub(super) fn unrepaired(&self, rate: usize, window: usize) -> Vec<u64> {
        let most = PACKET * (window + 1);
        // What is missing when a packet gets lost, the long run being reached after some windows.
        let mut good = vec![0; most + 1];
        let mut bad = vec![0; most + 1];
        good[0] = ONE - self.lost;
        bad[PACKET.min(most)] = self.lost;
        for _ in 0..2 * window {
            (good, bad) = self.step(&good, &bad, rate, most);
        }
        let mut lost = vec![0; most + 1];
        for (missing, (&good, &bad)) in good.iter().zip(&bad).enumerate() {
            let hit = (good * self.begins + bad * self.again) / ONE;
            lost[(missing + PACKET).min(most)] += hit;
        }
        let (mut good, mut bad) = (vec![0; most + 1], lost);
        let mut left = Vec::with_capacity(window + 1);
        for _ in 0..=window {
            left.push(good.iter().sum::<u64>() + bad.iter().sum::<u64>());
            (good, bad) = self.step(&good, &bad, rate, most);
            good[0] = 0; // back
        }
        left
    }

    /// One packet more: who came and who was lost, by how much is missing then.
    fn step(&self, good: &[u64], bad: &[u64], rate: usize, most: usize) -> (Vec<u64>, Vec<u64>) {
        let (mut good_next, mut bad_next) = (vec![0; most + 1], vec![0; most + 1]);
        for (missing, (&good, &bad)) in good.iter().zip(bad).enumerate() {
            let hit = (good * self.begins + bad * self.again) / ONE;
            bad_next[(missing + PACKET).min(most)] += hit;
            good_next[missing.saturating_sub(rate)] += good + bad - hit;
        }
        (good_next, bad_next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(permille: u16) -> Channel {
        Channel::new(Loss { permille, ..Loss::default() }, Duration::from_millis(20))
    }

    #[test]
    fn without_repair_all_losses_stay() {
        for share in random(300).unrepaired(0, 5) {
            assert!((299_000..=300_000).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_copy_of_all_the_window_fails_only_if_all_carriers_are_lost() {
        // Repair of as many packets as the window has: one arrival brings everything back.
        let left = random(300).unrepaired(4 * 5, 4);
        for (packets, share) in (0..).zip(&left) {
            let expected = (0.3f64.powi(packets + 1) * 1e6) as u64;
            assert!(share.abs_diff(expected) < 200, "{packets}: {share} and {expected}");
        }
    }

    #[test]
    fn more_repair_and_more_patience_leave_less() {
        let channel = random(300);
        let left: Vec<_> = [2, 4, 8, 16].map(|rate| channel.unrepaired(rate, 12)).into();
        for pair in left.windows(2) {
            assert!(pair[1][12] < pair[0][12] && pair[1][3] < pair[0][3]);
        }
        for steps in left.iter().flat_map(|left| left.windows(2)) {
            assert!(steps[1] <= steps[0]);
        }
        assert!(left[1][12] < 30_000, "as much repair as speech: {left:?}");
    }

    #[test]
    fn long_runs_outlast_short_windows() {
        let outage = Loss { permille: 200, run: Duration::from_millis(200), guessed: false };
        let short = Channel::new(outage, Duration::from_millis(20));
        let long = Channel::new(outage, Duration::from_millis(120));
        assert!(short.unrepaired(8, 5)[5] > 2 * random(200).unrepaired(8, 5)[5]);
        assert_eq!((short.again, long.again), (900_000, 400_000));
        assert!(short.dark(5) > 100_000 && random(200).dark(5) < 1000);
    }

    #[test]
    fn nothing_lost_is_nothing_missing() {
        assert_eq!(random(0).unrepaired(4, 3), [0; 4]);
    }
}
