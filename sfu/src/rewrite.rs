//! Makes one outgoing stream out of the sources that take turns in a slot.
//!
//! Why: a subscriber sees one SSRC per slot for the whole call, so sequence numbers, timestamps and frame
//! numbers must run on when another participant's packets take the slot over. Within one source every gap
//! is kept: a packet that the publisher's link lost leaves a hole that the subscriber may ask for, and a
//! late recovery falls into exactly that hole.
//!
//! Wire: RFC 3550 §5.1 (sequence number, timestamp); dependency descriptor frame numbers (16 bits).
//! Not here: which source is in the slot (`slots`), and when a switch may happen (`forward`).

use std::collections::VecDeque;
use undertone_media::{MediaTime, SeqNo, Timestamp};

/// How many switches back a late packet or a NACK can still be matched.
const SEGMENTS: usize = 16;

/// One published stream, unique within an SFU for its whole life: an SSRC that restarts is a new source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceId(pub(crate) u64);

/// A run of packets from one source, moved by constant offsets.
#[derive(Clone, Debug)]
struct Segment {
    source: SourceId,
    /// First source packet of the run, and where it went.
    from: SeqNo,
    to: SeqNo,
    /// What is added to the source's media time.
    time_offset: i64,
    /// What is added to the source's frame number, modulo 2^16.
    frame_offset: u16,
}

/// Where a packet goes in the outgoing stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seq: SeqNo,
    pub(crate) time: MediaTime,
    /// What to add to the frame number in the dependency descriptor, modulo 2^16.
    pub(crate) frame_offset: u16,
}

/// The numbers of one outgoing stream.
#[derive(Clone, Debug)]
pub(crate) struct Rewriter {
    clock_rate: u32,
    segments: VecDeque<Segment>,
    /// False between a source's end and the next switch: nothing new may pass, late packets still may.
    open: bool,
    /// One past the highest sequence number sent.
    next_seq: SeqNo,
    /// The first packet's time and date: the stream's clock runs with the wall from there.
    anchor: Option<(Timestamp, MediaTime)>,
    /// The newest outgoing time, and the time that a packet spans, so that a switch never dates two packets
    /// alike.
    newest_time: Option<MediaTime>,
    step: u64,
    /// The newest packet of the present run, as its source numbers it.
    newest: Option<SeqNo>,
    start_time: MediaTime,
    next_frame: u16,
}

impl Rewriter {
    /// A stream that starts at these (random) numbers, RFC 3550 §5.1.
    pub(crate) fn new(clock_rate: u32, seq: u16, time: u32) -> Rewriter {
        Rewriter {
            clock_rate,
            segments: VecDeque::new(),
            open: false,
            // One cycle in, so that nothing before the start is negative.
            next_seq: SeqNo(0x1_0000 + u64::from(seq)),
            anchor: None,
            newest_time: None,
            newest: None,
            step: u64::from(clock_rate) / 50,
            start_time: MediaTime(0x1_0000_0000 + u64::from(time)),
            next_frame: 0,
        }
    }

    /// Lets `source` run on from its packet `seq`, dated `time`, with the frame number given. Everything
    /// of the source before that packet stays out.
    pub(crate) fn switch(
        &mut self,
        now: Timestamp,
        source: SourceId,
        seq: SeqNo,
        time: MediaTime,
        frame: Option<u16>,
    ) {
        let due = match self.anchor {
            None => {
                self.anchor = Some((now, self.start_time));
                self.start_time
            }
            Some((since, start)) => start + ticks(now.since(since).as_micros() as u64, self.clock_rate),
        };
        let earliest = self.newest_time.map_or(due, |newest| newest + self.step);
        let out = due.max(earliest);
        if self.segments.len() == SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(Segment {
            source,
            from: seq,
            to: self.next_seq,
            time_offset: out.0 as i64 - time.0 as i64,
            frame_offset: self.next_frame.wrapping_sub(frame.unwrap_or(0)),
        });
        self.newest = None;
        self.open = true;
    }

    /// Ends the present run; late packets of it still find their places.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// True if packets of `source` flow now.
    #[cfg(test)]
    pub(crate) fn flows(&self, source: SourceId) -> bool {
        self.open && self.segments.back().is_some_and(|segment| segment.source == source)
    }

    /// Where a packet goes; `None` if it belongs to no run (it is from before the switch, or after the end).
    pub(crate) fn place(
        &mut self,
        source: SourceId,
        seq: SeqNo,
        time: MediaTime,
        frame: Option<u16>,
    ) -> Option<Place> {
        let (segment, limit) = self.find(source, seq)?;
        let offset = segment.to.0 as i64 - segment.from.0 as i64;
        let out = SeqNo(seq.0.checked_add_signed(offset)?);
        if limit.is_some_and(|limit| out >= limit) {
            return None;
        }
        let place = Place {
            seq: out,
            time: MediaTime(time.0.checked_add_signed(segment.time_offset)?),
            frame_offset: segment.frame_offset,
        };
        if out >= self.next_seq {
            if let (Some(newest), Some(newest_time)) = (self.newest, self.newest_time) {
                let passed = place.time.0.saturating_sub(newest_time.0);
                let packets = seq.0.saturating_sub(newest.0).max(1);
                // Packets of one picture share a date, and a pause in speech is no step.
                if passed > 0 && passed / packets <= u64::from(self.clock_rate) / 5 {
                    self.step = (passed / packets).max(1);
                }
            }
            self.newest = Some(seq);
            self.newest_time = Some(self.newest_time.map_or(place.time, |newest| newest.max(place.time)));
            self.next_seq = out.next();
            if let Some(frame) = frame {
                self.next_frame = frame.wrapping_add(place.frame_offset).wrapping_add(1);
            }
        }
        Some(place)
    }

    /// Leaves the newest packet out without a trace: what follows it closes up. Does nothing for a packet
    /// that is not the newest, whose number is already spoken of.
    pub(crate) fn elide(&mut self, source: SourceId, seq: SeqNo) -> bool {
        if !self.open {
            return false;
        }
        let Some(last) = self.segments.back_mut() else { return false };
        if last.source != source || seq < last.from {
            return false;
        }
        let out = last.to + (seq.0 - last.from.0);
        if out < self.next_seq {
            return false;
        }
        if seq == last.from {
            // A burst of padding is one cut, not many.
            last.from = seq.next();
            return true;
        }
        let run = Segment { from: seq.next(), to: out, ..last.clone() };
        if self.segments.len() == SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(run);
        self.next_seq = out;
        true
    }

    /// Which source packet went out under this number: what a NACK asks for.
    pub(crate) fn origin(&self, wire: u16) -> Option<(SourceId, SeqNo)> {
        let newest = self.next_seq.0.checked_sub(1)?;
        let behind = u64::from((newest as u16).wrapping_sub(wire));
        let out = SeqNo(newest.checked_sub(behind)?);
        let segment = self.segments.iter().rev().find(|segment| segment.to <= out)?;
        let from = segment.from + (out.0 - segment.to.0);
        Some((segment.source, from))
    }

    /// The outgoing date of a moment on the present source's media clock, for sender reports; `None`
    /// when nothing flows.
    pub(crate) fn date(&self, source: SourceId, time: MediaTime) -> Option<MediaTime> {
        let segment = self.segments.back().filter(|segment| self.open && segment.source == source)?;
        Some(MediaTime(time.0.checked_add_signed(segment.time_offset)?))
    }

    /// The run that holds a source packet, and the number at which the next run begins.
    fn find(&self, source: SourceId, seq: SeqNo) -> Option<(&Segment, Option<SeqNo>)> {
        let mut limit = if self.open { None } else { Some(self.next_seq) };
        for segment in self.segments.iter().rev() {
            if segment.source == source && segment.from <= seq {
                return Some((segment, limit));
            }
            limit = Some(segment.to);
        }
        None
    }
}

/// `micros` microseconds in ticks of `rate` per second.
pub(crate) fn ticks(micros: u64, rate: u32) -> u64 {
    (u128::from(micros) * u128::from(rate) / 1_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    const A: SourceId = SourceId(1);
    const B: SourceId = SourceId(2);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn numbers_run_on_across_a_switch() {
        let mut out = Rewriter::new(48_000, 100, 0);
        out.switch(at(0), A, SeqNo(5_000), MediaTime(70_000), Some(900));
        let a0 = out.place(A, SeqNo(5_000), MediaTime(70_000), Some(900)).unwrap();
        let a1 = out.place(A, SeqNo(5_001), MediaTime(70_960), Some(901)).unwrap();
        assert_eq!((a0.seq.wire(), a1.seq.wire()), (100, 101));
        assert_eq!(a1.time.since(a0.time, 48_000), Duration::from_millis(20));
        out.switch(at(200), B, SeqNo(9), MediaTime(1_000_000), Some(7));
        let b0 = out.place(B, SeqNo(9), MediaTime(1_000_000), Some(7)).unwrap();
        assert_eq!(b0.seq, a1.seq.next());
        // Dates follow the wall clock, and so does lip sync.
        assert_eq!(b0.time.since(a0.time, 48_000), Duration::from_millis(200));
        assert_eq!(7u16.wrapping_add(b0.frame_offset), 901u16.wrapping_add(a1.frame_offset).wrapping_add(1));
    }

    #[test]
    fn a_hasty_switch_still_steps_forward() {
        let mut out = Rewriter::new(48_000, 0, 0);
        out.switch(at(0), A, SeqNo(1), MediaTime(0), None);
        out.place(A, SeqNo(1), MediaTime(0), None).unwrap();
        let a = out.place(A, SeqNo(2), MediaTime(2_880), None).unwrap();
        out.switch(at(1), B, SeqNo(1), MediaTime(0), None);
        let b = out.place(B, SeqNo(1), MediaTime(0), None).unwrap();
        assert_eq!(b.time, a.time + 2_880);
    }

    #[test]
    fn gaps_stay_and_late_recoveries_fill_them() {
        let mut out = Rewriter::new(90_000, 65_530, 7);
        out.switch(at(0), A, SeqNo(10), MediaTime(0), None);
        let first = out.place(A, SeqNo(10), MediaTime(0), None).unwrap().seq;
        assert_eq!(out.place(A, SeqNo(14), MediaTime(0), None).unwrap().seq, first + 4);
        out.switch(at(50), B, SeqNo(500), MediaTime(0), None);
        assert_eq!(out.place(B, SeqNo(500), MediaTime(0), None).unwrap().seq, first + 5);
        assert_eq!(out.place(A, SeqNo(12), MediaTime(0), None).unwrap().seq, first + 2);
        assert_eq!(out.place(A, SeqNo(15), MediaTime(0), None), None, "it would collide with B's first");
        assert_eq!(out.place(A, SeqNo(9), MediaTime(0), None), None, "before the switch");
        assert_eq!(out.origin((first + 2).wire()), Some((A, SeqNo(12))));
        assert_eq!(out.origin((first + 5).wire()), Some((B, SeqNo(500))));
    }

    #[test]
    fn a_closed_run_takes_only_what_was_spoken_of() {
        let mut out = Rewriter::new(90_000, 0, 0);
        out.switch(at(0), A, SeqNo(10), MediaTime(0), None);
        out.place(A, SeqNo(12), MediaTime(0), None).unwrap();
        out.close();
        assert!(!out.flows(A));
        assert!(out.place(A, SeqNo(11), MediaTime(0), None).is_some());
        assert!(out.place(A, SeqNo(13), MediaTime(0), None).is_none());
    }

    #[test]
    fn a_burst_of_padding_costs_no_memory() {
        let mut out = Rewriter::new(90_000, 0, 0);
        out.switch(at(0), A, SeqNo(10), MediaTime(0), None);
        let first = out.place(A, SeqNo(10), MediaTime(0), None).unwrap().seq;
        for seq in 11..111 {
            assert!(out.elide(A, SeqNo(seq)));
        }
        assert_eq!(out.place(A, SeqNo(111), MediaTime(0), None).unwrap().seq, first + 1);
        assert_eq!(out.segments.len(), 2);
        assert_eq!(out.origin(first.wire()), Some((A, SeqNo(10))));
    }

    /// What happens to a slot, in terms of the source that is in it.
    #[derive(Clone, Debug)]
    enum Step {
        /// Its next packet comes, after so many were lost.
        Packet { lost: u64 },
        /// A packet that was lost so far back comes late.
        Late { back: u64 },
        /// Its next packet is padding.
        Padding,
        /// The other source takes over.
        Switch,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0u64..3).prop_map(|lost| Step::Packet { lost }),
            2 => (1u64..6).prop_map(|back| Step::Late { back }),
            1 => Just(Step::Padding),
            1 => Just(Step::Switch),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// No two packets share a number, every number leads back to its packet, and dates do not run back.
        #[test]
        fn numbers_are_unique_and_lead_back(steps in steps(), seq in any::<u16>(), time in any::<u32>()) {
            let mut out = Rewriter::new(90_000, seq, time);
            let mut next = [SeqNo(70_000), SeqNo(90_000)];
            let mut current = 0;
            let mut taken = BTreeMap::new();
            let mut newest: Option<Place> = None;
            let mut now = Timestamp::ZERO;
            let media = |seq: SeqNo| MediaTime((1 << 32) + seq.0 * 3_000);
            out.switch(now, A, next[0], media(next[0]), None);
            for step in steps {
                now += Duration::from_millis(33);
                let source = [A, B][current];
                let seq = match step {
                    Step::Packet { lost } => {
                        let seq = next[current] + lost;
                        next[current] = seq.next();
                        seq
                    }
                    Step::Late { back } => SeqNo(next[current].0 - back),
                    Step::Padding => {
                        out.elide(source, next[current]);
                        next[current] = next[current].next();
                        continue;
                    }
                    Step::Switch => {
                        current = 1 - current;
                        out.switch(now, [A, B][current], next[current], media(next[current]), None);
                        continue;
                    }
                };
                let Some(place) = out.place(source, seq, media(seq), None) else { continue };
                let before = taken.insert(place.seq, (source, seq));
                prop_assert!(before.is_none_or(|before| before == (source, seq)), "{place:?} {before:?}");
                prop_assert_eq!(out.origin(place.seq.wire()), Some((source, seq)));
                if newest.is_none_or(|newest| place.seq > newest.seq) {
                    prop_assert!(newest.is_none_or(|newest| place.time > newest.time), "{place:?} {newest:?}");
                    newest = Some(place);
                }
            }
        }
    }

    #[test]
    fn an_elided_packet_leaves_no_gap() {
        let mut out = Rewriter::new(90_000, 0, 0);
        out.switch(at(0), A, SeqNo(10), MediaTime(0), None);
        let first = out.place(A, SeqNo(10), MediaTime(0), None).unwrap().seq;
        // 11 is still on its way when 12 is left out.
        assert!(out.elide(A, SeqNo(12)));
        assert_eq!(out.place(A, SeqNo(13), MediaTime(0), None).unwrap().seq, first + 2);
        assert_eq!(out.place(A, SeqNo(11), MediaTime(0), None).unwrap().seq, first + 1);
        assert!(!out.elide(A, SeqNo(11)), "its number is spoken of");
        assert_eq!(out.origin((first + 2).wire()), Some((A, SeqNo(13))));
    }
}
