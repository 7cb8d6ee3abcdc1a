//! The committed recordings, and yardsticks for what comes out.
#![allow(dead_code)] // each test file uses its own part

use std::path::Path;

/// A clip of `testdata/speech` as 16 kHz mono samples.
pub fn clip(name: &str) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/speech").join(name);
    let mut wav = hound::WavReader::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!((wav.spec().sample_rate, wav.spec().channels), (16_000, 1));
    wav.samples::<i16>().map(Result::unwrap).collect()
}

/// One reader, 7 s, clean.
pub fn reading() -> Vec<i16> {
    clip("librivox_austen_0870.wav")
}

/// A tone of this frequency and amplitude.
pub fn tone(hz: f64, amplitude: f64, samples: usize, rate: f64) -> Vec<i16> {
    let step = std::f64::consts::TAU * hz / rate;
    (0..samples).map(|i| (amplitude * (step * i as f64).sin()).round() as i16).collect()
}

/// White noise from a fixed generator.
pub fn noise(amplitude: i32, samples: usize) -> Vec<i16> {
    let mut state = 1u32;
    (0..samples)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i32 % (2 * amplitude + 1) - amplitude) as i16
        })
        .collect()
}

/// Mean square.
pub fn energy(pcm: &[i16]) -> f64 {
    pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len().max(1) as f64
}

/// How far `got` is from `wanted`, in decibels of signal to noise.
pub fn snr_db(wanted: &[i16], got: &[i16]) -> f64 {
    let n = wanted.len().min(got.len());
    let error: f64 =
        wanted.iter().zip(got).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>() / n as f64;
    10.0 * (energy(&wanted[..n]) / error.max(1e-9)).log10()
}

/// Normalised correlation.
pub fn alike(a: &[i16], b: &[i16]) -> f64 {
    let dot = |x: &[i16], y: &[i16]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-9)
}

/// The power of `pcm` at one frequency (Goertzel), relative to its whole power: 1 for a pure tone.
pub fn purity(pcm: &[i16], hz: f64, rate: f64) -> f64 {
    let step = std::f64::consts::TAU * hz / rate;
    let (re, im) = pcm.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, &s)| {
        let (sin, cos) = (step * i as f64).sin_cos();
        (re + f64::from(s) * cos, im + f64::from(s) * sin)
    });
    let n = pcm.len() as f64;
    2.0 * (re * re + im * im) / (n * n) / energy(pcm).max(1e-9)
}
