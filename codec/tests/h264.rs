//! Pictures through H.264: quality, rate, key frames, losses.

use proptest::prelude::*;
use undertone_codec::CodecError;
use undertone_codec::h264::{Coded, Decoder, Encoder, EncoderConfig};
use undertone_codec::pattern::{Pattern, read_number};
use undertone_media::{Bitrate, Timestamp, VideoFrame};

fn at(n: u32) -> Timestamp {
    Timestamp::from_micros(u64::from(n) * 1_000_000 / 30)
}

/// Test pictures `from..to` through an encoder.
fn encode(encoder: &mut Encoder, size: (usize, usize), from: u32, to: u32) -> Vec<(u32, Coded)> {
    let pattern = Pattern::new(size.0, size.1);
    (from..to).filter_map(|n| Some((n, encoder.encode(&pattern.frame(n, at(n)), false).unwrap()?))).collect()
}

fn psnr(a: &VideoFrame, b: &VideoFrame) -> f64 {
    let error: f64 = a.y().iter().zip(b.y()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.y().len() as f64 / error.max(1e-9)).log10()
}

#[test]
fn pictures_survive_and_only_the_first_is_a_key_frame() {
    let size = (640, 360);
    let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
    let coded = encode(&mut encoder, size, 0, 90);
    assert!(coded.len() >= 85, "{} of 90 pictures", coded.len());
    let mut decoder = Decoder::new();
    assert!(decoder.needs_key());
    for (n, picture) in &coded {
        assert_eq!(picture.key, *n == 0);
        let shown = decoder.decode(&picture.data, at(*n)).unwrap().expect("one picture in, one out");
        assert_eq!((shown.width, shown.height, shown.captured), (640, 360, at(*n)));
        assert_eq!(read_number(&shown), Some(*n));
        let quality = psnr(&Pattern::new(640, 360).frame(*n, at(*n)), &shown);
        assert!(quality > 24.0, "picture {n}: {quality} dB");
    }
}

#[test]
fn a_key_frame_comes_when_asked_and_carries_its_parameter_sets() {
    let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
    encode(&mut encoder, (640, 360), 0, 10);
    let picture = Pattern::new(640, 360).frame(10, at(10));
    let key = encoder.encode(&picture, true).unwrap().expect("a forced key frame is never left out");
    assert!(key.key);
    let mut decoder = Decoder::new();
    let shown = decoder.decode(&key.data, at(10)).unwrap().unwrap();
    assert_eq!(read_number(&shown), Some(10));
    let next = encode(&mut encoder, (640, 360), 11, 12);
    assert!(next.iter().all(|(_, coded)| !coded.key));
}

#[test]
fn a_forced_key_frame_is_not_left_out_even_when_the_rate_is_far_too_low() {
    let config = EncoderConfig { bitrate: Bitrate::from_kbps(50), ..Default::default() };
    let mut encoder = Encoder::new(config).unwrap();
    let mut state = 1u32;
    let mut left_out = 0;
    for n in 0..60 {
        let mut noise = VideoFrame::black(640, 360, at(n));
        for byte in &mut noise.data {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        match encoder.encode(&noise, n % 15 == 7).unwrap() {
            Some(coded) => assert_eq!(coded.key, n == 0 || n % 15 == 7),
            None => {
                assert_ne!(n % 15, 7);
                left_out += 1;
            }
        }
    }
    assert!(left_out > 30, "{left_out} pictures left out");
}

#[test]
fn the_stream_is_constrained_baseline() {
    let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
    let key = encode(&mut encoder, (640, 360), 0, 1).remove(0).1;
    // SPS: profile_idc 66, constraint_set1_flag set (H.264 §7.4.2.1.1), as RFC 6184's 42e0xx wants.
    assert_eq!(key.data[..6], [0, 0, 0, 1, 0x67, 66]);
    assert_ne!(key.data[6] & 0x40, 0);
}

#[test]
fn the_rate_changes_live_and_without_a_key_frame() {
    let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
    let mut rates = Vec::new();
    for (phase, kbps) in [600, 150, 1000].into_iter().enumerate() {
        encoder.set_bitrate(Bitrate::from_kbps(kbps)).unwrap();
        let from = phase as u32 * 120;
        let coded = encode(&mut encoder, (640, 360), from, from + 120);
        // The first second after the change is settling.
        let settled = coded.iter().filter(|(n, _)| *n >= from + 30);
        rates.push(settled.map(|(_, coded)| coded.data.len()).sum::<usize>() as f64 * 8.0 / 3.0 / 1000.0);
        assert!(coded.iter().all(|(n, coded)| coded.key == (*n == 0)));
    }
    for (got, wanted) in rates.iter().zip([600.0, 150.0, 1000.0]) {
        assert!(*got < 1.25 * wanted, "{rates:?}");
    }
    assert!(rates[1] < 0.6 * rates[0] && rates[2] > 1.5 * rates[1], "{rates:?}");
}

#[test]
fn after_a_loss_nothing_is_guessed_until_a_key_frame() {
    let mut encoder = Encoder::new(EncoderConfig { skip_frames: false, ..Default::default() }).unwrap();
    let coded = encode(&mut encoder, (640, 360), 0, 20);
    let mut decoder = Decoder::new();
    for (n, picture) in &coded[..10] {
        decoder.decode(&picture.data, at(*n)).unwrap();
    }
    for (n, picture) in &coded[11..] {
        let refused = decoder.decode(&picture.data, at(*n));
        assert!(matches!(refused, Err(CodecError::PeerMisbehaved { .. })), "picture {n}: {refused:?}");
        assert!(decoder.needs_key());
    }
    let key = encoder.encode(&Pattern::new(640, 360).frame(20, at(20)), true).unwrap().unwrap();
    assert_eq!(read_number(&decoder.decode(&key.data, at(20)).unwrap().unwrap()), Some(20));
    assert!(!decoder.needs_key());
}

#[test]
fn a_new_size_is_followed() {
    let mut decoder = Decoder::new();
    for (width, height) in [(640, 360), (320, 180), (1280, 720), (640, 360)] {
        let config = EncoderConfig { width, height, ..Default::default() };
        for (n, picture) in encode(&mut Encoder::new(config).unwrap(), (width, height), 0, 5) {
            let shown = decoder.decode(&picture.data, at(n)).unwrap().unwrap();
            assert_eq!((shown.width, shown.height), (width, height));
            assert_eq!(read_number(&shown), Some(n));
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (width, height, fps) in
        [(0, 360, 30), (641, 360, 30), (640, 8000, 30), (640, 360, 0), (3840, 3840, 30)]
    {
        let refused = Encoder::new(EncoderConfig { width, height, fps, ..Default::default() });
        assert!(matches!(refused, Err(CodecError::ApiMisuse(_))), "{width}×{height} at {fps}");
    }
    let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
    let other = VideoFrame::black(320, 180, Timestamp::ZERO);
    assert!(matches!(encoder.encode(&other, false), Err(CodecError::ApiMisuse(_))));
    let mut decoder = Decoder::new();
    for bytes in [&[][..], &[0, 0, 1], &[0, 0, 0, 1, 0x65, 1, 2, 3], b"not H.264 at all"] {
        assert!(decoder.decode(bytes, Timestamp::ZERO).is_err());
    }
}

#[test]
fn the_same_pictures_give_the_same_bytes() {
    let run = || encode(&mut Encoder::new(EncoderConfig::default()).unwrap(), (640, 360), 0, 30);
    assert_eq!(run(), run());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_is_refused_or_shown_but_never_fatal(damage in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..8)) {
        let size = (160, 90);
        let config = EncoderConfig { width: 160, height: 90, ..Default::default() };
        let mut coded = encode(&mut Encoder::new(config).unwrap(), size, 0, 4);
        for (i, (place, byte)) in damage.into_iter().enumerate() {
            let picks = coded.len();
            let data = &mut coded[i % picks].1.data;
            let length = data.len();
            data[place % length] = byte;
        }
        let mut decoder = Decoder::new();
        for (n, picture) in &coded {
            if let Ok(Some(shown)) = decoder.decode(&picture.data, at(*n)) {
                prop_assert_eq!(shown.data.len(), shown.width * shown.height * 3 / 2);
            }
        }
    }
}

#[test]
fn pictures_of_the_highest_layer_may_be_left_out() {
    let config = EncoderConfig { temporal_layers: 3, skip_frames: false, ..Default::default() };
    let mut encoder = Encoder::new(config).unwrap();
    let coded = encode(&mut encoder, (640, 360), 0, 60);
    let layers: Vec<u8> = coded.iter().take(9).map(|(_, coded)| coded.temporal).collect();
    assert_eq!(layers, [0, 2, 1, 2, 0, 2, 1, 2, 0]);
    for most in [1, 0] {
        let mut decoder = Decoder::new();
        for (n, picture) in coded.iter().filter(|(_, coded)| coded.temporal <= most) {
            let shown = decoder.decode(&picture.data, at(*n)).unwrap().expect("a picture");
            assert_eq!(read_number(&shown), Some(*n), "of layers up to {most}");
        }
    }
}

#[test]
fn what_is_coarse_says_so() {
    let quantiser = |kbps| {
        let config = EncoderConfig { bitrate: Bitrate::from_kbps(kbps), ..Default::default() };
        let mut encoder = Encoder::new(config).unwrap();
        assert_eq!(encoder.quantiser(), 0, "before the first");
        encode(&mut encoder, (640, 360), 0, 60);
        encoder.quantiser()
    };
    let (coarse, fine) = (quantiser(100), quantiser(2_000));
    assert!(fine > 0 && coarse > fine + 5, "{coarse} {fine}");
}
