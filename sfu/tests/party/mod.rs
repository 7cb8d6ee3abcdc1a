//! An SFU and its clients in one small virtual world: fixed latency, a filter that may lose datagrams, a
//! clock that jumps from event to event. The clients are made of `transport` and `signaling`, with media
//! that is only numbers.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_media::{DataSize, Input, Kind, Machine, MediaTime, Output, Packet, Ssrc, Timestamp, Transmit};
use undertone_sfu::{Config, Sfu};
use undertone_signaling::message::{self, Body, DescriptionKind, Error, Join, Mute};
use undertone_signaling::sdp::{
    self, Capabilities, Description, Direction, ExtensionIds, Line, Local, Offered,
};
use undertone_transport::feedback::{Format, PacketId, Recorder};
use undertone_transport::payload::dd;
use undertone_transport::recovery::{red, rlc};
use undertone_transport::rtcp::{self, Rtcp};
use undertone_transport::rtp::{AudioLevel, Extension, ExtensionMap, Extensions, Header, Mid};
use undertone_transport::session::{self, Received, Session};
use undertone_transport::stream::{RecvConfig, RecvStream, Rtx, SendConfig, SendStream};
use undertone_transport::{dtls, ice};

/// What the clients' clock shows at the world's beginning.
pub const WALL_CLOCK: Duration = Duration::from_secs(3600);

pub const SFU_ADDR: &str = "192.0.2.1:7000";

#[allow(clippy::disallowed_methods)] // `Config` wants an anchor; which one changes nothing.
pub fn anchor() -> Instant {
    Instant::now()
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub fn sfu_config(seed: u8) -> Config {
    Config {
        public_addrs: vec![SFU_ADDR.parse().unwrap()],
        certificate: dtls::Certificate::from_seed([1; 32]),
        crypto: dtls::Crypto::Seeded([seed; 32]),
        seed: [seed; 32],
        ..Config::new(anchor())
    }
}

/// A packet as a client got it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Timestamp,
    pub header: Header,
    /// After repair; `None` for a duplicate.
    pub packet: Option<Packet>,
    /// It came as a retransmission.
    pub again: bool,
}

/// What a client sends.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    pub audio: bool,
    /// Frames of this many packets at 25 a second.
    pub video: Option<usize>,
    /// RFC 6464 level of its audio.
    pub level: u8,
    /// Video payloads look like H.264 and carry no descriptor.
    pub bare_h264: bool,
    /// Bytes of a video payload.
    pub size: usize,
    pub like: Like,
    pub redundancy: Redundancy,
}

/// What of a client's sound makes up for lost packets, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redundancy {
    #[default]
    None,
    /// A copy in each packet that it sends.
    Red,
    /// Twice as many repair symbols as source symbols.
    Rlc,
}

/// What kind of client it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Like {
    /// Our own: RFC 8888 feedback, separate lines for sending and receiving.
    #[default]
    Ours,
    /// A browser: transport-wide feedback, no RTX for sound, and the first line of each kind goes both ways.
    Browser,
    /// Like our own, but it announces no SSRC: the mid extension of its packets tells.
    Anonymous,
}

impl Default for Sending {
    fn default() -> Sending {
        Sending {
            audio: true,
            video: None,
            level: 30,
            bare_h264: false,
            size: 200,
            like: Like::Ours,
            redundancy: Redundancy::None,
        }
    }
}

pub struct Client {
    pub channel: u64,
    pub addr: SocketAddr,
    pub name: String,
    pub session: Session,
    pub id: u32,
    pub offer: Option<Description>,
    pub lines: Vec<Line>,
    pub connected: Option<Timestamp>,
    pub roster: Vec<message::Participant>,
    pub slots: Vec<message::Slot>,
    pub slots_history: Vec<(Timestamp, Vec<message::Slot>)>,
    pub errors: Vec<Error>,
    pub closed: bool,
    /// By mid.
    pub heard: BTreeMap<String, Vec<Heard>>,
    pub rtcp: Vec<(Timestamp, Rtcp)>,
    pub sending: Sending,
    /// Answers NACKs and PLIs as a client should.
    pub obliging: bool,
    pub plis: Vec<Timestamp>,
    pub key_frames: Vec<Timestamp>,
    receivers: BTreeMap<String, (RecvStream, ExtensionMap)>,
    pub audio: Option<(SendStream, ExtensionMap)>,
    pub video: Option<(SendStream, ExtensionMap)>,
    key_wanted: bool,
    frame: u16,
    pub frames_sent: u64,
    audio_at: Timestamp,
    video_at: Timestamp,
    report_at: Timestamp,
    recorder: Option<Recorder>,
    /// Its packets carry transport-wide numbers.
    pub numbered: bool,
    twcc_seq: u16,
    encoder: rlc::Encoder,
    before: Option<(u32, Vec<u8>)>,
    decoders: BTreeMap<String, rlc::Decoder>,
    pub silent: bool,
    /// Keeps nothing of what it hears.
    pub forgetful: bool,
}

pub fn map(ids: &ExtensionIds) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (id, extension) in [
        (ids.mid, Extension::Mid),
        (ids.audio_level, Extension::AudioLevel),
        (ids.transport_cc, Extension::TransportCc),
        (ids.abs_capture_time, Extension::CaptureTime),
        (ids.dependency_descriptor, Extension::Dependency),
    ] {
        if let Some(id) = id {
            map.set(id, extension);
        }
    }
    map
}

impl Client {
    fn new(channel: u64, name: &str, sending: Sending, latency_seed: u8) -> Client {
        let seed = [channel as u8 ^ latency_seed; 32];
        let addr = SocketAddr::from(([198, 51, 100, channel as u8], 40_000));
        let mut session = Session::new(session::Config {
            role: ice::Role::Controlling,
            certificate: dtls::Certificate::from_seed(seed),
            crypto: dtls::Crypto::Seeded(seed),
            seed,
            ..session::Config::new(anchor())
        });
        session.add_local_candidate(addr);
        Client {
            channel,
            addr,
            name: name.into(),
            session,
            id: 0,
            offer: None,
            lines: Vec::new(),
            connected: None,
            roster: Vec::new(),
            slots: Vec::new(),
            slots_history: Vec::new(),
            errors: Vec::new(),
            closed: false,
            heard: BTreeMap::new(),
            rtcp: Vec::new(),
            sending,
            obliging: true,
            plis: Vec::new(),
            key_frames: Vec::new(),
            receivers: BTreeMap::new(),
            audio: None,
            video: None,
            key_wanted: true,
            frame: 0,
            frames_sent: 0,
            audio_at: Timestamp::ZERO,
            video_at: Timestamp::ZERO,
            report_at: Timestamp::ZERO,
            recorder: None,
            numbered: false,
            twcc_seq: 0,
            encoder: rlc::Encoder::new(),
            before: None,
            decoders: BTreeMap::new(),
            silent: false,
            forgetful: false,
        }
    }

    /// The packets, with those that came again, that this client has of a participant's kind.
    pub fn of(&self, participant: u32, kind: Kind) -> &[Heard] {
        let kind: i32 = message::MediaKind::from(kind).into();
        let slot = self.slots.iter().find(|slot| slot.participant == participant && slot.kind == kind);
        slot.and_then(|slot| self.heard.get(&slot.mid)).map_or(&[], Vec::as_slice)
    }

    /// Who sent a packet, by its payload.
    pub fn sender(heard: &Heard) -> u64 {
        heard.packet.as_ref().map_or(0, |packet| u64::from(packet.payload[packet.payload.len() - 9]))
    }

    fn make_offer(&mut self, slots: (usize, usize)) -> String {
        let local = self.session.local();
        let local = Local {
            session_id: self.channel,
            ufrag: local.ufrag,
            pwd: local.pwd,
            fingerprint: sdp::Fingerprint(local.fingerprint.0),
            lite: false,
            candidates: vec![self.addr],
            end_of_candidates: true,
            cname: format!("c{}", self.channel),
            first_ssrc: 0x1000 * self.channel as u32,
        };
        let line = |kind, direction| Offered { kind, direction };
        let browser = self.sending.like == Like::Browser;
        let (first, rest) = if browser {
            (Direction::SendRecv, (slots.0.saturating_sub(1), slots.1.saturating_sub(1)))
        } else {
            (Direction::SendOnly, slots)
        };
        let mut lines = vec![line(Kind::Audio, first), line(Kind::Video, first)];
        lines.extend(std::iter::repeat_n(line(Kind::Audio, Direction::RecvOnly), rest.0));
        lines.extend(std::iter::repeat_n(line(Kind::Video, Direction::RecvOnly), rest.1));
        let can = Capabilities {
            ccfb: !browser,
            audio_rtx: !browser,
            audio_red: self.sending.redundancy == Redundancy::Red,
            audio_rlc: self.sending.redundancy == Redundancy::Rlc,
            ..Capabilities::default()
        };
        let mut offer = sdp::offer(&local, &can, &lines);
        // Browsers have no RTX for sound, but can resend it as it was.
        let sounds = offer.media.iter_mut().filter(|media| media.kind.media() == Some(Kind::Audio));
        for opus in sounds.flat_map(|media| &mut media.codecs).filter(|_| browser) {
            opus.feedback.push(sdp::Feedback::Nack);
        }
        let text = offer.to_string();
        self.offer = Some(offer);
        if self.sending.like == Like::Anonymous {
            return text.split_inclusive('\n').filter(|line| !line.starts_with("a=ssrc")).collect();
        }
        text
    }

    fn on_answer(&mut self, now: Timestamp, text: &str) {
        let answer = Description::parse(text).unwrap();
        let offer = self.offer.as_ref().unwrap();
        let transport = sdp::remote_transport(offer, &answer).unwrap();
        self.lines = sdp::lines(offer, &answer).unwrap();
        for line in &self.lines {
            if let Some(send) = &line.send {
                let mut config =
                    SendConfig::new(send.ssrc, send.payload_type, send.clock_rate, self.channel * 7919);
                config.rtx = send
                    .rtx_ssrc
                    .zip(send.rtx_payload_type)
                    .map(|(ssrc, payload_type)| Rtx { ssrc, payload_type });
                let stream = Some((SendStream::new(config), map(&send.extensions)));
                match line.kind {
                    Kind::Audio => self.audio = stream,
                    Kind::Video => self.video = stream,
                }
            }
            if let Some(receive) = &line.receive {
                let (payload_type, rtx_payload_type) = receive.payload_types[0];
                let config = RecvConfig {
                    ssrc: receive.ssrc.expect("the SFU announces its streams"),
                    payload_type,
                    clock_rate: receive.clock_rate,
                    rtx_payload_type,
                    nack: None,
                };
                self.receivers.insert(line.mid.clone(), (RecvStream::new(config), map(&receive.extensions)));
            }
        }
        let format = if self.lines.iter().any(|line| line.ccfb) { Format::Ccfb } else { Format::Twcc };
        self.recorder = Some(Recorder::new(format, Ssrc(self.channel as u32)));
        self.numbered = format == Format::Twcc;
        self.session.start(
            now,
            session::Remote {
                ufrag: transport.ufrag,
                pwd: transport.pwd,
                fingerprint: dtls::Fingerprint(transport.fingerprint.0),
                dtls_active: transport.dtls_active,
                candidates: transport.candidates,
                lite: transport.lite,
            },
        );
        self.audio_at = now;
        self.video_at = now;
        self.report_at = now + ms(200);
    }

    fn on_rtp(&mut self, now: Timestamp, packet: &[u8]) {
        let ssrc = Ssrc(u32::from_be_bytes(packet[8..12].try_into().unwrap()));
        for line in &self.lines {
            let Some(receive) = &line.receive else { continue };
            if receive.ssrc != Some(ssrc) && receive.rtx_ssrc != Some(ssrc) {
                continue;
            }
            let (stream, map) = self.receivers.get_mut(&line.mid).unwrap();
            let (header, payload) = Header::parse(packet, map).expect("the SFU writes RTP");
            if let Some(recorder) = &mut self.recorder {
                let size = DataSize::from_bytes(packet.len() as u64 + 44);
                let id = match header.ext.twcc {
                    Some(number) if self.numbered => PacketId::Twcc(number),
                    _ => PacketId::Rtp(header.ssrc, header.seq),
                };
                recorder.on_packet(now, id, size);
            }
            let again = receive.rtx_ssrc == Some(ssrc);
            let payload = &packet[payload];
            let mut came = Vec::new();
            if receive.red_payload_type == Some(header.payload_type) {
                let mut parts = red::split(&header, payload).into_iter();
                let (newest, payload) = parts.next().expect("the SFU writes RED");
                came.push((header, stream.receive(now, &newest, payload)));
                came.extend(parts.map(|(it, payload)| (it, stream.receive_copy(now, &it, payload))));
            } else if receive.rlc_payload_type == Some(header.payload_type) {
                let opus = receive.payload_types[0].0;
                let decoder =
                    self.decoders.entry(line.mid.clone()).or_insert_with(|| rlc::Decoder::new(opus));
                let carrier = decoder.open(payload).expect("the SFU writes RLC");
                let plain = Header { payload_type: opus, ..header };
                came.push((header, stream.receive(now, &plain, carrier.payload)));
                for (it, payload) in decoder.receive(&plain, &carrier, carrier.payload) {
                    came.push((it, stream.receive_copy(now, &it, &payload)));
                }
            } else {
                came.push((header, stream.receive(now, &header, payload)));
            }
            if self.forgetful {
                return;
            }
            let heard = came.into_iter().map(|(header, packet)| Heard { at: now, header, packet, again });
            self.heard.entry(line.mid.clone()).or_default().extend(heard);
            return;
        }
        panic!("a packet of no announced stream: {ssrc:?}");
    }

    fn on_rtcp(&mut self, now: Timestamp, datagram: &[u8]) {
        for packet in rtcp::parse(datagram) {
            match &packet {
                Rtcp::Pli { .. } => {
                    self.plis.push(now);
                    self.key_wanted |= self.obliging;
                }
                Rtcp::Nack { media, seqs, .. } if self.obliging => {
                    for stream in [&mut self.audio, &mut self.video] {
                        let Some((stream, map)) = stream.as_mut().filter(|(s, _)| s.config().ssrc == *media)
                        else {
                            continue;
                        };
                        for &seq in seqs {
                            if let Some(resend) = stream.resend(now, seq, None) {
                                let mut bytes = Vec::new();
                                resend.header.write(map, &mut bytes);
                                bytes.extend_from_slice(&resend.payload);
                                self.session.send_rtp(now, bytes);
                            }
                        }
                    }
                }
                Rtcp::SenderReport { ssrc, .. } => {
                    for (stream, _) in self.receivers.values_mut().filter(|(s, _)| s.config().ssrc == *ssrc) {
                        stream.on_sender_report(now, &packet);
                    }
                }
                _ => {}
            }
            self.rtcp.push((now, packet));
        }
    }

    pub fn capture_ntp(&self, mid: &str, time: MediaTime) -> Option<u64> {
        self.receivers.get(mid)?.0.capture_ntp(time)
    }

    pub fn send_rtcp(&mut self, now: Timestamp, packet: Rtcp) {
        self.session.send_rtcp(now, rtcp::write(&[packet]));
    }

    /// The mid and SSRC of the slot with somebody's stream.
    pub fn slot_of(&self, participant: u32, kind: Kind) -> Option<(String, Ssrc)> {
        let kind: i32 = message::MediaKind::from(kind).into();
        let slot = self.slots.iter().find(|slot| slot.participant == participant && slot.kind == kind)?;
        let line = self.lines.iter().find(|line| line.mid == slot.mid)?;
        Some((slot.mid.clone(), line.receive.as_ref()?.ssrc?))
    }

    fn media_deadline(&self) -> Option<Timestamp> {
        if self.connected.is_none() || self.silent {
            return None;
        }
        let audio = self.sending.audio.then_some(self.audio_at);
        let video = self.sending.video.map(|_| self.video_at);
        let feedback = self.recorder.as_ref().and_then(Recorder::deadline);
        [audio, video, feedback, Some(self.report_at)].into_iter().flatten().min()
    }

    fn media(&mut self, now: Timestamp) {
        if self.media_deadline().is_none_or(|due| due > now) {
            return;
        }
        if let Some(report) = self.recorder.as_mut().and_then(|recorder| recorder.poll(now)) {
            self.session.send_rtcp(now, rtcp::write(&[report]));
        }
        let mut packets = Vec::new();
        if self.sending.audio && self.audio_at <= now {
            self.audio_at = now + ms(20);
            let (stream, map) = self.audio.as_mut().unwrap();
            let ext = Extensions {
                audio_level: Some(AudioLevel { voice: self.sending.level < 127, level: self.sending.level }),
                mid: Mid::new(b"0"),
                twcc: number(self.numbered, &mut self.twcc_seq),
                ..Extensions::default()
            };
            let header = stream.next(MediaTime(now.as_micros() * 48 / 1000), false, ext);
            let payload = stamp(vec![0x48; 40], self.id, header.seq);
            stream.store(now, &header, &payload);
            let send = self.lines[0].send.as_ref();
            let red = send.and_then(|send| send.red_payload_type);
            let rlc = send.and_then(|send| send.rlc_payload_type);
            let before = self.before.replace((header.timestamp, payload.clone()));
            let plan = rlc::Plan { window: 6, rate: 2000, ..rlc::Plan::default() };
            let (header, payload) = match (rlc, red, &before) {
                (Some(rlc), ..) => self.encoder.dress(&header, &payload, &payload, &plan, rlc),
                (None, Some(red), Some((at, copy))) => {
                    red::join(&header, &payload, &[(*at, copy)], red).expect("a copy fits")
                }
                _ => (header, payload),
            };
            let mut bytes = Vec::new();
            header.write(map, &mut bytes);
            bytes.extend_from_slice(&payload);
            packets.push(bytes);
        }
        if let Some(count) = self.sending.video.filter(|_| self.video_at <= now) {
            self.video_at = now + ms(40);
            let key = std::mem::take(&mut self.key_wanted);
            if key {
                self.key_frames.push(now);
            }
            let (stream, map) = self.video.as_mut().unwrap();
            let writer = dd::Writer::new(1);
            for at in 0..count {
                let (start, end) = (at == 0, at + 1 == count);
                let facts = dd::Facts { start, end, key, frame_number: self.frame, spatial: 0, temporal: 0 };
                let ext = Extensions {
                    dd: (!self.sending.bare_h264).then(|| writer.write(&facts)),
                    mid: (self.sending.like == Like::Anonymous).then(|| Mid::new(b"1").unwrap()),
                    twcc: number(self.numbered, &mut self.twcc_seq),
                    ..Extensions::default()
                };
                let header = stream.next(MediaTime(now.as_micros() * 90 / 1000), end, ext);
                // A single NAL unit: SPS (7) where a key frame starts, else a slice (1).
                let first = if self.sending.bare_h264 && key && start { 0x67 } else { 0x61 };
                let mut payload = vec![first; self.sending.size];
                payload[1] = u8::from(key && start);
                let payload = stamp(payload, self.id, header.seq);
                stream.store(now, &header, &payload);
                let mut bytes = Vec::new();
                header.write(map, &mut bytes);
                bytes.extend_from_slice(&payload);
                packets.push(bytes);
            }
            self.frame = self.frame.wrapping_add(1);
            self.frames_sent += 1;
        }
        if self.report_at <= now {
            self.report_at = now + ms(1000);
            // The client's clock is its own: it began an hour earlier.
            let ntp = rtcp::ntp(now + WALL_CLOCK);
            for (stream, rate) in [(&self.audio, 48), (&self.video, 90)] {
                if let Some((stream, _)) = stream {
                    let report = stream.sender_report(ntp, MediaTime(now.as_micros() * rate / 1000));
                    self.session.send_rtcp(now, rtcp::write(&[report]));
                }
            }
            let heard = &self.heard;
            let blocks: Vec<_> = self
                .receivers
                .iter_mut()
                .filter(|(mid, _)| heard.contains_key(*mid))
                .map(|(_, (stream, _))| stream.report_block(now))
                .collect();
            if !blocks.is_empty() {
                let ssrc = Ssrc(self.channel as u32);
                self.session.send_rtcp(now, rtcp::write(&[Rtcp::ReceiverReport { ssrc, blocks }]));
            }
        }
        for packet in packets {
            self.session.send_rtp(now, packet);
        }
    }

    pub fn want_key(&mut self) {
        self.key_wanted = true;
    }
}

/// The next transport-wide number, if packets carry them.
fn number(numbered: bool, next: &mut u16) -> Option<u16> {
    let number = *next;
    *next = next.wrapping_add(1);
    numbered.then_some(number)
}

/// Ends a payload with who sent it and under which number, to check what arrives.
fn stamp(mut payload: Vec<u8>, id: u32, seq: u16) -> Vec<u8> {
    payload.push(id as u8);
    payload.extend_from_slice(&[0; 6]);
    payload.extend_from_slice(&seq.to_be_bytes());
    payload
}

#[derive(Debug)]
enum Event {
    Datagram(Transmit),
    ToSfu { channel: u64, message: Vec<u8> },
    ToClient { channel: u64, message: Vec<u8> },
    Closed { channel: u64 },
}

/// What the filter says of a datagram.
pub type Filter = Box<dyn FnMut(Timestamp, &Transmit) -> bool>;

/// What is done to the SFU before a datagram reaches it.
pub type Before = Box<dyn FnMut(Timestamp, &mut Sfu, &Transmit)>;

pub struct Party {
    pub now: Timestamp,
    pub sfu: Sfu,
    pub clients: Vec<Client>,
    pub latency: Duration,
    /// True lets a datagram through.
    pub filter: Filter,
    /// A running digest of everything that the SFU sent. What the hook before a datagram drains is not in it.
    pub digest: u64,
    /// Runs before each datagram that reaches the SFU.
    pub before: Option<Before>,
    pub seed: u8,
    slots: (usize, usize),
    queue: BTreeMap<(Timestamp, u64), Event>,
    events: u64,
}

impl Party {
    pub fn new(slots: (usize, usize)) -> Party {
        Party::with(sfu_config(9), slots)
    }

    pub fn with(config: Config, slots: (usize, usize)) -> Party {
        Party {
            now: Timestamp::ZERO,
            sfu: Sfu::new(config),
            clients: Vec::new(),
            latency: ms(10),
            filter: Box::new(|_, _| true),
            digest: 0xcbf2_9ce4_8422_2325,
            before: None,
            seed: 0,
            slots,
            queue: BTreeMap::new(),
            events: 0,
        }
    }

    /// Somebody asks to come in; its place in `clients`.
    pub fn join(&mut self, room: &str, name: &str, sending: Sending) -> usize {
        self.join_with(room, name, "", sending)
    }

    pub fn join_with(&mut self, room: &str, name: &str, token: &str, sending: Sending) -> usize {
        let channel = self.clients.len() as u64 + 1;
        self.clients.push(Client::new(channel, name, sending, self.seed));
        let join =
            Join { token: token.into(), room: room.into(), name: name.into(), version: message::VERSION };
        self.say(channel, join);
        self.clients.len() - 1
    }

    /// A client says something.
    pub fn say(&mut self, channel: u64, body: impl Into<Body>) {
        let message = message::encode(body);
        self.push(self.latency, Event::ToSfu { channel, message });
    }

    pub fn mute(&mut self, client: usize, kind: Kind, muted: bool) {
        let kind = message::MediaKind::from(kind).into();
        self.say(self.clients[client].channel, Mute { kind, muted });
    }

    pub fn close(&mut self, client: usize) {
        let channel = self.clients[client].channel;
        self.sfu.handle(self.now, Input::SignalClosed { channel });
        self.clients[client].silent = true;
    }

    fn push(&mut self, after: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + after, self.events), event);
    }

    fn mix(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Sends on what the SFU wants sent.
    pub fn deliver(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => {
                self.mix(&transmit.bytes);
                if (self.filter)(self.now, &transmit) {
                    self.push(self.latency, Event::Datagram(transmit));
                }
            }
            Output::Signal { channel, message } => {
                self.mix(&message);
                self.push(self.latency, Event::ToClient { channel, message });
            }
            Output::CloseSignal { channel } => self.push(self.latency, Event::Closed { channel }),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.sfu.poll() {
            self.deliver(output);
        }
        for at in 0..self.clients.len() {
            while let Some(output) = self.clients[at].session.poll() {
                match output {
                    session::Output::Transmit(mut transmit) => {
                        transmit.from = Some(self.clients[at].addr);
                        if self.clients[at].silent || !(self.filter)(self.now, &transmit) {
                            continue;
                        }
                        self.push(self.latency, Event::Datagram(transmit));
                    }
                    session::Output::Connected { .. } => {
                        let now = self.now;
                        let client = &mut self.clients[at];
                        client.connected = Some(now);
                        client.audio_at = now;
                        client.video_at = now;
                        client.report_at = now + ms(200);
                    }
                    session::Output::PathChanged(_) => {}
                    session::Output::Failed(error) => panic!("client {at}: {error}"),
                }
            }
        }
    }

    pub fn run(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    pub fn run_until(&mut self, end: Timestamp) {
        loop {
            self.drain();
            let clients = self.clients.iter().filter(|client| !client.silent);
            let timers =
                clients.flat_map(|client| [client.session.deadline(), client.media_deadline()]).flatten();
            let events = self.queue.keys().next().map(|&(at, _)| at);
            let next = timers.chain(events).chain(self.sfu.deadline()).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            let now = self.now;
            while let Some(entry) = self.queue.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let event = entry.remove();
                self.handle(now, event);
            }
            if self.sfu.deadline().is_some_and(|due| due <= now) {
                self.sfu.handle(now, Input::Tick);
            }
            for client in self.clients.iter_mut().filter(|client| !client.silent) {
                if client.session.deadline().is_some_and(|due| due <= now) {
                    client.session.tick(now);
                }
                client.media(now);
            }
        }
        self.now = end;
        self.drain();
    }

    fn handle(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Datagram(mut transmit) => {
                let sfu: SocketAddr = SFU_ADDR.parse().unwrap();
                let from = transmit.from.unwrap_or(sfu);
                if transmit.to == sfu {
                    if let Some(before) = &mut self.before {
                        before(now, &mut self.sfu, &transmit);
                    }
                    let bytes = &mut transmit.bytes;
                    self.sfu.handle(now, Input::Datagram { from, to: sfu, bytes });
                    return;
                }
                let Some(client) = self.clients.iter_mut().find(|c| c.addr == transmit.to && !c.silent)
                else {
                    return;
                };
                let (addr, bytes) = (client.addr, &mut transmit.bytes);
                match client.session.receive(now, sfu, addr, bytes) {
                    Received::Rtp(packet) => {
                        let packet = packet.to_vec();
                        client.on_rtp(now, &packet);
                    }
                    Received::Rtcp(packet) => {
                        let packet = packet.to_vec();
                        client.on_rtcp(now, &packet);
                    }
                    Received::Handled | Received::Dropped => {}
                }
            }
            Event::ToSfu { channel, message } => {
                self.sfu.handle(now, Input::Signal { channel, message: &message });
            }
            Event::Closed { channel } => {
                self.clients[channel as usize - 1].closed = true;
            }
            Event::ToClient { channel, message } => {
                let slots = self.slots;
                let client = &mut self.clients[channel as usize - 1];
                match message::decode(&message).unwrap() {
                    Body::Joined(joined) => {
                        client.id = joined.participant;
                        client.roster = joined.participants;
                        let sdp = client.make_offer(slots);
                        let kind = DescriptionKind::Offer.into();
                        self.say(channel, message::Description { kind, sdp });
                    }
                    Body::Description(answer) => client.on_answer(now, &answer.sdp),
                    Body::Roster(roster) => client.roster = roster.participants,
                    Body::Slots(slots) => {
                        client.slots_history.push((now, slots.slots.clone()));
                        client.slots = slots.slots;
                    }
                    Body::Error(error) => client.errors.push(error),
                    _ => {}
                }
            }
        }
    }
}

/// The outgoing numbers of packets heard, in the order of arrival.
pub fn seqs(heard: &[Heard]) -> Vec<u64> {
    heard.iter().filter_map(|heard| Some(heard.packet.as_ref()?.seq.0)).collect()
}

/// Panics unless the numbers are consecutive.
pub fn assert_continuous(heard: &[Heard], at_least: usize, what: &str) {
    let mut seqs = seqs(heard);
    seqs.sort_unstable();
    assert!(seqs.len() >= at_least, "{what}: only {} packets", seqs.len());
    for pair in seqs.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "{what}: a gap or a duplicate");
    }
}
