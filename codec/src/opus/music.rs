//! The music mode: 48 kHz mono over the full band, for those who share an instrument or a song instead of a voice.
//!
//! Why a pair of its own: speech is 16 kHz all through this crate, and its whole protection is made for voices. Music
//! needs the other half of Opus (CELT), the upper two octaves, and a link that can bear it: 32 kbit/s and more, packets
//! of 20 ms, repaired by retransmission and copies of packets (`transport`), not by networks that would sing along.
//!
//! The wire is plain Opus in the same RTP payload type: every Opus decoder plays it, [`super::Decoder`] with what a
//! wideband receiver can give, and [`MusicDecoder`] plays speech.

use super::{LARGEST, MODE_CELT_ONLY, SET_FORCE_MODE_REQUEST, failed, packet_samples};
use crate::{CodecError, SAMPLE_RATE};
use opusic_sys as sys;
use std::ffi::c_int;
use std::ptr::{self, NonNull};
use std::time::Duration;
use undertone_media::Bitrate;

/// Samples a second of music.
pub const MUSIC_RATE: u32 = 48_000;
/// Samples in a packet of music, 20 ms.
pub const MUSIC_PACKET: usize = MUSIC_RATE as usize / 50;
/// Samples in 2.5 ms and in 120 ms.
const QUANTUM: usize = MUSIC_RATE as usize / 400;
const LONGEST: usize = MUSIC_RATE as usize * 120 / 1000;
/// Samples of music in the time of one of speech.
const PER_SPEECH: usize = (MUSIC_RATE / SAMPLE_RATE) as usize;

/// Turns 48 kHz mono music into Opus packets.
#[derive(Debug)]
pub struct MusicEncoder {
    raw: NonNull<sys::OpusEncoder>,
    room: Box<[u8]>,
}

// SAFETY: the state is plain memory that only this handle points to; libopus keeps no thread-local data.
unsafe impl Send for MusicEncoder {}

impl MusicEncoder {
    /// Prepares an encoder for a mean rate of the packets' payload, kept within 32–128 kbit/s.
    ///
    /// # Errors
    /// `Library` if libopus cannot be set up so (no memory).
    pub fn new(bitrate: Bitrate) -> Result<MusicEncoder, CodecError> {
        let mut code = 0;
        // SAFETY: the arguments are valid and `code` outlives the call; the result is checked for null.
        let raw =
            unsafe { sys::opus_encoder_create(MUSIC_RATE as i32, 1, sys::OPUS_APPLICATION_AUDIO, &mut code) };
        let raw = NonNull::new(raw).ok_or(failed(code))?;
        let mut encoder = MusicEncoder { raw, room: vec![0; LARGEST].into() };
        encoder.set(SET_FORCE_MODE_REQUEST, MODE_CELT_ONLY)?;
        encoder.set(sys::OPUS_SET_BANDWIDTH_REQUEST, sys::OPUS_BANDWIDTH_FULLBAND)?;
        encoder.set(sys::OPUS_SET_SIGNAL_REQUEST, sys::OPUS_SIGNAL_MUSIC)?;
        encoder.set(sys::OPUS_SET_COMPLEXITY_REQUEST, 10)?;
        encoder.set_bitrate(bitrate);
        Ok(encoder)
    }

    /// Changes the mean rate from the next packet on; kept within 32–128 kbit/s.
    pub fn set_bitrate(&mut self, bitrate: Bitrate) {
        let bps = bitrate.as_bps().clamp(32_000, 128_000) as c_int;
        let done = self.set(sys::OPUS_SET_BITRATE_REQUEST, bps);
        debug_assert!(done.is_ok(), "libopus refused {bps} bit/s");
    }

    /// How much later a sample comes out of the decoder than it went in here.
    pub fn lookahead(&self) -> Duration {
        let mut samples: i32 = 0;
        // SAFETY: the handle is valid, and this request writes one opus_int32.
        unsafe {
            let samples = &mut samples as *mut i32;
            sys::opus_encoder_ctl(self.raw.as_ptr(), sys::OPUS_GET_LOOKAHEAD_REQUEST, samples)
        };
        Duration::from_micros(samples.max(0) as u64 * 1_000_000 / u64::from(MUSIC_RATE))
    }

    /// Codes 20 ms ([`MUSIC_PACKET`]) into `out`, which is emptied first.
    ///
    /// # Errors
    /// `ApiMisuse` if `pcm` is not 20 ms; `Library` if libopus fails.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.clear();
        if pcm.len() != MUSIC_PACKET {
            return Err(CodecError::ApiMisuse("a packet of music holds 20 ms"));
        }
        // SAFETY: the handle is valid, `pcm` holds as many samples as said, `room` as many bytes.
        let written = unsafe {
            sys::opus_encode(
                self.raw.as_ptr(),
                pcm.as_ptr(),
                pcm.len() as c_int,
                self.room.as_mut_ptr(),
                self.room.len() as i32,
            )
        };
        let length = usize::try_from(written).map_err(|_| failed(written))?;
        out.extend_from_slice(&self.room[..length]);
        Ok(())
    }

    fn set(&mut self, request: c_int, value: c_int) -> Result<(), CodecError> {
        // SAFETY: the handle is valid, and every request used here takes one opus_int32.
        match unsafe { sys::opus_encoder_ctl(self.raw.as_ptr(), request, value) } {
            sys::OPUS_OK => Ok(()),
            code => Err(failed(code)),
        }
    }
}

impl Drop for MusicEncoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from opus_encoder_create and is dropped once.
        unsafe { sys::opus_encoder_destroy(self.raw.as_ptr()) }
    }
}

/// Turns Opus packets, or their absence, into 48 kHz mono music.
#[derive(Debug)]
pub struct MusicDecoder {
    raw: NonNull<sys::OpusDecoder>,
}

// SAFETY: as for the encoder.
unsafe impl Send for MusicDecoder {}

impl MusicDecoder {
    /// Prepares a decoder.
    ///
    /// # Errors
    /// `Library` if libopus cannot be set up so (no memory).
    pub fn new() -> Result<MusicDecoder, CodecError> {
        let mut code = 0;
        // SAFETY: the arguments are valid and `code` outlives the call; the result is checked for null.
        let raw = unsafe { sys::opus_decoder_create(MUSIC_RATE as i32, 1, &mut code) };
        Ok(MusicDecoder { raw: NonNull::new(raw).ok_or(failed(code))? })
    }

    /// Decodes a packet and appends its samples to `out`; says how many.
    ///
    /// # Errors
    /// `PeerMisbehaved` if it is no Opus packet: nothing is appended.
    pub fn decode(&mut self, packet: &[u8], out: &mut Vec<i16>) -> Result<usize, CodecError> {
        let refused = CodecError::PeerMisbehaved { codec: "opus", what: "a packet that does not decode" };
        match packet_samples(packet) {
            Some(samples) => self.run(Some(packet), samples * PER_SPEECH, out).ok_or(refused),
            None => Err(refused),
        }
    }

    /// Appends `samples` of plausible continuation where nothing arrived; says how many, which is `samples` rounded up
    /// to a multiple of 2.5 ms.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) -> usize {
        let samples = samples.next_multiple_of(QUANTUM);
        let whole = out.len() + samples;
        while out.len() < whole && self.run(None, (whole - out.len()).min(LONGEST), out).is_some() {}
        // Silence is the honest answer if even concealment fails: the playout clock must move on.
        out.resize(whole, 0);
        samples
    }

    fn run(&mut self, packet: Option<&[u8]>, samples: usize, out: &mut Vec<i16>) -> Option<usize> {
        let (data, len) = packet.map_or((ptr::null(), 0), |packet| (packet.as_ptr(), packet.len()));
        let before = out.len();
        out.resize(before + samples, 0);
        // SAFETY: the handle is valid, `data` holds `len` bytes (or is null with 0, which asks for concealment), and
        // `out` has room for `samples` past `before`.
        let decoded = unsafe {
            let pcm = out.as_mut_ptr().add(before);
            sys::opus_decode(self.raw.as_ptr(), data, len as i32, pcm, samples as c_int, 0)
        };
        let decoded = usize::try_from(decoded).ok().filter(|&decoded| decoded > 0);
        out.truncate(before + decoded.unwrap_or(0));
        decoded
    }
}

impl Drop for MusicDecoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from opus_decoder_create and is dropped once.
        unsafe { sys::opus_decoder_destroy(self.raw.as_ptr()) }
    }
}
