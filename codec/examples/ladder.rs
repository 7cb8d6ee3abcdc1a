//! Which size pictures are to be coded in at which rate: prints PSNR at the size of a clip, pictures a second and the
//! quantiser for each size and rate. `engine/src/sender/ladder.rs` is drawn from it.
//!
//! ```text
//! cargo run --release -p undertone-codec --example ladder FILE.y4m
//! ```

use std::fs::File;
use std::io::BufReader;
use undertone_codec::h264::{Decoder, Encoder, EncoderConfig};
use undertone_codec::scale::Scaler;
use undertone_codec::y4m;
use undertone_media::{Bitrate, Timestamp};

/// Heights, and rates in kbit/s.
const HEIGHTS: [usize; 6] = [720, 540, 360, 270, 180, 144];
const RATES: [u64; 9] = [60, 100, 150, 250, 400, 600, 1000, 1500, 2500];
const PICTURES: usize = 150;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: ladder FILE.y4m")?;
    let mut reader = y4m::Reader::new(BufReader::new(File::open(path)?))?;
    let mut clip = Vec::new();
    while clip.len() < PICTURES
        && let Some(frame) = reader.next_frame()?
    {
        clip.push(frame);
    }
    let first = clip.first().ok_or("no pictures in it")?;
    let (width, height) = (first.width, first.height);
    println!("kbit/s, then for each height: PSNR dB / pictures a second / quantiser / kbit/s");
    println!("       {}", HEIGHTS.map(|height| format!("{height:^21}")).concat());
    for rate in RATES {
        let mut row = format!("{rate:6} ");
        for small in HEIGHTS.into_iter().filter(|small| *small <= height) {
            let size = (width * small / height / 2 * 2, small);
            row += &cell(&clip, size, Bitrate::from_kbps(rate))?;
        }
        println!("{row}");
    }
    Ok(())
}

fn cell(
    clip: &[undertone_media::VideoFrame],
    (width, height): (usize, usize),
    bitrate: Bitrate,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut scaler = Scaler::new();
    let mut encoder = Encoder::new(EncoderConfig { width, height, bitrate, ..EncoderConfig::default() })?;
    let mut decoder = Decoder::new();
    let (mut bytes, mut shown, mut noise, mut quantiser) = (0, 0, 0.0, 0);
    for (n, picture) in clip.iter().enumerate() {
        let mut small = scaler.scale(picture, width, height);
        small.captured = Timestamp::from_millis(n as u64 * 100 / 3);
        let Some(coded) = encoder.encode(&small, false)? else { continue };
        bytes += coded.data.len();
        quantiser += encoder.quantiser();
        let Some(decoded) = decoder.decode(&coded.data, small.captured)? else { continue };
        let large = scaler.scale(&decoded, picture.width, picture.height);
        let squares: u64 =
            picture.y().iter().zip(large.y()).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
        noise += 10.0 * (255.0f64.powi(2) * large.y().len() as f64 / squares.max(1) as f64).log10();
        shown += 1;
    }
    let secs = clip.len() as f64 / 30.0;
    let (psnr, fps) = (noise / f64::from(shown.max(1)), f64::from(shown) / secs);
    let kbps = bytes as f64 * 8.0 / secs / 1000.0;
    Ok(format!("{psnr:6.2}/{fps:2.0}/{:2}/{kbps:5.0}   ", quantiser / shown.max(1) as u32))
}
