//! The controller, its feedback and the pacer on one simulated bottleneck: how full the link is, how long its
//! queue. The table in `testdata/golden/bwe.txt` shows a change of behaviour as a diff; rewrite it with
//! `UPDATE_GOLDEN=1`.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Ssrc, Timestamp};
use undertone_transport::bwe::{Cc, Config, DelayLoss, Fate, Outcome};
use undertone_transport::feedback::{Format, PacketId, Recorder, SentLog};
use undertone_transport::pacer::{Pacer, Priority};
use undertone_transport::{pacer, rtcp};

/// What the application sends.
#[derive(Clone, Copy)]
enum App {
    /// Pictures 30 times a second that fill the estimate.
    Video,
    /// Speech that follows the estimate down to 6 kbit/s of payload: packets of 20 or 60 ms.
    Speech,
}

#[derive(Clone)]
struct Path {
    /// Capacity in kbit/s from a second on.
    kbps: Vec<(u64, u64)>,
    queue: Duration,
    one_way: Duration,
    jitter: Duration,
    loss_permille: u64,
    app: App,
    secs: u64,
    format: Format,
    trace: bool,
}

impl Path {
    fn new(kbps: u64) -> Path {
        Path {
            kbps: vec![(0, kbps)],
            queue: Duration::from_millis(300),
            one_way: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss_permille: 0,
            app: App::Video,
            secs: 30,
            format: Format::Ccfb,
            trace: false,
        }
    }

    fn kbps_at(&self, at: Timestamp) -> u64 {
        let second = at.as_micros() / 1_000_000;
        self.kbps.iter().rev().find(|(from, _)| *from <= second).map_or(0, |(_, kbps)| *kbps)
    }
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

#[derive(Default)]
struct Run {
    /// By millisecond of departure: queueing delay in ms of each packet that was not lost in the queue.
    queue_ms: Vec<(u64, u64)>,
    /// Arrived bytes by second, and the estimate in kbit/s at its end.
    seconds: Vec<(u64, u64)>,
    sent_bytes: u64,
    feedback_bytes: u64,
    overflowed: u64,
}

impl Run {
    fn percentile(&self, from: u64, to: u64, percent: usize) -> u64 {
        let mut delays: Vec<u64> = self
            .queue_ms
            .iter()
            .filter(|(at, _)| (from * 1000..to * 1000).contains(at))
            .map(|(_, ms)| *ms)
            .collect();
        delays.sort_unstable();
        delays.get(delays.len() * percent / 100).copied().unwrap_or(0)
    }

    fn kbps(&self, from: u64, to: u64) -> u64 {
        let seconds = &self.seconds[from as usize..to as usize];
        seconds.iter().map(|(bytes, _)| bytes * 8 / 1000).sum::<u64>() / (to - from)
    }

    fn estimate(&self, second: u64) -> u64 {
        self.seconds[second as usize].1
    }
}

fn run(path: &Path, seed: u64) -> Run {
    let mut dice = Dice(seed);
    let mut cc = DelayLoss::new(Config::default());
    let mut pacer: Pacer<DataSize> = Pacer::new(pacer::Config::default());
    let mut log = SentLog::new();
    let mut recorder = Recorder::new(path.format, Ssrc(9));
    let mut forward: VecDeque<(Timestamp, PacketId, DataSize)> = VecDeque::new();
    let mut backward: VecDeque<(Timestamp, Vec<u8>)> = VecDeque::new();
    let mut link_free = Timestamp::ZERO;
    let mut last_arrival = Timestamp::ZERO;
    let mut seq = 65_000u16;
    let mut next_app = Timestamp::ZERO;
    let mut out = Run::default();
    let mut second_bytes = 0;

    for ms in 0..path.secs * 1000 {
        let now = Timestamp::from_millis(ms);
        while next_app <= now {
            match path.app {
                App::Video => {
                    let frame = (cc.estimate().permille(950) * Duration::from_micros(33_333)).as_bytes();
                    let packets = frame.div_ceil(1200).max(1);
                    for _ in 0..packets {
                        let size = DataSize::from_bytes(frame / packets);
                        pacer.enqueue(now, Priority::Video, size, size);
                    }
                    next_app += Duration::from_micros(33_333);
                }
                App::Speech => {
                    let every = if cc.estimate() >= Bitrate::from_kbps(40) { 20 } else { 60 };
                    let span = Duration::from_millis(every);
                    let wire = (cc.estimate().min(Bitrate::from_kbps(56)) * span).as_bytes();
                    let size = DataSize::from_bytes(wire.max(56 + 6 * every / 8));
                    pacer.enqueue(now, Priority::Audio, size, size);
                    next_app += span;
                }
            }
        }
        pacer.set_rate(now, cc.estimate().permille(1250));
        while let Some(size) = pacer.poll(now) {
            let id = match path.format {
                Format::Ccfb => PacketId::Rtp(Ssrc(1), seq),
                Format::Twcc => PacketId::Twcc(seq),
            };
            seq = seq.wrapping_add(1);
            log.on_sent(now, id, size);
            cc.on_sent(now, size);
            out.sent_bytes += size.as_bytes();
            if dice.roll(1000) < path.loss_permille {
                continue;
            }
            let rate = Bitrate::from_kbps(path.kbps_at(now));
            let waits = link_free.since(now);
            if waits > path.queue {
                out.overflowed += 1;
                continue;
            }
            out.queue_ms.push((ms, waits.as_millis() as u64));
            link_free = link_free.max(now) + size / rate;
            let jitter = Duration::from_micros(dice.roll(path.jitter.as_micros() as u64 + 1));
            last_arrival = last_arrival.max(link_free + path.one_way + jitter);
            forward.push_back((last_arrival, id, size));
        }
        while forward.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((at, id, size)) = forward.pop_front() else { break };
            recorder.on_packet(at, id, size);
            second_bytes += size.as_bytes();
        }
        if let Some(report) = recorder.poll(now) {
            let bytes = rtcp::write(&[report]);
            out.feedback_bytes += bytes.len() as u64 + 28 + 8 + 16 + 4;
            if dice.roll(1000) >= path.loss_permille {
                let jitter = Duration::from_micros(dice.roll(path.jitter.as_micros() as u64 + 1));
                backward.push_back((now + path.one_way + jitter, bytes));
            }
        }
        while backward.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, bytes)) = backward.pop_front() else { break };
            for report in rtcp::parse(&bytes) {
                let outcomes = log.on_feedback(now, &report);
                cc.on_feedback(now, &outcomes, log.rtt());
            }
        }
        if ms % 50 == 0 {
            cc.on_tick(now);
        }
        if path.trace && ms % 100 == 0 {
            println!("{ms} {:?} {:?} link queue {:?}", cc.estimate(), cc.state(), link_free.since(now));
        }
        if ms % 1000 == 999 {
            out.seconds.push((std::mem::take(&mut second_bytes), cc.estimate().as_bps() / 1000));
        }
    }
    out
}

fn cases() -> Vec<(&'static str, Path)> {
    let path = Path::new;
    let jitter = |kbps, ms| Path { jitter: Duration::from_millis(ms), ..path(kbps) };
    let loss = |kbps, permille| Path { loss_permille: permille, ..path(kbps) };
    vec![
        ("300", path(300)),
        ("1000", path(1000)),
        ("2000", path(2000)),
        ("2000, one way 100 ms", Path { one_way: Duration::from_millis(100), ..path(2000) }),
        ("2000, transport-wide", Path { format: Format::Twcc, ..path(2000) }),
        ("1000, queue 30 ms", Path { queue: Duration::from_millis(30), ..path(1000) }),
        ("1000, jitter 50 ms", jitter(1000, 50)),
        ("1000, jitter 200 ms", jitter(1000, 200)),
        ("2000, loss 10 %", loss(2000, 100)),
        ("2000, loss 30 %", loss(2000, 300)),
        (
            "2000 -> 400 @20 -> 2000 @40",
            Path { kbps: vec![(0, 2000), (20, 400), (40, 2000)], secs: 60, ..path(2000) },
        ),
        ("24, speech", Path { app: App::Speech, queue: Duration::from_millis(500), ..path(24) }),
        (
            "24, speech, one way 150 ms",
            Path {
                app: App::Speech,
                queue: Duration::from_millis(500),
                one_way: Duration::from_millis(150),
                ..path(24)
            },
        ),
        ("2000, speech", Path { app: App::Speech, ..path(2000) }),
        ("2000, speech, loss 10 %", Path { app: App::Speech, ..loss(2000, 100) }),
        ("2000, speech, jitter 200 ms", Path { app: App::Speech, ..jitter(2000, 200) }),
    ]
}

fn table() -> String {
    let mut table = String::from(
        "# link kbit/s: utilisation %, queue p50 p95 ms, overflowed packets, feedback kbit/s,\n\
         # estimate at 1 s, 2 s, 5 s, 10 s, end\n",
    );
    for (name, mut path) in cases() {
        path.trace = std::env::var("TRACE").is_ok_and(|traced| traced == name);
        let run = run(&path, 7);
        let capacity: u64 = (5..path.secs).map(|s| path.kbps_at(Timestamp::from_millis(s * 1000))).sum();
        let used = run.kbps(5, path.secs) * (path.secs - 5) * 100 / capacity;
        let [p50, p95] = [50, 95].map(|p| run.percentile(5, path.secs, p));
        let feedback = run.feedback_bytes * 8 / path.secs;
        let estimates = [0, 1, 4, 9, path.secs - 1].map(|s| run.estimate(s).to_string()).join(" ");
        let _ = writeln!(
            table,
            "{name}: {used} %, {p50} {p95} ms, {} over, {}.{:02}, est {estimates}",
            run.overflowed,
            feedback / 1000,
            feedback % 1000 / 10
        );
    }
    table
}

#[test]
fn the_table_is_as_before() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/golden/bwe.txt");
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &table).expect("write the golden table");
    }
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(table, golden, "behaviour changed; if for the better, run again with UPDATE_GOLDEN=1");
}

#[test]
fn a_clean_link_is_full_and_its_queue_short() {
    for kbps in [300, 1000, 2000] {
        let run = run(&Path::new(kbps), 1);
        assert!(run.kbps(5, 30) * 100 >= kbps * 85, "{} of {kbps} kbit/s", run.kbps(5, 30));
        assert!(run.percentile(5, 30, 95) <= 80, "{kbps}: {} ms", run.percentile(5, 30, 95));
        assert_eq!(run.overflowed, 0, "{kbps}");
    }
}

#[test]
fn random_loss_is_not_taken_for_congestion() {
    for seed in 1..=8 {
        let run = run(&Path { loss_permille: 100, ..Path::new(2000) }, seed);
        assert!(run.kbps(10, 30) >= 1400, "seed {seed}: {} kbit/s", run.kbps(10, 30));
        assert!(run.percentile(5, 30, 95) <= 80, "seed {seed}");
    }
}

#[test]
fn a_step_down_is_followed_at_once_and_the_way_back_up_soon() {
    let path = Path { kbps: vec![(0, 2000), (20, 400), (40, 2000)], secs: 60, ..Path::new(2000) };
    let run = run(&path, 1);
    assert!(run.estimate(20) <= 420, "one second later: {}", run.estimate(20));
    assert!(run.percentile(21, 40, 95) <= 100, "{} ms", run.percentile(21, 40, 95));
    assert!(run.kbps(22, 40) >= 320, "{} kbit/s", run.kbps(22, 40));
    let back = (40..60).find(|second| run.estimate(*second) >= 1600).expect("comes back");
    assert!(back <= 50, "at {back} s");
}

#[test]
fn a_link_of_24_kbit_is_found_within_two_seconds() {
    for one_way in [20, 150] {
        let one_way = Duration::from_millis(one_way);
        let queue = Duration::from_millis(500);
        let run = run(&Path { app: App::Speech, queue, one_way, ..Path::new(24) }, 1);
        assert!((10..=24).contains(&run.estimate(1)), "{one_way:?}: {}", run.estimate(1));
        assert!(run.percentile(5, 30, 95) <= 120, "{one_way:?}: {} ms", run.percentile(5, 30, 95));
        assert!(run.kbps(5, 30) >= 18, "{one_way:?}: {}", run.kbps(5, 30));
    }
}

#[test]
fn speech_alone_neither_starves_nor_inflates_the_estimate() {
    for loss_permille in [0, 100, 300] {
        let run = run(&Path { app: App::Speech, loss_permille, ..Path::new(2000) }, 3);
        // A trial of whether the losses are congestion may have lowered it at first.
        let after = &run.seconds[5..];
        assert!(
            after.iter().all(|(_, estimate)| (40..=400).contains(estimate)),
            "{loss_permille}: {after:?}"
        );
    }
}

/// Where packets keep their order, jitter holds up even the fastest of a few; that is no queue, whatever the app sends.
#[test]
fn jitter_is_not_taken_for_a_queue() {
    for (jitter, seed) in
        [50, 100, 200].into_iter().flat_map(|jitter| (1..=8).map(move |seed| (jitter, seed)))
    {
        let path = Path { app: App::Speech, jitter: Duration::from_millis(jitter), ..Path::new(2000) };
        let least = run(&path, seed).seconds.iter().map(|(_, estimate)| *estimate).min();
        assert!(least >= Some(120), "jitter {jitter} ms, seed {seed}: the estimate fell to {least:?} kbit/s");
    }
}

/// Once a path was full, its rate is known, and approached so that the queue stays short.
#[test]
fn a_path_that_was_full_is_filled_with_care() {
    for seed in 1..=4 {
        for loss_permille in [0, 80] {
            let run = run(&Path { loss_permille, jitter: Duration::from_millis(20), ..Path::new(600) }, seed);
            let queue = run.percentile(10, 30, 95);
            assert!(queue <= 60, "seed {seed}, loss {loss_permille}: {queue} ms");
            assert!(
                run.kbps(10, 30) >= 500,
                "seed {seed}, loss {loss_permille}: {} kbit/s",
                run.kbps(10, 30)
            );
        }
    }
}

#[test]
fn silence_lowers_the_estimate_step_by_step() {
    let mut cc = DelayLoss::new(Config::default());
    for ms in (0..4000).step_by(20) {
        cc.on_sent(Timestamp::from_millis(ms), DataSize::from_bytes(100));
        cc.on_tick(Timestamp::from_millis(ms));
    }
    let estimate = cc.estimate();
    assert!((Bitrate::from_kbps(40)..Bitrate::from_kbps(100)).contains(&estimate), "{estimate:?}");
    // Nothing sent, nothing expected.
    let mut idle = DelayLoss::new(Config::default());
    idle.on_tick(Timestamp::from_millis(60_000));
    assert_eq!(idle.estimate(), Config::default().start);
}

/// Reports came twenty times a second: a quarter of a second without one is a stall, and what is sent into it only waits. When
/// it is over, and the queue that it left, most of what was sent before is sent again at once.
#[test]
fn a_stall_is_noticed_by_the_reports_that_do_not_come() {
    let mut cc = DelayLoss::new(Config::default());
    let (mut waiting, mut before, mut during) = (Vec::new(), Bitrate::ZERO, Bitrate::ZERO);
    for ms in (0..8_000u64).step_by(10) {
        let now = Timestamp::from_millis(ms);
        let stalled = (4_000..5_000).contains(&ms);
        cc.on_tick(now);
        let size = DataSize::from_bytes(400);
        cc.on_sent(now, size);
        let arrival = Timestamp::from_millis(if stalled { 5_000 } else { ms }) + Duration::from_millis(20);
        waiting.push(Outcome { sent: now, size, fate: Fate::Arrived(arrival) });
        if ms % 50 == 40 && !stalled {
            cc.on_feedback(now + Duration::from_millis(20), &std::mem::take(&mut waiting), None);
        }
        match ms {
            3_990 => before = cc.estimate(),
            4_400 => during = cc.estimate(),
            _ => {}
        }
    }
    assert!(during <= before.permille(500), "{during:?} of {before:?}");
    assert!(cc.estimate() >= before.permille(600), "{:?} of {before:?}", cc.estimate());
}

/// Pictures at 30 a second, a large one each second: a rate that is steady over a second, not over less. A path
/// that loses a few of all packets carries it; whoever stops what does not fit the estimate must not stop it.
#[test]
fn a_trial_for_losses_leaves_room_for_what_is_sent() {
    let mut worst = u64::MAX;
    for seed in 0..40 {
        let (mut cc, mut dice) = (DelayLoss::new(Config::default()), Dice(seed));
        let mut outcomes = Vec::new();
        for picture in 0..30 * 8u64 {
            let now = Timestamp::from_micros(picture * 1_000_000 / 30);
            let (packets, size) = if picture % 30 == 0 { (12, 1100) } else { (2, 700) };
            for _ in 0..packets {
                let size = DataSize::from_bytes(size);
                cc.on_sent(now, size);
                let arrival = now + Duration::from_millis(15);
                let fate = if dice.roll(100) < 4 { Fate::Lost } else { Fate::Arrived(arrival) };
                outcomes.push(Outcome { sent: now, size, fate });
            }
            if picture % 3 == 2 {
                cc.on_feedback(now + Duration::from_millis(30), &std::mem::take(&mut outcomes), None);
            }
            if picture > 60 {
                worst = worst.min(cc.estimate().as_bps());
            }
        }
    }
    // 12 × 1100 B and 58 × 700 B a second are 430 kbit/s. A trial begins in an unlucky second, in which a few
    // more are lost; between two large pictures only 336 kbit/s are sent.
    assert!(worst >= 350_000, "the estimate fell to {worst} bit/s");
}
