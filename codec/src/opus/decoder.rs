//! Packets, or their absence, to sound.

use super::{LONGEST, failed, has_lbrr, packet_samples};
use crate::{CodecError, SAMPLE_RATE};
use opusic_sys as sys;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::time::Duration;
use undertone_media::SampleRate;

/// Samples in the 52 latents of 20 ms that an encoder keeps, and in the offset of half of one that it may add: neither
/// the redundancy of a packet nor the silence between them is longer.
const DRED_LONGEST: usize = SAMPLE_RATE as usize * (52 * 20 + 20) / 1000;

/// Packets that begin with this byte or a larger one are CELT's alone (RFC 6716, table 2).
const CELT: u8 = 16 << 3;

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
    /// Samples a second of what comes out, whatever was coded. Default 16 kHz.
    pub rate: SampleRate,
    /// The enhancement of low-rate speech. Default LACE.
    pub level: Level,
}

/// How much of the past a packet's deep redundancy covers, in samples at 16 kHz before the packet's own first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DredSpan {
    /// The furthest sample that it covers; at most 2.1 s.
    pub reach: usize,
    /// Between this and the packet it covers nothing, because the speaker was silent; often 0, at most 1.06 s.
    pub end: usize,
}

impl DredSpan {
    /// How far back it reaches.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.reach as u64 * 1_000_000 / u64::from(SAMPLE_RATE))
    }
}

/// Turns Opus packets, or their absence, into mono sound.
#[derive(Debug)]
pub struct Decoder {
    raw: NonNull<sys::OpusDecoder>,
    rate: SampleRate,
    level: Level,
    /// The newest packet is CELT's.
    celt: bool,
    dred: Dred,
    /// What the redundancy last parsed covers.
    span: Option<DredSpan>,
    /// True once the network has run over it, which most redundancy never needs.
    processed: bool,
    /// The state at the last [`Decoder::remember`].
    remembered: State,
    /// The state before the sound that was made up last.
    undo: State,
    /// The last step that was played.
    last: Box<[i16]>,
    /// Mean square of the loudest step of late.
    recent: u64,
}

/// A copy of libopus's decoder.
type State = Box<[MaybeUninit<u8>]>;

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
        let raw = unsafe { sys::opus_decoder_create(config.rate.hz() as i32, 1, &mut code) };
        let raw = NonNull::new(raw).ok_or(failed(code))?;
        // SAFETY: takes and gives plain numbers.
        let size = unsafe { sys::opus_decoder_get_size(1) };
        let size = usize::try_from(size).unwrap_or(0);
        let [remembered, undo] = [(); 2].map(|()| vec![MaybeUninit::uninit(); size].into());
        let rate = config.rate;
        let last = vec![0; STEP * rate.per_wide()].into();
        let mut decoder = Decoder {
            raw,
            rate,
            level: config.level,
            celt: false,
            dred,
            span: None,
            processed: false,
            remembered,
            undo,
            last,
            recent: 0,
        };
        decoder.remember();
        decoder.choose();
        Ok(decoder)
    }

    /// Changes the enhancement from the next packet on.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
        self.choose();
    }

    /// libopus chooses by complexity: 5 brings deep PLC, 6 LACE, 7 NoLACE. Deep PLC knows voices and no instruments: of
    /// what CELT codes, the waveform itself is continued.
    fn choose(&mut self) {
        let complexity: c_int = match self.level {
            _ if self.celt => 4,
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
        let before = out.len();
        let celt = packet[0] >= CELT;
        if celt != std::mem::replace(&mut self.celt, celt) {
            self.choose();
        }
        match self.run(Some(packet), samples * self.rate.per_wide(), false, out) {
            Ok(decoded) => {
                self.remember_last(before, out);
                Ok(decoded)
            }
            Err(_) => {
                Err(CodecError::PeerMisbehaved { codec: "opus", what: "a packet that does not decode" })
            }
        }
    }

    /// Appends `samples` of plausible continuation where nothing arrived; says how many, which is `samples`
    /// rounded up to a multiple of 2.5 ms.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) -> usize {
        let samples = samples.next_multiple_of(self.quantum());
        let whole = out.len() + samples;
        while out.len() < whole {
            let part = (whole - out.len()).min(self.step());
            copy(self.raw, &mut self.undo);
            let before = out.len();
            if !matches!(self.run(None, part, false, out), Ok(1..)) {
                break;
            }
            if square(&out[before..]) > self.recent.max(QUIET_SQUARE) * ASTRAY {
                out.truncate(before);
                self.turn_back(part, out);
            } else {
                self.remember_last(before, out);
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
        copy(self.raw, &mut self.remembered);
    }

    /// Goes back to the state last remembered, at first that of a new decoder. May be called again and again.
    pub fn rewind(&mut self) {
        restore(self.raw, &self.remembered);
    }

    /// Appends the `samples` before `next_packet` from the low-rate copy that it carries, with what lies
    /// before that copy's reach concealed. False, and nothing appended, if it carries none, or if `samples` is
    /// no multiple of 2.5 ms up to 120 ms.
    pub fn recover_lbrr(&mut self, next_packet: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        has_lbrr(next_packet) && self.fits(samples) && self.run(Some(next_packet), samples, true, out).is_ok()
    }

    /// Reads a packet's deep redundancy, for [`Decoder::recover_dred`]; `None` if it carries none. The
    /// audio state is not touched.
    pub fn parse_dred(&mut self, packet: &[u8]) -> Option<DredSpan> {
        self.span = None;
        packet_samples(packet)?;
        self.span = self.dred.parse(packet);
        self.processed = false;
        self.span
    }

    /// Appends `samples` that begin `offset` samples before the packet last given to
    /// [`Decoder::parse_dred`]. False, and nothing appended, if its redundancy does not reach there, or if
    /// `samples` is no multiple of 2.5 ms up to 120 ms.
    pub fn recover_dred(&mut self, offset: usize, samples: usize, out: &mut Vec<i16>) -> bool {
        let Some(span) = self.span else { return false };
        if !self.fits(samples) || samples > offset || offset > span.reach * self.rate.per_wide() {
            return false;
        }
        if !self.processed {
            self.processed = self.dred.process();
        }
        // libopus 1.6.1 does not refuse redundancy that was not processed: it conceals, and calls it done.
        if !self.processed {
            return false;
        }
        let before = out.len();
        // In steps, since the network that turns it into sound goes astray now and then, and roars.
        for done in (0..samples).step_by(self.step()) {
            let part = self.step().min(samples - done);
            if !self.recover_part(offset - done, part, out) {
                out.truncate(before);
                return false;
            }
        }
        true
    }

    fn recover_part(&mut self, offset: usize, samples: usize, out: &mut Vec<i16>) -> bool {
        copy(self.raw, &mut self.undo);
        let before = out.len();
        out.resize(before + samples, 0);
        // SAFETY: both handles are valid, the redundancy was parsed and processed, and `out` has room for
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
        if usize::try_from(decoded) != Ok(samples) {
            return false;
        }
        let per = self.rate.per_wide();
        let told = self.span.and_then(|span| self.dred.loudness(span, offset / per, samples / per));
        if told.is_some_and(|told| square(&out[before..]) as f32 > told * ASTRAY_FROM_TOLD) {
            out.truncate(before);
            self.turn_back(samples, out);
        } else {
            self.remember_last(before, out);
        }
        true
    }

    /// The step that went astray is undone, and what was last played is played backwards instead, lower: it joins.
    fn turn_back(&mut self, samples: usize, out: &mut Vec<i16>) {
        restore(self.raw, &self.undo);
        let (start, step) = (out.len(), self.step());
        out.extend((0..samples).map(|back| {
            let last = step.saturating_sub(1 + back % step);
            (i32::from(self.last[last]) * 3 / 4) as i16
        }));
        self.remember_last(start, out);
    }

    /// Samples in 2.5 ms: libopus conceals and recovers in multiples of it.
    fn quantum(&self) -> usize {
        self.rate.frame() / 4
    }

    /// Samples in [`STEP`].
    fn step(&self) -> usize {
        self.last.len()
    }

    /// True if libopus can make up so many samples at once.
    fn fits(&self, samples: usize) -> bool {
        (1..=LONGEST * self.rate.per_wide()).contains(&samples) && samples.is_multiple_of(self.quantum())
    }

    /// Keeps the last step of what is played.
    fn remember_last(&mut self, from: usize, out: &[i16]) {
        let fresh = &out[from..];
        let step = self.step();
        let fresh = &fresh[fresh.len().saturating_sub(step)..];
        self.last.copy_within(fresh.len().., 0);
        self.last[step - fresh.len()..].copy_from_slice(fresh);
        self.recent = square(fresh).max(self.recent - self.recent / RECENT_STEPS);
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

/// The state is "position independent and can be freely copied" (opus.h).
fn copy(from: NonNull<sys::OpusDecoder>, to: &mut State) {
    // SAFETY: the decoder is one block of `to.len()` bytes; the two do not overlap.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr().cast::<MaybeUninit<u8>>(), to.as_mut_ptr(), to.len()) }
}

/// The way back; `from` was filled by [`copy`] from the same decoder.
fn restore(to: NonNull<sys::OpusDecoder>, from: &State) {
    // SAFETY: as above.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr().cast::<MaybeUninit<u8>>(), from.len()) }
}

/// Sound that was made up is judged in steps of 20 ms: so many samples at 16 kHz.
const STEP: usize = SAMPLE_RATE as usize / 50;
/// How fast the loudest step is forgotten (to 1/e): a fifth of a second.
const RECENT_STEPS: u64 = 10;
/// What is made up of nothing goes on as it was; this many times as strong, in mean square, the network went astray.
const ASTRAY: u64 = 8;
/// So quiet, in mean square, that nothing can be said.
const QUIET_SQUARE: u64 = 10_000;
/// Sound made of deep redundancy is up to 1 600 times as strong as [`Dred::loudness`], by their units; astray it is 7 000
/// times and more.
const ASTRAY_FROM_TOLD: f32 = 3_000.0;

/// Features of 10 ms as lpcnet counts them: 18 of the cepstrum, pitch, and how voiced it is.
const FEATURES: usize = 20;
const BANDS: usize = 18;
/// How many the decoder has room for.
const FEATURE_VECTORS: usize = 2 * 52;
/// Widths of lpcnet's bands, in the narrowest.
const BAND_WIDTHS: [f32; BANDS] =
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0, 6.0, 3.0];

/// The energy of a cepstrum: its bands are its inverse DCT, as logarithms.
fn band_energy(features: &[f32; FEATURES]) -> f32 {
    let bands = BANDS as f32;
    let band = |at: usize| -> f32 {
        let mean = (features[0] + 4.0) * 0.5f32.sqrt();
        let shape: f32 = (1..BANDS)
            .map(|n| features[n] * ((at as f32 + 0.5) * n as f32 * std::f32::consts::PI / bands).cos())
            .sum();
        10f32.powf((mean + shape) * (2.0 / bands).sqrt())
    };
    (0..BANDS).map(|at| BAND_WIDTHS[at] * band(at)).sum()
}

/// Mean square.
fn square(pcm: &[i16]) -> u64 {
    let sum: u64 = pcm.iter().map(|&sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
    sum / pcm.len().max(1) as u64
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

    /// Unpacks a packet's redundancy; the network runs later, if ever.
    fn parse(&mut self, packet: &[u8]) -> Option<DredSpan> {
        let mut end: c_int = 0;
        // Always asked for as much as there can be: libopus 1.6.1 counts what it was asked for from the packet, not
        // from where the redundancy ends, and unpacks too little of it otherwise (fixed upstream after 1.6.1).
        // SAFETY: both handles are valid, `packet` holds as many bytes as said, `end` outlives the call.
        let reach = unsafe {
            sys::opus_dred_parse(
                self.network.as_ptr(),
                self.state.as_ptr(),
                packet.as_ptr(),
                packet.len() as i32,
                2 * DRED_LONGEST as i32,
                SAMPLE_RATE as i32,
                &mut end,
                1,
            )
        };
        let (reach, end) = (usize::try_from(reach).ok()?, usize::try_from(end).ok()?);
        // The wire can claim that it ends 20 s ago, where no encoder has anything to tell.
        (reach > end && end <= DRED_LONGEST).then_some(DredSpan { reach, end })
    }

    /// How strong the sound of `samples`, which begin `offset` samples before the packet, is by what was unpacked and
    /// processed: the energy of its 18 bands (lpcnet's cepstrum), in its own units. `None` if that cannot be read: what is
    /// found there has to say that it covers `span`.
    fn loudness(&self, span: DredSpan, offset: usize, samples: usize) -> Option<f32> {
        // SAFETY: takes and gives plain numbers.
        let size = usize::try_from(unsafe { sys::opus_dred_get_size() }).ok()?;
        let state = self.state.as_ptr().cast::<u8>();
        // SAFETY: `OpusDRED` (dred_decoder.h of the pinned version) begins with 104 vectors of 20 features and ends with
        // three integers: latents, stage, offset. What lies between is not read. Aligned, since malloc aligns and its size
        // is a multiple of 4. Features and integers are written by `opus_dred_parse` and `opus_dred_process`.
        let (features, [latents, _, shift]) = unsafe {
            let tail = state.add(size.checked_sub(12)?).cast::<[c_int; 3]>().read();
            (std::slice::from_raw_parts(state.cast::<[f32; FEATURES]>(), FEATURE_VECTORS), tail)
        };
        // As opus_dred_parse counts: latents of 40 ms, offsets of 2.5.
        if i64::from(latents) * 640 - i64::from(shift) * 40 != span.reach as i64 {
            return None;
        }
        let valid = 4 * usize::try_from(latents).ok()?;
        // As opus_decode_native counts: the newest come first, and the first two only set the network going.
        let first = (offset as i64 + i64::from(shift) * 40).div_euclid(160) - 2;
        (0..samples.div_ceil(160) as i64)
            .filter_map(|step| {
                features[..valid.min(FEATURE_VECTORS)].get(usize::try_from(first - step).ok()?)
            })
            .map(band_energy)
            .reduce(f32::max)
    }

    /// Runs the network over what was unpacked.
    fn process(&mut self) -> bool {
        let state = self.state.as_ptr();
        // SAFETY: both handles are valid; source and destination may be the same.
        let code = unsafe { sys::opus_dred_process(self.network.as_ptr(), state, state) };
        code == sys::OPUS_OK
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opus::{Encoder, EncoderConfig, Redundancy};

    /// If libopus lays its state out anew, this says so: the guard would sleep.
    #[test]
    fn what_redundancy_tells_of_loudness_is_read_where_it_lies() {
        let config = EncoderConfig { redundancy: true, narrowband: false, ..EncoderConfig::default() };
        let mut encoder = Encoder::new(&config).unwrap();
        let mut decoder = Decoder::new(DecoderConfig::default()).unwrap();
        let wanted = Redundancy { span: Duration::from_millis(160), quantiser: 2, slope: 2 };
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/speech/librivox_austen_0870.wav");
        let said: Vec<i16> = hound::WavReader::open(clip).unwrap().samples().map(Result::unwrap).collect();
        let (mut coded, mut dressed) = (Vec::new(), Vec::new());
        let mut ratios = Vec::new();
        for (number, chunk) in said.chunks_exact(STEP).enumerate() {
            encoder.encode(chunk, &mut coded).unwrap();
            if number < 10 || !encoder.dress(wanted, &coded, &mut dressed) {
                continue;
            }
            let span = decoder.parse_dred(&dressed).expect("redundancy");
            assert!(decoder.dred.process());
            // Three packets back. Where the speaker was silent after that there is nothing to read.
            let Some(told) = decoder.dred.loudness(span, 3 * STEP, STEP) else {
                assert!(span.end > 0, "the layout that is pinned");
                continue;
            };
            let then = square(&said[(number - 3) * STEP..][..STEP]);
            ratios.push((then as f32 / told).log10());
        }
        ratios.sort_by(f32::total_cmp);
        let (low, middle, high) =
            (ratios[ratios.len() / 20], ratios[ratios.len() / 2], ratios[ratios.len() * 19 / 20]);
        assert!(
            (0.5..2.5).contains(&middle) && high < ASTRAY_FROM_TOLD.log10() && low > -1.0,
            "{low} {middle} {high}"
        );
    }
}
