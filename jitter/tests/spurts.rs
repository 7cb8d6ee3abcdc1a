//! Playout moves where nobody hears it: in pauses of the talk.

mod listener;

use listener::{Listener, clean};

/// How long after a stall of a second the delay is back, and how much talk was hurried for it, in µs.
fn stalled(pause: &dyn Fn(i64) -> bool) -> (i64, i64) {
    let mut packets = clean(3000);
    for packet in &mut packets {
        if (30_000_000..31_000_000).contains(&packet.at) {
            packet.at = 31_000_000;
        }
    }
    let heard = Listener { until: 59_000_000, pause, ..Listener::default() }.listen(&packets);
    let last = heard.ticks.iter().rfind(|tick| tick.delay.is_some_and(|delay| delay > 40_000));
    (last.map_or(0, |tick| tick.now - 31_000_000), heard.hurried)
}

#[test]
fn pauses_are_cut_so_that_talk_need_not_be() {
    let (talk, hurried) = stalled(&|_| false);
    let (spurts, less) = stalled(&|media| media % 1_000_000 >= 600_000);
    assert!(spurts < talk && spurts < 2_000_000, "{spurts} µs, without pauses {talk}");
    assert!(less * 10 < hurried * 9, "{less} µs of talk, without pauses {hurried}");
}
