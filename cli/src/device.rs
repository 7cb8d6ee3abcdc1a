//! Microphone and speaker of this machine, with echo, noise and loudness taken care of.

use crate::args::SoundArgs;
use crate::exit::{Failure, Fault, Outcome};
use crate::participant::Sound;
use crate::source::Voice;
use undertone_codec::echo::{FrontEnd, FrontEndConfig};
use undertone_codec::resample::Resampler;
use undertone_io::device::{DeviceError, Microphone, Speaker};
use undertone_media::{SampleRate, Timestamp};

/// Sound kept ready for the speaker: its own period and a little for our beat.
const AHEAD_MS: usize = 30;

struct Input {
    microphone: Microphone,
    resampler: Resampler,
    raw: Vec<i16>,
    ready: Vec<i16>,
}

struct Output {
    speaker: Speaker,
    resampler: Resampler,
    ready: Vec<i16>,
}

/// A microphone (or a file in its place) and a speaker (or none).
pub struct Devices {
    input: Option<Input>,
    voice: Option<Voice>,
    output: Option<Output>,
    rate: SampleRate,
    /// None for music, which goes out as it came: to it, echo and noise are what it is made of. Who plays wears
    /// headphones.
    front: Option<FrontEnd>,
}

impl Devices {
    /// Opens what is wanted: the microphone unless there is a `voice`, the speaker if asked for.
    pub fn open(voice: Option<Voice>, speaker: bool, sound: SoundArgs) -> Outcome<Devices> {
        let rate = sound.rate();
        let failed = |error: DeviceError| Failure::new(Fault::Device, error);
        let made = |error: undertone_codec::CodecError| Failure::new(Fault::Device, error);
        let input = match &voice {
            Some(_) => None,
            None => {
                let microphone = Microphone::open(None).map_err(failed)?;
                let resampler = Resampler::new(microphone.sample_rate(), rate.hz(), 1).map_err(made)?;
                Some(Input { microphone, resampler, raw: vec![0; 4_800], ready: Vec::new() })
            }
        };
        let output = match speaker {
            false => None,
            true => {
                let speaker = Speaker::open(None).map_err(failed)?;
                let resampler = Resampler::new(rate.hz(), speaker.sample_rate(), 1).map_err(made)?;
                Some(Output { speaker, resampler, ready: Vec::new() })
            }
        };
        let front = (!sound.music).then(|| FrontEnd::new(FrontEndConfig { rate, ..Default::default() }));
        Ok(Devices { input, voice, output, rate, front })
    }
}

impl Sound for Devices {
    fn capture(&mut self, _now: Timestamp) -> Vec<i16> {
        if let Some(voice) = &mut self.voice {
            return voice.next_frame();
        }
        let step = self.rate.frame();
        let mut frame = vec![0; step];
        let Some(input) = &mut self.input else { return frame };
        let got = input.microphone.read(&mut input.raw);
        input.resampler.process(&input.raw[..got], &mut input.ready);
        // The device's clock is not ours: what piles up beyond three steps is let go.
        let most = 3 * step;
        if input.ready.len() > most {
            input.ready.drain(..input.ready.len() - most);
        }
        if input.ready.len() >= step {
            frame.copy_from_slice(&input.ready[..step]);
            input.ready.drain(..step);
        }
        // A frame that the front end refuses goes out as it came.
        if let Some(front) = &mut self.front {
            let _ = front.capture(&mut frame);
        }
        frame
    }

    fn play(&mut self, _now: Timestamp, heard: &[i16]) {
        // What the loudspeaker plays is what the canceller has to take out of the microphone.
        if let Some(front) = &mut self.front {
            let _ = front.render(heard);
        }
        let Some(output) = &mut self.output else { return };
        let ahead = output.speaker.sample_rate() as usize * AHEAD_MS / 1000;
        if output.speaker.queued() > 2 * ahead {
            return;
        }
        output.ready.clear();
        output.resampler.process(heard, &mut output.ready);
        output.speaker.write(&output.ready);
    }
}

/// `undertone devices`.
pub fn list() -> Outcome {
    let devices = undertone_io::device::list().map_err(|error| Failure::new(Fault::Device, error))?;
    if devices.is_empty() {
        return Err(Failure::new(Fault::Device, "this machine has no sound devices; plug one in"));
    }
    for device in devices {
        let mark = |is: bool, text: &'static str| if is { text } else { "" };
        println!(
            "{:<40} {}{}{}{}",
            device.name,
            mark(device.input, "microphone "),
            mark(device.output, "speaker "),
            mark(device.default_input, "(default microphone) "),
            mark(device.default_output, "(default speaker)"),
        );
    }
    Ok(())
}
