//! The music mode: full band, at the rate asked for, and playable by every other decoder.

mod speech;

use proptest::prelude::*;
use speech::{alike, energy, purity, snr_db};
use std::time::Duration;
use undertone_codec::CodecError;
use undertone_codec::opus::music::{MUSIC_PACKET, MusicDecoder, MusicEncoder};
use undertone_codec::opus::{Decoder, DecoderConfig, Encoder, EncoderConfig, packet_duration};
use undertone_media::Bitrate;

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
    let mut encoder = MusicEncoder::new(Bitrate::from_kbps(kbps)).unwrap();
    let code = |chunk: &[i16]| {
        let mut packet = Vec::new();
        encoder.encode(chunk, &mut packet).unwrap();
        packet
    };
    pcm.chunks_exact(MUSIC_PACKET).map(code).collect()
}

fn decode(packets: &[Vec<u8>]) -> Vec<i16> {
    let mut decoder = MusicDecoder::new().unwrap();
    let mut pcm = Vec::new();
    for packet in packets {
        assert_eq!(decoder.decode(packet, &mut pcm), Ok(MUSIC_PACKET));
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
    assert_eq!(MusicEncoder::new(Bitrate::from_kbps(64)).unwrap().lookahead(), Duration::from_micros(6500));
    let high: Vec<i16> = speech::tone(12_000.0, 5000.0, 48_000, 48_000.0);
    assert!(purity(&decode(&encode(64, &high))[4800..], 12_000.0, 48_000.0) > 0.95);
}

#[test]
fn a_lost_packet_is_concealed_for_as_long_as_asked() {
    let pcm = chords();
    let packets = encode(64, &pcm);
    let mut decoder = MusicDecoder::new().unwrap();
    let mut heard = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        if index % 10 == 9 {
            assert_eq!(decoder.conceal(MUSIC_PACKET, &mut heard), MUSIC_PACKET);
        } else {
            decoder.decode(packet, &mut heard).unwrap();
        }
    }
    assert_eq!(heard.len(), pcm.len());
    let likeness = alike(&decode(&packets), &heard);
    assert!(likeness > 0.8, "{likeness}");
    heard.clear();
    assert_eq!(decoder.conceal(48_001, &mut heard), 48_120);
    // After a few packets it is noise as loud as the quietest moment that was heard.
    let rest = energy(&heard[40_000..]) / energy(&pcm);
    assert!(rest < 0.2, "it drones on: {rest}");
}

#[test]
fn speech_and_music_receivers_play_each_other() {
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut pcm = Vec::new();
    for packet in encode(64, &chords()) {
        assert_eq!(decoder.decode(&packet, &mut pcm), Ok(320));
    }
    assert!(energy(&pcm) > 0.3 * energy(&chords()));
    let mut encoder = Encoder::new(&EncoderConfig::default()).unwrap();
    let mut decoder = MusicDecoder::new().unwrap();
    let (mut packet, mut heard) = (Vec::new(), Vec::new());
    for chunk in speech::reading().chunks_exact(960) {
        encoder.encode(chunk, &mut packet).unwrap();
        assert_eq!(decoder.decode(&packet, &mut heard), Ok(3 * 960));
    }
    assert!(energy(&heard) > 0.5 * energy(&speech::reading()));
}

#[test]
fn what_is_not_twenty_milliseconds_is_refused() {
    let mut encoder = MusicEncoder::new(Bitrate::from_kbps(64)).unwrap();
    for samples in [0, 320, 959, 961, 1920] {
        let refused = encoder.encode(&vec![0; samples], &mut Vec::new());
        assert!(matches!(refused, Err(CodecError::ApiMisuse(_))), "{samples}");
    }
}

proptest! {
    #[test]
    fn garbage_is_refused_or_decodes_to_its_duration(packet in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = MusicDecoder::new().unwrap();
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
