//! Pictures in and out: planar YUV 4:2:0, as cameras and screens have it.

use crate::result::ut_result::{self, *};
use undertone_media::{Timestamp, VideoFrame};

/// A picture, planar YUV 4:2:0 (I420).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ut_picture {
    /// Whose it is. Ignored in what is pushed.
    pub participant: u32,
    /// Luma width in pixels.
    pub width: u32,
    /// Luma height in pixels.
    pub height: u32,
    /// Bytes from one row of y to the next.
    pub y_stride: u32,
    /// Bytes from one row of u to the next, and of v.
    pub uv_stride: u32,
    /// Luma.
    pub y: *const u8,
    /// Blue difference, half as wide and as high.
    pub u: *const u8,
    /// Red difference, likewise.
    pub v: *const u8,
}

/// Copies a picture of the given size out of C's memory.
///
/// # Safety
/// The planes are NULL or hold as many rows of as many bytes as the picture says.
#[allow(unsafe_code)] // Pointers from C.
pub(crate) unsafe fn copy(
    picture: &ut_picture,
    size: (usize, usize),
    captured: Timestamp,
) -> Result<VideoFrame, ut_result> {
    let (width, height) = size;
    if (picture.width as usize, picture.height as usize) != size {
        return Err(UT_MEDIA);
    }
    let planes = [
        (picture.y, picture.y_stride as usize, width, height),
        (picture.u, picture.uv_stride as usize, width / 2, height / 2),
        (picture.v, picture.uv_stride as usize, width / 2, height / 2),
    ];
    let mut data = Vec::with_capacity(width * height * 3 / 2);
    for (plane, stride, width, height) in planes {
        if plane.is_null() {
            return Err(UT_NULL);
        }
        if stride < width {
            return Err(UT_BAD_ARGUMENT);
        }
        for row in 0..height {
            // SAFETY: the caller's promise; the last row ends with its last pixel, not with the stride.
            data.extend_from_slice(unsafe { std::slice::from_raw_parts(plane.add(row * stride), width) });
        }
    }
    Ok(VideoFrame { width, height, captured, data })
}

/// The picture pulled last, with its planes.
pub(crate) struct Pulled {
    picture: ut_picture,
    _frame: VideoFrame,
}

impl Pulled {
    /// In a box of its own: C keeps its address.
    pub(crate) fn new(participant: u32, frame: VideoFrame) -> Box<Pulled> {
        let (width, height) = (frame.width as u32, frame.height as u32);
        let picture = ut_picture {
            participant,
            width,
            height,
            y_stride: width,
            uv_stride: width / 2,
            y: frame.y().as_ptr(),
            u: frame.u().as_ptr(),
            v: frame.v().as_ptr(),
        };
        Box::new(Pulled { picture, _frame: frame })
    }

    pub(crate) fn picture(&self) -> *const ut_picture {
        &raw const self.picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)] // What C does.
    fn padding_between_rows_is_left_behind() {
        let (y, u, v) = ([1u8, 1, 9, 1, 1], [2u8], [3u8]);
        let picture = ut_picture {
            participant: 0,
            width: 2,
            height: 2,
            y_stride: 3,
            uv_stride: 1,
            y: y.as_ptr(),
            u: u.as_ptr(),
            v: v.as_ptr(),
        };
        // SAFETY: the planes are as large as said.
        let frame = unsafe { copy(&picture, (2, 2), Timestamp::ZERO) }.unwrap();
        assert_eq!(frame.data, [1, 1, 1, 1, 2, 3]);
        // SAFETY: refused before a plane is read.
        unsafe {
            assert_eq!(copy(&picture, (4, 2), Timestamp::ZERO), Err(UT_MEDIA));
            let thin = ut_picture { y_stride: 1, ..picture };
            assert_eq!(copy(&thin, (2, 2), Timestamp::ZERO), Err(UT_BAD_ARGUMENT));
            let none = ut_picture { y: std::ptr::null(), ..picture };
            assert_eq!(copy(&none, (2, 2), Timestamp::ZERO), Err(UT_NULL));
        }
    }
}
