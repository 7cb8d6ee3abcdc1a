//! The thread behind a call: connects, then runs the engine until somebody leaves.

mod signals;

use crate::event::{Fault, Told, flag};
use crate::options::Options;
use crate::result::ut_result::UT_PANIC;
use crate::rings::{Phase, SILENCE, Shared, lock};
use crate::stats::ut_stats;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;
use undertone_engine::{Call, Config, Event, Role};
use undertone_io::run::{Beat, Hook, run};
use undertone_io::udp::{Socket, address_towards};
use undertone_io::{Signal, mailbox, ws};
use undertone_media::{Input, Kind, Machine, Timestamp};

/// One step of microphone and speaker.
const STEP: Duration = Duration::from_millis(10);
/// A microphone that brings nothing for so many steps counts as silent rather than late.
const PATIENCE: u32 = 10;
/// Without a pull for so many steps nobody listens: what is played is thrown away, so that whoever comes
/// back hears the present.
const DEAF_AFTER: u32 = 20;
/// Steps between two accounts.
const ACCOUNT_EVERY: u32 = 10;

/// The whole life of the worker.
pub(crate) fn work(shared: &Shared, options: &Options) {
    signals::leave_to_the_app();
    let fault = match catch_unwind(AssertUnwindSafe(|| talk(shared, options))) {
        Ok(Ok(())) => None,
        // Whoever has left does not care why it would not have worked.
        Ok(Err(_)) if shared.leaving.load(Acquire) => {
            shared.tell(Told::Engine(Event::Ended));
            None
        }
        Ok(Err(fault)) => Some(fault),
        Err(_) => Some(Fault { code: UT_PANIC, text: "a bug in this library; stderr says where".into() }),
    };
    if let Some(fault) = fault {
        shared.tell(Told::Failed(fault));
    }
    shared.set_phase(Phase::Over);
}

fn talk(shared: &Shared, options: &Options) -> Result<(), Fault> {
    let (mailbox, inbox) = mailbox::mailbox().map_err(Fault::system)?;
    let trust = ws::Options { trust: options.trust.clone(), ..ws::Options::default() };
    let client = ws::connect(&options.url.websocket, &trust, mailbox)?;
    if shared.leaving.load(Acquire) {
        shared.tell(Told::Engine(Event::Ended));
        return Ok(());
    }
    shared.set_phase(Phase::Talking);
    let socket = bind()?;
    let role = Role::Join {
        room: options.url.room.clone(),
        token: options.url.token.clone().unwrap_or_default(),
        name: options.name.clone(),
    };
    let clock = shared.clock;
    let local = addresses(&socket, options);
    let mut call = Call::new(Config {
        audio: options.audio,
        sample_rate: options.sample_rate,
        sound: options.sound,
        coding: options.coding,
        video: options.video,
        audio_slots: options.audio_slots,
        video_slots: options.video_slots,
        epoch: clock.unix_start(),
        ..Config::new(role, local, undertone_io::random_seed(), clock.anchor())
    });
    let mut desk = Desk::new(shared, client);
    // The first word to the server; from here on the call names its own deadlines.
    call.handle(clock.now(), Input::Tick);
    let outcome = run(&mut call, &mut desk, &clock, &[socket], &inbox);
    desk.account(&call);
    outcome.map(drop).map_err(Fault::system)
}

/// One socket for both IP versions, or for the one that this machine has.
fn bind() -> Result<Socket, Fault> {
    Socket::bind((Ipv6Addr::UNSPECIFIED, 0).into())
        .or_else(|_| Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into()))
        .map_err(Fault::system)
}

/// Where we can be reached, the interface towards the server first: most likely the media passes there too.
fn addresses(socket: &Socket, options: &Options) -> Vec<SocketAddr> {
    let port = socket.local_addr().port();
    let server = (options.url.host.as_str(), options.url.port).to_socket_addrs();
    let towards: Option<IpAddr> = server.ok().and_then(|mut found| found.next()).and_then(address_towards);
    let mut all: Vec<SocketAddr> = towards.map(|ip| SocketAddr::new(ip, port)).into_iter().collect();
    all.extend(socket.reachable_addrs());
    let mut seen = Vec::new();
    all.retain(|addr| {
        !seen.contains(addr) && {
            seen.push(*addr);
            true
        }
    });
    all
}

/// What happens every 10 ms: sound, pictures, events and wishes change hands.
struct Desk<'a> {
    shared: &'a Shared,
    client: ws::Client,
    speaker: Pace,
    pulls: u64,
    /// Steps without sound from the microphone, without a pull, since the last account.
    silent: u32,
    deaf: u32,
    unaccounted: u32,
    joined: bool,
    muted: u32,
}

impl<'a> Desk<'a> {
    fn new(shared: &'a Shared, client: ws::Client) -> Desk<'a> {
        Desk {
            shared,
            client,
            speaker: Pace::default(),
            pulls: 0,
            silent: 0,
            deaf: 0,
            unaccounted: 0,
            joined: false,
            muted: 0,
        }
    }

    /// Everything the microphone brought. A microphone that stops (an interrupted app) is silence to the
    /// call, whose media clock must go on.
    fn speak(&mut self, beat: Beat, call: &mut Call) {
        let waiting = self.shared.microphone.len() as u32;
        for left in (0..waiting).rev() {
            if let Some(frame) = self.shared.microphone.pop() {
                call.push_audio(beat.now - STEP * left, &frame[..self.shared.rate.frame()]);
            }
        }
        if waiting > 0 {
            self.silent = 0;
            return;
        }
        self.silent = self.silent.saturating_add(1);
        let owed = match self.silent {
            PATIENCE => PATIENCE,
            steps if steps > PATIENCE => 1,
            _ => 0,
        };
        for left in (0..owed).rev() {
            call.push_audio(beat.now - STEP * left, &SILENCE[..self.shared.rate.frame()]);
        }
    }

    /// As much for the speaker as the next pulls will want.
    fn listen(&mut self, beat: Beat, call: &mut Call) {
        let pulls = self.shared.pulls.load(Acquire);
        self.deaf = if pulls == self.pulls { self.deaf.saturating_add(1) } else { 0 };
        self.pulls = pulls;
        let mut frame = SILENCE;
        let step = self.shared.rate.frame();
        if self.deaf > DEAF_AFTER {
            while self.shared.speaker.pop().is_some() {}
            call.pull_audio(beat.now, &mut frame[..step]);
            return;
        }
        let missing = self.shared.missing.load(Relaxed);
        let wanted =
            self.speaker.wanted(self.shared.speaker.len(), self.shared.appetite.load(Relaxed), missing);
        for _ in 0..wanted {
            call.pull_audio(beat.now, &mut frame[..step]);
            self.shared.speaker.force_push(frame);
        }
    }

    fn look(&mut self, beat: Beat, call: &mut Call) {
        let picture = lock(&self.shared.camera).take();
        if let Some(picture) = picture {
            call.push_video(beat.now, &picture);
        }
        while let Some((slot, picture)) = call.pull_video() {
            if let Some(participant) = call.participant(slot) {
                self.shared.show(participant, picture);
            }
        }
    }

    /// Mute and leave. Before the server has let us in there is nobody to tell.
    fn obey(&mut self, now: Timestamp, call: &mut Call) {
        let wanted = self.shared.muted.load(Acquire);
        if self.joined && wanted != self.muted {
            for kind in [Kind::Audio, Kind::Video] {
                if (wanted ^ self.muted) & flag(kind) != 0 {
                    call.mute(kind, wanted & flag(kind) != 0);
                }
            }
            self.muted = wanted;
        }
        if self.shared.leaving.load(Acquire) {
            call.leave(now);
        }
    }

    fn account(&mut self, call: &Call) {
        let samples = |frames: u64| frames * self.shared.rate.frame() as u64;
        *lock(&self.shared.stats) = ut_stats {
            speaker_missing: samples(self.shared.missing.load(Relaxed)),
            microphone_dropped: samples(self.shared.dropped.load(Relaxed)),
            ..ut_stats::from_engine(&call.stats())
        };
    }
}

impl Hook<Call> for Desk<'_> {
    fn beat(&mut self, beat: Beat, call: &mut Call) -> ControlFlow<()> {
        self.speak(beat, call);
        self.listen(beat, call);
        self.look(beat, call);
        self.obey(beat.now, call);
        self.unaccounted += 1;
        if self.unaccounted >= ACCOUNT_EVERY {
            self.unaccounted = 0;
            self.account(call);
        }
        while let Some(event) = call.event() {
            self.joined |= matches!(event, Event::Joined { .. });
            self.shared.tell(Told::Engine(event));
        }
        if call.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn signal(&mut self, signal: Signal) {
        // A connection that takes nothing more has ended, and the inbox says so.
        let _ = self.client.send(signal);
    }
}

/// How much sound to keep ready for a speaker that pulls on its own clock.
///
/// Too little and it crackles, too much and everybody is late: one pull's worth and a margin, which grows
/// when a pull finds too little and shrinks again after a while. Sound is made one step a beat, since a jitter
/// buffer that is asked for much at once must make up what is still on its way; the second step of a beat
/// only follows a speaker whose clock is faster.
#[derive(Debug, Default)]
struct Pace {
    extra: usize,
    missing: u64,
    calm: u32,
}

/// The most that the margin grows: 100 ms, a phone that is busy with something else.
const MOST_EXTRA: usize = 10;
/// Steps without a miss after which the margin shrinks by one: 5 s.
const CALM: u32 = 500;

impl Pace {
    /// Steps of sound to make in this beat.
    fn wanted(&mut self, ready: usize, appetite: usize, missing: u64) -> usize {
        if missing != self.missing {
            self.missing = missing;
            self.extra = (self.extra + 1).min(MOST_EXTRA);
            self.calm = 0;
        } else {
            self.calm += 1;
            if self.calm >= CALM {
                self.calm = 0;
                self.extra = self.extra.saturating_sub(1);
            }
        }
        let margin = 1 + self.extra;
        if ready >= appetite + margin {
            0
        } else if ready >= margin {
            1
        } else {
            2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a speaker that pulls `pull` steps every `every` beats, and counts the steps that it lacked in
    /// the second half of a minute, and the most that waited before a pull.
    fn minute(pull: usize, every: impl Fn(usize) -> bool) -> (usize, usize) {
        let (mut pace, mut ready, mut missing, mut deepest) = (Pace::default(), 0usize, 0, 0);
        let mut before = 0;
        for beat in 0..6_000 {
            ready += pace.wanted(ready, pull, missing as u64);
            if beat == 3_000 {
                before = missing;
            }
            if every(beat) {
                deepest = if beat > 3_000 { deepest.max(ready) } else { 0 };
                missing += pull.saturating_sub(ready);
                ready = ready.saturating_sub(pull);
            }
        }
        (missing - before, deepest)
    }

    #[test]
    fn a_steady_speaker_never_lacks_and_waits_for_little() {
        for pull in 1..=6 {
            let (missing, deepest) = minute(pull, |beat| beat % pull == 0);
            assert_eq!(missing, 0, "{pull} steps at a time");
            assert!(deepest <= pull + 2, "{pull} steps at a time: {deepest} waited");
        }
    }

    #[test]
    fn a_speaker_with_a_faster_clock_is_followed() {
        // Every hundredth beat it pulls twice as much: 1 % fast.
        let mut pace = Pace::default();
        let (mut ready, mut lacked) = (0usize, 0u64);
        for beat in 0..6_000 {
            ready += pace.wanted(ready, 1, lacked);
            let pull: u64 = if beat % 100 == 0 { 2 } else { 1 };
            if beat > 1_000 {
                lacked += pull.saturating_sub(ready as u64);
            }
            ready = ready.saturating_sub(pull as usize);
        }
        assert!(lacked <= 60, "{lacked} of 5000 steps");
    }

    #[test]
    fn a_speaker_that_comes_back_late_does_not_grow_the_delay_for_ever() {
        let mut pace = Pace::default();
        for missing in 1..100 {
            pace.wanted(0, 1, missing);
        }
        assert_eq!(pace.extra, MOST_EXTRA);
        for _ in 0..CALM * MOST_EXTRA as u32 {
            pace.wanted(5, 1, 99);
        }
        assert_eq!(pace.extra, 0);
    }
}
