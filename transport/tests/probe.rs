//! Probes: what a few packets sent faster than the estimate find, when they are sent, and that whoever receives padding
//! takes no notice of it.

use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, MediaTime, Ssrc, Timestamp};
use undertone_transport::bwe::{Cc, Config, DelayLoss, Fate, Outcome, Reason, Wanted};
use undertone_transport::rtp::{self, Extension, ExtensionMap, Extensions, Header};
use undertone_transport::stream::{NackConfig, RecvConfig, RecvStream, Rtx, SendConfig, SendStream};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn kbps(kbps: u64) -> Bitrate {
    Bitrate::from_kbps(kbps)
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

/// Speech of 32 kbit/s over a link, reported on every 50 ms, from an application that would send more.
struct Call {
    cc: DelayLoss,
    capacity: Bitrate,
    loss_percent: u64,
    jitter_micros: u64,
    wanted: Bitrate,
    dice: Dice,
    now: Timestamp,
    link_free: Timestamp,
    last_arrival: Timestamp,
    /// Padding leaves no sooner.
    padding: Timestamp,
    on_the_way: VecDeque<(Timestamp, Outcome)>,
    told: Vec<Outcome>,
    /// Nothing of it arrives for the time being.
    stalled: bool,
    padded: DataSize,
    longest_queue: Duration,
}

const ONE_WAY: Duration = Duration::from_millis(30);
const STEP: Duration = Duration::from_millis(1);

impl Call {
    fn new(capacity: u64, wanted: u64) -> Call {
        Call::begin(Config::default(), capacity, wanted)
    }

    fn begin(config: Config, capacity: u64, wanted: u64) -> Call {
        Call {
            cc: DelayLoss::new(config),
            capacity: kbps(capacity),
            loss_percent: 0,
            jitter_micros: 0,
            wanted: kbps(wanted),
            dice: Dice(7),
            now: Timestamp::ZERO,
            link_free: Timestamp::ZERO,
            last_arrival: Timestamp::ZERO,
            padding: Timestamp::ZERO,
            on_the_way: VecDeque::new(),
            told: Vec::new(),
            stalled: false,
            padded: DataSize::ZERO,
            longest_queue: Duration::ZERO,
        }
    }

    fn send(&mut self, size: DataSize) {
        let now = self.now;
        self.cc.on_sent(now, size);
        self.longest_queue = self.longest_queue.max(self.link_free.since(now));
        let mut outcome = Outcome { sent: now, size, fate: Fate::Lost };
        if self.dice.roll(100) >= self.loss_percent {
            self.link_free = self.link_free.max(now) + size / self.capacity;
            let jitter = Duration::from_micros(self.dice.roll(self.jitter_micros + 1));
            self.last_arrival = self.last_arrival.max(self.link_free + ONE_WAY + jitter);
            outcome.fate = Fate::Arrived(self.last_arrival);
        }
        self.on_the_way.push_back((self.last_arrival.max(now + ONE_WAY), outcome));
    }

    /// So much time passes.
    fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while self.now < until {
            let ms = self.now.as_micros() / 1000;
            self.cc.want(Wanted::More(self.wanted));
            if ms.is_multiple_of(20) {
                self.send(DataSize::from_bytes(80));
            }
            while let Some(cluster) = self.cc.probe(self.now).filter(|_| self.padding <= self.now) {
                self.send(cluster.packet);
                self.padded += cluster.packet;
                self.padding = self.padding.max(self.now) + cluster.packet / cluster.rate;
            }
            if ms % 50 == 49 && !self.stalled {
                let here = self.on_the_way.partition_point(|(arrival, _)| *arrival <= self.now);
                self.told.extend(self.on_the_way.drain(..here).map(|(_, outcome)| outcome));
                // What travels back is told a moment later, which matters to nobody here.
                let outcomes = std::mem::take(&mut self.told);
                self.cc.on_feedback(self.now, &outcomes, Some(ONE_WAY * 2));
            }
            if ms.is_multiple_of(25) {
                self.cc.on_tick(self.now);
            }
            self.now += STEP;
        }
    }

    fn estimate(&self) -> u64 {
        self.cc.estimate().as_bps() / 1000
    }

    fn probes(&self) -> u32 {
        self.cc.state().probes
    }
}

#[test]
fn who_wants_more_than_it_sends_finds_what_the_path_carries() {
    for loss_percent in [0, 10, 20] {
        let mut call = Call { loss_percent, ..Call::new(1_000, 800) };
        call.run(2_500);
        assert!(call.estimate() >= 600, "loss {loss_percent} %: {} kbit/s", call.estimate());
        assert!(call.longest_queue <= Duration::from_millis(30), "{:?}", call.longest_queue);
    }
}

#[test]
fn what_found_it_is_seen() {
    let mut call = Call::new(5_000, 2_000);
    let mut reasons = Vec::new();
    for _ in 0..100 {
        call.run(10);
        reasons.push(call.cc.state().reason);
    }
    assert!(reasons.contains(&Reason::Probe), "{reasons:?}");
    assert!((1..=3).contains(&call.probes()), "{}", call.probes());
}

#[test]
fn who_wants_no_more_is_not_touched() {
    for wanted in [0, 100] {
        let mut call = Call::new(1_000, wanted);
        call.run(20_000);
        assert_eq!((call.probes(), call.padded), (0, DataSize::ZERO));
    }
}

#[test]
fn a_path_that_carries_no_more_is_asked_ever_more_rarely() {
    for loss_percent in [0, 10, 30] {
        let mut call = Call { loss_percent, ..Call::new(320, 2_000) };
        call.run(60_000);
        assert!(call.estimate() <= 330, "loss {loss_percent} %: {} kbit/s", call.estimate());
        assert!((2..=16).contains(&call.probes()), "loss {loss_percent} %: {} probes", call.probes());
        assert!(call.longest_queue <= Duration::from_millis(60), "{:?}", call.longest_queue);
    }
}

#[test]
fn a_thin_path_is_not_asked() {
    let config = Config { start: kbps(20), carries: Some(kbps(24)), ..Config::default() };
    let mut call = Call::begin(config, 40, 500);
    call.run(20_000);
    assert_eq!(call.probes(), 0);
}

/// Jitter spreads a cluster as a queue does, or hides one; either way no more is believed than arrived.
#[test]
fn jitter_misleads_nobody_for_long() {
    for seed in 1..=10 {
        let mut call = Call { jitter_micros: 20_000, dice: Dice(seed), ..Call::new(600, 500) };
        call.run(15_000);
        assert!((350..=640).contains(&call.estimate()), "seed {seed}: {} kbit/s", call.estimate());
    }
}

#[test]
fn after_a_stall_it_is_asked_again() {
    let mut call = Call::new(1_000, 800);
    call.run(4_000);
    let before = call.estimate();
    call.stalled = true;
    call.run(1_500);
    call.stalled = false;
    assert!(call.estimate() < before / 2, "{} of {before}", call.estimate());
    call.run(1_500);
    assert!(call.estimate() * 10 >= before * 9, "{} of {before} kbit/s", call.estimate());
}

#[test]
fn another_path_is_asked_at_once() {
    let mut call = Call::new(300, 2_000);
    call.run(30_000);
    let before = call.estimate();
    call.capacity = kbps(3_000);
    call.cc.on_route_change();
    call.run(1_500);
    assert!(before <= 320 && call.estimate() >= 1_000, "{before}, then {} kbit/s", call.estimate());
}

#[test]
fn padding_says_nothing_to_whoever_receives_it() {
    let rtx = Rtx { ssrc: Ssrc(2), payload_type: 97 };
    let config = SendConfig { rtx: Some(rtx), ..SendConfig::new(Ssrc(1), 96, 90_000, 5) };
    let mut sender = SendStream::new(config);
    let mut receiver = RecvStream::new(RecvConfig {
        ssrc: Ssrc(1),
        payload_type: 96,
        clock_rate: 90_000,
        rtx_payload_type: Some(97),
        nack: Some(NackConfig::video()),
    });
    let map = ExtensionMap::new(&[(3, Extension::TransportCc)]);
    let packet = |header: &Header, payload: &[u8], padding: u8, receiver: &mut RecvStream, ms| {
        let mut bytes = Vec::new();
        header.write(&map, &mut bytes);
        bytes.extend_from_slice(payload);
        rtp::pad(&mut bytes, padding);
        let (read, place) = Header::parse(&bytes, &map).expect("a packet");
        assert_eq!(read, *header);
        receiver.receive(at(ms), &read, &bytes[place])
    };
    let media = sender.next(MediaTime(0), true, Extensions::default());
    assert!(packet(&media, &[1, 2, 3], 0, &mut receiver, 0).is_some());
    for n in 0..300u16 {
        let mut header = sender.padding().expect("RTX was agreed");
        header.ext.twcc = Some(n);
        assert_eq!((header.ssrc, header.payload_type, header.timestamp), (Ssrc(2), 97, media.timestamp));
        assert_eq!(packet(&header, &[], (n % 255 + 1) as u8, &mut receiver, 1), None);
    }
    let next = sender.next(MediaTime(3_000), true, Extensions::default());
    assert_eq!(next.seq, media.seq.wrapping_add(1), "padding leaves no gap");
    assert!(packet(&next, &[4], 0, &mut receiver, 33).is_some());
    let stats = receiver.stats();
    assert_eq!((stats.received, stats.lost, stats.bad, stats.duplicates), (2, 0, 0, 0));
    assert!(receiver.nack(at(500), None).is_empty());
    assert_eq!(SendStream::new(SendConfig::new(Ssrc(1), 96, 90_000, 5)).padding(), None);
}
