//! Codes a 16 kHz mono WAV file with Opus and decodes it again, to listen to and to score.
//!
//! `cargo run --release -p undertone-codec --example roundtrip -- IN.wav OUT.wav [KBPS] [plain|lace|nolace]`

use std::error::Error;
use undertone_codec::opus::{Decoder, DecoderConfig, Encoder, EncoderConfig, Level};
use undertone_media::Bitrate;

const PACKET: usize = 320;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(from), Some(to)) = (args.next(), args.next()) else {
        return Err("usage: roundtrip IN.wav OUT.wav [KBPS] [plain|lace|nolace]".into());
    };
    let kbps = args.next().map_or(Ok(22), |text| text.parse())?;
    let level = match args.next().as_deref() {
        Some("plain") => Level::Plain,
        Some("nolace") => Level::NoLace,
        _ => Level::Lace,
    };
    let mut wav = hound::WavReader::open(from)?;
    let spec = wav.spec();
    if (spec.sample_rate, spec.channels, spec.bits_per_sample) != (16_000, 1, 16) {
        return Err("the input must be 16 kHz, mono, 16 bit".into());
    }
    let pcm: Vec<i16> = wav.samples().collect::<Result<_, _>>()?;

    let mut encoder =
        Encoder::new(&EncoderConfig { bitrate: Bitrate::from_kbps(kbps), ..Default::default() })?;
    let mut decoder = Decoder::new(DecoderConfig { level, ..Default::default() })?;
    let (mut packet, mut heard, mut bytes) = (Vec::new(), Vec::new(), 0);
    let lookahead = (encoder.lookahead().as_micros() * 16 / 1000) as usize;
    let mut padded = pcm.clone();
    padded.resize((pcm.len() + lookahead).next_multiple_of(PACKET), 0);
    for chunk in padded.chunks_exact(PACKET) {
        encoder.encode(chunk, &mut packet)?;
        bytes += packet.len();
        decoder.decode(&packet, &mut heard)?;
    }
    let mut out = hound::WavWriter::create(to, spec)?;
    for &sample in &heard[lookahead..lookahead + pcm.len()] {
        out.write_sample(sample)?;
    }
    out.finalize()?;
    println!("{:.2} kbit/s", bytes as f64 * 8.0 * 16.0 / padded.len() as f64);
    Ok(())
}
