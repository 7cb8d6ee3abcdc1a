//! Packets have run out, and come again.
//!
//! Why: while nothing is here nobody knows whether packets are late, were lost or were never sent, and each has its own best
//! answer: what was late is played later, what was lost was made up meanwhile, a pause was one. So time is made up in the
//! smallest steps, and what it stood for is settled when the next packet comes:
//!
//! - late: the talk goes on where it stood still; crumbs that trickle in are held until they last for a while;
//! - lost: playout goes on in step, unless what was lost is being sent again;
//! - never sent: silence.
//!
//! Not here: single packets that are missing while others are here (`playout`).

use super::{FASTER_ABOVE, JitterBuffer, MAX_MISSING, SLOWER_BELOW, TICK, first_of, micros};
use crate::arrival::{ticks, transit};
use crate::decision::Playout;
use crate::edge::Edge;
use std::time::Duration;
use undertone_media::Timestamp;

/// Codecs make up sound in multiples of this (Opus: 2.5 ms).
const QUANTUM: Duration = Duration::from_micros(2_500);

/// A pause longer than this without a packet is no longer concealed but silent: the codec's concealment
/// has faded by then, and the peer may be gone.
const LONG_SILENCE: Duration = Duration::from_secs(1);

/// So much made up in one stall is heard as a gap: what comes in crumbs from then on is held together.
const STALL: Duration = Duration::from_millis(40);

/// What is played in a stall should last for so long before the next gap.
const LASTING: Duration = Duration::from_millis(400);

/// What has come is held no longer than this.
const LONGEST_HOLD: Duration = Duration::from_millis(500);

/// A shorter standstill is no outage, whose words are waited for.
const OUTAGE: Duration = Duration::from_millis(80);

impl JitterBuffer {
    /// Packets ran out, and when they came again many were missing that are being sent again: the talk stood still, and stands
    /// still for a round trip more, so that no word of it is lost. The delay that this makes is what outages ask for if more
    /// come, and is made good like that of any stall if not. Where repairs come by themselves, the sender has weighed how
    /// much of an outage they mend.
    pub(super) fn awaits_resends(&self, now: Timestamp, edge: &Edge, until: Option<Timestamp>) -> bool {
        let begun = edge.starved >= OUTAGE && edge.starved <= LONG_SILENCE && !edge.pause;
        let Some(first) = self.buffer.first().filter(|_| begun && !self.target.trusts()) else {
            return false;
        };
        until.is_some_and(|until| until > now) && now.since(first.packet.arrival) <= LONGEST_HOLD
    }

    /// Packets ran out, and what has come since would soon run out again: a stall goes on that lets a packet through now
    /// and then. To play each as it comes is a gap after each; to hold them a little longer is one gap, and what follows
    /// lasts a while. A path that is over its stall sends more than real time, so nothing is held then.
    pub(super) fn is_trickling(&self, now: Timestamp) -> bool {
        let (Some(edge), Some(first), Some(newest)) = (self.edge, self.buffer.first(), self.buffer.newest())
        else {
            return false;
        };
        if edge.starved.is_zero() || edge.starved > LONG_SILENCE || edge.pause || self.stalled < STALL {
            return false;
        }
        let due = self.arrivals.base().unwrap_or(0) + self.aim();
        let in_time = transit(newest.packet.arrival, newest.packet.time, self.config.clock_rate) <= due;
        let elapsed = now.since(first.packet.arrival);
        if in_time || elapsed > LONGEST_HOLD {
            return false;
        }
        let held = self.buffer.duration();
        let came = held.saturating_sub(first.contents.duration).min(elapsed);
        // Played while more comes at the same pace, `held` lasts for held / (1 − pace).
        let missing = elapsed.saturating_sub(came).as_micros();
        held.as_micros() * elapsed.as_micros().max(1) < LASTING.as_micros() * missing
            || elapsed.is_zero() && held < LASTING
    }

    /// Nothing is here to play: what is missing of the next 10 ms, and no more, since each millisecond made up is one
    /// more of delay.
    pub(super) fn starve(&mut self, queued: Duration) -> Playout {
        let Some(edge) = &mut self.edge else {
            self.stats.silence += TICK;
            return Playout::Silence { duration: TICK };
        };
        let quanta = (TICK - queued).as_micros().div_ceil(QUANTUM.as_micros()) as u32;
        let duration = (QUANTUM * quanta).min(TICK);
        edge.starved += duration;
        edge.made_up = true;
        self.stalled += duration;
        if edge.pause || edge.starved > LONG_SILENCE {
            edge.starved_silent += duration;
            self.stats.silence += duration;
            return Playout::Silence { duration };
        }
        self.stats.concealed += duration;
        self.stats.conceals += 1;
        Playout::Conceal { duration }
    }

    /// Packets came again after none were left: what was made up since then was a pause as far as the
    /// sender's clock went on without counting packets (`pause`), else a stall. Says how long the stall was.
    pub(super) fn settle(&mut self, edge: &mut Edge, pause: Duration) -> Duration {
        if edge.starved.is_zero() {
            return Duration::ZERO;
        }
        let pause = pause.min(edge.starved);
        let counted = edge.starved - edge.starved_silent;
        let stall = edge.starved - pause;
        self.stats.concealed = (self.stats.concealed + stall).saturating_sub(counted);
        self.stats.silence = (self.stats.silence + pause).saturating_sub(edge.starved_silent);
        edge.starved = Duration::ZERO;
        edge.starved_silent = Duration::ZERO;
        stall
    }

    /// What was made up in a `stall` stood for what was lost meanwhile: playout goes on in step, as if nothing had
    /// happened. What comes back of it later is not played any more; it would push back all that follows, only for
    /// playout to hurry after it. Only where playout has to gain delay anyway, or has too much, it moves now.
    pub(super) fn pass_over(&mut self, now: Timestamp, mut edge: Edge, stall: Duration) {
        let awaited = std::mem::take(&mut self.awaited);
        if awaited && self.buffer.first().is_some_and(|first| first.packet.seq == edge.seq) {
            self.edge = Some(edge);
            return;
        }
        let rate = self.config.clock_rate;
        let due = self.arrivals.base().unwrap_or(0) + self.aim();
        let late = transit(now, edge.time, rate) - due;
        let before = late - stall.as_micros() as i64;
        let quantum = QUANTUM.as_micros() as i64;
        let in_place = (-SLOWER_BELOW..=FASTER_ABOVE).contains(&before);
        let over = if in_place { stall } else { micros(late.max(0) / quantum * quantum) };
        // What was late and not lost is played all the same.
        let came = self.buffer.iter().find(|stored| !stored.packet.repaired);
        let lost = came.map_or(Duration::ZERO, |stored| stored.packet.time.since(edge.time, rate));
        let mut over = over.min(lost);
        while !over.is_zero()
            && let Some(first) = self.buffer.first()
        {
            let missing = first.packet.seq.ahead_of(edge.seq).max(0) as u64;
            if missing == 0 && !first.packet.repaired {
                break;
            }
            let gap = first.packet.time.since(edge.time, rate);
            let packet = edge.packet.max(first.contents.duration);
            let here = first.contents.duration.saturating_sub(edge.begun);
            if missing == 0 && over >= here {
                edge.skip(here, rate);
                self.stats.late += 1;
                self.buffer.take_first();
                over -= here;
            } else if missing == 0 {
                edge.begun += over;
                edge.time = edge.time + ticks(over, rate);
                break;
            } else {
                let unit =
                    first_of(missing, gap.min(packet * missing.min(MAX_MISSING) as u32), packet).min(gap);
                if over < unit || unit.is_zero() {
                    edge.time = edge.time + ticks(over, rate);
                    break;
                }
                edge.skip(unit, rate);
                over -= unit;
            }
        }
        self.stats.buffered = self.buffer.duration();
        self.edge = Some(edge);
    }
}
