//! Somebody who reads aloud.

#![allow(unreachable_pub)]

/// One of the committed clips, 16 kHz.
pub fn reading() -> Vec<i16> {
    let wav = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/speech/librivox_austen_0870.wav");
    let wav = std::fs::read(wav).expect("the speech");
    let begin = wav.windows(4).position(|four| four == b"data").expect("samples") + 8;
    wav[begin..].chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
}
