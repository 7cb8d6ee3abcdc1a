//! Speech in WAV files, as it is read and written around a call.
//!
//! Why: people bring whatever their recorder made. Any PCM (8 to 32 bit integers, 32 bit floats), any rate
//! and any number of channels becomes mono `i16` at the file's own rate; resampling is the caller's, who
//! has the codec's. Written files stay playable if the process dies in the middle.

use hound::{SampleFormat, WavReader, WavSpec};
use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// What a WAV file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcm {
    /// Samples a second.
    pub sample_rate: u32,
    /// Mono samples, full scale ±32 767.
    pub samples: Vec<i16>,
}

/// Why a file could not be read or written. The text names the file and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// The file system refused.
    Io {
        /// Which file.
        path: PathBuf,
        /// What was wanted: `read` or `written`.
        wanted: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not a WAV file that can be understood.
    NotWav {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A WAV file without a single sample.
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io { path, wanted, source } => {
                write!(f, "{} cannot be {wanted}: {source}", path.display())
            }
            FileError::NotWav { path, reason } => write!(
                f,
                "{} is not a usable WAV file ({reason}): expected PCM of 8 to 32 bits or 32-bit float at any \
                 rate; convert it with `ffmpeg -i {} speech.wav`",
                path.display(),
                path.display()
            ),
            FileError::Empty { path } => {
                write!(f, "{} holds no samples: record it again, or name another file", path.display())
            }
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FileError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn not_wav(path: &Path, error: &hound::Error) -> FileError {
    let reason = match error {
        // All bytes are in memory, so this can only be their end.
        hound::Error::IoError(_) => "it ends before its first sample".into(),
        other => other.to_string(),
    };
    FileError::NotWav { path: path.into(), reason }
}

/// Makes the data chunk end where the file does. A recorder that writes into a pipe cannot go back to fill
/// in the length (it says 0 everywhere, or `0xffff_ffff`), and one that was cut off has promised more than
/// there is.
fn mend_length(bytes: &mut [u8]) {
    let unfinished = bytes.get(4..8) == Some(&[0; 4]);
    let mut at = 12; // After `RIFF`, the length, `WAVE`.
    let mut block = 1;
    while let Some(&[a, b, c, d, l0, l1, l2, l3]) = bytes.get(at..at + 8) {
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let body = at + 8;
        match &[a, b, c, d] {
            b"fmt " => {
                if let Some(&[low, high]) = bytes.get(body + 12..body + 14) {
                    block = usize::from(u16::from_le_bytes([low, high])).max(1);
                }
            }
            b"data" => {
                let there = bytes.len() - body;
                if (len == 0 && unfinished) || len > there {
                    let whole = (there - there % block).min(u32::MAX as usize) as u32;
                    bytes[at + 4..body].copy_from_slice(&whole.to_le_bytes());
                }
                return;
            }
            _ => {}
        }
        at = body.saturating_add(len).saturating_add(len % 2);
    }
}

/// Reads a whole WAV file; several channels become their mean.
///
/// # Errors
/// [`FileError`]: unreadable, not a WAV file, or empty. A file that ends in the middle of its samples gives
/// those that are there, since recorders do crash.
pub fn read_wav(path: impl AsRef<Path>) -> Result<Pcm, FileError> {
    let path = path.as_ref();
    let mut bytes =
        std::fs::read(path).map_err(|source| FileError::Io { path: path.into(), wanted: "read", source })?;
    mend_length(&mut bytes);
    let reader = WavReader::new(bytes.as_slice()).map_err(|error| not_wav(path, &error))?;
    let spec = reader.spec();
    if spec.channels == 0 || spec.sample_rate == 0 {
        let reason = format!("{} channels at {} Hz", spec.channels, spec.sample_rate);
        return Err(FileError::NotWav { path: path.into(), reason });
    }
    let samples = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, 32) => {
            mono(reader.into_samples::<f32>().map_while(Result::ok).map(from_float), spec.channels)
        }
        (SampleFormat::Int, bits @ 8..=32) => {
            mono(reader.into_samples::<i32>().map_while(Result::ok).map(|s| from_int(s, bits)), spec.channels)
        }
        (format, bits) => {
            let reason = format!("{bits}-bit {format:?} samples");
            return Err(FileError::NotWav { path: path.into(), reason });
        }
    };
    match samples.is_empty() {
        true => Err(FileError::Empty { path: path.into() }),
        false => Ok(Pcm { sample_rate: spec.sample_rate, samples }),
    }
}

fn from_float(sample: f32) -> i16 {
    // The cast saturates, and turns NaN into silence.
    (sample * 32_768.0).round() as i16
}

fn from_int(sample: i32, bits: u16) -> i16 {
    match bits {
        0..=16 => (sample << (16 - bits)) as i16,
        _ => (sample >> (bits - 16)) as i16,
    }
}

fn mono(samples: impl Iterator<Item = i16>, channels: u16) -> Vec<i16> {
    if channels == 1 {
        return samples.collect();
    }
    let samples: Vec<i16> = samples.collect();
    samples
        .chunks_exact(usize::from(channels))
        .map(|frame| (frame.iter().map(|&s| i32::from(s)).sum::<i32>() / i32::from(channels)) as i16)
        .collect()
}

/// Writes a mono 16-bit WAV file as the samples come.
pub struct WavWriter {
    path: PathBuf,
    writer: hound::WavWriter<BufWriter<File>>,
    sample_rate: u32,
    since_flush: usize,
}

impl WavWriter {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// [`FileError::Io`], for example if the folder does not exist.
    pub fn create(path: impl AsRef<Path>, sample_rate: u32) -> Result<WavWriter, FileError> {
        let path = path.as_ref();
        let spec =
            WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let writer = File::create(path)
            .map_err(hound::Error::IoError)
            .and_then(|file| hound::WavWriter::new(BufWriter::new(file), spec));
        match writer {
            Ok(writer) => Ok(WavWriter { path: path.into(), writer, sample_rate, since_flush: 0 }),
            Err(error) => Err(write_error(path, error)),
        }
    }

    /// Appends samples. Once for every second of audio the header is brought up to date on disk.
    ///
    /// # Errors
    /// [`FileError::Io`]: most likely the disk is full.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), FileError> {
        let path = &self.path;
        let fail = |error| write_error(path, error);
        for &sample in samples {
            self.writer.write_sample(sample).map_err(fail)?;
        }
        self.since_flush += samples.len();
        if self.since_flush >= self.sample_rate as usize {
            self.since_flush = 0;
            self.writer.flush().map_err(fail)?;
        }
        Ok(())
    }

    /// How many samples have been written.
    pub fn len(&self) -> u64 {
        u64::from(self.writer.duration())
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Completes the file. Dropping does the same, but cannot say what went wrong.
    ///
    /// # Errors
    /// [`FileError::Io`]: most likely the disk is full.
    pub fn finish(self) -> Result<(), FileError> {
        let WavWriter { path, writer, .. } = self;
        writer.finalize().map_err(|error| write_error(&path, error))
    }
}

fn write_error(path: &Path, error: hound::Error) -> FileError {
    let source = match error {
        hound::Error::IoError(source) => source,
        other => std::io::Error::other(other.to_string()),
    };
    FileError::Io { path: path.into(), wanted: "written", source }
}

/// Writes a whole mono 16-bit WAV file.
///
/// # Errors
/// [`FileError::Io`].
pub fn write_wav(path: impl AsRef<Path>, sample_rate: u32, samples: &[i16]) -> Result<(), FileError> {
    let mut writer = WavWriter::create(path, sample_rate)?;
    writer.write(samples)?;
    writer.finish()
}
