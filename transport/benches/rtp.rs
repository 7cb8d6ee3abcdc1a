//! What one packet costs: reading and writing its header, and the controller's share of it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use undertone_media::{DataSize, Ssrc, Timestamp};
use undertone_transport::bwe::{Cc, Config, DelayLoss, Fate, Outcome};
use undertone_transport::rtp::{AudioLevel, Descriptor, Extension, ExtensionMap, Extensions, Header, Mid};

fn header(c: &mut Criterion) {
    let map = ExtensionMap::new(&[
        (1, Extension::Mid),
        (2, Extension::AudioLevel),
        (3, Extension::AbsSendTime),
        (4, Extension::TransportCc),
        (5, Extension::Dependency),
    ]);
    let ext = Extensions {
        mid: Mid::new(b"0"),
        audio_level: Some(AudioLevel { voice: true, level: 40 }),
        abs_send_time: Some(1234),
        twcc: Some(99),
        dd: Descriptor::new(&[0xc0, 0, 1]),
        ..Extensions::default()
    };
    let full = Header { payload_type: 102, seq: 7, timestamp: 9, ssrc: Ssrc(5), marker: true, ext };
    let plain = Header { ext: Extensions::default(), ..full };
    let mut group = c.benchmark_group("rtp header");
    group.throughput(Throughput::Elements(1));
    for (name, header) in [("plain", plain), ("five extensions", full)] {
        let mut packet = Vec::new();
        header.write(&map, &mut packet);
        packet.resize(packet.len() + 1000, 0);
        group.bench_function(format!("parse, {name}"), |b| {
            b.iter(|| Header::parse(black_box(&packet), black_box(&map)));
        });
        let mut out = Vec::with_capacity(100);
        group.bench_function(format!("write, {name}"), |b| {
            b.iter(|| {
                out.clear();
                black_box(&header).write(black_box(&map), &mut out);
                black_box(&out);
            });
        });
    }
    group.finish();
}

/// 2 Mbit/s in packets of 1200 bytes, feedback each 50 ms.
fn bwe(c: &mut Criterion) {
    const PACKETS: u64 = 10;
    let mut group = c.benchmark_group("bwe");
    group.throughput(Throughput::Elements(PACKETS));
    let mut cc = DelayLoss::new(Config::default());
    let mut now = Timestamp::ZERO;
    group.bench_function("50 ms of 2 Mbit/s", |b| {
        b.iter(|| {
            let size = DataSize::from_bytes(1200);
            let outcomes: Vec<Outcome> = (0..PACKETS)
                .map(|i| {
                    let sent = now + Duration::from_millis(5 * i);
                    cc.on_sent(sent, size);
                    Outcome { sent, size, fate: Fate::Arrived(sent + Duration::from_millis(20 + i % 3)) }
                })
                .collect();
            now += Duration::from_millis(50);
            cc.on_feedback(now, &outcomes, None);
            black_box(cc.estimate())
        });
    });
    group.finish();
}

criterion_group!(benches, header, bwe);
criterion_main!(benches);
