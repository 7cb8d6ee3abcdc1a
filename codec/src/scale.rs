//! Pictures larger and smaller.
//!
//! Why: where bits are few, a small picture coded well looks better than a large one coded badly, and is shown as large
//! as that one would have been (`engine::sender`). Fixed point throughout, so the same picture gives the same bytes on
//! every processor.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use std::borrow::Cow;
use undertone_media::VideoFrame;

/// Scales pictures of one stream; keeps its tables for the next.
#[derive(Clone, Debug, Default)]
pub struct Scaler {
    resizer: Resizer,
}

impl Scaler {
    /// A new one.
    pub fn new() -> Scaler {
        Scaler::default()
    }

    /// The picture in a size, which may be its own.
    pub fn fit<'a>(&mut self, frame: &'a VideoFrame, width: usize, height: usize) -> Cow<'a, VideoFrame> {
        match (frame.width, frame.height) == (width, height) {
            true => Cow::Borrowed(frame),
            false => Cow::Owned(self.scale(frame, width, height)),
        }
    }

    /// The picture in another size (even sides), captured when it was.
    pub fn scale(&mut self, frame: &VideoFrame, width: usize, height: usize) -> VideoFrame {
        let mut data = Vec::with_capacity(width * height * 3 / 2);
        let half = |side: usize| side / 2;
        data.extend(self.plane(frame.y(), (frame.width, frame.height), (width, height)));
        for plane in [frame.u(), frame.v()] {
            let from = (half(frame.width), half(frame.height));
            data.extend(self.plane(plane, from, (half(width), half(height))));
        }
        VideoFrame { width, height, captured: frame.captured, data }
    }

    /// Black if the plane is not as large as it is said to be, or a side is none.
    fn plane(&mut self, plane: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
        let mut scaled = Image::new(to.0 as u32, to.1 as u32, PixelType::U8);
        // Bicubic: sharper than linear, without the ringing of wider filters. It averages where it makes smaller.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        if let Ok(source) = ImageRef::new(from.0 as u32, from.1 as u32, plane, PixelType::U8) {
            // It fails for other kinds of pixels only.
            let _ = self.resizer.resize(&source, &mut scaled, &options);
        }
        scaled.into_vec()
    }
}
