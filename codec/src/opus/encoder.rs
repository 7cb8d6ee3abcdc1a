//! Sound to packets.

use super::redundancy::{Redundancy, Redundant};
use super::thin::{self, Account, HighPass, RUMBLE_BELOW};
use super::{LARGEST, MODE_CELT_ONLY, MODE_SILK_ONLY, SET_FORCE_MODE_REQUEST, failed};
use crate::CodecError;
use opusic_sys as sys;
use std::ffi::c_int;
use std::ops::RangeInclusive;
use std::ptr::NonNull;
use std::time::Duration;
use undertone_media::{Bitrate, SampleRate, Sound};

/// Bytes a second. Where frames are bound to less than 8 kbit/s, libopus leaves wideband, and the frames of one packet may
/// differ in that.
const LEAST_BOUND: usize = 8_500 / 8;

/// How an [`Encoder`] codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Samples a second of what is coded. Default 16 kHz.
    pub rate: SampleRate,
    /// What it is taken for. Default speech.
    pub sound: Sound,
    /// The mean rate of the packets' payload. Default 22 kbit/s: PESQ-WB 4.46 with LACE.
    pub bitrate: Bitrate,
    /// How hard it works, 0–10. Default 9.
    pub complexity: u8,
    /// Repeat important frames at low rate in the next packet (in-band FEC, RFC 6716 §2.1.7), armed against so many
    /// percent lost. Costs quality at no loss, so it should follow the loss. Default off.
    pub lbrr: Option<u8>,
    /// Send next to nothing while the speaker is silent. Default off.
    pub dtx: bool,
    /// Code narrowband where the rate is so low that more is understood so. Neither deep PLC nor deep redundancy makes up
    /// what is lost of it, so it is for where hardly anything is. Default on.
    pub narrowband: bool,
    /// Watch the speech beside coding it, so that [`Encoder::dress`] has something to say of the past. Default off.
    pub redundancy: bool,
}

impl Default for EncoderConfig {
    fn default() -> EncoderConfig {
        EncoderConfig {
            rate: SampleRate::default(),
            sound: Sound::default(),
            bitrate: Bitrate::from_kbps(22),
            complexity: 9,
            lbrr: None,
            dtx: false,
            narrowband: true,
            redundancy: false,
        }
    }
}

/// Turns mono sound into Opus packets.
#[derive(Debug)]
pub struct Encoder {
    raw: NonNull<sys::OpusEncoder>,
    joiner: NonNull<sys::OpusRepacketizer>,
    rate: SampleRate,
    sound: Sound,
    /// Room for the largest packet, so that the caller's needs no more than the packet itself.
    room: Box<[u8]>,
    /// No packet is larger than this many bytes.
    most: usize,
    redundant: Option<Redundant>,
    account: Account,
    high_pass: HighPass,
    dtx: bool,
    narrowband: bool,
    /// The bandwidth in force is narrow; `None` before the first frame.
    narrow: Option<bool>,
}

/// What sound can use, in bit/s.
const RATES: RangeInclusive<u64> = 6_000..=128_000;

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
        let raw = unsafe { sys::opus_encoder_create(config.rate.hz() as i32, 1, application, &mut code) };
        let raw = NonNull::new(raw).ok_or(failed(code))?;
        // SAFETY: no arguments; the result is checked for null.
        let Some(joiner) = NonNull::new(unsafe { sys::opus_repacketizer_create() }) else {
            // SAFETY: made above, used by nobody else.
            unsafe { sys::opus_encoder_destroy(raw.as_ptr()) };
            return Err(failed(sys::OPUS_ALLOC_FAIL));
        };
        let redundant = config.redundancy.then(|| Redundant::new(config.rate));
        let mut encoder = Encoder {
            raw,
            joiner,
            rate: config.rate,
            sound: config.sound,
            room: vec![0; LARGEST].into(),
            most: LARGEST,
            redundant,
            account: Account::new(useful(config.bitrate)),
            high_pass: HighPass::new(config.rate, config.bitrate < RUMBLE_BELOW),
            dtx: config.dtx,
            narrowband: config.narrowband,
            narrow: None,
        };
        encoder.set(sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(config.complexity.min(10)))?;
        encoder.take_for(config.sound);
        encoder.set_lbrr(config.lbrr);
        Ok(encoder)
    }

    /// What is coded from the next packet on. libopus goes over without a seam: the first packet still holds both.
    pub fn set_sound(&mut self, sound: Sound) {
        if sound != self.sound {
            self.sound = sound;
            self.take_for(sound);
        }
    }

    fn take_for(&mut self, sound: Sound) {
        let (mode, bandwidth, signal) = match sound {
            Sound::Speech => (MODE_SILK_ONLY, sys::OPUS_BANDWIDTH_WIDEBAND, sys::OPUS_SIGNAL_VOICE),
            Sound::Music => (MODE_CELT_ONLY, sys::OPUS_BANDWIDTH_FULLBAND, sys::OPUS_SIGNAL_MUSIC),
        };
        self.set_known(SET_FORCE_MODE_REQUEST, mode);
        self.set_known(sys::OPUS_SET_MAX_BANDWIDTH_REQUEST, bandwidth);
        self.set_known(sys::OPUS_SET_SIGNAL_REQUEST, signal);
        if sound == Sound::Music {
            self.set_known(sys::OPUS_SET_BANDWIDTH_REQUEST, bandwidth);
        }
        // Speech chooses its own, frame by frame.
        self.narrow = None;
        self.set_dtx(self.dtx);
    }

    /// Changes the mean rate from the next packet on; kept within what can be used, 6–128 kbit/s.
    pub fn set_bitrate(&mut self, bitrate: Bitrate) {
        self.account.set(useful(bitrate));
    }

    /// Allows narrowband where it is better, or wants wideband at once, with a seam, because it would be lost.
    pub fn set_narrowband(&mut self, allowed: bool) {
        self.narrowband = allowed;
        if !allowed && self.narrow == Some(true) {
            // libopus would go over smoothly, which takes it seconds.
            self.start_anew();
        }
    }

    /// Forgets what was coded: the next frame stands alone, at the bandwidth of the moment.
    fn start_anew(&mut self) {
        self.narrow = None;
        // SAFETY: the handle is valid, and this request takes nothing.
        let code = unsafe { sys::opus_encoder_ctl(self.raw.as_ptr(), sys::OPUS_RESET_STATE) };
        debug_assert_eq!(code, sys::OPUS_OK);
    }

    /// Bounds the packets to come to so many bytes, or lifts the bound: on a thin path a large one holds up all that
    /// follow. They may still take 8.5 kbit/s.
    pub fn set_largest(&mut self, bytes: Option<usize>) {
        self.most = bytes.unwrap_or(LARGEST);
    }

    /// Turns low-rate copies of earlier frames on, armed against so many percent lost, or off.
    pub fn set_lbrr(&mut self, against: Option<u8>) {
        self.set_known(sys::OPUS_SET_INBAND_FEC_REQUEST, c_int::from(against.is_some()));
        // Without copies too the codec would depend less on what may be lost, and spend bits on that.
        self.set_known(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(against.unwrap_or(0).min(100)));
    }

    /// Turns discontinuous transmission on or off. Music is never silent: what is quiet in it is a part of it.
    pub fn set_dtx(&mut self, on: bool) {
        self.dtx = on;
        self.set_known(sys::OPUS_SET_DTX_REQUEST, c_int::from(on && self.sound == Sound::Speech));
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
        self.rate.duration(samples.max(0) as usize)
    }

    /// Codes 20, 40, 60, 80, 100 or 120 ms into `out`, which is emptied first. A result of two bytes or less
    /// is discontinuous transmission: there is nothing to send.
    ///
    /// # Errors
    /// `ApiMisuse` if `pcm` is not such a length; `Library` if libopus fails.
    pub fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.clear();
        // 20 ms.
        let shortest = 2 * self.rate.frame();
        if pcm.is_empty() || pcm.len() > 6 * shortest || !pcm.len().is_multiple_of(shortest) {
            return Err(CodecError::ApiMisuse("an Opus packet holds 20 to 120 ms in steps of 20 ms"));
        }
        if let Some(redundant) = &mut self.redundant {
            redundant.push(pcm);
        }
        // Above 60 ms a packet holds several Opus frames, all of one duration. They are coded one by one and joined
        // here: libopus would hold each to the mean rate, and leave out every frame that does not fit, which a
        // low-rate copy in it makes likely.
        let frame = match pcm.len() / shortest {
            4 => pcm.len() / 2,
            5 => pcm.len() / 5,
            6 => pcm.len() / 2,
            _ => {
                let length = self.encode_frame(pcm, 0, self.most)?;
                out.extend_from_slice(&self.room[..length]);
                return Ok(());
            }
        };
        if let Some(used) = self.encode_alike(pcm, frame)? {
            return self.join(used, out);
        }
        // libopus went over to another bandwidth between them. Started anew, it goes over at once.
        self.start_anew();
        let used = self.encode_alike(pcm, frame)?;
        self.join(used.ok_or(failed(sys::OPUS_INVALID_PACKET))?, out)
    }

    /// Codes frames one after the other into `room`; says their length. `None` if they differ in kind, so that no packet
    /// can hold them.
    fn encode_alike(&mut self, pcm: &[i16], frame: usize) -> Result<Option<usize>, CodecError> {
        // SAFETY: the handle is valid.
        unsafe { sys::opus_repacketizer_init(self.joiner.as_ptr()) };
        let mut used = 0;
        for (index, part) in pcm.chunks_exact(frame).enumerate() {
            let left = (pcm.len() / frame - index).max(1);
            let length = self.encode_frame(part, used, self.most.saturating_sub(used) / left)?;
            // SAFETY: the handle is valid, and `room` keeps these bytes as they are until the parts are joined.
            let code = unsafe {
                let data = self.room.as_ptr().add(used);
                sys::opus_repacketizer_cat(self.joiner.as_ptr(), data, length as i32)
            };
            if code != sys::OPUS_OK {
                return Ok(None);
            }
            used += length;
        }
        Ok(Some(used))
    }

    /// Makes one packet of the frames just coded, `used` bytes of `room`.
    fn join(&mut self, used: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        // Each frame brought a byte of header of its own; joined, it needs at most two for its length.
        out.resize(2 * used + 2, 0);
        // SAFETY: the handle is valid, the frames that it points to are in `room`, `out` has as many bytes as said.
        let written =
            unsafe { sys::opus_repacketizer_out(self.joiner.as_ptr(), out.as_mut_ptr(), out.len() as i32) };
        out.truncate(usize::try_from(written).unwrap_or(0));
        if written < 0 { Err(failed(written)) } else { Ok(()) }
    }

    /// Codes one Opus frame of at most `most` bytes into `room` from `at` on; says its length.
    fn encode_frame(&mut self, pcm: &[i16], at: usize, most: usize) -> Result<usize, CodecError> {
        let rate = self.account.rate();
        // As it would be at 16 kHz.
        let samples = pcm.len() / self.rate.per_wide();
        if self.sound == Sound::Speech {
            self.choose_bandwidth(rate, samples);
        }
        self.set_known(sys::OPUS_SET_BITRATE_REQUEST, self.account.ask() as c_int);
        let pcm = self.high_pass.run(pcm, rate < RUMBLE_BELOW);
        let room = &mut self.room[at..];
        let least = pcm.len() * LEAST_BOUND / self.rate.hz() as usize;
        let most = most.max(least).min(room.len());
        // SAFETY: the handle is valid, `pcm` holds as many samples as said, `room` as many bytes.
        let written = unsafe {
            sys::opus_encode(
                self.raw.as_ptr(),
                pcm.as_ptr(),
                pcm.len() as c_int,
                room.as_mut_ptr(),
                most as i32,
            )
        };
        let written = usize::try_from(written).map_err(|_| failed(written))?;
        self.account.book(samples, written);
        Ok(written)
    }

    fn choose_bandwidth(&mut self, rate: Bitrate, samples: usize) {
        let narrow = self.narrowband && thin::narrow(rate, samples, self.narrow == Some(true));
        if self.narrow != Some(narrow) {
            self.narrow = Some(narrow);
            let bandwidth =
                if narrow { sys::OPUS_BANDWIDTH_NARROWBAND } else { sys::OPUS_BANDWIDTH_WIDEBAND };
            self.set_known(sys::OPUS_SET_BANDWIDTH_REQUEST, bandwidth);
        }
    }

    /// Writes the packet just coded into `out` with deep redundancy in its padding, which decoders without it skip. False,
    /// and `out` untouched, if the encoder was not made for it, or if the past that it should tell was silence.
    pub fn dress(&mut self, wanted: Redundancy, packet: &[u8], out: &mut Vec<u8>) -> bool {
        self.redundant.as_mut().is_some_and(|redundant| redundant.dress(wanted, packet, out))
    }

    /// True while libopus has kept to the memory that it was given for the redundancy. Its size is not told by the
    /// library, so a test asks.
    #[doc(hidden)]
    pub fn is_within_bounds(&self) -> bool {
        self.redundant.as_ref().is_none_or(Redundant::is_within_bounds)
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

fn useful(bitrate: Bitrate) -> Bitrate {
    Bitrate::from_bps(bitrate.as_bps().clamp(*RATES.start(), *RATES.end()))
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from opus_encoder_create and is dropped once.
        unsafe { sys::opus_encoder_destroy(self.raw.as_ptr()) }
        // SAFETY: as above, from opus_repacketizer_create.
        unsafe { sys::opus_repacketizer_destroy(self.joiner.as_ptr()) }
    }
}
