//! Keeps a plan until there is good reason for another, and the loss that plans are made for.

use super::{Loss, Path, Plan, plan, plan_near};
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::Timestamp;

/// Keeps a plan until there is good reason for another.
///
/// A worse path is answered at once: every packet that is too many fills a queue, and every loss without protection is
/// heard. Packet time and patience move only for what is clearly better.
#[derive(Clone, Debug)]
pub struct Planner {
    current: Plan,
    path: Path,
    considered: Timestamp,
    /// How long the listener waits, and since when it need not wait so long.
    held: (Duration, Timestamp),
}

/// As long as a listener stays with a wait that is longer than it need be (`receiver::audio::patience`), it costs nothing.
const HELD_FOR: Duration = Duration::from_secs(20);

/// A path that has not changed for the worse is considered again after so long.
const INTERVAL: Duration = Duration::from_millis(200);

impl Planner {
    /// Begins with the plan for `path`.
    pub fn new(path: &Path) -> Planner {
        Planner { current: plan(path), path: *path, considered: Timestamp::ZERO, held: Default::default() }
    }

    /// The plan in force.
    pub fn current(&self) -> Plan {
        self.current
    }

    /// Keeps to this plan, whatever the path is.
    pub fn set(&mut self, plan: Plan) {
        self.current = plan;
    }

    /// Reconsiders; returns the plan now in force.
    pub fn update(&mut self, now: Timestamp, path: &Path) -> Plan {
        let dear = self.current.cost(path.overhead) > path.budget;
        let worse = path.loss.permille > self.path.loss.permille + 10;
        let due = now.since(self.considered) >= INTERVAL;
        if *path == self.path || !(due || dear || worse) {
            return self.current;
        }
        self.considered = now;
        self.path = *path;
        let (held, since) = self.held;
        let held =
            if path.loss.permille == 0 || now.since(since) >= HELD_FOR { Duration::ZERO } else { held };
        self.current = plan_near(path, Some(&self.current), held);
        if self.current.patience >= held {
            self.held = (self.current.patience, now);
        }
        self.current
    }
}

/// Meters how packets get lost, from what feedback tells.
#[derive(Clone, Debug, Default)]
pub struct LossMeter {
    /// When they were sent, and whether they were lost.
    packets: VecDeque<(Timestamp, bool)>,
    /// How many in a row were lost just now, and since when.
    run: (u64, Timestamp),
    /// The runs of losses in [`OUTAGES_FOR`].
    runs: VecDeque<Run>,
    began: Option<Timestamp>,
    /// What to expect while little is known.
    expected: Expected,
}

/// What is remembered.
const MEMORY: Duration = Duration::from_secs(4);
/// If this holds far more losses than chance makes of the rest, it counts alone: protection is to be there half a second
/// after losses begin. Several runs of them: one long one is an outage, and over when it is known of.
const RECENT: Duration = Duration::from_millis(700);
const RECENT_RUNS: usize = 4;
/// If so long has passed without a loss, where many would have been, losses are over; those in runs pause by nature.
const CLEAR: Duration = Duration::from_millis(1_500);
/// Lost of a thousand, before anything is known, as if so many packets had told of it: the first losses of a call are heard
/// like any other, and a second of protection costs little.
#[derive(Clone, Copy, Debug)]
struct Expected(u16);

impl Default for Expected {
    fn default() -> Expected {
        Expected(80)
    }
}

const EXPECTED_PACKETS: u64 = 16;
/// Packets lost in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    end: Timestamp,
    packets: u64,
    time: Duration,
    /// Lost of a thousand around it, outages left out: what chance it stands against.
    around: u64,
}

/// Runs over which their mean is taken, and how many there must be.
const RUNS: usize = 16;
const RUNS_LEAST: u64 = 6;

/// Outages come again within so long, or not at all. They are rare, and each plan that does not expect one makes playout
/// move twice.
const OUTAGES_FOR: Duration = Duration::from_secs(30);
/// They are expected to be as if, before the first that was seen, three had been so long, in ms, one in so many ms: playout
/// is to move once, and far enough.
const OUTAGE: u64 = 200;
const OUTAGE_PER: u64 = 1_000;
/// Longer ones are bridged by no plan: it is made for those that can be.
const OUTAGE_MAX: u64 = 240;

impl LossMeter {
    /// Finding each other took so long that something must have been lost, or, if `very` long, about every second packet.
    pub fn on_rough_start(&mut self, very: bool) {
        self.expected = Expected(if very { 500 } else { 200 });
    }

    /// A packet was lost or came; told in the order of sending.
    pub fn on_packet(&mut self, sent: Timestamp, lost: bool) {
        if lost {
            if self.run.0 == 0 {
                self.run.1 = sent;
            }
            self.run.0 += 1;
        } else if self.run.0 > 0 {
            self.runs.push_back(Run {
                end: sent,
                packets: self.run.0,
                time: sent.since(self.run.1),
                around: 0,
            });
            self.run.0 = 0;
        }
        self.began.get_or_insert(sent);
        self.packets.push_back((sent, lost));
        while self.packets.front().is_some_and(|&(at, _)| sent.since(at) > MEMORY) {
            self.packets.pop_front();
        }
        while self.runs.front().is_some_and(|run| sent.since(run.end) > OUTAGES_FOR) {
            self.runs.pop_front();
        }
        // Also what comes after a run tells what it stands against: losses that have just begun, and those that are over.
        let around = self.around(sent);
        for run in self.runs.iter_mut().rev().take_while(|run| sent.since(run.end) <= MEMORY) {
            run.around = run.around.max(around);
        }
    }

    /// What is to be expected. Shares are rounded, so that a plan is not made anew for every packet.
    pub fn loss(&self) -> Loss {
        let Expected(expected) = self.expected;
        let Some(&(newest, _)) = self.packets.back() else {
            return Loss { permille: expected, run: Duration::ZERO };
        };
        let within = |span: Duration| self.packets.iter().filter(move |(at, _)| newest.since(*at) <= span);
        let (packets, lost) = count(within(MEMORY));
        let mut permille =
            (lost * 1000 + EXPECTED_PACKETS * u64::from(expected)) / (packets + EXPECTED_PACKETS);
        let (recent, recent_lost) = count(within(RECENT));
        let runs = self.runs.iter().filter(|run| newest.since(run.end) <= RECENT).count();
        // Five standard deviations of what chance would make of the whole.
        let chance = recent * permille / 1000;
        let deviation = (recent * permille.max(10) * (1000 - permille.min(900))).isqrt() / 1000;
        if runs >= RECENT_RUNS && recent_lost > chance + 5 * deviation {
            permille = recent_lost * 1000 / recent.max(1);
        }
        let chance = self.around(newest);
        let outages = self.runs.iter().filter(|run| run.packets >= never_by_chance(run.around));
        let (outage, squares) = outages.fold((OUTAGE, 2 * OUTAGE * OUTAGE), |(sum, squares), run| {
            let ms = run.time.as_millis() as u64;
            (sum + ms, squares + ms * ms)
        });
        let mut run = self.mean_run();
        if outage > OUTAGE {
            // By how they hit packets, of which long ones hit most: twice the mean, if they end by chance.
            run = Duration::from_millis((squares / outage / 2).next_multiple_of(20).min(OUTAGE_MAX));
            let known = newest.since(self.began.unwrap_or(newest)).min(OUTAGES_FOR).as_millis() as u64;
            permille = permille.max(chance + (outage + 2 * OUTAGE) * 1000 / (known + 3 * OUTAGE_PER));
        }
        let (clear, clear_lost) = count(within(CLEAR));
        let before = self.runs.back().map_or(0, |run| run.around).max(permille);
        if run.is_zero() && clear_lost == 0 && clear * before >= 5_000 {
            permille = 0;
        }
        if run.is_zero() && lost == 0 && packets > EXPECTED_PACKETS {
            permille = 0;
        }
        let step = if permille < 50 { 10 } else { 25 };
        let rounded = (permille.next_multiple_of(step).min(950)) as u16;
        Loss { permille: rounded, run }
    }

    /// How long losses last that come in no single run too long for chance, but in longer ones than chance makes on average;
    /// zero if they do not.
    fn mean_run(&self) -> Duration {
        let recent = self.runs.iter().rev().take(RUNS);
        // In tenths of what chance makes: 1 / (1 − share).
        let (count, tenths, time) = recent.fold((0, 0, Duration::ZERO), |(count, tenths, time), run| {
            let lucky = 1000 - run.around.min(900);
            (count + 1, tenths + run.packets * 10 * lucky / 1000, time + run.time)
        });
        if count < RUNS_LEAST || tenths <= 18 * count {
            return Duration::ZERO;
        }
        Duration::from_millis((time.as_millis() as u64 / count).next_multiple_of(20))
    }

    /// Lost of a thousand packets in [`MEMORY`], those of outages left out.
    fn around(&self, newest: Timestamp) -> u64 {
        let (packets, lost) = count(self.packets.iter());
        let beside = |likely: u64| {
            let least = never_by_chance(likely);
            let recent = self.runs.iter().rev().take_while(|run| newest.since(run.end) <= MEMORY);
            let gone: u64 = recent.map(|run| run.packets).filter(|packets| *packets >= least).sum();
            lost.saturating_sub(gone) * 1000 / (packets.saturating_sub(gone) + EXPECTED_PACKETS)
        };
        // Twice, since outages make chance look greater than it is.
        beside(beside(lost * 1000 / packets.max(1)))
    }
}

/// So many packets in a row are lost less than once in an hour of calls where so many of a thousand get lost, each by its
/// own luck: one such run is an outage, and decides the plan for long.
fn never_by_chance(permille: u64) -> u64 {
    let permille = permille.clamp(50, 950);
    let (mut chance, mut packets) = (200_000_000, 0);
    // Of 200 000 packets.
    while chance >= 1000 {
        chance = chance * permille / 1000;
        packets += 1;
    }
    packets
}

fn count<'a>(packets: impl Iterator<Item = &'a (Timestamp, bool)>) -> (u64, u64) {
    packets.fold((0, 0), |(count, lost), (_, gone)| (count + 1, lost + u64::from(*gone)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::{Peer, Protection};
    use undertone_media::{Bitrate, DataSize};

    fn path(kbps: u64, permille: u16) -> Path {
        Path {
            budget: Bitrate::from_kbps(kbps),
            overhead: DataSize::from_bytes(56),
            loss: Loss { permille, run: Duration::ZERO },
            delay: Some(Duration::from_millis(37)),
            slack: Duration::from_millis(400),
            peer: Peer { code: true, copies: true, redundancy: true },
        }
    }

    #[test]
    fn worse_is_answered_at_once() {
        let mut planner = Planner::new(&path(95, 0));
        let lossy = planner.update(Timestamp::from_millis(20), &path(95, 200));
        assert!(matches!(lossy.protection, Protection::Code { .. }));
        let thin = planner.update(Timestamp::from_millis(40), &path(30, 200));
        assert!(thin.cost(DataSize::from_bytes(56)) <= Bitrate::from_kbps(30));
        let wide = planner.update(Timestamp::from_millis(60), &path(95, 200));
        assert_eq!(wide, thin, "better can wait a moment");
        assert_ne!(planner.update(Timestamp::from_millis(400), &path(95, 200)), thin);
    }

    /// Packets of 20 ms, of which `lost` tells the fate.
    fn meter(packets: u64, lost: impl Fn(u64) -> bool) -> LossMeter {
        let mut meter = LossMeter::default();
        (0..packets).for_each(|n| meter.on_packet(Timestamp::from_millis(20 * n), lost(n)));
        meter
    }

    /// Chance, as far as a hash is.
    fn draw(n: u64) -> u64 {
        (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    }

    #[test]
    fn each_packet_its_own_luck() {
        for percent in [5, 20, 50] {
            let loss = meter(400, |n| draw(n) % 100 < percent).loss();
            assert_eq!(loss.run, Duration::ZERO, "{percent} %: {loss:?}");
            let expected = 10 * percent as i32;
            assert!(
                (i32::from(loss.permille) - expected).abs() <= 30 + expected / 5,
                "{percent} %: {loss:?}"
            );
        }
    }

    #[test]
    fn runs_are_told_from_chance() {
        let loss = meter(400, |n| n % 50 < 5).loss();
        assert!((80..=125).contains(&loss.permille), "{loss:?}");
        assert_eq!(loss.run, Duration::from_millis(100));
    }

    #[test]
    fn a_beginning_is_noticed_within_a_second_and_an_end_soon() {
        let begun = meter(450, |n| n >= 400 && draw(n) % 100 < 40).loss();
        assert!(begun.permille >= 250, "{begun:?}");
        let ended = meter(490, |n| n < 400 && draw(n) % 100 < 40).loss();
        assert_eq!(ended, Loss::default());
    }

    #[test]
    fn what_nobody_knows_yet_is_expected_to_be_a_little() {
        let mut meter_at_start = LossMeter::default();
        assert_eq!(meter_at_start.loss().permille, 80);
        assert_eq!(meter(100, |_| false).loss(), Loss::default());
        meter_at_start.on_rough_start(false);
        assert_eq!(meter_at_start.loss().permille, 200);
        meter_at_start.on_rough_start(true);
        assert_eq!(meter_at_start.loss().permille, 500);
    }
}
