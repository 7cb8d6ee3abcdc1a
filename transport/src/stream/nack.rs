//! Asks again for lost packets.
//!
//! Why: a resend beats concealment while it can arrive before playout, so a gap is asked for as soon as a
//! later packet shows it, and again one round trip later as long as the packet is of use.
//! Wire: generic NACK, RFC 4585 §6.2.1.

use std::collections::BTreeMap;
use std::time::Duration;
use undertone_media::{SeqNo, Timestamp};

/// Packets asked for at the same time; of a longer gap only the newest are.
const MISSING_MAX: u64 = 1000;
/// Taken for the round-trip time while it is unknown.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// When lost packets are asked for again.
#[derive(Clone, Debug)]
pub struct NackConfig {
    /// A gap is taken for a loss when this many later packets have come. Default 1: at once. More where the
    /// path reorders.
    pub reorder: u64,
    /// How often one packet is asked for. Default 10.
    pub tries: u32,
    /// How long after its loss was noticed a packet is still of use. Default 1 s; playout may end it sooner
    /// ([`super::RecvStream::abandon_before`]).
    pub useful: Duration,
    /// Added to the round-trip time before asking again. Default 10 ms.
    pub margin: Duration,
    /// Asks a second time this long after the first request without waiting for the answer, since a request
    /// is small and can be lost too; the sender answers once. Default `None`.
    pub echo: Option<Duration>,
    /// Asks again so long after each request instead of a round trip and a margin later, if that is sooner: a
    /// request is as likely to be lost as an answer, and only the sender knows when there was time for one to come.
    /// Default `None`.
    pub again: Option<Duration>,
    /// When a steady stream falls silent, asks for the packet that should have come, once, without waiting
    /// for a later one to show the gap. Default false: bursts and pauses are normal.
    pub tail: bool,
}

impl Default for NackConfig {
    fn default() -> NackConfig {
        NackConfig {
            reorder: 1,
            tries: 10,
            useful: Duration::from_secs(1),
            margin: Duration::from_millis(10),
            echo: None,
            again: None,
            tail: false,
        }
    }
}

impl NackConfig {
    /// For pictures: each depends on all before it, so all of them wait for a lost packet, and a lost request costs a
    /// round trip more of a frozen picture. Answers wait in a queue behind other pictures. However many are lost, no
    /// request is the last as long as the packet is of use: a key frame, of many packets, would take longer.
    pub fn video() -> NackConfig {
        NackConfig {
            tries: u32::MAX,
            margin: Duration::from_millis(20),
            again: Some(Duration::from_millis(15)),
            ..NackConfig::default()
        }
    }
}

#[derive(Debug)]
struct Missing {
    noticed: Timestamp,
    requested: Option<Timestamp>,
    tries: u32,
    /// Not asked for before this.
    due: Timestamp,
}

/// The packets of one stream that are missing and wanted.
#[derive(Debug)]
pub(super) struct Nack {
    config: NackConfig,
    missing: BTreeMap<SeqNo, Missing>,
    newest: SeqNo,
    /// The packet after the newest, and when its absence is a loss; see [`NackConfig::tail`].
    tail: Option<(SeqNo, Timestamp)>,
}

impl Nack {
    pub(super) fn new(config: NackConfig) -> Nack {
        Nack { config, missing: BTreeMap::new(), newest: SeqNo(0), tail: None }
    }

    /// `seq` is the newest packet now; `expected` is the one that should have come first.
    pub(super) fn on_newest(&mut self, now: Timestamp, expected: SeqNo, seq: SeqNo) {
        self.newest = seq;
        let first = expected.0.max(seq.0.saturating_sub(MISSING_MAX));
        for missing in first..seq.0 {
            let lost = Missing { noticed: now, requested: None, tries: 0, due: now };
            self.missing.entry(SeqNo(missing)).or_insert(lost);
        }
        while self.missing.len() as u64 > MISSING_MAX {
            self.missing.pop_first();
        }
    }

    /// The next packet should be here at `due`.
    pub(super) fn expect(&mut self, next: SeqNo, due: Timestamp) {
        self.tail = self.config.tail.then_some((next, due));
    }

    /// A packet came, late or again.
    pub(super) fn on_arrival(&mut self, seq: SeqNo) {
        self.missing.remove(&seq);
        if self.tail.is_some_and(|(tail, _)| tail <= seq) {
            self.tail = None;
        }
    }

    pub(super) fn abandon_before(&mut self, seq: SeqNo) {
        self.missing = self.missing.split_off(&seq);
    }

    pub(super) fn restart(&mut self) {
        self.missing.clear();
        self.tail = None;
    }

    /// Whether a missing packet is one to ask for, once it is due.
    fn is_wanted(&self, seq: SeqNo, missing: &Missing) -> bool {
        if seq > self.newest {
            // The tail is asked for once: if it was never sent, nobody will answer.
            return missing.tries == 0;
        }
        missing.tries > 0 || self.newest.ahead_of(seq) >= self.config.reorder as i64
    }

    /// The packets to ask for now.
    pub(super) fn poll(&mut self, now: Timestamp, rtt: Option<Duration>) -> Vec<u16> {
        let rtt = rtt.unwrap_or(DEFAULT_RTT);
        if let Some((seq, due)) = self.tail
            && now >= due
        {
            self.tail = None;
            // It may be late only, and where the answer comes too late, asking only makes all later.
            if rtt <= self.config.useful {
                let missing = Missing { noticed: now, requested: None, tries: 0, due: now };
                self.missing.entry(seq).or_insert(missing);
            }
        }
        let config = &self.config;
        // What cannot arrive in time any more is not worth asking for, but for a first request: playout may
        // wait longer than this stream was told.
        self.missing.retain(|_, missing| {
            let over = missing.tries >= config.tries || now.since(missing.noticed) + rtt > config.useful;
            missing.tries == 0 || now < missing.due || !over
        });
        let due = |at: Timestamp| {
            let wanted = self.missing.iter().filter(|(seq, missing)| self.is_wanted(**seq, missing));
            wanted.filter(|(_, missing)| at >= missing.due).map(|(seq, _)| *seq).collect::<Vec<SeqNo>>()
        };
        let mut wanted = due(now);
        // What is due soon goes along: one datagram costs less than two.
        if let Some(again) = config.again.filter(|_| !wanted.is_empty()) {
            wanted = due(now + again / 2);
        }
        for seq in &wanted {
            if let Some(missing) = self.missing.get_mut(seq) {
                missing.tries += 1;
                missing.requested = Some(now);
                missing.due = match self.config.echo {
                    Some(echo) if missing.tries == 1 && echo < rtt => now + echo,
                    _ => now + self.config.again.unwrap_or(Duration::MAX).min(rtt + self.config.margin),
                };
            }
        }
        wanted.into_iter().map(SeqNo::wire).collect()
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let missing = self
            .missing
            .iter()
            .filter(|(seq, missing)| self.is_wanted(**seq, missing))
            .map(|(_, missing)| missing.due)
            .min();
        [missing, self.tail.map(|(_, due)| due)].into_iter().flatten().min()
    }

    pub(super) fn repairable_until(&self, seq: SeqNo, rtt: Option<Duration>) -> Option<Timestamp> {
        let missing = self.missing.get(&seq)?;
        let asked = missing.requested.unwrap_or(missing.noticed);
        Some(asked + rtt.unwrap_or(DEFAULT_RTT) + self.config.margin)
    }
}
