//! After the network stood still, the buffer comes back quickly.

mod listener;

use listener::{Arrival, Listener, clean};

/// Everything sent in the second after `from` arrives at its end.
fn stall(from: i64, packets: &mut [Arrival]) {
    for packet in packets {
        if (from..from + 1_000_000).contains(&packet.at) {
            packet.at = from + 1_000_000;
        }
    }
}

fn back_after(from: i64) -> i64 {
    let mut packets = clean(3000);
    stall(from, &mut packets);
    let heard = Listener { until: 59_000_000, ..Listener::default() }.listen(&packets);
    assert_eq!(heard.played.len(), 2949, "a stall loses nothing");
    assert!(heard.stats.concealed.as_millis() < 1100, "{:?}", heard.stats.concealed);
    let last = heard.ticks.iter().rfind(|tick| tick.delay.is_some_and(|delay| delay > 40_000));
    last.expect("the stall was heard").now - from - 1_000_000
}

#[test]
fn one_second_is_made_good_in_two() {
    let back = back_after(30_000_000);
    assert!(back < 2_500_000, "{} ms", back / 1000);
}

#[test]
fn a_stall_in_the_first_seconds_does_not_pin_the_target_either() {
    // It might be the path's way, as far as anybody knows by then.
    let back = back_after(2_000_000);
    assert!(back < 4_000_000, "{} ms", back / 1000);
}

#[test]
fn stalls_that_keep_coming_are_held_for_only_while_they_do() {
    let mut packets = clean(6000);
    for second in 10..20 {
        let from = second * 1_000_000;
        for packet in &mut packets {
            if (from..from + 80_000).contains(&packet.at) {
                packet.at = from + 80_000;
            }
        }
    }
    let heard = Listener { until: 19_000_000, ..Listener::default() }.listen(&packets);
    let target = heard.stats.target.as_millis();
    assert!((60..=100).contains(&target), "{target} ms");
    let heard = Listener { until: 119_000_000, ..Listener::default() }.listen(&packets);
    assert!(heard.stats.target.as_millis() <= 20, "{:?}", heard.stats.target);
}

#[test]
fn what_trickles_through_a_stall_plays_in_few_pieces() {
    let mut packets = clean(1500);
    // For two seconds a packet comes each 50 ms, then all that waited.
    for packet in &mut packets {
        let since = packet.at - 10_000_000;
        if (0..2_000_000).contains(&since) {
            packet.at += (since * 3 / 2).min(2_000_000 - since);
        }
    }
    let heard = Listener { until: 29_000_000, ..Listener::default() }.listen(&packets);
    let mut pieces = 0;
    let mut sound = true;
    for tick in heard.ticks.iter().filter(|tick| (10_000_000..12_100_000).contains(&tick.now)) {
        let plays = tick.delay.is_some();
        pieces += usize::from(plays && !sound);
        sound = plays;
    }
    assert!((1..=10).contains(&pieces), "{pieces} of 40 crumbs");
    assert_eq!(heard.stats.late, 0, "a stall loses nothing");
}
