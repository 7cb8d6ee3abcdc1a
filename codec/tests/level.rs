//! How loud, and whether it is speech.

mod speech;

use speech::{clip, noise, reading, tone};
use undertone_codec::level::{Vad, rms_dbov};
use undertone_media::SampleRate;

#[test]
fn levels_are_decibels_below_full_scale() {
    assert_eq!(rms_dbov(&[]), 127);
    assert_eq!(rms_dbov(&[0; 160]), 127);
    assert_eq!(rms_dbov(&[i16::MIN; 160]), 0);
    assert_eq!(rms_dbov(&[i16::MAX; 160]), 0);
    assert_eq!(rms_dbov(&[1; 160]), 90);
    for (amplitude, level) in [(32_767.0, 3), (16_384.0, 9), (3276.7, 23), (327.67, 43), (32.767, 63)] {
        assert_eq!(rms_dbov(&tone(500.0, amplitude, 16_000, 16_000.0)), level, "{amplitude}");
    }
}

#[test]
fn a_level_is_the_rounded_logarithm() {
    for amplitude in 1..=32_767i16 {
        let exact = -20.0 * (f64::from(amplitude) / 32_768.0).log10();
        let level = f64::from(rms_dbov(&[amplitude; 3]));
        assert!((level - exact).abs() < 0.501, "{amplitude}: {level}, not {exact}");
    }
}

fn share_of_speech(pcm: &[i16]) -> f64 {
    let mut vad = Vad::new(SampleRate::Wide);
    let verdicts: Vec<bool> = pcm.chunks_exact(320).map(|chunk| vad.is_speech(chunk)).collect();
    verdicts.iter().filter(|&&speech| speech).count() as f64 / verdicts.len() as f64
}

#[test]
fn speech_is_told_from_silence_and_noise() {
    for name in ["librivox_austen_0870.wav", "codec2_speech_orig_16k.wav", "asterisk_fr_demo-congrats.wav"] {
        assert!(share_of_speech(&clip(name)) > 0.6, "{name}: {}", share_of_speech(&clip(name)));
    }
    assert_eq!(share_of_speech(&[0; 32_000]), 0.0);
    // Its first third of a second could be anything, and the network says so.
    assert!(share_of_speech(&noise(2000, 160_000)) < 0.05);
}

#[test]
fn the_verdict_does_not_depend_on_how_samples_are_cut() {
    let pcm = &reading()[..25_600];
    let (mut whole, mut pieces) = (Vad::new(SampleRate::Wide), Vad::new(SampleRate::Wide));
    for window in pcm.chunks_exact(256) {
        let verdict = whole.is_speech(window);
        let mut last = false;
        for piece in window.chunks(100) {
            last = pieces.is_speech(piece);
        }
        assert_eq!(last, verdict);
    }
}
