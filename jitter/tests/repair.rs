//! Lost packets: waited for while a repair can come, and no longer.

mod listener;

use listener::{Arrival, Listener, PACKET, TICK, clean};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use undertone_jitter::Contents;

/// Loses one packet in ten and, with a round trip, resends it: the loss is seen when the next packet comes,
/// and each repair may be lost in turn, when it is asked for again.
fn lossy(packets: u64, rtt: Option<i64>) -> Vec<Arrival> {
    let mut random = ChaCha8Rng::seed_from_u64(10);
    let mut lost = || random.next_u32() % 10 == 0;
    let mut arrivals = clean(packets);
    arrivals.retain_mut(|packet| {
        if !lost() {
            return true;
        }
        let Some(rtt) = rtt else { return false };
        packet.repaired = true;
        packet.at += 20_000 + rtt;
        for _ in 0..2 {
            if !lost() {
                return true;
            }
            packet.at += rtt + 10_000;
        }
        false
    });
    arrivals
}

#[test]
fn repairs_over_a_short_path_are_waited_for() {
    let packets = lossy(3000, Some(40_000));
    let repairable = |seq: u64, _: i64| Some(seq as i64 * 20_000 + 200_000);
    let heard =
        Listener { until: 59_000_000, repairable: &repairable, ..Listener::default() }.listen(&packets);
    assert!(heard.concealed_percent() < 1.0, "{} %", heard.concealed_percent());
    let target = heard.stats.target.as_millis();
    assert!((55..=120).contains(&target), "{target} ms");
    assert!(heard.mean_ms() < 145.0, "{} ms", heard.mean_ms());
}

#[test]
fn without_repair_nothing_is_waited_for() {
    let heard = Listener { until: 59_000_000, ..Listener::default() }.listen(&lossy(3000, None));
    assert_eq!(heard.percentile_ms(99), 20.0);
    assert!((8.0..12.0).contains(&heard.concealed_percent()), "{} %", heard.concealed_percent());
    assert_eq!(heard.stats.target.as_micros(), 0);
}

#[test]
fn repairs_that_take_seconds_are_not_waited_for() {
    let heard = Listener { until: 59_000_000, ..Listener::default() }.listen(&lossy(3000, Some(1_500_000)));
    assert!(heard.percentile_ms(50) < 40.0, "{} ms", heard.percentile_ms(50));
    assert!(heard.stats.late > 200, "{}", heard.stats.late);
}

#[test]
fn a_copy_in_the_next_packet_is_worth_waiting_one_packet_for() {
    let contents = Contents { lbrr: true, ..Contents::plain(PACKET) };
    let heard = Listener { until: 59_000_000, contents, ..Listener::default() }.listen(&lossy(3000, None));
    // Two in a row are lost once in a hundred packets; the copy brings back only the second.
    assert!(heard.concealed_percent() < 2.5, "{} %", heard.concealed_percent());
    assert!(heard.stats.recovered_lbrr > 200, "{}", heard.stats.recovered_lbrr);
    assert!(heard.mean_ms() < 52.0, "{} ms", heard.mean_ms());
}

#[test]
fn deep_redundancy_fills_a_burst() {
    let mut packets = clean(1000);
    packets.retain(|packet| packet.seq % 50 >= 5 || packet.seq < 50);
    let contents = Contents { dred: std::time::Duration::from_millis(200), ..Contents::plain(PACKET) };
    let heard = Listener { until: 19_000_000, contents, ..Listener::default() }.listen(&packets);
    assert!(heard.stats.recovered_dred >= 80, "{:?}", heard.stats);
    assert!(heard.concealed_percent() < 2.0, "{} %", heard.concealed_percent());
}

#[test]
fn what_a_packet_tells_of_long_ago_moves_nothing() {
    // Outages of 400 ms, four times as long as repairs are waited for.
    let mut packets = clean(1000);
    packets.retain(|packet| packet.seq % 100 >= 20 || packet.seq < 100);
    let listen = |dred| {
        let dred = std::time::Duration::from_millis(dred);
        let contents = Contents { dred, ..Contents::plain(PACKET) };
        let patience = Some(std::time::Duration::from_millis(100));
        Listener { until: 19_000_000, contents, patience, ..Listener::default() }.listen(&packets)
    };
    let near = listen(120);
    assert!((115.0..140.0).contains(&near.percentile_ms(50)), "{} ms", near.percentile_ms(50));
    for reach in [200, 400, 1_000] {
        let far = listen(reach);
        // An outage is made up for as long as nothing comes, and what it hid that should have been heard by then stays
        // hidden: who plays it all the same is late for whatever follows, and has to hurry.
        let percentiles =
            [50, 90, 99].map(|percent| (far.percentile_ms(percent), near.percentile_ms(percent)));
        assert!(percentiles.iter().all(|(far, near)| *far <= near + 10.0), "{reach} ms: {percentiles:?}");
        assert!(far.removed <= near.removed + 100_000, "{reach} ms: {} µs were hurried", far.removed);
        assert!(far.stats.concealed <= near.stats.concealed, "{reach} ms: {:?}", far.stats);
    }
}

/// Loses the hundredth packet and brings it back 60 ms late.
fn one_lost() -> Vec<Arrival> {
    let mut arrivals = clean(400);
    arrivals[99].at += 60_000;
    arrivals[99].repaired = true;
    arrivals
}

#[test]
fn the_first_loss_sets_the_delay_while_it_is_waited_for() {
    let repairable = |seq: u64, _: i64| Some(seq as i64 * 20_000 + 100_000);
    let listener = Listener { until: 4_500_000, repairable: &repairable, ..Listener::default() };
    let heard = Listener { repair: Some(60_000), ..listener }.listen(&one_lost());
    assert!(heard.played.contains(&99), "the wait is for something");
    assert_eq!(heard.stats.target.as_millis(), 60);
    assert_eq!(heard.stats.late, 0);
    // All of the move is made up in one go, and nothing is stretched for it.
    assert_eq!((heard.stats.concealed.as_millis(), heard.added), (60, 0));
}

#[test]
fn what_was_only_overtaken_sets_nothing() {
    let mut packets = one_lost();
    packets[99].at -= 35_000;
    packets[99].repaired = false;
    let heard = Listener { until: 7_000_000, repair: Some(60_000), ..Listener::default() }.listen(&packets);
    assert!(heard.stats.target.as_millis() <= 10, "{:?}", heard.stats.target);
}

#[test]
fn after_an_outage_playout_goes_on_in_step() {
    // Outages of 150 to 400 ms, and all that was lost in them comes back 10 ms after they end: part of it too late, and of
    // one packet often only a part is. Repairs are waited for for 100 ms.
    let lost = |seq: u64| seq >= 100 && seq % 100 < 8 + seq / 100;
    let mut packets = clean(1000);
    for at in 0..packets.len() {
        if lost(packets[at].seq) {
            let end = (packets[at].seq..).find(|seq| !lost(*seq)).expect("it ends") as usize;
            packets[at].at = packets[end.min(packets.len() - 1)].at + 10_000;
            packets[at].repaired = true;
        }
    }
    packets.sort_by_key(|packet| packet.at);
    let patience = Some(std::time::Duration::from_millis(100));
    let heard = Listener { until: 19_000_000, patience, ..Listener::default() }.listen(&packets);
    // From the second outage on, when playout has moved to where it waits: not by a step.
    let delays: Vec<i64> =
        heard.ticks.iter().filter(|tick| tick.now > 5_000_000).filter_map(|tick| tick.delay).collect();
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!(most - least <= TICK, "between {least} and {most} µs");
    assert!(heard.stats.late > 20, "what came too late was passed over: {:?}", heard.stats);
    assert!(heard.stats.played_repaired > 20, "the rest was not: {:?}", heard.stats);
}

/// Half a second of packets is lost, noticed when the next one comes, and sent again within `rtt`.
fn outage(rtt: Option<i64>) -> Vec<Arrival> {
    let mut packets = clean(1500);
    packets.retain_mut(|packet| {
        if !(500..525).contains(&packet.seq) {
            return true;
        }
        packet.repaired = true;
        packet.at = 525 * 20_000 + 20_000 + rtt.unwrap_or_default();
        rtt.is_some()
    });
    packets
}

#[test]
fn what_an_outage_took_is_waited_for_while_it_is_sent_again() {
    let resent = |rtt: i64| move |seq: u64, now: i64| (seq < 525).then(|| now + rtt);
    let repairable = resent(60_000);
    let listener = Listener { until: 29_000_000, repairable: &repairable, ..Listener::default() };
    let heard = listener.listen(&outage(Some(60_000)));
    let kept = heard.played.iter().filter(|seq| (500..525).contains(*seq)).count();
    assert_eq!(kept, 25, "every word is heard, late");
    let again = heard.ticks.iter().filter(|tick| tick.now > 13_500_000);
    let late = again.filter_map(|tick| tick.delay).max().expect("it plays");
    assert!(late <= 60_000, "two seconds later playout is back: {late} µs");
}

#[test]
fn an_outage_of_which_nothing_comes_back_is_passed_over() {
    let repairable = |seq: u64, _: i64| (seq < 525).then_some(525 * 20_000 + 100_000);
    let listener = Listener { until: 29_000_000, repairable: &repairable, ..Listener::default() };
    let heard = listener.listen(&outage(None));
    let late = |from: i64| {
        let after = heard.ticks.iter().filter(|tick| tick.now > 525 * 20_000 + from);
        after.filter_map(|tick| tick.delay).max().expect("it plays")
    };
    assert!(late(200_000) <= 120_000, "no later than it was waited for: {} µs", late(200_000));
    assert!(late(2_500_000) <= 50_000, "and soon in step again: {} µs", late(2_500_000));
}

#[test]
fn lateness_is_what_most_packets_are_late_as_far_as_it_is_waited_for() {
    let mut buffer = undertone_jitter::JitterBuffer::new(undertone_jitter::Config::default());
    assert_eq!(buffer.lateness(), std::time::Duration::ZERO);
    for n in 0..200 {
        let late = (n as i64 * 7 % 8) * 10_000;
        let arrival = Arrival {
            seq: n,
            media: n as i64 * 20_000,
            at: n as i64 * 20_000 + 50_000 + late,
            repaired: false,
        };
        let at = undertone_media::Timestamp::from_micros(arrival.at as u64);
        buffer.insert(at, listener::packet(&arrival, 48_000), PACKET);
    }
    let lateness = buffer.lateness().as_millis();
    assert!((50..=70).contains(&lateness), "{lateness} ms of 0 to 70");
    assert!(buffer.lateness() <= buffer.target());
}
