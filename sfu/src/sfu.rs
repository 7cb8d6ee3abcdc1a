//! The machine: which datagram belongs to whom, channels, timers.

use crate::join;
use crate::link::{self, Link};
use crate::negotiate::{Draw, agree};
use crate::outbox::Outbox;
use crate::room::Room;
use crate::{Config, Stats};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use undertone_media::{Input, Machine, Output, Timestamp};
use undertone_signaling::message::{
    self, Body, Description, DescriptionKind, Error, Join, Joined, MediaKind, Mute, Pong, VERSION,
};
use undertone_signaling::sdp::SdpError;
use undertone_transport::session::{self, Class, Received};
use undertone_transport::stun;

/// How long somebody must have been silent before a newer join of the same name takes their place: longer
/// than a living peer's consent checks are apart (RFC 7675 §5.1: at most 6 s).
const GHOST: Duration = Duration::from_secs(7);
/// An address stays with its participant while it is heard from, so that nobody takes it by a forged source.
const ADDRESS_HOLD: Duration = Duration::from_secs(5);
/// Addresses kept for one participant; a roaming client leaves a trail of them.
const ADDRESSES: usize = 8;
/// A participant is looked at no more often than this, whatever its deadlines say.
const SHORTEST_WAIT: Duration = Duration::from_micros(500);

/// Somebody's place: room and participant number.
type Seat = (u64, u32);

/// A selective forwarding unit.
///
/// It is driven as every [`Machine`] is. A channel is one client's signalling; the media of all clients
/// shares one UDP port, whose address is in [`Config::public_addrs`].
pub struct Sfu {
    config: Config,
    rng: ChaCha12Rng,
    rooms: BTreeMap<u64, Room>,
    room_names: BTreeMap<String, u64>,
    next_room: u64,
    channels: BTreeMap<u64, Seat>,
    by_ufrag: BTreeMap<String, Seat>,
    by_addr: BTreeMap<SocketAddr, Seat>,
    /// When each participant is looked at next: one entry each.
    timers: BTreeSet<(Timestamp, Seat)>,
    out: Outbox,
    draining: bool,
}

impl Sfu {
    /// An SFU without rooms.
    pub fn new(config: Config) -> Sfu {
        Sfu {
            rng: ChaCha12Rng::from_seed(config.seed),
            config,
            rooms: BTreeMap::new(),
            room_names: BTreeMap::new(),
            next_room: 0,
            channels: BTreeMap::new(),
            by_ufrag: BTreeMap::new(),
            by_addr: BTreeMap::new(),
            timers: BTreeSet::new(),
            out: Outbox::default(),
            draining: false,
        }
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        let everybody = || self.rooms.values().flat_map(|room| &room.participants);
        let connected = everybody().filter(|p| p.link.as_ref().is_some_and(|link| link.connected));
        Stats {
            rooms: self.rooms.len() as u64,
            participants: everybody().count() as u64,
            connected: connected.count() as u64,
            ..self.out.stats
        }
    }

    /// Takes no more joins, tells everybody why and ends all channels. Poll what it says before stopping.
    pub fn drain(&mut self, now: Timestamp) {
        self.draining = true;
        for (_, seat) in std::mem::take(&mut self.channels) {
            if let Some(participant) = self.rooms.get_mut(&seat.0).and_then(|room| room.get(seat.1)) {
                let channel = participant.channel;
                if let Some(link) = &mut participant.link {
                    link.goodbye(now);
                    link.drain(seat.1, &mut self.out);
                }
                self.out.signal(channel, join::shutting_down());
                self.out.close(channel);
            }
        }
        self.rooms.clear();
        self.room_names.clear();
        self.by_ufrag.clear();
        self.by_addr.clear();
        self.timers.clear();
    }

    // ---- Datagrams.

    fn datagram(&mut self, now: Timestamp, from: SocketAddr, to: SocketAddr, bytes: &mut [u8]) {
        self.out.stats.datagrams_in += 1;
        self.out.stats.bytes_in += bytes.len() as u64;
        let class = session::classify(bytes);
        let named = match class {
            Class::Unknown => {
                self.out.stats.garbage += 1;
                return;
            }
            Class::Stun => stun::username(bytes).map(|(local, _)| self.by_ufrag.get(local).copied()),
            Class::Dtls | Class::Rtp | Class::Rtcp => None,
        };
        // A check names its session; the rest is known by its address.
        let seat = named.unwrap_or_else(|| self.by_addr.get(&from).copied());
        let Some(seat) = seat else {
            self.out.stats.unroutable += 1;
            return;
        };
        let Some(room) = self.rooms.get_mut(&seat.0) else { return };
        let Some(at) = room.index(seat.1) else { return };
        let Some(link) = room.participants[at].link.as_mut() else { return };
        let received = link.session.receive(now, from, to, bytes);
        if received == Received::Dropped {
            self.out.stats.refused += 1;
        } else if class != Class::Dtls {
            // What looks like DTLS may be forged; checks and media are authentic.
            link.heard = now;
        }
        match received {
            Received::Rtp(packet) => room.on_rtp(now, at, packet, &mut self.out),
            Received::Rtcp(packet) => room.on_rtcp(now, at, packet, &mut self.out),
            Received::Handled => {
                room.serve(now, at, &mut self.out);
                if class == Class::Stun {
                    self.learn_address(now, seat, from);
                }
            }
            // Even so it may have something to say: an error response, an alert.
            Received::Dropped => room.serve(now, at, &mut self.out),
        }
        self.settle(now, seat.0);
    }

    /// An authentic check came from an address: from now on, what comes from there is this participant's.
    fn learn_address(&mut self, now: Timestamp, seat: Seat, from: SocketAddr) {
        if let Some(&other) = self.by_addr.get(&from) {
            if other == seat {
                return;
            }
            let holder = self.rooms.get_mut(&other.0).and_then(|room| room.get(other.1));
            let link = holder.and_then(|holder| holder.link.as_mut());
            let holds = |link: &&mut Link| {
                link.session.remote_addr() == Some(from) && now.since(link.heard) < ADDRESS_HOLD
            };
            if link.filter(holds).is_some() {
                return;
            }
        }
        let Some(link) = self.rooms.get_mut(&seat.0).and_then(|room| room.get(seat.1)?.link.as_mut()) else {
            return;
        };
        link.addresses.retain(|&known| known != from);
        link.addresses.push(from);
        if link.addresses.len() > ADDRESSES {
            let oldest = link.addresses.remove(0);
            if self.by_addr.get(&oldest) == Some(&seat) {
                self.by_addr.remove(&oldest);
            }
        }
        self.by_addr.insert(from, seat);
    }

    // ---- Timers and what a room leaves behind.

    /// Acts on what a room left in the outbox: timers, new connections, ended sessions.
    fn settle(&mut self, now: Timestamp, room_id: u64) {
        while let Some(id) = self.out.connected.pop() {
            let Some(room) = self.rooms.get_mut(&room_id) else { continue };
            if let Some(at) = room.index(id) {
                room.ask_awaited(now, at, &mut self.out);
                room.serve(now, at, &mut self.out);
            }
        }
        while let Some((id, deadline)) = self.out.wake.pop() {
            let Some(room) = self.rooms.get_mut(&room_id) else { continue };
            let Some(participant) = room.get(id) else { continue };
            let deadline = deadline.max(now + SHORTEST_WAIT);
            // Only ever earlier: a timer that comes too soon looks, and sets itself anew.
            if deadline < participant.wake {
                self.timers.remove(&(participant.wake, (room_id, id)));
                participant.wake = deadline;
                self.timers.insert((deadline, (room_id, id)));
            }
        }
        while let Some((id, error)) = self.out.failed.pop() {
            self.dismiss(now, (room_id, id), Some(join::no_media(&error)));
        }
    }

    fn tick(&mut self, now: Timestamp) {
        while let Some(&(due, seat)) = self.timers.first() {
            if due > now {
                break;
            }
            self.timers.pop_first();
            self.look(now, seat);
        }
    }

    /// Looks at one participant whose time has come.
    fn look(&mut self, now: Timestamp, seat: Seat) {
        let Some(room) = self.rooms.get_mut(&seat.0) else { return };
        let Some(at) = room.index(seat.1) else { return };
        room.turn(now, at, &mut self.out);
        room.serve(now, at, &mut self.out);
        // The room's wish is taken from the outbox here, since the timer that has fired is gone.
        let participant = &mut room.participants[at];
        let next = participant.link.as_ref().map_or(now + link::TURN, Link::deadline);
        participant.wake = next.max(now + SHORTEST_WAIT);
        self.timers.insert((participant.wake, seat));

        let never_offered =
            participant.link.is_none() && now.since(participant.joined) >= self.config.idle_timeout;
        let silent = now.since(participant.heard()) >= GHOST;
        let (id, name) = (participant.id, participant.name.clone());
        let replaced = silent && room.participants.iter().any(|other| other.id > id && other.name == name);
        if never_offered {
            self.dismiss(now, seat, Some(join::no_offer()));
        } else if replaced {
            self.dismiss(now, seat, Some(join::replaced()));
        }
        self.settle(now, seat.0);
    }

    // ---- Signalling.

    fn signal(&mut self, now: Timestamp, channel: u64, bytes: &[u8]) {
        let body = match message::decode(bytes) {
            Ok(body) => body,
            Err(message::MessageError::Unknown) => return,
            Err(error) => return self.refuse(now, channel, join::unreadable(&error)),
        };
        match (self.channels.get(&channel).copied(), body) {
            (_, Body::Ping(ping)) => self.out.signal(channel, Pong { id: ping.id }),
            (None, Body::Join(join)) => self.join(now, channel, &join),
            (None, Body::Leave(_)) => self.out.close(channel),
            (None, _) => {
                self.refuse(now, channel, join::out_of_turn("a message other than Join", "send Join first"));
            }
            (Some(_), Body::Join(_)) => {
                let error = join::out_of_turn("a second Join", "open a new channel for another room");
                self.refuse(now, channel, error);
            }
            (Some(seat), Body::Description(description)) => self.describe(now, channel, seat, &description),
            (Some(seat), Body::Mute(mute)) => self.mute(now, seat, &mute),
            (Some(seat), Body::Leave(_)) => {
                self.dismiss(now, seat, None);
                self.out.close(channel);
            }
            // A lite agent makes no checks, so candidates are of no use; the rest is ours to say.
            (Some(_), _) => {}
        }
    }

    /// Says what is wrong and ends the channel, and the participation if there was one.
    fn refuse(&mut self, now: Timestamp, channel: u64, error: Error) {
        match self.channels.get(&channel).copied() {
            Some(seat) => self.dismiss(now, seat, Some(error)),
            None => {
                self.out.stats.joins_refused += 1;
                self.out.signal(channel, error);
                self.out.close(channel);
            }
        }
    }

    fn join(&mut self, now: Timestamp, channel: u64, join: &Join) {
        if self.draining {
            return self.refuse(now, channel, join::shutting_down());
        }
        let admission = match join::admit(&self.config, now, join) {
            Ok(admission) => admission,
            Err(error) => return self.refuse(now, channel, error),
        };
        let room_id = match self.room_names.get(&admission.room) {
            Some(&id) => id,
            None if self.rooms.len() >= self.config.rooms => {
                return self.refuse(now, channel, join::full("this server", self.config.rooms));
            }
            None => self.open_room(&admission.room),
        };
        self.bury_ghosts(now, room_id, &admission.name);
        // The last ghost's burial may have closed the room.
        let room_id = self.room_names.get(&admission.room).copied().unwrap_or(room_id);
        let room_size = self.config.room_size;
        if self.rooms.get(&room_id).is_some_and(|room| room.participants.len() >= room_size) {
            return self.refuse(now, channel, join::full("the room", room_size));
        }
        let room_id =
            if self.rooms.contains_key(&room_id) { room_id } else { self.open_room(&admission.room) };
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        let participant = room.enter(now, channel, admission.name);
        participant.publish = admission.publish;
        participant.subscribe = admission.subscribe;
        participant.wake = now + link::TURN;
        let (id, wake) = (participant.id, participant.wake);
        self.timers.insert((wake, (room_id, id)));
        self.channels.insert(channel, (room_id, id));
        self.out.signal(
            channel,
            Joined {
                participant: id,
                room: room.name.clone(),
                participants: room.cards(),
                publish: admission.publish,
                subscribe: admission.subscribe,
                version: VERSION,
            },
        );
        room.announce(&mut self.out);
    }

    fn open_room(&mut self, name: &str) -> u64 {
        self.next_room += 1;
        self.rooms.insert(self.next_room, Room::new(name.to_owned()));
        self.room_names.insert(name.to_owned(), self.next_room);
        self.next_room
    }

    /// Ends the participations of that name that have fallen silent: their owner is coming back.
    fn bury_ghosts(&mut self, now: Timestamp, room_id: u64, name: &str) {
        let Some(room) = self.rooms.get(&room_id) else { return };
        let ghosts: Vec<u32> = room
            .participants
            .iter()
            .filter(|other| !name.is_empty() && other.name == name && now.since(other.heard()) >= GHOST)
            .map(|ghost| ghost.id)
            .collect();
        for ghost in ghosts {
            self.dismiss(now, (room_id, ghost), Some(join::replaced()));
        }
    }

    fn describe(&mut self, now: Timestamp, channel: u64, seat: Seat, description: &Description) {
        if description.kind() != DescriptionKind::Offer {
            let error =
                join::out_of_turn("a description that is no offer", "send an offer; the server answers");
            return self.refuse(now, channel, error);
        }
        match self.connect(now, seat, &description.sdp) {
            Ok(answer) => {
                let kind = DescriptionKind::Answer.into();
                self.out.signal(channel, Description { kind, sdp: answer });
            }
            Err(error) => return self.refuse(now, channel, join::bad_description(&error)),
        }
        if let Some(room) = self.rooms.get_mut(&seat.0) {
            room.announce(&mut self.out);
            room.arrange(now, &mut self.out);
            if let Some(at) = room.index(seat.1) {
                room.serve(now, at, &mut self.out);
            }
        }
        self.settle(now, seat.0);
    }

    /// Makes a participant's media path from its offer; a second offer begins anew.
    fn connect(&mut self, now: Timestamp, seat: Seat, offer: &str) -> Result<String, SdpError> {
        let Some(participant) = self.rooms.get_mut(&seat.0).and_then(|room| room.get(seat.1)) else {
            return Err(SdpError::NoMedia);
        };
        let mut session = link::session(&self.config, &mut self.rng);
        let local = session.local();
        let ufrag = local.ufrag.clone();
        let draw = Draw { session_id: self.rng.next_u64(), first_ssrc: self.rng.next_u32() };
        let mut agreement =
            agree(&self.config, offer, local, draw, participant.publish, participant.subscribe)?;
        let answer = std::mem::take(&mut agreement.answer);
        session.start(now, agreement.remote.clone());
        let link = Link::new(now, session, ufrag.clone(), agreement, &mut self.rng);
        if let Some(old) = participant.link.replace(link) {
            self.forget_link(seat, &old);
        }
        self.by_ufrag.insert(ufrag, seat);
        Ok(answer)
    }

    fn mute(&mut self, now: Timestamp, seat: Seat, mute: &Mute) {
        let Some(room) = self.rooms.get_mut(&seat.0) else { return };
        let Some(participant) = room.get(seat.1) else { return };
        match mute.kind() {
            MediaKind::Audio => participant.muted = mute.muted,
            MediaKind::Video => participant.video_muted = mute.muted,
            MediaKind::Unspecified => return,
        }
        room.announce(&mut self.out);
        room.arrange(now, &mut self.out);
        self.settle(now, seat.0);
    }

    /// Ends a participation. With an error, its channel hears why and is closed.
    fn dismiss(&mut self, now: Timestamp, seat: Seat, error: Option<Error>) {
        let Some(room) = self.rooms.get_mut(&seat.0) else { return };
        let Some(at) = room.index(seat.1) else { return };
        let mut gone = room.participants.remove(at);
        self.timers.remove(&(gone.wake, seat));
        self.channels.remove(&gone.channel);
        if let Some(mut link) = gone.link.take() {
            link.goodbye(now);
            link.drain(seat.1, &mut self.out);
            self.forget_link(seat, &link);
        }
        if let Some(error) = error {
            self.out.signal(gone.channel, error);
            self.out.close(gone.channel);
        }
        let Some(room) = self.rooms.get_mut(&seat.0) else { return };
        if room.participants.is_empty() {
            self.room_names.remove(&room.name);
            self.rooms.remove(&seat.0);
        } else {
            room.announce(&mut self.out);
            room.arrange(now, &mut self.out);
        }
        self.settle(now, seat.0);
    }

    fn forget_link(&mut self, seat: Seat, link: &Link) {
        self.by_ufrag.remove(&link.ufrag);
        for address in &link.addresses {
            if self.by_addr.get(address) == Some(&seat) {
                self.by_addr.remove(address);
            }
        }
    }
}

impl Machine for Sfu {
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        match input {
            Input::Datagram { from, to, bytes } => self.datagram(now, from, to, bytes),
            Input::Signal { channel, message } => self.signal(now, channel, message),
            Input::SignalClosed { channel } => {
                if let Some(seat) = self.channels.get(&channel).copied() {
                    self.dismiss(now, seat, None);
                }
            }
            Input::Tick => {}
        }
        self.tick(now);
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.queue.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|&(due, _)| due)
    }
}
