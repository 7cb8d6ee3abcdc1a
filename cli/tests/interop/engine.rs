//! Our own engine as a peer, on a real socket, driven by `io`'s loop as `undertone call` is.

use super::material::{Tone, first_number_of, tone_of};
use super::room::Server;
use super::wait_for;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use undertone_codec::pattern::{Pattern, read_number};
use undertone_engine::{Call, Config, Event, FRAME_SAMPLES, Role, Stats, VideoConfig};
use undertone_io::run::{Beat, Hook, run};
use undertone_io::udp::Socket;
use undertone_io::{Clock, Mailbox, Signal, mailbox, ws};
use undertone_media::{Bitrate, Input, Machine};
use undertone_signaling::message::{self, Body, Description, DescriptionKind};

/// What the engine has heard, seen and said so far.
#[derive(Clone, Default)]
pub struct Seen {
    /// Media may flow.
    pub connected: bool,
    /// What came out of the speaker, 16 kHz.
    pub pcm: Vec<i16>,
    /// The numbers of the pictures shown, in order.
    pub numbers: Vec<u32>,
    /// Pictures shown that had no number that can be read.
    pub unreadable: usize,
    /// Why the call is over.
    pub over: Option<String>,
    /// Its own account.
    pub stats: Stats,
}

/// A running call.
pub struct Engine {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    mailbox: Mailbox,
    said: Receiver<Body>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// One end of a direct call, with a microphone that hears voice `voice` and a camera that sees its pictures.
    pub fn direct(role: Role, voice: u32) -> Engine {
        Engine::start(role, voice, None)
    }

    /// A participant of a room.
    pub fn join(server: &Server, room: &str, voice: u32) -> Engine {
        let role = Role::Join { room: room.into(), token: String::new(), name: format!("engine {voice}") };
        Engine::start(role, voice, Some(server.websocket()))
    }

    fn start(role: Role, voice: u32, websocket: Option<String>) -> Engine {
        let clock = Clock::new();
        let socket = Socket::bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let config = Config {
            video: Some(VideoConfig {
                width: 320,
                height: 180,
                fps: 30,
                max_bitrate: Bitrate::from_kbps(400),
                ..VideoConfig::default()
            }),
            audio_slots: 2,
            video_slots: 2,
            start_bitrate: Bitrate::from_kbps(600),
            epoch: clock.unix_start(),
            ..Config::new(role, vec![socket.local_addr()], undertone_io::random_seed(), clock.anchor())
        };
        let (mailbox, inbox) = mailbox::mailbox().expect("a mailbox");
        let channel_to_server = websocket.map(|url| {
            ws::connect(&url, &ws::Options::default(), mailbox.clone()).expect("the WebSocket opens")
        });
        let (say, said) = channel();
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let mut owner = Owner {
            tone: Tone::new(tone_of(voice)),
            pattern: Pattern::new(320, 180),
            first_number: first_number_of(voice),
            beats: 0,
            pictures: 0,
            seen: seen.clone(),
            stop: stop.clone(),
            server: channel_to_server,
            say: Box::new(move |body| drop(say.send(body))),
        };
        let thread = std::thread::spawn(move || {
            let mut call = Call::new(config);
            run(&mut call, &mut owner, &clock, &[socket], &inbox).expect("the socket works");
        });
        Engine { seen, stop, mailbox, said, thread: Some(thread) }
    }

    /// The description that the engine sends to its peer.
    pub fn description(&self) -> String {
        wait_for("the engine's description", || match self.said.try_recv() {
            Ok(Body::Description(description)) => Some(description.sdp),
            _ => None,
        })
    }

    /// Hands the engine its peer's description.
    pub fn describe(&self, kind: DescriptionKind, sdp: String) {
        let message = message::encode(Description { kind: kind.into(), sdp });
        self.mailbox.try_send(Signal::Message { channel: 0, message }).expect("the engine listens");
    }

    /// Hands the engine one more address of its peer.
    pub fn trickle(&self, candidate: String) {
        let message = message::encode(message::Candidate { candidate, mid: "0".into() });
        self.mailbox.try_send(Signal::Message { channel: 0, message }).expect("the engine listens");
    }

    /// Why the call is over, if it is.
    pub fn over(&self) -> Option<String> {
        self.seen.lock().expect("no panic in the loop").over.clone()
    }

    /// What it has heard and seen so far. Panics if the call failed.
    pub fn seen(&self) -> Seen {
        let seen = self.seen.lock().expect("no panic in the loop").clone();
        if let Some(why) = &seen.over {
            panic!("our call is over: {why}");
        }
        seen
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Lends the call a microphone, a camera, a speaker, a screen and a telephone line.
struct Owner {
    tone: Tone,
    pattern: Pattern,
    first_number: u32,
    beats: u64,
    pictures: u32,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    server: Option<ws::Client>,
    say: Box<dyn Fn(Body) + Send>,
}

impl Hook<Call> for Owner {
    fn beat(&mut self, beat: Beat, call: &mut Call) -> ControlFlow<()> {
        if self.beats == 0 {
            // A call begins with its first input.
            call.handle(beat.now, Input::Tick);
        }
        let pcm: [i16; FRAME_SAMPLES] = self.tone.next(FRAME_SAMPLES).try_into().expect("10 ms");
        call.push_audio(beat.now, &pcm);
        if self.beats.is_multiple_of(4) {
            let picture = self.pattern.frame(self.first_number + self.pictures, beat.now);
            self.pictures += 1;
            call.push_video(beat.now, &picture);
        }
        self.beats += 1;

        let mut heard = [0; FRAME_SAMPLES];
        call.pull_audio(beat.now, &mut heard);
        let mut seen = self.seen.lock().expect("no panic in the test");
        seen.pcm.extend_from_slice(&heard);
        while let Some((_, picture)) = call.pull_video() {
            match read_number(&picture) {
                Some(number) => seen.numbers.push(number),
                None => seen.unreadable += 1,
            }
        }
        while let Some(event) = call.event() {
            match event {
                Event::Connected { .. } => seen.connected = true,
                Event::Failed(failure) => seen.over = Some(failure.to_string()),
                Event::Ended => seen.over = Some("the peer ended it".into()),
                _ => {}
            }
        }
        if self.beats.is_multiple_of(10) {
            seen.stats = call.stats();
        }
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(server) = &mut self.server {
            server.send(signal);
        } else if let Signal::Message { message, .. } = signal {
            (self.say)(message::decode(&message).expect("our own message can be read"));
        }
    }
}
