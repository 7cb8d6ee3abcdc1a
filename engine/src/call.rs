//! The call itself: a machine between a microphone, a camera, a speaker, a screen and a network.

mod control;
mod signal;

use crate::adapt::music::MUSIC_MOST;
use crate::adapt::{Path, Peer};
use crate::config::PATIENCE_MAX;
use crate::event::{Event, Failure};
use crate::media_path::MediaPath;
use crate::receiver::{AudioReceiver, Played, VideoReceiver};
use crate::sender::{AudioSender, Filmed, VideoSender};
use crate::stats::{AudioSlotStats, Stats, VideoSlotStats};
use crate::{Config, FrameTransform, Origin, Plain, Role, Timing};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use undertone_codec::CodecError;
use undertone_media::{
    Bitrate, DataSize, EncodedFrame, Input, Kind, Machine, Output, SampleRate, Sound, Ssrc, Timestamp,
    VideoFrame,
};
use undertone_signaling::sdp::{Description, Line, Local};
use undertone_transport::bwe::Wanted;
use undertone_transport::pacer::Priority;
use undertone_transport::payload::{dd, h264};
use undertone_transport::rtp::{self, AudioLevel, Extensions};
use undertone_transport::session::{self, Received, Session, UDP_IP_BYTES};
use undertone_transport::{TransportError, ice};

/// Bytes of payload in one packet of video: with all headers it stays below every MTU in use.
const VIDEO_PAYLOAD: usize = 1_120;
/// The SFU learns how loud we are from one packet in so many, since the extension costs 8 bytes.
const LEVEL_EVERY: u64 = 5;
/// The most that speech takes of a path however wide: above it, protection gains little. Where most packets are lost, or
/// many in a row, it gains much, and little of what is sent loads the far end.
const SPEECH_MOST: Bitrate = Bitrate::from_kbps(90);
const SPEECH_MOST_LOSSY: Bitrate = Bitrate::from_kbps(112);
/// Outages are mended by all that is sent after them.
const SPEECH_MOST_OUTAGES: Bitrate = Bitrate::from_kbps(130);
/// Beside pictures protection that gains little costs them much: a sixth of the path, or this.
const SPEECH_BESIDE: Bitrate = Bitrate::from_kbps(64);
const MANY_LOST: u16 = 600;
/// From the microphone's step to the speaker's, codec included, without the path.
const DEVICE_DELAY: Duration = Duration::from_millis(17);
/// Where so many of a thousand got lost while connecting, the first packets are waited for as if some of them were.
const ROUGH: u16 = 150;
/// Taken for the round trip until it is known.
const FIRST_RTT: Duration = Duration::from_millis(100);
/// Output kept for an owner who does not poll; beyond it, datagrams are dropped as a full socket would.
const OUTPUTS: usize = 4_096;

/// Who is received on one line.
struct Slot {
    line: Line,
    participant: Option<u32>,
    receiver: Receiver,
}

enum Receiver {
    /// The first packet has not come, so its SSRC may not be known yet.
    Idle,
    Audio(Box<AudioReceiver>),
    Video(Box<VideoReceiver>),
}

/// One call, as one participant has it. See [`Machine`] for how it is driven; beside that, every 10 ms,
/// [`Call::push_audio`] and [`Call::pull_audio`].
pub struct Call {
    config: Config,
    timing: Timing,
    random: ChaCha8Rng,
    session: Session,
    path: MediaPath,
    local: Local,
    /// Our offer, while no answer to it has come.
    offered: Option<Description>,
    speaker: Option<AudioSender>,
    /// What the owner knows to be sent.
    sending: Sound,
    /// What the listener can do for speech.
    peer: Peer,
    camera: Option<VideoSender>,
    slots: Vec<Slot>,
    /// Which slot an SSRC belongs to, retransmissions included.
    sources: BTreeMap<Ssrc, usize>,
    transform: Box<dyn FrameTransform + Send>,
    control: control::Control,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    started: Option<Timestamp>,
    setup: Option<Duration>,
    /// Until then the end of the handshake fills a thin path.
    quiet_until: Timestamp,
    over: bool,
    audio_muted: bool,
    video_muted: bool,
    audio_packets: u64,
    resent: u64,
    wire_sent: DataSize,
    wire_received: DataSize,
    played: Vec<(usize, Played)>,
}

impl Call {
    /// A call that begins with the first [`Machine::handle`].
    pub fn new(config: Config) -> Call {
        let mut random = ChaCha8Rng::from_seed(config.seed);
        let mut seed = [0; 32];
        random.fill_bytes(&mut seed);
        let mut session = Session::new(session::Config {
            role: match config.role {
                Role::Answer => ice::Role::Controlled,
                _ => ice::Role::Controlling,
            },
            certificate: config.certificate.clone(),
            crypto: config.crypto,
            seed,
            connect_timeout: config.connect_timeout,
            ..session::Config::new(config.anchor)
        });
        for &address in &config.local {
            session.add_local_candidate(address);
        }
        let numbers = [random.next_u32(), random.next_u32(), random.next_u32()];
        let local = crate::negotiation::local(&config, session.local(), numbers);
        Call {
            timing: Timing { epoch: config.epoch },
            path: MediaPath::new(config.start_bitrate),
            sending: config.sound,
            config,
            random,
            session,
            local,
            offered: None,
            speaker: None,
            peer: Peer::default(),
            camera: None,
            slots: Vec::new(),
            sources: BTreeMap::new(),
            transform: Box::new(Plain),
            control: control::Control::default(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            started: None,
            setup: None,
            quiet_until: Timestamp::ZERO,
            over: false,
            audio_muted: false,
            video_muted: false,
            audio_packets: 0,
            resent: 0,
            wire_sent: DataSize::ZERO,
            wire_received: DataSize::ZERO,
            played: Vec::new(),
        }
    }

    /// Puts end-to-end encryption, or any other change of coded frames, between codec and packetiser.
    pub fn set_transform(&mut self, transform: Box<dyn FrameTransform + Send>) {
        self.transform = transform;
    }

    /// True while media may flow.
    pub fn is_connected(&self) -> bool {
        self.session.is_connected() && !self.over
    }

    /// True once the call has ended or failed.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes 10 ms from the microphone (mono, at [`Config::sample_rate`]), the last sample of which was captured at `now`.
    pub fn push_audio(&mut self, now: Timestamp, pcm: &[i16]) {
        let connected = self.is_connected() && now >= self.quiet_until;
        let Some(speaker) = &mut self.speaker else { return };
        let pushed = if self.audio_muted || !connected {
            Ok(speaker.skip(now, pcm).filter(|_| connected))
        } else {
            speaker.push(now, pcm)
        };
        match pushed {
            Ok(Some(mut frame)) => {
                let level = self.audio_packets.is_multiple_of(LEVEL_EVERY).then(|| speaker.level());
                let spurt = self.audio_packets == 0;
                self.audio_packets += 1;
                frame.data = speaker.enrich(&frame.data);
                self.transform.outbound(&mut frame);
                self.send_audio(now, frame, level, spurt);
                self.service(now);
            }
            Ok(None) => {}
            Err(error) => self.fail(Failure::Codec(error.to_string())),
        }
    }

    fn send_audio(&mut self, now: Timestamp, frame: EncodedFrame, level: Option<AudioLevel>, spurt: bool) {
        let Some(speaker) = &mut self.speaker else { return };
        let ext = Extensions { audio_level: level, ..Extensions::default() };
        let header = speaker.stream.next(frame.time, spurt, ext);
        speaker.stream.store(now, &header, &frame.data);
        // The SFU undoes protection without reading what it protects.
        let whole = self.transform.is_opaque() || matches!(self.config.role, Role::Join { .. });
        let (header, payload) = speaker.protect(header, frame.data, whole);
        self.path.enqueue(now, &self.session, Priority::Audio, header, payload);
    }

    /// Takes a picture from the camera. Pictures that the path cannot carry are left out.
    pub fn push_video(&mut self, now: Timestamp, picture: &VideoFrame) {
        if self.video_muted || !self.is_connected() {
            return;
        }
        let Some(camera) = &mut self.camera else { return };
        let (waiting, needs) = self.path.pictures();
        if camera.begins_anew(now, waiting, needs) {
            self.path.drop_pictures();
        }
        let Filmed { mut frame, number, temporal } = match camera.push(picture) {
            Ok(Some(filmed)) => filmed,
            Ok(None) => return,
            Err(CodecError::Library { codec, code }) => {
                self.fail(Failure::Codec(format!("{codec} failed with code {code}")));
                return;
            }
            // A picture of the wrong size is the caller's fault and no reason to end a call.
            Err(_) => return,
        };
        self.transform.outbound(&mut frame);
        let payloads = h264::packetize(&frame.data, VIDEO_PAYLOAD);
        let last = payloads.len().saturating_sub(1);
        let copies = self.path.copies().first;
        for (index, payload) in payloads.into_iter().enumerate() {
            let facts = dd::Facts {
                start: index == 0,
                end: index == last,
                key: frame.key,
                frame_number: number,
                temporal,
                ..dd::Facts::default()
            };
            let ext = Extensions { dd: Some(camera.descriptor.write(&facts)), ..Extensions::default() };
            let header = camera.stream.next(frame.time, index == last, ext);
            camera.stream.store(now, &header, &payload);
            self.path.enqueue(now, &self.session, Priority::Video, header, payload);
            // A key frame's first packet holds the parameters of all that follows, is small, and if it is the stream's
            // first, the receiver cannot know that it is missing.
            let copies = if frame.key && index == 0 { copies.max(2) } else { copies };
            for _ in 1..copies {
                if let Some(again) = camera.stream.copy(now, header.seq) {
                    self.path.enqueue(now, &self.session, Priority::Video, again.header, again.payload);
                }
            }
        }
        self.service(now);
    }

    /// The next 10 ms for the speaker, at [`Config::sample_rate`]: all that is heard, mixed. `out` has room for no more.
    pub fn pull_audio(&mut self, now: Timestamp, out: &mut [i16]) {
        let mut mix = [0i32; SampleRate::Full.frame()];
        let step = self.config.sample_rate.frame();
        let rtt = self.control.rtt();
        self.played.clear();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Receiver::Audio(receiver) = &mut slot.receiver {
                self.played.push((index, receiver.pull(now, rtt, self.timing, &mut mix[..step])));
            }
        }
        for (sample, sum) in out.iter_mut().zip(mix) {
            *sample = sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        }
    }

    /// What each voice of the last [`Call::pull_audio`] was: (slot, what it played).
    pub fn played(&self) -> &[(usize, Played)] {
        &self.played
    }

    /// The next picture to show, and whose slot it is in.
    pub fn pull_video(&mut self) -> Option<(usize, VideoFrame)> {
        self.slots.iter_mut().enumerate().find_map(|(index, slot)| match &mut slot.receiver {
            Receiver::Video(receiver) => receiver.pull().map(|picture| (index, picture)),
            _ => None,
        })
    }

    /// Camera-to-screen delays of the pictures shown since the last call, of all slots.
    pub fn take_video_delays(&mut self) -> Vec<Duration> {
        let receivers = self.slots.iter_mut().filter_map(|slot| match &mut slot.receiver {
            Receiver::Video(receiver) => Some(receiver),
            _ => None,
        });
        receivers.flat_map(|receiver| receiver.take_delays()).collect()
    }

    /// Who is in a slot.
    pub fn participant(&self, slot: usize) -> Option<u32> {
        self.slots.get(slot).and_then(|slot| slot.participant)
    }

    /// Ends the call, and tells the peer on both ways that lead there.
    pub fn leave(&mut self, now: Timestamp) {
        if !self.over {
            self.say(undertone_signaling::message::Leave {});
            self.outputs.push_back(Output::CloseSignal { channel: 0 });
            self.session.close(now);
            self.drain_session(now);
            self.over = true;
            self.events.push_back(Event::Ended);
        }
    }

    fn fail(&mut self, failure: Failure) {
        if !self.over {
            self.over = true;
            self.events.push_back(Event::Failed(failure));
        }
    }

    fn random_u64(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// Takes an RTP packet that the session has opened.
    fn on_rtp(&mut self, now: Timestamp, packet: &[u8]) {
        let Some((header, payload)) = rtp::Header::parse(packet, self.path.extensions()) else {
            self.control.malformed += 1;
            return;
        };
        let size = packet.len() as u64 + self.session.rtp_overhead() as u64 + UDP_IP_BYTES;
        self.path.on_packet(now, &header, DataSize::from_bytes(size));
        let Some(index) = self.slot_of(&header) else {
            self.control.unknown += 1;
            return;
        };
        let payload = &packet[payload];
        match &mut self.slots[index].receiver {
            Receiver::Idle => {}
            Receiver::Audio(receiver) => receiver.receive(now, &header, payload, &mut *self.transform),
            Receiver::Video(receiver) => receiver.receive(now, &header, payload),
        }
    }

    /// Does all that is due at `now`.
    fn service(&mut self, now: Timestamp) {
        if self.over {
            return;
        }
        self.path.tick(now);
        self.decode_video(now);
        self.report(now);
        self.adapt(now);
        let padded = self.camera.as_mut().map(|camera| &mut camera.stream);
        self.path.send_due(now, &mut self.session, padded);
        self.drain_session(now);
    }

    fn decode_video(&mut self, now: Timestamp) {
        let (rtt, timing) = (self.control.rtt(), self.timing);
        let mut failed = None;
        for slot in &mut self.slots {
            if let Receiver::Video(receiver) = &mut slot.receiver {
                failed = receiver.service(now, rtt, timing, &mut *self.transform).err().or(failed);
            }
        }
        if let Some(error) = failed {
            self.fail(Failure::Codec(error.to_string()));
        }
    }

    /// Fits what we send to what the path carries: speech first, pictures with the rest.
    fn adapt(&mut self, now: Timestamp) {
        let estimate = self.path.estimate();
        let overhead = self.path.overhead(&self.session);
        let mut left = estimate.saturating_sub(control::FEEDBACK_ALLOWANCE);
        let shown = self.camera.as_ref().is_some_and(|camera| camera.rate() > Bitrate::ZERO);
        let path = self.speech_path(if shown { left.min((left / 6).max(SPEECH_BESIDE)) } else { left });
        if let Some(speaker) = &mut self.speaker {
            speaker.adapt(now, &path, left.min(MUSIC_MOST));
            let sound = speaker.sending();
            if sound != std::mem::replace(&mut self.sending, sound) {
                self.events.push_back(Event::Sending { sound, reason: speaker.reason() });
            }
            left = left.saturating_sub(speaker.plan().cost(overhead));
        }
        if let Some(camera) = &mut self.camera {
            // Headers are a few percent of a video packet, and an encoder overshoots now and then. What is lost is
            // sent again until it comes.
            let copies = self.path.copies().permille;
            camera.adapt(now, left.permille(900), copies, self.path.lost());
            // Pictures beside all else, with their copies and what the encoder leaves free.
            let whole = estimate.saturating_sub(left) + camera.wanted().permille(copies * 10 / 9);
            self.path.want(if self.video_muted { Wanted::Enough } else { Wanted::More(whole) });
        }
    }

    /// The path as it matters to speech, of which `budget` is what it may take.
    pub(crate) fn speech_path(&self, budget: Bitrate) -> Path {
        let loss = self.path.loss();
        let most = match loss {
            loss if !loss.run.is_zero() => SPEECH_MOST_OUTAGES,
            loss if loss.permille > MANY_LOST => SPEECH_MOST_LOSSY,
            _ => SPEECH_MOST,
        };
        Path {
            budget: budget.min(most),
            overhead: self.path.overhead(&self.session),
            loss,
            delay: Some(self.control.rtt().unwrap_or(FIRST_RTT) / 2 + DEVICE_DELAY),
            slack: self.control.told.map_or(PATIENCE_MAX, |told| told.slack.min(PATIENCE_MAX)),
            peer: self.peer,
        }
    }

    fn drain_session(&mut self, now: Timestamp) {
        while let Some(output) = self.session.poll() {
            match output {
                session::Output::Transmit(transmit) => {
                    self.wire_sent += DataSize::from_bytes(transmit.bytes.len() as u64 + UDP_IP_BYTES);
                    if self.outputs.len() < OUTPUTS {
                        self.outputs.push_back(Output::Transmit(transmit));
                    }
                }
                session::Output::Connected { .. } => {
                    let setup = now.since(self.started.unwrap_or(now));
                    self.setup = Some(setup);
                    // A round trip that could not be measured tells of losses, not of a thin path.
                    let stats = *self.session.stats();
                    let thin = stats.width.thin();
                    self.path.start(now, stats.width, stats.rtt, setup, self.camera.is_some());
                    // What is said before the peer has keys would wait behind them, and all that follows behind it.
                    self.quiet_until = now + thin.map_or(Duration::ZERO, |rate| stats.unanswered / rate);
                    self.path.on_connected(stats.toll);
                    // Already the first packet is to be as long as the path wants it.
                    self.adapt(now);
                    if self.path.loss().permille >= ROUGH {
                        for slot in &mut self.slots {
                            if let Receiver::Audio(receiver) = &mut slot.receiver {
                                receiver.on_rough_start(now);
                            }
                        }
                    }
                    self.events.push_back(Event::Connected { setup });
                }
                session::Output::PathChanged(_) => self.path.on_route_change(),
                session::Output::Failed(TransportError::PeerClosed) => {
                    if !self.over {
                        self.over = true;
                        self.events.push_back(Event::Ended);
                    }
                }
                session::Output::Failed(error) => self.fail(match error {
                    TransportError::PeerMisbehaved(_) => Failure::Peer(error.to_string()),
                    _ => Failure::Unreachable(error.to_string()),
                }),
            }
        }
    }

    /// The account so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            setup: self.setup,
            rtt: self.control.rtt(),
            wire_sent: self.wire_sent,
            wire_received: self.wire_received,
            payload_sent: self.path.payload_sent(),
            estimate: self.path.estimate(),
            congestion: self.path.state(),
            loss: self.path.loss(),
            sending: self.speaker.as_ref().map(AudioSender::sending),
            plan: self.speaker.as_ref().map(AudioSender::plan),
            video_rate: self.camera.as_ref().map_or(Bitrate::ZERO, VideoSender::rate),
            video_frames: self.camera.as_ref().map_or((0, 0), VideoSender::frames),
            video_coding: self.camera.as_ref().map(VideoSender::coding).unwrap_or_default(),
            resent: self.resent,
            told: self.control.told,
            session: *self.session.stats(),
            ..Stats::default()
        };
        for (index, slot) in self.slots.iter().enumerate() {
            let participant = slot.participant;
            match &slot.receiver {
                Receiver::Audio(receiver) => {
                    let stream = receiver.stream.stats();
                    let last = self.played.iter().find(|(slot, _)| *slot == index);
                    stats.audio.push(AudioSlotStats {
                        participant,
                        received: stream.received,
                        bytes: stream.bytes,
                        lost: stream.lost,
                        repaired: stream.repaired,
                        late: receiver.jitter().stats().late,
                        undecodable: receiver.undecodable(),
                        jitter: stream.jitter,
                        target: receiver.jitter().target(),
                        decoded: receiver.frames(Origin::Decoded),
                        rtx: receiver.frames(Origin::Rtx),
                        copied: receiver.frames(Origin::Copy),
                        coded: receiver.frames(Origin::Code),
                        lbrr: receiver.frames(Origin::Lbrr),
                        dred: receiver.frames(Origin::Dred),
                        concealed: receiver.frames(Origin::Plc),
                        silence: receiver.frames(Origin::Silence),
                        mouth_to_ear: last.and_then(|(_, played)| played.mouth_to_ear),
                    });
                }
                Receiver::Video(receiver) => {
                    let stream = receiver.stream.stats();
                    stats.video.push(VideoSlotStats {
                        participant,
                        received: stream.received,
                        bytes: stream.bytes,
                        lost: stream.lost,
                        repaired: stream.repaired,
                        decoded: receiver.decoded(),
                        undecodable: receiver.undecodable(),
                        freezes: receiver.buffer().stats().freezes,
                    });
                }
                Receiver::Idle => {}
            }
        }
        stats
    }

    /// Stops or resumes sending a kind of media.
    pub fn mute(&mut self, kind: Kind, muted: bool) {
        match kind {
            Kind::Audio => self.audio_muted = muted,
            Kind::Video => {
                self.video_muted = muted;
                if let (false, Some(camera)) = (muted, &mut self.camera) {
                    camera.want_key();
                }
            }
        }
        self.say_muted(kind, muted);
    }
}

impl Machine for Call {
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        self.begin(now);
        match input {
            Input::Datagram { from, to, bytes } => {
                self.wire_received += DataSize::from_bytes(bytes.len() as u64 + UDP_IP_BYTES);
                if self.over {
                    return;
                }
                match self.session.receive(now, from, to, bytes) {
                    Received::Rtp(packet) => self.on_rtp(now, packet),
                    Received::Rtcp(packet) => {
                        let packets = undertone_transport::rtcp::parse(packet);
                        self.on_rtcp(now, packets);
                    }
                    Received::Handled | Received::Dropped => {}
                }
            }
            Input::Signal { message, .. } => self.on_signal(now, message),
            Input::SignalClosed { .. } => self.on_signal_closed(),
            Input::Tick => {}
        }
        if self.session.deadline().is_some_and(|deadline| deadline <= now) {
            self.session.tick(now);
        }
        self.service(now);
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        if self.over {
            return None;
        }
        if self.started.is_none() {
            // The first tick says the first word.
            return Some(Timestamp::ZERO);
        }
        let slots = self.slots.iter().filter_map(|slot| match &slot.receiver {
            Receiver::Idle => None,
            Receiver::Audio(receiver) => receiver.stream.deadline(),
            Receiver::Video(receiver) => {
                [receiver.deadline(), receiver.stream.deadline()].into_iter().flatten().min()
            }
        });
        let own = [self.session.deadline(), self.path.deadline(), self.control.deadline()];
        own.into_iter().flatten().chain(slots).min()
    }
}
