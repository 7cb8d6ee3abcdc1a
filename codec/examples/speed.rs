//! How many times faster than real time one core codes and decodes a WAV file (16 kHz mono), in packets of 20 ms, and
//! what the slowest packet took.
//!
//! `cargo run --release -p undertone-codec --example speed -- testdata/speech/librivox_austen_0870.wav`
#![allow(clippy::disallowed_methods)] // it reads the clock, which is what it is for

use std::error::Error;
use std::time::{Duration, Instant};
use undertone_codec::level::Vad;
use undertone_codec::opus::{Decoder, DecoderConfig, Encoder, EncoderConfig, Level, Redundancy};
use undertone_media::SampleRate;

const PACKET: usize = 320;
const ROUNDS: usize = 8;
const WANTED: Redundancy = Redundancy { span: Duration::from_millis(480), quantiser: 4, slope: 2 };

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: speed IN.wav")?;
    let pcm: Vec<i16> = hound::WavReader::open(path)?.samples().collect::<Result<_, _>>()?;
    let chunks: Vec<&[i16]> = pcm.chunks_exact(PACKET).collect();

    for complexity in [2, 5, 9, 10] {
        measure(&format!("encode, complexity {complexity}"), &chunks, || {
            let config = EncoderConfig { complexity, ..EncoderConfig::default() };
            let mut encoder = Encoder::new(&config).expect("an encoder");
            let mut packet = Vec::new();
            move |_, chunk| encoder.encode(chunk, &mut packet).expect("20 ms")
        });
    }
    measure("encode, redundancy", &chunks, || {
        let mut encoder = encoder();
        let (mut packet, mut dressed) = (Vec::new(), Vec::new());
        move |_, chunk| {
            encoder.encode(chunk, &mut packet).expect("20 ms");
            encoder.dress(WANTED, &packet, &mut dressed);
        }
    });
    measure("voice activity", &chunks, || {
        let mut vad = Vad::new(SampleRate::Wide);
        move |_, chunk| {
            vad.is_speech(chunk);
        }
    });

    let mut encoder = encoder();
    let packets: Vec<Vec<u8>> = chunks
        .iter()
        .map(|chunk| {
            let (mut bare, mut dressed) = (Vec::new(), Vec::new());
            encoder.encode(chunk, &mut bare).expect("20 ms");
            if encoder.dress(WANTED, &bare, &mut dressed) { dressed } else { bare }
        })
        .collect();
    let mut state = 1u32;
    let lost: Vec<bool> = packets
        .iter()
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % 100 < 20
        })
        .collect();
    for (name, level) in [("plain", Level::Plain), ("LACE", Level::Lace), ("NoLACE", Level::NoLace)] {
        let arriving: Vec<&Vec<u8>> = packets.iter().collect();
        measure(&format!("decode {name}"), &arriving, || {
            let mut decoder = Decoder::new(DecoderConfig { level, ..Default::default() }).expect("a decoder");
            let mut out = Vec::new();
            move |_, packet| {
                out.clear();
                decoder.decode(packet, &mut out).expect("a packet");
            }
        });
        measure(&format!("decode {name}, 20 % lost"), &arriving, || {
            let mut decoder = Decoder::new(DecoderConfig { level, ..Default::default() }).expect("a decoder");
            let (mut out, lost, packets) = (Vec::new(), &lost, &packets);
            move |index, packet: &Vec<u8>| {
                out.clear();
                if !lost[index] {
                    decoder.parse_dred(packet); // on arrival, as the jitter buffer wants to know its reach
                    decoder.decode(packet, &mut out).expect("a packet");
                    return;
                }
                // From the next packet that arrived.
                let later = (index + 1..packets.len()).find(|&later| !lost[later]);
                let filled = later.is_some_and(|later| {
                    decoder.parse_dred(&packets[later]);
                    decoder.recover_dred((later - index) * PACKET, PACKET, &mut out)
                });
                if !filled {
                    decoder.conceal(PACKET, &mut out);
                }
            }
        });
    }
    Ok(())
}

fn encoder() -> Encoder {
    Encoder::new(&EncoderConfig { redundancy: true, ..Default::default() }).expect("an encoder")
}

/// Prints the speed, and the slowest packet. Each packet counts with the best of its rounds: what the processor needs
/// for it, not what else it does at that moment.
fn measure<T: Copy, Work: FnMut(usize, T)>(name: &str, inputs: &[T], make: impl Fn() -> Work) {
    let mut best = vec![Duration::MAX; inputs.len()];
    for _ in 0..ROUNDS {
        let mut work = make();
        for (index, &input) in inputs.iter().enumerate() {
            let from = Instant::now();
            work(index, input);
            best[index] = best[index].min(from.elapsed());
        }
    }
    let total: Duration = best.iter().sum();
    let slowest = best.iter().max().expect("packets");
    println!(
        "{name:<24} {:>6.0} × real time, slowest packet {:>5.2} ms",
        inputs.len() as f64 * 0.02 / total.as_secs_f64(),
        slowest.as_secs_f64() * 1000.0
    );
}
