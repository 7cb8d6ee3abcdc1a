//! How fast to send: an estimate of what the path carries, from delay and loss.
//!
//! Why: a queue in the bottleneck is delay for everything behind it, so the estimate keeps the queue short
//! rather than the link full. [`DelayLoss`] is simple enough to follow by hand:
//!
//! - The standing queue (`queue`) above its threshold: the rate falls to what arrives, less what it takes to
//!   drain the queue in 400 ms. Only packets sent after a cut are judged for the next.
//! - No queue: the rate grows, slowly near the rate at which a queue last showed, and elsewhere ever faster the
//!   longer none shows; but not far beyond what the application sends, since that would prove nothing.
//! - Losses (`loss`) beyond what the path is known to lose: a trial tells congestion from radio.
//! - A queue that giving way does not shorten is others': then losses alone count (`contest`).
//! - No feedback: the rate falls step by step, and most of it is tried again when the stall is over.
//! - Where more is wanted than is sent, a few packets ask whether the path carries it (`probe`).
//! - On a thin path large packets take visibly longer, which tells its rate (`slope`): no more is tried.
//!
//! All arithmetic is in integers, so a run repeats exactly on any machine.
//!
//! Not here: when packets leave (`pacer`), what arrived (`feedback`), who gets which share (the engine).

mod aimd;
mod contest;
mod loss;
mod probe;
mod queue;
mod rate;
mod slope;

pub use aimd::Aimd;
use contest::{Contest, Suspicion};
use loss::{LossMeter, Verdict};
pub use probe::{Cluster, Wanted};
use probe::{Found, Prober};
use queue::{QueueMeter, Standing};
use rate::RateMeter;
use slope::SlopeMeter;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived, at this time of the receiver's clock, whose offset is unknown.
    Arrived(Timestamp),
    /// It was lost.
    Lost,
    /// No report told: the one that would have was lost itself.
    Untold,
}

/// One packet, after feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it was sent.
    pub sent: Timestamp,
    /// Its size on the wire, headers included.
    pub size: DataSize,
    /// What became of it.
    pub fate: Fate,
}

/// Why the estimate is what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was heard yet.
    #[default]
    Start,
    /// The path carries all that is sent: more is tried.
    Increase,
    /// Packets sent to ask arrived without a queue: so much is carried.
    Probe,
    /// The application sends so little that more would prove nothing.
    AppLimited,
    /// The queue drains, or a trial is under way.
    Hold,
    /// A queue stood: less.
    Delay,
    /// More than usual was lost: less.
    Loss,
    /// No feedback comes: less.
    Silence,
    /// Others fill the queue, whatever we do: only losses count.
    Contest,
}

/// The estimator's view, for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Why the estimate is what it is.
    pub reason: Reason,
    /// What arrived lately.
    pub acked: Bitrate,
    /// The standing queue.
    pub queue: Duration,
    /// Share of packets lost lately, in thousandths.
    pub loss_permille: u32,
    /// The rate has been lowered to see whether the losses end, which tells only if it is kept to.
    pub on_trial: bool,
    /// How often packets were sent to ask for more.
    pub probes: u32,
}

/// A congestion controller.
pub trait Cc {
    /// A packet leaves; `size` counts its headers.
    fn on_sent(&mut self, now: Timestamp, size: DataSize);
    /// Feedback told what became of packets, in the order they were sent.
    fn on_feedback(&mut self, now: Timestamp, outcomes: &[Outcome], rtt: Option<Duration>);
    /// Time passes. Call it at least every 100 ms while sending.
    fn on_tick(&mut self, now: Timestamp);
    /// How much may be sent, everything on the wire counted.
    fn estimate(&self) -> Bitrate;
    /// Why.
    fn state(&self) -> State;
    /// What the application would send if the path carried it.
    fn want(&mut self, _wanted: Wanted) {}
    /// A cluster of packets that is to leave now, with padding where there is no media, to ask for more. Ask again after each
    /// packet; only whoever can send padding asks.
    fn probe(&mut self, _now: Timestamp) -> Option<Cluster> {
        None
    }
    /// The path may be another one from now on.
    fn on_route_change(&mut self) {}
}

/// Settings of a [`DelayLoss`] controller.
#[derive(Clone, Debug)]
pub struct Config {
    /// First estimate. Default 300 kbit/s: enough for a small picture, little enough for a weak uplink to
    /// survive the first half second.
    pub start: Bitrate,
    /// What the path was seen to carry before there was any media. Default none.
    pub carries: Option<Bitrate>,
    /// There are signs that the path may be thin: more is tried with care. Default false.
    pub doubtful: bool,
    /// Never less. Default 10 kbit/s: below this no speech gets through anyway.
    pub min: Bitrate,
    /// Never more. Default 5 Mbit/s.
    pub max: Bitrate,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            start: Bitrate::from_kbps(300),
            carries: None,
            doubtful: false,
            min: Bitrate::from_kbps(10),
            max: Bitrate::from_kbps(5000),
        }
    }
}

/// A found queue should drain in so long; a cut is at least so large, and at most, in thousandths.
const DRAIN_MICROS: i64 = 400_000;
const CUT_LEAST: i64 = 80;
const CUT_MOST: i64 = 750;
/// Growth in thousandths per second: just after a cut, and at most. It doubles so often, or every two times the time after
/// which a queue shows, as long as none does.
const GROWTH_MIN: u64 = 40;
const GROWTH_MAX: u64 = 1000;
const GROWTH_DOUBLES: Duration = Duration::from_millis(400);
/// The most before anything was found full: too much shows after a round trip, too little is seen by everybody.
const GROWTH_FIRST: u64 = 2000;
/// After a probe, which has told what there is to hurry for.
const GROWTH_ASKED: u64 = 250;
/// Where more than this, of a thousand, gets lost, a queue is seen too late for that.
const MANY_LOST: u64 = 50;
/// Where so many get lost, pictures and their repairs come by fits and starts: a queue that has drained since the last cut is
/// a new one.
const GAPPY: u64 = 150;
/// Near the rate at which the path was full, growth is so much a second, whoever it is: flows that share it come to even
/// parts, as small ones gain as much as large ones between two cuts by shares. Small rates grow by a tenth at most.
const NEAR_GROWTH: Bitrate = Bitrate::from_kbps(28);
const NEAR_GROWTH_MOST: u64 = 100;
/// The estimate grows no further than this much of what is sent, in thousandths, and an allowance.
const SENT_PERMILLE: u64 = 1600;
const ALLOWANCE: Bitrate = Bitrate::from_kbps(20);
/// A path that carries less is thin, and is tried with care for so long after it was found full.
pub(crate) const THIN: Bitrate = Bitrate::from_kbps(64);
const THIN_FOR: Duration = Duration::from_secs(20);
/// How much of a thin path whose rate is known may be filled.
const FULL_PERMILLE: u64 = 920;
/// A path that was full is expected to be full at the same rate, give or take so much in thousandths, for so long.
const NEAR_FULL: u64 = 850;
const PAST_FULL: u64 = 1050;
const FULL_FOR: Duration = Duration::from_secs(20);
/// Where so long a queue stands and so little arrives of what connecting showed, in thousandths, the path has changed.
const CHANGED_QUEUE_MICROS: i64 = 100_000;
const CHANGED_PERMILLE: u64 = 850;
/// Where packets show so much more, in thousandths, too.
const WIDER_PERMILLE: u64 = 2_500;
/// How long what the path carried says what it carries.
const CARRIED_FOR: Duration = Duration::from_secs(10);
/// A queue up to this long leaves time between two cuts.
const PATIENT_MICROS: i64 = 80_000;
const CUT_APART: Duration = Duration::from_millis(1500);
/// A queue that still stands so soon after a cut asks for more than that.
const CUT_AGAIN: Duration = Duration::from_secs(3);
/// What a cut does is to be seen before more is asked for.
const PROBE_AFTER_CUT: Duration = Duration::from_millis(1000);
/// Nor is more asked for where the path was full lately, until it has turned out to carry so much more, in thousandths.
const PROBE_PAST_FULL: u64 = 1_400;
/// What is found is worth so much more, in thousandths: growth does the rest.
const PROBE_GAINS: u64 = 1_100;
/// Losses without a queue are the path's own while no more than this is sent: speech and its protection.
const TRIAL_ABOVE: Bitrate = Bitrate::from_kbps(160);
/// No feedback for four times as long as usual is a sign of trouble, within these bounds, and again after each step: what is sent
/// into a stall waits there, and all that comes after it behind that.
const SILENCE_LEAST: Duration = Duration::from_millis(250);
const SILENCE: Duration = Duration::from_millis(1500);
const SILENCE_STEP: Duration = Duration::from_millis(100);
/// What is left after the first step, and after each of the others, in thousandths.
const SILENCE_KEEP: u64 = 500;
const SILENCE_KEEP_ON: u64 = 800;
/// When the stall is over and its queue drained, so much of what was sent before is tried again, in thousandths.
const RESUME_PERMILLE: u64 = 700;
/// After so many cuts that changed nothing, the delay is the path's own.
const STUBBORN_MAX: u32 = 3;

/// The first controller: see the module.
#[derive(Debug)]
pub struct DelayLoss {
    config: Config,
    estimate: Bitrate,
    growth: u64,
    queue: QueueMeter,
    loss: LossMeter,
    slope: SlopeMeter,
    prober: Prober,
    sent: RateMeter,
    acked: RateMeter,
    /// Packets sent before this saw the rate before the last cut.
    cut: Timestamp,
    /// When it was cut for a queue last.
    queue_cut: Option<Timestamp>,
    /// It was long enough ago, and no queue stands any more.
    drained: bool,
    /// What arrived when a queue stood last, which is what the path carried then, and when that was.
    carried: Option<(Bitrate, Timestamp)>,
    /// What was sent for that, by and large, and kept.
    full: Option<(Bitrate, Timestamp)>,
    /// When losses turned out to be congestion: what drops at a rate lets a few packets pass at any.
    dropped: Option<Timestamp>,
    /// The estimate before a trial lowered it.
    before_trial: Option<Bitrate>,
    /// Whether giving way helps, and what is sent while it does not.
    suspicion: Suspicion,
    contest: Option<Contest>,
    /// The queue at the last cut, and how many cuts in a row left it as it was.
    stubborn: (i64, u32),
    updated: Option<Timestamp>,
    /// What connecting showed, until the path turns out to be different.
    carries: Option<Bitrate>,
    /// By which the time that packets themselves take is reckoned.
    own_rate: Option<Bitrate>,
    /// What is known of a thin path.
    most: Option<(Bitrate, Bitrate)>,
    /// Since when packets have been sent without an answer.
    unanswered: Option<Timestamp>,
    silence_cut: Timestamp,
    /// The last feedback, and how far apart it usually comes.
    heard: Option<Timestamp>,
    usual_gap: Duration,
    /// The estimate before silence lowered it.
    before_silence: Option<Bitrate>,
    reason: Reason,
    standing: Standing,
}

impl DelayLoss {
    /// At its start rate.
    pub fn new(config: Config) -> DelayLoss {
        let carries = config.carries;
        let growth = match config.start {
            _ if config.doubtful => GROWTH_MAX / 8,
            start if start < THIN => GROWTH_MAX / 2,
            _ => GROWTH_FIRST,
        };
        DelayLoss {
            estimate: config.start.clamp(config.min, config.max),
            config,
            growth,
            queue: QueueMeter::default(),
            loss: LossMeter::default(),
            slope: SlopeMeter::default(),
            prober: Prober::default(),
            sent: RateMeter::default(),
            acked: RateMeter::default(),
            cut: Timestamp::ZERO,
            queue_cut: None,
            drained: false,
            carried: None,
            full: None,
            dropped: None,
            before_trial: None,
            suspicion: Suspicion::default(),
            contest: None,
            stubborn: (0, 0),
            updated: None,
            carries,
            own_rate: carries,
            most: None,
            unanswered: None,
            silence_cut: Timestamp::ZERO,
            heard: None,
            usual_gap: SILENCE,
            before_silence: None,
            reason: Reason::Start,
            standing: Standing::default(),
        }
    }

    fn set(&mut self, estimate: Bitrate, reason: Reason) {
        self.estimate = estimate.clamp(self.config.min, self.config.max);
        self.reason = reason;
    }

    fn take(&mut self, outcome: &Outcome) {
        match outcome.fate {
            Fate::Arrived(arrival) => {
                let delay = arrival.micros_from(outcome.sent);
                self.queue.push(outcome.sent, delay - self.own_time(outcome.size));
                self.slope.push(outcome.sent, outcome.size, delay);
                self.acked.push(arrival, outcome.size);
            }
            Fate::Lost => {}
            Fate::Untold => {
                // It most likely arrived as the others do, or was lost as often as they are.
                if let Some(delay) = self.queue.last() {
                    let delay = delay + self.own_time(outcome.size);
                    let arrival = outcome.sent.as_micros().saturating_add_signed(delay);
                    let likely = outcome.size * (1000 - self.loss.permille()) / 1000;
                    self.acked.push(Timestamp::from_micros(arrival), likely);
                }
                return;
            }
        }
        if outcome.sent > self.cut {
            self.loss.push(outcome.sent, outcome.size, outcome.fate == Fate::Lost);
        }
    }

    /// How long a packet itself takes on a thin path, in microseconds, as far as that is known: large ones wait for no
    /// longer a queue than small ones.
    fn own_time(&self, size: DataSize) -> i64 {
        let rate = self.own_rate.filter(|rate| *rate < THIN);
        rate.map_or(0, |rate| (size / rate).as_micros() as i64)
    }

    /// Who shares the queue and is farther away sees later what it has to do, and would be left with more, were those who see
    /// it first to do it all.
    fn others_are_to_cut(&self, now: Timestamp, standing: Standing) -> bool {
        standing.queue < PATIENT_MICROS && self.queue_cut.is_some_and(|at| now.since(at) < CUT_APART)
    }

    /// Less, because a queue stands.
    fn cut_for_delay(&mut self, now: Timestamp, standing: Standing) {
        let mut acked = self.acked.recent().min(self.acked.over(Duration::from_millis(500)));
        if let Some(seen) = self.seen() {
            let over_all = self.acked.over(Duration::from_secs(1));
            if standing.queue > CHANGED_QUEUE_MICROS && over_all < seen.permille(CHANGED_PERMILLE) {
                self.carries = None;
            } else {
                // A few long packets tell their rate less well than that.
                acked = acked.max(seen);
            }
        }
        // The path moved, say to one of longer delay, if three cuts that were obeyed changed nothing. A
        // queue that overflows is no such case: there less arrives than is sent.
        let sent = self.sent.over(Duration::from_millis(500));
        let unchanged = (standing.queue - self.stubborn.0).abs() * 4 < standing.queue;
        let obeyed = sent <= self.estimate.permille(1200) && acked >= sent.permille(900);
        let came = self.acked.over(Duration::from_millis(500));
        if let Some(before) =
            self.suspicion.on_cut(now, self.estimate, standing.queue, obeyed && came <= sent.permille(1100))
        {
            self.suspicion = Suspicion::default();
            self.queue.hold_base(true);
            self.contest = Some(Contest::new(now, before));
            self.set(before, Reason::Contest);
            return;
        }
        let cuts = if unchanged && obeyed { self.stubborn.1 + 1 } else { 0 };
        self.stubborn = (standing.queue, cuts);
        if cuts >= STUBBORN_MAX {
            self.queue.rebase();
            self.stubborn = (0, 0);
            return;
        }
        // What may be noise is not to be drained.
        let found = (standing.queue - standing.noise).max(standing.newest - standing.threshold);
        let keep = 1000 - (found * 1000 / DRAIN_MICROS).clamp(CUT_LEAST, CUT_MOST) as u64;
        // What the path loses by itself it need not carry, if it loses it before. If the queue stands still, it does not.
        let stands = self.loss.inherent() < GAPPY || !self.drained;
        let again = stands && self.queue_cut.is_some_and(|at| now.since(at) < CUT_AGAIN);
        let own = if again { 0 } else { self.loss.inherent().min(500) };
        let carries = acked * 1000 / (1000 - own);
        self.set(carries.permille(keep).min(self.estimate), Reason::Delay);
        self.carried = Some((carries, now));
        self.full = Some((acked * 1000 / (1000 - self.loss.permille().min(500)), now));
        self.growth = GROWTH_MIN;
        self.cut = now;
        self.queue_cut = Some(now);
        self.drained = false;
        self.before_trial = None;
        self.loss.restart_without_trial();
    }

    /// How much of a thin path may be filled by what connecting showed: that was seen without noise.
    fn seen(&self) -> Option<Bitrate> {
        self.carries.filter(|rate| *rate < THIN).map(|rate| rate.permille(FULL_PERMILLE))
    }

    /// Gives up what connecting showed where packets show that the path carries more.
    fn doubt(&mut self) {
        let Some((carries, surely)) = self.carries.zip(self.slope.at_least()) else { return };
        if surely > carries.permille(WIDER_PERMILLE) {
            // As much more was no thin path, or is none any more: what it carries is to be found.
            self.carries = None;
            self.own_rate = None;
            self.queue.restart();
            self.growth = GROWTH_MAX;
            self.set(surely.permille(FULL_PERMILLE).max(self.estimate), Reason::Increase);
        }
    }

    /// How much of a thin path may be filled, if what it carries is known by other means than filling it, and how much
    /// surely can be.
    fn known(&self) -> Option<(Bitrate, Bitrate)> {
        let sent = self.sent.over(Duration::from_secs(1));
        let shown = self.slope.rate().filter(|_| sent < THIN).map(|rate| rate.permille(FULL_PERMILLE));
        let seen = self.seen();
        match (shown, seen) {
            (Some(shown), Some(seen)) => Some((shown.min(seen), shown.min(seen).permille(950))),
            (None, Some(seen)) => Some((seen, seen.permille(950))),
            (shown, None) => shown.map(|shown| (shown, shown.permille(800))),
        }
    }

    fn judge_loss(&mut self, now: Timestamp) {
        let sent = self.sent.over(Duration::from_secs(1));
        match self.loss.judge() {
            // So little does not crowd a path that shows no queue.
            Verdict::Try if sent < TRIAL_ABOVE => {}
            // Nor does what is far below what the path was full at.
            Verdict::Try if self.of_full(now, sent).is_some_and(|permille| permille < NEAR_FULL) => {}
            Verdict::Try => {
                // Over a second, since pictures differ in size: what is not even sent cannot prove anything.
                let acked = self.acked.recent().max(self.acked.over(Duration::from_secs(1)));
                self.before_trial = Some(self.estimate);
                self.loss.begin_trial();
                self.set(acked.min(self.estimate), Reason::Loss);
                self.cut = now;
            }
            Verdict::Refuted => {
                if let Some(before) = self.before_trial.take() {
                    self.set(before.max(self.estimate), Reason::Increase);
                }
            }
            Verdict::Confirmed => {
                self.before_trial = None;
                self.dropped = Some(now);
                self.growth = (self.growth / 4).max(GROWTH_MIN);
            }
            Verdict::None => {}
        }
    }

    /// How so much compares with the rate at which the path was full last, in thousandths, if that was not long ago.
    fn of_full(&self, now: Timestamp, rate: Bitrate) -> Option<u64> {
        let (full, _) = self.full.filter(|(_, at)| now.since(*at) < FULL_FOR)?;
        Some(rate.as_bps() * 1000 / full.as_bps().max(1))
    }

    /// Whether the answer to a probe would count. On a thin path a probe is itself a long queue.
    fn may_probe(&self, now: Timestamp) -> bool {
        let thin = self.full.is_some_and(|(rate, at)| rate < THIN && now.since(at) < THIN_FOR);
        let known = self.most.is_some() || self.carries.is_some_and(|rate| rate < THIN);
        let drops = self.dropped.is_some_and(|at| now.since(at) < FULL_FOR);
        let busy = self.before_trial.is_some() || self.before_silence.is_some() || self.contest.is_some();
        !thin && !known && !drops && !busy
    }

    /// Whether now is the time to probe: no queue is seen, and growth has not to feel its way.
    fn is_opportune(&self, now: Timestamp) -> bool {
        let Standing { queue, noise, threshold, lag, .. } = self.standing;
        let drained = queue <= noise + (threshold - noise) / 2;
        let settled = self.cut == Timestamp::ZERO || now.since(self.cut) >= PROBE_AFTER_CUT;
        !lag.is_zero()
            && drained
            && settled
            && (!self.is_full(now) || self.reason == Reason::AppLimited || self.prober.wants_whole())
    }

    /// Whether the path was full lately, and has not turned out to carry much more.
    fn is_full(&self, now: Timestamp) -> bool {
        self.of_full(now, self.estimate).is_some_and(|permille| permille < PROBE_PAST_FULL)
    }

    /// Whether the path was full at this rate lately.
    fn is_near_full(&self, now: Timestamp) -> bool {
        let permille = self.of_full(now, self.estimate);
        permille.is_some_and(|permille| (NEAR_FULL..=PAST_FULL).contains(&permille))
    }

    fn grow(&mut self, now: Timestamp, passed: Duration, lag: Duration) {
        self.drained |= self.queue_cut.is_some_and(|at| now.since(at) >= CUT_APART);
        if self.before_trial.is_some() {
            self.reason = Reason::Hold;
            return;
        }
        // Losses are no sign of an idle application: what was sent counts, as far as it can be known.
        let acked = self.acked.recent().max(self.acked.over(Duration::from_secs(1)));
        let sent = acked * 1000 / (1000 - self.loss.permille().min(900));
        let cap = sent.permille(SENT_PERMILLE) + ALLOWANCE;
        if self.estimate >= cap {
            self.reason = Reason::AppLimited;
            return;
        }
        let most = match self.most {
            Some((most, _)) if self.estimate >= most => {
                self.reason = Reason::Hold;
                return;
            }
            Some((_, surely)) if self.estimate < surely => {
                return self.set(surely.min(cap), Reason::Increase);
            }
            Some((most, _)) => most,
            None => self.config.max,
        };
        // The queue is drained: what the path carried while it stood, it carries again.
        if let Some((carried, at)) =
            self.carried.take_if(|(carried, _)| self.estimate < carried.permille(900))
            && now.since(at) < CARRIED_FOR
        {
            return self.set(carried.permille(900).min(cap).min(most), Reason::Increase);
        }
        let micros = passed.as_micros() as u64;
        // Where it was full last, it is found full again, and a little too much at a time is seen before the queue is long.
        let near = self.is_near_full(now);
        // Nor who has found a thin path full: there a little too much is at once a long queue.
        let thin = self.full.is_some_and(|(rate, at)| rate < THIN && now.since(at) < THIN_FOR);
        let growth = match NEAR_GROWTH.as_bps() * 1000 / self.estimate.as_bps().max(1) {
            even if near && !thin => even.min(NEAR_GROWTH_MOST),
            _ => self.growth,
        };
        let grown = self.estimate + self.estimate * (growth * micros / 1_000) / 1_000_000;
        let full = self.is_full(now);
        self.set(grown.min(cap).min(most), Reason::Increase);
        if full && !self.is_full(now) {
            // It has turned out to carry more than when it was asked last.
            self.prober.soon();
        }
        // Who sees late must not hurry: the queue that growth makes shows only after the lag.
        let doubling = (lag * 2).max(GROWTH_DOUBLES).as_micros() as u64;
        let most = match self.full {
            _ if thin || near => GROWTH_MIN,
            None if self.loss.permille() < MANY_LOST => GROWTH_FIRST,
            _ => GROWTH_MAX,
        };
        self.growth = (self.growth + (self.growth * micros / doubling).max(1)).min(most);
    }
}

impl Cc for DelayLoss {
    fn on_sent(&mut self, now: Timestamp, size: DataSize) {
        self.sent.push(now, size);
        self.prober.on_sent(now, size);
        self.unanswered.get_or_insert(now);
    }

    fn on_feedback(&mut self, now: Timestamp, outcomes: &[Outcome], rtt: Option<Duration>) {
        if outcomes.is_empty() {
            return;
        }
        self.unanswered = None;
        if let Some(before) = self.heard.replace(now) {
            let gap = now.since(before);
            // A stall is not usual; but what is rare from the start is.
            self.usual_gap = gap.max(self.usual_gap * 7 / 8).min(self.usual_gap * 2);
        }
        for outcome in outcomes {
            self.take(outcome);
        }
        let found = self.prober.on_feedback(outcomes, self.loss.permille().max(self.loss.inherent()));
        let carries = match found {
            Some(Found::Carries(rate)) => {
                Some(rate).filter(|rate| *rate > self.estimate.permille(PROBE_GAINS))
            }
            _ => None,
        };
        if found.is_some() && carries.is_none() {
            self.prober.found_nothing(now);
        }
        if matches!(found, Some(Found::Carries(_) | Found::Full)) {
            // Who has asked need not hurry.
            self.growth = self.growth.min(GROWTH_ASKED);
        }
        self.suspicion.on_feedback(now, outcomes, self.loss.inherent());
        self.doubt();
        self.most = self.known();
        if let Some((most, _)) = self.most.filter(|(most, _)| self.estimate > *most) {
            // Known before it is full: no queue need show it, and there is nothing to try beyond it.
            self.set(most, Reason::Hold);
        }
        let passed = self.updated.replace(now).map_or(Duration::ZERO, |then| now.since(then));
        let passed = passed.min(Duration::from_millis(500));
        let Some(standing) = self.queue.standing(now, self.cut) else { return };
        self.standing = standing;
        if let Some(contest) = &mut self.contest {
            let short = standing.queue <= standing.threshold;
            let inherent = self.loss.inherent();
            if contest.on_feedback(now, outcomes, rtt.unwrap_or(standing.lag), short, inherent) {
                contest.rate = contest.rate.clamp(self.config.min, self.config.max);
                let rate = contest.rate;
                return self.set(rate, Reason::Contest);
            }
            self.contest = None;
            self.queue.hold_base(false);
        }
        if standing.queue > standing.threshold {
            if standing.falling || self.others_are_to_cut(now, standing) {
                self.reason = Reason::Hold;
            } else {
                self.cut_for_delay(now, standing);
            }
            return;
        }
        if let Some(before) = self.before_silence.take() {
            self.growth = GROWTH_MAX / 2;
            self.prober.soon();
            self.set(before.permille(RESUME_PERMILLE).max(self.estimate), Reason::Increase);
            return;
        }
        if let Some(rate) = carries.filter(|_| self.may_probe(now)) {
            self.prober.found_more();
            self.set(rate, Reason::Probe);
            return;
        }
        self.judge_loss(now);
        if standing.queue > standing.noise + (standing.threshold - standing.noise) / 2 {
            self.reason = Reason::Hold;
        } else {
            self.grow(now, passed, standing.lag);
        }
    }

    fn on_tick(&mut self, now: Timestamp) {
        let Some(since) = self.unanswered else { return };
        // Where packets get lost, so do reports.
        let usual = (self.usual_gap * 4).clamp(SILENCE_LEAST, SILENCE);
        let silence = usual * 1000 / (1000 - self.loss.permille().min(800) as u32);
        if now.since(since) >= silence && now.since(self.silence_cut) >= SILENCE_STEP.max(usual / 3) {
            self.silence_cut = now;
            let keep = if self.before_silence.is_some() { SILENCE_KEEP_ON } else { SILENCE_KEEP };
            self.before_silence.get_or_insert(self.estimate);
            self.set(self.estimate.permille(keep), Reason::Silence);
        }
    }

    fn estimate(&self) -> Bitrate {
        self.estimate
    }

    fn state(&self) -> State {
        State {
            reason: self.reason,
            acked: self.acked.over(Duration::from_secs(1)),
            queue: Duration::from_micros(self.standing.queue.max(0) as u64),
            loss_permille: self.loss.permille() as u32,
            on_trial: self.before_trial.is_some(),
            probes: self.prober.asked(),
        }
    }

    fn want(&mut self, wanted: Wanted) {
        self.prober.want(wanted, self.config.max);
    }

    fn probe(&mut self, now: Timestamp) -> Option<Cluster> {
        let opportune =
            self.prober.wants_more(self.estimate) && self.may_probe(now) && self.is_opportune(now);
        self.prober.poll(now, self.estimate, opportune)
    }

    fn on_route_change(&mut self) {
        // Who wants no more goes on as before: there the path shows itself.
        if self.prober.wants_more(self.estimate) {
            (self.full, self.dropped) = (None, None);
            self.prober.soon();
        }
    }
}
