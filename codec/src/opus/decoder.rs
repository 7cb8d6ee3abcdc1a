//! Packets, or their absence, to speech.

use super::{LONGEST, QUANTUM, failed, has_lbrr, packet_samples};
use crate::{CodecError, SAMPLE_RATE};
use opusic_sys as sys;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::time::Duration;

/// How much the decoder does to make low rates sound better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// What the packet says, and no more; losses are still concealed by the deep network.
    Plain,
    /// The small enhancement network: nearly all of the gain for 40 % of NoLACE's time.
    #[default]
    Lace,
    /// The large one.
    NoLace,
}

/// How a [`Decoder`] decodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderConfig {
    /// The enhancement of low-rate speech. Default LACE.
    pub level: Level,
}

/// How much of the past a packet's deep redundancy covers, in samples before the packet's own first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DredSpan {
    /// The furthest sample that it covers.
    pub reach: usize,
    /// Between this and the packet it covers nothing, because the speaker was silent; often 0.
    pub end: usize,
}

impl DredSpan {
    /// How far back it reaches.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.reach as u64 * 1_000_000 / u64::from(SAMPLE_RATE))
    }
}

/// Turns Opus packets, or their absence, into 16 kHz mono speech.
#[derive(Debug)]
pub struct Decoder {
    raw: NonNull<sys::OpusDecoder>,
    dred: Dred,
    /// What the redundancy last parsed covers.
    span: Option<DredSpan>,
    /// The state at the last [`Decoder::remember`].
    remembered: Box<[MaybeUninit<u8>]>,
}

// SAFETY: as for the encoder.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Prepares a decoder.
    ///
    /// # Errors
    /// `Library` if libopus cannot be set up so (no memory).
    pub fn new(config: DecoderConfig) -> Result<Decoder, CodecError> {
        let dred = Dred::new()?;
        let mut code = 0;
        // SAFETY: the arguments are valid and `code` outlives the call; the result is checked for null.
        let raw = unsafe { sys::opus_decoder_create(SAMPLE_RATE as i32, 1, &mut code) };
        let raw = NonNull::new(raw).ok_or(failed(code))?;
        // SAFETY: takes and gives plain numbers.
        let size = unsafe { sys::opus_decoder_get_size(1) };
        let remembered = vec![MaybeUninit::uninit(); usize::try_from(size).unwrap_or(0)].into();
        let mut decoder = Decoder { raw, dred, span: None, remembered };
        decoder.remember();
        decoder.set_level(config.level);
        Ok(decoder)
    }

    /// Changes the enhancement from the next packet on.
    pub fn set_level(&mut self, level: Level) {
        // libopus chooses by complexity: 5 brings deep PLC, 6 LACE, 7 NoLACE.
        let complexity: c_int = match level {
            Level::Plain => 5,
            Level::Lace => 6,
            Level::NoLace => 7,
        };
        // SAFETY: the handle is valid, and this request takes one opus_int32.
        let code =
            unsafe { sys::opus_decoder_ctl(self.raw.as_ptr(), sys::OPUS_SET_COMPLEXITY_REQUEST, complexity) };
        debug_assert_eq!(code, sys::OPUS_OK);
    }

    /// Decodes a packet and appends its samples to `out`; says how many.
    ///
    /// # Errors
    /// `PeerMisbehaved` if it is no Opus packet: nothing is appended and the state is kept.
    pub fn decode(&mut self, packet: &[u8], out: &mut Vec<i16>) -> Result<usize, CodecError> {
        let samples = packet_samples(packet)
            .ok_or(CodecError::PeerMisbehaved { codec: "opus", what: "a packet that is not RFC 6716" })?;
        match self.run(Some(packet), samples, false, out) {
            Ok(decoded) => Ok(decoded),
            Err(_) => {
                Err(CodecError::PeerMisbehaved { codec: "opus", what: "a packet that does not decode" })
            }
        }
    }

    /// Appends `samples` of plausible continuation where nothing arrived; says how many, which is `samples`
    /// rounded up to a multiple of 2.5 ms ([`QUANTUM`]).
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) -> usize {
        let samples = samples.next_multiple_of(QUANTUM);
        let whole = out.len() + samples;
        while out.len() < whole {
            let part = (whole - out.len()).min(LONGEST); // libopus keeps a part on the stack
            if !matches!(self.run(None, part, false, out), Ok(1..)) {
                break;
            }
        }
        // Silence is the honest answer if even concealment fails: the playout clock must move on.
        out.resize(whole, 0);
        samples
    }

    /// Remembers the state for [`Decoder::rewind`].
    ///
    /// Why: concealment moves the state on as if a packet had been lost. Where packets are only late, the next one
    /// decodes as it was coded if the state goes back to where the last one left it.
    pub fn remember(&mut self) {
        // SAFETY: the state is `remembered.len()` bytes, all in one block that is "position independent and can be
        // freely copied" (opus.h); the two do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(
                self.raw.as_ptr().cast::<MaybeUninit<u8>>(),
                self.remembered.as_mut_ptr(),
                self.remembered.len(),
            )
        }
    }

    /// Goes back to the state last remembered, at first that of a new decoder. May be called again and again.
    pub fn rewind(&mut self) {
        // SAFETY: as above; `remembered` was filled when the decoder was made.
        unsafe {
            ptr::copy_nonoverlapping(
                self.remembered.as_ptr(),
                self.raw.as_ptr().cast::<MaybeUninit<u8>>(),
                self.remembered.len(),
            )
        }
    }

    /// Appends the `samples` before `next_packet` from the low-rate copy that it carries, with what lies
    /// before that copy's reach concealed. False, and nothing appended, if it carries none, or if `samples` is
    /// no multiple of 2.5 ms up to 120 ms.
    pub fn recover_lbrr(&mut self, next_packet: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        has_lbrr(next_packet) && fits(samples) && self.run(Some(next_packet), samples, true, out).is_ok()
    }

    /// Reads a packet's deep redundancy, for [`Decoder::recover_dred`]; `None` if it carries none. The
    /// audio state is not touched.
    pub fn parse_dred(&mut self, packet: &[u8]) -> Option<DredSpan> {
        self.span = None;
        packet_samples(packet)?;
        self.span = self.dred.parse(packet);
        self.span
    }

    /// Appends `samples` that begin `offset` samples before the packet last given to
    /// [`Decoder::parse_dred`]. False, and nothing appended, if its redundancy does not reach there, or if
    /// `samples` is no multiple of 2.5 ms up to 120 ms.
    pub fn recover_dred(&mut self, offset: usize, samples: usize, out: &mut Vec<i16>) -> bool {
        let Some(span) = self.span else { return false };
        if !fits(samples) || samples > offset || offset > span.reach {
            return false;
        }
        let before = out.len();
        out.resize(before + samples, 0);
        // SAFETY: both handles are valid, the redundancy was processed by `parse`, and `out` has room for
        // `samples` past `before`.
        let decoded = unsafe {
            sys::opus_decoder_dred_decode(
                self.raw.as_ptr(),
                self.dred.state.as_ptr(),
                offset as i32,
                out.as_mut_ptr().add(before),
                samples as i32,
            )
        };
        let whole = usize::try_from(decoded) == Ok(samples);
        if !whole {
            out.truncate(before);
        }
        whole
    }

    fn run(
        &mut self,
        packet: Option<&[u8]>,
        samples: usize,
        fec: bool,
        out: &mut Vec<i16>,
    ) -> Result<usize, CodecError> {
        let (data, len) = packet.map_or((ptr::null(), 0), |packet| (packet.as_ptr(), packet.len()));
        let before = out.len();
        out.resize(before + samples, 0);
        // SAFETY: the handle is valid, `data` holds `len` bytes (or is null with 0, which asks for
        // concealment), and `out` has room for `samples` past `before`.
        let decoded = unsafe {
            sys::opus_decode(
                self.raw.as_ptr(),
                data,
                len as i32,
                out.as_mut_ptr().add(before),
                samples as c_int,
                c_int::from(fec),
            )
        };
        out.truncate(before + usize::try_from(decoded).unwrap_or(0));
        usize::try_from(decoded).map_err(|_| failed(decoded))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from opus_decoder_create and is dropped once.
        unsafe { sys::opus_decoder_destroy(self.raw.as_ptr()) }
    }
}

/// The network that reads deep redundancy, and what it last read.
#[derive(Debug)]
struct Dred {
    network: NonNull<sys::OpusDREDDecoder>,
    state: NonNull<sys::OpusDRED>,
}

impl Dred {
    fn new() -> Result<Dred, CodecError> {
        let mut code = 0;
        // SAFETY: `code` outlives the call; the result is checked for null.
        let network =
            NonNull::new(unsafe { sys::opus_dred_decoder_create(&mut code) }).ok_or(failed(code))?;
        // SAFETY: as above.
        match NonNull::new(unsafe { sys::opus_dred_alloc(&mut code) }) {
            Some(state) => Ok(Dred { network, state }),
            None => {
                // SAFETY: made above, used by nobody else.
                unsafe { sys::opus_dred_decoder_destroy(network.as_ptr()) };
                Err(failed(code))
            }
        }
    }

    fn parse(&mut self, packet: &[u8]) -> Option<DredSpan> {
        let mut end: c_int = 0;
        // SAFETY: both handles are valid, `packet` holds as many bytes as said, `end` outlives the call.
        let reach = unsafe {
            sys::opus_dred_parse(
                self.network.as_ptr(),
                self.state.as_ptr(),
                packet.as_ptr(),
                packet.len() as i32,
                SAMPLE_RATE as i32,
                SAMPLE_RATE as i32,
                &mut end,
                0,
            )
        };
        let (reach, end) = (usize::try_from(reach).ok()?, usize::try_from(end).ok()?);
        (reach > end).then_some(DredSpan { reach, end })
    }
}

impl Drop for Dred {
    fn drop(&mut self) {
        // SAFETY: both came from their create functions and are dropped once.
        unsafe {
            sys::opus_dred_free(self.state.as_ptr());
            sys::opus_dred_decoder_destroy(self.network.as_ptr());
        }
    }
}

/// True if libopus can make up so many samples at once.
fn fits(samples: usize) -> bool {
    samples > 0 && samples <= LONGEST && samples.is_multiple_of(QUANTUM)
}
