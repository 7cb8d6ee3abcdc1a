//! Music: the full band at the rate asked for, playable by every decoder, and going over from a voice and back.

mod speech;

use proptest::prelude::*;
use speech::{alike, energy, purity, snr_db};
use std::time::Duration;
use undertone_codec::opus::{Decoder, DecoderConfig, Encoder, EncoderConfig, Redundancy, packet_duration};
use undertone_media::{Bitrate, SampleRate, Sound};

/// 20 ms at 48 kHz.
const PACKET: usize = 960;

fn encoder(sound: Sound, kbps: u64) -> Encoder {
    let bitrate = Bitrate::from_kbps(kbps);
    Encoder::new(&EncoderConfig { rate: SampleRate::Full, sound, bitrate, ..Default::default() }).unwrap()
}

fn decoder() -> Decoder {
    Decoder::new(DecoderConfig { rate: SampleRate::Full, ..Default::default() }).unwrap()
}

/// 16 kHz as 48, with nothing new above 8.
fn upsampled(pcm: &[i16]) -> Vec<i16> {
    let mut up = undertone_codec::resample::Resampler::new(16_000, 48_000, 1).unwrap();
    let mut out = Vec::new();
    up.process(pcm, &mut out);
    out
}

/// Three seconds of plucked chords, their overtones up to 15 kHz.
fn chords() -> Vec<i16> {
    let rate = 48_000.0;
    (0..3 * 48_000)
        .map(|i| {
            let pluck = i / 12_000;
            let since = f64::from(i % 12_000) / rate;
            let root = [220.0, 261.6, 329.6][pluck as usize % 3];
            let voice = |hz: f64| {
                (1..=60)
                    .map(|n| (f64::from(n), f64::from(n) * hz))
                    .take_while(|&(_, hz)| hz < 15_000.0)
                    .map(|(n, hz)| {
                        (std::f64::consts::TAU * hz * since).sin() * (-since * (3.0 + n)).exp() / n
                    })
                    .sum::<f64>()
            };
            (2500.0 * (voice(root) + voice(root * 1.25) + voice(root * 1.5))).round() as i16
        })
        .collect()
}

fn encode(kbps: u64, pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = encoder(Sound::Music, kbps);
    let code = |chunk: &[i16]| {
        let mut packet = Vec::new();
        encoder.encode(chunk, &mut packet).unwrap();
        packet
    };
    pcm.chunks_exact(PACKET).map(code).collect()
}

fn decode(packets: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = decoder();
    let mut pcm = Vec::new();
    for packet in packets {
        assert_eq!(decoder.decode(packet, &mut pcm), Ok(PACKET));
    }
    pcm
}

#[test]
fn music_keeps_its_band_at_the_rate_asked_for() {
    let pcm = chords();
    let mut clearer = 0.0;
    for kbps in [32, 64, 128] {
        let packets = encode(kbps, &pcm);
        // 31 is CELT, full band, 20 ms (RFC 6716, table 2).
        assert!(packets.iter().all(|packet| packet[0] >> 3 == 31));
        assert!(packets.iter().all(|packet| packet_duration(packet) == Some(Duration::from_millis(20))));
        let rate = packets.iter().map(|it| it.len() * 8).sum::<usize>() as f64 / 3.0 / 1000.0;
        assert!((0.7..1.25).contains(&(rate / kbps as f64)), "{kbps}: {rate} kbit/s");
        let heard = decode(&packets);
        let delay = 312; // 6.5 ms
        let snr = snr_db(&pcm[..140_000], &heard[delay..140_000 + delay]);
        assert!(snr > clearer + 2.0, "{kbps} kbit/s: {snr} dB after {clearer} dB");
        clearer = snr;
    }
    assert_eq!(encoder(Sound::Music, 64).lookahead(), Duration::from_micros(6500));
    let high: Vec<i16> = speech::tone(12_000.0, 5000.0, 48_000, 48_000.0);
    assert!(purity(&decode(&encode(64, &high))[4800..], 12_000.0, 48_000.0) > 0.95);
}

#[test]
fn a_lost_packet_is_concealed_for_as_long_as_asked() {
    let pcm = chords();
    let packets = encode(64, &pcm);
    let mut decoder = decoder();
    let mut heard = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        if index % 10 == 9 {
            assert_eq!(decoder.conceal(PACKET, &mut heard), PACKET);
        } else {
            decoder.decode(packet, &mut heard).unwrap();
        }
    }
    assert_eq!(heard.len(), pcm.len());
    let likeness = alike(&decode(&packets), &heard);
    // The deep network, which knows voices, makes 0.940 of it.
    assert!(likeness > 0.95, "{likeness}");
    heard.clear();
    assert_eq!(decoder.conceal(48_001, &mut heard), 48_120);
    // After a few packets it is noise as loud as the quietest moment that was heard.
    let rest = energy(&heard[40_000..]) / energy(&pcm);
    assert!(rest < 0.2, "it drones on: {rest}");
}

#[test]
fn a_voice_is_heard_at_either_rate_and_so_is_music() {
    let mut narrow = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    for packet in encode(64, &chords()) {
        assert_eq!(narrow.decode(&packet, &mut pcm), Ok(320));
    }
    assert!(energy(&pcm) > 0.3 * energy(&chords()));
    // A voice coded at 16 kHz, and the same at 48: what is heard of it is one voice.
    let said = speech::reading();
    let heard = [SampleRate::Wide, SampleRate::Full].map(|rate| {
        let pcm = if rate == SampleRate::Full { upsampled(&said) } else { said.clone() };
        let mut encoder = Encoder::new(&EncoderConfig { rate, ..Default::default() }).unwrap();
        let mut decoder = decoder();
        let (mut packet, mut heard) = (Vec::new(), Vec::new());
        for chunk in pcm.chunks_exact(6 * rate.frame()) {
            encoder.encode(chunk, &mut packet).unwrap();
            assert_eq!(decoder.decode(&packet, &mut heard), Ok(3 * PACKET));
        }
        assert!(energy(&heard) > 0.5 * energy(&said), "{rate:?}");
        heard
    });
    // The resampler's delay lies between them.
    let best = (0..300).map(|late| alike(&heard[0], &heard[1][late..])).fold(0.0, f64::max);
    assert!(best > 0.97, "{best}");
}

#[test]
fn lost_speech_comes_back_at_48_khz() {
    let said = upsampled(&speech::reading());
    let config = EncoderConfig { rate: SampleRate::Full, redundancy: true, ..Default::default() };
    let mut encoder = Encoder::new(&config).unwrap();
    let wanted = Redundancy { span: Duration::from_millis(160), quantiser: 2, slope: 1 };
    let (mut decoder, mut whole) = (decoder(), decoder());
    let (mut heard, mut all, mut recovered, mut reference) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, chunk) in said.chunks_exact(PACKET).enumerate() {
        let (mut packet, mut dressed) = (Vec::new(), Vec::new());
        encoder.encode(chunk, &mut packet).unwrap();
        let dressed = if encoder.dress(wanted, &packet, &mut dressed) { dressed } else { packet };
        whole.decode(&dressed, &mut all).unwrap();
        match number % 8 {
            3 | 4 => continue,
            5 => {
                let from = heard.len();
                let spoke = decoder.parse_dred(&dressed).is_some();
                for offset in [2 * PACKET, PACKET] {
                    if !spoke || !decoder.recover_dred(offset, PACKET, &mut heard) {
                        decoder.conceal(PACKET, &mut heard);
                    }
                }
                if spoke {
                    recovered.extend_from_slice(&heard[from..]);
                    reference.extend_from_slice(&all[from..from + 2 * PACKET]);
                }
            }
            _ => {}
        }
        decoder.decode(&dressed, &mut heard).unwrap();
    }
    assert!(recovered.len() > 40 * PACKET, "{} samples", recovered.len());
    // A vocoder keeps no phase: what is told is how loud it was, when.
    let louder = 10.0 * (energy(&recovered) / energy(&reference)).log10();
    assert!(louder.abs() < 3.0, "{louder} dB");
    let levels = |pcm: &[i16]| -> Vec<i16> {
        pcm.chunks_exact(PACKET / 2).map(|it| (10.0 * energy(it).sqrt()).min(32_000.0) as i16).collect()
    };
    let likeness = alike(&levels(&recovered), &levels(&reference));
    assert!(likeness > 0.9, "{likeness}");
}

#[test]
fn from_music_to_a_voice_and_back_there_is_no_seam() {
    let tone = speech::tone(330.0, 8_000.0, 6 * 48_000, 48_000.0);
    let mut encoder = encoder(Sound::Music, 48);
    let mut decoder = decoder();
    let (mut packet, mut heard, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for (number, chunk) in tone.chunks_exact(PACKET).enumerate() {
        encoder.set_sound(if number / 50 % 2 == 0 { Sound::Music } else { Sound::Speech });
        encoder.encode(chunk, &mut packet).unwrap();
        kinds.push(packet[0] >> 3);
        decoder.decode(&packet, &mut heard).unwrap();
    }
    for (number, kinds) in kinds.chunks_exact(50).enumerate() {
        // SILK in wideband is 8 to 11; the first packet after a change may still hold both.
        let expected = if number % 2 == 0 { 28..32 } else { 8..12 };
        assert!(kinds[1..].iter().all(|kind| expected.contains(kind)), "{number}: {kinds:?}");
    }
    // A click or a dent would show as a moment that is louder or softer than the tone.
    let (loudest, softest) = heard[PACKET..]
        .chunks_exact(480)
        .map(energy)
        .fold((0.0, f64::MAX), |(high, low): (f64, f64), it| (high.max(it), low.min(it)));
    let wanted = energy(&tone);
    assert!(softest > 0.5 * wanted && loudest < 1.6 * wanted, "{softest} to {loudest} of {wanted}");
}

#[test]
fn silence_in_music_is_no_pause() {
    let mut encoder = Encoder::new(&EncoderConfig {
        rate: SampleRate::Full,
        sound: Sound::Music,
        dtx: true,
        ..Default::default()
    })
    .unwrap();
    let mut packet = Vec::new();
    for _ in 0..100 {
        encoder.encode(&[0; PACKET], &mut packet).unwrap();
        // Two bytes or less would mean that there is nothing to send.
        assert!(packet.len() > 2, "{packet:?}");
    }
}

proptest! {
    #[test]
    fn garbage_is_refused_or_decodes_to_its_duration(packet in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = decoder();
        let mut pcm = Vec::new();
        match decoder.decode(&packet, &mut pcm) {
            Ok(samples) => {
                prop_assert_eq!(samples, pcm.len());
                let lasts = Duration::from_nanos(samples as u64 * 1_000_000_000 / 48_000);
                let told = packet_duration(&packet).unwrap();
                prop_assert!(told.abs_diff(lasts) < Duration::from_micros(1), "{:?}, {:?}", told, lasts);
            }
            Err(_) => prop_assert!(pcm.is_empty()),
        }
    }
}
