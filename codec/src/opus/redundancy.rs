//! Deep redundancy (DRED): the last second of speech as a vocoder would say it, in a few dozen bytes.
//!
//! Why our own hold on it: libopus spends bits on DRED only above a gate (it takes 12 kbit/s, with LBRR 20, off the
//! rate before DRED gets a share), so that at 12 kbit/s and below, where it matters most, nothing is sent; and it
//! chooses the quality itself, once a packet, while `engine::adapt` has to weigh it against everything else. The
//! decoders of libopus 1.5.1 and later accept whatever was sent. So the same network runs here beside the encoder, and
//! its bytes go where libopus puts them: an extension in the packet's padding (draft-ietf-mlcodec-opus-dred,
//! draft-ietf-mlcodec-opus-extension), which every older decoder skips (RFC 6716 §3.2.5).
//!
//! The functions below are not in libopus's public header, but global in its library; `tests/redundancy.rs` fails if
//! they move, and the version of `opusic-sys` is pinned.

use crate::level::Vad;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_int, c_uchar, c_void};
use std::ptr::NonNull;
use std::time::Duration;
use undertone_media::SampleRate;

/// What `opus_packet_pad_impl` puts into the padding; as in `opus_private.h`.
#[repr(C)]
struct Extension {
    id: c_int,
    frame: c_int,
    data: *const c_uchar,
    len: i32,
}

unsafe extern "C" {
    fn dred_encoder_init(enc: *mut c_void, rate: i32, channels: c_int);
    fn dred_compute_latents(
        enc: *mut c_void,
        pcm: *const f32,
        samples: c_int,
        extra_delay: c_int,
        arch: c_int,
    );
    fn dred_encode_silk_frame(
        enc: *mut c_void,
        buf: *mut c_uchar,
        max_chunks: c_int,
        max_bytes: c_int,
        q0: c_int,
        dq: c_int,
        qmax: c_int,
        activity: *const c_uchar,
        arch: c_int,
    ) -> c_int;
    fn opus_packet_pad_impl(
        data: *mut c_uchar,
        len: i32,
        new_len: i32,
        pad: c_int,
        extensions: *const Extension,
        count: c_int,
    ) -> i32;
}

/// libopus's choice of arithmetic for this processor. Elsewhere the plain one is right, if slower.
#[cfg(target_arch = "x86_64")]
fn arch() -> c_int {
    unsafe extern "C" {
        fn opus_select_arch() -> c_int;
    }
    // SAFETY: reads the processor's features and touches nothing.
    unsafe { opus_select_arch() }
}

#[cfg(not(target_arch = "x86_64"))]
fn arch() -> c_int {
    0
}

/// Room for libopus's `DREDEnc`, which has no function that tells its size: 77 kB in 1.6.1, and a test watches the rest.
const STATE_BYTES: usize = 128 * 1024;
/// Bytes at the end of that room that libopus must leave alone.
const WATCHED: usize = 32 * 1024;
/// Two latents of 20 ms are coded together.
const CHUNK: Duration = Duration::from_millis(40);
/// DRED_MAX_LATENTS of libopus: a little more than a second.
const CHUNKS_MAX: u8 = 26;
/// Latents of 20 ms that libopus keeps, DRED_NUM_REDUNDANCY_FRAMES.
const LATENTS: usize = 2 * CHUNKS_MAX as usize;
/// Activity is told in steps of 2.5 ms. libopus 1.6.1 looks at 16 of them from each latent on, the oldest
/// included, and there reads past the 416 that it says it needs (fixed upstream after 1.6.1).
const ACTIVITY_STEPS: usize = 8 * (LATENTS - 1) + 16;
static SPOKEN: [u8; ACTIVITY_STEPS] = [1; ACTIVITY_STEPS];
/// Of a second: the encoder codes samples that entered it 4 ms before (application AUDIO).
const ENCODER_DELAY: c_int = 250;
/// libopus's limit, DRED_MAX_DATA_SIZE.
const BYTES_MAX: usize = 1000;
/// What marks the extension until it has a number of its own: DRED_EXTENSION_ID, 'D', DRED_EXPERIMENTAL_VERSION.
const EXTENSION_ID: c_int = 126;
const MARK: [u8; 2] = [b'D', 12];

/// How much of the past a packet repeats as deep redundancy, and how well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redundancy {
    /// How far back, in steps of 40 ms; at most 1.04 s.
    pub span: Duration,
    /// The quantiser of the newest 40 ms: 0 takes 73 bits and is the best, 6 takes 40, 9 takes 20, 15 takes 6.
    pub quantiser: u8,
    /// How much coarser it gets with age, 0–7: after so many sixteenths of a quantiser per 40 ms as 0, 2, 3, 4, 6, 8,
    /// 12, 16 say.
    pub slope: u8,
}

/// Watches the speech beside the encoder, and writes what packets carry of the past.
#[derive(Debug)]
pub(super) struct Redundant {
    state: NonNull<u8>,
    arch: c_int,
    rate: SampleRate,
    vad: Vad,
    /// One byte for each 2.5 ms, the newest first: 1 where somebody spoke.
    activity: [u8; ACTIVITY_STEPS],
    float: Vec<f32>,
    room: Vec<u8>,
}

// SAFETY: the state is plain memory that only this handle points to; libopus keeps no thread-local data.
unsafe impl Send for Redundant {}

impl Redundant {
    pub(super) fn new(rate: SampleRate) -> Redundant {
        let layout = Redundant::layout();
        // SAFETY: the layout has a size above zero; null is refused below.
        let Some(state) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            std::alloc::handle_alloc_error(layout)
        };
        // SAFETY: the room is zeroed and larger than the state, which `dred_encoder_init` fills in.
        unsafe { dred_encoder_init(state.as_ptr().cast(), rate.hz() as i32, 1) };
        Redundant {
            state,
            arch: arch(),
            rate,
            vad: Vad::new(rate),
            activity: [0; ACTIVITY_STEPS],
            float: Vec::with_capacity(super::LONGEST * rate.per_wide()),
            room: vec![0; super::LARGEST],
        }
    }

    fn layout() -> Layout {
        Layout::from_size_align(STATE_BYTES, 64).expect("a power of two")
    }

    /// Takes the samples of the packet that is being coded.
    pub(super) fn push(&mut self, pcm: &[i16]) {
        self.float.clear();
        self.float.extend(pcm.iter().map(|&sample| f32::from(sample) / 32_768.0));
        // SAFETY: the state was initialised, and `float` holds as many samples as said.
        unsafe {
            dred_compute_latents(
                self.state.as_ptr().cast(),
                self.float.as_ptr(),
                self.float.len() as c_int,
                self.rate.hz() as c_int / ENCODER_DELAY,
                self.arch,
            )
        };
        for part in pcm.chunks(self.rate.frame()) {
            let speech = u8::from(self.vad.is_speech(part));
            let steps = part.len() * 4 / self.rate.frame();
            self.activity.copy_within(..ACTIVITY_STEPS - steps, steps);
            self.activity[..steps].fill(speech);
        }
    }

    /// Writes `packet` into `out` with what is asked for of the past in its padding; false, and `out` untouched, if there
    /// is nothing to say or no room.
    pub(super) fn dress(&mut self, wanted: Redundancy, packet: &[u8], out: &mut Vec<u8>) -> bool {
        let chunks = (wanted.span.as_millis() / CHUNK.as_millis()).min(CHUNKS_MAX.into()) as c_int;
        if chunks == 0 || packet.is_empty() || packet.len() + BYTES_MAX > self.room.len() {
            return false;
        }
        let q0 = wanted.quantiser.min(15);
        // A coarsest quantiser of 15 needs no bits to be told; 14 and 15 have no slope.
        let dq = if q0 >= 14 { 0 } else { wanted.slope.min(7) };
        let mut coded = [0u8; BYTES_MAX];
        coded[..MARK.len()].copy_from_slice(&MARK);
        // libopus remembers for how long the speaker was silent when it last coded, and when the speaker goes on, codes
        // what came before that silence without saying that it is so old: it would be heard in place of the new. Asking
        // for nothing in the name of a speaker who never was silent makes it forget.
        // SAFETY: as below; no chunk is written, and what is written before them fits.
        unsafe {
            dred_encode_silk_frame(
                self.state.as_ptr().cast(),
                coded.as_mut_ptr().add(MARK.len()),
                0,
                (BYTES_MAX - MARK.len()) as c_int,
                15,
                0,
                15,
                SPOKEN.as_ptr(),
                self.arch,
            )
        };
        // SAFETY: the state was initialised, `coded` has as many bytes as said behind the mark, and `activity` covers
        // all latents.
        let written = unsafe {
            dred_encode_silk_frame(
                self.state.as_ptr().cast(),
                coded.as_mut_ptr().add(MARK.len()),
                chunks,
                (BYTES_MAX - MARK.len()) as c_int,
                q0.into(),
                dq.into(),
                15,
                self.activity.as_ptr(),
                self.arch,
            )
        };
        if written <= 0 {
            return false;
        }
        let extension =
            Extension { id: EXTENSION_ID, frame: 0, data: coded.as_ptr(), len: written + MARK.len() as i32 };
        self.room[..packet.len()].copy_from_slice(packet);
        // SAFETY: `room` holds the packet and as many bytes as said; the extension's data outlives the call.
        let length = unsafe {
            opus_packet_pad_impl(
                self.room.as_mut_ptr(),
                packet.len() as i32,
                self.room.len() as i32,
                0,
                &extension,
                1,
            )
        };
        let Some(dressed) = usize::try_from(length).ok().and_then(|length| self.room.get(..length)) else {
            return false;
        };
        out.clear();
        out.extend_from_slice(dressed);
        true
    }

    /// True while libopus has kept to its own part of the room.
    pub(super) fn is_within_bounds(&self) -> bool {
        // SAFETY: the room has `STATE_BYTES`, and all of it was zeroed.
        let tail =
            unsafe { std::slice::from_raw_parts(self.state.as_ptr().add(STATE_BYTES - WATCHED), WATCHED) };
        tail.iter().all(|&byte| byte == 0)
    }
}

impl Drop for Redundant {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, and dropped once; the state owns nothing.
        unsafe { dealloc(self.state.as_ptr(), Redundant::layout()) }
    }
}
