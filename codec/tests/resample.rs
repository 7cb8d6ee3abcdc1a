//! One rate to another: tones stay, aliases go, delay is what is said, cuts do not matter.

mod speech;

use speech::{energy, noise, purity, tone};
use std::time::Duration;
use undertone_codec::CodecError;
use undertone_codec::resample::Resampler;

fn convert(from: u32, to: u32, pcm: &[i16], chunk: usize) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to, 1).unwrap();
    let mut out = Vec::new();
    for piece in pcm.chunks(chunk) {
        resampler.process(piece, &mut out);
    }
    out
}

#[test]
fn tones_keep_pitch_and_loudness() {
    for (from, to) in
        [(48_000, 16_000), (16_000, 48_000), (44_100, 16_000), (16_000, 44_100), (8_000, 16_000)]
    {
        for hz in [200.0, 1000.0, 3200.0] {
            let pcm = tone(hz, 10_000.0, from as usize, f64::from(from));
            let out = convert(from, to, &pcm, 441);
            assert!(out.len().abs_diff(to as usize) < to as usize / 100, "{from} to {to}: {}", out.len());
            let settled = &out[to as usize / 10..];
            assert!(purity(settled, hz, f64::from(to)) > 0.999, "{from} to {to}, {hz} Hz");
            let gain = energy(settled) / energy(&pcm);
            assert!((0.95..1.05).contains(&gain), "{from} to {to}, {hz} Hz: {gain}");
        }
    }
}

#[test]
fn wideband_speech_is_kept_whole() {
    for (from, to) in [(48_000, 16_000), (16_000, 48_000), (44_100, 16_000)] {
        let pcm = tone(6_600.0, 10_000.0, from as usize, f64::from(from));
        let gain = energy(&convert(from, to, &pcm, 480)[to as usize / 10..]) / energy(&pcm);
        assert!(gain > 0.9, "{from} to {to}: {gain}");
    }
}

#[test]
fn what_the_lower_rate_cannot_hold_is_removed() {
    for hz in [8_200.0, 9_500.0, 12_000.0, 15_000.0] {
        let pcm = tone(hz, 10_000.0, 48_000, 48_000.0);
        let out = convert(48_000, 16_000, &pcm, 480);
        let left_db = 10.0 * (energy(&out[1600..]) / energy(&pcm)).max(1e-12).log10();
        assert!(left_db < -60.0, "{hz} Hz: {left_db} dB");
    }
}

#[test]
fn the_delay_is_the_one_said() {
    for (from, to) in [(48_000u32, 16_000u32), (16_000, 48_000), (44_100, 16_000)] {
        let mut pcm = vec![0; from as usize / 5];
        let at = from as usize / 10;
        pcm[at] = 30_000;
        let out = convert(from, to, &pcm, 100);
        let peak = (0..out.len()).max_by_key(|&i| out[i].unsigned_abs()).unwrap();
        let delay = Resampler::new(from, to, 1).unwrap().delay();
        let expected = (Duration::from_millis(100) + delay).as_secs_f64() * f64::from(to);
        assert!((peak as f64 - expected).abs() <= 2.0, "{from} to {to}: at {peak}, not {expected}");
        assert!(delay < Duration::from_millis(6), "{delay:?}");
    }
}

#[test]
fn how_the_stream_is_cut_changes_nothing() {
    let pcm = noise(8000, 20_000);
    let whole = convert(48_000, 16_000, &pcm, pcm.len());
    for chunk in [1, 7, 120, 480, 999] {
        assert_eq!(convert(48_000, 16_000, &pcm, chunk), whole, "{chunk}");
    }
}

#[test]
fn one_rate_is_passed_through() {
    let pcm = noise(8000, 1000);
    assert_eq!(convert(16_000, 16_000, &pcm, 77), pcm);
    assert_eq!(Resampler::new(16_000, 16_000, 1).unwrap().delay(), Duration::ZERO);
}

#[test]
fn what_cannot_be_is_refused() {
    for (from, to, channels) in
        [(0, 16_000, 1), (16_000, 7_999, 1), (16_000, 192_001, 1), (48_000, 16_000, 2)]
    {
        assert!(matches!(Resampler::new(from, to, channels), Err(CodecError::ApiMisuse(_))));
    }
}
