//! Pictures in temporal layers: what no other needs holds nothing up.

use std::time::Duration;
use undertone_jitter::frames::{Facts, FrameBuffer, Layer};
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

/// Layers in the usual pattern of three, from a key frame on.
const TEMPORAL: [u8; 4] = [0, 2, 1, 2];

/// Pictures of two packets at 25 fps; all come on time but those in `missing`, by picture and packet. Gives the pictures
/// shown, how many were left out, and how often it froze.
fn shown(pictures: u64, missing: &[(u64, u64)]) -> (Vec<u64>, u64, u64) {
    let mut buffer = FrameBuffer::new(Default::default());
    let mut shown = Vec::new();
    let mut drain = |buffer: &mut FrameBuffer, now: Timestamp| {
        // What is missing may come for a second.
        while let Some(frame) = buffer.poll(now, |_| Some(now + Duration::from_secs(1))) {
            shown.push((frame.time.0 - (1 << 32)) / 3600);
        }
    };
    for ms in 0..pictures * 40 + 400 {
        let now = Timestamp::from_millis(1_000 + ms);
        if ms.is_multiple_of(40) && ms / 40 < pictures {
            let picture = ms / 40;
            for packet in (0..2).filter(|packet| !missing.contains(&(picture, *packet))) {
                buffer.insert(now, part(picture, packet, now), facts(picture, packet));
            }
        }
        drain(&mut buffer, now);
    }
    let stats = *buffer.stats();
    (shown, stats.skipped, stats.freezes)
}

fn facts(picture: u64, packet: u64) -> Facts {
    let temporal = TEMPORAL[picture as usize % 4];
    let layer = Layer { number: (picture + 65_530) as u16, temporal, discardable: temporal == 2 };
    Facts { start: packet == 0, end: packet == 1, key: picture == 0, layer: Some(layer) }
}

fn part(picture: u64, packet: u64, arrival: Timestamp) -> Packet {
    Packet {
        seq: SeqNo(65_530 + picture * 2 + packet),
        time: MediaTime((1 << 32) + picture * 3600),
        marker: packet == 1,
        payload_type: 102,
        arrival,
        repaired: false,
        payload: Vec::new(),
    }
}

fn all_but(left_out: u64) -> Vec<u64> {
    (0..20).filter(|picture| *picture != left_out).collect()
}

#[test]
fn half_of_one_that_no_other_needs_is_left_out() {
    for packet in [0, 1] {
        assert_eq!(shown(20, &[(9, packet)]), (all_but(9), 1, 0), "packet {packet}");
    }
}

#[test]
fn the_whole_of_one_that_no_other_needs_is_left_out() {
    for picture in [1, 5, 7, 11] {
        assert_eq!(shown(20, &[(picture, 0), (picture, 1)]), (all_but(picture), 1, 0), "picture {picture}");
    }
}

#[test]
fn one_that_others_need_is_waited_for() {
    for (picture, packet) in [(8, 0), (8, 1), (10, 0), (10, 1)] {
        let before: Vec<u64> = (0..picture).collect();
        assert_eq!(shown(20, &[(picture, packet)]), (before, 0, 0), "picture {picture}, packet {packet}");
    }
}

#[test]
fn what_cannot_be_told_apart_is_waited_for() {
    // Nothing of two: one of them is needed.
    let (pictures, skipped, _) = shown(20, &[(9, 0), (9, 1), (10, 0), (10, 1)]);
    assert_eq!((pictures, skipped), ((0..9).collect(), 0));
    // The next is not whole either.
    let (pictures, skipped, _) = shown(20, &[(9, 0), (10, 1)]);
    assert_eq!((pictures, skipped), ((0..9).collect(), 0));
}
