//! Microphone and speaker, behind the feature `device`.
//!
//! Why: an audio callback runs on a real-time thread that must never wait, so between it and the call there
//! is a lock-free ring each way (`ringbuf`), with mono `i16` at the device's own rate. Sample formats and
//! channels are converted in the callback; rates are the caller's, who has a resampler and sees both clocks.
//!
//! Not here: echo cancellation and gain (`codec`), clock drift: a caller who watches
//! [`Microphone::available`] and [`Speaker::queued`] sees it.

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, Data, Device, ErrorKind, FromSample, Sample, SampleFormat, SizedSample, Stream, StreamConfig,
    SupportedBufferSize, SupportedStreamConfig,
};
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How much sound a ring holds. Callbacks come every 5 to 40 ms; more than this is a stall.
const RING: Duration = Duration::from_millis(250);

/// How long a backend may take to open a device.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sound device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What [`Microphone::open`] and [`Speaker::open`] take; stable between runs.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// It can record.
    pub input: bool,
    /// It can play.
    pub output: bool,
    /// It records when nobody says otherwise.
    pub default_input: bool,
    /// It plays when nobody says otherwise.
    pub default_output: bool,
}

/// Why a device cannot be used. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// No such device, or none at all.
    Missing(String),
    /// Another program has it.
    Busy(String),
    /// The user or the system forbids it.
    Denied(String),
    /// It cannot do what is needed, or broke.
    Failed(String),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Missing(what) => {
                write!(f, "{what}: plug one in, or use files instead of devices")
            }
            DeviceError::Busy(what) => {
                write!(f, "{what} is used by another program: close it, or choose another device")
            }
            DeviceError::Denied(what) => write!(
                f,
                "this program may not use {what}: allow it in the system's privacy settings (Linux: join the \
                 group `audio`)"
            ),
            DeviceError::Failed(what) => write!(f, "{what}: choose another device"),
        }
    }
}

impl std::error::Error for DeviceError {}

impl DeviceError {
    fn from_cpal(what: &str, error: &cpal::Error) -> DeviceError {
        match error.kind() {
            ErrorKind::DeviceBusy => DeviceError::Busy(what.into()),
            ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable => {
                DeviceError::Missing(format!("{what} is not there"))
            }
            ErrorKind::PermissionDenied => DeviceError::Denied(what.into()),
            _ => DeviceError::Failed(format!("{what} does not work ({error})")),
        }
    }
}

/// What went wrong between a device and its ring, in samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glitches {
    /// Microphone: lost because the ring was full (the call did not read). Speaker: always 0.
    pub overrun: u64,
    /// Speaker: played as silence because the ring was empty (the call did not write). Microphone: always 0.
    pub underrun: u64,
    /// Gaps that the device itself reported.
    pub xruns: u64,
    /// Why the device stopped for good, if it did: it must be opened again, or another one.
    pub stopped: Option<String>,
}

#[derive(Default)]
struct Shared {
    overrun: AtomicU64,
    underrun: AtomicU64,
    xruns: AtomicU64,
    /// Underruns count only once something was played: the silence before is no glitch.
    begun: AtomicBool,
    stopped: Mutex<Option<String>>,
}

impl Shared {
    fn glitches(&self) -> Glitches {
        Glitches {
            overrun: self.overrun.load(Ordering::Relaxed),
            underrun: self.underrun.load(Ordering::Relaxed),
            xruns: self.xruns.load(Ordering::Relaxed),
            stopped: self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn report(&self, error: &cpal::Error) {
        match error.kind() {
            ErrorKind::Xrun => {
                self.xruns.fetch_add(1, Ordering::Relaxed);
            }
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            _ => *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string()),
        }
    }
}

/// The sound devices of this machine.
///
/// # Errors
/// When there is no audio system at all.
pub fn list() -> Result<Vec<DeviceInfo>, DeviceError> {
    let host = cpal::default_host();
    let id = |device: Device| device.id().ok().map(|id| id.to_string());
    let default_input = host.default_input_device().and_then(id);
    let default_output = host.default_output_device().and_then(id);
    let devices = host.devices().map_err(|e| DeviceError::from_cpal("the audio system", &e))?;
    Ok(devices
        .filter_map(|device| {
            let id = device.id().ok()?.to_string();
            let name = device.description().map_or_else(|_| id.clone(), |about| about.name().to_owned());
            Some(DeviceInfo {
                name,
                input: device.supports_input(),
                output: device.supports_output(),
                default_input: default_input.as_ref() == Some(&id),
                default_output: default_output.as_ref() == Some(&id),
                id,
            })
        })
        .collect())
}

fn find(
    id: Option<&str>,
    what: &str,
    default: fn(&cpal::Host) -> Option<Device>,
) -> Result<Device, DeviceError> {
    let host = cpal::default_host();
    match id {
        None => default(&host).ok_or_else(|| DeviceError::Missing(format!("this machine has no {what}"))),
        Some(id) => id
            .parse()
            .ok()
            .and_then(|id| host.device_by_id(&id))
            .ok_or_else(|| DeviceError::Missing(format!("there is no {what} `{id}`"))),
    }
}

/// The device's own format, in callbacks of 10 ms where it lets us choose.
fn stream_config(supported: &SupportedStreamConfig) -> StreamConfig {
    let ten_ms = supported.sample_rate() / 100;
    let mut config = supported.config();
    config.buffer_size = match supported.buffer_size() {
        SupportedBufferSize::Range { min, max } => BufferSize::Fixed(ten_ms.clamp(*min, *max)),
        SupportedBufferSize::Unknown => BufferSize::Default,
    };
    config
}

fn ring(sample_rate: u32) -> (HeapProd<i16>, HeapCons<i16>) {
    let samples = u64::from(sample_rate) * RING.as_millis() as u64 / 1000;
    HeapRb::new((samples as usize).max(1)).split()
}

/// An open microphone. Dropping it closes the device.
pub struct Microphone {
    sample_rate: u32,
    samples: HeapCons<i16>,
    shared: Arc<Shared>,
    _stream: Stream,
}

impl Microphone {
    /// Opens a microphone by its [`DeviceInfo::id`], or the default one, and starts recording.
    ///
    /// # Errors
    /// [`DeviceError`]: missing, busy, forbidden, or in a format that nobody knows.
    pub fn open(id: Option<&str>) -> Result<Microphone, DeviceError> {
        const WHAT: &str = "microphone";
        let fail = |e: cpal::Error| DeviceError::from_cpal("the microphone", &e);
        let device = find(id, WHAT, |host| host.default_input_device())?;
        let supported = device.default_input_config().map_err(fail)?;
        let sample_rate = supported.sample_rate();
        let take = take_from(supported.sample_format()).ok_or_else(|| unknown_format(WHAT, &supported))?;
        let channels = usize::from(supported.channels().max(1));
        let (mut producer, samples) = ring(sample_rate);
        let shared = Arc::new(Shared::default());
        let (counting, failing) = (shared.clone(), shared.clone());
        let record = move |data: &Data, _: &_| {
            let lost = take(data, channels, &mut producer);
            counting.overrun.fetch_add(lost as u64, Ordering::Relaxed);
        };
        let stream = device
            .build_input_stream_raw(
                stream_config(&supported),
                supported.sample_format(),
                record,
                move |error| failing.report(&error),
                Some(PATIENCE),
            )
            .map_err(fail)?;
        stream.play().map_err(fail)?;
        Ok(Microphone { sample_rate, samples, shared, _stream: stream })
    }

    /// Its own rate, in samples a second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// How many samples wait to be read.
    pub fn available(&self) -> usize {
        self.samples.occupied_len()
    }

    /// Takes what waits, as much as fits into `pcm`; says how much that was.
    pub fn read(&mut self, pcm: &mut [i16]) -> usize {
        self.samples.pop_slice(pcm)
    }

    /// What went wrong so far.
    pub fn glitches(&self) -> Glitches {
        self.shared.glitches()
    }
}

/// An open speaker. Dropping it closes the device.
pub struct Speaker {
    sample_rate: u32,
    samples: HeapProd<i16>,
    shared: Arc<Shared>,
    _stream: Stream,
}

impl Speaker {
    /// Opens a speaker by its [`DeviceInfo::id`], or the default one, and starts playing (silence, at first).
    ///
    /// # Errors
    /// [`DeviceError`]: missing, busy, forbidden, or in a format that nobody knows.
    pub fn open(id: Option<&str>) -> Result<Speaker, DeviceError> {
        const WHAT: &str = "speaker";
        let fail = |e: cpal::Error| DeviceError::from_cpal("the speaker", &e);
        let device = find(id, WHAT, |host| host.default_output_device())?;
        let supported = device.default_output_config().map_err(fail)?;
        let sample_rate = supported.sample_rate();
        let give = give_to(supported.sample_format()).ok_or_else(|| unknown_format(WHAT, &supported))?;
        let channels = usize::from(supported.channels().max(1));
        let (samples, mut consumer) = ring(sample_rate);
        let shared = Arc::new(Shared::default());
        let (counting, failing) = (shared.clone(), shared.clone());
        let play = move |data: &mut Data, _: &_| {
            let missing = give(data, channels, &mut consumer);
            if counting.begun.load(Ordering::Relaxed) {
                counting.underrun.fetch_add(missing as u64, Ordering::Relaxed);
            }
        };
        let stream = device
            .build_output_stream_raw(
                stream_config(&supported),
                supported.sample_format(),
                play,
                move |error| failing.report(&error),
                Some(PATIENCE),
            )
            .map_err(fail)?;
        stream.play().map_err(fail)?;
        Ok(Speaker { sample_rate, samples, shared, _stream: stream })
    }

    /// Its own rate, in samples a second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// How many samples wait to be played: what a call adds to its delay.
    pub fn queued(&self) -> usize {
        self.samples.occupied_len()
    }

    /// Queues samples to be played; says how many there was room for.
    pub fn write(&mut self, pcm: &[i16]) -> usize {
        self.shared.begun.store(true, Ordering::Relaxed);
        self.samples.push_slice(pcm)
    }

    /// What went wrong so far.
    pub fn glitches(&self) -> Glitches {
        self.shared.glitches()
    }
}

fn unknown_format(what: &str, supported: &SupportedStreamConfig) -> DeviceError {
    DeviceError::Failed(format!(
        "the {what} uses {} samples, which are not supported",
        supported.sample_format()
    ))
}

type Take = fn(&Data, usize, &mut HeapProd<i16>) -> usize;
type Give = fn(&mut Data, usize, &mut HeapCons<i16>) -> usize;

fn take_from(format: SampleFormat) -> Option<Take> {
    Some(match format {
        SampleFormat::I8 => take::<i8>,
        SampleFormat::I16 => take::<i16>,
        SampleFormat::I24 => take::<cpal::I24>,
        SampleFormat::I32 => take::<i32>,
        SampleFormat::U8 => take::<u8>,
        SampleFormat::U16 => take::<u16>,
        SampleFormat::U32 => take::<u32>,
        SampleFormat::F32 => take::<f32>,
        SampleFormat::F64 => take::<f64>,
        _ => return None,
    })
}

fn give_to(format: SampleFormat) -> Option<Give> {
    Some(match format {
        SampleFormat::I8 => give::<i8>,
        SampleFormat::I16 => give::<i16>,
        SampleFormat::I24 => give::<cpal::I24>,
        SampleFormat::I32 => give::<i32>,
        SampleFormat::U8 => give::<u8>,
        SampleFormat::U16 => give::<u16>,
        SampleFormat::U32 => give::<u32>,
        SampleFormat::F32 => give::<f32>,
        SampleFormat::F64 => give::<f64>,
        _ => return None,
    })
}

/// Mean of all channels into the ring; how many samples did not fit.
fn take<T>(data: &Data, channels: usize, ring: &mut HeapProd<i16>) -> usize
where
    T: SizedSample,
    i16: FromSample<T>,
{
    let frames = data.as_slice::<T>().unwrap_or_default().chunks_exact(channels);
    let wanted = frames.len();
    let taken = ring.push_iter(frames.map(|frame| {
        let sum: i32 = frame.iter().map(|&sample| i32::from(i16::from_sample(sample))).sum();
        (sum / channels as i32) as i16
    }));
    wanted - taken
}

/// The same sample to every channel, silence when the ring is empty; how many were missing.
fn give<T>(data: &mut Data, channels: usize, ring: &mut HeapCons<i16>) -> usize
where
    T: SizedSample + FromSample<i16>,
{
    let mut missing = 0;
    for frame in data.as_slice_mut::<T>().unwrap_or_default().chunks_exact_mut(channels) {
        let sample = ring.try_pop();
        missing += usize::from(sample.is_none());
        frame.fill(sample.map_or(T::EQUILIBRIUM, T::from_sample));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stereo_floats_become_their_mean_and_what_does_not_fit_is_counted() {
        let mut left_right = [0.5f32, -0.5, 0.25, 0.25, 1.0, 1.0];
        #[allow(unsafe_code)] // cpal makes its buffers only so.
        // SAFETY: pointer, length and format are those of the array, which outlives `data`.
        let data = unsafe { Data::from_parts(left_right.as_mut_ptr().cast(), 6, SampleFormat::F32) };
        let (mut producer, mut consumer) = HeapRb::new(2).split();
        assert_eq!(take::<f32>(&data, 2, &mut producer), 1);
        let mut pcm = [0; 4];
        assert_eq!(consumer.pop_slice(&mut pcm), 2);
        assert_eq!(pcm[..2], [0, 8192]);
    }

    #[test]
    fn a_speaker_without_samples_plays_silence_and_counts_it() {
        let mut out = [7u8; 6];
        #[allow(unsafe_code)] // cpal makes its buffers only so.
        // SAFETY: pointer, length and format are those of the array, which outlives `data`.
        let mut data = unsafe { Data::from_parts(out.as_mut_ptr().cast(), 6, SampleFormat::U8) };
        let (mut producer, mut consumer) = HeapRb::new(8).split();
        producer.push_slice(&[i16::MAX]);
        assert_eq!(give::<u8>(&mut data, 2, &mut consumer), 2);
        assert_eq!(out, [255, 255, 128, 128, 128, 128]);
    }

    #[test]
    fn devices_can_be_listed_or_the_reason_told() {
        match list() {
            Ok(devices) => assert!(devices.iter().all(|device| !device.id.is_empty())),
            Err(error) => assert!(error.to_string().contains(": "), "{error}"),
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = Speaker::open(Some("no such device")).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("`no such device`"), "{error}");
    }
}
