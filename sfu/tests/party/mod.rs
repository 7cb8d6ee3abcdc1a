//! An SFU and its clients in one small virtual world: fixed latency, a filter that may lose datagrams, a
//! clock that jumps from event to event. The clients are made of `transport` and `signaling`, with media
//! that is only numbers.
#![allow(dead_code)]

mod client;

pub use client::*;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_media::{Input, Kind, Machine, Output, Timestamp, Transmit};
use undertone_sfu::{Config, Sfu};
use undertone_signaling::message::{self, Body, DescriptionKind, Join, Mute};
use undertone_transport::dtls;
use undertone_transport::session::{self, Received};

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
