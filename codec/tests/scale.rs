//! Pictures larger and smaller.

use std::borrow::Cow;
use undertone_codec::scale::Scaler;
use undertone_media::{Timestamp, VideoFrame};

#[test]
fn a_picture_keeps_its_look_and_its_date() {
    let mut picture = VideoFrame::black(640, 360, Timestamp::from_millis(233));
    for (at, sample) in picture.data.iter_mut().enumerate().take(640 * 360) {
        *sample = 20 + (at % 640 / 4 + at / 640 / 6) as u8;
    }
    let mut scaler = Scaler::new();
    let small = scaler.scale(&picture, 320, 180);
    assert_eq!((small.width, small.height, small.captured), (320, 180, picture.captured));
    assert_eq!(small.data.len(), 320 * 180 * 3 / 2);
    let large = scaler.scale(&small, 640, 360);
    let off = picture.y().iter().zip(large.y()).map(|(&a, &b)| a.abs_diff(b)).max();
    assert!(off <= Some(2), "{off:?}");
}

#[test]
fn planes_do_not_mix() {
    let mut picture = VideoFrame::black(64, 32, Timestamp::ZERO);
    let luma = 64 * 32;
    picture.data[..luma].fill(200);
    picture.data[luma..luma + luma / 4].fill(90);
    picture.data[luma + luma / 4..].fill(30);
    let scaled = Scaler::new().scale(&picture, 34, 50);
    assert!(scaled.y().iter().all(|&y| y == 200));
    assert!(scaled.u().iter().all(|&u| u == 90) && scaled.v().iter().all(|&v| v == 30));
}

#[test]
fn what_fits_is_not_touched() {
    let picture = VideoFrame::black(64, 32, Timestamp::ZERO);
    assert!(matches!(Scaler::new().fit(&picture, 64, 32), Cow::Borrowed(_)));
}
