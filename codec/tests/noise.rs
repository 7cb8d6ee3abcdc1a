//! Comfort noise: as loud and as dark as the pauses that were heard, without tones and clicks.

mod speech;

use speech::{alike, energy, noise, purity, reading, tone};
use undertone_codec::noise::ComfortNoise;
use undertone_codec::opus::{Decoder, DecoderConfig, Encoder, EncoderConfig};
use undertone_media::SampleRate;

const MS_20: usize = 320;

/// White noise, and the same darker (one-pole low-pass) and brighter (difference).
fn backgrounds() -> [(&'static str, Vec<i16>); 4] {
    let white = noise(800, 32_000);
    let mut last = 0.0;
    let dark = white.iter().map(|&sample| {
        last += 0.15 * (f64::from(sample) - last);
        last.round() as i16
    });
    let dark: Vec<i16> = dark.collect();
    let bright = white.windows(2).map(|pair| (pair[1] - pair[0]) / 2).collect();
    [("white", white), ("dark", dark), ("bright", bright), ("faint", noise(20, 32_000))]
}

fn db(a: f64, b: f64) -> f64 {
    10.0 * (a / b).log10()
}

/// How bright it is: the power of its difference.
fn brightness(pcm: &[i16]) -> f64 {
    let steps: Vec<i16> = pcm.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    db(energy(&steps), energy(pcm))
}

fn after(background: &[i16], seed: u32) -> ComfortNoise {
    after_at(SampleRate::Wide, background, seed)
}

fn after_at(rate: SampleRate, background: &[i16], seed: u32) -> ComfortNoise {
    let mut comfort = ComfortNoise::new(rate, seed);
    background.chunks_exact(2 * rate.frame()).for_each(|block| comfort.hear(block, false));
    comfort
}

fn made(comfort: &mut ComfortNoise, samples: usize) -> Vec<i16> {
    let mut out = Vec::new();
    comfort.fill(samples, &mut out);
    out
}

#[test]
fn it_is_as_loud_and_as_bright_as_the_background() {
    for (name, background) in backgrounds() {
        let noise = made(&mut after(&background, 1), 32_000);
        let louder = db(energy(&noise), energy(&background));
        assert!(louder.abs() < 1.5, "{name}: {louder} dB");
        let brighter = brightness(&noise) - brightness(&background);
        assert!(brighter.abs() < 2.0, "{name}: {brighter} dB");
        // Steady from its first moment.
        for second in noise.chunks_exact(4000) {
            let louder = db(energy(second), energy(&background));
            assert!(louder.abs() < 3.0, "{name}: {louder} dB");
        }
    }
}

#[test]
fn it_is_as_loud_and_as_dark_at_48_khz() {
    // Each sample three times: as what was coded at 16 kHz, hardly anything is above 8.
    let held = |pcm: &[i16]| -> Vec<i16> { pcm.iter().flat_map(|&sample| [sample; 3]).collect() };
    for (name, background) in backgrounds().map(|(name, pcm)| (name, held(&pcm))) {
        let noise = made(&mut after_at(SampleRate::Full, &background, 1), 96_000);
        let louder = db(energy(&noise), energy(&background));
        assert!(louder.abs() < 1.5, "{name}: {louder} dB");
        let brighter = brightness(&noise) - brightness(&background);
        assert!(brighter.abs() < 2.0, "{name}: {brighter} dB");
    }
}

#[test]
fn it_sounds_like_the_pauses_of_a_coded_voice() {
    // A voice over a dark room, and two seconds of the room alone.
    let [_, (_, room), ..] = backgrounds();
    let mut pcm = reading()[..32_000].to_vec();
    pcm.resize(pcm.len() + 32_000, 0);
    for (sample, room) in pcm.iter_mut().zip(room.iter().cycle()) {
        *sample = sample.saturating_add(*room);
    }
    let mut encoder = Encoder::new(&EncoderConfig::default()).unwrap();
    let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
    let mut comfort = ComfortNoise::new(SampleRate::Wide, 7);
    let (mut packet, mut heard) = (Vec::new(), Vec::new());
    for (index, chunk) in pcm.chunks_exact(MS_20).enumerate() {
        encoder.encode(chunk, &mut packet).unwrap();
        let from = heard.len();
        decoder.decode(&packet, &mut heard).unwrap();
        comfort.hear(&heard[from..], index < 102);
    }
    let louder = db(energy(&made(&mut comfort, 32_000)), energy(&heard[48_000..]));
    assert!(louder.abs() < 3.0, "{louder} dB");
}

#[test]
fn there_is_no_tone_in_it() {
    let humming: Vec<i16> =
        noise(200, 32_000).iter().zip(tone(400.0, 300.0, 32_000, 16_000.0)).map(|(a, b)| a + b).collect();
    for (name, background) in backgrounds().into_iter().chain([("humming", humming)]) {
        let noise = made(&mut after(&background, 1), 16_000);
        let purest = (50..8000).step_by(10).map(|hz| purity(&noise, hz.into(), 16_000.0)).fold(0.0, f64::max);
        assert!(purest < 0.05, "{name}: {purest}");
        assert!(alike(&noise[..8000], &noise[8000..]).abs() < 0.1, "{name} repeats itself");
    }
}

#[test]
fn there_is_no_click_where_it_begins_and_ends() {
    let step = |pcm: &[i16]| pcm.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max();
    for (name, background) in backgrounds() {
        for at in (8000..16_000).step_by(777) {
            let mut pcm = background[..at].to_vec();
            after(&pcm, at as u32).fill(1600, &mut pcm);
            let steepest = step(&background).unwrap() * 2; // a jump between strangers is 5 times as steep in the dark
            assert!(step(&pcm[at - 2..]).unwrap() <= steepest, "{name}: begins with a click");
            let mut comfort = after(&pcm, 1);
            let mut next = background[at..].to_vec();
            let filled = made(&mut comfort, 320);
            comfort.join(&mut next);
            let seam = [&filled[310..], &next[..200]].concat();
            assert!(step(&seam).unwrap() <= steepest, "{name}: ends with a click");
            assert_eq!(next[80..], background[at + 80..], "only its beginning changes");
        }
    }
}

#[test]
fn it_goes_on_from_loud_speech_without_a_click() {
    let pcm = reading();
    let mut comfort = after(&noise(50, 16_000), 1);
    for at in (20_000..60_000).step_by(1111) {
        comfort.hear(&pcm[at - MS_20..at], true);
        let first = i32::from(made(&mut comfort, 1)[0]);
        let last = i32::from(pcm[at - 1]);
        assert!((first - last).abs() <= last.abs() + 200, "from {last} to {first}");
        let rest = made(&mut comfort, 640);
        assert!(energy(&rest[320..]) < 4.0 * energy(&noise(50, 320)), "the voice does not ring on");
    }
}

#[test]
fn speech_and_sudden_noises_are_not_learned() {
    let background = noise(100, 16_000);
    let calm = energy(&made(&mut after(&background, 3), 16_000));
    let mut comfort = after(&background, 3);
    for block in reading()[16_000..48_000].chunks_exact(MS_20) {
        comfort.hear(block, true);
    }
    comfort.hear(&noise(20_000, MS_20), false);
    let louder = db(energy(&made(&mut comfort, 16_000)), calm);
    assert!(louder < 3.0, "{louder} dB");
    // What stays is the background.
    for block in noise(1000, 64_000).chunks_exact(MS_20) {
        comfort.hear(block, false);
    }
    let louder = db(energy(&made(&mut comfort, 16_000)), energy(&noise(1000, 16_000)));
    assert!(louder.abs() < 2.0, "{louder} dB");
}

#[test]
fn the_seed_decides_and_nothing_heard_is_silence() {
    let [(_, white), ..] = backgrounds();
    assert_eq!(made(&mut after(&white, 5), 1000), made(&mut after(&white, 5), 1000));
    assert_ne!(made(&mut after(&white, 5), 1000), made(&mut after(&white, 6), 1000));
    assert!(made(&mut ComfortNoise::new(SampleRate::Wide, 1), 1000).iter().all(|&sample| sample == 0));
    assert!(made(&mut after(&vec![0; 3200], 1), 1000).iter().all(|&sample| sample == 0));
    let mut comfort = ComfortNoise::new(SampleRate::Wide, 1);
    comfort.hear(&[1, 2, 3], false);
    comfort.join(&mut []);
}
