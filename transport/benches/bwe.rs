//! What congestion control and pacing cost a packet: it is queued, leaves, and is reported fifty milliseconds later.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};
use undertone_transport::bwe::{Cc, Config, DelayLoss, Fate, Outcome};
use undertone_transport::pacer::{self, Pacer, Priority};

const SECS: u64 = 5;
const FPS: u64 = 30;
const PACKET: DataSize = DataSize::from_bytes(1_200);

/// Pictures at this rate for five seconds, over a path that carries them with some jitter.
fn call(kbps: u64) -> Bitrate {
    let rate = Bitrate::from_kbps(kbps);
    let mut cc =
        DelayLoss::new(Config { start: rate, max: Bitrate::from_kbps(100_000), ..Config::default() });
    let mut pacer = Pacer::new(pacer::Config { rate: rate.permille(1250), ..pacer::Config::default() });
    let packets = kbps * 1000 / 8 / FPS / PACKET.as_bytes();
    let (mut outcomes, mut reported) = (Vec::new(), Timestamp::ZERO);
    for ms in 0..SECS * 1000 {
        let now = Timestamp::from_millis(ms);
        if ms * FPS / 1000 != (ms + 1) * FPS / 1000 {
            (0..packets).for_each(|number| pacer.enqueue(now, Priority::Video, number, PACKET));
        }
        while let Some(number) = pacer.poll(now) {
            cc.on_sent(now, PACKET);
            let arrival = now + Duration::from_micros(20_000 + number * 37 % 3_000);
            outcomes.push(Outcome { sent: now, size: PACKET, fate: Fate::Arrived(arrival) });
        }
        if now.since(reported) >= Duration::from_millis(50) {
            reported = now;
            cc.on_feedback(now, &outcomes, Some(Duration::from_millis(40)));
            outcomes.clear();
        }
        cc.on_tick(now);
        pacer.set_rate(now, rate.permille(1250));
    }
    cc.estimate()
}

fn bwe(c: &mut Criterion) {
    let mut group = c.benchmark_group("bwe and pacer, a packet");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    for kbps in [1_000, 10_000, 50_000] {
        let packets = kbps * 1000 / 8 / FPS / PACKET.as_bytes() * FPS * SECS;
        group.throughput(Throughput::Elements(packets));
        group.bench_function(BenchmarkId::from_parameter(format!("{kbps} kbit/s")), |b| {
            b.iter(|| black_box(call(black_box(kbps))));
        });
    }
    group.finish();
}

criterion_group!(benches, bwe);
criterion_main!(benches);
