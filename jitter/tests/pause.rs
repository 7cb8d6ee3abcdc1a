//! Pauses: a sender that says nothing for a while is no network that loses.

use std::time::Duration;
use undertone_jitter::{Config, Contents, JitterBuffer, Playout};
use undertone_media::{MediaTime, Packet, SeqNo, Timestamp};

#[test]
fn a_pause_that_was_announced_is_no_loss() {
    // Two seconds of speech, a packet that says nothing follows, three seconds of nothing, speech again.
    let mut buffer = JitterBuffer::new(Config::default());
    let mut silence = Duration::ZERO;
    let mut now = Timestamp::ZERO;
    let mut sent = 0u64;
    for tick in 0..700u64 {
        now += Duration::from_millis(10);
        let speaking = !(200..500).contains(&tick);
        if tick % 2 == 0 && (speaking || tick == 200) {
            let packet = Packet {
                seq: SeqNo(100 + sent),
                time: MediaTime(tick * 480),
                marker: false,
                payload_type: 111,
                arrival: now,
                repaired: false,
                payload: vec![0; 40],
            };
            sent += 1;
            let contents = Contents { pause: tick == 200, ..Contents::plain(Duration::from_millis(20)) };
            buffer.insert(now, packet, contents);
        }
        let mut queued =
            Duration::from_millis(if tick % 2 == 1 && (speaking || tick == 201) { 10 } else { 0 });
        loop {
            match buffer.decide(now, queued, |_| None) {
                Playout::Wait => break,
                Playout::Play { .. } => queued += Duration::from_millis(20),
                Playout::Silence { duration } => {
                    silence += duration;
                    queued += duration;
                }
                other => panic!("tick {tick}: {other:?}"),
            }
        }
    }
    assert!(silence >= Duration::from_millis(2_900), "{silence:?}");
    assert_eq!(buffer.stats().concealed, Duration::ZERO);
}
