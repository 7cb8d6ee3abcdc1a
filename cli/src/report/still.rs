//! A picture from a video, as a data URI that every browser shows.

use std::fmt::Write as _;
use undertone_media::VideoFrame;

/// Scales a frame to about `width` pixels (nearest neighbour) and wraps it as a BMP in a data URI. A BMP
/// needs no compressor; a report holds a handful.
pub fn still(frame: &VideoFrame, width: usize) -> String {
    let width = width.min(frame.width).max(4) & !3;
    let height = (frame.height * width / frame.width).max(2);
    let mut bmp = Vec::with_capacity(54 + width * height * 3);
    bmp.extend_from_slice(b"BM");
    for field in [54 + (width * height * 3) as u32, 0, 54, 40, width as u32, height as u32] {
        bmp.extend_from_slice(&field.to_le_bytes());
    }
    bmp.extend_from_slice(&[1, 0, 24, 0]);
    bmp.extend_from_slice(&[0; 24]);
    let (luma, blue, red) = (frame.y(), frame.u(), frame.v());
    for row in (0..height).rev() {
        let y = row * frame.height / height;
        for column in 0..width {
            let x = column * frame.width / width;
            let chroma = (y / 2) * (frame.width / 2) + x / 2;
            let light = 1.164 * (f32::from(luma[y * frame.width + x]) - 16.0);
            let (u, v) = (f32::from(blue[chroma]) - 128.0, f32::from(red[chroma]) - 128.0);
            // BT.601 limited range, the usual one of video calls.
            for part in [light + 2.018 * u, light - 0.813 * v - 0.391 * u, light + 1.596 * v] {
                bmp.push(part.clamp(0.0, 255.0) as u8);
            }
        }
    }
    let mut uri = String::from("data:image/bmp;base64,");
    base64(&bmp, &mut uri);
    uri
}

/// RFC 4648 §4.
fn base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                let _ = write!(out, "{}", char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_rfc_has_it() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            let mut out = String::new();
            base64(plain.as_bytes(), &mut out);
            assert_eq!(out, coded);
        }
    }
}
