//! Signalling: entering a room, agreeing on streams, learning who is who.

use super::{Call, Receiver, Slot};
use crate::adapt::Peer;
use crate::event::{Event, Failure, Participant, SlotEvent};
use crate::receiver::{AudioReceiver, Formats, Listening, VideoReceiver};
use crate::sender::{AudioSender, Speaking, VideoSender};
use crate::{Role, negotiation};
use std::time::Duration;
use undertone_codec::CodecError;
use undertone_media::{Kind, Output, Ssrc, Timestamp};
use undertone_signaling::message::{self, Body, DescriptionKind, ErrorCode, MediaKind};
use undertone_signaling::sdp::{self, Description, Line};
use undertone_transport::rtp;
use undertone_transport::stream::{NackConfig, RecvConfig, RecvStream, Rtx, SendConfig, SendStream};

impl Call {
    /// Says the first word, once.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if self.started.is_some() {
            return;
        }
        self.started = Some(now);
        match self.config.role.clone() {
            Role::Join { room, token, name } => {
                self.say(message::Join { token, room, name, version: message::VERSION });
            }
            Role::Offer => self.offer(),
            Role::Answer => {}
        }
    }

    pub(super) fn say(&mut self, body: impl Into<Body>) {
        self.outputs.push_back(Output::Signal { channel: 0, message: message::encode(body) });
    }

    pub(super) fn say_muted(&mut self, kind: Kind, muted: bool) {
        if matches!(self.config.role, Role::Join { .. }) {
            self.say(message::Mute { kind: MediaKind::from(kind).into(), muted });
        }
    }

    fn offer(&mut self) {
        let offer = negotiation::offer(&self.local, &self.config);
        self.say(message::Description { kind: DescriptionKind::Offer.into(), sdp: offer.to_string() });
        self.offered = Some(offer);
    }

    pub(super) fn on_signal(&mut self, now: Timestamp, bytes: &[u8]) {
        if self.over {
            return;
        }
        // A message that cannot be read, or that a newer peer sends, concerns nobody here.
        let Ok(body) = message::decode(bytes) else { return };
        match body {
            Body::Joined(joined) => {
                self.events.push_back(Event::Joined { participant: joined.participant });
                self.on_roster(joined.participants);
                if self.offered.is_none() && self.slots.is_empty() {
                    self.offer();
                }
            }
            Body::Description(description) => self.on_description(now, &description),
            Body::Roster(roster) => self.on_roster(roster.participants),
            Body::Slots(slots) => self.on_slots(&slots.slots),
            Body::Error(error) => self.on_error(error),
            Body::Leave(_) => {
                self.over = true;
                self.events.push_back(Event::Ended);
            }
            Body::Ping(ping) => self.say(message::Pong { id: ping.id }),
            Body::Candidate(candidate) => {
                if let Some(address) = sdp::candidate(&candidate.candidate) {
                    self.session.add_remote_candidate(now, address);
                }
            }
            Body::Join(_) | Body::Mute(_) | Body::Pong(_) => {}
        }
    }

    pub(super) fn on_signal_closed(&mut self) {
        // A direct call outlives its signalling; a room does not, since nobody would tell who is in it.
        if matches!(self.config.role, Role::Join { .. }) {
            self.fail(Failure::Unreachable("the server closed the signalling channel".into()));
        }
    }

    fn on_error(&mut self, error: message::Error) {
        let (message, hint) = (error.message.clone(), error.hint.clone());
        match error.code() {
            ErrorCode::TokenInvalid | ErrorCode::TokenExpired | ErrorCode::NotPermitted => {
                self.fail(Failure::Refused { message, hint });
            }
            ErrorCode::RoomUnknown | ErrorCode::Full | ErrorCode::ShuttingDown | ErrorCode::MediaPath => {
                self.fail(Failure::Unreachable(if hint.is_empty() {
                    message
                } else {
                    format!("{message}; {hint}")
                }));
            }
            _ => self.fail(Failure::Peer(message)),
        }
    }

    fn on_roster(&mut self, participants: Vec<message::Participant>) {
        let roster = participants.into_iter().map(|it| Participant {
            id: it.id,
            name: it.name,
            audio: it.audio,
            video: it.video,
            muted: it.muted,
        });
        self.events.push_back(Event::Roster(roster.collect()));
    }

    fn on_slots(&mut self, slots: &[message::Slot]) {
        let mut places = [0usize; 2];
        for slot in &mut self.slots {
            let place = &mut places[slot.line.kind as usize];
            let number = *place;
            *place += 1;
            let participant = slots.iter().find(|it| it.mid == slot.line.mid).map(|it| it.participant);
            if slot.participant != participant {
                slot.participant = participant;
                self.events.push_back(Event::Slot(SlotEvent {
                    slot: number,
                    kind: slot.line.kind,
                    participant,
                }));
            }
        }
    }

    fn on_description(&mut self, now: Timestamp, description: &message::Description) {
        let agreed = Description::parse(&description.sdp).and_then(|remote| match description.kind() {
            DescriptionKind::Answer => match self.offered.take() {
                Some(offer) => Ok(Some((offer, remote))),
                None => Ok(None),
            },
            _ if self.config.role == Role::Answer && self.slots.is_empty() => {
                let answer = sdp::answer(&remote, &self.local, &negotiation::capabilities(&self.config))?;
                self.say(message::Description {
                    kind: DescriptionKind::Answer.into(),
                    sdp: answer.to_string(),
                });
                Ok(Some((answer, remote)))
            }
            _ => Ok(None),
        });
        match agreed {
            Ok(Some((local, remote))) => self.start(now, &local, &remote),
            // An offer or answer that nobody waits for changes nothing.
            Ok(None) => {}
            Err(error) => self.fail(Failure::Peer(error.to_string())),
        }
    }

    /// Both descriptions are there: makes the streams, starts looking for a path.
    fn start(&mut self, now: Timestamp, local: &Description, remote: &Description) {
        let agreed =
            sdp::lines(local, remote).and_then(|lines| Ok((lines, sdp::remote_transport(local, remote)?)));
        let (lines, transport) = match agreed {
            Ok(agreed) => agreed,
            Err(error) => return self.fail(Failure::Peer(error.to_string())),
        };
        if let Err(error) = self.make_streams(lines) {
            return self.fail(Failure::Codec(error.to_string()));
        }
        self.session.start(now, negotiation::remote(transport));
    }

    fn make_streams(&mut self, lines: Vec<Line>) -> Result<(), CodecError> {
        for line in &lines {
            let Some(send) = &line.send else { continue };
            let random = self.random_u64();
            let rtx = send.rtx_payload_type.zip(send.rtx_ssrc);
            let stream = SendStream::new(SendConfig {
                rtx: rtx.map(|(payload_type, ssrc)| Rtx { ssrc, payload_type }),
                ..SendConfig::new(send.ssrc, send.payload_type, send.clock_rate, random)
            });
            match line.kind {
                Kind::Audio if self.config.audio && self.speaker.is_none() => {
                    let formats = Formats { red: send.red_payload_type, rlc: send.rlc_payload_type };
                    self.peer = Peer {
                        code: formats.rlc.is_some(),
                        copies: formats.red.is_some(),
                        // Whoever speaks our code plays what we write; others skip it.
                        redundancy: formats.rlc.is_some(),
                    };
                    let path = self.speech_path(self.path.estimate());
                    let speaking = Speaking {
                        rate: self.config.sample_rate,
                        sound: self.config.sound,
                        coding: self.config.coding,
                    };
                    self.speaker = Some(AudioSender::new(stream, formats, speaking, &path)?);
                }
                Kind::Video if self.camera.is_none() => {
                    if let Some(video) = self.config.video {
                        self.camera = Some(VideoSender::new(stream, video, self.path.estimate())?);
                    }
                }
                _ => {}
            }
        }
        self.path.agree(negotiation::format(&lines), negotiation::extension_map(&lines), self.reporter());
        for line in lines {
            let Some(receive) = line.receive.clone() else { continue };
            let index = self.slots.len();
            self.slots.push(Slot { line, participant: None, receiver: Receiver::Idle });
            if let Some(ssrc) = receive.ssrc {
                self.bind(index, ssrc)?;
            }
            if let Some(rtx) = receive.rtx_ssrc {
                self.sources.insert(rtx, index);
            }
        }
        Ok(())
    }

    /// Ties a stream to a slot.
    fn bind(&mut self, index: usize, ssrc: Ssrc) -> Result<(), CodecError> {
        let line = &self.slots[index].line;
        let Some(receive) = &line.receive else { return Ok(()) };
        let Some(&(payload_type, rtx_payload_type)) = receive.payload_types.first() else { return Ok(()) };
        let nack = (line.nack && rtx_payload_type.is_some()).then(|| match line.kind {
            Kind::Audio => NackConfig {
                useful: Duration::from_millis(500),
                echo: Some(Duration::from_millis(10)),
                tail: true,
                ..NackConfig::default()
            },
            Kind::Video => NackConfig::video(),
        });
        let clock_rate = receive.clock_rate;
        let formats = Formats { red: receive.red_payload_type, rlc: receive.rlc_payload_type };
        let stream = RecvStream::new(RecvConfig { ssrc, payload_type, clock_rate, rtx_payload_type, nack });
        self.slots[index].receiver = match line.kind {
            Kind::Audio => {
                let listening = Listening {
                    rate: self.config.sample_rate,
                    effort: self.config.coding.effort,
                    patience: self.config.patience,
                };
                let playout = undertone_jitter::Config {
                    clock_rate,
                    min_delay: self.config.playout_slack,
                    start_delay: self.config.playout_slack,
                    ..Default::default()
                };
                Receiver::Audio(Box::new(AudioReceiver::new(stream, formats, playout, listening)?))
            }
            Kind::Video => Receiver::Video(Box::new(VideoReceiver::new(stream, clock_rate))),
        };
        self.sources.insert(ssrc, index);
        Ok(())
    }

    /// The slot of a packet: by its SSRC, or, where the peer announced none, by its mid or payload type.
    pub(super) fn slot_of(&mut self, header: &rtp::Header) -> Option<usize> {
        if let Some(&index) = self.sources.get(&header.ssrc) {
            return Some(index);
        }
        let mid = header.ext.mid.as_ref().and_then(|mid| mid.as_str());
        let index = self.slots.iter().position(|slot| {
            let Some(receive) = &slot.line.receive else { return false };
            let carries = |of: fn(&(u8, Option<u8>)) -> Option<u8>| {
                receive.payload_types.iter().any(|types| of(types) == Some(header.payload_type))
            };
            let unbound = matches!(slot.receiver, Receiver::Idle);
            match mid {
                Some(mid) => mid == slot.line.mid,
                None => unbound && carries(|types| Some(types.0)),
            }
        })?;
        let receive = self.slots[index].line.receive.as_ref()?;
        if receive.payload_types.iter().any(|types| types.1 == Some(header.payload_type)) {
            // The first retransmission of a stream whose RTX source was not announced.
            self.sources.insert(header.ssrc, index);
        } else if matches!(self.slots[index].receiver, Receiver::Idle) {
            self.bind(index, header.ssrc).ok()?;
        }
        self.sources.get(&header.ssrc).copied()
    }
}
