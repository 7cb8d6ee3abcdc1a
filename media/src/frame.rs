//! Frames: what codecs take and give.

use crate::{MediaTime, Timestamp};
use std::time::Duration;

/// Whether something is heard or seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Heard.
    Audio,
    /// Seen.
    Video,
}

/// Mono PCM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioFrame {
    /// Samples a second.
    pub sample_rate: u32,
    /// When its first sample was captured.
    pub captured: Timestamp,
    /// The samples, full scale ±32 767.
    pub samples: Vec<i16>,
}

impl AudioFrame {
    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.samples.len() as u64 * 1_000_000 / u64::from(self.sample_rate))
    }
}

/// One picture, planar YUV 4:2:0 (I420), no padding between rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoFrame {
    /// Luma width in pixels; even.
    pub width: usize,
    /// Luma height in pixels; even.
    pub height: usize,
    /// When it was captured.
    pub captured: Timestamp,
    /// `width * height` luma bytes, then two chroma planes of a quarter each.
    pub data: Vec<u8>,
}

impl VideoFrame {
    /// A black picture.
    pub fn black(width: usize, height: usize, captured: Timestamp) -> VideoFrame {
        let mut data = vec![16; width * height];
        data.resize(width * height * 3 / 2, 128);
        VideoFrame { width, height, captured, data }
    }

    /// The luma plane.
    pub fn y(&self) -> &[u8] {
        &self.data[..self.width * self.height]
    }

    /// The blue-difference plane.
    pub fn u(&self) -> &[u8] {
        let luma = self.width * self.height;
        &self.data[luma..luma + luma / 4]
    }

    /// The red-difference plane.
    pub fn v(&self) -> &[u8] {
        let luma = self.width * self.height;
        &self.data[luma + luma / 4..]
    }
}

/// A coded frame, between codec and packetiser: what an end-to-end transform sees and may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// Heard or seen.
    pub kind: Kind,
    /// Its date on the stream's clock.
    pub time: MediaTime,
    /// When its first sample, or its picture, was captured.
    pub captured: Timestamp,
    /// A receiver can start here. Always true of audio.
    pub key: bool,
    /// The coded bytes: an Opus packet, or H.264 NAL units in Annex B form.
    pub data: Vec<u8>,
}
