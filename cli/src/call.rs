//! `undertone call`: join a room and talk, from files or with a microphone.

use crate::args::{CallArgs, SoundArgs};
use crate::exit::{Failure, Fault, Outcome};
use crate::film::Film;
use crate::lab::{Percentiles, frozen};
use crate::participant::{self, Options, Sound, Stayed, Watch};
use crate::source::{Camera, Voice};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use undertone_codec::y4m;
use undertone_engine::{AudioSlotStats, Event, Stats};
use undertone_io::{Clock, Shutdown, ws};
use undertone_media::{Sound as Sent, Timestamp, VideoFrame};
use undertone_sim::score;

/// A recorded film is at least so wide.
const FILM_WIDTH_LEAST: usize = 640;

/// Sound from a file, a tone or nothing; what is heard is kept by the ear.
struct Files(Voice);

impl Sound for Files {
    fn capture(&mut self, _now: Timestamp) -> Vec<i16> {
        self.0.next_frame()
    }

    fn play(&mut self, _now: Timestamp, _heard: &[i16]) {}
}

/// The line on the terminal, and the pictures in a file.
struct Screen {
    bar: ProgressBar,
    secs: Option<u64>,
    connected: Option<Timestamp>,
    out: Option<PathBuf>,
    video: Option<Film>,
    pictures: u64,
    before: Stats,
    looked: Timestamp,
}

impl Screen {
    fn new(args: &CallArgs, out: Option<PathBuf>) -> Screen {
        let bar = match args.secs {
            Some(secs) => ProgressBar::new(secs * 10).with_style(style("{bar:24} {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
        };
        bar.set_message("looking for the other side …");
        Screen {
            bar,
            secs: args.secs,
            connected: None,
            out,
            video: None,
            pictures: 0,
            before: Stats::default(),
            looked: Timestamp::ZERO,
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The voice that says most, which is what a line has room for.
pub fn loudest(stats: &Stats) -> AudioSlotStats {
    stats.audio.iter().copied().max_by_key(|audio| audio.received).unwrap_or_default()
}

/// `41 kbit/s out, 40 in, loss 9.8 %, delay 128 ms, made up 0.4 %`.
pub fn status(now: Timestamp, looked: Timestamp, before: &Stats, stats: &Stats) -> String {
    let secs = now.since(looked).as_secs_f64().max(1e-3);
    let kbps = |now: u64, before: u64| now.saturating_sub(before) as f64 * 8.0 / secs / 1000.0;
    let audio = loudest(stats);
    let share = |part: u64, whole: u64| 100.0 * part as f64 / (whole as f64).max(1.0);
    let mut line = format!(
        "{:4.0} kbit/s out {:4.0} in   loss {:4.1} %   made up {:4.1} %",
        kbps(stats.wire_sent.as_bytes(), before.wire_sent.as_bytes()),
        kbps(stats.wire_received.as_bytes(), before.wire_received.as_bytes()),
        share(audio.lost, audio.received + audio.lost - audio.repaired),
        share(audio.concealed, audio.voiced()),
    );
    if let Some(delay) = audio.mouth_to_ear {
        line.push_str(&format!("   delay {:3} ms", delay.as_millis()));
    } else if let Some(rtt) = stats.rtt {
        line.push_str(&format!("   round trip {:3} ms", rtt.as_millis()));
    }
    let pictures: u64 = stats.video.iter().map(|video| video.decoded).sum();
    if pictures > 0 {
        line.push_str(&format!("   {pictures} pictures"));
    }
    line
}

impl Watch for Screen {
    fn look(&mut self, now: Timestamp, stats: &Stats) {
        if self.connected.is_none() {
            return;
        }
        self.bar.set_message(status(now, self.looked, &self.before, stats));
        self.looked = now;
        self.before = stats.clone();
        if let (Some(since), Some(secs)) = (self.connected, self.secs) {
            self.bar.set_position((now.since(since).as_millis() as u64 / 100).min(secs * 10));
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Connected { setup } => {
                self.connected = Some(self.looked);
                tracing::info!("connected after {} ms", setup.as_millis());
            }
            Event::Sending { sound: Sent::Speech, reason } => {
                tracing::info!("a voice is sent instead of music ({})", reason.name());
            }
            Event::Sending { .. } => tracing::info!("music is sent again"),
            Event::Roster(people) => {
                let names: Vec<&str> = people.iter().map(|it| it.name.as_str()).collect();
                tracing::info!("in the room: {}", names.join(", "));
            }
            other => tracing::debug!("{other:?}"),
        }
    }

    fn picture(&mut self, _now: Timestamp, _slot: usize, picture: &VideoFrame) {
        self.pictures += 1;
        let Some(dir) = &self.out else { return };
        if self.video.is_none() {
            // Pictures begin small where the path is not yet known: a film is larger than the first.
            let times = FILM_WIDTH_LEAST.div_ceil(picture.width.max(1));
            let header =
                y4m::Header { width: picture.width * times, height: picture.height * times, fps: (30, 1) };
            self.video = Film::create(&dir.join("received.y4m"), header).ok();
        }
        if let Some(film) = &mut self.video
            && let Err(error) = film.show(picture)
        {
            tracing::debug!("received.y4m: {error}");
        }
    }
}

/// `undertone call`.
pub fn call(args: &CallArgs) -> Outcome {
    let to_device = args.out.as_deref() == Some("device") || (args.out.is_none() && cfg!(feature = "device"));
    let out = args.out.as_deref().filter(|out| *out != "device").map(PathBuf::from);
    if let Some(dir) = &out {
        fs::create_dir_all(dir).map_err(|error| {
            Failure::usage(format!("{} cannot be made: {error}; give another --out", dir.display()))
        })?;
    }
    let mut sound = open_sound(args, to_device)?;
    let camera = Camera::open(&args.video)?;
    let trust = match &args.trust {
        Some(path) => ws::Trust::Certificate(fs::read(path).map_err(|error| {
            Failure::usage(format!("--trust: {} cannot be read: {error}", path.display()))
        })?),
        None => ws::Trust::System,
    };
    let stop = Arc::new(AtomicBool::new(false));
    watch_signals(stop.clone())?;
    let mut screen = Screen::new(args, out.clone());
    let options = Options {
        url: args.room_url.clone(),
        name: args.name.clone(),
        trust,
        rate: args.sound.rate(),
        sends: args.sound.sound(),
        coding: args.coding.into(),
        video_slots: 4,
        stay: args.secs.map(Duration::from_secs),
    };
    let stayed = participant::join(options, Clock::new(), sound.as_mut(), camera, &mut screen, stop);
    screen.bar.finish_and_clear();
    let stayed = stayed?;
    if let Some(dir) = &out {
        let rate = stayed.ear.rate.hz();
        for (name, samples) in [("sent.wav", &stayed.ear.sent), ("received.wav", &stayed.ear.received)] {
            undertone_io::files::write_wav(dir.join(name), rate, samples).map_err(Failure::usage)?;
        }
    }
    report(args, &stayed, out.as_deref());
    gate(args, &stayed.stats)
}

fn watch_signals(stop: Arc<AtomicBool>) -> Outcome {
    let shutdown = Shutdown::on_signals().map_err(Failure::usage)?;
    std::thread::spawn(move || {
        while !shutdown.is_triggered() {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

fn open_sound(args: &CallArgs, to_device: bool) -> Outcome<Box<dyn Sound>> {
    let rate = args.sound.rate();
    let voice = match args.input.as_str() {
        "device" => None,
        "tone" => Some(Voice::tone(rate)),
        "silence" => Some(Voice::silence(rate)),
        file => Some(Voice::read(Path::new(file), rate)?),
    };
    match voice {
        Some(voice) if !to_device => Ok(Box::new(Files(voice))),
        voice => open_device(voice, to_device, args.sound),
    }
}

#[cfg(feature = "device")]
fn open_device(voice: Option<Voice>, speaker: bool, sound: SoundArgs) -> Outcome<Box<dyn Sound>> {
    Ok(Box::new(crate::device::Devices::open(voice, speaker, sound)?))
}

#[cfg(not(feature = "device"))]
fn open_device(_voice: Option<Voice>, _speaker: bool, _sound: SoundArgs) -> Outcome<Box<dyn Sound>> {
    Err(Failure::new(
        Fault::Device,
        "this build has no sound devices; build with `--features device`, or give --in FILE.wav and --out DIR",
    ))
}

fn mos(stats: &Stats) -> f64 {
    let audio = loudest(stats);
    let lost = 100.0 * audio.concealed as f64 / (audio.voiced() as f64).max(1.0);
    let delay = audio.mouth_to_ear.or(stats.rtt.map(|rtt| rtt / 2 + audio.target)).unwrap_or_default();
    score::mos(delay.as_secs_f64() * 1000.0, lost)
}

/// Share of the time since its first picture in which the busiest slot stood still; none before it had two.
fn frozen_ratio(stayed: &Stayed) -> Option<f64> {
    let slots = 0..stayed.stats.video.len();
    let shown = |slot| stayed.shown.iter().filter(move |(of, _)| *of == slot).map(|(_, at)| *at);
    let busiest = slots.max_by_key(|&slot| shown(slot).count())?;
    let moments: Vec<Timestamp> = shown(busiest).chain([stayed.span.1]).collect();
    let span = moments.last()?.since(*moments.first()?).as_secs_f64();
    let usual = span / (moments.len() - 1) as f64;
    (moments.len() > 2).then(|| frozen(&moments, usual).as_secs_f64() / span)
}

/// Packets that never came, in percent of those that should have.
fn lost_percent(audio: &AudioSlotStats) -> f64 {
    let missing = audio.lost.saturating_sub(audio.repaired);
    100.0 * missing as f64 / ((audio.received + missing) as f64).max(1.0)
}

fn report(args: &CallArgs, stayed: &Stayed, out: Option<&Path>) {
    let stats = &stayed.stats;
    let (began, ended) = stayed.span;
    let direction = stayed.ear.direction(ended, Some(began), stats, stats);
    let audio = loudest(stats);
    let secs = ended.since(began).as_secs_f64();
    let pictures: u64 = stats.video.iter().map(|video| video.decoded).sum();
    let setup = stats.setup.map(|setup| setup.as_secs_f64() * 1000.0);
    if args.json {
        let millis = |span: Duration| (span.as_secs_f64() * 1e5).round() / 100.0;
        let line = json!({
            "schema": "undertone.call/1",
            "secs": secs,
            "setup_ms": setup,
            "rtt_ms": stats.rtt.map(millis),
            "sending": stats.sending.map(|sound| format!("{sound:?}").to_lowercase()),
            "heard": direction,
            "packets": {
                "received": audio.received, "lost": audio.lost, "repaired": audio.repaired,
                "lost_percent": lost_percent(&audio), "bad": stats.session.bad, "unauthentic": stats.session.unauthentic,
            },
            "video": {
                "sent": stats.video_frames.0,
                "decoded": pictures,
                "decoded_per_slot": stats.video.iter().map(|video| video.decoded).collect::<Vec<u64>>(),
                "undecodable": stats.video.iter().map(|video| video.undecodable).sum::<u64>(),
                "fps": pictures as f64 / secs,
                "frozen_ratio": frozen_ratio(stayed),
                "delay_ms": Percentiles::of(&stayed.video_delays.iter().map(|it| millis(*it)).collect::<Vec<f64>>()),
            },
            "mos": mos(stats),
        });
        println!("{line}");
        return;
    }
    println!(
        "call               {secs:.1} s, connected after {} ms",
        setup.map_or("–".into(), |ms| format!("{ms:.0}"))
    );
    for (name, value) in crate::lab::facts(&direction) {
        println!("{name:<19}{value}");
    }
    println!(
        "packets lost       {} on the way, {} for good",
        audio.lost,
        audio.lost.saturating_sub(audio.repaired)
    );
    if pictures > 0 {
        println!("pictures seen      {pictures}");
    }
    if let Some(dir) = out {
        println!("recorded           {}", dir.display());
    }
}

fn gate(args: &CallArgs, stats: &Stats) -> Outcome {
    let audio = loudest(stats);
    if audio.received == 0 && args.min_mos.or(args.max_loss).is_some() {
        return Err(Failure::new(Fault::Quality, "nothing was heard, so there is no quality to speak of"));
    }
    if let Some(least) = args.min_mos
        && mos(stats) < least
    {
        return Err(Failure::new(
            Fault::Quality,
            format!("MOS {:.2} is below --min-mos {least}", mos(stats)),
        ));
    }
    if let Some(most) = args.max_loss
        && lost_percent(&audio) > most
    {
        let lost = lost_percent(&audio);
        return Err(Failure::new(
            Fault::Quality,
            format!("{lost:.1} % was lost for good; --max-loss is {most}"),
        ));
    }
    Ok(())
}
