//! How packets get lost, from what feedback tells.
//!
//! Why: a plan is made for what is lost next, and three kinds of it want different ones. *Shares*: each packet has its own
//! luck, as in crowded air; the last seconds tell. *Beginnings and ends*: protection is to be there half a second after losses
//! begin, and gone soon after they end. *Outages*: a run that chance does not make; they are rare, so one is remembered for
//! long, for protection that is gone when the next comes is worth nothing and moves playout twice.
//!
//! Not here: what is done about it ([`super::plan`]).

use super::Loss;
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::Timestamp;

/// Meters how packets get lost, from what feedback tells.
#[derive(Clone, Debug, Default)]
pub struct LossMeter {
    /// When they were sent, and whether they were lost.
    packets: VecDeque<(Timestamp, bool)>,
    /// How many in a row were lost just now, and since when.
    run: (u64, Timestamp),
    /// The runs of losses in [`OUTAGES_FOR`].
    runs: VecDeque<Run>,
    /// When the first packet left.
    began: Option<Timestamp>,
    /// What to expect while little is known.
    expected: Expected,
}

/// What is remembered: so long, and so many packets, of which long ones tell less.
const MEMORY: Duration = Duration::from_secs(4);
const MEMORY_PACKETS: usize = 80;
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
/// The same, as if so many questions had told of it.
const EXPECTED_EXCHANGES: u64 = 3;

/// Packets lost in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    end: Timestamp,
    packets: u64,
    time: Duration,
    /// What chance it stands against: the losses around it.
    around: Around,
}

/// Losses, outages left out.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    /// Lost of a thousand.
    permille: u64,
    /// Of how many packets that is known.
    packets: u64,
}

impl Around {
    /// So many of a thousand may get lost where so many of these packets were: 2.5 standard deviations more (Wilson, 1927).
    /// A few packets tell little, and what is taken for an outage decides the plan for long.
    fn at_most(self) -> u64 {
        let packets = self.packets + EXPECTED_PACKETS;
        let variance = packets * self.permille * (1000 - self.permille) + 6_250_000 / 4;
        ((self.permille * packets + 3_125 + 5 * variance.isqrt() / 2) / (packets + 6)).min(1000)
    }
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
    /// To connect, so much was asked that was answered, and so much that was not: each a datagram there and one back.
    pub fn on_connected(&mut self, answered: u32, unanswered: u32) {
        let Expected(expected) = Expected::default();
        let returns = (1000 - u64::from(expected)).pow(2) / 1000;
        let answered = u64::from(answered) * 1000 + EXPECTED_EXCHANGES * returns;
        let asked = answered + u64::from(unanswered) * 1000 + EXPECTED_EXCHANGES * (1000 - returns);
        // There and back: the root of both.
        let came = (answered * 1_000_000 / asked).isqrt();
        self.expected = Expected(expected.max((1000 - came) as u16));
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
                around: Around::default(),
            });
            self.run.0 = 0;
        }
        self.began.get_or_insert(sent);
        self.packets.push_back((sent, lost));
        while self.packets.len() > MEMORY_PACKETS
            && self.packets.front().is_some_and(|&(at, _)| sent.since(at) > MEMORY)
        {
            self.packets.pop_front();
        }
        while self.runs.front().is_some_and(|run| sent.since(run.end) > OUTAGES_FOR) {
            self.runs.pop_front();
        }
        // Also what comes after a run tells what it stands against: losses that have just begun, and those that are over.
        let around = self.around();
        let oldest = self.oldest();
        for run in self.runs.iter_mut().rev().take_while(|run| run.end >= oldest) {
            run.around.permille = run.around.permille.max(around.permille);
            run.around.packets = run.around.packets.max(around.packets);
        }
    }

    /// What is to be expected. Shares are rounded, so that a plan is not made anew for every packet.
    pub fn loss(&self) -> Loss {
        let Expected(expected) = self.expected;
        let Some(&(newest, _)) = self.packets.back() else {
            return Loss { permille: expected, run: Duration::ZERO, guessed: true };
        };
        let (packets, lost) = count(self.packets.iter());
        let mut permille = self.share(newest, packets, lost);
        let mut run = self.mean_run();
        if let Some((share, length)) = self.outages(newest) {
            permille = permille.max(share);
            run = length;
        }
        if run.is_zero() && self.is_over(newest, permille) {
            permille = 0;
        }
        let step = if permille < 50 { 10 } else { 25 };
        let rounded = (permille.next_multiple_of(step).min(950)) as u16;
        Loss { permille: rounded, run, guessed: lost == 0 && packets < EXPECTED_PACKETS }
    }

    /// Since when packets are remembered.
    fn oldest(&self) -> Timestamp {
        self.packets.front().map_or(Timestamp::ZERO, |(at, _)| *at)
    }

    fn within(&self, newest: Timestamp, span: Duration) -> (u64, u64) {
        count(self.packets.iter().filter(|(at, _)| newest.since(*at) <= span))
    }

    /// Lost of a thousand, however they came, where `lost` of all the `packets` that are remembered were.
    fn share(&self, newest: Timestamp, packets: u64, lost: u64) -> u64 {
        let Expected(expected) = self.expected;
        let permille = (lost * 1000 + EXPECTED_PACKETS * u64::from(expected)) / (packets + EXPECTED_PACKETS);
        let (recent, recent_lost) = self.within(newest, RECENT);
        let runs = self.runs.iter().filter(|run| newest.since(run.end) <= RECENT).count();
        // Four standard deviations of what chance would make of the whole.
        let deviation = (recent * permille.max(10) * (1000 - permille.min(900))).isqrt();
        let begun = runs >= RECENT_RUNS && recent_lost * 1000 > recent * permille + 4 * deviation;
        if begun {
            return recent_lost * 1000 / recent.max(1);
        }
        if lost == 0 {
            return permille;
        }
        // Too little protection is heard, too much costs bytes: half a standard deviation more than was counted.
        permille + (permille * (1000 - permille) / (packets + EXPECTED_PACKETS)).isqrt() / 2
    }

    /// Whether losses of which `permille` are remembered have ended.
    fn is_over(&self, newest: Timestamp, permille: u64) -> bool {
        let clear = self.packets.iter().rev().take_while(|(_, lost)| !lost).count() as u64;
        let since = self.packets.iter().rev().find(|(_, lost)| *lost).map(|(at, _)| newest.since(*at));
        let before = self.runs.back().map_or(0, |run| run.around.permille).max(permille);
        match since {
            Some(since) => since >= CLEAR && clear * before >= 8_000,
            None => clear > EXPECTED_PACKETS,
        }
    }

    /// What outages there were make likely: lost of a thousand, what is lost beside them included, and how long they last.
    fn outages(&self, newest: Timestamp) -> Option<(u64, Duration)> {
        let outages = self.runs.iter().filter(|run| run.packets >= never_by_chance(run.around.at_most()));
        let (outage, squares) = outages.fold((OUTAGE, 2 * OUTAGE * OUTAGE), |(sum, squares), run| {
            let ms = run.time.as_millis() as u64;
            (sum + ms, squares + ms * ms)
        });
        if outage == OUTAGE {
            return None;
        }
        let known = newest.since(self.began.unwrap_or(newest)).min(OUTAGES_FOR).as_millis() as u64;
        let share = (outage + 2 * OUTAGE) * 1000 / (known + 3 * OUTAGE_PER);
        // By how they hit packets, of which long ones hit most: twice the mean, if they end by chance.
        let length = (squares / outage / 2).next_multiple_of(20).min(OUTAGE_MAX);
        Some((self.around().permille + share, Duration::from_millis(length)))
    }

    /// How long losses last that come in no single run too long for chance, but in longer ones than chance makes on average;
    /// zero if they do not.
    fn mean_run(&self) -> Duration {
        let (mut count, mut packets, mut time) = (0, 0, Duration::ZERO);
        // What chance makes of so many runs, in thousandths of a packet, and the variance of that in thousandths of a square.
        let (mut likely, mut variance) = (0, 0);
        for run in self.runs.iter().rev().take(RUNS) {
            let lost = run.around.at_most().min(900);
            (count, packets, time) = (count + 1, packets + run.packets, time + run.time);
            likely += 1_000_000 / (1000 - lost);
            variance += lost * 1_000_000 / (1000 - lost).pow(2);
        }
        // Nearly twice what is likely, and no luck: four standard deviations.
        let lucky = (likely + 4 * (variance * 1000).isqrt()).max(likely * 18 / 10);
        if count < RUNS_LEAST || packets * 1000 <= lucky {
            return Duration::ZERO;
        }
        Duration::from_millis((time.as_millis() as u64 / count).next_multiple_of(20))
    }

    /// Losses of late, those of outages left out.
    fn around(&self) -> Around {
        let (oldest, (packets, lost)) = (self.oldest(), count(self.packets.iter()));
        let beside = |likely: u64| {
            let least = never_by_chance(likely);
            let recent = self.runs.iter().rev().take_while(|run| run.end >= oldest);
            let gone: u64 = recent.map(|run| run.packets).filter(|packets| *packets >= least).sum();
            let packets = packets.saturating_sub(gone);
            let permille = lost.saturating_sub(gone) * 1000 / (packets + EXPECTED_PACKETS);
            Around { permille, packets }
        };
        // Twice, since outages make chance look greater than it is.
        beside(beside(lost * 1000 / packets.max(1)).permille)
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
        let meter_at_start = LossMeter::default();
        assert_eq!(meter_at_start.loss().permille, 80);
        assert_eq!(meter(100, |_| false).loss(), Loss::default());
    }

    #[test]
    fn what_it_took_to_connect_tells_of_the_first_losses() {
        let expected = |answered, unanswered| {
            let mut meter = LossMeter::default();
            meter.on_connected(answered, unanswered);
            meter.loss().permille
        };
        assert_eq!(expected(3, 0), 80, "it may have been luck");
        // Half the exchanges fail at 30 % loss, three of four at 50 %, nine of ten at 70 %.
        assert!((200..=300).contains(&expected(3, 4)), "{}", expected(3, 4));
        assert!((350..=500).contains(&expected(3, 10)), "{}", expected(3, 10));
        assert!((500..=700).contains(&expected(3, 27)), "{}", expected(3, 27));
    }

    #[test]
    fn one_outage_tells_of_more() {
        let loss = meter(220, |n| (200..208).contains(&n)).loss();
        assert!(loss.run >= Duration::from_millis(140), "{loss:?}");
        assert!((100..=250).contains(&loss.permille), "{loss:?}");
        let remembered = meter(1_000, |n| (200..208).contains(&n)).loss();
        assert_eq!(remembered.run, loss.run, "for longer than a share is");
        assert_eq!(meter(2_000, |n| (200..208).contains(&n)).loss(), Loss::default(), "but not for ever");
    }

    #[test]
    fn many_losses_leave_no_outage_behind() {
        for percent in [20, 40, 60] {
            for end in 410..700 {
                let lost = |n| (200..400).contains(&n) && draw(n) % 100 < percent;
                let loss = meter(end, lost).loss();
                assert_eq!(loss.run, Duration::ZERO, "{percent} %, {} ms after: {loss:?}", 20 * (end - 400));
                assert!(end < 480 || loss.permille == 0, "{percent} %: {loss:?}");
            }
        }
    }
}
