//! One candidate pair: its checks, when the next is due, what is known of it.

use super::Path;
use crate::stun::Transaction;
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::Timestamp;

/// First interval between checks of a pair, grown by a half each time: lossy links need many, and a check is
/// only 130 bytes on the wire.
const FIRST_REPEAT: Duration = Duration::from_millis(150);
const RAREST_REPEAT: Duration = Duration::from_millis(600);
/// However long the round trip was.
const LONGEST_REPEAT: Duration = Duration::from_millis(1_500);
/// Once a path is selected, the others are given up after so many checks.
const MAX_REPEATS: u32 = 8;
/// Requests whose answers are still awaited; each is told apart, so that round trips are exact.
const MAX_OPEN: usize = 16;

/// A check that was sent.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) transaction: Transaction,
    pub(super) sent: Timestamp,
    pub(super) nominating: bool,
    pub(super) controlling: bool,
}

pub(super) struct Pair {
    pub(super) path: Path,
    /// A check of ours was answered.
    pub(super) valid: bool,
    /// When an authentic check of the peer last came along it.
    pub(super) vouched: Option<Timestamp>,
    /// By whoever controls.
    pub(super) nominated: bool,
    pub(super) next_check: Option<Timestamp>,
    /// Checks since the last answer.
    pub(super) repeats: u32,
    pub(super) answered: Timestamp,
    pub(super) rtt: Option<Duration>,
    /// Answers that came.
    pub(super) answers: u32,
    open: VecDeque<Request>,
}

impl Pair {
    pub(super) fn new(path: Path) -> Pair {
        Pair {
            path,
            valid: false,
            vouched: None,
            nominated: false,
            next_check: None,
            repeats: 0,
            answered: Timestamp::ZERO,
            rtt: None,
            answers: 0,
            open: VecDeque::new(),
        }
    }

    /// Asks for a check at a time, and for quick repeats after it.
    pub(super) fn check_at(&mut self, at: Timestamp) {
        self.next_check = Some(at);
        self.repeats = 0;
    }

    /// A check left; chooses when the next does.
    pub(super) fn sent(&mut self, request: Request, is_selected: bool, any_selected: bool) {
        if self.open.len() >= MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(request);
        // On a thin path an answer takes long, and each check too many makes it take longer.
        let first = FIRST_REPEAT.max(self.rtt.unwrap_or_default() * 2).min(LONGEST_REPEAT);
        let rarest = first.max(RAREST_REPEAT);
        let interval = (0..self.repeats.min(16)).fold(first, |span, _| (span + span / 2).min(rarest));
        self.repeats += 1;
        let give_up = any_selected && !is_selected && self.repeats >= MAX_REPEATS;
        self.next_check = (!give_up).then(|| request.sent + interval);
    }

    pub(super) fn requested(&self, transaction: Transaction) -> bool {
        self.open.iter().any(|request| request.transaction == transaction)
    }

    /// Checks that have waited for an answer for longer than `rtt`.
    pub(super) fn unanswered(&self, now: Timestamp, rtt: Duration) -> u32 {
        self.open.iter().filter(|request| now.since(request.sent) > rtt).count() as u32
    }

    /// The request that an answer belongs to, once.
    pub(super) fn take(&mut self, transaction: Transaction) -> Option<Request> {
        let index = self.open.iter().position(|request| request.transaction == transaction)?;
        self.open.remove(index)
    }
}
