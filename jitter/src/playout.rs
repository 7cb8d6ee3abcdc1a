//! What to play in the next 10 ms.
//!
//! Why: playout is a race between two clocks, when a packet *could* be decoded (now) and
//! when it *should* (its media time, plus the fastest path, plus the target). Everything here compares the
//! two:
//!
//! - nothing to play: make up 10 ms, and play the rest later than before (a stall), or learn afterwards
//!   that the sender was silent (DTX, RFC 7587 §3.1.3: media time jumps, numbers do not);
//! - a packet is missing and the next would play too early: bring it back from redundancy; or make it up,
//!   waiting for its repair only while playout has to gain delay anyway;
//! - it would play early or late: stretch, gently.
//!
//! Not here: what is done while packets have run out (`stall`), how long to hold (`target`), decoding, stretching itself.

mod stall;

use crate::arrival::{Arrivals, Continuity, Lateness, Verdict, ticks, transit};
use crate::buffer::{Buffer, Contents, Inserted, Stored};
use crate::decision::{How, Playout, Stats, Stretch};
use crate::edge::{Edge, MAX_PACKET};
use crate::sync::Standing;
use crate::target::{Coming, Costs, Target, lengthen, shorten};
use std::time::Duration;
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

/// Limits of one stream's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Ticks a second of the stream's media time. Default 48 000, as RTP counts Opus (RFC 7587 §4.1).
    pub clock_rate: u32,
    /// The target never falls below this. Default zero: on a clean network a packet that arrives on its
    /// tick plays on that tick.
    pub min_delay: Duration,
    /// The target never exceeds this, and sound older than it is not kept. Default 2 s: beyond it people
    /// stop talking anyway.
    pub max_delay: Duration,
    /// The target before anything is known of the network. Default zero.
    pub start_delay: Duration,
    /// What delay and concealment cost the listener; decides the target.
    pub costs: Costs,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            clock_rate: 48_000,
            min_delay: Duration::ZERO,
            max_delay: Duration::from_secs(2),
            start_delay: Duration::ZERO,
            costs: Costs::default(),
        }
    }
}

/// How often the engine asks, and so the least that is ever made up.
const TICK: Duration = Duration::from_millis(10);

/// More missing packets in a row than this are not made up one by one.
const MAX_MISSING: u64 = 1000;

/// One stream's jitter buffer.
#[derive(Debug)]
pub struct JitterBuffer {
    config: Config,
    buffer: Buffer,
    arrivals: Arrivals,
    target: Target,
    floor: Duration,
    /// How long repairs are waited for; see [`JitterBuffer::wait_for_repairs`].
    patience: Duration,
    /// Where playout stands; `None` before the first packet has played.
    edge: Option<Edge>,
    lateness: Lateness,
    continuity: Continuity,
    /// The media time of the newest packet.
    latest: MediaTime,
    /// How long the packets are that come in order.
    packet: Option<Duration>,
    /// How much sound is owed to shortening, in µs: it is paid a pitch period at a time.
    cut: i64,
    /// The least that the last few packets waited, in µs.
    waited: i64,
    /// Nobody speaks in what was played last.
    pause: bool,
    /// How much talk was ordered to be cut lately, in µs.
    hurried: i64,
    /// How much was made up since a packet last came in time.
    stalled: Duration,
    /// What was lost in the stall is waited for.
    awaited: bool,
    stats: Stats,
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new(config: Config) -> JitterBuffer {
        let target = Target::new(config.costs, config.min_delay, config.max_delay, config.start_delay);
        let stats = Stats { target: target.delay(), ..Stats::default() };
        JitterBuffer {
            config,
            buffer: Buffer::default(),
            arrivals: Arrivals::default(),
            target,
            floor: Duration::ZERO,
            patience: Duration::ZERO,
            edge: None,
            lateness: Lateness::default(),
            continuity: Continuity::default(),
            latest: MediaTime(0),
            packet: None,
            cut: 0,
            waited: 0,
            pause: false,
            hurried: 0,
            stalled: Duration::ZERO,
            awaited: false,
            stats,
        }
    }

    /// Takes a packet that arrived at `now`. Late and repeated ones are counted and dropped.
    ///
    /// A [`Duration`] will do for `contents` if the packet carries no redundancy.
    pub fn insert(&mut self, now: Timestamp, packet: Packet, contents: impl Into<Contents>) {
        let contents = contents.into();
        let contents = Contents { duration: contents.duration.clamp(TICK / 4, MAX_PACKET), ..contents };
        self.stats.received += 1;
        let (seq, repaired) = (packet.seq, packet.repaired);
        let straggling = if repaired { Coming::Repaired } else { Coming::Straggling };
        let transit = transit(now, packet.time, self.config.clock_rate);
        // Older by number yet later than all by time: the sender counts anew.
        let contradicts = packet.time > self.latest
            && self.edge.is_some_and(|edge| seq < edge.seq && !edge.has_played(seq));
        match self.continuity.judge(seq, transit, contradicts) {
            Verdict::Continues => {}
            Verdict::Stray => {
                self.stats.strays += 1;
                return;
            }
            Verdict::Restarts => self.restart(transit),
        }
        if let Some(edge) = self.edge.filter(|edge| seq < edge.seq) {
            if edge.has_played(seq) {
                self.stats.duplicates += 1;
            } else {
                self.stats.late += 1;
                self.learn(now, transit, contents.duration, straggling);
            }
            return;
        }
        let before = self.continuity.newest;
        let coming = if repaired || before.is_some_and(|(newest, _)| seq < newest) {
            straggling
        } else {
            Coming::InOrder
        };
        let time = packet.time;
        if self.buffer.insert(packet, contents) == Inserted::Duplicate {
            self.stats.duplicates += 1;
            return;
        }
        if self.continuity.take(seq, transit) {
            self.latest = time;
            if before.is_some_and(|(newest, _)| seq.ahead_of(newest) > 1) {
                // A burst is one stroke of bad luck.
                self.target.on_missing(contents.duration);
                self.stats.target = self.target();
            }
            self.learn_redundancy(now, before, seq, time, contents);
        }
        self.learn(now, transit, contents.duration, coming);
        self.bound();
    }

    /// What to do next, given that `queued` of decoded sound is still unplayed at `now`. Ask every 10 ms,
    /// again and again until the answer is [`Playout::Wait`]; every other answer adds to what is queued.
    /// `repairable` says until when a missing packet may still come; `None`: never.
    pub fn decide(
        &mut self,
        now: Timestamp,
        queued: Duration,
        repairable: impl Fn(SeqNo) -> Option<Timestamp>,
    ) -> Playout {
        if queued >= TICK {
            return Playout::Wait;
        }
        let Some(first) = self.buffer.first() else { return self.starve(queued) };
        if self.is_trickling(now) {
            return self.starve(queued);
        }
        let (seq, time, duration) = (first.packet.seq, first.packet.time, first.contents.duration);
        // When it would be decoded and when it should: above zero it is due. What is queued does not count,
        // since a packet that comes after this tick comes too late, however much is queued.
        let due = self.arrivals.base().unwrap_or(0) + self.aim();
        let overdue = transit(now, time, self.config.clock_rate) - due;
        let Some(mut edge) = self.edge else {
            if overdue < 0 {
                self.stats.silence += TICK;
                return Playout::Silence { duration: TICK };
            }
            return self.play(now, queued, overdue);
        };
        let missing = seq.ahead_of(edge.seq).max(0) as u64;
        if missing > 0 && self.awaits_resends(now, &edge, repairable(edge.seq)) {
            self.awaited = true;
            return self.starve(queued);
        }
        let gap = time.since(edge.time, self.config.clock_rate);
        // Nothing says how long a missing packet was; it was like its neighbours.
        let packet = edge.packet.max(duration);
        let stall = self.settle(&mut edge, gap.saturating_sub(packet * missing.min(MAX_MISSING) as u32));
        if !stall.is_zero() {
            self.pass_over(now, edge, stall);
            return self.decide(now, queued, repairable);
        }
        let shortfall = micros(-overdue);
        let early = shortfall > TICK / 2;
        for missing in (1..=missing.min(MAX_MISSING)).rev() {
            let gap = time.since(edge.time, self.config.clock_rate);
            let lost = gap.min(packet * missing as u32);
            if lost.is_zero() {
                break;
            }
            let unit = first_of(missing, lost, packet).max(TICK / 4);
            let hidden = edge.seq;
            if let Some((from, how)) = self.redundancy(hidden, edge.time, missing) {
                edge.skip(unit, self.config.clock_rate);
                edge.made_up = false;
                self.edge = Some(edge);
                match how {
                    How::Lbrr => self.stats.recovered_lbrr += 1,
                    How::Dred(_) => self.stats.recovered_dred += 1,
                }
                return Playout::Recover { from, seq: hidden, missing: unit, how };
            }
            if !early {
                break;
            }
            // Were the missing packet here, it would still play earlier than it should: then the time in
            // which its repair may come is time that playout has to gain anyway.
            if shortfall > gap && repairable(hidden).is_some_and(|until| until > now) {
                return self.conceal(edge, TICK);
            }
            edge.skip(unit, self.config.clock_rate);
            // Packets may have run out before this gap was known of: that time is made up already, and what
            // redundancy brings back of the rest of the gap takes its time too.
            let to_come = self.reach().min(lost.saturating_sub(unit));
            let short = shortfall.saturating_sub(to_come);
            if short > TICK / 2 {
                let ticks = short.as_micros().div_ceil(TICK.as_micros()) as u32;
                return self.conceal(edge, unit.min(TICK * ticks));
            }
        }
        let pause = time.since(edge.time, self.config.clock_rate);
        if early && !pause.is_zero() && seq == edge.seq {
            edge.made_up = true;
            self.edge = Some(edge);
            self.stats.silence += TICK;
            return Playout::Silence { duration: TICK };
        }
        self.edge = Some(edge);
        self.play(now, queued, overdue)
    }

    /// Whether what was decoded last is a pause in the talk, where nobody hears a cut: then is the time to move.
    pub fn heard(&mut self, pause: bool) {
        self.pause = pause;
    }

    /// A lost packet that is asked for is back so long after its turn, if nothing more goes wrong. Known
    /// beforehand, it need not be learned loss by loss.
    pub fn expect_repair(&mut self, after: Duration) {
        self.target.expect_repair(after.min(self.config.max_delay));
    }

    /// Lost packets come back by themselves within `patience` of their turn: the sender has weighed what stays lost against
    /// the wait, so playout waits as long, and no longer. `None`: that is not known, and is learned.
    pub fn wait_for_repairs(&mut self, patience: Option<Duration>) {
        self.target.trust(patience.is_some());
        self.patience = patience.unwrap_or_default().min(self.config.max_delay);
        self.stats.target = self.target();
    }

    /// How much later than on the fastest path a packet usually comes, as far as that is waited for: what the next packets
    /// bring back comes so late, too.
    pub fn lateness(&self) -> Duration {
        Duration::from_micros(self.lateness.usual().min(self.target.micros()) as u64)
    }

    /// The delay above the fastest path that is aimed at now.
    pub fn target(&self) -> Duration {
        Duration::from_micros(self.aim() as u64)
    }

    /// Delays this stream at least by so much above its fastest path, so that its partner can keep up
    /// (see [`crate::sync`]). Zero lets go.
    pub fn hold(&mut self, floor: Duration) {
        self.floor = floor.min(self.config.max_delay);
        self.stats.target = self.target();
    }

    /// Local time minus media time of what played last, in microseconds: what [`crate::sync`] compares.
    /// `None` until something has played.
    pub fn playout_offset(&self) -> Option<i64> {
        self.edge?;
        Some(self.arrivals.base()? + self.stats.delay.as_micros() as i64)
    }

    /// Where this stream stands of its own accord, for [`crate::sync::align`].
    pub fn standing(&self) -> Option<Standing> {
        Some(Standing { base: self.arrivals.base()?, target: self.target.delay() })
    }

    /// Counters and levels.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The delay aimed at, in µs.
    fn aim(&self) -> i64 {
        self.target.micros().max(self.floor.max(self.patience).as_micros() as i64)
    }

    /// The stream begins anew: another encoder, another source, or a sender that forgot its state. What is
    /// known of the network stays.
    fn restart(&mut self, transit: i64) {
        self.stats.restarts += 1;
        self.stats.dropped += self.buffer.len() as u64;
        self.buffer.clear();
        self.stats.buffered = Duration::ZERO;
        if let Some(base) = self.arrivals.base() {
            self.target.rebase(transit - base);
        }
        self.arrivals = Arrivals::default();
        self.edge = None;
    }

    fn learn(&mut self, now: Timestamp, transit: i64, duration: Duration, coming: Coming) {
        if coming == Coming::InOrder {
            let before = self.packet.replace(duration).unwrap_or(duration);
            if before != duration {
                let longer = duration.as_micros() as i64 - before.as_micros() as i64;
                self.arrivals.on_packet_time(longer, transit);
            }
        }
        if coming == Coming::InOrder || self.arrivals.base().is_none() {
            self.arrivals.on_arrival(now, transit, self.target.leeway());
        }
        if let Some(base) = self.arrivals.base() {
            if coming == Coming::InOrder {
                self.lateness.push(transit - base);
            }
            self.target.on_arrival(transit, base, duration, coming);
            if transit <= base + self.aim() {
                self.stalled = Duration::ZERO;
            }
        }
        self.stats.target = self.target();
    }

    /// A newest packet that can bring back lost ones before it is, to them, a repair that came now.
    fn learn_redundancy(
        &mut self,
        now: Timestamp,
        before: Option<(SeqNo, i64)>,
        seq: SeqNo,
        time: MediaTime,
        contents: Contents,
    ) {
        let Some((newest, _)) = before else { return };
        let missing = seq.ahead_of(newest) - 1;
        let lbrr = if contents.lbrr { contents.duration } else { Duration::ZERO };
        let span = contents.duration.as_micros().max(1);
        let covered = (contents.dred.max(lbrr).as_micros() / span) as i64;
        for back in 1..=missing.min(covered).min(50) {
            let past = ticks(contents.duration * back as u32, self.config.clock_rate);
            let transit = transit(now, time - past, self.config.clock_rate);
            self.learn(now, transit, contents.duration, Coming::Repaired);
        }
    }

    /// Keeps no more than [`Config::max_delay`] of sound.
    fn bound(&mut self) {
        self.stats.buffered = self.buffer.duration();
        while self.stats.buffered > self.config.max_delay + MAX_PACKET * 2 {
            let Some(oldest) = self.buffer.take_first() else { return };
            self.stats.dropped += 1;
            self.stats.buffered = self.buffer.duration();
            if let (Some(edge), Some(first)) = (&mut self.edge, self.buffer.first()) {
                // What was thrown away is not missing: playout goes on right after it.
                edge.advance(oldest.packet.seq.next(), first.packet.time);
                edge.made_up = true;
            }
        }
    }

    fn conceal(&mut self, mut edge: Edge, duration: Duration) -> Playout {
        edge.made_up = true;
        self.edge = Some(edge);
        self.stats.concealed += duration;
        self.stats.conceals += 1;
        Playout::Conceal { duration }
    }

    /// How much right before the first packet that is here can be brought back from it.
    fn reach(&self) -> Duration {
        self.buffer.first().map_or(Duration::ZERO, |stored| {
            let copy = if stored.contents.lbrr { stored.contents.duration } else { Duration::ZERO };
            stored.contents.dred.max(copy)
        })
    }

    /// A packet that can bring back the missing one, which should begin at `time`; the first that is here is
    /// `missing` places later.
    fn redundancy(&self, hidden: SeqNo, time: MediaTime, missing: u64) -> Option<(Packet, How)> {
        if let Some(next) = self
            .buffer
            .first()
            .filter(|stored| missing == 1 && stored.contents.lbrr && stored.packet.seq == hidden.next())
        {
            return Some((next.packet.clone(), How::Lbrr));
        }
        self.buffer.iter().find_map(|stored| {
            let back = stored.packet.time.since(time, self.config.clock_rate);
            (back <= stored.contents.dred && !back.is_zero())
                .then(|| (stored.packet.clone(), How::Dred(back)))
        })
    }

    /// Plays the first packet, which is `overdue` by so many µs (negative: early).
    fn play(&mut self, now: Timestamp, queued: Duration, overdue: i64) -> Playout {
        let Some(Stored { packet, contents }) = self.buffer.take_first() else { return self.starve(queued) };
        let begun = self.edge.filter(|edge| edge.seq == packet.seq).map_or(Duration::ZERO, |edge| edge.begun);
        let overdue = overdue - begun.as_micros() as i64;
        let span = (contents.duration - begun).as_micros() as i64;
        // It cannot play faster than packets come: what the last few all waited is what there is to gain. On a
        // busy machine a tick comes late now and then, and one packet's wait says nothing of the next one's.
        let waited = now.since(packet.arrival).as_micros() as i64;
        self.waited = waited.min(self.waited + ((waited - self.waited) / 4).max(1_000));
        let excess = overdue.min(self.waited);
        let mut step = shorten(overdue, span, self.pause);
        self.hurried -= self.hurried / PATIENCE_PACKETS;
        if !self.pause && self.hurried > PATIENCE {
            step = step.min(span * HURRIED_PERMILLE / 1000);
        }
        self.cut = if excess < FASTER_ABOVE { 0 } else { (self.cut + step).min(excess) };
        let stretch = if self.cut >= LEAST_CUT.min(span / 2) {
            let by = std::mem::take(&mut self.cut).min(span * 3 / 4);
            if !self.pause {
                self.hurried += by;
            }
            Stretch::Faster(micros(by))
        } else if overdue <= -SLOWER_BELOW {
            Stretch::Slower(micros(lengthen(-overdue, span)))
        } else {
            Stretch::None
        };
        match stretch {
            Stretch::Faster(_) => self.stats.faster += 1,
            Stretch::Slower(_) => self.stats.slower += 1,
            Stretch::None => {}
        }
        self.stats.played += 1;
        self.stats.played_repaired += u64::from(packet.repaired);
        self.stats.buffered = self.stats.buffered.saturating_sub(contents.duration);
        self.stats.delay = micros(self.aim() + overdue) + queued;
        let mut edge = self.edge.unwrap_or(Edge::before(&packet));
        let after_gap = edge.made_up;
        edge.advance(packet.seq, packet.time);
        edge.play(contents.duration, self.config.clock_rate);
        edge.pause = contents.pause;
        self.edge = Some(edge);
        Playout::Play { packet, begun, stretch, after_gap }
    }
}

/// A packet that waits less is not played faster, in µs: the grid of ticks alone makes it wait for almost so long.
const FASTER_ABOVE: i64 = 10_000;

/// The least that is asked for at once, in µs: most voices' pitch period fits.
const LEAST_CUT: i64 = 10_000;

/// Talk that is hurried more than this, in µs, is hurried less from then on: one stall is best made good at once, but
/// where they keep coming speech would never be heard at a pace that can be followed. What is ordered counts; a second
/// made good takes orders for half as much again, since they go by pitch periods.
const PATIENCE: i64 = 1_500_000;

/// How much of talk is cut then: what goes unheard.
const HURRIED_PERMILLE: i64 = 150;

/// How fast that is forgotten (to 1/e), in packets: a minute.
const PATIENCE_PACKETS: i64 = 3_000;

/// A packet this early is played slower, in µs.
const SLOWER_BELOW: i64 = 5_000;

/// How much is missing of the first of `missing` packets, of which `lost` is missing in all: the first may have begun.
fn first_of(missing: u64, lost: Duration, packet: Duration) -> Duration {
    let others = packet * (missing - 1) as u32;
    if lost > others { lost - others } else { lost / missing as u32 }
}

fn micros(span: i64) -> Duration {
    Duration::from_micros(span.max(0) as u64)
}
