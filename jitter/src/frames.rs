//! Whole, decodable pictures in order.
//!
//! Why: a decoder that is given half a picture, or one whose predecessor is missing, shows garbage until the
//! next key frame. So a picture leaves here only when all its packets are here and all pictures since the
//! last key frame have left before it. While a missing packet may still be repaired the picture waits; once
//! it cannot, the picture freezes, a key frame is asked for, and everything up to it is dropped. A picture that no other
//! needs is waited for only until the next one is due.
//!
//! A whole picture is held until its date plus the fastest path plus a target, so that motion is even. The
//! target comes from the same bill as sound's ([`crate::target`]), with a frozen picture cheaper than made-up
//! sound.
//!
//! Not here: depacketisation and reading [`Facts`] (`transport`).

use crate::arrival::{Arrivals, Continuity, Verdict, media_micros, transit};
use crate::sync::Standing;
use crate::target::{Coming, Costs, Target};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

/// Limits of one video stream's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Ticks a second of the stream's media time. Default 90 000 (RFC 6184 §5.1).
    pub clock_rate: u32,
    /// The longest that a picture is held back to even out arrival. Default 500 ms: past it a late
    /// picture is better than a late call.
    pub max_delay: Duration,
    /// The most packets kept. Default 4096: about 4 s at 8 Mbit/s.
    pub max_packets: usize,
    /// How long a gap may be mere reordering before a packet without a repair counts as lost. Default
    /// 20 ms: a key frame costs more than that.
    pub reordering: Duration,
    /// What delay and freezes cost the viewer; decides the target. By default a frozen millisecond costs
    /// two fifths of a made-up one of sound.
    pub costs: Costs,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            clock_rate: 90_000,
            max_delay: Duration::from_millis(500),
            max_packets: 4096,
            reordering: Duration::from_millis(20),
            costs: Costs {
                loss: Duration::from_secs(12),
                prior: Duration::from_secs(40),
                ..Costs::default()
            },
        }
    }
}

/// What a packet says about its picture: from the dependency descriptor, or from the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The first packet of its picture.
    pub start: bool,
    /// The last packet of its picture (usually the RTP marker).
    pub end: bool,
    /// Its picture needs no other to be decoded.
    pub key: bool,
    /// Where its picture stands among the layers, if that is told.
    pub layer: Option<Layer>,
}

/// A picture's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Counts pictures; wraps.
    pub number: u16,
    /// Temporal layer, 0 is the lowest.
    pub temporal: u8,
    /// No other picture needs it.
    pub discardable: bool,
}

/// A whole picture, decodable if every one before it was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its date.
    pub time: MediaTime,
    /// It needs no other picture.
    pub key: bool,
    /// Its packets, in order, none missing.
    pub packets: Vec<Packet>,
    /// When its last packet arrived.
    pub complete: Timestamp,
    /// When it should be shown; not before now.
    pub show: Timestamp,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets offered.
    pub received: u64,
    /// Of them, those that came again.
    pub duplicates: u64,
    /// Of them, those whose picture was over.
    pub late: u64,
    /// Of them, those from nowhere near the stream's sequence or time.
    pub strays: u64,
    /// How often the stream began anew.
    pub restarts: u64,
    /// Pictures given out.
    pub frames: u64,
    /// Of them, key frames.
    pub keys: u64,
    /// How often the picture froze because a frame was lost for good.
    pub freezes: u64,
    /// Pictures left out that no other needs, because the next was due.
    pub skipped: u64,
    /// Packets thrown away while waiting for a key frame, or because too many waited.
    pub dropped: u64,
    /// Delay above the fastest path that is aimed at now.
    pub target: Duration,
}

/// A packet that waits for the rest of its picture.
#[derive(Clone, Debug)]
struct Part {
    packet: Packet,
    facts: Facts,
}

/// One video stream's buffer.
#[derive(Debug)]
pub struct FrameBuffer {
    config: Config,
    parts: BTreeMap<SeqNo, Part>,
    /// Whole pictures in order, which wait for their date.
    ready: VecDeque<Frame>,
    /// The packet with which the next picture begins; `None` while only a key frame will do.
    next: Option<SeqNo>,
    /// Nothing up to this packet is wanted any more.
    passed: Option<SeqNo>,
    /// The date and the place of the picture before.
    last_time: Option<MediaTime>,
    last_layer: Option<Layer>,
    /// The gap that holds everything up: its first packet, and since when.
    gap: Option<(SeqNo, Timestamp)>,
    /// When that gap may turn out to be for good.
    decided_at: Option<Timestamp>,
    continuity: Continuity,
    arrivals: Arrivals,
    target: Target,
    floor: Duration,
    shown: Option<i64>,
    stats: Stats,
}

impl FrameBuffer {
    /// An empty buffer, which waits for a key frame.
    pub fn new(config: Config) -> FrameBuffer {
        FrameBuffer {
            config,
            parts: BTreeMap::new(),
            ready: VecDeque::new(),
            next: None,
            passed: None,
            last_time: None,
            last_layer: None,
            gap: None,
            decided_at: None,
            continuity: Continuity::default(),
            arrivals: Arrivals::default(),
            target: Target::new(config.costs, Duration::ZERO, config.max_delay, Duration::ZERO),
            floor: Duration::ZERO,
            shown: None,
            stats: Stats::default(),
        }
    }

    /// Takes a packet that arrived at `now`. Late and repeated ones are counted and dropped.
    pub fn insert(&mut self, now: Timestamp, packet: Packet, facts: Facts) {
        self.stats.received += 1;
        let seq = packet.seq;
        let transit = transit(now, packet.time, self.config.clock_rate);
        match self.continuity.judge(seq, transit, false) {
            Verdict::Continues => {}
            Verdict::Stray => {
                self.stats.strays += 1;
                return;
            }
            Verdict::Restarts => self.restart(),
        }
        if self.passed.is_some_and(|passed| seq <= passed) {
            self.stats.late += 1;
            return;
        }
        self.continuity.take(seq, transit);
        if self.parts.contains_key(&seq) {
            self.stats.duplicates += 1;
            return;
        }
        self.parts.insert(seq, Part { packet, facts });
        if self.parts.len() > self.config.max_packets {
            self.stats.freezes += u64::from(self.next.is_some());
            self.freeze();
            if let Some((&oldest, _)) = self.parts.first_key_value() {
                self.drop_through(oldest);
            }
        }
    }

    /// The next picture, if it is whole, decodable and due. Ask after each [`FrameBuffer::insert`] and at
    /// [`FrameBuffer::deadline`], until `None`. `repairable` is as in [`crate::JitterBuffer::decide`].
    pub fn poll(&mut self, now: Timestamp, repairable: impl Fn(SeqNo) -> Option<Timestamp>) -> Option<Frame> {
        self.assemble(now, repairable);
        if self.ready.front()?.show > now {
            return None;
        }
        let mut frame = self.ready.pop_front()?;
        frame.show = now;
        self.stats.frames += 1;
        self.stats.keys += u64::from(frame.key);
        self.shown = Some(transit(now, frame.time, self.config.clock_rate));
        Some(frame)
    }

    /// When to poll next if nothing arrives before.
    pub fn deadline(&self) -> Option<Timestamp> {
        let due = self.ready.front().map(|frame| frame.show);
        [due, self.decided_at].into_iter().flatten().min()
    }

    /// The packet with which the next picture begins, if it is known: nothing before it is wanted any more.
    pub fn wanted_from(&self) -> Option<SeqNo> {
        self.passed.map(SeqNo::next)
    }

    /// A key frame is needed and none is on its way: send a PLI (RFC 4585 §6.3.1), paced by the caller, as
    /// long as this is true. Never before anything has come.
    pub fn wants_key(&self) -> bool {
        self.continuity.newest.is_some()
            && self.next.is_none()
            && !self.parts.values().any(|part| part.facts.key)
    }

    /// A key frame waits to be shown, or to be whole: who needs one need not ask.
    pub fn has_key(&self) -> bool {
        self.ready.iter().any(|frame| frame.key) || self.parts.values().any(|part| part.facts.key)
    }

    /// Delays pictures at least by so much above the fastest path (see [`crate::sync`]).
    pub fn hold(&mut self, floor: Duration) {
        self.floor = floor;
    }

    /// Where this stream stands of its own accord, for [`crate::sync::align`].
    pub fn standing(&self) -> Option<Standing> {
        Some(Standing { base: self.arrivals.base()?, target: self.target.delay() })
    }

    /// Local time minus media time of the picture last given out, in microseconds.
    pub fn playout_offset(&self) -> Option<i64> {
        self.shown
    }

    /// Counters and levels.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Moves whole pictures, in order, from the parts to those that are ready.
    fn assemble(&mut self, now: Timestamp, repairable: impl Fn(SeqNo) -> Option<Timestamp>) {
        loop {
            self.decided_at = None;
            let Some(next) = self.next else {
                let Some((first, last)) = self.whole_key() else {
                    // A key frame that will never be whole must not keep us from asking for another.
                    let Some((&seq, part)) = self.parts.iter().find(|(_, part)| part.facts.key) else {
                        return;
                    };
                    let (time, start) = (part.packet.time, part.facts.start);
                    let from = SeqNo(if start { seq.0 } else { seq.0.saturating_sub(1) });
                    if !self.lost(now, from, &repairable) {
                        return;
                    }
                    let same = self.parts.range(from..).take_while(|(_, part)| part.packet.time == time);
                    let last = same.map(|(&seq, _)| seq).last();
                    self.gap = None;
                    self.drop_through(last.unwrap_or(seq));
                    continue;
                };
                if let Some(before) = first.0.checked_sub(1) {
                    self.drop_through(SeqNo(before));
                }
                self.take(now, first, last);
                continue;
            };
            if let Some(last) = self.whole(next) {
                self.take(now, next, last);
                continue;
            }
            if self.parts.is_empty() {
                self.gap = None;
                return;
            }
            let after = self.after_discardable(next);
            let due = after.map(|(_, time)| self.due(now, time));
            if let Some((first, _)) = after
                && (due.is_some_and(|due| due <= now) || self.lost(now, next, &repairable))
            {
                self.drop_through(SeqNo(first.0.saturating_sub(1)));
                self.next = Some(first);
                self.gap = None;
                self.stats.skipped += 1;
                continue;
            }
            // A whole key frame behind the gap ends the wait: the viewer loses less than by waiting on.
            if self.whole_key().is_none() {
                if !self.lost(now, next, &repairable) {
                    self.decided_at = [self.decided_at, due].into_iter().flatten().min();
                    return;
                }
                self.stats.freezes += 1;
            }
            self.freeze();
        }
    }

    /// The first packet and the date of the next whole picture, if all that is missing before it is one that no other needs.
    fn after_discardable(&self, next: SeqNo) -> Option<(SeqNo, MediaTime)> {
        let mut from = self.parts.range(next..);
        let (seq, head) = from.next()?;
        let (layer, before) = (head.facts.layer?, self.last_layer?);
        let (after, missing_is_discardable) = if layer.number == before.number.wrapping_add(1) {
            // Some of the missing one is here, and tells.
            let after = from.find(|(_, part)| part.packet.time != head.packet.time)?;
            (after, layer.discardable)
        } else {
            // Nothing of it is here. Between the lowest layer and the one above it, either way, lies one of the highest.
            let between = !before.discardable && !layer.discardable && before.temporal != layer.temporal;
            ((seq, head), between)
        };
        let (&first, part) = after;
        let follows = part.facts.layer?.number == before.number.wrapping_add(2);
        let whole = part.facts.start && self.whole(first).is_some();
        (missing_is_discardable && follows && whole).then_some((first, part.packet.time))
    }

    /// When a picture is to be shown.
    fn due(&self, now: Timestamp, time: MediaTime) -> Timestamp {
        let base = self.arrivals.base().unwrap_or_else(|| transit(now, time, self.config.clock_rate));
        let due = base + self.stats.target.as_micros() as i64 + media_micros(time, self.config.clock_rate);
        Timestamp::from_micros(due.max(0) as u64)
    }

    /// Whether a packet before or within the first picture from `next` on is gone for good.
    fn lost(&mut self, now: Timestamp, next: SeqNo, repairable: impl Fn(SeqNo) -> Option<Timestamp>) -> bool {
        let mut expected = next;
        let mut first_missing = None;
        let mut soonest: Option<Timestamp> = None;
        let since = |gap: Option<(SeqNo, Timestamp)>, seq| match gap {
            Some((at, since)) if at == seq => since,
            _ => now,
        };
        let time = self.parts.range(next..).next().map(|(_, part)| part.packet.time);
        let mut open = true;
        // What follows the picture shows whether its end is missing.
        let picture = self.parts.range(next..).take_while(|(_, part)| {
            let shows = open;
            open = Some(part.packet.time) == time && !part.facts.end && !part.packet.marker;
            shows
        });
        'gaps: for (&seq, _) in picture {
            while expected < seq {
                let begun = *first_missing.get_or_insert((expected, since(self.gap, expected)));
                let until = repairable(expected).map_or(begun.1, |until| until.max(begun.1));
                let until = until.max(begun.1 + self.config.reordering);
                soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                // Enough is known: either it is lost, or this is when to look again.
                if until <= now || expected.ahead_of(next) > 512 {
                    break 'gaps;
                }
                expected = expected.next();
            }
            expected = seq.next();
        }
        self.gap = first_missing;
        self.decided_at = soonest;
        soonest.is_some_and(|until| until <= now)
    }

    /// The last packet of the picture that begins at `first`, if all of it is here.
    fn whole(&self, first: SeqNo) -> Option<SeqNo> {
        let time = self.parts.get(&first)?.packet.time;
        let mut last = first;
        for (expected, (&seq, part)) in (first.0..).zip(self.parts.range(first..)) {
            if seq.0 != expected {
                return None;
            }
            // A picture without its end mark ends where the next one's date begins.
            if part.packet.time != time {
                return Some(last);
            }
            if part.facts.end || part.packet.marker {
                return Some(seq);
            }
            last = seq;
        }
        None
    }

    /// The first whole key frame: its first and last packet.
    fn whole_key(&self) -> Option<(SeqNo, SeqNo)> {
        self.parts
            .iter()
            .filter(|(_, part)| part.facts.start && part.facts.key)
            .find_map(|(&seq, _)| Some((seq, self.whole(seq)?)))
    }

    /// Makes a whole picture ready.
    fn take(&mut self, now: Timestamp, first: SeqNo, last: SeqNo) {
        let mut packets = Vec::new();
        let mut key = false;
        while let Some(entry) = self.parts.first_entry().filter(|entry| *entry.key() <= last) {
            let part = entry.remove();
            if part.packet.seq >= first {
                self.last_layer = part.facts.layer;
                key |= part.facts.key;
                packets.push(part.packet);
            }
        }
        self.next = Some(last.next());
        self.passed = Some(last);
        self.gap = None;
        let Some(time) = packets.first().map(|packet| packet.time) else { return };
        let complete = packets.iter().map(|packet| packet.arrival).max().unwrap_or(now);
        let span = match self.last_time.replace(time) {
            Some(before) if time > before => time.since(before, self.config.clock_rate),
            _ => Duration::from_millis(33),
        };
        // It counts from now, not from when its last packet came: a picture before it may have held it up.
        let transit = transit(now, time, self.config.clock_rate);
        self.arrivals.on_arrival(now, transit, 0);
        let base = self.arrivals.base().unwrap_or(transit);
        self.target.on_arrival(transit, base, span, Coming::Picture);
        self.stats.target = self.target.delay().max(self.floor);
        let due = self.due(now, time).max(now);
        // Pictures leave in order, whatever their dates say.
        let show = self.ready.back().map_or(due, |before| due.max(before.show));
        self.ready.push_back(Frame { time, key, packets, complete, show });
    }

    /// Gives up on the next picture: only a key frame will do.
    fn freeze(&mut self) {
        if let Some(next) = self.next.take() {
            self.passed = self.passed.max(next.0.checked_sub(1).map(SeqNo));
        }
        self.gap = None;
        self.decided_at = None;
        // What is left can only serve as part of a key frame.
        let keep = self.parts.values().find(|part| part.facts.key && part.facts.start).map(|p| p.packet.seq);
        match (keep, self.parts.last_key_value()) {
            (Some(keep), _) => self.drop_through(SeqNo(keep.0.saturating_sub(1))),
            (None, Some((&last, part))) if !part.facts.key => self.drop_through(last),
            _ => {}
        }
    }

    fn drop_through(&mut self, last: SeqNo) {
        while let Some(entry) = self.parts.first_entry().filter(|entry| *entry.key() <= last) {
            entry.remove();
            self.stats.dropped += 1;
        }
        self.passed = self.passed.max(Some(last));
    }

    /// The stream begins anew. Whole pictures of the old one are still shown.
    fn restart(&mut self) {
        self.stats.restarts += 1;
        self.stats.dropped += self.parts.len() as u64;
        self.parts.clear();
        self.next = None;
        self.passed = None;
        self.last_time = None;
        self.last_layer = None;
        self.gap = None;
        self.decided_at = None;
        self.arrivals = Arrivals::default();
    }
}
