//! `undertone lab call`: builds the world, runs it, tells what came of it.

use super::ear::Ear;
use super::network::Network;
use super::outcome::{Direction, LabCall};
use super::page;
use crate::args::{LabCallArgs, Topology};
use crate::exit::{Failure, Fault, Outcome};
use crate::film::Film;
use crate::source::{Camera, Voice};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use undertone_codec::y4m;
use undertone_engine::{Call, Config, Event, Played, Role, Stats, VideoConfig};
use undertone_media::{Bitrate, Input, Machine, Output, SampleRate, Timestamp, VideoFrame};
use undertone_sfu::Sfu;
use undertone_sim::pcapng;
use undertone_sim::world::{NodeId, World};
use undertone_transport::dtls::{Certificate, Crypto};

/// The microphone's and the speaker's step.
const STEP: Duration = Duration::from_millis(10);
/// Between two points of the curves.
const SAMPLE: Duration = Duration::from_millis(200);
/// The room of an SFU call.
const ROOM: &str = "lab";

/// A machine of the lab.
enum Node {
    Call(Box<Call>),
    Sfu(Box<Sfu>),
}

impl Machine for Node {
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        match self {
            Node::Call(call) => call.handle(now, input),
            Node::Sfu(sfu) => sfu.handle(now, input),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        match self {
            Node::Call(call) => call.poll(),
            Node::Sfu(sfu) => sfu.poll(),
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        match self {
            Node::Call(call) => call.deadline(),
            Node::Sfu(sfu) => sfu.deadline(),
        }
    }
}

/// 32 bytes for one of several machines from the one number on the command line.
fn seed(seed: u64, which: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&which.to_le_bytes());
    bytes
}

fn address(which: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, which as u8 + 1), 5000))
}

/// What one participant is about.
struct Participant {
    node: NodeId,
    voice: Option<Voice>,
    /// Our own number in the room; `None` in a direct call.
    number: Option<u32>,
    setup: Option<Duration>,
    heard: Vec<i16>,
    played: Vec<(usize, Played)>,
    failure: Option<String>,
}

struct Lab {
    world: World<Node>,
    rate: SampleRate,
    people: Vec<Participant>,
    /// When everybody was connected, which is when people begin to speak.
    spoke: Option<Timestamp>,
    capture: Option<pcapng::Writer<BufWriter<File>>>,
    log: Option<BufWriter<File>>,
}

impl Lab {
    fn new(args: &LabCallArgs, network: &Network, camera: Option<VideoConfig>) -> Outcome<Lab> {
        let rate = args.sound.rate();
        let back = args.speech_back.as_deref().unwrap_or(&args.speech);
        let voices = [Voice::read(&args.speech, rate)?, Voice::read(back, rate)?];
        let anchor = anchor();
        let mut world = World::new();
        let count = if args.topology == Topology::P2p { 2 } else { 3 };
        let mut people = Vec::new();
        for which in 0..count {
            let role = match (args.topology, which) {
                (Topology::P2p, 0) => Role::Offer,
                (Topology::P2p, _) => Role::Answer,
                (Topology::Sfu, _) => Role::Join {
                    room: ROOM.into(),
                    token: String::new(),
                    name: ["a", "b", "c"][which].into(),
                },
            };
            let own = seed(args.seed, which as u64);
            let config = Config {
                certificate: Certificate::from_seed(own),
                crypto: Crypto::Seeded(own),
                // The third only listens: the room is there, the measured two are not mixed with it.
                audio: which < 2,
                sample_rate: rate,
                sound: args.sound.sound(),
                coding: args.coding.into(),
                video: camera.filter(|_| which == 0),
                audio_slots: count - 1,
                video_slots: usize::from(camera.is_some()),
                connect_timeout: Duration::from_secs(60),
                playout_slack: Duration::ZERO,
                ..Config::new(role, vec![address(which)], own, anchor)
            };
            let node = world.add(Node::Call(Box::new(Call::new(config))), address(which));
            let voice = voices.get(which).cloned();
            let (number, setup, failure) = (None, None, None);
            let (heard, played) = (Vec::new(), Vec::new());
            people.push(Participant { node, voice, number, setup, heard, played, failure });
        }
        match args.topology {
            Topology::P2p => {
                // The emulated link is b's: what it sends goes up, what it gets comes down.
                let (up, down) = network.links(args.seed, 1);
                world.link(people[0].node, people[1].node, down);
                world.link(people[1].node, people[0].node, up);
                world.connect((people[0].node, 0), (people[1].node, 0), Duration::ZERO);
            }
            Topology::Sfu => {
                let own = seed(args.seed, 99);
                let sfu = Sfu::new(undertone_sfu::Config {
                    public_addrs: vec![address(9)],
                    certificate: Certificate::from_seed(own),
                    crypto: Crypto::Seeded(own),
                    seed: own,
                    ..undertone_sfu::Config::new(anchor)
                });
                let sfu = world.add(Node::Sfu(Box::new(sfu)), address(9));
                for (which, person) in people.iter().enumerate() {
                    let (up, down) = network.links(args.seed, which as u64);
                    world.link(person.node, sfu, up);
                    world.link(sfu, person.node, down);
                    world.connect((person.node, 0), (sfu, which as u64 + 1), Duration::ZERO);
                }
            }
        }
        for person in &people {
            world.node_mut(person.node).handle(Timestamp::ZERO, Input::Tick);
        }
        let (mut capture, mut log) = (None, None);
        if let Some(dir) = &args.out {
            fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
            let file = dir.join("wire.pcapng");
            capture = Some(
                pcapng::Writer::new(BufWriter::new(create(&file)?))
                    .map_err(|error| unwritable(&file, &error))?,
            );
            log = Some(BufWriter::new(create(&dir.join("stats.ndjson"))?));
            world.record(true);
        }
        Ok(Lab { world, rate, people, spoke: None, capture, log })
    }

    fn call(&mut self, which: usize) -> &mut Call {
        match self.world.node_mut(self.people[which].node) {
            Node::Call(call) => call,
            Node::Sfu(_) => unreachable!("participants are calls"),
        }
    }

    fn stats(&self, which: usize) -> Stats {
        match self.world.node(self.people[which].node) {
            Node::Call(call) => call.stats(),
            Node::Sfu(_) => unreachable!("participants are calls"),
        }
    }

    /// Lets everything happen up to `now`, then moves sound by one step. Returns what each said.
    fn step(&mut self, now: Timestamp) -> Vec<Vec<i16>> {
        let frame = self.rate.frame();
        self.world.run_until(now);
        let mut said = Vec::new();
        for which in 0..self.people.len() {
            while let Some(event) = self.call(which).event() {
                match event {
                    Event::Joined { participant } => self.people[which].number = Some(participant),
                    Event::Connected { setup } => self.people[which].setup = Some(setup),
                    Event::Failed(failure) => self.people[which].failure = Some(failure.to_string()),
                    _ => {}
                }
            }
            let mut heard = vec![0; frame];
            let call = self.call(which);
            call.pull_audio(now, &mut heard);
            let played = call.played().to_vec();
            self.people[which].heard = heard;
            self.people[which].played = played;
            let speaking = self.spoke.is_some();
            let said_now = match &mut self.people[which].voice {
                Some(voice) if speaking => voice.next_frame(),
                _ => vec![0; frame],
            };
            self.call(which).push_audio(now, &said_now);
            said.push(said_now);
        }
        if self.spoke.is_none() && self.people.iter().all(|person| person.setup.is_some()) {
            self.spoke = Some(now);
        }
        said
    }

    /// The slot in which `listener` has `speaker`.
    fn slot(&mut self, listener: usize, speaker: usize) -> usize {
        let Some(number) = self.people[speaker].number else { return 0 };
        let count = self.people.len() - 1;
        let call = self.call(listener);
        (0..count).find(|&slot| call.participant(slot) == Some(number)).unwrap_or(count)
    }

    /// What `listener` played of `speaker` in the last step.
    fn played(&mut self, listener: usize, speaker: usize) -> Option<Played> {
        let slot = self.slot(listener, speaker);
        self.people[listener].played.iter().find(|(index, _)| *index == slot).map(|(_, played)| *played)
    }

    fn write_capture(&mut self) -> Outcome {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        for sent in self.world.take_sent() {
            capture.write(&sent).map_err(|error| Failure::usage(format!("wire.pcapng: {error}")))?;
        }
        Ok(())
    }
}

/// DTLS wants an instant; in virtual time any will do, since only differences to it are used.
fn anchor() -> Instant {
    Instant::now()
}

fn create(path: &Path) -> Outcome<File> {
    File::create(path).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{} cannot be written: {error}; give another --out", path.display()))
}

/// Runs the call of the command line.
pub fn call(args: &LabCallArgs) -> Outcome {
    let network = Network::parse(&args.network)?;
    let mut camera = Camera::open(&args.video)?;
    let mut lab = Lab::new(args, &network, camera.as_ref().map(|camera| camera.config))?;
    let (mut forth, mut back) = (Ear::new(lab.rate), Ear::new(lab.rate));
    let mut screen = None;
    let mut filmed = 0u64;
    let mut shown: Option<VideoFrame> = None;
    let mut screen_due = None;
    let end = Timestamp::ZERO + Duration::from_secs(args.secs);
    let mut now = Timestamp::ZERO;
    while now < end {
        now += STEP;
        let said = lab.step(now);
        let (by_a, by_b) = (lab.played(0, 1), lab.played(1, 0));
        forth.hear(&said[0], &lab.people[1].heard, by_b);
        back.hear(&said[1], &lab.people[0].heard, by_a);
        if let (Some(camera), Some(spoke)) = (&mut camera, lab.spoke) {
            while spoke + camera.next_due() <= now {
                let picture = camera.take(now)?;
                forth.film(now, camera.config.fps, filmed, &picture);
                filmed += 1;
                lab.call(0).push_video(now, &picture);
            }
            while let Some((_, picture)) = lab.call(1).pull_video() {
                forth.see(now, &picture);
                shown = Some(picture);
            }
            if let Some(dir) = &args.out {
                write_screen(dir, &mut screen, &mut screen_due, now, camera.config, shown.as_ref())?;
            }
        }
        if now.as_micros().is_multiple_of(SAMPLE.as_micros() as u64) {
            let (a, b) = (lab.stats(0), lab.stats(1));
            let (slot_b, slot_a) = (lab.slot(1, 0), lab.slot(0, 1));
            forth.sample(now, SAMPLE, &a, &b, Some(slot_b));
            back.sample(now, SAMPLE, &b, &a, Some(slot_a));
            if let Some(log) = &mut lab.log {
                for (name, ear, speaker) in [("a_to_b", &forth, &a), ("b_to_a", &back, &b)] {
                    let line = page::stats_line(name, ear, speaker);
                    writeln!(log, "{line}")
                        .map_err(|error| Failure::usage(format!("stats.ndjson: {error}")))?;
                }
            }
            lab.write_capture()?;
        }
    }
    lab.write_capture()?;
    if let Some(failure) = lab.people.iter().find_map(|person| person.failure.clone()) {
        return Err(Failure::new(Fault::Media, failure));
    }
    let result = conclude(args, &network, &lab, &forth, &back, end);
    if let Some(dir) = &args.out {
        write_files(dir, args, &result, &forth, &back)?;
    }
    if let Some(capture) = lab.capture.take() {
        capture
            .finish()
            .and_then(|mut out| out.flush())
            .map_err(|error| Failure::usage(error.to_string()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&result).map_err(Failure::usage)?);
    } else {
        page::print(&result);
    }
    gate(args, &result.first)
}

fn conclude(
    args: &LabCallArgs,
    network: &Network,
    lab: &Lab,
    forth: &Ear,
    back: &Ear,
    end: Timestamp,
) -> LabCall {
    let (a, b) = (lab.stats(0), lab.stats(1));
    let mut a_to_b = forth.direction(end, lab.spoke, &a, &b);
    let b_to_a = back.direction(end, lab.spoke, &b, &a);
    a_to_b.video = forth.video(end, capacity(network, end));
    if let (Some(&(first, _)), Some(&(last, rate))) = (network.steps.first(), network.steps.last()) {
        let before = network.steps.get(1).map_or(first, |second| second.0);
        let usual = forth.received_kbps(first + Duration::from_secs(2), before);
        let wanted = if usual > 0.0 { usual.min(rate.as_kbps_f64()) } else { rate.as_kbps_f64() };
        a_to_b.recover90_s = forth.recovery(last, wanted);
    }
    let setup_ms = lab.people[0].setup.map(|setup| setup.as_secs_f64() * 1000.0);
    LabCall { schema: "undertone.lab.call/1", seed: args.seed, setup_ms, first: a_to_b, a_to_b, b_to_a }
}

/// What the path towards b could carry on average; `None` without a limit.
fn capacity(network: &Network, end: Timestamp) -> Option<Bitrate> {
    if let Some(trace) = &network.down.trace {
        return Some(trace.mean_rate());
    }
    if network.steps.is_empty() {
        return network.down.rate;
    }
    let mut carried = 0u128;
    for (index, &(from, rate)) in network.steps.iter().enumerate() {
        let to = network.steps.get(index + 1).map_or(end, |next| next.0.min(end));
        carried += u128::from(rate.as_bps()) * to.since(from).as_micros();
    }
    Some(Bitrate::from_bps((carried / u128::from(end.as_micros().max(1))) as u64))
}

fn gate(args: &LabCallArgs, result: &Direction) -> Outcome {
    if let Some(least) = args.min_mos
        && result.mos < least
    {
        return Err(Failure::new(
            Fault::Quality,
            format!("MOS {:.2} is below --min-mos {least}", result.mos),
        ));
    }
    let lost = result.concealed_ratio * 100.0;
    if let Some(most) = args.max_loss
        && lost > most
    {
        return Err(Failure::new(
            Fault::Quality,
            format!("{lost:.1} % was lost for good; --max-loss is {most}"),
        ));
    }
    Ok(())
}

/// Writes what the screen shows at each picture's time: a frozen picture is written again.
fn write_screen(
    dir: &Path,
    screen: &mut Option<Film>,
    due: &mut Option<Timestamp>,
    now: Timestamp,
    config: VideoConfig,
    shown: Option<&VideoFrame>,
) -> Outcome {
    let path = dir.join("received.y4m");
    let failed = |error: y4m::Y4mError| Failure::usage(format!("{}: {error}", path.display()));
    if screen.is_none() {
        let header = y4m::Header { width: config.width, height: config.height, fps: (config.fps, 1) };
        *screen = Some(Film::create(&path, header).map_err(failed)?);
        *due = Some(now);
    }
    let (Some(screen), Some(due)) = (screen, due) else { return Ok(()) };
    let black = VideoFrame::black(config.width, config.height, now);
    while *due <= now {
        screen.show(shown.unwrap_or(&black)).map_err(failed)?;
        *due += Duration::from_micros(1_000_000 / u64::from(config.fps));
    }
    Ok(())
}

fn write_files(dir: &Path, args: &LabCallArgs, result: &LabCall, forth: &Ear, back: &Ear) -> Outcome {
    let rate = forth.rate.hz();
    for (name, samples) in [
        ("sent.wav", &forth.sent),
        ("received.wav", &forth.received),
        ("sent-back.wav", &back.sent),
        ("received-back.wav", &back.received),
    ] {
        undertone_io::files::write_wav(dir.join(name), rate, samples).map_err(Failure::usage)?;
    }
    let html = page::report(args, result, forth, back).html();
    let path = dir.join("report.html");
    fs::write(&path, html).map_err(|error| unwritable(&path, &error))
}
