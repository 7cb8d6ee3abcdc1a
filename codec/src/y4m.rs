//! Raw video files: YUV4MPEG2, what ffmpeg calls `y4m`.
//!
//! Why: the one container that every tool reads and that needs no library. Format: one header line, then per
//! picture a `FRAME` line and its planes. Only 8-bit 4:2:0 with even sides, which is what the codec takes.
//!
//! Not here: opening files (the caller brings a reader or writer), playing in time.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;
use undertone_media::{Timestamp, VideoFrame};

/// No real header or frame line is longer.
const MAX_LINE: usize = 1024;

/// No real picture is wider or higher.
const MAX_SIDE: usize = 8192;

/// What a file says about all of its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Luma width in pixels; even.
    pub width: usize,
    /// Luma height in pixels; even.
    pub height: usize,
    /// Pictures a second, as a fraction: 30/1, 30000/1001.
    pub fps: (u32, u32),
}

impl Header {
    /// When picture `n` is due after the first.
    pub fn time_of(&self, n: u64) -> Duration {
        let (num, den) = (u128::from(self.fps.0.max(1)), u128::from(self.fps.1));
        Duration::from_micros((u128::from(n) * 1_000_000 * den / num) as u64)
    }
}

/// Why a file could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Y4mError {
    /// The file is not YUV4MPEG2, or not a kind that is supported; says how to fix it.
    Format(String),
    /// The disk or pipe failed, or the file ends within a picture.
    Io(io::Error),
}

impl fmt::Display for Y4mError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Y4mError::Format(what) => write!(f, "not a usable y4m file: {what}"),
            Y4mError::Io(error) => write!(f, "y4m: {error}"),
        }
    }
}

impl std::error::Error for Y4mError {}

impl From<io::Error> for Y4mError {
    fn from(error: io::Error) -> Y4mError {
        Y4mError::Io(error)
    }
}

/// Reads pictures. Give it a buffered reader: it reads lines byte by byte.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    next: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// `Format` if it is not 8-bit 4:2:0 YUV4MPEG2 with even sides; `Io` if reading fails.
    pub fn new(mut source: R) -> Result<Reader<R>, Y4mError> {
        let line = read_line(&mut source)?.unwrap_or_default();
        let header = parse_header(&line)?;
        Ok(Reader { source, header, next: 0 })
    }

    /// The size and rate of all pictures.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The next picture, dated from zero at the header's rate; `None` at the end.
    ///
    /// # Errors
    /// `Format` if something else than a picture follows; `Io` if the file ends within one.
    pub fn next_frame(&mut self) -> Result<Option<VideoFrame>, Y4mError> {
        let Some(line) = read_line(&mut self.source)? else { return Ok(None) };
        if line.split(' ').next() != Some("FRAME") {
            return Err(Y4mError::Format(format!("picture {} does not begin with FRAME", self.next)));
        }
        let Header { width, height, .. } = self.header;
        let mut data = vec![0; width * height * 3 / 2];
        self.source.read_exact(&mut data)?;
        let captured = Timestamp::ZERO + self.header.time_of(self.next);
        self.next += 1;
        Ok(Some(VideoFrame { width, height, captured, data }))
    }
}

/// Writes pictures. Give it a buffered writer.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    header: Header,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// `Format` if a side is odd or zero, or the rate is zero; `Io` if writing fails.
    pub fn new(mut sink: W, header: Header) -> Result<Writer<W>, Y4mError> {
        check(&header)?;
        let Header { width, height, fps: (num, den) } = header;
        writeln!(sink, "YUV4MPEG2 W{width} H{height} F{num}:{den} Ip A1:1 C420jpeg")?;
        Ok(Writer { sink, header })
    }

    /// Writes a picture.
    ///
    /// # Errors
    /// `Format` if its size is not the header's; `Io` if writing fails.
    pub fn write_frame(&mut self, frame: &VideoFrame) -> Result<(), Y4mError> {
        let Header { width, height, .. } = self.header;
        if frame.width != width || frame.height != height || frame.data.len() != width * height * 3 / 2 {
            return Err(Y4mError::Format(format!(
                "a picture of {}×{} in a file of {width}×{height}",
                frame.width, frame.height
            )));
        }
        self.sink.write_all(b"FRAME\n")?;
        self.sink.write_all(&frame.data)?;
        Ok(())
    }

    /// Gives the sink back, flushed.
    ///
    /// # Errors
    /// `Io` if flushing fails.
    pub fn into_inner(mut self) -> Result<W, Y4mError> {
        self.sink.flush()?;
        Ok(self.sink)
    }
}

fn parse_header(line: &str) -> Result<Header, Y4mError> {
    let mut fields = line.split(' ');
    if fields.next() != Some("YUV4MPEG2") {
        return Err(Y4mError::Format("it does not begin with YUV4MPEG2".into()));
    }
    let (mut width, mut height, mut fps) = (None, None, (30, 1));
    for field in fields.filter(|field| !field.is_empty()) {
        let mut letters = field.chars();
        let tag = letters.next();
        let value = letters.as_str();
        match tag {
            Some('W') => width = value.parse().ok(),
            Some('H') => height = value.parse().ok(),
            Some('F') => {
                let rate = value.split_once(':').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                fps =
                    rate.ok_or_else(|| Y4mError::Format(format!("the frame rate {value} is no fraction")))?;
            }
            Some('C') if !matches!(value, "420" | "420jpeg" | "420paldv" | "420mpeg2") => {
                return Err(Y4mError::Format(format!(
                    "its colours are C{value}; convert it with ffmpeg -pix_fmt yuv420p"
                )));
            }
            _ => {} // interlacing, aspect, comments: nothing that the codec sees
        }
    }
    let (Some(width), Some(height)) = (width, height) else {
        return Err(Y4mError::Format("its header names no width and height".into()));
    };
    let header = Header { width, height, fps };
    check(&header)?;
    Ok(header)
}

fn check(header: &Header) -> Result<(), Y4mError> {
    let fits = |side: usize| (2..=MAX_SIDE).contains(&side) && side.is_multiple_of(2);
    if !fits(header.width) || !fits(header.height) {
        return Err(Y4mError::Format(format!(
            "{}×{} pixels: both sides must be even and at most {MAX_SIDE}",
            header.width, header.height
        )));
    }
    if header.fps.0 == 0 || header.fps.1 == 0 {
        return Err(Y4mError::Format("its frame rate is zero".into()));
    }
    Ok(())
}

/// A line without its end; `None` if the source is at its end.
fn read_line(source: &mut impl Read) -> Result<Option<String>, Y4mError> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match source.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == MAX_LINE => return Err(Y4mError::Format("a line has no end".into())),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    String::from_utf8(line).map(Some).map_err(|_| Y4mError::Format("a header line is not text".into()))
}
