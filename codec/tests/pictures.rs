//! Test pictures and raw video files.

use proptest::prelude::*;
use std::io::Cursor;
use undertone_codec::pattern::{MIN_SIZE, Pattern, read_number};
use undertone_codec::y4m::{Header, Reader, Writer, Y4mError};
use undertone_media::{Timestamp, VideoFrame};

#[test]
fn a_test_picture_tells_its_number() {
    for (width, height) in [MIN_SIZE, (160, 90), (320, 180), (640, 360), (1280, 720), (1920, 1080)] {
        let pattern = Pattern::new(width, height);
        for n in [0, 1, 42, 65_535, 0xdead_beef, u32::MAX] {
            let frame = pattern.frame(n, Timestamp::from_millis(1234));
            assert_eq!(
                (frame.width, frame.height, frame.data.len()),
                (width, height, width * height * 3 / 2)
            );
            assert_eq!(read_number(&frame), Some(n), "{width}×{height}");
        }
    }
}

#[test]
fn the_number_survives_scaling_and_noise() {
    let big = Pattern::new(1280, 720).frame(123_456, Timestamp::ZERO);
    let mut small = VideoFrame::black(320, 180, Timestamp::ZERO);
    for y in 0..180 {
        for x in 0..320 {
            let grain = ((x * 7919 + y * 104_729) % 41) as i32 - 20;
            small.data[y * 320 + x] = (i32::from(big.data[4 * y * 1280 + 4 * x]) + grain).clamp(0, 255) as u8;
        }
    }
    assert_eq!(read_number(&small), Some(123_456));
}

#[test]
fn no_number_is_read_from_other_pictures() {
    assert_eq!(read_number(&VideoFrame::black(640, 360, Timestamp::ZERO)), None);
    assert_eq!(read_number(&VideoFrame::black(2, 2, Timestamp::ZERO)), None);
    let mut damaged = Pattern::new(640, 360).frame(7, Timestamp::ZERO);
    for byte in &mut damaged.data[640 * 265..640 * 300] {
        *byte = 235 - (*byte).min(219);
    }
    assert_eq!(read_number(&damaged), None, "the check bits hold");
}

#[test]
fn pictures_move_and_show_their_time() {
    let pattern = Pattern::new(640, 360);
    let first = pattern.frame(5, Timestamp::from_millis(100));
    assert_ne!(first.y(), pattern.frame(6, Timestamp::from_millis(100)).y());
    let later = pattern.frame(5, Timestamp::from_millis(133));
    assert_ne!(first.y(), later.y(), "the clock is in the picture");
    assert_eq!(pattern.frame(5, Timestamp::from_millis(100)), first);
    assert_eq!(Pattern::new(3, 3).frame(0, Timestamp::ZERO).width, MIN_SIZE.0);
}

#[test]
fn files_give_back_what_was_written() {
    let header = Header { width: 160, height: 90, fps: (30_000, 1001) };
    let pictures: Vec<VideoFrame> = (0..4)
        .map(|n| Pattern::new(160, 90).frame(n, Timestamp::ZERO + header.time_of(u64::from(n))))
        .collect();
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for picture in &pictures {
        writer.write_frame(picture).unwrap();
    }
    assert!(writer.write_frame(&VideoFrame::black(2, 2, Timestamp::ZERO)).is_err());
    let bytes = writer.into_inner().unwrap();
    assert!(bytes.starts_with(b"YUV4MPEG2 W160 H90 F30000:1001 "));

    let mut reader = Reader::new(Cursor::new(&bytes)).unwrap();
    assert_eq!(reader.header(), header);
    for picture in &pictures {
        assert_eq!(reader.next_frame().unwrap().as_ref(), Some(picture));
    }
    assert!(reader.next_frame().unwrap().is_none());

    let mut cut = Reader::new(Cursor::new(&bytes[..bytes.len() - 1])).unwrap();
    let last = (0..4).map(|_| cut.next_frame()).last().unwrap();
    assert!(matches!(last, Err(Y4mError::Io(_))), "a file that ends within a picture says so");
}

#[test]
fn headers_of_other_tools_are_read_and_unusable_ones_explained() {
    let header = |line: &str| Reader::new(Cursor::new(format!("{line}\n"))).map(|reader| reader.header());
    let vga = Header { width: 640, height: 480, fps: (25, 1) };
    for line in [
        "YUV4MPEG2 W640 H480 F25:1 Ip A0:0 C420mpeg2 XYSCSS=420MPEG2",
        "YUV4MPEG2 H480 W640 F25:1",
        "YUV4MPEG2 W640  H480 F25:1 C420",
    ] {
        assert_eq!(header(line).unwrap(), vga, "{line}");
    }
    for (line, reason) in [
        ("RIFF", "YUV4MPEG2"),
        ("YUV4MPEG2 W640 F25:1", "width and height"),
        ("YUV4MPEG2 W641 H480 F25:1", "even"),
        ("YUV4MPEG2 W640 H480 F0:1", "rate"),
        ("YUV4MPEG2 W640 H480 F25", "fraction"),
        ("YUV4MPEG2 W640 H480 F25:1 C444", "yuv420p"),
        ("YUV4MPEG2 W640 H480 F25:1 C420p10", "yuv420p"),
        ("YUV4MPEG2 W99999998 H99999998 F25:1", "at most"),
    ] {
        let message = header(line).unwrap_err().to_string();
        assert!(message.contains(reason), "{line}: {message}");
    }
    assert!(Reader::new(Cursor::new(b"")).is_err());
}

proptest! {
    #[test]
    fn no_file_crashes_the_reader(tail in prop::collection::vec(any::<u8>(), 0..200), good in any::<bool>()) {
        let mut bytes = if good { b"YUV4MPEG2 W4 H4 F1:1\nFRAME\n".to_vec() } else { Vec::new() };
        bytes.extend(tail);
        if let Ok(mut reader) = Reader::new(Cursor::new(bytes)) {
            while let Ok(Some(frame)) = reader.next_frame() {
                prop_assert_eq!(frame.data.len(), 24);
            }
        }
    }

    #[test]
    fn any_number_is_read_back(n in any::<u32>()) {
        let frame = Pattern::new(160, 90).frame(n, Timestamp::ZERO);
        prop_assert_eq!(read_number(&frame), Some(n));
    }
}
