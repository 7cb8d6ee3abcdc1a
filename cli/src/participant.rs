//! One person in a real call: a [`Call`] on a thread, with a microphone, a camera, a speaker and a notebook.
//!
//! `undertone call` has one of them, `undertone demo` three.

use crate::exit::{Failure, Fault, Outcome};
use crate::lab::Ear;
use crate::source::Camera;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use undertone_engine::{Call, Coding, Config, Event, Failure as CallFailure, Role, Stats};
use undertone_io::run::{Beat, Hook, run};
use undertone_io::udp::{Socket, address_towards};
use undertone_io::{Clock, Signal, ws};
use undertone_media::{SampleRate, Sound as Sent, Timestamp, VideoFrame};
use undertone_signaling::url::RoomUrl;

/// Between two points of the curves, and two looks at the status line.
pub const SAMPLE: Duration = Duration::from_millis(200);

/// Where sound comes from and goes to, 10 ms at a time.
pub trait Sound {
    /// The next 10 ms from the microphone.
    fn capture(&mut self, now: Timestamp) -> Vec<i16>;
    /// Plays 10 ms.
    fn play(&mut self, now: Timestamp, heard: &[i16]);
}

/// What the call tells its owner while it runs.
pub trait Watch {
    /// Every [`SAMPLE`].
    fn look(&mut self, now: Timestamp, stats: &Stats);
    /// Once for each event.
    fn event(&mut self, event: &Event);
    /// A picture to show.
    fn picture(&mut self, _now: Timestamp, _slot: usize, _picture: &VideoFrame) {}
}

/// Who joins, and how.
pub struct Options {
    /// The room.
    pub url: String,
    /// The name that others see.
    pub name: String,
    /// Whom to believe on `https`.
    pub trust: ws::Trust,
    /// Samples a second of what is said and heard.
    pub rate: SampleRate,
    /// What is sent.
    pub sends: Sent,
    /// How speech is coded and decoded.
    pub coding: Coding,
    /// How many others may be seen.
    pub video_slots: usize,
    /// How long to stay once media flows; `None`: until told.
    pub stay: Option<Duration>,
}

/// What came of it.
pub struct Stayed {
    /// The last account.
    pub stats: Stats,
    /// What was said, heard and measured.
    pub ear: Ear,
    /// When the call began and ended.
    pub span: (Timestamp, Timestamp),
    /// Camera to screen, in ms, of each picture shown.
    pub video_delays: Vec<Duration>,
    /// In which slot each picture was shown, and when.
    pub shown: Vec<(usize, Timestamp)>,
}

struct Body<'a> {
    rate: SampleRate,
    sound: &'a mut dyn Sound,
    camera: Option<Camera>,
    filming_since: Option<Timestamp>,
    watch: &'a mut dyn Watch,
    signalling: ws::Client,
    stop: Arc<AtomicBool>,
    stay: Option<Duration>,
    began: Timestamp,
    connected: Option<Timestamp>,
    sampled: Timestamp,
    leaving: Option<Timestamp>,
    ear: Ear,
    video_delays: Vec<Duration>,
    shown: Vec<(usize, Timestamp)>,
    failure: Option<CallFailure>,
    trouble: Option<Failure>,
}

/// How long the last words get to go out.
const GOODBYE: Duration = Duration::from_millis(60);

impl Body<'_> {
    fn film(&mut self, now: Timestamp, call: &mut Call) -> Outcome {
        let Some(camera) = &mut self.camera else { return Ok(()) };
        if !call.is_connected() {
            return Ok(());
        }
        let since = *self.filming_since.get_or_insert(now);
        if since + camera.next_due() <= now {
            let picture = camera.take(now)?;
            call.push_video(now, &picture);
        }
        Ok(())
    }
}

impl Hook<Call> for Body<'_> {
    fn beat(&mut self, beat: Beat, call: &mut Call) -> ControlFlow<()> {
        while let Some(event) = call.event() {
            self.watch.event(&event);
            match event {
                Event::Connected { .. } => self.connected = Some(beat.now),
                Event::Failed(failure) => {
                    self.failure = Some(failure);
                    return ControlFlow::Break(());
                }
                Event::Ended if self.leaving.is_none() => return ControlFlow::Break(()),
                _ => {}
            }
        }
        if let Some(left) = self.leaving {
            return if beat.now.since(left) >= GOODBYE {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            };
        }
        let frame = self.rate.frame();
        let mut heard = vec![0; frame];
        call.pull_audio(beat.now, &mut heard);
        let said = if call.is_connected() { self.sound.capture(beat.due) } else { vec![0; frame] };
        call.push_audio(beat.due, &said);
        self.sound.play(beat.now, &heard);
        self.ear.hear(&said, &heard, call.played().iter().map(|(_, played)| *played));
        if let Err(trouble) = self.film(beat.now, call) {
            self.trouble = Some(trouble);
            return ControlFlow::Break(());
        }
        while let Some((slot, picture)) = call.pull_video() {
            self.shown.push((slot, beat.now));
            self.watch.picture(beat.now, slot, &picture);
        }
        if beat.now.since(self.sampled) >= SAMPLE {
            let step = beat.now.since(self.sampled);
            self.sampled = beat.now;
            let stats = call.stats();
            self.video_delays.extend(call.take_video_delays());
            self.ear.sample(Timestamp::ZERO + beat.now.since(self.began), step, &stats, &stats, None);
            self.watch.look(beat.now, &stats);
        }
        let stayed = self.connected.zip(self.stay).is_some_and(|(since, stay)| beat.now.since(since) >= stay);
        if stayed || self.stop.load(Ordering::Relaxed) {
            call.leave(beat.now);
            self.leaving = Some(beat.now);
        }
        ControlFlow::Continue(())
    }

    fn signal(&mut self, signal: Signal) {
        self.signalling.send(signal);
    }
}

/// Joins a room, stays, leaves. Blocks meanwhile.
pub fn join(
    options: Options,
    clock: Clock,
    sound: &mut dyn Sound,
    camera: Option<Camera>,
    watch: &mut dyn Watch,
    stop: Arc<AtomicBool>,
) -> Outcome<Stayed> {
    let url = RoomUrl::parse(&options.url).map_err(Failure::usage)?;
    let (mailbox, inbox) = undertone_io::mailbox::mailbox().map_err(Failure::usage)?;
    let trust = ws::Options { trust: options.trust, ..ws::Options::default() };
    let signalling = ws::connect(&url.websocket, &trust, mailbox).map_err(|error| {
        let fault = match error {
            ws::ConnectError::BadUrl(_) => Fault::Usage,
            ws::ConnectError::Unauthorized(_) => Fault::Authentication,
            _ => Fault::Unreachable,
        };
        Failure::new(fault, error)
    })?;
    let socket = Socket::bind(bind_address(&url)).map_err(Failure::usage)?;
    let role = Role::Join {
        room: url.room.clone(),
        token: url.token.clone().unwrap_or_default(),
        name: options.name.clone(),
    };
    let mut call = Call::new(Config {
        sample_rate: options.rate,
        sound: options.sends,
        coding: options.coding,
        video: camera.as_ref().map(|camera| camera.config),
        video_slots: options.video_slots,
        epoch: clock.unix_start(),
        ..Config::new(role, socket.reachable_addrs(), undertone_io::random_seed(), clock.anchor())
    });
    let began = clock.now();
    let mut body = Body {
        rate: options.rate,
        sound,
        camera,
        filming_since: None,
        watch,
        signalling,
        stop,
        stay: options.stay,
        began,
        connected: None,
        sampled: began,
        leaving: None,
        ear: Ear::new(options.rate),
        video_delays: Vec::new(),
        shown: Vec::new(),
        failure: None,
        trouble: None,
    };
    undertone_media::Machine::handle(&mut call, began, undertone_media::Input::Tick);
    run(&mut call, &mut body, &clock, &[socket], &inbox)
        .map_err(|error| Failure::new(Fault::Media, format!("the media socket failed: {error}")))?;
    if let Some(trouble) = body.trouble {
        return Err(trouble);
    }
    if let Some(failure) = body.failure {
        let fault = match failure {
            CallFailure::Refused { .. } => Fault::Authentication,
            CallFailure::Unreachable(_) => Fault::Unreachable,
            _ => Fault::Media,
        };
        return Err(Failure::new(fault, failure));
    }
    Ok(Stayed {
        stats: call.stats(),
        ear: body.ear,
        span: (began, clock.now()),
        video_delays: body.video_delays,
        shown: body.shown,
    })
}

/// A server on this machine is reached from loopback; any other from whatever interface leads there.
fn bind_address(url: &RoomUrl) -> SocketAddr {
    let host = url.host.parse().ok().or_else(|| (url.host == "localhost").then(|| [127, 0, 0, 1].into()));
    match host {
        Some(ip @ std::net::IpAddr::V4(v4)) if v4.is_loopback() => SocketAddr::new(ip, 0),
        Some(ip @ std::net::IpAddr::V6(v6)) if v6.is_loopback() => SocketAddr::new(ip, 0),
        Some(ip @ std::net::IpAddr::V6(_)) if address_towards(SocketAddr::new(ip, 9)).is_some() => {
            "[::]:0".parse().expect("an address")
        }
        _ => ([0, 0, 0, 0], 0).into(),
    }
}
