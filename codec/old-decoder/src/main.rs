//! The libopus of old phones (1.3, from the `audiopus` crate) as a filter: packets on stdin, samples on stdout.
//!
//! Why a program of its own: what we send must play on phones whose decoder knows nothing of deep redundancy, and two
//! libopus cannot be linked into one program. `tests/old_phones.rs` feeds it everything that our encoder makes.
//!
//! In, all little-endian: the sample rate (u32), then for each packet how many samples are wanted (u16), what to do
//! (u8: 0 decode, 1 conceal, 2 take the low-rate copy), the length (u16) and that many bytes. Out: 16-bit mono samples.
//! It ends with code 1, and says why on stderr, at the first packet that does not decode to what is wanted.

use audiopus::coder::Decoder;
use audiopus::packet::Packet;
use audiopus::{Channels, MutSignals, SampleRate};
use std::error::Error;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(BufReader::new(io::stdin().lock()), BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("old-decoder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut from: impl Read, mut to: impl Write) -> Result<(), Box<dyn Error>> {
    eprintln!("{}", audiopus::version());
    let rate = i32::from_le_bytes(take(&mut from)?.ok_or("no sample rate")?);
    let mut decoder = Decoder::new(SampleRate::try_from(rate)?, Channels::Mono)?;
    for index in 0.. {
        let Some(samples) = take(&mut from)? else { break };
        let mut pcm = vec![0i16; usize::from(u16::from_le_bytes(samples))];
        let [what] = take(&mut from)?.ok_or("cut off")?;
        let length = u16::from_le_bytes(take(&mut from)?.ok_or("cut off")?);
        let mut packet = vec![0; length.into()];
        from.read_exact(&mut packet)?;
        let input = if what == 1 { None } else { Some(Packet::try_from(&packet)?) };
        let decoded = decoder
            .decode(input, MutSignals::try_from(&mut pcm)?, what == 2)
            .map_err(|error| format!("packet {index} of {length} bytes: {error}"))?;
        if decoded != pcm.len() {
            return Err(format!("packet {index}: {decoded} samples, not {}", pcm.len()).into());
        }
        for sample in pcm {
            to.write_all(&sample.to_le_bytes())?;
        }
    }
    to.flush()?;
    Ok(())
}

/// The next `N` bytes, or `None` at the end of the input.
fn take<const N: usize>(from: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
