//! Speech to Opus packets and back: a thin safe wrapper over libopus 1.6.
//!
//! Why our own: no published wrapper reaches deep PLC, LACE/NoLACE and DRED at any offset, and all of them
//! matter most where the network is worst. Wire: RFC 6716 packets, RTP clock 48 kHz (RFC 7587), one
//! channel, wideband forced, because the decoder's enhancement networks sleep at narrower bandwidths.
//!
//! What is fixed, and why (mean PESQ-WB of six clean clips, 20 ms packets; `examples/roundtrip.rs` makes the
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
//! Application AUDIO is chosen for want of the high-pass, which [`crate::echo`] has for microphones anyway;
//! the signal type keeps it in SILK. Variable rate costs no quality against constant and saves 2 %;
//! complexity above 8 changes nothing in SILK. Longer packets gain little (60 ms: +0.02).
//!
//! The same input gives the same bytes on one machine. Between x86-64 machines with and without AVX2 the
//! enhanced output differs in its last bits, because libopus chooses its arithmetic when it starts; plain
//! decoding does not. Building `opusic-sys` with `no-runtime-feature-detection` makes both equal, for 1.6
//! times the work of a coded and enhanced packet.
//!
//! Not here: when a packet is sent or played; RED (`transport`); which protection to use (`engine::adapt`).

#![allow(unsafe_code)] // The C library's calls; each block says why it is sound.

use crate::{CodecError, SAMPLE_RATE};
use opusic_sys as sys;
use std::ffi::c_int;
use std::ptr::{self, NonNull};
use std::time::Duration;
use undertone_media::Bitrate;

/// Samples in 2.5 ms: libopus conceals and recovers in multiples of it.
pub const QUANTUM: usize = SAMPLE_RATE as usize / 400;

/// Samples in the longest packet, 120 ms.
const LONGEST: usize = SAMPLE_RATE as usize * 120 / 1000;

/// The largest packet that RFC 6716 §3.4 allows for 120 ms: six frames of 1275 bytes and their lengths.
const LARGEST: usize = 6 * 1275 + 7;

/// How an [`Encoder`] codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// The mean rate of the packets' payload. Default 22 kbit/s: PESQ-WB 4.46 with LACE.
    pub bitrate: Bitrate,
    /// How hard it works, 0–10. Default 9.
    pub complexity: u8,
    /// Repeat important frames at low rate in the next packet (in-band FEC, RFC 6716 §2.1.7). Costs quality
    /// at no loss, so it should follow the loss. Default off.
    pub lbrr: bool,
    /// The loss that LBRR and DRED are scaled to, in percent. Default 0.
    pub expected_loss_percent: u8,
    /// Send next to nothing while the speaker is silent. Default off.
    pub dtx: bool,
    /// How much of the past each packet repeats as deep redundancy; zero turns it off. libopus takes at most
    /// about one second, and finds room for it only at expected loss above zero. Default zero.
    pub dred: Duration,
}

impl Default for EncoderConfig {
    fn default() -> EncoderConfig {
        EncoderConfig {
            bitrate: Bitrate::from_kbps(22),
            complexity: 9,
            lbrr: false,
            expected_loss_percent: 0,
            dtx: false,
            dred: Duration::ZERO,
        }
    }
}

/// Turns 16 kHz mono speech into Opus packets.
#[derive(Debug)]
pub struct Encoder {
    raw: NonNull<sys::OpusEncoder>,
    /// Room for the largest packet, so that the caller's needs no more than the packet itself.
    room: Box<[u8]>,
}

// SAFETY: the state is plain memory that only this handle points to; libopus keeps no thread-local data.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Prepares an encoder.
    ///
    /// # Errors
    /// `Library` if libopus cannot be set up so (no memory).
    pub fn new(config: &EncoderConfig) -> Result<Encoder, CodecError> {
        let mut code = 0;
        let application = sys::OPUS_APPLICATION_AUDIO; // VOIP but for its high-pass: see above
        // SAFETY: the arguments are valid and `code` outlives the call; the result is checked for null.
        let raw = unsafe { sys::opus_encoder_create(SAMPLE_RATE as i32, 1, application, &mut code) };
        let raw = NonNull::new(raw).ok_or(failed(code))?;
        let mut encoder = Encoder { raw, room: vec![0; LARGEST].into() };
        encoder.set(sys::OPUS_SET_MAX_BANDWIDTH_REQUEST, sys::OPUS_BANDWIDTH_WIDEBAND)?;
        encoder.set(sys::OPUS_SET_BANDWIDTH_REQUEST, sys::OPUS_BANDWIDTH_WIDEBAND)?;
        encoder.set(sys::OPUS_SET_SIGNAL_REQUEST, sys::OPUS_SIGNAL_VOICE)?;
        encoder.set(sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(config.complexity.min(10)))?;
        encoder.set_bitrate(config.bitrate);
        encoder.set_lbrr(config.lbrr);
        encoder.set_expected_loss(config.expected_loss_percent);
        encoder.set_dtx(config.dtx);
        encoder.set_dred(config.dred);
        Ok(encoder)
    }

    /// Changes the mean rate from the next packet on; kept within what speech can use, 6–128 kbit/s.
    pub fn set_bitrate(&mut self, bitrate: Bitrate) {
        let bps = bitrate.as_bps().clamp(6_000, 128_000) as c_int;
        self.set_known(sys::OPUS_SET_BITRATE_REQUEST, bps);
    }

    /// Turns low-rate copies of earlier frames on or off.
    pub fn set_lbrr(&mut self, on: bool) {
        self.set_known(sys::OPUS_SET_INBAND_FEC_REQUEST, c_int::from(on));
    }

    /// Tells how much loss to arm against, in percent.
    pub fn set_expected_loss(&mut self, percent: u8) {
        self.set_known(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(percent.min(100)));
    }

    /// Turns discontinuous transmission on or off.
    pub fn set_dtx(&mut self, on: bool) {
        self.set_known(sys::OPUS_SET_DTX_REQUEST, c_int::from(on));
    }

    /// Sets how much of the past each packet repeats as deep redundancy.
    pub fn set_dred(&mut self, span: Duration) {
        let frames = (span.as_millis() / 10).min(104) as c_int; // DRED_MAX_FRAMES of libopus
        self.set_known(sys::OPUS_SET_DRED_DURATION_REQUEST, frames);
    }

    /// How much later a sample comes out of the decoder than it went in here.
    pub fn lookahead(&self) -> Duration {
        let mut samples: i32 = 0;
        // SAFETY: the handle is valid, and this request writes one opus_int32.
        unsafe {
            sys::opus_encoder_ctl(
                self.raw.as_ptr(),
                sys::OPUS_GET_LOOKAHEAD_REQUEST,
                &mut samples as *mut i32,
            )
        };
        Duration::from_micros(samples.max(0) as u64 * 1_000_000 / u64::from(SAMPLE_RATE))
    }

    /// Codes 20, 40, 60, 80, 100 or 120 ms into `out`, which is emptied first. A result of two bytes or less
    /// is discontinuous transmission: there is nothing to send.
    ///
    /// # Errors
    /// `ApiMisuse` if `pcm` is not such a length; `Library` if libopus fails.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.clear();
        if pcm.is_empty() || pcm.len() > LONGEST || !pcm.len().is_multiple_of(8 * QUANTUM) {
            return Err(CodecError::ApiMisuse("an Opus packet holds 20 to 120 ms in steps of 20 ms"));
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
        let packet = usize::try_from(written).map_err(|_| failed(written))?;
        out.extend_from_slice(&self.room[..packet]);
        Ok(())
    }

    fn set(&mut self, request: c_int, value: c_int) -> Result<(), CodecError> {
        // SAFETY: the handle is valid, and every request used here takes one opus_int32.
        match unsafe { sys::opus_encoder_ctl(self.raw.as_ptr(), request, value) } {
            sys::OPUS_OK => Ok(()),
            code => Err(failed(code)),
        }
    }

    /// For values that are clamped into range before: libopus refuses nothing else.
    fn set_known(&mut self, request: c_int, value: c_int) {
        let done = self.set(request, value);
        debug_assert!(done.is_ok(), "libopus refused {request} = {value}");
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from opus_encoder_create and is dropped once.
        unsafe { sys::opus_encoder_destroy(self.raw.as_ptr()) }
    }
}

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
        let mut decoder = Decoder { raw: NonNull::new(raw).ok_or(failed(code))?, dred, span: None };
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

/// True if libopus can make up so many samples at once.
fn fits(samples: usize) -> bool {
    samples > 0 && samples <= LONGEST && samples.is_multiple_of(QUANTUM)
}

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
