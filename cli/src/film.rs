//! What was seen, in a file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use undertone_codec::scale::Scaler;
use undertone_codec::y4m::{Header, Writer, Y4mError};
use undertone_media::VideoFrame;

/// A y4m file of one size, whatever the size of the pictures that it shows: theirs follows the path.
pub struct Film {
    writer: Writer<BufWriter<File>>,
    size: (usize, usize),
    scaler: Scaler,
}

impl Film {
    /// An empty file.
    pub fn create(path: &Path, header: Header) -> Result<Film, Y4mError> {
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        Ok(Film {
            writer: Writer::new(file, header)?,
            size: (header.width, header.height),
            scaler: Scaler::new(),
        })
    }

    /// The next picture.
    pub fn show(&mut self, picture: &VideoFrame) -> Result<(), Y4mError> {
        self.writer.write_frame(&self.scaler.fit(picture, self.size.0, self.size.1))
    }
}
