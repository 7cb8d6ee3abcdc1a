//! On a clean network the buffer adds nothing, and goes on adding nothing.

mod listener;

use listener::{Arrival, Listener, clean};

#[test]
fn a_packet_that_arrives_on_its_tick_plays_on_that_tick() {
    let heard = Listener { until: 59_000_000, ..Listener::default() }.listen(&clean(3000));
    // The path takes 20 ms; the first of its two ticks has played when 10 ms of the packet are over.
    assert!(heard.delays().iter().all(|&delay| delay == 20_000), "{:?}", heard.delays().last());
    assert_eq!(heard.stats.concealed.as_micros(), 0);
    assert_eq!(heard.stats.target.as_micros(), 0);
    assert_eq!(heard.played.len(), 2949);
}

#[test]
fn off_the_tick_it_waits_for_the_next_one_only() {
    let shifted: Vec<Arrival> =
        clean(3000).into_iter().map(|packet| Arrival { at: packet.at + 3_000, ..packet }).collect();
    let heard = Listener { until: 59_000_000, ..Listener::default() }.listen(&shifted);
    assert!(heard.delays().iter().all(|&delay| delay == 30_000));
    assert_eq!(heard.stats.concealed.as_micros(), 0);
}

#[test]
fn a_first_packet_that_came_late_is_caught_up_with() {
    let mut packets = clean(3000);
    packets[0].at += 60_000;
    packets[1].at += 40_000;
    packets[2].at += 20_000;
    let heard = Listener { until: 59_000_000, ..Listener::default() }.listen(&packets);
    let late = heard.ticks.iter().rposition(|tick| tick.delay.is_some_and(|delay| delay > 35_000));
    assert!(late.is_some_and(|tick| tick < 400), "{late:?}");
}

/// A crystal 200 ppm off is 720 ms an hour.
fn drift(ppm: i64) {
    let packets: Vec<Arrival> = clean(180_000)
        .into_iter()
        .map(|packet| Arrival { at: 20_000 + packet.media + packet.media / 1_000_000 * ppm, ..packet })
        .collect();
    let heard = Listener { until: 3_590_000_000, ..Listener::default() }.listen(&packets);
    // What is late against the sender's clock is the drift itself: compare with the path at that moment.
    let added = |tick: &listener::Tick| tick.delay.map(|d| d - 20_000 - tick.now / 1_000_000 * ppm);
    let minute = |from: usize| {
        let added: Vec<i64> = heard.ticks[from * 6000..(from + 1) * 6000].iter().filter_map(added).collect();
        added.iter().sum::<i64>() / added.len() as i64
    };
    assert!(minute(1) < 20_000, "first minute: {} µs", minute(1));
    assert!(minute(58) < 20_000, "last minute: {} µs", minute(58));
    assert!(heard.concealed_percent() < 0.1, "{} %", heard.concealed_percent());
}

#[test]
fn an_hour_with_a_slow_sender_adds_nothing() {
    drift(200);
}

#[test]
fn an_hour_with_a_fast_sender_adds_nothing() {
    drift(-200);
}
