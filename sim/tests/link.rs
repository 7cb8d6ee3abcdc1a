//! The link model, clause by clause: loss, then rate limit with a drop-tail queue, then delay and jitter.

use proptest::prelude::*;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Fate, Link, Timestamp};
use undertone_sim::path::{Change, LinkConfig, LinkModel, Outage, Share};
use undertone_sim::trace::Trace;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn bytes(bytes: u64) -> DataSize {
    DataSize::from_bytes(bytes)
}

fn arrives(millis: u64) -> Fate {
    Fate::Arrives(at(millis))
}

/// Offers a packet of `size` every `gap_ms`.
fn fates(link: &mut LinkModel, packets: u64, gap_ms: u64, size: u64) -> Vec<Fate> {
    (0..packets).map(|n| link.offer(at(n * gap_ms), bytes(size))).collect()
}

fn trace(text: &str) -> Option<Trace> {
    Some(Trace::parse(text).unwrap())
}

#[test]
fn an_empty_config_changes_nothing() {
    let mut link = LinkModel::new(1, 0, &LinkConfig::default());
    assert_eq!(fates(&mut link, 3, 20, 1500), [arrives(0), arrives(20), arrives(40)]);
}

#[test]
fn loss_comes_before_the_queue() {
    // 100 bytes every 10 ms are 80 kbit/s into 40 kbit/s; half are lost before they reach the queue, so
    // nothing overflows. Were the queue first, half of what came would have.
    let config = LinkConfig {
        loss: Share::from_percent(60.0),
        rate: Some(Bitrate::from_kbps(40)),
        queue: ms(400),
        ..LinkConfig::default()
    };
    let mut link = LinkModel::new(1, 0, &config);
    let fates = fates(&mut link, 2000, 10, 100);
    assert_eq!(fates.iter().filter(|&&fate| fate == Fate::Overflowed).count(), 0);
    assert!(fates.iter().filter(|&&fate| fate == Fate::Lost).count() > 1000);
}

#[test]
fn delay_comes_after_the_queue() {
    // 1000 bytes take 80 ms; each waits for the one before, then all travel 50 ms at once.
    let config = LinkConfig {
        rate: Some(Bitrate::from_kbps(100)),
        delay: ms(50),
        queue: ms(500),
        ..LinkConfig::default()
    };
    let mut link = LinkModel::new(1, 0, &config);
    assert_eq!(fates(&mut link, 3, 10, 1000), [arrives(130), arrives(210), arrives(290)]);
    assert_eq!(link.offer(at(1000), bytes(1000)), arrives(1130), "an idle link does not save up");
}

#[test]
fn the_queue_is_as_long_as_its_milliseconds() {
    // 125 bytes take 10 ms at 100 kbit/s. All come at once: 50 ms of queue let those in that find at most
    // 50 ms waiting, which is the first six.
    let config = LinkConfig { rate: Some(Bitrate::from_kbps(100)), queue: ms(50), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    let mut expected: Vec<Fate> = (1..=6).map(|n| arrives(n * 10)).collect();
    expected.extend([Fate::Overflowed; 4]);
    assert_eq!(fates(&mut link, 10, 0, 125), expected);
    assert_eq!(link.offer(at(10), bytes(125)), arrives(70), "what has left makes room");
    let stats = link.stats();
    assert_eq!((stats.offered, stats.lost, stats.overflowed), (11, 0, 4));
    assert_eq!(stats.delivered, bytes(7 * 125));
}

#[test]
fn without_a_queue_an_idle_link_still_carries() {
    let config = LinkConfig { rate: Some(Bitrate::from_kbps(100)), queue: ms(0), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    assert_eq!(fates(&mut link, 2, 0, 125), [arrives(10), Fate::Overflowed]);
}

#[test]
fn a_rate_is_kept_to_a_millionth() {
    // 60 bytes at 100 Mbit/s are 4.8 µs: whole microseconds would be 4 % off.
    let config =
        LinkConfig { rate: Some(Bitrate::from_kbps(100_000)), queue: ms(10_000), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    let last = fates(&mut link, 100_000, 0, 60).pop();
    assert_eq!(last, Some(arrives(480)));
}

#[test]
fn a_rate_of_zero_lets_nothing_through() {
    let config = LinkConfig { rate: Some(Bitrate::ZERO), ..LinkConfig::default() };
    assert_eq!(LinkModel::new(1, 0, &config).offer(at(5), bytes(1)), Fate::Overflowed);
}

#[test]
fn jitter_is_uniform_from_zero_to_its_value() {
    let config = LinkConfig { delay: ms(10), jitter: ms(40), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    // 100 ms apart, so keeping order moves nothing.
    let mut quarters = [0u32; 4];
    for n in 0..8000 {
        let sent = at(n * 100);
        let Fate::Arrives(arrival) = link.offer(sent, bytes(100)) else { panic!("lost") };
        let extra = arrival.since(sent).checked_sub(ms(10)).expect("no less than the delay");
        assert!(extra <= ms(40));
        quarters[(extra.as_micros() as usize * 4 / 40_001).min(3)] += 1;
    }
    assert!(quarters.iter().all(|&count| (1850..2150).contains(&count)), "{quarters:?}");
}

#[test]
fn jitter_does_not_reorder_unless_asked() {
    let arrivals = |reorder: bool| -> Vec<Timestamp> {
        let config = LinkConfig { jitter: ms(200), reorder, ..LinkConfig::default() };
        let mut link = LinkModel::new(1, 0, &config);
        fates(&mut link, 500, 20, 100)
            .into_iter()
            .map(|fate| match fate {
                Fate::Arrives(at) => at,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert!(arrivals(false).is_sorted());
    assert!(!arrivals(true).is_sorted());
    // Order is kept by waiting, never by coming earlier.
    assert!(arrivals(false).iter().zip(arrivals(true)).all(|(kept, free)| *kept >= free));
}

#[test]
fn luck_depends_on_seed_direction_and_packet_number_only() {
    let lost = |seed, direction, config: &LinkConfig, gap_ms, size| -> Vec<bool> {
        let mut link = LinkModel::new(seed, direction, config);
        fates(&mut link, 2000, gap_ms, size).iter().map(|&fate| fate == Fate::Lost).collect()
    };
    for burst in [1, 5] {
        let plain = LinkConfig { loss: Share::from_percent(20.0), burst, ..LinkConfig::default() };
        let narrow = LinkConfig {
            rate: Some(Bitrate::from_kbps(24)),
            queue: ms(100),
            delay: ms(150),
            jitter: ms(100),
            ..plain.clone()
        };
        let recorded = LinkConfig { trace: trace("3\n90"), ..plain.clone() };
        let reference = lost(1, 0, &plain, 20, 100);
        assert_eq!(lost(1, 0, &plain, 60, 1200), reference, "neither time nor size");
        assert_eq!(lost(1, 0, &narrow, 20, 100), reference, "nor what the link does besides");
        assert_eq!(lost(1, 0, &recorded, 20, 100), reference);
        assert_ne!(lost(2, 0, &plain, 20, 100), reference);
        assert_ne!(lost(1, 1, &plain, 20, 100), reference);
    }
}

#[test]
fn outages_lose_everything_while_they_last() {
    let config = LinkConfig { outage: Some(Outage { good_ms: 800, bad_ms: 200 }), ..LinkConfig::default() };
    let lost = |gap_ms: u64| -> Vec<bool> {
        let mut link = LinkModel::new(1, 0, &config);
        fates(&mut link, 600_000 / gap_ms, gap_ms, 100).iter().map(|&fate| fate == Fate::Lost).collect()
    };
    let each = lost(1);
    let share = each.iter().filter(|&&lost| lost).count() as f64 / each.len() as f64;
    assert!((0.17..0.23).contains(&share), "{share}");
    assert!(!each[0], "a run begins with a link that works");
    let sparse = lost(60);
    assert!(sparse.iter().enumerate().all(|(n, &lost)| lost == each[n * 60]), "whatever the packet rate");
}

#[test]
fn an_opportunity_carries_bytes_not_packets() {
    // One opportunity every 10 ms. Five packets of 600 bytes wait: 1504 bytes take two and a half of them.
    let config = LinkConfig { trace: trace("10\n20\n30\n40\n50"), queue: ms(1000), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    assert_eq!(
        fates(&mut link, 5, 0, 600),
        [arrives(10), arrives(10), arrives(20), arrives(20), arrives(20)]
    );
    // 3000 of 3008 bytes are gone. The last 8 begin the next packet, which needs the third for the rest.
    assert_eq!(link.offer(at(1), bytes(100)), arrives(30));
}

#[test]
fn a_large_packet_takes_several_opportunities() {
    let config = LinkConfig { trace: trace("10\n20\n30\n40\n50"), queue: ms(1000), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    assert_eq!(link.offer(at(0), bytes(4000)), arrives(30));
    assert_eq!(link.offer(at(0), bytes(512)), arrives(30), "the rest of the third");
    assert_eq!(link.offer(at(0), bytes(1504)), arrives(40));
}

#[test]
fn unused_opportunities_are_gone() {
    let config = LinkConfig { trace: trace("10\n20\n30"), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    assert_eq!(link.offer(at(5), bytes(100)), arrives(10));
    assert_eq!(link.offer(at(10), bytes(100)), arrives(20), "the one at 10 ms has gone, with its room");
    assert_eq!(link.offer(at(25), bytes(1504)), arrives(30));
}

#[test]
fn a_trace_starts_over() {
    // A round lasts 100 ms, as its last line says: opportunities at 40, 100, 140, 200, …
    let config = LinkConfig { trace: trace("40\n100"), delay: ms(5), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    let times = [0, 50, 110, 150, 1_000_000, 1_000_040];
    let expected = [45, 105, 145, 205, 1_000_045, 1_000_105];
    for (sent, arrival) in times.into_iter().zip(expected) {
        assert_eq!(link.offer(at(sent), bytes(1500)), arrives(arrival));
    }
}

#[test]
fn the_queue_behind_a_trace_counts_at_its_mean_rate() {
    // 1504 bytes every 10 ms: 50 ms of queue are 7520 bytes, so those get in that find at most five waiting.
    let config = LinkConfig { trace: trace("10"), queue: ms(50), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    let mut expected: Vec<Fate> = (1..=6).map(|n| arrives(n * 10)).collect();
    expected.extend([Fate::Overflowed; 2]);
    assert_eq!(fates(&mut link, 8, 0, 1504), expected);
    assert_eq!(link.offer(at(10), bytes(1504)), arrives(70));
}

#[test]
fn an_announced_rate_serves_what_waits_when_it_comes() {
    // 1 Mbit/s down to 100 kbit/s at 10 ms: of 2500 bytes, 1250 leave before and 1250 take 100 ms more.
    let config = LinkConfig { rate: Some(Bitrate::from_kbps(1000)), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    link.change(at(10), Change::Rate(Some(Bitrate::from_kbps(100))));
    link.change(at(500), Change::Rate(None));
    assert_eq!(link.offer(at(0), bytes(2500)), arrives(110));
    assert_eq!(link.offer(at(110), bytes(125)), arrives(120));
    assert_eq!(link.offer(at(495), bytes(125)), arrives(500), "no limit from 500 ms on");
    assert_eq!(link.offer(at(501), bytes(150_000)), arrives(501));
}

#[test]
fn after_a_rate_drop_the_old_backlog_fills_the_shorter_queue() {
    let config = LinkConfig { rate: Some(Bitrate::from_kbps(1000)), queue: ms(100), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    link.change(at(10), Change::Rate(Some(Bitrate::from_kbps(100))));
    assert_eq!(link.offer(at(0), bytes(5000)), arrives(310));
    // At 11 ms 299 ms of the new rate wait: more than the queue. At 215 ms 95 do.
    assert_eq!(link.offer(at(11), bytes(125)), Fate::Overflowed);
    assert_eq!(link.offer(at(215), bytes(125)), arrives(320));
}

#[test]
fn the_last_word_on_one_instant_counts() {
    let mut link = LinkModel::new(1, 0, &LinkConfig::default());
    link.change(at(10), Change::Rate(None));
    link.change(at(10), Change::Rate(Some(Bitrate::from_kbps(100))));
    link.change(at(0), Change::Rate(Some(Bitrate::from_kbps(1000))));
    assert_eq!(link.offer(at(0), bytes(2500)), arrives(110));
}

#[test]
fn a_rate_ends_a_trace() {
    let config = LinkConfig { trace: trace("100"), queue: ms(1000), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    link.change(at(150), Change::Rate(Some(Bitrate::from_kbps(100))));
    assert_eq!(link.offer(at(0), bytes(1504)), arrives(100));
    assert_eq!(link.offer(at(140), bytes(1504)), arrives(200), "offered to the trace, and booked there");
    assert_eq!(link.offer(at(150), bytes(125)), arrives(210), "keeps its place in the queue");
    assert_eq!(link.offer(at(300), bytes(125)), arrives(310));
}

#[test]
fn everything_can_change_on_the_way() {
    let mut link = LinkModel::new(1, 0, &LinkConfig::default());
    link.change(at(10), Change::Delay(ms(30)));
    link.change(at(20), Change::Loss(Share::ALL));
    link.change(at(40), Change::Rate(Some(Bitrate::from_kbps(100))));
    link.change(at(40), Change::Queue(ms(0)));
    link.change(at(30), Change::Loss(Share::ZERO));
    link.change(at(50), Change::Delay(ms(0)));
    let mut at_time = |millis| link.offer(at(millis), bytes(125));
    assert_eq!(
        [at_time(0), at_time(10), at_time(20), at_time(30)],
        [arrives(0), arrives(40), Fate::Lost, arrives(60)]
    );
    assert_eq!([at_time(40), at_time(41)], [arrives(80), Fate::Overflowed]);
    // A shorter delay lets nothing overtake: what left at 60 ms comes with the one before it, at 80.
    assert_eq!(at_time(50), arrives(80));
    assert_eq!(at_time(100), arrives(110));
}

#[test]
fn a_change_of_loss_keeps_each_packet_its_draw() {
    let half = LinkConfig { loss: Share::from_percent(50.0), ..LinkConfig::default() };
    let reference = fates(&mut LinkModel::new(1, 0, &half), 1000, 20, 100);
    let mut later = LinkModel::new(1, 0, &LinkConfig::default());
    later.change(at(10_000), Change::Loss(Share::from_percent(50.0)));
    let fates = fates(&mut later, 1000, 20, 100);
    assert!(fates[..500].iter().all(|&fate| fate != Fate::Lost));
    assert_eq!(fates[500..], reference[500..]);
}

proptest! {
    /// Whatever the trace and the traffic: the link carries no more than the trace's opportunities, keeps
    /// order, and never delivers into the past.
    #[test]
    fn a_trace_is_never_exceeded(
        mut lines in proptest::collection::vec(0u64..200, 1..20),
        offers in proptest::collection::vec((0u64..30, 1u64..3000), 1..200),
    ) {
        lines.sort_unstable();
        lines.push(201);
        let text = lines.iter().map(|at| format!("{at}\n")).collect::<String>();
        let config = LinkConfig { trace: trace(&text), queue: ms(100), ..LinkConfig::default() };
        let mut link = LinkModel::new(1, 0, &config);
        let (mut now, mut last, mut carried) = (0, at(0), 0);
        for (gap, size) in offers {
            now += gap;
            if let Fate::Arrives(arrival) = link.offer(at(now), bytes(size)) {
                prop_assert!(arrival > at(now) && arrival >= last);
                last = arrival;
                carried += size;
                let until = arrival.as_micros() / 1000;
                let opportunities: u64 = lines.iter().map(|&line| {
                    if until < line { 0 } else { (until - line) / 201 + 1 }
                }).sum();
                prop_assert!(carried <= opportunities * 1504);
            }
        }
    }

    /// Whatever the rates: no more bits than they allow, in order.
    #[test]
    fn rates_are_never_exceeded(
        first in 1u64..2000, second in 1u64..2000, change_ms in 0u64..1000,
        offers in proptest::collection::vec((0u64..30, 1u64..1500), 1..200),
    ) {
        let config = LinkConfig { rate: Some(Bitrate::from_kbps(first)), ..LinkConfig::default() };
        let mut link = LinkModel::new(1, 0, &config);
        link.change(at(change_ms), Change::Rate(Some(Bitrate::from_kbps(second))));
        let (mut now, mut last, mut carried) = (0, at(0), 0);
        for (gap, size) in offers {
            now += gap;
            if let Fate::Arrives(arrival) = link.offer(at(now), bytes(size)) {
                prop_assert!(arrival > at(now) && arrival >= last);
                last = arrival;
                carried += size * 8;
                let micros = arrival.as_micros();
                let before = micros.min(change_ms * 1000);
                // kbit/s × µs is thousandths of a bit.
                prop_assert!(carried * 1000 <= before * first + (micros - before) * second + 1000);
            }
        }
    }
}
