//! Pictures: whole, in order, decodable, even.

use std::time::Duration;
use undertone_jitter::frames::{Facts, Frame, FrameBuffer};
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

/// A stream of pictures of three packets at 25 fps; each tenth is a key frame.
fn part(seq: u64, at: Timestamp) -> (Packet, Facts) {
    let picture = seq / 3;
    let facts = Facts {
        start: seq.is_multiple_of(3),
        end: seq % 3 == 2,
        key: picture.is_multiple_of(10),
        layer: None,
    };
    let packet = Packet {
        seq: SeqNo(65_535 + seq),
        time: MediaTime((1 << 32) + picture * 3600),
        marker: facts.end,
        payload_type: 102,
        arrival: at,
        repaired: false,
        payload: vec![seq as u8],
    };
    (packet, facts)
}

fn number(frame: &Frame) -> u64 {
    (frame.time.0 - (1 << 32)) / 3600
}

struct Viewer {
    buffer: FrameBuffer,
    shown: Vec<(u64, u64)>,
    repairable: Option<Timestamp>,
}

impl Viewer {
    fn new() -> Viewer {
        Viewer { buffer: FrameBuffer::new(Default::default()), shown: Vec::new(), repairable: None }
    }

    fn insert(&mut self, ms: u64, seq: u64) {
        self.poll(ms);
        let at = Timestamp::from_millis(ms);
        let (packet, facts) = part(seq, at);
        self.buffer.insert(at, packet, facts);
        self.poll(ms);
    }

    fn poll(&mut self, ms: u64) {
        let now = Timestamp::from_millis(ms);
        while let Some(due) = self.buffer.deadline().filter(|due| *due <= now) {
            self.drain(due);
            if self.buffer.deadline() == Some(due) {
                break;
            }
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Timestamp) {
        let repairable = self.repairable;
        while let Some(frame) = self.buffer.poll(now, |_| repairable) {
            assert_eq!(frame.packets.len(), 3);
            self.shown.push((number(&frame), now.as_micros() / 1000));
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.shown.iter().map(|&(number, _)| number).collect()
    }
}

#[test]
fn pictures_on_a_clean_path_are_shown_when_they_are_whole() {
    let mut viewer = Viewer::new();
    for seq in 0..90 {
        viewer.insert(100 + seq / 3 * 40 + seq % 3, seq);
    }
    assert_eq!(viewer.shown, (0..30).map(|n| (n, 102 + n * 40)).collect::<Vec<_>>());
    assert_eq!(viewer.buffer.stats().target, Duration::ZERO);
}

#[test]
fn reordered_and_repeated_packets_make_the_same_pictures() {
    let mut viewer = Viewer::new();
    for picture in 0..30 {
        for seq in [2, 0, 2, 1] {
            viewer.insert(100 + picture * 40, picture * 3 + seq);
        }
    }
    assert_eq!(viewer.numbers(), (0..30).collect::<Vec<_>>());
    assert_eq!(viewer.buffer.stats().duplicates, 30);
}

#[test]
fn it_begins_with_a_key_frame() {
    let mut viewer = Viewer::new();
    for seq in 10..60 {
        viewer.insert(100 + seq / 3 * 40, seq);
        if seq < 29 {
            assert!(viewer.buffer.wants_key());
        }
    }
    assert_eq!(viewer.numbers(), (10..20).collect::<Vec<_>>());
    assert!(!viewer.buffer.wants_key());
}

#[test]
fn a_repair_in_time_loses_nothing() {
    let mut viewer = Viewer::new();
    for seq in 0..60 {
        let ms = 100 + seq / 3 * 40;
        viewer.repairable = Some(Timestamp::from_millis(ms + 100));
        if seq == 24 {
            viewer.insert(ms, 16);
        }
        if seq != 16 {
            viewer.insert(ms, seq);
        }
    }
    assert_eq!(viewer.numbers(), (0..20).collect::<Vec<_>>());
    assert_eq!(viewer.buffer.stats().freezes, 0);
}

#[test]
fn a_lost_packet_freezes_until_the_next_key_frame() {
    let mut viewer = Viewer::new();
    let mut wanted = Vec::new();
    for seq in (0..60).filter(|&seq| seq != 16) {
        viewer.insert(100 + seq / 3 * 40, seq);
        if viewer.buffer.wants_key() {
            wanted.push(seq / 3);
        }
    }
    assert_eq!(viewer.numbers(), (0..5).chain(10..20).collect::<Vec<_>>());
    assert_eq!(viewer.buffer.stats().freezes, 1);
    // Asked for as soon as mere reordering is out of the question, until a key frame begins to come.
    assert_eq!((wanted.first(), wanted.last()), (Some(&6), Some(&9)));
}

#[test]
fn a_picture_whose_end_is_lost_is_given_up_as_well() {
    let mut viewer = Viewer::new();
    for seq in (0..29).filter(|&seq| seq != 17) {
        viewer.insert(100 + seq / 3 * 40, seq);
    }
    assert_eq!(viewer.numbers(), (0..5).collect::<Vec<_>>());
    assert_eq!(viewer.buffer.stats().freezes, 1);
    assert!(viewer.buffer.wants_key());
    // Nothing of what was given up is wanted any more.
    assert!(viewer.buffer.wanted_from() > Some(SeqNo(65_535 + 17)));
}

#[test]
fn a_whole_key_frame_ends_the_wait_for_a_repair() {
    let mut viewer = Viewer::new();
    viewer.repairable = Some(Timestamp::from_millis(60_000));
    for seq in (0..60).filter(|&seq| seq != 16) {
        viewer.insert(100 + seq / 3 * 40, seq);
    }
    assert_eq!(viewer.numbers(), (0..5).chain(10..20).collect::<Vec<_>>());
}

#[test]
fn uneven_arrival_is_evened_out() {
    let mut viewer = Viewer::new();
    for picture in 0..250u64 {
        // Every other picture comes 30 ms late.
        let ms = 100 + picture * 40 + picture % 2 * 30;
        (0..3).for_each(|seq| viewer.insert(ms, picture * 3 + seq));
    }
    let gaps: Vec<u64> = viewer.shown.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(gaps[150..].iter().all(|gap| (35..=45).contains(gap)), "{:?}", &gaps[150..]);
}

#[test]
fn a_hold_shows_pictures_later() {
    let mut viewer = Viewer::new();
    viewer.buffer.hold(Duration::from_millis(80));
    for seq in 0..60 {
        viewer.insert(100 + seq / 3 * 40, seq);
    }
    assert_eq!(viewer.shown[..10], (0..10).map(|n| (n, 180 + n * 40)).collect::<Vec<_>>()[..]);
}

#[test]
fn a_sender_that_counts_anew_is_followed() {
    let mut viewer = Viewer::new();
    for seq in 0..60 {
        viewer.insert(100 + seq / 3 * 40, seq);
    }
    // Pictures 10 000 on, at dates to match, right away.
    for seq in 30_000..30_060 {
        viewer.insert(1000 + (seq - 30_000) / 3 * 40, seq);
    }
    assert_eq!(viewer.buffer.stats().restarts, 1);
    // The first packet was the stray, and its key frame with it.
    assert_eq!(viewer.numbers(), (0..20).chain(10_010..10_020).collect::<Vec<_>>());
}

#[test]
fn a_key_frame_that_lost_a_packet_is_asked_for_again() {
    let mut viewer = Viewer::new();
    assert!(!viewer.buffer.wants_key());
    for seq in (0..60).filter(|&seq| seq != 1) {
        viewer.insert(100 + seq / 3 * 40, seq);
        if (6..30).contains(&seq) {
            assert!(viewer.buffer.wants_key(), "at {seq}");
        }
    }
    assert_eq!(viewer.numbers(), (10..20).collect::<Vec<_>>());
}

#[test]
fn what_follows_a_broken_picture_does_not_break_the_one_before() {
    let mut viewer = Viewer::new();
    // The last packet of picture 4 and the first of picture 5 are overtaken, then one of them never comes.
    for seq in (0..30).filter(|&seq| seq != 14 && seq != 15) {
        viewer.insert(100 + seq / 3 * 40, seq);
        if seq == 17 {
            viewer.insert(100 + seq / 3 * 40, 14);
        }
    }
    assert_eq!(viewer.numbers(), (0..5).collect::<Vec<_>>());
}
