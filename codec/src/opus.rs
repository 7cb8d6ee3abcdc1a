//! Sound to Opus packets and back: a thin safe wrapper over libopus 1.6.
//!
//! Why our own: no published wrapper reaches deep PLC, LACE/NoLACE and DRED at any offset, and all of them
//! matter most where the network is worst. Wire: RFC 6716 packets, RTP clock 48 kHz (RFC 7587), one
//! channel. Speech is wideband, because the decoder's enhancement networks sleep at narrower bandwidths; but `thin`
//! says otherwise at the lowest rates. Music is the other half of Opus: CELT, and at 48 kHz the full band, which takes
//! 32 kbit/s and more. Encoders and decoders have their own sample rate, whatever is coded: who hears 16 kHz plays
//! music with the upper octaves missing, who hears 48 kHz plays a voice.
//!
//! What is fixed of speech, and why (mean PESQ-WB of six clean clips, 20 ms packets; `examples/roundtrip.rs` makes the
//! files to score):
//!
//! | coded with | kbit/s | plain | LACE | NoLACE |
//! |---|---|---|---|---|
//! | SILK without libopus's high-pass | 15.8 | 4.24 | 4.29 | 4.29 |
//! | the same | 19.6 | 4.37 | 4.40 | 4.40 |
//! | **the same: the default** | **21.6** | 4.42 | **4.46** | 4.44 |
//! | the same | 25.5 | 4.46 | 4.48 | 4.48 |
//! | SILK with it (application VOIP) | 23.5 | 4.39 | 4.42 | 4.40 |
//! | CELT | 26.2 | 4.10 | – | – |
//! | CELT at the least delay (2.5 instead of 6.5 ms) | 27.0 | 4.06 | – | – |
//!
//! Application AUDIO is chosen for want of the high-pass, which [`crate::echo`] has for microphones anyway, and `thin`
//! where it pays;
//! the signal type keeps it in SILK. Variable rate costs no quality against constant and saves 2 %;
//! complexity above 8 changes nothing in SILK. Longer packets gain little (60 ms: +0.02).
//!
//! The same input gives the same bytes on one machine. Between x86-64 machines with and without AVX2 the
//! enhanced output differs in its last bits, because libopus chooses its arithmetic when it starts; plain
//! decoding does not. Building `opusic-sys` with `no-runtime-feature-detection` makes both equal, for 1.6
//! times the work of a coded and enhanced packet.
//!
//! [`Encoder`] codes, and dresses packets with [`Redundancy`]; [`Decoder`] decodes, brings back and conceals.
//!
//! Packets above 60 ms are joined here from their frames, because libopus's own way holds each frame to the mean rate
//! and leaves out what does not fit: at 9 kbit/s in 100 ms the likeness to what was said rises from .864 to .919, at
//! 24 kbit/s with low-rate copies in 120 ms from .657 to .968.
//!
//! Not here: when a packet is sent or played; RED (`transport`); which protection to use (`engine::adapt`).

#![allow(unsafe_code)] // The C library's calls; each block says why it is sound.

mod decoder;
mod encoder;
mod redundancy;
mod thin;

pub use decoder::{Decoder, DecoderConfig, DredSpan, Level};
pub use encoder::{Encoder, EncoderConfig};
pub use redundancy::Redundancy;

use crate::{CodecError, SAMPLE_RATE};
use opusic_sys as sys;
use std::ffi::c_int;
use std::time::Duration;

/// Samples in the longest packet, 120 ms, at 16 kHz.
const LONGEST: usize = SAMPLE_RATE as usize * 120 / 1000;

/// Not in libopus's public header: which of its two codecs an encoder uses.
const SET_FORCE_MODE_REQUEST: c_int = 11_002;
const MODE_SILK_ONLY: c_int = 1000;
const MODE_CELT_ONLY: c_int = 1002;

/// The largest packet that RFC 6716 §3.4 allows for 120 ms: six frames of 1275 bytes and their lengths.
const LARGEST: usize = 6 * 1275 + 7;

/// How much speech a packet holds, from its header alone (RFC 6716 §3.1); `None` if it is none.
pub fn packet_duration(packet: &[u8]) -> Option<Duration> {
    let samples = packet_samples(packet)?;
    Some(Duration::from_micros(samples as u64 * 1_000_000 / u64::from(SAMPLE_RATE)))
}

/// True if the packet carries a low-rate copy of the audio before it.
pub fn has_lbrr(packet: &[u8]) -> bool {
    // SAFETY: `packet` holds as many bytes as said; libopus checks the packet's structure itself.
    !packet.is_empty() && unsafe { sys::opus_packet_has_lbrr(packet.as_ptr(), packet.len() as i32) } > 0
}

/// Takes off what a packet carries in its padding, such as [`Redundancy`]: what is left is the packet as it was coded.
/// `None` if it is no Opus packet.
///
/// Why: protection repeats the speech of a packet, not what that packet repeats.
pub fn strip(packet: &[u8]) -> Option<Vec<u8>> {
    let mut bare = Vec::new();
    strip_into(packet, &mut bare).then_some(bare)
}

/// As [`strip`], into `out`, which is emptied first; false, and `out` empty, if it is no Opus packet.
pub fn strip_into(packet: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    if packet_samples(packet).is_none() {
        return false;
    }
    out.extend_from_slice(packet);
    // SAFETY: `out` holds as many bytes as said, at least one; the packet only shrinks.
    let length = unsafe { sys::opus_packet_unpad(out.as_mut_ptr(), out.len() as i32) };
    out.truncate(usize::try_from(length).unwrap_or(0));
    !out.is_empty()
}

/// Samples of a packet at 16 kHz.
fn packet_samples(packet: &[u8]) -> Option<usize> {
    if packet.is_empty() {
        return None;
    }
    // SAFETY: `packet` holds as many bytes as said, and at least one.
    let samples =
        unsafe { sys::opus_packet_get_nb_samples(packet.as_ptr(), packet.len() as i32, SAMPLE_RATE as i32) };
    usize::try_from(samples).ok().filter(|&samples| samples > 0 && samples <= LONGEST)
}

fn failed(code: c_int) -> CodecError {
    CodecError::Library { codec: "opus", code: i64::from(code) }
}
