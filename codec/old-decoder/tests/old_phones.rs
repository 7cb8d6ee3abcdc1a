//! A decoder of before deep redundancy (libopus 1.3) plays everything that we send: every packet time and rate, with and without protection, pauses and
//! losses. The samples of libopus 1.3 are held against those of our own decoder without its enhancements.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use undertone_codec::opus::{
    Decoder, DecoderConfig, Encoder, EncoderConfig, Level, Redundancy, has_lbrr, strip,
};
use undertone_media::{Bitrate, SampleRate, Sound};

/// What a receiver does in a packet's place.
#[derive(Clone, Copy)]
enum Step<'a> {
    Decode(&'a [u8]),
    Conceal,
    /// From the low-rate copy in the packet after it.
    Copy(&'a [u8]),
}

fn speech() -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/speech/librivox_austen_0870.wav");
    let mut wav = hound::WavReader::open(path).expect("the committed clip");
    wav.samples::<i16>().map(|sample| sample.expect("16-bit samples")).collect()
}

/// What libopus 1.3 makes of it.
fn old(rate: u32, samples: usize, steps: &[Step]) -> Vec<i16> {
    let mut input = rate.to_le_bytes().to_vec();
    for step in steps {
        let (what, packet) = match *step {
            Step::Decode(packet) => (0, packet),
            Step::Conceal => (1, &[][..]),
            Step::Copy(packet) => (2, packet),
        };
        input.extend((samples as u16).to_le_bytes());
        input.push(what);
        input.extend((packet.len() as u16).to_le_bytes());
        input.extend(packet);
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_undertone-old-decoder"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the old decoder runs");
    let mut stdin = child.stdin.take().expect("piped");
    let told = std::thread::scope(|scope| {
        // It answers while it still reads: both pipes must move.
        scope.spawn(move || stdin.write_all(&input));
        child.wait_with_output().expect("it ends")
    });
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{said}");
    assert!(said.contains("libopus unknown"), "not the libopus that audiopus carries: {said}");
    told.stdout.chunks_exact(2).map(|it| i16::from_le_bytes([it[0], it[1]])).collect()
}

/// What our own decoder makes of it.
fn ours(samples: usize, steps: &[Step]) -> Vec<i16> {
    let mut decoder = Decoder::new(DecoderConfig { level: Level::Plain, ..Default::default() }).unwrap();
    let mut pcm = Vec::new();
    for step in steps {
        match step {
            Step::Decode(packet) => assert_eq!(decoder.decode(packet, &mut pcm), Ok(samples)),
            Step::Conceal => assert_eq!(decoder.conceal(samples, &mut pcm), samples),
            Step::Copy(packet) => assert!(decoder.recover_lbrr(packet, samples, &mut pcm)),
        }
    }
    pcm
}

fn encode(config: &EncoderConfig, dressing: Option<Redundancy>, samples: usize, pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(config).unwrap();
    pcm.chunks_exact(samples)
        .map(|chunk| {
            let (mut bare, mut dressed) = (Vec::new(), Vec::new());
            encoder.encode(chunk, &mut bare).unwrap();
            match dressing {
                Some(wanted) if encoder.dress(wanted, &bare, &mut dressed) => dressed,
                _ => bare,
            }
        })
        .collect()
}

fn all_arrive(packets: &[Vec<u8>]) -> Vec<Step<'_>> {
    packets.iter().map(|packet| Step::Decode(packet)).collect()
}

fn dot(a: &[i16], b: &[i16]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Normalised correlation, and how much louder `a` is in decibels.
fn compare(a: &[i16], b: &[i16]) -> (f64, f64) {
    let (aa, bb) = (dot(a, a).max(1.0), dot(b, b).max(1.0));
    (dot(a, b) / (aa * bb).sqrt(), 10.0 * (aa / bb).log10())
}

/// The last second as redundancy, in fine steps; a coarse and short one.
const DRESSINGS: [Option<Redundancy>; 3] = [
    None,
    Some(Redundancy { span: Duration::from_millis(1040), quantiser: 0, slope: 0 }),
    Some(Redundancy { span: Duration::from_millis(200), quantiser: 9, slope: 3 }),
];

#[test]
fn every_rate_packet_time_and_protection_decodes_as_ours() {
    let pcm = &speech()[16_000..64_000];
    for ms in [20, 40, 60, 80, 100, 120] {
        let samples = ms * 16;
        for kbps in [6, 9, 12, 16, 24, 32, 40] {
            for (lbrr, dressing) in [(false, 0), (true, 0), (false, 1), (true, 2)] {
                let config = EncoderConfig {
                    bitrate: Bitrate::from_kbps(kbps),
                    lbrr: lbrr.then_some(20),
                    redundancy: dressing > 0,
                    ..Default::default()
                };
                let packets = encode(&config, DRESSINGS[dressing], samples, pcm);
                let what = format!("{ms} ms, {kbps} kbit/s, LBRR {lbrr}, dressing {dressing}");
                if dressing > 0 {
                    let dressed = packets.iter().filter(|it| strip(it).unwrap().len() < it.len()).count();
                    assert!(dressed * 2 > packets.len(), "{what}: {dressed} of {}", packets.len());
                }
                let steps = all_arrive(&packets);
                // SILK is integer arithmetic: old and new agree to the last bit.
                assert!(old(16_000, samples, &steps) == ours(samples, &steps), "{what}");
            }
        }
    }
}

#[test]
fn a_phone_that_plays_at_48_khz_hears_the_same() {
    let pcm = &speech()[16_000..64_000];
    let config = EncoderConfig { redundancy: true, ..Default::default() };
    let packets = encode(&config, DRESSINGS[1], 960, pcm);
    let steps = all_arrive(&packets);
    let heard = old(48_000, 3 * 960, &steps);
    let wanted = ours(960, &steps);
    // Every third sample, at the delay of the resampler that fits best.
    let best = (0..60)
        .map(|delay| {
            let third: Vec<i16> = heard[delay..].iter().step_by(3).copied().collect();
            compare(&third, &wanted)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("delays");
    assert!(best.0 > 0.97 && best.1.abs() < 0.5, "{best:?}");
}

/// A coded packet, and what our own decoder makes of it.
fn full_band(kbps: u64, samples: usize, sound: impl Fn(usize) -> Sound) -> (Vec<Vec<u8>>, Vec<i16>) {
    // The reading three times as fast, for want of a song: full band, with noise and with tones.
    let rate = SampleRate::Full;
    let config =
        EncoderConfig { rate, sound: sound(0), bitrate: Bitrate::from_kbps(kbps), ..Default::default() };
    let mut encoder = Encoder::new(&config).unwrap();
    let mut decoder = Decoder::new(DecoderConfig { rate, level: Level::Plain }).unwrap();
    let (mut packets, mut wanted) = (Vec::new(), Vec::new());
    for (index, chunk) in speech().chunks_exact(samples).enumerate() {
        let mut packet = Vec::new();
        encoder.set_sound(sound(index));
        encoder.encode(chunk, &mut packet).unwrap();
        decoder.decode(&packet, &mut wanted).unwrap();
        packets.push(packet);
    }
    (packets, wanted)
}

#[test]
fn music_decodes_as_ours() {
    for (kbps, samples) in [(32, 960), (64, 960), (128, 960), (32, 1920)] {
        let (packets, wanted) = full_band(kbps, samples, |_| Sound::Music);
        // CELT is floating point: the last bit may differ.
        let (likeness, louder) = compare(&old(48_000, samples, &all_arrive(&packets)), &wanted);
        assert!(likeness > 0.999 && louder.abs() < 0.1, "{kbps} kbit/s: {likeness}, {louder} dB");
    }
}

#[test]
fn a_voice_in_place_of_music_decodes_as_ours() {
    let sound = |index| if index / 20 % 2 == 0 { Sound::Music } else { Sound::Speech };
    for samples in [960, 1920, 2880] {
        let (packets, wanted) = full_band(40, samples, sound);
        let (likeness, louder) = compare(&old(48_000, samples, &all_arrive(&packets)), &wanted);
        assert!(likeness > 0.99 && louder.abs() < 0.2, "{samples} samples: {likeness}, {louder} dB");
    }
}

#[test]
fn pauses_that_are_not_sent_stay_quiet() {
    let mut pcm = speech()[16_000..48_000].to_vec();
    pcm.resize(pcm.len() + 32_000, 0);
    pcm.extend_from_within(..16_000);
    for ms in [20, 60] {
        let samples = ms * 16;
        let packets = encode(&EncoderConfig { dtx: true, ..Default::default() }, None, samples, &pcm);
        let unsent = packets.iter().filter(|packet| packet.len() <= 2).count();
        assert!(unsent * ms > 1000, "{unsent} packets of {ms} ms are not sent");
        // Whether the empty packet arrives, or nothing does: both are the same to a decoder.
        for empty_arrives in [true, false] {
            let steps: Vec<Step> = packets
                .iter()
                .map(|it| if it.len() > 2 || empty_arrives { Step::Decode(it) } else { Step::Conceal })
                .collect();
            let heard = old(16_000, samples, &steps);
            let (likeness, louder) = compare(&heard, &ours(samples, &steps));
            assert!(likeness > 0.95 && louder.abs() < 0.5, "{ms} ms: {likeness}, {louder} dB");
            let pause = &heard[48_000..62_000];
            assert!(dot(pause, pause) / (pause.len() as f64) < 100.0);
        }
    }
}

#[test]
fn losses_are_survived() {
    let pcm = &speech();
    for ms in [20, 60] {
        let samples = ms * 16;
        let config = EncoderConfig {
            bitrate: Bitrate::from_kbps(32),
            lbrr: Some(20),
            redundancy: true,
            ..Default::default()
        };
        let packets = encode(&config, DRESSINGS[2], samples, pcm);
        let (mut state, mut copied, mut last) = (1u32, 0, false);
        let mut steps = Vec::new();
        for packet in &packets {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let lost = (state >> 16) % 100 < 20;
            // The copy is in the packet after the lost one, if that arrives.
            if last {
                steps.pop();
                let copy = !lost && has_lbrr(packet);
                copied += usize::from(copy);
                steps.push(if copy { Step::Copy(packet) } else { Step::Conceal });
            }
            steps.push(if lost { Step::Conceal } else { Step::Decode(packet) });
            last = lost;
        }
        assert!(copied > 5, "{copied} copies");
        let heard = old(16_000, samples, &steps);
        assert_eq!(heard.len(), samples * packets.len());
        // Concealment is where the two differ: the old one has no network for it.
        let (likeness, louder) = compare(&heard, &ours(samples, &steps));
        assert!(likeness > 0.8 && louder.abs() < 1.0, "{ms} ms: {likeness}, {louder} dB");
    }
}
