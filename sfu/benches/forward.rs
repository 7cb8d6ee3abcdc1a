//! What one forwarded packet costs, in process and without sockets: a 1000-byte packet comes in, is opened,
//! kept and given to fifty subscribers under their own numbers and seals.
//!
//! `cargo bench --release -p undertone-sfu`: the time that criterion prints per element is that of one
//! forwarded packet. With `video` pacing, the packet cache and, as between our own ends, the log for RFC 8888
//! feedback are included.

#[path = "../tests/party/mod.rs"]
mod party;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use party::{Party, SFU_ADDR, Sending, ms};
use std::time::Duration;
use undertone_media::{Input, Kind, Machine, MediaTime, Output};
use undertone_transport::payload::dd;
use undertone_transport::rtp::{AudioLevel, Extensions};
use undertone_transport::session;

const SUBSCRIBERS: usize = 50;
const PACKET: usize = 1000;

/// A room with one publisher, first of the clients, and fifty who listen and watch.
fn room() -> Party {
    let mut party = Party::new((1, 1));
    party.join("hall", "Anna", Sending { audio: true, video: Some(1), ..Sending::default() });
    for at in 0..SUBSCRIBERS {
        party.join("hall", &format!("S{at}"), Sending { audio: false, ..Sending::default() });
    }
    party.run(Duration::from_secs(3));
    let stats = party.sfu.stats();
    assert_eq!(stats.connected as usize, SUBSCRIBERS + 1);
    party.clients[0].sending = Sending { audio: false, ..Sending::default() };
    party.clients.iter_mut().for_each(|client| client.forgetful = true);
    party
}

/// The publisher's next datagram.
fn datagram(party: &mut Party, kind: Kind, n: u64) -> Vec<u8> {
    let now = party.now;
    let anna = &mut party.clients[0];
    let (stream, map) = if kind == Kind::Audio { &mut anna.audio } else { &mut anna.video }.as_mut().unwrap();
    let mut ext = Extensions::default();
    if kind == Kind::Audio {
        ext.audio_level = Some(AudioLevel { voice: true, level: 30 });
    } else {
        let facts =
            dd::Facts { start: true, end: true, key: false, frame_number: n as u16, spatial: 0, temporal: 0 };
        ext.dd = Some(dd::Writer::new(1).write(&facts));
    }
    let header = stream.next(MediaTime(now.as_micros()), true, ext);
    let mut bytes = Vec::new();
    header.write(map, &mut bytes);
    bytes.resize(PACKET, 7);
    anna.session.send_rtp(now, bytes);
    std::iter::from_fn(|| anna.session.poll())
        .find_map(|output| match output {
            session::Output::Transmit(transmit) => Some(transmit.bytes),
            _ => None,
        })
        .expect("the session is connected")
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    for kind in [Kind::Audio, Kind::Video] {
        let mut party = room();
        let (from, to) = (party.clients[0].addr, SFU_ADDR.parse().unwrap());
        let mut n = 30_000;
        let mut outputs = Vec::with_capacity(1000);
        group.bench_function(BenchmarkId::from_parameter(format!("{kind:?}").to_lowercase()), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                let mut sent = 0u64;
                for _ in 0..rounds {
                    n += 1;
                    let mut bytes = datagram(&mut party, kind, n);
                    let now = party.now;
                    #[allow(clippy::disallowed_methods)] // a bench is there to read the clock
                    let start = std::time::Instant::now();
                    party.sfu.handle(now, Input::Datagram { from, to, bytes: &mut bytes });
                    while let Some(output) = party.sfu.poll() {
                        outputs.push(output);
                    }
                    spent += start.elapsed();
                    sent +=
                        outputs.iter().filter(|output| matches!(output, Output::Transmit(_))).count() as u64;
                    outputs.drain(..).for_each(|output| party.deliver(output));
                    // The subscribers get a hundred packets a second, and report on them.
                    party.run(ms(10));
                }
                let all = rounds * SUBSCRIBERS as u64;
                assert!(
                    rounds < 1000 || sent * 10 >= all * 9,
                    "{sent} of {all} sent: {:?}",
                    party.sfu.stats()
                );
                spent
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2));
    targets = forward
}
criterion_main!(benches);
