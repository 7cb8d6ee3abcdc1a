//! Reordering, duplicates, late packets, pauses and new beginnings.

mod listener;

use listener::{Arrival, Listener, clean, packet};
use std::time::Duration;
use undertone_jitter::{Config, JitterBuffer, Playout};
use undertone_media::Timestamp;

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

#[test]
fn overtaken_packets_play_in_order() {
    let mut packets = clean(1000);
    for pair in packets.chunks_exact_mut(10) {
        pair[3].at = pair[4].at + 1_000;
    }
    let heard = Listener { until: 19_000_000, ..Listener::default() }.listen(&packets);
    assert!(heard.played.is_sorted());
    assert!(heard.played.len() > 945, "{}", heard.played.len());
    assert!(heard.concealed_percent() < 0.5, "{} %", heard.concealed_percent());
    assert!(heard.percentile_ms(95) <= 60.0, "{} ms", heard.percentile_ms(95));
}

#[test]
fn a_duplicate_plays_once_before_and_after_its_turn() {
    let mut packets = clean(100);
    let copies: Vec<Arrival> = packets
        .iter()
        .map(|p| Arrival { at: p.at + if p.seq % 2 == 0 { 0 } else { 70_000 }, ..*p })
        .collect();
    packets.extend(copies);
    let heard = Listener { until: 2_300_000, ..Listener::default() }.listen(&packets);
    assert_eq!(heard.played, (0..100).collect::<Vec<u64>>());
    assert_eq!(heard.stats.duplicates, 100);
    assert_eq!(heard.stats.late, 0);
}

#[test]
fn a_packet_whose_turn_is_over_is_counted_and_not_played() {
    let mut packets = clean(100);
    packets[50].at += 200_000;
    let heard = Listener { until: 1_900_000, ..Listener::default() }.listen(&packets);
    assert_eq!(heard.stats.late, 1);
    assert!(!heard.played.contains(&50));
}

#[test]
fn a_pause_of_the_sender_is_silence_and_not_concealment() {
    // Numbers go on, media time jumps by 400 ms: DTX.
    let packets: Vec<Arrival> = clean(500)
        .into_iter()
        .map(|p| {
            let pause = (p.seq / 50) as i64 * 400_000;
            Arrival { media: p.media + pause, at: p.at + pause, ..p }
        })
        .collect();
    let heard = Listener { until: 13_500_000, ..Listener::default() }.listen(&packets);
    assert_eq!(heard.stats.concealed, Duration::ZERO);
    // Nine pauses, and 20 ms before the first packet.
    assert_eq!(heard.stats.silence, Duration::from_millis(9 * 400 + 20));
    assert!(heard.delays().iter().all(|&delay| delay == 20_000));
}

#[test]
fn a_sender_that_counts_anew_is_followed_after_two_packets() {
    let mut packets = clean(500);
    for packet in &mut packets[250..] {
        packet.seq += 30_000;
        packet.media += 3_600_000_000;
    }
    let heard = Listener { until: 9_500_000, ..Listener::default() }.listen(&packets);
    assert_eq!(heard.stats.restarts, 1);
    assert_eq!(heard.stats.strays, 1);
    assert_eq!(heard.played.len(), 250 + 223);
    assert!(heard.stats.concealed.as_millis() <= 60, "{:?}", heard.stats.concealed);
}

#[test]
fn one_stray_changes_nothing() {
    let mut packets = clean(100);
    packets.push(Arrival { seq: 20_000, media: 7_200_000_000, at: 500_000, repaired: false });
    let heard = Listener { until: 1_900_000, ..Listener::default() }.listen(&packets);
    assert_eq!((heard.stats.strays, heard.stats.restarts), (1, 0));
    assert_eq!(heard.stats.concealed, Duration::ZERO);
}

#[test]
fn packets_of_60_ms_play_on_their_tick_too() {
    let mut buffer = JitterBuffer::new(Config::default());
    let mut queued = Duration::ZERO;
    let mut played = Vec::new();
    for tick in 0..60u64 {
        if tick % 6 == 0 {
            let at = tick as i64 * 10_000;
            let arrival = Arrival { seq: tick / 6, media: at, at, repaired: false };
            buffer.insert(ms(tick * 10), packet(&arrival, 48_000), Duration::from_millis(60));
        }
        while let Playout::Play { packet, .. } = buffer.decide(ms(tick * 10), queued, |_| None) {
            queued += Duration::from_millis(60);
            played.push((tick, packet.seq.0 - 65_536));
        }
        queued -= Duration::from_millis(10);
    }
    assert_eq!(played, (0..10).map(|n| (n * 6, n)).collect::<Vec<_>>());
}

#[test]
fn a_hold_delays_and_letting_go_hurries() {
    let mut buffer = JitterBuffer::new(Config::default());
    buffer.hold(Duration::from_millis(100));
    let arrival = Arrival { seq: 0, media: 0, at: 0, repaired: false };
    buffer.insert(ms(0), packet(&arrival, 48_000), Duration::from_millis(20));
    assert_eq!(buffer.target(), Duration::from_millis(100));
    for tick in 0..10 {
        let played = buffer.decide(ms(tick * 10), Duration::ZERO, |_| None);
        assert_eq!(played, Playout::Silence { duration: Duration::from_millis(10) });
    }
    assert!(matches!(buffer.decide(ms(100), Duration::ZERO, |_| None), Playout::Play { .. }));
    buffer.hold(Duration::ZERO);
    assert_eq!(buffer.target(), Duration::ZERO);
}

#[test]
fn late_packets_longer_than_their_neighbours_are_late_and_no_new_beginning() {
    // Two packets of 60 ms between packets of 20 ms come after they were given up.
    let mut media = 0;
    let packets: Vec<Arrival> = (0..200)
        .map(|seq| {
            let (start, long) = (media, seq == 100 || seq == 101);
            media += if long { 60_000 } else { 20_000 };
            Arrival { seq, media: start, at: start + if long { 300_000 } else { 20_000 }, repaired: false }
        })
        .collect();
    let heard = Listener { until: 3_900_000, ..Listener::default() }.listen(&packets);
    assert_eq!((heard.stats.late, heard.stats.strays, heard.stats.restarts), (2, 0, 0));
    assert!(heard.played.len() > 185);
}

#[test]
fn a_sender_that_counts_a_little_back_is_followed_too() {
    let mut packets = clean(500);
    for packet in &mut packets[250..] {
        packet.seq -= 200;
    }
    let heard = Listener { until: 9_500_000, ..Listener::default() }.listen(&packets);
    assert_eq!(heard.stats.restarts, 1);
    assert!(heard.played.len() > 440, "{}", heard.played.len());
}
