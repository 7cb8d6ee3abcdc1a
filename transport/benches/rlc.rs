//! What the sliding-window code costs: mean per packet, and the slowest packet of a stream.
//!
//! The slowest is the most that any packet of the stream took in the best of many runs, so that what else the
//! machine does is left out.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use undertone_media::Ssrc;
use undertone_transport::recovery::rlc::{Decoder, Encoder, Plan};
use undertone_transport::rtp::{Extensions, Header};

const PACKETS: u16 = 500;

type Packets = Vec<(Header, Vec<u8>)>;

/// xorshift64*.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}

/// Speech: `least` to `least` + 25 bytes a packet, two or three symbols.
fn speech(least: u64) -> Packets {
    let mut state = 1;
    (0..PACKETS)
        .map(|seq| {
            let ext = Extensions::default();
            let timestamp = u32::from(seq) * 960;
            let header = Header { payload_type: 111, marker: false, seq, timestamp, ssrc: Ssrc(7), ext };
            let len = least + random(&mut state) % 26;
            (header, (0..len).map(|_| random(&mut state) as u8).collect())
        })
        .collect()
}

fn plan(window: usize, rate: u32) -> Plan {
    Plan { window, rate, symbol: 24, max_bytes: 1400 }
}

fn encode(packets: &Packets, plan: &Plan) -> Packets {
    let mut encoder = Encoder::new();
    packets.iter().map(|(header, payload)| encoder.dress(header, payload, payload, plan, 64)).collect()
}

fn lossy(packets: &Packets, percent: u64) -> Packets {
    let mut state = 99;
    packets.iter().filter(|_| random(&mut state) % 100 >= percent).cloned().collect()
}

fn receive(decoder: &mut Decoder, (header, payload): &(Header, Vec<u8>)) -> usize {
    let carrier = decoder.open(payload).expect("our own packet");
    decoder.receive(header, &carrier, carrier.payload).len()
}

/// The slowest packet of a stream. `work` does them all and says how long each took.
#[allow(clippy::disallowed_methods)] // a bench is a door of its own
fn slowest(name: &str, packets: &Packets, mut work: impl FnMut() -> Box<dyn FnMut(&(Header, Vec<u8>))>) {
    let mut best = vec![Duration::MAX; packets.len()];
    for _ in 0..100 {
        let mut one = work();
        for (packet, best) in packets.iter().zip(&mut best) {
            let begun = Instant::now();
            one(packet);
            *best = (*best).min(begun.elapsed());
        }
    }
    let most = best.iter().max().copied().unwrap_or_default();
    println!("{name:50} slowest packet {:6.2} µs", most.as_nanos() as f64 / 1000.0);
}

fn rlc(c: &mut Criterion) {
    let source = speech(35);
    let mut group = c.benchmark_group("rlc");
    group.sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for window in [3, 12, 25] {
        for rate in [500, 1000, 5000] {
            let plan = plan(window, rate);
            group.throughput(Throughput::Elements(source.len() as u64));
            let name = format!("window {window}, rate {rate}");
            group.bench_function(BenchmarkId::new("encode", &name), |b| b.iter(|| encode(&source, &plan)));
            slowest(&format!("encode, {name}"), &source, || {
                let mut encoder = Encoder::new();
                Box::new(move |(header, payload)| {
                    black_box(encoder.dress(header, payload, payload, &plan, 64));
                })
            });
            let sent = encode(&source, &plan);
            for percent in [0, 10, 50, 70] {
                let packets = lossy(&sent, percent);
                group.throughput(Throughput::Elements(packets.len() as u64));
                let name = format!("{name}, loss {percent} %");
                group.bench_function(BenchmarkId::new("decode", &name), |b| {
                    b.iter(|| {
                        let mut decoder = Decoder::new(111);
                        packets.iter().map(|packet| receive(&mut decoder, packet)).sum::<usize>()
                    });
                });
                slowest(&format!("decode, {name}"), &packets, || {
                    let mut decoder = Decoder::new(111);
                    Box::new(move |packet| {
                        black_box(receive(&mut decoder, packet));
                    })
                });
            }
        }
    }
    group.finish();
    // The most that is planned: 112 kbit/s where 70 % are lost, in packets of 20 ms.
    let plan = Plan { symbol: 16, ..plan(25, 5000) };
    let packets = lossy(&encode(&speech(20), &plan), 70);
    slowest("decode, the most that is planned, loss 70 %", &packets, || {
        let mut decoder = Decoder::new(111);
        Box::new(move |packet| {
            black_box(receive(&mut decoder, packet));
        })
    });
}

/// Nothing came for a window, then one packet with so many repair symbols.
fn after_an_outage(c: &mut Criterion) {
    let source = speech(35);
    let mut group = c.benchmark_group("rlc after an outage of 25 packets");
    for symbols in [12u32, 24, 48] {
        let plan = Plan { max_bytes: 5 + 60 + symbols as usize * 24, ..plan(25, 100_000) };
        let sent = encode(&source, &plan);
        let mut before = Decoder::new(111);
        sent[..40].iter().for_each(|packet| {
            receive(&mut before, packet);
        });
        slowest(&format!("outage, {symbols} repair symbols"), &sent[65..66].to_vec(), || {
            let mut decoder = before.clone();
            Box::new(move |packet| {
                black_box(receive(&mut decoder, packet));
            })
        });
        group.bench_function(format!("{symbols} repair symbols"), |b| {
            b.iter_batched_ref(
                || before.clone(),
                |decoder| receive(decoder, black_box(&sent[65])),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, rlc, after_an_outage);
criterion_main!(benches);
