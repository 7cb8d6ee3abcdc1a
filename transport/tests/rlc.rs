//! The sliding-window code over paths that lose, reorder and repeat: what comes back, and how close that is to
//! what any code could bring back.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use undertone_media::Ssrc;
use undertone_transport::recovery::rlc::{Decoder, Encoder, Plan};
use undertone_transport::rtp::{Extensions, Header};

const OPUS: u8 = 111;
const RLC: u8 = 113;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn header(seq: u16, timestamp: u32) -> Header {
    let ext = Extensions::default();
    Header { payload_type: OPUS, marker: false, seq, timestamp, ssrc: Ssrc(7), ext }
}

/// Speech: 30–50 bytes, every packet different.
fn payload(random: &mut Random) -> Vec<u8> {
    let len = 30 + random.below(21);
    (0..len).map(|_| random.next() as u8).collect()
}

/// One stream from an encoder to a decoder.
struct Stream {
    random: Random,
    encoder: Encoder,
    decoder: Decoder,
    seq: u16,
    timestamp: u32,
    sent: BTreeMap<u16, (u32, Vec<u8>)>,
    /// Packets that came back.
    back: Vec<u16>,
}

impl Stream {
    fn new(seed: u64) -> Stream {
        Stream {
            random: Random(seed),
            encoder: Encoder::new(),
            decoder: Decoder::new(OPUS),
            seq: 100,
            timestamp: 5_000,
            sent: BTreeMap::new(),
            back: Vec::new(),
        }
    }

    /// The next packet.
    fn send(&mut self, step: u32, plan: &Plan) -> (Header, Vec<u8>) {
        let payload = payload(&mut self.random);
        self.send_this(step, plan, payload)
    }

    fn send_this(&mut self, step: u32, plan: &Plan, payload: Vec<u8>) -> (Header, Vec<u8>) {
        self.seq = self.seq.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(step);
        let header = header(self.seq, self.timestamp);
        let sent = self.encoder.dress(&header, &payload, &payload, plan, RLC);
        assert_eq!(sent.0, Header { payload_type: RLC, ..header });
        self.sent.insert(self.seq, (self.timestamp, payload));
        sent
    }

    /// What arrives brings back what was sent, or nothing. The numbers of what came back.
    fn receive(&mut self, (header, payload): &(Header, Vec<u8>)) -> Vec<u16> {
        let carrier = self.decoder.open(payload).expect("our own packet makes sense");
        assert_eq!((carrier.payload, carrier.partial), (&self.sent[&header.seq].1[..], false));
        let mut back = Vec::new();
        for (header, payload) in self.decoder.receive(header, &carrier, carrier.payload) {
            assert_eq!(header.payload_type, OPUS);
            assert_eq!((header.timestamp, payload), self.sent[&header.seq], "packet {}", header.seq);
            back.push(header.seq);
        }
        self.back.extend(&back);
        back
    }
}

const PLAN: Plan = Plan { window: 10, rate: 1000, symbol: 20, max_bytes: 1100 };

#[test]
fn a_lost_packet_comes_back_with_the_next() {
    let mut stream = Stream::new(1);
    for n in 0..200 {
        let packet = stream.send(960, &Plan { rate: 1500, ..PLAN });
        if n % 7 == 3 {
            continue;
        }
        let lost = n % 7 == 4;
        let before = packet.0.seq.wrapping_sub(1);
        assert_eq!(stream.receive(&packet), if lost { vec![before] } else { vec![] }, "packet {n}");
    }
    assert_eq!(stream.decoder.stats().unrecoverable, 0);
}

/// 2 bytes while there is nothing to repair with, and 5 else.
#[test]
fn it_costs_few_bytes() {
    let mut stream = Stream::new(2);
    for n in 0..20 {
        let (_, bytes) = stream.send(960, &Plan { rate: 0, ..PLAN });
        assert_eq!(bytes.len(), stream.sent[&stream.seq].1.len() + 2, "packet {n}");
    }
    for _ in 0..20 {
        let (_, bytes) = stream.send_this(960, &PLAN, vec![1; 39]);
        assert_eq!(bytes.len(), 39 + 5 + 2 * 20);
    }
    // A fifth of two symbols: two in five packets.
    let extra: usize =
        (0..50).map(|_| stream.send_this(960, &Plan { rate: 200, ..PLAN }, vec![1; 39]).1.len() - 39).sum();
    assert_eq!(extra, 20 * 25 + 30 * 2);
    assert_eq!(stream.encoder.stats().sent, 2 * 20 + 20);
}

/// More equations than unknowns say nothing; as many as the window has symbols are its symbols.
#[test]
fn no_more_is_sent_than_there_is_to_say() {
    let mut stream = Stream::new(3);
    let plan = Plan { window: 1, rate: 60_000, ..PLAN };
    let first = stream.send_this(960, &plan, b"first".to_vec());
    assert_eq!(first.1.len(), 5 + 2);
    let second = stream.send_this(960, &plan, b"second".to_vec());
    assert_eq!(second.1.len(), 5 + 20 + 6);
    assert_eq!(&second.1[5..11], b"\x05first");
    stream.receive(&second);
    assert_eq!(stream.back, [101]);
    // And no packet is longer than was allowed.
    for n in 0..50 {
        let plan = Plan { window: 12, rate: 60_000, max_bytes: 300, ..PLAN };
        let (_, bytes) = stream.send_this(960, &plan, vec![9; 39]);
        assert!(bytes.len() <= 300 && (n < 12 || bytes.len() > 280), "{}", bytes.len());
    }
}

#[test]
fn what_is_protected_may_be_less_than_what_is_carried() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(OPUS));
    for n in 0..10u16 {
        let header = header(n, u32::from(n) * 1920);
        let padded = [&[n as u8; 30][..], &[0xdd; 50]].concat();
        let (dressed, bytes) = encoder.dress(&header, &padded[..30], &padded, &PLAN, RLC);
        if n == 4 {
            continue;
        }
        let carrier = decoder.open(&bytes).unwrap();
        assert_eq!((carrier.payload, carrier.partial), (&padded[..], true));
        let back = decoder.receive(&dressed, &carrier, &carrier.payload[..30]);
        let lost = Header { seq: 4, timestamp: 4 * 1920, ..header };
        assert_eq!(back, if n == 5 { vec![(lost, vec![4; 30])] } else { vec![] });
    }
}

#[test]
fn numbers_wrap_unnoticed() {
    for start in [u16::MAX - 60, 0x3fff - 60] {
        let mut stream = Stream::new(4);
        (stream.seq, stream.timestamp) = (start, u32::MAX - 60 * 960);
        // Source symbols wrap after 16 384, which are some six thousand packets.
        for n in 0..12_000 {
            let packet = stream.send(960, &Plan { window: 3, rate: 1500, ..PLAN });
            if n % 3 != 0 {
                stream.receive(&packet);
            }
            if n % 100 == 99 {
                stream.sent.retain(|_, sent| stream.timestamp.wrapping_sub(sent.0) < 960 * 50);
            }
        }
        assert_eq!(stream.back.len(), 4_000);
    }
}

/// Packets that come in another order bring back as much; what comes twice brings nothing more.
#[test]
fn order_does_not_matter() {
    let mut stream = Stream::new(5);
    let mut lost = BTreeSet::new();
    let mut here = BTreeSet::new();
    for round in 0..200 {
        let mut packets: Vec<_> = (0..8).map(|_| stream.send(960, &Plan { rate: 1500, ..PLAN })).collect();
        for n in (1..8).rev() {
            packets.swap(n, stream.random.below(n as u64 + 1) as usize);
        }
        if round < 199 {
            lost.extend(packets.drain(..2).map(|it| it.0.seq));
        }
        packets.extend_from_within(..2);
        for packet in &packets {
            here.insert(packet.0.seq);
            stream.receive(packet);
        }
    }
    let back: BTreeSet<u16> = stream.back.iter().copied().collect();
    assert_eq!(back.len(), stream.back.len(), "each comes back once");
    // The first packet may be among them, whose loss nobody knows of.
    assert!(lost.iter().filter(|it| !back.contains(it)).count() <= 2);
}

/// A pause, another packet time and another symbol size begin anew; nothing comes back that was not sent, and
/// what can comes back on either side.
#[test]
fn pauses_and_changes_begin_anew() {
    let mut stream = Stream::new(6);
    let mut lost = 0;
    for n in 0..3_000u32 {
        let step = match n % 50 {
            0 => 48_000,
            25..50 => 1_920,
            _ => 960,
        };
        if n % 50 == 0 {
            // Some packets of a pause travel on their own.
            stream.seq = stream.seq.wrapping_add(2);
        }
        let symbol = [20, 26, 12][n as usize / 110 % 3];
        let packet = stream.send(step, &Plan { symbol, rate: 1300, ..PLAN });
        // Well before the next change.
        if n % 50 % 10 == 3 {
            lost += 1;
            continue;
        }
        stream.receive(&packet);
    }
    assert_eq!(lost, 300);
    assert!(stream.back.len() >= 280, "{} of {lost} came back", stream.back.len());
    assert_eq!(stream.decoder.stats().bad, 0);
}

/// A relay passes on what reaches it: what was lost before is no reason to begin anew, nor does it come back.
#[test]
fn packets_that_never_were_are_passed_over() {
    let mut stream = Stream::new(9);
    let mut lost = 0;
    for n in 0..3_000 {
        if n % 10 == 4 || n % 10 == 5 {
            (stream.seq, stream.timestamp) = (stream.seq.wrapping_add(1), stream.timestamp.wrapping_add(960));
            continue;
        }
        let packet = stream.send(960, &PLAN);
        if n % 10 == 3 || n % 10 == 6 {
            lost += 1;
            continue;
        }
        stream.receive(&packet);
    }
    assert_eq!(stream.back.len(), lost);
}

/// An encoder that begins again, say since the sender's program did, is followed at once.
#[test]
fn another_encoder_takes_over() {
    let mut stream = Stream::new(7);
    for n in 0..500 {
        if n % 100 == 50 {
            stream.encoder = Encoder::new();
        }
        let packet = stream.send(960, &PLAN);
        if n % 10 != 3 {
            stream.receive(&packet);
        }
    }
    assert_eq!(stream.back.len(), 50);
}

#[test]
fn a_payload_that_is_too_long_travels_unprotected() {
    let mut stream = Stream::new(8);
    for n in 0..40 {
        let payload = if n % 10 == 5 { vec![1; 1_300] } else { vec![n; 300 + 20 * usize::from(n)] };
        let packet = stream.send_this(960, &Plan { symbol: 128, max_bytes: 9_000, ..PLAN }, payload);
        if n % 10 != 5 && n % 10 != 8 {
            stream.receive(&packet);
        }
    }
    assert_eq!(stream.back.len(), 4, "the eights; the fives were not protected");
}

/// Losses with the given chance, in runs of the given mean length.
struct Loss {
    percent: u64,
    burst: u64,
    bad: bool,
}

impl Loss {
    /// A Gilbert model; with runs of one packet losses are independent.
    fn lost(&mut self, random: &mut Random) -> bool {
        let (percent, burst) = (self.percent, self.burst);
        if burst == 1 {
            return random.below(100) < percent;
        }
        let turn = random.below(1_000_000);
        self.bad = if self.bad {
            turn >= 1_000_000 / burst
        } else {
            turn < 1_000_000 * percent / (100 - percent) / burst
        };
        self.bad
    }
}

/// Which of the lost packets any code could bring back within the window's delay, if all equations were
/// independent: equations are handed to the unknown symbols, oldest first, by the deadline rule of matchings.
struct Bound {
    /// Lost packets with unknown symbols.
    unknown: Vec<(u64, u64)>,
}

impl Bound {
    /// Solvable exactly when, for the newest suffix of unknowns that a later equation covers, equations suffice:
    /// with windows that only move forward a set of unknowns is determined when every trailing run of windows has
    /// enough equations. Counted as a greedy matching of equations to the oldest unknown they cover.
    fn equations(&mut self, from: u64, mut count: u64) -> Vec<u64> {
        self.unknown.retain(|&(packet, _)| packet >= from);
        for (_, left) in &mut self.unknown {
            let used = count.min(*left);
            *left -= used;
            count -= used;
        }
        if self.unknown.iter().all(|&(_, left)| left == 0) {
            return std::mem::take(&mut self.unknown).into_iter().map(|(packet, _)| packet).collect();
        }
        Vec::new()
    }
}

const PACKETS: u64 = 20_000;

/// Share of packets, in hundredths of a percent, that are missing when their window has passed: without the code,
/// with it, and with a code whose equations are never dependent.
fn residual(percent: u64, burst: u64, window: usize, rate: u32) -> [u64; 3] {
    let mut stream = Stream::new(percent * 1_000 + burst * 100 + window as u64);
    let mut loss = Loss { percent, burst, bad: false };
    let mut random = Random(percent + 10 * burst);
    let (mut missing, mut bound_missing) = (BTreeSet::new(), BTreeSet::new());
    let mut bound = Bound { unknown: Vec::new() };
    let mut lost = 0;
    let plan = Plan { window, rate, ..PLAN };
    for n in 0..PACKETS {
        let before = stream.encoder.stats().sent;
        // Constant size, so that the bound is easy to say: two symbols.
        let payload: Vec<u8> = (0..39).map(|_| stream.random.next() as u8).collect();
        let packet = stream.send_this(960, &plan, payload);
        if loss.lost(&mut random) {
            missing.insert(n);
            bound_missing.insert(n);
            bound.unknown.push((n, 2));
            lost += 1;
            continue;
        }
        let count = stream.encoder.stats().sent - before;
        for packet in bound.equations(n.saturating_sub(window as u64), count) {
            bound_missing.remove(&packet);
        }
        for seq in stream.receive(&packet) {
            let age = u64::from(stream.seq.wrapping_sub(seq));
            if age <= window as u64 {
                missing.remove(&(n - age));
            }
        }
        stream.sent.retain(|_, sent| stream.timestamp.wrapping_sub(sent.0) < 960 * 100);
    }
    [lost, missing.len() as u64, bound_missing.len() as u64].map(|it| it * 10_000 / PACKETS)
}

#[test]
fn residual_loss_is_close_to_that_of_an_ideal_code() {
    let mut table = String::from(
        "# packets missing after the window's delay, in percent: without, with the code, with an ideal code\n\
         loss  burst  window  rate   without    with   ideal\n",
    );
    for (percent, burst) in [(5, 1), (10, 1), (10, 5), (30, 1), (50, 1), (50, 3), (70, 1), (80, 1)] {
        for window in [3, 6, 12, 25] {
            for rate in [200, 500, 1000, 2000, 4000] {
                // Far too little for this loss, or far too much.
                if u64::from(rate) * (100 - percent) < 500 * percent || percent == 5 && rate > 1000 {
                    continue;
                }
                let [without, with, ideal] = residual(percent, burst, window, rate);
                let text = |it: u64| format!("{}.{:02}", it / 100, it % 100);
                let (without_text, with_text, ideal_text) = (text(without), text(with), text(ideal));
                let _ = writeln!(
                    table,
                    "{percent:4}  {burst:5}  {window:6}  {rate:4}  {without_text:>8}  {with_text:>6}  {ideal_text:>6}"
                );
                let excess = with.saturating_sub(ideal);
                assert!(
                    excess <= 15 + without / 100,
                    "{percent} % {burst} {window} {rate}: {with} against {ideal}"
                );
            }
        }
    }
    golden("rlc.txt", &table);
}

fn golden(name: &str, table: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, table).expect("the golden table can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, expected, "{name} changed; UPDATE_GOLDEN=1 writes it");
}

/// Whatever comes is bounded in memory and in what it returns.
#[test]
fn memory_is_bounded() {
    let mut random = Random(11);
    let mut decoder = Decoder::new(OPUS);
    let mut most = 0;
    for n in 0..30_000u32 {
        let mut bytes: Vec<u8> = (0..random.below(1_400)).map(|_| random.next() as u8).collect();
        // Numbers that go on, so that the decoder has reason to keep what came.
        let esi = (n * 3) as u16 & 0x3fff | 0x8000;
        bytes.splice(..bytes.len().min(2), esi.to_be_bytes());
        if random.below(10) > 0 && bytes.len() > 5 {
            let (count, window) = (1 + random.below(63) as u16, 64 + random.below(65) as u8);
            bytes[2..4].copy_from_slice(&(count << 10 | 2 << 6 | (n as u16 / 4_000 * 7)).to_be_bytes());
            bytes[4] = window;
        }
        let Some(carrier) = decoder.open(&bytes) else { continue };
        for (_, payload) in decoder.receive(&header(n as u16, n * 960), &carrier, carrier.payload) {
            assert!(payload.len() <= 1_275);
        }
        most = most.max(decoder.memory());
    }
    assert!(decoder.stats().innovative > 1_000, "{:?}", decoder.stats());
    assert!(most < 400 * 1024, "{most} bytes");
}

fn any_packets() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let packet = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..300));
    prop::collection::vec(packet, 0..60)
}

proptest! {
    /// Anything is read without harm, alone and between packets of ours.
    #[test]
    fn garbage_does_no_harm(garbage in any_packets(), near in any::<bool>()) {
        let mut stream = Stream::new(12);
        for (seq, bytes) in garbage {
            let ours = stream.send(960, &PLAN);
            let carrier = stream.decoder.open(&ours.1).unwrap();
            stream.decoder.receive(&ours.0, &carrier, carrier.payload);
            let seq = if near { ours.0.seq.wrapping_sub(seq % 50) } else { seq };
            if let Some(carrier) = stream.decoder.open(&bytes) {
                prop_assert!(carrier.payload.len() <= bytes.len());
                stream.decoder.receive(&header(seq, 0), &carrier, carrier.payload);
            }
        }
        let stats = stream.decoder.stats();
        prop_assert!(stats.innovative <= stats.received);
    }

    /// Whatever is lost and however the plan changes, what comes back is what was sent.
    #[test]
    fn what_comes_back_was_sent(
        packets in prop::collection::vec((0..1_500u32, 0..30usize, 0..8u8, 0..3usize), 1..200),
    ) {
        let mut stream = Stream::new(13);
        for (rate, window, chance, symbol) in packets {
            let plan = Plan { rate, window, symbol: [16, 16, 40][symbol], max_bytes: 600 };
            let packet = stream.send(if chance == 7 { 1_920 } else { 960 }, &plan);
            if chance > 2 {
                stream.receive(&packet);
            }
        }
        let back: BTreeSet<u16> = stream.back.iter().copied().collect();
        prop_assert_eq!(back.len(), stream.back.len());
        prop_assert_eq!(stream.decoder.stats().recovered, stream.back.len() as u64);
    }
}
