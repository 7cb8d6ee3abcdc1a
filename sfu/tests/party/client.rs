//! A client: what it says, offers and agrees on, and what it has heard.

mod media;

use super::{anchor, ms};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use undertone_media::{Kind, MediaTime, Packet, Ssrc, Timestamp};
use undertone_signaling::message::{self, Error};
use undertone_signaling::sdp::{
    self, Capabilities, Description, Direction, ExtensionIds, Line, Local, Offered,
};
use undertone_transport::feedback::{Format, Recorder};
use undertone_transport::recovery::rlc;
use undertone_transport::rtcp::{self, Rtcp};
use undertone_transport::rtp::{Extension, ExtensionMap, Header};
use undertone_transport::session::{self, Session};
use undertone_transport::stream::{RecvConfig, RecvStream, Rtx, SendConfig, SendStream};
use undertone_transport::{dtls, ice};

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
    pub(crate) audio_at: Timestamp,
    pub(crate) video_at: Timestamp,
    pub(crate) report_at: Timestamp,
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
    pub(crate) fn new(channel: u64, name: &str, sending: Sending, latency_seed: u8) -> Client {
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

    pub(crate) fn make_offer(&mut self, slots: (usize, usize)) -> String {
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

    pub(crate) fn on_answer(&mut self, now: Timestamp, text: &str) {
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

    pub fn want_key(&mut self) {
        self.key_wanted = true;
    }
}
