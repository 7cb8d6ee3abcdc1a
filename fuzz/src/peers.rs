//! Whole machines: a session, a call, an SFU, between the handshake and the last packet.
//!
//! The peer holds valid keys and sends what it likes under them, so that what lies behind the decryption is
//! reached. Everything is seeded: an input that fails once fails always.

use super::signals::local;
use super::{Script, later};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use undertone_codec::pattern::Pattern;
use undertone_engine::{Call, Config, FRAME_SAMPLES, Role, VideoConfig};
use undertone_media::{Bitrate, Input, Kind, Machine, Output, Timestamp, Transmit};
use undertone_sfu::Sfu;
use undertone_signaling::message::{self, Body, DescriptionKind};
use undertone_signaling::sdp::{
    self, Capabilities, Description, Direction, Fingerprint, Line, Local, Offered,
};
use undertone_transport::dtls::{self, Certificate, Crypto};
use undertone_transport::session::{self, Received, Session};
use undertone_transport::{ice, rtp};

/// Where the machine under test is.
const HERE: &str = "192.0.2.1:7000";
const STRANGER: &str = "203.0.113.9:999";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[allow(clippy::disallowed_methods)] // DTLS wants an anchor; which one changes nothing
fn anchor() -> Instant {
    static ANCHOR: OnceLock<Instant> = OnceLock::new();
    *ANCHOR.get_or_init(Instant::now)
}

/// Making a certificate takes longer than most inputs.
fn certificate(of: u8) -> Certificate {
    static CERTIFICATES: OnceLock<Vec<Certificate>> = OnceLock::new();
    let all = CERTIFICATES.get_or_init(|| (0..4).map(|of| Certificate::from_seed([of; 32])).collect());
    all[usize::from(of)].clone()
}

fn new_session(of: u8, role: ice::Role) -> Session {
    Session::new(session::Config {
        role,
        certificate: certificate(of),
        crypto: Crypto::Seeded([of; 32]),
        seed: [of; 32],
        ..session::Config::new(anchor())
    })
}

// ---- A session, and the network between it and its peer.

fn remote(session: &Session, at: SocketAddr, dtls_active: bool, lite: bool) -> session::Remote {
    let session::LocalDescription { ufrag, pwd, fingerprint } = session.local();
    session::Remote { ufrag, pwd, fingerprint, dtls_active, candidates: vec![at], lite }
}

/// Two sessions and a network that drops, repeats, changes and invents datagrams.
pub(crate) fn session(data: &[u8]) {
    let Some((&setting, data)) = data.split_first() else { return };
    let lite = setting & 1 == 1;
    let addresses = [address("198.51.100.1:40000"), address(HERE)];
    let role = if lite { ice::Role::Lite } else { ice::Role::Controlled };
    let mut ends = [new_session(1, ice::Role::Controlling), new_session(2, role)];
    for (end, address) in ends.iter_mut().zip(addresses) {
        end.add_local_candidate(address);
    }
    let mut now = Timestamp::from_millis(1);
    let [a, b] = &mut ends;
    let (to_b, to_a) = (remote(b, addresses[1], true, lite), remote(a, addresses[0], false, false));
    a.start(now, to_b);
    b.start(now, to_a);
    let mut wire: VecDeque<(usize, Transmit)> = VecDeque::new();
    for (order, bytes) in Script::steps(data) {
        now += later(order);
        for (from, end) in ends.iter_mut().enumerate() {
            if end.deadline().is_some_and(|deadline| deadline <= now) {
                end.tick(now);
            }
            while let Some(output) = end.poll() {
                if let session::Output::Transmit(transmit) = output {
                    wire.push_back((from, transmit));
                }
            }
        }
        wire.truncate(64);
        let mut give = |from: usize, source: SocketAddr, bytes: &mut [u8]| {
            ends[1 - from].receive(now, source, addresses[1 - from], bytes);
        };
        match order & 15 {
            kind @ 0..=3 => {
                let count = [1, 2, 4, wire.len()][usize::from(kind)].min(wire.len());
                for (from, mut transmit) in wire.drain(..count) {
                    give(from, addresses[from], &mut transmit.bytes);
                }
            }
            4 | 5 => {
                let Some((from, mut transmit)) = wire.pop_front() else { continue };
                // Two bytes say where; the rest is put over what was there.
                let Some((at, patch)) = bytes.split_first_chunk::<2>() else { continue };
                let at = usize::from(u16::from_le_bytes(*at)) % transmit.bytes.len().max(1);
                for (byte, patch) in transmit.bytes.iter_mut().skip(at).zip(patch) {
                    *byte ^= patch;
                }
                give(from, addresses[from], &mut transmit.bytes);
            }
            6 => drop(wire.pop_front()),
            7 => {
                let Some((from, transmit)) = wire.front().cloned() else { continue };
                give(from, addresses[from], &mut transmit.bytes.clone());
            }
            8 => {
                let Some((from, mut transmit)) = wire.pop_front() else { continue };
                let len = bytes.len().min(transmit.bytes.len());
                give(from, addresses[from], &mut transmit.bytes[..len]);
            }
            9 | 10 => give(usize::from(order & 1), addresses[usize::from(order & 1)], &mut bytes.to_vec()),
            11 => give(0, address(STRANGER), &mut bytes.to_vec()),
            12 => {
                let Some((from, mut transmit)) = wire.pop_front() else { continue };
                give(from, address(STRANGER), &mut transmit.bytes);
            }
            13 => ends[0].send_rtp(now, bytes.to_vec()),
            14 => ends[1].send_rtcp(now, bytes.to_vec()),
            _ => ends[bytes.len() & 1].network_changed(now),
        }
    }
    for end in &mut ends {
        end.close(now);
        assert!(!end.is_connected());
    }
}

// ---- A peer that has keys, of a call or of an SFU.

/// An opened packet, and whether it is RTCP.
pub(crate) type Heard = (bool, Vec<u8>);

/// The other side of the machine under test.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) session: Session,
    offer: Description,
    pub(crate) lines: Vec<Line>,
    seq: u16,
    /// What came, for the seeds.
    pub(crate) heard: Vec<Heard>,
    /// Datagrams that came, as they travelled; for the seeds.
    pub(crate) tapped: Vec<Vec<u8>>,
}

impl Peer {
    fn new(number: u8) -> Peer {
        let address = SocketAddr::from(([198, 51, 100, number], 40_000));
        let mut session = new_session(number, ice::Role::Controlling);
        session.add_local_candidate(address);
        let session::LocalDescription { ufrag, pwd, fingerprint } = session.local();
        let own = Local {
            ufrag,
            pwd,
            fingerprint: Fingerprint(fingerprint.0),
            candidates: vec![address],
            first_ssrc: 0x1000 * u32::from(number),
            ..local(false)
        };
        let line = |kind, direction| Offered { kind, direction };
        let lines = [
            line(Kind::Audio, Direction::SendRecv),
            line(Kind::Video, Direction::SendRecv),
            line(Kind::Audio, Direction::RecvOnly),
            line(Kind::Video, Direction::RecvOnly),
        ];
        let offer = sdp::offer(&own, &Capabilities { audio_red: true, ..Capabilities::default() }, &lines);
        Peer { address, session, offer, lines: Vec::new(), seq: 0, heard: Vec::new(), tapped: Vec::new() }
    }

    pub(crate) fn offer(&self) -> Vec<u8> {
        description(DescriptionKind::Offer, &self.offer.to_string())
    }

    fn answered(&mut self, now: Timestamp, text: &str) {
        let Ok(answer) = Description::parse(text) else { return };
        let (lines, transport) =
            (sdp::lines(&self.offer, &answer), sdp::remote_transport(&self.offer, &answer));
        let (Ok(lines), Ok(remote)) = (lines, transport) else { return };
        self.lines = lines;
        self.session.start(
            now,
            session::Remote {
                ufrag: remote.ufrag,
                pwd: remote.pwd,
                fingerprint: dtls::Fingerprint(remote.fingerprint.0),
                dtls_active: remote.dtls_active,
                candidates: remote.candidates,
                lite: remote.lite,
            },
        );
    }

    /// Sends bytes as the payload of the next packet of one of its streams: media, RTX or RED.
    fn send_payload(&mut self, now: Timestamp, which: u8, bytes: &[u8]) {
        let sends: Vec<_> = self.lines.iter().filter_map(|line| line.send.as_ref()).collect();
        let Some(send) = sends.get(usize::from(which & 1)) else { return };
        let (payload_type, ssrc) = match which >> 1 & 3 {
            1 => (send.rtx_payload_type.unwrap_or(send.payload_type), send.rtx_ssrc.unwrap_or(send.ssrc)),
            2 => (send.red_payload_type.unwrap_or(send.payload_type), send.ssrc),
            _ => (send.payload_type, send.ssrc),
        };
        // A gap now and then, so that something is missing.
        self.seq = self.seq.wrapping_add(1 + u16::from(which >> 5 == 7));
        let header = rtp::Header {
            payload_type,
            marker: which & 8 > 0,
            seq: self.seq,
            timestamp: u32::from(self.seq) * 960,
            ssrc,
            ..rtp::Header::default()
        };
        let mut packet = Vec::new();
        header.write(&rtp::ExtensionMap::default(), &mut packet);
        packet.extend_from_slice(bytes);
        self.session.send_rtp(now, packet);
    }
}

pub(crate) fn description(kind: DescriptionKind, sdp: &str) -> Vec<u8> {
    message::encode(message::Description { kind: kind.into(), sdp: sdp.into() })
}

/// Lets the machine and its peers talk until nobody has anything to say.
fn pump(now: Timestamp, machine: &mut impl Machine, peers: &mut [Peer]) {
    for _ in 0..64 {
        let mut quiet = true;
        for peer in &mut *peers {
            if peer.session.deadline().is_some_and(|deadline| deadline <= now) {
                peer.session.tick(now);
            }
            while let Some(output) = peer.session.poll() {
                let session::Output::Transmit(mut transmit) = output else { continue };
                quiet = false;
                let bytes = &mut transmit.bytes[..];
                machine.handle(now, Input::Datagram { from: peer.address, to: address(HERE), bytes });
            }
        }
        while let Some(output) = machine.poll() {
            match output {
                Output::Transmit(mut transmit) => {
                    quiet = false;
                    let Some(peer) = peers.iter_mut().find(|peer| peer.address == transmit.to) else {
                        continue;
                    };
                    if peer.tapped.len() < 64 {
                        peer.tapped.push(transmit.bytes.clone());
                    }
                    let received =
                        match peer.session.receive(now, address(HERE), transmit.to, &mut transmit.bytes) {
                            Received::Rtp(packet) => (false, packet.to_vec()),
                            Received::Rtcp(packet) => (true, packet.to_vec()),
                            Received::Handled | Received::Dropped => continue,
                        };
                    if peer.heard.len() < 512 {
                        peer.heard.push(received);
                    }
                }
                Output::Signal { channel, message } => {
                    let answer = message::decode(&message).ok();
                    if let (Some(Body::Description(answer)), Some(peer)) =
                        (answer, peers.get_mut(channel as usize))
                    {
                        peer.answered(now, &answer.sdp);
                    }
                }
                Output::CloseSignal { .. } => {}
            }
        }
        if quiet {
            return;
        }
    }
}

/// Lets time pass for the machine and its peers.
fn pass(now: &mut Timestamp, span: Duration, machine: &mut impl Machine, peers: &mut [Peer]) {
    let until = *now + span;
    // Deadlines in between are met, but not without end.
    for _ in 0..64 {
        let deadlines = peers.iter().map(|peer| peer.session.deadline()).chain([machine.deadline()]);
        let Some(next) = deadlines.flatten().min().filter(|next| *next <= until) else { break };
        *now = next.max(*now + Duration::from_micros(500));
        machine.handle(*now, Input::Tick);
        pump(*now, machine, peers);
    }
    *now = until.max(*now);
    machine.handle(*now, Input::Tick);
    pump(*now, machine, peers);
}

/// What a peer does to any machine; false if the order is another's.
fn act(
    now: Timestamp,
    machine: &mut impl Machine,
    peers: &mut [Peer],
    who: usize,
    order: u8,
    bytes: &[u8],
) -> bool {
    let Some(peer) = peers.get_mut(who) else { return true };
    let to = address(HERE);
    match order {
        0 => peer.session.send_rtp(now, bytes.to_vec()),
        1 => peer.session.send_rtcp(now, bytes.to_vec()),
        2 | 3 => {
            if let Some((&which, payload)) = bytes.split_first() {
                peer.send_payload(now, which, payload);
            }
        }
        4 => {
            let from = if bytes.len() & 1 == 0 { peer.address } else { address(STRANGER) };
            machine.handle(now, Input::Datagram { from, to, bytes: &mut bytes.to_vec() });
        }
        5 => machine.handle(now, Input::Signal { channel: who as u64, message: bytes }),
        6 => {
            let kind = if bytes.len() & 1 == 0 { DescriptionKind::Offer } else { DescriptionKind::Answer };
            let message = description(kind, &String::from_utf8_lossy(bytes));
            machine.handle(now, Input::Signal { channel: who as u64, message: &message });
        }
        7 if bytes.len() & 1 == 1 => machine.handle(now, Input::SignalClosed { channel: who as u64 }),
        _ => return false,
    }
    true
}

/// A call, its peer, and what they have done so far.
pub(crate) struct Talk {
    pub(crate) now: Timestamp,
    pub(crate) call: Call,
    pub(crate) peers: [Peer; 1],
    picture: u32,
}

impl Talk {
    pub(crate) fn new(role: Role) -> Talk {
        let config = Config {
            video: Some(VideoConfig {
                width: 128,
                height: 72,
                fps: 15,
                max_bitrate: Bitrate::from_kbps(100),
                ..VideoConfig::default()
            }),
            audio_slots: 2,
            video_slots: 2,
            certificate: certificate(0),
            crypto: Crypto::Seeded([9; 32]),
            ..Config::new(role, vec![address(HERE)], [9; 32], anchor())
        };
        Talk { now: Timestamp::from_millis(1), call: Call::new(config), peers: [Peer::new(1)], picture: 0 }
    }

    pub(crate) fn signal(&mut self, message: &[u8]) {
        self.call.handle(self.now, Input::Signal { channel: 0, message });
        pump(self.now, &mut self.call, &mut self.peers);
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        pass(&mut self.now, span, &mut self.call, &mut self.peers);
    }

    /// Plays 10 ms, and says some.
    pub(crate) fn play(&mut self, pcm: &[i16; FRAME_SAMPLES]) {
        self.call.push_audio(self.now, pcm);
        if (self.now.as_micros() / 10_000).is_multiple_of(7) {
            let picture = Pattern::new(128, 72).frame(self.picture, self.now);
            self.picture += 1;
            self.call.push_video(self.now, &picture);
        }
        self.call.pull_audio(self.now, &mut [0; FRAME_SAMPLES]);
        while self.call.pull_video().is_some() {}
        while self.call.event().is_some() {}
        self.pass(Duration::from_millis(10));
    }
}

/// A call whose peer sends what it likes, before or after there are keys.
pub(crate) fn call(data: &[u8]) {
    let Some((&setting, data)) = data.split_first() else { return };
    let join = Role::Join { room: "kitchen".into(), token: String::new(), name: "Anna".into() };
    let mut talk = Talk::new(match setting & 3 {
        0 | 1 => Role::Answer,
        2 => Role::Offer,
        _ => join,
    });
    talk.pass(Duration::ZERO);
    if setting & 3 == 0 {
        let offer = talk.peers[0].offer();
        talk.signal(&offer);
        talk.pass(Duration::from_millis(50));
        assert!(talk.call.is_connected(), "the handshake of the corpus works");
    }
    for (order, bytes) in Script::steps(data) {
        if !act(talk.now, &mut talk.call, &mut talk.peers, 0, order & 7, bytes) {
            let sound =
                |at: usize| bytes.get(at % bytes.len().max(1)).map_or(0, |&it| i16::from(it as i8) << 7);
            talk.play(&std::array::from_fn(sound));
        }
        if order & 8 == 8 {
            talk.play(&[0; FRAME_SAMPLES]);
        }
        talk.pass(later(order));
    }
    talk.call.stats();
    talk.call.leave(talk.now);
}

/// An SFU with two in a room, who send what they like.
pub(crate) struct Hall {
    pub(crate) now: Timestamp,
    pub(crate) sfu: Sfu,
    pub(crate) peers: [Peer; 2],
}

impl Hall {
    pub(crate) fn new() -> Hall {
        let config = undertone_sfu::Config {
            public_addrs: vec![address(HERE)],
            certificate: certificate(0),
            crypto: Crypto::Seeded([9; 32]),
            seed: [9; 32],
            audio_slots: 4,
            video_slots: 4,
            ..undertone_sfu::Config::new(anchor())
        };
        let peers = [Peer::new(1), Peer::new(2)];
        Hall { now: Timestamp::from_millis(1), sfu: Sfu::new(config), peers }
    }

    pub(crate) fn enter(&mut self, who: usize) {
        let name = ["Anna", "Bert"][who].to_string();
        let join =
            message::Join { token: String::new(), room: "kitchen".into(), name, version: message::VERSION };
        for message in [message::encode(join), self.peers[who].offer()] {
            self.sfu.handle(self.now, Input::Signal { channel: who as u64, message: &message });
            pump(self.now, &mut self.sfu, &mut self.peers);
        }
        self.pass(Duration::from_millis(50));
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        pass(&mut self.now, span, &mut self.sfu, &mut self.peers);
    }
}

/// An SFU whose participants send what they like.
pub(crate) fn sfu(data: &[u8]) {
    let Some((&setting, data)) = data.split_first() else { return };
    let mut hall = Hall::new();
    for who in 0..usize::from(setting % 3) {
        hall.enter(who);
        assert!(hall.peers[who].session.is_connected(), "the handshake of the corpus works");
    }
    for (order, bytes) in Script::steps(data) {
        let who = usize::from(order >> 3 & 1);
        if !act(hall.now, &mut hall.sfu, &mut hall.peers, who, order & 7, bytes) {
            hall.peers[who] = Peer::new(who as u8 + 1);
            hall.enter(who);
        }
        hall.pass(later(order));
    }
    hall.sfu.stats();
    hall.sfu.drain(hall.now);
    while hall.sfu.poll().is_some() {}
}
