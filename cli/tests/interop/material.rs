//! What peers send: real speech packets and real pictures, made once, each of which can be told from all others.

use undertone_codec::pattern::Pattern;
use undertone_codec::{h264, opus};
use undertone_media::{Bitrate, Timestamp};

/// Opus packets of 20 ms before the material begins again: 6 s.
const PACKETS: usize = 300;
/// Pictures, 30 a second: 6 s too.
const PICTURES: usize = 180;
/// Between two key frames: a peer that asks for one and gets none waits a second.
const KEY_EVERY: usize = 30;

/// Samples of a packet at 16 kHz.
pub const PACKET_SAMPLES: usize = 320;

/// One publisher's material. Two voices share no byte sequence.
pub struct Material {
    /// The tone that its sound consists of.
    pub tone_hz: f64,
    /// Opus packets of 20 ms.
    pub audio: Vec<Vec<u8>>,
    /// Access units in Annex B form.
    pub video: Vec<Vec<u8>>,
    /// The number that the first picture shows.
    pub first_number: u32,
}

impl Material {
    /// The material of voice `voice`, from 0.
    pub fn new(voice: u32) -> Material {
        let tone_hz = tone_of(voice);
        let config = opus::EncoderConfig { complexity: 5, ..opus::EncoderConfig::default() };
        let mut encoder = opus::Encoder::new(&config).expect("an Opus encoder");
        let mut tone = Tone::new(tone_hz);
        let audio: Vec<Vec<u8>> = (0..PACKETS)
            .map(|_| {
                let mut packet = Vec::new();
                encoder.encode(&tone.next(PACKET_SAMPLES), &mut packet).expect("an Opus packet");
                packet
            })
            .collect();

        let config = h264::EncoderConfig {
            width: 320,
            height: 180,
            fps: 30,
            bitrate: Bitrate::from_kbps(400),
            skip_frames: false,
            ..Default::default()
        };
        let mut encoder = h264::Encoder::new(config).expect("an H.264 encoder");
        let (pattern, first_number) = (Pattern::new(320, 180), first_number_of(voice));
        let video = (0..PICTURES)
            .map(|n| {
                let captured = Timestamp::from_micros(n as u64 * 1_000_000 / 30);
                let picture = pattern.frame(first_number + n as u32, captured);
                let coded = encoder.encode(&picture, n % KEY_EVERY == 0).expect("a coded picture");
                coded.expect("no picture is skipped").data
            })
            .collect();
        Material { tone_hz, audio, video, first_number }
    }

    /// The place of the next key frame from `at` on.
    pub fn next_key(&self, at: usize) -> usize {
        at.next_multiple_of(KEY_EVERY) % self.video.len()
    }

    /// Whether `number` is that of one of its pictures.
    pub fn shows(&self, number: u32) -> bool {
        (self.first_number..self.first_number + PICTURES as u32).contains(&number)
    }
}

/// The tone of a voice; those of different voices are no multiples of each other.
pub fn tone_of(voice: u32) -> f64 {
    390.0 + 170.0 * f64::from(voice)
}

/// The number of a voice's first picture.
pub fn first_number_of(voice: u32) -> u32 {
    1_000_000 * (voice + 1)
}

/// A tone at 16 kHz under a little noise, so that no two packets are alike.
pub struct Tone {
    step: f64,
    phase: f64,
    noise: u32,
}

impl Tone {
    /// A tone of `hz`.
    pub fn new(hz: f64) -> Tone {
        Tone { step: hz * std::f64::consts::TAU / 16_000.0, phase: 0.0, noise: hz as u32 }
    }

    /// Its next samples.
    pub fn next(&mut self, samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|_| {
                self.phase = (self.phase + self.step) % std::f64::consts::TAU;
                self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (self.phase.sin() * 6_000.0) as i16 + (self.noise >> 24) as i16
            })
            .collect()
    }
}

/// The share of the sound's energy that lies at `hz`, 0 to 1 (Goertzel).
pub fn share_of_tone(pcm: &[i16], hz: f64) -> f64 {
    let turn = hz * std::f64::consts::TAU / 16_000.0;
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (n, &sample) in pcm.iter().enumerate() {
        let (sample, angle) = (f64::from(sample), turn * n as f64);
        re += sample * angle.cos();
        im += sample * angle.sin();
        energy += sample * sample;
    }
    if energy == 0.0 { 0.0 } else { 2.0 * (re * re + im * im) / (energy * pcm.len() as f64) }
}

/// The best [`share_of_tone`] over any 200 ms of the sound.
pub fn tone_anywhere(pcm: &[i16], hz: f64) -> f64 {
    pcm.windows(3_200).step_by(800).map(|span| share_of_tone(span, hz)).fold(0.0, f64::max)
}

/// The NAL units of an access unit: what two packetisers that both follow RFC 6184 agree on. Access unit
/// delimiters are left out, which packetisers may drop.
pub fn nals(annexb: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = (0..annexb.len().saturating_sub(2))
        .filter(|&at| annexb[at..].starts_with(&[0, 0, 1]))
        .map(|at| at + 3)
        .collect();
    starts.push(annexb.len() + 3);
    let units = starts.windows(2).map(|pair| {
        let unit = &annexb[pair[0]..pair[1] - 3];
        // The zero that makes the next start code one of four bytes; a NAL unit never ends with one (H.264 §7.4.1).
        let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        &unit[..end]
    });
    units.filter(|unit| unit.first().is_some_and(|header| header & 0x1f != 9)).collect()
}
