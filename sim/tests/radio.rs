//! What radios add to a link: grants, retries, stalls; and what networks by name make of a stream.

use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Fate, Link, Timestamp};
use undertone_sim::models::{MODELS, arrivals};
use undertone_sim::path::{LinkConfig, LinkModel, Retry, Share, Stall};

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

#[test]
fn a_granted_radio_sends_at_whole_multiples() {
    let config = LinkConfig { grant: ms(20), delay: ms(5), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    let offered = [0, 1, 19, 20, 21].map(|now| link.offer(at(now), bytes(100)));
    assert_eq!(offered, [arrives(5), arrives(25), arrives(25), arrives(25), arrives(45)]);
}

#[test]
fn a_packet_sent_again_holds_back_those_behind_it() {
    let retry = Some(Retry { failing: Share::from_percent(20.0), step_ms: 50, most: 2 });
    let mut link = LinkModel::new(1, 0, &LinkConfig { retry, ..LinkConfig::default() });
    let late: Vec<u64> = (0..1000)
        .map(|n| match link.offer(at(n * 20), bytes(100)) {
            Fate::Arrives(when) => when.as_micros() / 1000 - n * 20,
            fate => panic!("{fate:?}"),
        })
        .collect();
    // Sent again once or twice: 50 or 100 ms late; the next ones come with it, 20 ms less late each.
    for pair in late.windows(2) {
        assert!([0, 50, 100].contains(&pair[1]) || pair[1] == pair[0] - 20, "{pair:?}");
    }
    assert!(late.iter().any(|&ms| ms == 80 || ms == 30));
}

#[test]
fn what_waits_in_a_stall_comes_after_it_at_the_rate_of_the_link() {
    // 100 bytes take 10 ms. A stall of 200 ms comes within the first second.
    let stall = Some(Stall { every_ms: 1000, steady: true, least_ms: 200, most_ms: 200 });
    let config =
        LinkConfig { stall, rate: Some(Bitrate::from_kbps(80)), queue: ms(1000), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    let times: Vec<u64> = fates(&mut link, 100, 20, 100)
        .into_iter()
        .map(|fate| match fate {
            Fate::Arrives(when) => when.as_micros(),
            fate => panic!("nothing is lost: {fate:?}"),
        })
        .collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let standing = gaps.iter().position(|&gap| gap > 20_000).expect("a stall");
    assert!((200_000..=220_000).contains(&gaps[standing]), "{}", gaps[standing]);
    // About ten packets of backlog leave back to back, then the sender's pace is back.
    assert_eq!(gaps[standing + 1..standing + 9], [10_000; 8]);
    assert_eq!(gaps[standing + 25], 20_000, "{gaps:?}");
}

#[test]
fn a_queue_that_is_too_short_for_a_stall_overflows() {
    let stall = Some(Stall { every_ms: 1000, steady: true, least_ms: 200, most_ms: 200 });
    let config =
        LinkConfig { stall, rate: Some(Bitrate::from_kbps(80)), queue: ms(30), ..LinkConfig::default() };
    let mut link = LinkModel::new(1, 0, &config);
    let fates = fates(&mut link, 60, 20, 100);
    let overflowed = fates.iter().filter(|&&fate| fate == Fate::Overflowed).count();
    // Ten are offered while it stands; four fill 30 ms, for one may begin to wait when 30 ms wait already.
    assert!((5..=7).contains(&overflowed), "{overflowed}");
}

#[test]
fn arrivals_of_a_model_repeat_and_keep_order() {
    for model in MODELS {
        let run = |seed| arrivals(model, ms(60), bytes(120), Duration::from_secs(60), seed);
        let packets = run(1);
        assert_eq!(packets.len(), 1000);
        assert_eq!(packets, run(1));
        assert_ne!(packets, run(2), "{}", model.name);
        let came: Vec<Timestamp> = packets.iter().filter_map(|packet| packet.arrived).collect();
        assert!(came.is_sorted(), "{}", model.name);
        assert!(came.len() > 800, "{}: 16 kbit/s fit every network", model.name);
    }
}
