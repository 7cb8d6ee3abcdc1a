//! Whatever comes, in whatever order: no panic, nothing plays twice, nothing plays before what it follows.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;
use undertone_jitter::frames::{Facts, FrameBuffer};
use undertone_jitter::{Config, Contents, JitterBuffer, Playout};
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

#[derive(Clone, Debug)]
enum Step {
    Insert { seq: u64, time: u64, duration_ms: u64, repaired: bool, lbrr: bool, dred_ms: u64 },
    Pass { ms: u64 },
    Decide { queued_ms: u64, repairable_ms: Option<u64> },
    Hold { ms: u64 },
}

fn packet(seq: u64, time: u64, at: Timestamp, repaired: bool) -> Packet {
    Packet {
        seq: SeqNo(seq),
        time: MediaTime(time),
        marker: seq.is_multiple_of(3),
        payload_type: 111,
        arrival: at,
        repaired,
        payload: vec![0; 3],
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly a stream as it should be; sometimes numbers and dates out of the blue.
    let seq = prop_oneof![8 => 65_500..65_700u64, 1 => 0..200_000u64, 1 => Just(u64::MAX - 1)];
    let insert = (seq, any::<bool>(), any::<u64>(), 0..200u64, any::<bool>(), any::<bool>(), 0..1000u64);
    let step = prop_oneof![
        6 => insert.prop_map(|(seq, wild, time, duration_ms, repaired, lbrr, dred_ms)| Step::Insert {
            seq,
            time: if wild && time.is_multiple_of(8) { time } else { (1 << 32) + seq % 100_000 * 960 },
            duration_ms,
            repaired,
            lbrr,
            dred_ms,
        }),
        3 => (0..60u64).prop_map(|ms| Step::Pass { ms }),
        6 => (0..30u64, proptest::option::of(0..300u64))
            .prop_map(|(queued_ms, repairable_ms)| Step::Decide { queued_ms, repairable_ms }),
        1 => (0..3000u64).prop_map(|ms| Step::Hold { ms }),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sound_plays_once_and_in_order(steps in steps()) {
        let mut buffer = JitterBuffer::new(Config::default());
        let mut now = Timestamp::from_millis(1000);
        let mut played = BTreeSet::new();
        let mut restarts = 0;
        for step in steps {
            match step {
                Step::Insert { seq, time, duration_ms, repaired, lbrr, dred_ms } => {
                    let contents = Contents {
                        pause: false,
                        duration: Duration::from_millis(duration_ms),
                        lbrr,
                        dred: Duration::from_millis(dred_ms),
                    };
                    buffer.insert(now, packet(seq, time, now, repaired), contents);
                }
                Step::Pass { ms } => now += Duration::from_millis(ms),
                Step::Hold { ms } => buffer.hold(Duration::from_millis(ms)),
                Step::Decide { queued_ms, repairable_ms } => {
                    let mut queued = Duration::from_millis(queued_ms);
                    let mut answers = 0;
                    loop {
                        let until = |_| repairable_ms.map(|ms| now + Duration::from_millis(ms));
                        if buffer.stats().restarts != restarts {
                            restarts = buffer.stats().restarts;
                            played.clear();
                        }
                        match buffer.decide(now, queued, until) {
                            Playout::Wait => break,
                            Playout::Play { packet, .. } => {
                                prop_assert!(played.last().is_none_or(|&last| packet.seq > last));
                                prop_assert!(played.insert(packet.seq));
                                queued += Duration::from_millis(10);
                            }
                            Playout::Recover { seq, missing, .. } => {
                                prop_assert!(!played.contains(&seq));
                                prop_assert!(!missing.is_zero());
                                queued += missing;
                            }
                            Playout::Conceal { duration } | Playout::Silence { duration } => {
                                prop_assert!(!duration.is_zero() && duration <= Duration::from_millis(120));
                                queued += duration;
                            }
                        }
                        answers += 1;
                        prop_assert!(answers < 20, "the engine's loop ends");
                    }
                }
            }
        }
    }

    #[test]
    fn pictures_are_whole_and_in_order(steps in steps()) {
        let mut buffer = FrameBuffer::new(Default::default());
        let mut now = Timestamp::from_millis(1000);
        let mut shown: Option<SeqNo> = None;
        let mut restarts = 0;
        for step in steps {
            match step {
                Step::Insert { seq, time, duration_ms, repaired, lbrr, dred_ms } => {
                    let facts = Facts { start: lbrr, end: dred_ms.is_multiple_of(2), key: duration_ms.is_multiple_of(4), layer: None };
                    buffer.insert(now, packet(seq, time, now, repaired), facts);
                }
                Step::Pass { ms } => now += Duration::from_millis(ms),
                Step::Hold { ms } => buffer.hold(Duration::from_millis(ms)),
                Step::Decide { repairable_ms, .. } => {
                    let until = |_| repairable_ms.map(|ms| now + Duration::from_millis(ms));
                    if buffer.stats().restarts != restarts {
                        restarts = buffer.stats().restarts;
                        shown = None;
                    }
                    while let Some(frame) = buffer.poll(now, until) {
                        let numbers: Vec<u64> = frame.packets.iter().map(|packet| packet.seq.0).collect();
                        prop_assert!(!numbers.is_empty());
                        prop_assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
                        let first = frame.packets[0].seq;
                        if restarts == 0 {
                            let follows = shown.is_some_and(|last| first == last.next());
                            let skips = frame.key && shown.is_none_or(|last| first > last);
                            prop_assert!(follows || skips, "{first:?} after {shown:?}");
                        }
                        shown = frame.packets.last().map(|packet| packet.seq);
                    }
                }
            }
        }
    }
}
