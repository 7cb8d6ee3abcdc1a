//! The microphone's signal chain: the far voice goes, the near voice stays.

mod speech;

use speech::{clip, energy, noise, reading};
use undertone_codec::CodecError;
use undertone_codec::echo::{FrontEnd, FrontEndConfig};

/// 10 ms.
const FRAME: usize = 160;

/// A room: the far voice comes back 60 ms later through two paths.
fn echo_of(far: &[i16]) -> Vec<i16> {
    let tap = |i: usize, delay: usize| i.checked_sub(delay).map_or(0, |j| i32::from(far[j]));
    (0..far.len()).map(|i| (tap(i, 960) * 3 / 10 + tap(i, 1300) / 10) as i16).collect()
}

fn run(front: &mut FrontEnd, far: &[i16], mic: &[i16]) -> Vec<i16> {
    let mut clean = mic.to_vec();
    for (mic, far) in clean.chunks_exact_mut(FRAME).zip(far.chunks_exact(FRAME)) {
        front.render(far).unwrap();
        front.capture(mic).unwrap();
    }
    clean
}

#[test]
fn the_far_voice_does_not_come_back() {
    let far = [reading(), clip("librivox_austen_0890.wav")].concat();
    let mic = echo_of(&far);
    let config = FrontEndConfig { suppress_noise: false, control_gain: false, ..Default::default() };
    let clean = run(&mut FrontEnd::new(config), &far, &mic);
    let second_half = far.len() / 2..far.len() / FRAME * FRAME;
    let cut_db = 10.0 * (energy(&mic[second_half.clone()]) / energy(&clean[second_half]).max(1.0)).log10();
    assert!(cut_db > 25.0, "{cut_db} dB");
}

/// By how many decibels the chain lowers 20 ms of speech, on average over those within `loudness` (dB of the
/// mean square). The high-pass turns phases, so that waveforms cannot be compared, but loudness can.
fn lowered_db(near: &[i16], clean: &[i16], delay: usize, loudness: std::ops::Range<f64>) -> f64 {
    let db = |pcm: &[i16]| 10.0 * energy(pcm).max(1.0).log10();
    let parts = near.chunks_exact(320).zip(clean[delay..].chunks_exact(320));
    let lowered: Vec<f64> = parts
        .map(|(near, clean)| (db(near), db(clean)))
        .filter(|(near, _)| loudness.contains(near))
        .map(|(near, clean)| near - clean)
        .collect();
    assert!(lowered.len() > 40, "{} parts", lowered.len());
    lowered.iter().sum::<f64>() / lowered.len() as f64
}

#[test]
fn the_near_voice_stays() {
    let near = reading();
    let silence = vec![0; near.len()];
    let config = FrontEndConfig { suppress_noise: false, control_gain: false, ..Default::default() };
    let clean = run(&mut FrontEnd::new(config), &silence, &near);
    let lowered = lowered_db(&near, &clean, 161, 60.0..99.0);
    assert!((-1.0..1.5).contains(&lowered), "without noise suppression {lowered} dB lower");

    let config = FrontEndConfig { control_gain: false, ..Default::default() };
    let clean = run(&mut FrontEnd::new(config), &silence, &near);
    let (speech, pauses) =
        (lowered_db(&near, &clean, 256, 65.0..99.0), lowered_db(&near, &clean, 256, 0.0..50.0));
    assert!(speech < 4.5 && pauses > speech + 10.0, "speech {speech} dB lower, pauses {pauses} dB");
}

#[test]
fn steady_noise_is_lowered() {
    let hiss = noise(300, 5 * 16_000);
    let config = FrontEndConfig { control_gain: false, ..Default::default() };
    let clean = run(&mut FrontEnd::new(config), &vec![0; hiss.len()], &hiss);
    let cut_db = 10.0 * (energy(&hiss[48_000..]) / energy(&clean[48_000..]).max(1e-3)).log10();
    assert!(cut_db > 6.0, "{cut_db} dB");
}

#[test]
fn quiet_speakers_are_raised() {
    let near: Vec<i16> = [reading(), reading()].concat().iter().map(|s| s / 16).collect();
    let clean = run(&mut FrontEnd::new(FrontEndConfig::default()), &vec![0; near.len()], &near);
    let half = near.len() / 2;
    let raised_db = 10.0 * (energy(&clean[half..]) / energy(&near[half..])).log10();
    assert!(raised_db > 6.0, "{raised_db} dB");
}

#[test]
fn only_ten_milliseconds_at_a_time() {
    let mut front = FrontEnd::new(FrontEndConfig::default());
    for samples in [0, 159, 161, 320] {
        assert!(matches!(front.render(&vec![0; samples]), Err(CodecError::ApiMisuse(_))));
        assert!(matches!(front.capture(&mut vec![0; samples]), Err(CodecError::ApiMisuse(_))));
    }
}
