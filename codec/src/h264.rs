//! Pictures to H.264 and back: a thin safe wrapper over OpenH264's raw interface.
//!
//! Why raw: the published safe interface cannot change the rate of a running encoder. Wire: Annex B byte
//! streams, constrained baseline profile (no B-frames, no CABAC), one slice a picture, which is what
//! RFC 6184 with `profile-level-id=42e0xx` promises. One thread and a fixed search, so that the same
//! pictures give the same bytes.
//!
//! There is no periodic key frame: a receiver that needs one asks (PLI). Error concealment is off: a picture
//! whose reference is missing is refused rather than guessed, and the decoder waits for a key frame.
//!
//! Not here: splitting into packets (`transport::payload::h264`), choosing the rate (`engine::adapt`).

#![allow(unsafe_code)] // The C++ library's virtual calls; each block says why it is sound.

use crate::CodecError;
use openh264_sys2 as sys;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use undertone_media::{Bitrate, Timestamp, VideoFrame};

/// A virtual function of an OpenH264 object. All are set by the library's constructors.
macro_rules! method {
    ($raw:expr, $name:ident) => {
        (**$raw).$name.expect("OpenH264's tables are complete")
    };
}

/// The longest side of a picture that OpenH264 codes.
const MAX_SIDE: usize = 3840;

/// The most pixels of a picture that OpenH264 codes (level 5.2).
const MAX_PIXELS: usize = 3840 * 2160;

/// How an [`Encoder`] codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Luma width in pixels; even, 16–3840. Default 640.
    pub width: usize,
    /// Luma height in pixels; even, 16–3840. Default 360.
    pub height: usize,
    /// Pictures a second at most, 1–60. Default 30.
    pub fps: u32,
    /// The mean rate to aim for. Default 500 kbit/s.
    pub bitrate: Bitrate,
    /// May leave pictures out to keep the rate when even the coarsest would overshoot. Default yes: on a
    /// weak link late pictures are worse than fewer.
    pub skip_frames: bool,
    /// 1 to 3: how many layers of pictures there are, each of which doubles how often they come. No picture needs one of a
    /// higher layer, and nothing needs one of the highest of several. Three cost a seventh of the bits. Default 1.
    pub temporal_layers: u8,
}

impl Default for EncoderConfig {
    fn default() -> EncoderConfig {
        EncoderConfig {
            width: 640,
            height: 360,
            fps: 30,
            bitrate: Bitrate::from_kbps(500),
            skip_frames: true,
            temporal_layers: 1,
        }
    }
}

/// One coded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coded {
    /// NAL units in Annex B form; a key frame begins with SPS and PPS.
    pub data: Vec<u8>,
    /// A receiver can start here.
    pub key: bool,
    /// Its temporal layer, 0 is the lowest.
    pub temporal: u8,
}

/// Turns pictures of one size into H.264.
#[derive(Debug)]
pub struct Encoder {
    raw: NonNull<sys::ISVCEncoder>,
    config: EncoderConfig,
    /// The library wants one buffer of its report per call: kept, because it is large.
    report: Box<sys::SFrameBSInfo>,
}

// SAFETY: the object is used through this handle only, and with one thread it holds no thread-local data.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Prepares an encoder.
    ///
    /// # Errors
    /// `ApiMisuse` if the size, the frame rate or the number of layers is out of range; `Library` if OpenH264 cannot be set up.
    pub fn new(config: EncoderConfig) -> Result<Encoder, CodecError> {
        let EncoderConfig { width, height, fps, .. } = config;
        let fits = |side: usize| (16..=MAX_SIDE).contains(&side) && side.is_multiple_of(2);
        if !fits(width) || !fits(height) || width * height > MAX_PIXELS {
            return Err(CodecError::ApiMisuse("H.264 wants even sides from 16 to 3840, at most 3840×2160"));
        }
        if !(1..=60).contains(&fps) {
            return Err(CodecError::ApiMisuse("H.264 wants 1 to 60 pictures a second"));
        }
        if !(1..=3).contains(&config.temporal_layers) {
            return Err(CodecError::ApiMisuse("H.264 is coded in 1 to 3 temporal layers"));
        }
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` outlives the call and is checked.
        let code = unsafe { sys::source::APILoader::WelsCreateSVCEncoder(&mut raw) };
        let raw = NonNull::new(raw).ok_or(failed(code))?;
        let mut encoder = Encoder { raw, config, report: Box::default() };
        encoder.initialise()?;
        Ok(encoder)
    }

    fn initialise(&mut self) -> Result<(), CodecError> {
        self.set_option(sys::ENCODER_OPTION_TRACE_LEVEL, &mut sys::WELS_LOG_QUIET.clone())?;
        let bps = bps(self.config.bitrate);
        let fps = self.config.fps as f32;
        let mut params = sys::SEncParamExt::default();
        let raw = self.raw.as_ptr();
        // SAFETY: the object is valid and `params` outlives the call.
        check(unsafe { method!(raw, GetDefaultParams)(raw, &mut params) })?;
        params.iUsageType = sys::CAMERA_VIDEO_REAL_TIME;
        params.iPicWidth = self.config.width as c_int;
        params.iPicHeight = self.config.height as c_int;
        params.iRCMode = sys::RC_BITRATE_MODE;
        params.iTargetBitrate = bps;
        params.iMaxBitrate = sys::UNSPECIFIED_BIT_RATE as c_int;
        params.fMaxFrameRate = fps;
        params.bEnableFrameSkip = self.config.skip_frames;
        params.iComplexityMode = sys::LOW_COMPLEXITY;
        params.uiIntraPeriod = 0; // key frames on demand only
        params.eSpsPpsIdStrategy = sys::CONSTANT_ID;
        params.iEntropyCodingModeFlag = 0; // CAVLC: baseline
        params.iMultipleThreadIdc = 1;
        params.bEnableSceneChangeDetect = false; // an IDR nobody asked for bursts the link
        params.bEnableDenoise = false;
        params.bEnableLongTermReference = false;
        params.iTemporalLayerNum = c_int::from(self.config.temporal_layers);
        params.iSpatialLayerNum = 1;
        let layer = &mut params.sSpatialLayers[0];
        layer.iVideoWidth = self.config.width as c_int;
        layer.iVideoHeight = self.config.height as c_int;
        layer.fFrameRate = fps;
        layer.iSpatialBitrate = bps;
        layer.iMaxSpatialBitrate = sys::UNSPECIFIED_BIT_RATE as c_int;
        layer.uiProfileIdc = sys::PRO_BASELINE;
        layer.sSliceArgument.uiSliceMode = sys::SM_SINGLE_SLICE;
        layer.sSliceArgument.uiSliceNum = 1;
        // SAFETY: the object is valid and `params` outlives the call.
        check(unsafe { method!(raw, InitializeExt)(raw, &params) })
    }

    /// Changes the mean rate from the next picture on, without a key frame.
    ///
    /// # Errors
    /// `Library` if OpenH264 refuses.
    pub fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), CodecError> {
        self.config.bitrate = bitrate;
        let mut info = sys::SBitrateInfo { iLayer: sys::SPATIAL_LAYER_ALL, iBitrate: bps(bitrate) };
        self.set_option(sys::ENCODER_OPTION_BITRATE, &mut info)
    }

    /// The mean quantiser of the last picture, 0 (fine) to 51 (coarse); 0 before the first.
    pub fn quantiser(&mut self) -> u32 {
        let mut statistics = sys::SEncoderStatistics::default();
        // Without an answer there is none, as before the first picture.
        let raw = self.raw.as_ptr();
        // SAFETY: the object is valid, and this option is documented with this type.
        let code = unsafe {
            method!(raw, GetOption)(
                raw,
                sys::ENCODER_OPTION_GET_STATISTICS,
                (&raw mut statistics).cast::<c_void>(),
            )
        };
        if code == 0 { statistics.uiAverageFrameQP } else { 0 }
    }

    /// Codes a picture; `None` if it was left out to keep the rate. `force_key` makes it a key frame, which is
    /// never left out. The first picture is one anyway.
    ///
    /// # Errors
    /// `ApiMisuse` if the picture has another size than the encoder; `Library` if OpenH264 fails.
    pub fn encode(&mut self, frame: &VideoFrame, force_key: bool) -> Result<Option<Coded>, CodecError> {
        let (width, height) = (self.config.width, self.config.height);
        if frame.width != width || frame.height != height || frame.data.len() != width * height * 3 / 2 {
            return Err(CodecError::ApiMisuse("the picture's size is not the encoder's"));
        }
        let raw = self.raw.as_ptr();
        if force_key {
            // SAFETY: the object is valid.
            check(unsafe { method!(raw, ForceIntraFrame)(raw, true) })?;
        }
        let plane = |bytes: &[u8]| bytes.as_ptr().cast_mut(); // the library's interface forgot a const
        let half = (width / 2) as c_int;
        let picture = sys::SSourcePicture {
            iColorFormat: sys::videoFormatI420,
            iStride: [width as c_int, half, half, 0],
            pData: [plane(frame.y()), plane(frame.u()), plane(frame.v()), ptr::null_mut()],
            iPicWidth: width as c_int,
            iPicHeight: height as c_int,
            uiTimeStamp: (frame.captured.as_micros() / 1000) as i64,
            ..Default::default()
        };
        *self.report = sys::SFrameBSInfo::default();
        // SAFETY: the object is valid; the planes are as large as strides and sizes say, and only read; the
        // report outlives the call.
        check(unsafe { method!(raw, EncodeFrame)(raw, &picture, &mut *self.report) })?;
        let key = match self.report.eFrameType {
            sys::videoFrameTypeSkip | sys::videoFrameTypeInvalid => return Ok(None),
            kind => kind == sys::videoFrameTypeIDR,
        };
        let mut data = Vec::with_capacity(usize::try_from(self.report.iFrameSizeInBytes).unwrap_or(0));
        let layers = usize::try_from(self.report.iLayerNum).unwrap_or(0);
        let mut temporal = 0;
        for layer in self.report.sLayerInfo.iter().take(layers) {
            temporal = layer.uiTemporalId.max(temporal);
            let nals = usize::try_from(layer.iNalCount).unwrap_or(0);
            if nals == 0 || layer.pNalLengthInByte.is_null() || layer.pBsBuf.is_null() {
                continue;
            }
            // SAFETY: the library reports `iNalCount` lengths, and a buffer of their sum, valid until the next
            // call on this object.
            let bytes = unsafe {
                let lengths = std::slice::from_raw_parts(layer.pNalLengthInByte, nals);
                let total = lengths.iter().map(|&length| usize::try_from(length).unwrap_or(0)).sum();
                std::slice::from_raw_parts(layer.pBsBuf, total)
            };
            data.extend_from_slice(bytes);
        }
        Ok((!data.is_empty()).then_some(Coded { data, key, temporal }))
    }

    fn set_option<T>(&mut self, option: sys::ENCODER_OPTION, value: &mut T) -> Result<(), CodecError> {
        let raw = self.raw.as_ptr();
        // SAFETY: the object is valid, and the callers here pass the type that each option is documented with.
        check(unsafe { method!(raw, SetOption)(raw, option, (&raw mut *value).cast::<c_void>()) })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let raw = self.raw.as_ptr();
        // SAFETY: the object came from WelsCreateSVCEncoder and is destroyed once.
        unsafe {
            method!(raw, Uninitialize)(raw);
            sys::source::APILoader::WelsDestroySVCEncoder(raw);
        }
    }
}

/// Turns H.264 into pictures.
///
/// It takes whole pictures (access units) in order. After a refusal it accepts nothing but a key frame: what
/// lies between refers to something it does not have.
#[derive(Debug, Default)]
pub struct Decoder {
    raw: Option<RawDecoder>,
    /// The parameter sets that `raw` was made for: OpenH264 leaks state across a change of size.
    sps: Vec<u8>,
}

impl Decoder {
    /// A decoder that waits for its first key frame.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// True if only a key frame can be decoded next, as at the start and after a refusal.
    pub fn needs_key(&self) -> bool {
        self.raw.is_none()
    }

    /// Decodes one picture in Annex B form; `None` if the bytes hold none (parameter sets alone). Its date is
    /// `captured`, which H.264 itself does not carry.
    ///
    /// # Errors
    /// `PeerMisbehaved` if it cannot be decoded without guessing: ask the sender for a key frame.
    pub fn decode(&mut self, annexb: &[u8], captured: Timestamp) -> Result<Option<VideoFrame>, CodecError> {
        if let Some(sps) = nal_units(annexb).find(|nal| nal_type(nal) == Some(NAL_SPS))
            && (self.raw.is_none() || sps != self.sps)
        {
            self.raw = Some(RawDecoder::new()?);
            self.sps.clear();
            self.sps.extend_from_slice(sps);
        }
        let Some(raw) = &mut self.raw else {
            return Err(undecodable("a picture before its first key frame"));
        };
        let decoded = raw.decode(annexb, captured);
        if decoded.is_err() {
            self.raw = None;
        }
        decoded
    }
}

/// NAL unit type 7: the sequence parameter set (H.264 §7.4.1).
const NAL_SPS: u8 = 7;

fn nal_type(nal: &[u8]) -> Option<u8> {
    nal.first().map(|header| header & 0x1f)
}

/// The NAL units between Annex B start codes; whatever precedes the first start code is skipped.
fn nal_units(annexb: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = find_start_code(annexb).map(|(_, after)| &annexb[after..]);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let (end, next) = match find_start_code(bytes) {
            Some((before, after)) => (before, Some(&bytes[after..])),
            None => (bytes.len(), None),
        };
        rest = next;
        Some(&bytes[..end])
    })
}

/// Where the next start code begins, with a leading zero byte if it has one, and where it ends.
fn find_start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = bytes.windows(3).position(|three| three == [0, 0, 1])?;
    let begins = if at > 0 && bytes[at - 1] == 0 { at - 1 } else { at };
    Some((begins, at + 3))
}

#[derive(Debug)]
struct RawDecoder(NonNull<sys::ISVCDecoder>);

// SAFETY: as for the encoder.
unsafe impl Send for RawDecoder {}

impl RawDecoder {
    fn new() -> Result<RawDecoder, CodecError> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` outlives the call and is checked.
        let code = unsafe { sys::source::APILoader::WelsCreateDecoder(&mut raw) };
        let decoder = RawDecoder(NonNull::new(raw).ok_or(failed(code as c_int))?);
        decoder.set_option(sys::DECODER_OPTION_TRACE_LEVEL, sys::WELS_LOG_QUIET)?;
        decoder.set_option(sys::DECODER_OPTION_NUM_OF_THREADS, 0)?; // in the caller's thread
        let mut params = sys::SDecodingParam { eEcActiveIdc: sys::ERROR_CON_DISABLE, ..Default::default() };
        params.sVideoProperty.eVideoBsType = sys::VIDEO_BITSTREAM_AVC;
        let raw = decoder.0.as_ptr();
        // SAFETY: the object is valid and `params` outlives the call.
        check(unsafe { method!(raw, Initialize)(raw, &params) } as c_int)?;
        Ok(decoder)
    }

    fn set_option(&self, option: sys::DECODER_OPTION, mut value: c_int) -> Result<(), CodecError> {
        let raw = self.0.as_ptr();
        // SAFETY: the object is valid, and the options used here are documented to take an int.
        check(unsafe { method!(raw, SetOption)(raw, option, (&raw mut value).cast::<c_void>()) } as c_int)
    }

    fn decode(&mut self, annexb: &[u8], captured: Timestamp) -> Result<Option<VideoFrame>, CodecError> {
        let length = c_int::try_from(annexb.len()).map_err(|_| undecodable("a picture beyond 2 GB"))?;
        let mut planes: [*mut u8; 3] = [ptr::null_mut(); 3];
        let mut info = sys::SBufferInfo::default();
        let raw = self.0.as_ptr();
        // SAFETY: the object is valid, `annexb` holds as many bytes as said, the outputs outlive the call.
        let state = unsafe {
            method!(raw, DecodeFrameNoDelay)(raw, annexb.as_ptr(), length, planes.as_mut_ptr(), &mut info)
        };
        if state != sys::dsErrorFree {
            return Err(undecodable("a picture that cannot be decoded without its reference"));
        }
        if info.iBufferStatus != 1 {
            return Ok(None);
        }
        // SAFETY: with a status of 1 the library has filled the system buffer's description.
        let buffer = unsafe { info.UsrData.sSystemBuffer };
        let side =
            |pixels: c_int| usize::try_from(pixels).ok().filter(|&s| s > 0 && s <= MAX_SIDE && s % 2 == 0);
        let (Some(width), Some(height)) = (side(buffer.iWidth), side(buffer.iHeight)) else {
            return Err(undecodable("a picture of an unsupported size"));
        };
        let mut data = Vec::with_capacity(width * height * 3 / 2);
        let shapes = [(width, height, 0), (width / 2, height / 2, 1), (width / 2, height / 2, 1)];
        for (plane, (width, height, stride)) in planes.into_iter().zip(shapes) {
            let stride = usize::try_from(buffer.iStride[stride]).unwrap_or(0);
            if plane.is_null() || stride < width {
                return Err(undecodable("a picture with no planes"));
            }
            for row in 0..height {
                // SAFETY: the library's planes hold `height` rows, `stride` apart, valid until the next call.
                data.extend_from_slice(unsafe { std::slice::from_raw_parts(plane.add(row * stride), width) });
            }
        }
        Ok(Some(VideoFrame { width, height, captured, data }))
    }
}

impl Drop for RawDecoder {
    fn drop(&mut self) {
        let raw = self.0.as_ptr();
        // SAFETY: the object came from WelsCreateDecoder and is destroyed once.
        unsafe {
            method!(raw, Uninitialize)(raw);
            sys::source::APILoader::WelsDestroyDecoder(raw);
        }
    }
}

fn bps(bitrate: Bitrate) -> c_int {
    c_int::try_from(bitrate.as_bps()).unwrap_or(c_int::MAX).max(10_000)
}

fn check(code: c_int) -> Result<(), CodecError> {
    if code == 0 { Ok(()) } else { Err(failed(code)) }
}

fn failed(code: c_int) -> CodecError {
    CodecError::Library { codec: "h264", code: i64::from(code) }
}

fn undecodable(what: &'static str) -> CodecError {
    CodecError::PeerMisbehaved { codec: "h264", what }
}
