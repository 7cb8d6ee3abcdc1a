//! What a packet and a picture cost. A 20 ms packet at 100× real time is 200 µs.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use undertone_codec::{h264, opus, pattern::Pattern};
use undertone_media::{Timestamp, VideoFrame};

const MS_20: usize = 320;

fn speech() -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/speech/librivox_austen_0870.wav");
    let mut wav = hound::WavReader::open(path).expect("the committed clip");
    wav.samples::<i16>().map(|sample| sample.expect("16-bit samples")).collect()
}

fn packets(config: &opus::EncoderConfig, pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = opus::Encoder::new(config).expect("an encoder");
    let code = |chunk: &[i16]| {
        let mut packet = Vec::new();
        encoder.encode(chunk, &mut packet).expect("20 ms");
        packet
    };
    pcm.chunks_exact(MS_20).map(code).collect()
}

fn encode_speech(c: &mut Criterion) {
    let pcm = speech();
    let wanted = opus::Redundancy { span: Duration::from_millis(480), quantiser: 4, slope: 2 };
    for (name, redundancy) in [("plain", false), ("redundancy", true)] {
        let config = opus::EncoderConfig { redundancy, ..Default::default() };
        let mut encoder = opus::Encoder::new(&config).expect("an encoder");
        let (mut packet, mut dressed) = (Vec::new(), Vec::new());
        let mut chunks = pcm.chunks_exact(MS_20).cycle();
        c.bench_function(&format!("encode/opus_20ms_{name}"), |b| {
            b.iter(|| {
                encoder.encode(black_box(chunks.next().expect("endless")), &mut packet).expect("20 ms");
                encoder.dress(wanted, &packet, &mut dressed)
            });
        });
    }
}

fn decode_speech(c: &mut Criterion) {
    let packets = packets(&opus::EncoderConfig::default(), &speech());
    let mut pcm = Vec::with_capacity(MS_20);
    for (name, level) in
        [("plain", opus::Level::Plain), ("lace", opus::Level::Lace), ("nolace", opus::Level::NoLace)]
    {
        let mut decoder =
            opus::Decoder::new(opus::DecoderConfig { level, ..Default::default() }).expect("a decoder");
        let mut arriving = packets.iter().cycle();
        c.bench_function(&format!("decode/opus_20ms_{name}"), |b| {
            b.iter(|| {
                pcm.clear();
                decoder.decode(black_box(arriving.next().expect("endless")), &mut pcm)
            });
        });
    }
    let mut decoder = opus::Decoder::new(opus::DecoderConfig::default()).expect("a decoder");
    let mut arriving = packets.iter().cycle();
    c.bench_function("decode/opus_20ms_conceal_every_other", |b| {
        b.iter(|| {
            pcm.clear();
            let _ = decoder.decode(black_box(arriving.next().expect("endless")), &mut pcm);
            decoder.conceal(MS_20, &mut pcm)
        });
    });
}

/// Every fifth packet is lost, and brought back from the redundancy of the next.
fn decode_under_loss(c: &mut Criterion) {
    let pcm = speech();
    let wanted = opus::Redundancy { span: Duration::from_millis(480), quantiser: 4, slope: 2 };
    let config = opus::EncoderConfig { redundancy: true, ..Default::default() };
    let mut encoder = opus::Encoder::new(&config).expect("an encoder");
    let dress = |chunk: &[i16]| {
        let (mut bare, mut dressed) = (Vec::new(), Vec::new());
        encoder.encode(chunk, &mut bare).expect("20 ms");
        if encoder.dress(wanted, &bare, &mut dressed) { dressed } else { bare }
    };
    let packets: Vec<Vec<u8>> = pcm.chunks_exact(MS_20).map(dress).collect();
    let mut decoder = opus::Decoder::new(opus::DecoderConfig::default()).expect("a decoder");
    let mut out = Vec::with_capacity(2 * MS_20);
    let mut arriving = packets.iter().enumerate().cycle();
    c.bench_function("decode/opus_20ms_lace_20_percent_lost", |b| {
        b.iter(|| {
            let (index, packet) = arriving.next().expect("endless");
            out.clear();
            if index % 5 == 3 {
                return; // its time is spent with the next
            }
            decoder.parse_dred(black_box(packet));
            if index % 5 == 4 && !decoder.recover_dred(MS_20, MS_20, &mut out) {
                decoder.conceal(MS_20, &mut out);
            }
            decoder.decode(packet, &mut out).expect("a packet");
        });
    });
}

fn pictures(count: u32) -> Vec<VideoFrame> {
    (0..count).map(|n| Pattern::new(640, 360).frame(n, Timestamp::from_millis(u64::from(n) * 33))).collect()
}

fn video(c: &mut Criterion) {
    let pictures = pictures(60);
    let mut encoder = h264::Encoder::new(h264::EncoderConfig::default()).expect("an encoder");
    let mut showing = pictures.iter().cycle();
    c.bench_function("encode/h264_360p", |b| {
        b.iter(|| encoder.encode(black_box(showing.next().expect("endless")), false));
    });
    let mut encoder = h264::Encoder::new(h264::EncoderConfig::default()).expect("an encoder");
    let coded: Vec<Vec<u8>> = pictures
        .iter()
        .filter_map(|p| encoder.encode(p, false).expect("a picture"))
        .map(|c| c.data)
        .collect();
    c.bench_function("decode/h264_360p_60_pictures", |b| {
        b.iter_batched(
            h264::Decoder::new,
            |mut decoder| {
                for data in &coded {
                    let _ = black_box(decoder.decode(data, Timestamp::ZERO));
                }
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(2));
    targets = encode_speech, decode_speech, decode_under_loss, video
}
criterion_main!(benches);
