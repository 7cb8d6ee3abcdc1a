//! The pacer: speech waits for nothing, pictures are spread, nothing waits too long.

use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};
use undertone_transport::pacer::{Config, Pacer, Priority};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn pacer(kbps: u64) -> Pacer<&'static str> {
    Pacer::new(Config { rate: Bitrate::from_kbps(kbps), ..Config::default() })
}

/// Everything that leaves up to `until`, with its time, driven by deadlines alone.
fn drain(pacer: &mut Pacer<&'static str>, until: Timestamp) -> Vec<(Timestamp, &'static str)> {
    let mut out = Vec::new();
    while let Some(due) = pacer.deadline().filter(|due| *due <= until) {
        out.extend(pacer.poll(due).map(|item| (due, item)));
    }
    out
}

#[test]
fn a_picture_is_spread_at_the_rate() {
    let mut pacer = pacer(960); // 1200 bytes in 10 ms
    for _ in 0..5 {
        pacer.enqueue(at(0), Priority::Video, "v", DataSize::from_bytes(1200));
    }
    let times: Vec<Timestamp> = drain(&mut pacer, at(1000)).iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [at(0), at(10), at(20), at(30), at(40)]);
    assert_eq!(pacer.queued(), DataSize::ZERO);
}

#[test]
fn who_queues_knows_how_long_it_waits() {
    let mut pacer = pacer(960); // 1200 bytes in 10 ms
    let packet = DataSize::from_bytes(1200);
    assert_eq!(pacer.wait(at(0), Priority::Rtx), Duration::ZERO);
    for _ in 0..3 {
        pacer.enqueue(at(0), Priority::Video, "v", packet);
    }
    pacer.enqueue(at(0), Priority::Rtx, "r", packet);
    let ms = Duration::from_millis;
    assert_eq!(pacer.wait(at(0), Priority::Rtx), ms(10), "new pictures let repair pass");
    assert_eq!(pacer.wait(at(0), Priority::Video), ms(40));
    assert_eq!(pacer.wait(at(0), Priority::Audio), Duration::ZERO);
    assert_eq!((pacer.waiting(Priority::Video), pacer.waiting(Priority::Rtx)), (packet * 3, packet));
    assert_eq!(pacer.poll(at(0)), Some("r"));
    assert_eq!(pacer.wait(at(4), Priority::Rtx), ms(6), "what is on its way out still drains");
}

#[test]
fn speech_goes_at_once_and_first() {
    let mut pacer = pacer(96);
    for _ in 0..3 {
        pacer.enqueue(at(0), Priority::Video, "v", DataSize::from_bytes(600));
    }
    assert_eq!(pacer.poll(at(0)), Some("v"));
    assert_eq!(pacer.poll(at(1)), None, "50 ms each");
    pacer.enqueue(at(1), Priority::Audio, "a", DataSize::from_bytes(60));
    pacer.enqueue(at(1), Priority::Rtx, "r", DataSize::from_bytes(600));
    assert_eq!(pacer.deadline(), Some(at(1)));
    assert_eq!(pacer.poll(at(1)), Some("a"));
    assert_eq!(pacer.poll(at(1)), None);
    let rest: Vec<&str> = drain(&mut pacer, at(1000)).iter().map(|(_, item)| *item).collect();
    assert_eq!(rest, ["r", "v", "v"], "repair before pictures");
}

#[test]
fn nothing_waits_longer_than_the_bound() {
    let mut pacer = pacer(30);
    for i in 0..100 {
        pacer.enqueue(at(i), Priority::Video, "v", DataSize::from_bytes(1200));
    }
    let out = drain(&mut pacer, at(5000));
    assert_eq!(out.len(), 100);
    for (i, (left, _)) in out.iter().enumerate() {
        assert!(left.since(at(i as u64)) <= Duration::from_millis(250), "packet {i} left at {left:?}");
    }
    let first_half = out.iter().filter(|(left, _)| *left <= at(175)).count();
    assert!((35..=75).contains(&first_half), "spread, not in one burst: {first_half}");
}

#[test]
fn a_cut_of_the_rate_does_not_freeze_what_is_on_its_way() {
    let mut pacer = pacer(1000);
    for _ in 0..2 {
        pacer.enqueue(at(0), Priority::Video, "v", DataSize::from_bytes(1250));
    }
    assert_eq!(pacer.poll(at(0)), Some("v"));
    assert_eq!(pacer.deadline(), Some(at(10)));
    pacer.set_rate(at(5), Bitrate::from_kbps(100));
    assert_eq!(pacer.deadline(), Some(at(55)), "half of it is left, ten times as long");
    pacer.set_rate(at(5), Bitrate::ZERO);
    assert!(pacer.deadline().is_some_and(|due| due <= at(255)));
}

#[test]
fn probes_fill_only_idle_time() {
    let mut pacer = pacer(960);
    pacer.enqueue(at(0), Priority::Probe, "p", DataSize::from_bytes(1200));
    pacer.enqueue(at(0), Priority::Video, "v", DataSize::from_bytes(1200));
    let order: Vec<&str> = drain(&mut pacer, at(100)).iter().map(|(_, item)| *item).collect();
    assert_eq!(order, ["v", "p"]);
    pacer.enqueue(at(200), Priority::Probe, "p", DataSize::from_bytes(1200));
    pacer.clear(Priority::Probe);
    assert_eq!((pacer.deadline(), pacer.queued()), (None, DataSize::ZERO));
}
