//! TCP beside the media: CUBIC (RFC 9438) with selective acknowledgements.
//!
//! A model and no kernel's stack: acknowledgements are never lost and come one a packet, a loss is known once three later
//! packets are acknowledged, and a second without progress begins anew with one packet.

use std::collections::BTreeSet;
use std::time::Duration;
use undertone_media::{DataSize, Timestamp};

/// A segment with its headers.
pub(super) const SEGMENT: DataSize = DataSize::from_bytes(1_500);
/// RFC 9438 §4.1: how fast the window grows, and what is left of it after a loss.
const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// Acknowledged past a packet before it counts as lost.
const OVERTAKEN: u64 = 3;
const TIMEOUT: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Debug)]
pub(super) struct Tcp {
    /// Segments still to send; `None`: without end.
    left: Option<u64>,
    next: u64,
    outstanding: BTreeSet<u64>,
    window: f64,
    threshold: f64,
    /// The window before the last loss, and when that was.
    most: f64,
    lost_at: Timestamp,
    /// Losses up to this number are of the same event.
    recovery: Option<u64>,
    progress: Timestamp,
    pub(super) received: DataSize,
}

impl Tcp {
    /// A connection that sends so many segments, or without end.
    pub(super) fn new(now: Timestamp, segments: Option<u64>) -> Tcp {
        Tcp {
            left: segments,
            next: 0,
            outstanding: BTreeSet::new(),
            window: 10.0,
            threshold: f64::INFINITY,
            most: 0.0,
            lost_at: now,
            recovery: None,
            progress: now,
            received: DataSize::ZERO,
        }
    }

    /// The number of the next segment that may leave now.
    pub(super) fn poll(&mut self) -> Option<u64> {
        if self.outstanding.len() as f64 >= self.window || self.left == Some(0) {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        let seq = self.next;
        self.next += 1;
        self.outstanding.insert(seq);
        Some(seq)
    }

    /// All is sent and acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0) && self.outstanding.is_empty()
    }

    /// A segment was acknowledged.
    pub(super) fn on_ack(&mut self, now: Timestamp, seq: u64) {
        self.progress = now;
        if !self.outstanding.remove(&seq) {
            return;
        }
        let kept = self.outstanding.split_off(&seq.saturating_sub(OVERTAKEN - 1));
        let lost = std::mem::replace(&mut self.outstanding, kept);
        self.send_again(lost.len() as u64);
        match lost.last() {
            Some(&newest) if self.recovery.is_none_or(|recovery| newest > recovery) => self.reduce(now),
            _ if self.window < self.threshold => self.window += 1.0,
            _ => self.grow(now),
        }
    }

    /// RFC 9438 §4.2: along a cubic through the window at which the last loss came.
    fn grow(&mut self, now: Timestamp) {
        let k = (self.most * (1.0 - BETA) / C).cbrt();
        let since = now.since(self.lost_at).as_secs_f64();
        let target = (C * (since - k).powi(3) + self.most).min(1.5 * self.window);
        self.window += ((target - self.window) / self.window).max(0.01 / self.window);
    }

    fn reduce(&mut self, now: Timestamp) {
        // RFC 9438 §4.7: who could not reach the old window leaves room for others.
        self.most = if self.window < self.most { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(2.0);
        self.threshold = self.window;
        self.lost_at = now;
        self.recovery = self.next.checked_sub(1);
    }

    fn send_again(&mut self, segments: u64) {
        self.left = self.left.map(|left| left + segments);
    }

    /// Time passes.
    pub(super) fn on_tick(&mut self, now: Timestamp) {
        if now.since(self.progress) < TIMEOUT || self.outstanding.is_empty() {
            return;
        }
        let lost = std::mem::take(&mut self.outstanding).len() as u64;
        self.send_again(lost);
        self.reduce(now);
        self.window = 1.0;
        self.progress = now;
    }
}
