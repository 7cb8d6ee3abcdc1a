//! `undertone demo`: a real call of three, first over bare loopback, then through a weak link.
//!
//! Everything is real but the weak link: an SFU with its HTTP server, three participants with sockets and
//! clocks of their own, WebSocket signalling, ICE, DTLS and SRTP over UDP. The weak link is a relay on this
//! machine, driven by the same model that `undertone lab` uses. It ends with a page to open.

use crate::args::{DemoArgs, NetworkArgs};
use crate::call::status;
use crate::exit::{Failure, Fault, Outcome};
use crate::lab::{Direction, Ear, Network, charts, command, facts};
use crate::participant::{self, Options, Sound, Stayed, Watch};
use crate::report::{Heard, Report, still};
use crate::serve;
use crate::source::{Camera, Voice};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use undertone_codec::SAMPLE_RATE;
use undertone_engine::{Coding, Event, FRAME_SAMPLES, Stats};
use undertone_io::relay::{self, Relay};
use undertone_io::udp::Socket;
use undertone_io::{Clock, Shutdown, ws};
use undertone_media::{SampleRate, Sound as Sent, Timestamp, VideoFrame};

const NAMES: [&str; 3] = ["ada", "ben", "cleo"];
/// Who has the camera.
const FILMED: usize = 0;
/// How long one speaks before the next does.
const TURN: Duration = Duration::from_secs(3);
/// How long the part without a weak link takes: enough for every voice, and for a delay to be trusted.
const CLEAN_SECS: u64 = 9;
/// Speech that the repository ships.
const SPEECH: [&str; 3] = [
    "testdata/speech/librivox_austen_0870.wav",
    "testdata/speech/codec2_speech_orig_16k.wav",
    "testdata/speech/librivox_austen_0890.wav",
];

/// Speaks when it is its turn, once everybody is there.
struct Turns {
    voice: Voice,
    which: u32,
    people: Arc<People>,
}

/// What the three know of each other.
struct People {
    connected: AtomicU32,
    /// When the talk began, in µs; 0: not yet.
    began: AtomicU64,
}

impl Sound for Turns {
    fn capture(&mut self, now: Timestamp) -> Vec<i16> {
        let began = self.people.began.load(Ordering::Relaxed);
        if began == 0 {
            return vec![0; FRAME_SAMPLES];
        }
        let talked = now.since(Timestamp::from_micros(began));
        let turn = (talked.as_micros() / TURN.as_micros()) as u32 % NAMES.len() as u32;
        if turn == self.which { self.voice.next_frame() } else { vec![0; FRAME_SAMPLES] }
    }

    fn play(&mut self, _now: Timestamp, _heard: &[i16]) {}
}

struct Line {
    bar: ProgressBar,
    people: Arc<People>,
    before: Stats,
    looked: Timestamp,
    stills: Vec<(f64, VideoFrame)>,
    pictures: u64,
    began: Option<Timestamp>,
}

impl Watch for Line {
    fn look(&mut self, now: Timestamp, stats: &Stats) {
        self.bar.set_message(status(now, self.looked, &self.before, stats));
        if let Some(began) = self.began {
            self.bar.set_position(now.since(began).as_millis() as u64 / 100);
        }
        self.looked = now;
        self.before = stats.clone();
    }

    fn event(&mut self, event: &Event) {
        if let Event::Connected { .. } = event {
            let there = self.people.connected.fetch_add(1, Ordering::Relaxed) + 1;
            if there == NAMES.len() as u32 {
                self.people.began.store(self.looked.as_micros().max(1), Ordering::Relaxed);
            }
        }
    }

    fn picture(&mut self, now: Timestamp, _slot: usize, picture: &VideoFrame) {
        let began = *self.began.get_or_insert(now);
        self.pictures += 1;
        if self.pictures % 80 == 40 && self.stills.len() < 4 {
            self.stills.push((now.since(began).as_secs_f64(), picture.clone()));
        }
    }
}

/// One participant after a part of the demo.
struct Left {
    stayed: Stayed,
    stills: Vec<(f64, VideoFrame)>,
    pictures: u64,
    secs: f64,
}

/// `undertone demo`.
pub fn demo(args: &DemoArgs) -> Outcome {
    fs::create_dir_all(&args.out).map_err(|error| {
        Failure::usage(format!("{} cannot be made: {error}; give another --out", args.out.display()))
    })?;
    let voices = voices(&args.speech)?;
    let quiet = args.json;
    let say = |text: &str| {
        if !quiet {
            println!("{text}");
        }
    };
    say("Three people in a room, over real UDP on this machine.\n");
    say("1  Bare loopback: what the engine itself costs.");
    let clean = part(CLEAN_SECS, None, &voices, args.seed, quiet)?;
    let clean = conclude(&args.out.join("clean"), &clean)?;
    if !quiet {
        table(&clean);
    }
    let mut parts = vec![("bare loopback", clean)];
    let network = weak(&args.network);
    if !args.clean {
        say(&format!("\n2  A weak link for each: {}.", describe(&network)));
        let weak = part(args.secs, Some(Network::parse(&network)?), &voices, args.seed, quiet)?;
        let weak = conclude(&args.out.join("weak"), &weak)?;
        if !quiet {
            table(&weak);
        }
        parts.push(("weak link", weak));
    }
    let page = args.out.join("report.html");
    fs::write(&page, report(args, &network, &parts).html())
        .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", page.display())))?;
    if quiet {
        let line = json!({
            "schema": "undertone.demo/1",
            "report": page,
            "parts": parts.iter().map(|(name, heard)| json!({
                "name": name,
                "heard": heard.iter().map(|it| json!({
                    "name": it.name, "setup_ms": it.setup_ms, "lost": it.lost, "lost_for_good": it.lost_for_good,
                    "fps": it.fps, "direction": it.direction,
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        });
        println!("{line}");
    } else {
        println!("\nListen and look: {}", page.canonicalize().unwrap_or(page).display());
    }
    Ok(())
}

fn voices(files: &[PathBuf]) -> Outcome<Vec<Voice>> {
    if !files.is_empty() {
        return (0..NAMES.len())
            .map(|which| Voice::read(&files[which % files.len()], SampleRate::Wide))
            .collect();
    }
    if SPEECH.iter().all(|file| Path::new(file).is_file()) {
        return SPEECH.iter().map(|file| Voice::read(Path::new(file), SampleRate::Wide)).collect();
    }
    Ok(vec![Voice::tone(SampleRate::Wide); NAMES.len()])
}

/// The link that was asked for, or one that many people have on a crowded Wi-Fi or at the edge of a cell.
fn weak(asked: &NetworkArgs) -> NetworkArgs {
    let plain = asked.delay == "20"
        && asked.jitter == "0"
        && asked.loss == "0"
        && asked.outage.is_none()
        && asked.rate.is_none()
        && asked.trace.is_none()
        && asked.steps.is_none()
        && asked.at.is_empty();
    if !plain {
        return asked.clone();
    }
    NetworkArgs {
        delay: "30".into(),
        jitter: "20".into(),
        loss: "5".into(),
        rate: Some("600".into()),
        ..asked.clone()
    }
}

fn describe(network: &NetworkArgs) -> String {
    let mut text = format!(
        "{} ms each way, {} ms of jitter, {} % of packets lost",
        network.delay, network.jitter, network.loss
    );
    if let Some(rate) = &network.rate {
        text.push_str(&format!(", {rate} kbit/s"));
    }
    text
}

/// Starts a server, lets three people talk through it, stops it.
fn part(secs: u64, network: Option<Network>, voices: &[Voice], seed: u64, quiet: bool) -> Outcome<Vec<Left>> {
    let clock = Clock::new();
    let loopback = ([127, 0, 0, 1], 0).into();
    // The relay has to know the server, and the server's answers name the relay: so the media port is
    // chosen first.
    let media = Socket::bind(loopback).map_err(Failure::usage)?.local_addr();
    let relay = match network {
        Some(network) => {
            let paths: relay::NewPath = Box::new(move |client| {
                let (up, down) = network.links(seed, client as u64);
                relay::Path { up: Box::new(up), down: Box::new(down) }
            });
            Some(Relay::start(relay::Config::new(media, paths), clock).map_err(Failure::usage)?)
        }
        None => None,
    };
    let public = relay.iter().map(Relay::local_addr).collect();
    let options = serve::Options { http: loopback, media, public, key: None, only_rooms: None, tls: None };
    let server = serve::start(options, clock, Shutdown::new())?;
    let url = format!("http://{}/demo", server.http);
    let people = Arc::new(People { connected: AtomicU32::new(0), began: AtomicU64::new(0) });
    let bars = MultiProgress::new();
    if quiet {
        bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let left: Arc<Mutex<Vec<Option<Outcome<Left>>>>> = Arc::new(Mutex::new(vec![None, None, None]));
    std::thread::scope(|scope| {
        for which in 0..NAMES.len() {
            let bar = bars.add(
                ProgressBar::new(secs * 10).with_style(
                    ProgressStyle::with_template("   {prefix:5} {bar:16} {msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_bar()),
                ),
            );
            bar.set_prefix(NAMES[which]);
            let (voice, url, people, left) =
                (voices[which].clone(), url.clone(), people.clone(), left.clone());
            scope.spawn(move || {
                let outcome = stay(which, secs, url, voice, people, bar, clock);
                left.lock().unwrap_or_else(PoisonError::into_inner)[which] = Some(outcome);
            });
        }
    });
    server.stop();
    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
    left.drain(..)
        .map(|one| {
            one.unwrap_or_else(|| Err(Failure::new(Fault::Media, "a participant's thread ended early")))
        })
        .collect()
}

fn stay(
    which: usize,
    secs: u64,
    url: String,
    voice: Voice,
    people: Arc<People>,
    bar: ProgressBar,
    clock: Clock,
) -> Outcome<Left> {
    let mut sound = Turns { voice, which: which as u32, people: people.clone() };
    let camera = (which == FILMED).then(Camera::pattern);
    let mut line = Line {
        bar,
        people,
        before: Stats::default(),
        looked: clock.now(),
        stills: Vec::new(),
        pictures: 0,
        began: None,
    };
    let options = Options {
        url,
        name: NAMES[which].into(),
        trust: ws::Trust::System,
        rate: SampleRate::Wide,
        sends: Sent::Speech,
        coding: Coding::default(),
        video_slots: 2,
        stay: Some(Duration::from_secs(secs)),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stayed = participant::join(options, clock, &mut sound, camera, &mut line, stop)?;
    line.bar.finish_and_clear();
    let secs = stayed.span.1.since(stayed.span.0).as_secs_f64();
    Ok(Left { stayed, stills: line.stills, pictures: line.pictures, secs })
}

/// What one participant heard of the others.
struct Account {
    name: &'static str,
    setup_ms: Option<f64>,
    direction: Direction,
    lost: u64,
    lost_for_good: u64,
    fps: Option<f64>,
    files: [String; 2],
    said: Vec<i16>,
    ear: Ear,
    stills: Vec<(f64, VideoFrame)>,
}

/// Writes what was said and heard, and sums up.
fn conclude(dir: &Path, left: &[Left]) -> Outcome<Vec<Account>> {
    fs::create_dir_all(dir).map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
    let mut accounts = Vec::new();
    for (which, listener) in left.iter().enumerate() {
        let stats = &listener.stayed.stats;
        let said = said_by_others(left, which);
        let mut ear = listener.stayed.ear.clone();
        ear.sent = said.clone();
        ear.received.resize(said.len(), 0);
        let files = [format!("{}-others-said.wav", NAMES[which]), format!("{}-heard.wav", NAMES[which])];
        for (file, samples) in files.iter().zip([&ear.sent, &ear.received]) {
            undertone_io::files::write_wav(dir.join(file), SAMPLE_RATE, samples).map_err(Failure::usage)?;
        }
        let part = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (began, ended) = listener.stayed.span;
        let end = Timestamp::ZERO + ended.since(began);
        let sum =
            |part: fn(&undertone_engine::AudioSlotStats) -> u64| stats.audio.iter().map(part).sum::<u64>();
        accounts.push(Account {
            name: NAMES[which],
            setup_ms: stats.setup.map(|setup| setup.as_secs_f64() * 1000.0),
            direction: ear.direction(end, Some(Timestamp::ZERO), stats, stats),
            lost: sum(|audio| audio.lost),
            lost_for_good: sum(|audio| audio.lost.saturating_sub(audio.repaired)),
            fps: (which != FILMED).then(|| listener.pictures as f64 / listener.secs),
            files: files.map(|file| format!("{part}/{file}")),
            said,
            ear,
            stills: listener.stills.clone(),
        });
    }
    Ok(accounts)
}

/// The voices of the others, mixed, on the clock of the listener.
fn said_by_others(left: &[Left], listener: usize) -> Vec<i16> {
    let own = &left[listener].stayed;
    let mut mix = vec![0i32; own.ear.sent.len()];
    for (_, other) in left.iter().enumerate().filter(|(which, _)| *which != listener) {
        let shift = other.stayed.span.0.micros_from(own.span.0) * i64::from(SAMPLE_RATE) / 1_000_000;
        for (index, &sample) in other.stayed.ear.sent.iter().enumerate() {
            let place = usize::try_from(index as i64 + shift).ok().and_then(|place| mix.get_mut(place));
            if let Some(sum) = place {
                *sum += i32::from(sample);
            }
        }
    }
    mix.into_iter().map(|sum| sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16).collect()
}

fn table(accounts: &[Account]) {
    println!("   heard by   mouth to ear (95 %)    made up   lost, for good   kbit/s out, in   pictures");
    for it in accounts {
        let direction = &it.direction;
        println!(
            "   {:<9} {:>6.0} ms ({:>4.0} ms) {:>9.2} % {:>7}, {:<7} {:>8.0}, {:<6.0} {}",
            it.name,
            direction.m2e_ms.p50.unwrap_or(f64::NAN),
            direction.m2e_ms.p95.unwrap_or(f64::NAN),
            direction.concealed_ratio * 100.0,
            it.lost,
            it.lost_for_good,
            direction.wire_kbps.sent,
            direction.wire_kbps.received,
            it.fps.map_or("–".into(), |fps| format!("{fps:.1} a second")),
        );
    }
}

fn report(args: &DemoArgs, network: &NetworkArgs, parts: &[(&str, Vec<Account>)]) -> Report {
    let worst = |of: &dyn Fn(&Account) -> f64, part: &[Account]| part.iter().map(of).fold(0.0, f64::max);
    let mut figures = Vec::new();
    for (name, part) in parts {
        let delay = worst(&|it| it.direction.m2e_ms.p95.unwrap_or(0.0), part);
        figures.push((
            "Mouth to ear".to_string(),
            format!("{delay:.0} ms"),
            format!("95 %, slowest ear, {name}"),
        ));
        let made_up = worst(&|it| it.direction.concealed_ratio * 100.0, part);
        figures.push(("Made up".to_string(), format!("{made_up:.2} %"), format!("worst ear, {name}")));
    }
    let heard = parts.iter().rev().flat_map(|(name, part)| {
        part.iter().map(move |it| {
            let mut facts = facts(&it.direction);
            facts.push(("set-up".into(), format!("{:.0} ms", it.setup_ms.unwrap_or(f64::NAN))));
            facts.push((
                "packets lost".into(),
                format!("{} on the way, {} for good", it.lost, it.lost_for_good),
            ));
            facts.extend(it.fps.map(|fps| ("pictures".into(), format!("{fps:.1} a second"))));
            Heard {
                title: format!("{} heard the others: {name}", it.name),
                sent: (it.files[0].clone(), it.said.clone()),
                received: (it.files[1].clone(), it.ear.received.clone()),
                stills: it
                    .stills
                    .iter()
                    .map(|(secs, it)| (format!("seen at {secs:.1} s"), still(it, 320)))
                    .collect(),
                facts,
                charts: charts(&it.ear),
            }
        })
    });
    let heard = heard.collect();
    let mut settings = vec![
        ("Participants".into(), format!("{}; {} sends pictures", NAMES.join(", "), NAMES[FILMED])),
        ("Length".into(), format!("{CLEAN_SECS} s bare, {} s weak", args.secs)),
        ("Seed of the link".into(), args.seed.to_string()),
    ];
    if !args.clean {
        settings.insert(1, ("Weak link, each way".into(), describe(network)));
    }
    Report {
        title: "A call of three".into(),
        lead: "Three participants on one machine, over real UDP through a real SFU: ICE, DTLS, SRTP, jitter \
               buffers, congestion control. Speakers take turns of three seconds. First without any weak link, \
               then through an emulated one."
            .into(),
        figures,
        heard,
        settings,
        command: command(),
    }
}
