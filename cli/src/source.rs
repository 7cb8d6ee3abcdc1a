//! What a microphone and a camera would give: files in a loop, a tone, silence, a test pattern.

use crate::args::VideoArgs;
use crate::exit::{Failure, Outcome};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use undertone_codec::pattern::Pattern;
use undertone_codec::resample::Resampler;
use undertone_codec::y4m;
use undertone_engine::VideoConfig;
use undertone_media::{SampleRate, Timestamp, VideoFrame};

/// Sound in a loop, mono.
#[derive(Clone, Debug)]
pub struct Voice {
    rate: SampleRate,
    samples: Vec<i16>,
    at: usize,
}

impl Voice {
    /// The sound of a WAV file of any rate, at this one.
    pub fn read(path: &Path, rate: SampleRate) -> Outcome<Voice> {
        let pcm = undertone_io::files::read_wav(path).map_err(Failure::usage)?;
        let mut samples = Vec::new();
        if pcm.sample_rate == rate.hz() {
            samples = pcm.samples;
        } else {
            let mut resampler = Resampler::new(pcm.sample_rate, rate.hz(), 1)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            resampler.process(&pcm.samples, &mut samples);
        }
        if samples.is_empty() {
            return Err(Failure::usage(format!("{} holds no sound; record something first", path.display())));
        }
        Ok(Voice { rate, samples, at: 0 })
    }

    /// A soft tone of 440 Hz, swelling once a second so that a listener notices gaps.
    pub fn tone(rate: SampleRate) -> Voice {
        let sample = |n: u32| {
            let time = n as f32 / rate.hz() as f32;
            let swell = 0.55 - 0.45 * (std::f32::consts::TAU * time).cos();
            (6_000.0 * swell * (std::f32::consts::TAU * 440.0 * time).sin()) as i16
        };
        Voice { rate, samples: (0..rate.hz()).map(sample).collect(), at: 0 }
    }

    /// Nothing.
    pub fn silence(rate: SampleRate) -> Voice {
        Voice { rate, samples: vec![0; rate.frame()], at: 0 }
    }

    /// Samples until it begins again.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// The next 10 ms.
    pub fn next_frame(&mut self) -> Vec<i16> {
        let from = self.at;
        self.at = (from + self.rate.frame()) % self.samples.len();
        self.samples[from..]
            .iter()
            .chain(self.samples.iter().cycle())
            .take(self.rate.frame())
            .copied()
            .collect()
    }
}

/// Pictures in a loop.
pub struct Camera {
    source: Source,
    /// Size and rate of its pictures.
    pub config: VideoConfig,
    taken: u64,
}

enum Source {
    Pattern(Pattern),
    File { path: PathBuf, reader: y4m::Reader<BufReader<File>> },
}

impl Camera {
    /// What the options name, if anything.
    pub fn open(args: &VideoArgs) -> Outcome<Option<Camera>> {
        let camera = match args.video.as_deref() {
            None => return Ok(None),
            Some("pattern") => Ok(Camera::pattern()),
            Some(file) => Camera::file(file),
        };
        camera.map(|mut camera| {
            camera.config.prefer = args.prefer.into();
            Some(camera)
        })
    }

    /// The test pattern.
    pub fn pattern() -> Camera {
        let config = VideoConfig::default();
        let source = Source::Pattern(Pattern::new(config.width, config.height));
        Camera { source, config, taken: 0 }
    }

    fn file(name: &str) -> Outcome<Camera> {
        let path = PathBuf::from(name);
        let reader = read_y4m(&path)?;
        let header = reader.header();
        let fps = (header.fps.0.max(1).div_ceil(header.fps.1.max(1))).clamp(1, 60);
        let config = VideoConfig::new(header.width, header.height, fps);
        Ok(Camera { source: Source::File { path, reader }, config, taken: 0 })
    }

    /// How long after the first picture the next one is due.
    pub fn next_due(&self) -> std::time::Duration {
        std::time::Duration::from_micros(self.taken * 1_000_000 / u64::from(self.config.fps))
    }

    /// The next picture.
    pub fn take(&mut self, now: Timestamp) -> Outcome<VideoFrame> {
        let number = self.taken;
        self.taken += 1;
        match &mut self.source {
            Source::Pattern(pattern) => Ok(pattern.frame(number as u32, now)),
            Source::File { path, reader } => {
                let unreadable = |error| Failure::usage(format!("--video {}: {error}", path.display()));
                let mut frame = reader.next_frame().map_err(unreadable)?;
                if frame.is_none() {
                    *reader = read_y4m(path)?;
                    frame = reader.next_frame().map_err(unreadable)?;
                }
                let mut frame = frame.ok_or_else(|| {
                    Failure::usage(format!("--video {}: no pictures in it", path.display()))
                })?;
                frame.captured = now;
                Ok(frame)
            }
        }
    }
}

fn read_y4m(path: &Path) -> Outcome<y4m::Reader<BufReader<File>>> {
    let file = File::open(path).map_err(|error| {
        Failure::usage(format!("--video {}: {error}; give `pattern` or a y4m file", path.display()))
    })?;
    y4m::Reader::new(BufReader::with_capacity(1 << 20, file))
        .map_err(|error| Failure::usage(format!("--video {}: {error}", path.display())))
}
