//! Interactive connectivity establishment (RFC 8445): which path to the peer works, and whether it still does.
//!
//! Why our own: calls must set up within a round trip or two, survive a change of network within another, and
//! repeat exactly for a seed. So known candidates are checked at once, a lone pair is nominated by its first
//! check, a silent path is doubted within half a second, and a lite agent follows the newest nomination.
//!
//! ```text
//!  candidates × candidates ──► pairs ──check──► valid ──nomination──► selected ──consent (RFC 7675)──► …
//! ```
//!
//! Not here: gathering (`io` knows our addresses), TURN, and ICE restart (a new session does that).

mod pair;

use crate::stun::{self, Check, Class, Message, Part, Transaction};
use aws_lc_rs::hmac;
use pair::{Pair, Request};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use undertone_media::{Timestamp, Transmit};

/// Bounds what a peer, authentic or not, can make us remember.
const MAX_PAIRS: usize = 32;
/// Transactions of the peer that we remember, so that a copy of a check from elsewhere moves nothing.
const REMEMBERED: usize = 64;
/// How often consent is refreshed, spread by a fifth (RFC 7675 §5.1).
const CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// How often a second path is kept open through NATs (RFC 8445 §11 asks for 15 s at least).
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long a path that carries media may be silent before it is checked, and how rarely it is if silence
/// turns out to be normal (DTX, muted).
const FIRST_DOUBT: Duration = Duration::from_millis(500);
const RAREST_DOUBT: Duration = Duration::from_secs(4);
/// So many packets in a row end a silence.
const TALKATIVE: u32 = 8;
/// Until so long after the first selection, a better pair still takes over.
const SETTLING: Duration = Duration::from_secs(2);

/// Which side of ICE an end plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Checks, and nominates (the offerer, or whoever faces a lite peer).
    Controlling,
    /// Checks, and follows the peer's nomination.
    Controlled,
    /// Only answers: a server with a public address (RFC 8445 §2.5).
    Lite,
}

/// What an end is known by in checks (RFC 8445 §5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

/// Two addresses between which datagrams may flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Ours; `None` lets the socket choose.
    pub local: Option<SocketAddr>,
    /// The peer's.
    pub remote: SocketAddr,
}

/// What became of a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was the peer's, and did its work.
    Accepted,
    /// It is malformed, not for us, or a copy.
    Bad,
    /// It is not of who it claims to be of.
    Unauthentic,
}

struct Remote {
    /// `theirs:ours`, as our checks carry it.
    username: String,
    key: hmac::Key,
}

/// One agent with one component: RTP and RTCP share the path.
pub struct Agent {
    role: Role,
    peer_is_lite: bool,
    local: Credentials,
    local_key: hmac::Key,
    remote: Option<Remote>,
    tie_breaker: u64,
    rng: ChaCha20Rng,
    addresses: Vec<SocketAddr>,
    /// In order of preference.
    pairs: Vec<Pair>,
    selected: Option<Path>,
    first_selected: Option<Timestamp>,
    /// Where the newest authentic check came from.
    latest_vouched: Option<Path>,
    heard: Vec<(Transaction, SocketAddr)>,
    next_heard: usize,
    /// The peer last proved that it is there and wants our packets.
    consent: Timestamp,
    last_heard: Timestamp,
    /// Packets since the last doubt.
    packets: u32,
    doubt: Duration,
    doubted: Option<Timestamp>,
    rtt: Option<Duration>,
    outbox: VecDeque<Transmit>,
}

impl Agent {
    /// An agent that knows nothing of its peer yet.
    pub fn new(role: Role, mut rng: ChaCha20Rng) -> Agent {
        // 8 characters of 6 bits tell thousands of sessions on one port apart; RFC 8445 §5.3 asks for 24 bits,
        // and for 128 of the password.
        let local = Credentials { ufrag: text(&mut rng, 8), pwd: text(&mut rng, 24) };
        Agent {
            role,
            peer_is_lite: false,
            local_key: stun::key(&local.pwd),
            local,
            remote: None,
            tie_breaker: rng.next_u64(),
            rng,
            addresses: Vec::new(),
            pairs: Vec::new(),
            selected: None,
            first_selected: None,
            latest_vouched: None,
            heard: Vec::new(),
            next_heard: 0,
            consent: Timestamp::ZERO,
            last_heard: Timestamp::ZERO,
            packets: 0,
            doubt: FIRST_DOUBT,
            doubted: None,
            rtt: None,
            outbox: VecDeque::new(),
        }
    }

    /// What the peer has to know.
    pub fn local(&self) -> &Credentials {
        &self.local
    }

    /// Adds an address of ours. Datagrams name the address they leave from only if there are several.
    pub fn add_local(&mut self, address: SocketAddr) {
        if !self.addresses.contains(&address) && self.addresses.len() < MAX_PAIRS {
            self.addresses.push(address);
        }
    }

    /// Begins checking. A peer that is lite leaves control to us.
    pub fn start(
        &mut self,
        now: Timestamp,
        remote: &Credentials,
        candidates: &[SocketAddr],
        peer_is_lite: bool,
    ) {
        if peer_is_lite && self.role == Role::Controlled {
            self.role = Role::Controlling;
        }
        self.peer_is_lite = peer_is_lite;
        self.consent = now;
        self.last_heard = now;
        self.remote = Some(Remote {
            username: format!("{}:{}", remote.ufrag, self.local.ufrag),
            key: stun::key(&remote.pwd),
        });
        if self.role != Role::Lite {
            candidates.iter().for_each(|&candidate| self.pair_up(candidate));
        }
        // Checks that came before the answer did made pairs already.
        self.pairs.iter_mut().for_each(|pair| pair.check_at(now));
        self.tick(now);
    }

    /// Adds an address of the peer that was learnt later, and checks it at once. A lite agent needs none: it
    /// waits for checks.
    pub fn add_remote(&mut self, now: Timestamp, candidate: SocketAddr) {
        if self.role == Role::Lite {
            return;
        }
        let known = self.pairs.len();
        self.pair_up(candidate);
        if self.remote.is_some() {
            self.pairs.iter_mut().skip(known).for_each(|pair| pair.check_at(now));
            self.tick(now);
        }
    }

    fn pair_up(&mut self, remote: SocketAddr) {
        if self.addresses.len() < 2 {
            return self.add_pair(Path { local: None, remote });
        }
        let same_family = |local: &&SocketAddr| local.is_ipv4() == remote.is_ipv4();
        let locals: Vec<_> = self.addresses.iter().filter(same_family).copied().collect();
        locals.into_iter().for_each(|local| self.add_pair(Path { local: Some(local), remote }));
    }

    fn add_pair(&mut self, path: Path) {
        if self.pairs.len() < MAX_PAIRS && !self.pairs.iter().any(|pair| pair.path == path) {
            self.pairs.push(Pair::new(path));
        }
    }

    /// The local address of a datagram that came in, as far as paths tell them apart.
    pub(crate) fn arrival(&self, from: SocketAddr, to: SocketAddr) -> Path {
        Path { local: (self.addresses.len() >= 2).then_some(to), remote: from }
    }

    /// Takes a STUN message.
    pub fn receive(&mut self, now: Timestamp, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Verdict {
        let Some(message) = Message::parse(bytes) else { return Verdict::Bad };
        let path = self.arrival(from, to);
        match message.class {
            Class::Request => self.request(now, path, &message),
            Class::Success | Class::Error => self.answer(now, path, &message),
            // A keepalive (RFC 8445 §11): nothing to do, nothing proved.
            Class::Indication => Verdict::Accepted,
        }
    }

    fn request(&mut self, now: Timestamp, path: Path, message: &Message<'_>) -> Verdict {
        let ours = message.username.and_then(|name| name.split_once(':'));
        if ours.is_none_or(|(ufrag, _)| ufrag != self.local.ufrag) {
            return Verdict::Bad;
        }
        if !message.is_authentic(&self.local_key) {
            return Verdict::Unauthentic;
        }
        if !self.is_original(message.transaction, path.remote) {
            return Verdict::Bad;
        }
        if self.conflicts(message) {
            let refusal = stun::role_conflict(message.transaction, &self.local_key);
            self.send(path, refusal);
            return Verdict::Accepted;
        }
        let answer = stun::success(message.transaction, path.remote, &self.local_key);
        self.send(path, answer);
        self.latest_vouched = Some(path);
        self.last_heard = now;
        if self.role == Role::Lite {
            // A lite agent cannot ask for consent; being checked is as good (RFC 7675 §5.1 leaves it open).
            self.consent = now;
        }
        if !self.pairs.iter().any(|pair| pair.path == path) {
            self.drop_stale_pair();
            self.add_pair(path);
        }
        let role = self.role;
        let has_remote = self.remote.is_some();
        let Some(pair) = self.pairs.iter_mut().find(|pair| pair.path == path) else {
            return Verdict::Accepted;
        };
        pair.vouched = Some(now);
        match role {
            // The newest nomination wins: it is where the peer is now. Without any, the newest check does.
            Role::Lite if message.use_candidate || self.first_selected.is_none() => {
                pair.nominated |= message.use_candidate;
                if message.use_candidate {
                    self.first_selected.get_or_insert(now);
                }
                self.selected = Some(path);
            }
            Role::Lite => {}
            Role::Controlling | Role::Controlled => {
                pair.nominated |= message.use_candidate && role == Role::Controlled;
                if !pair.valid && has_remote {
                    // A triggered check (RFC 8445 §7.3.1.4): the way back is probably open just now.
                    pair.check_at(now);
                }
                if pair.nominated && pair.valid && message.use_candidate {
                    self.select(now, path);
                }
                self.tick(now);
            }
        }
        Verdict::Accepted
    }

    /// Settles who controls if both think they do, or neither (RFC 8445 §7.3.1.1). True: the peer has to change.
    fn conflicts(&mut self, message: &Message<'_>) -> bool {
        match (self.role, message.part) {
            (Role::Controlling, Some(Part::Controlling(theirs))) => {
                if self.tie_breaker >= theirs || self.peer_is_lite {
                    return true;
                }
                self.role = Role::Controlled;
            }
            (Role::Controlled, Some(Part::Controlled(theirs))) => {
                if self.tie_breaker < theirs {
                    return true;
                }
                self.role = Role::Controlling;
            }
            _ => {}
        }
        false
    }

    /// False of a copy: a check that we have seen, now from another address. Whoever sends that wants to
    /// hijack the path.
    fn is_original(&mut self, transaction: Transaction, from: SocketAddr) -> bool {
        if let Some((_, first)) = self.heard.iter().find(|(seen, _)| *seen == transaction) {
            return *first == from;
        }
        if self.heard.len() < REMEMBERED {
            self.heard.push((transaction, from));
        } else if let Some(oldest) = self.heard.get_mut(self.next_heard) {
            *oldest = (transaction, from);
            self.next_heard = (self.next_heard + 1) % REMEMBERED;
        }
        true
    }

    fn answer(&mut self, now: Timestamp, path: Path, message: &Message<'_>) -> Verdict {
        let Some(remote) = &self.remote else { return Verdict::Bad };
        let Some(pair) = self.pairs.iter_mut().find(|pair| pair.requested(message.transaction)) else {
            return Verdict::Bad;
        };
        // Only from where it was asked (RFC 8445 §7.2.5.2.1).
        if pair.path != path {
            return Verdict::Bad;
        }
        if !message.is_authentic(&remote.key) {
            return Verdict::Unauthentic;
        }
        let Some(request) = pair.take(message.transaction) else { return Verdict::Bad };
        if message.class == Class::Error {
            if message.error == Some(487) && !self.peer_is_lite {
                self.role = if request.controlling { Role::Controlled } else { Role::Controlling };
                pair.check_at(now);
                self.tick(now);
            }
            return Verdict::Accepted;
        }
        let rtt = now.since(request.sent);
        pair.valid = true;
        pair.rtt = Some(rtt);
        pair.answered = now;
        pair.answers += 1;
        pair.repeats = 0;
        let (nominated, asked) = (pair.nominated, request.sent);
        let jitter = spread(&mut self.rng, CONSENT_INTERVAL);
        pair.next_check = Some(now + if self.selected == Some(path) { jitter } else { KEEPALIVE });
        self.last_heard = now;
        if self.selected.is_none_or(|selected| selected == path) {
            self.rtt = Some(rtt);
            self.consent = now;
            self.doubted = None;
        }
        match self.role {
            Role::Controlling => self.consider(now, path, request.nominating, asked),
            Role::Controlled if nominated => self.select(now, path),
            Role::Controlled | Role::Lite => {}
        }
        self.tick(now);
        Verdict::Accepted
    }

    /// We control, and this path works: is it to be the one?
    fn consider(&mut self, now: Timestamp, path: Path, was_nominating: bool, asked: Timestamp) {
        let rank = |wanted: Path| self.pairs.iter().position(|pair| pair.path == wanted);
        let take = match self.selected {
            None => true,
            Some(selected) if selected == path => return,
            Some(selected) => {
                let settling = self.first_selected.is_none_or(|first| now.since(first) < SETTLING);
                // A check of our doubt was answered here and not there.
                let replaces = self.doubted.is_some_and(|doubted| asked >= doubted);
                replaces || settling && rank(path) < rank(selected)
            }
        };
        if take {
            self.select(now, path);
            if !was_nominating && let Some(pair) = self.pairs.iter_mut().find(|pair| pair.path == path) {
                pair.nominated = true;
                pair.check_at(now);
            }
        }
    }

    fn select(&mut self, now: Timestamp, path: Path) {
        let changed = self.selected != Some(path);
        self.selected = Some(path);
        self.first_selected.get_or_insert(now);
        self.consent = now;
        self.doubted = None;
        let interval = spread(&mut self.rng, CONSENT_INTERVAL);
        for pair in &mut self.pairs {
            if pair.path == path {
                self.rtt = pair.rtt.or(self.rtt);
                if changed {
                    pair.next_check = Some(now + interval);
                }
            } else if self.role == Role::Controlling {
                pair.nominated = false;
            }
        }
    }

    /// The peer sent something authentic that is no check: its path is alive.
    pub fn heard(&mut self, now: Timestamp, from: SocketAddr) {
        if self.selected.is_some_and(|selected| selected.remote == from) {
            self.doubted = None;
        }
        self.last_heard = now;
        if self.role == Role::Lite {
            self.consent = now;
        }
        self.packets = self.packets.saturating_add(1);
        if self.packets == TALKATIVE {
            self.doubt = FIRST_DOUBT;
        }
    }

    /// A lite agent follows an authentic packet, newer than any before, to where it came from.
    pub fn follow(&mut self, from: SocketAddr, to: SocketAddr) {
        if self.role == Role::Lite {
            self.selected = Some(self.arrival(from, to));
        }
    }

    /// Checks all pairs now: our network has changed.
    pub fn check_now(&mut self, now: Timestamp) {
        if self.remote.is_some() && self.role != Role::Lite {
            self.pairs.iter_mut().for_each(|pair| pair.check_at(now));
            self.tick(now);
        }
    }

    /// The deadline has come.
    pub fn tick(&mut self, now: Timestamp) {
        if self.role == Role::Lite || self.remote.is_none() {
            return;
        }
        if self.doubt_at().is_some_and(|at| at <= now) {
            self.doubted.get_or_insert(now);
            self.packets = 0;
            self.last_heard = now;
            self.doubt = (self.doubt * 2).min(RAREST_DOUBT);
            self.pairs.iter_mut().for_each(|pair| pair.check_at(now));
        }
        for index in 0..self.pairs.len() {
            if self.pairs[index].next_check.is_some_and(|at| at <= now) {
                self.check(now, index);
            }
        }
    }

    /// When a silent path is to be checked.
    fn doubt_at(&self) -> Option<Timestamp> {
        self.selected.map(|_| self.last_heard + self.doubt)
    }

    fn check(&mut self, now: Timestamp, index: usize) {
        let Some(remote) = &self.remote else { return };
        let alone = self.pairs.len() == 1;
        let Some(pair) = self.pairs.get_mut(index) else { return };
        let controlling = self.role == Role::Controlling;
        let is_selected = self.selected == Some(pair.path);
        // A lone pair needs no second check to be nominated.
        let nominating = controlling && (pair.nominated || is_selected || alone);
        let mut transaction = [0; 12];
        self.rng.fill_bytes(&mut transaction);
        let transaction = Transaction(transaction);
        let check = Check {
            transaction,
            username: &remote.username,
            // Of the peer-reflexive candidate that this check may reveal (RFC 8445 §7.1.1).
            priority: 110 << 24 | (65_535 - index as u32) << 8 | 255,
            part: if controlling {
                Part::Controlling(self.tie_breaker)
            } else {
                Part::Controlled(self.tie_breaker)
            },
            use_candidate: nominating,
        };
        let bytes = check.write(&remote.key);
        let path = pair.path;
        pair.sent(
            Request { transaction, sent: now, nominating, controlling },
            is_selected,
            self.selected.is_some(),
        );
        self.send(path, bytes);
    }

    fn send(&mut self, path: Path, bytes: Vec<u8>) {
        self.outbox.push_back(Transmit { to: path.remote, from: path.local, bytes });
    }

    /// Room for a new pair: the one that proved itself longest ago goes.
    fn drop_stale_pair(&mut self) {
        if self.pairs.len() < MAX_PAIRS {
            return;
        }
        let selected = self.selected;
        let stale = (0..self.pairs.len())
            .filter(|&index| self.pairs.get(index).is_some_and(|pair| Some(pair.path) != selected))
            .min_by_key(|&index| self.pairs.get(index).map(|pair| pair.vouched.max(Some(pair.answered))));
        if let Some(stale) = stale {
            self.pairs.remove(stale);
        }
    }

    /// When to call [`Agent::tick`].
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.role == Role::Lite || self.remote.is_none() {
            return None;
        }
        self.pairs.iter().filter_map(|pair| pair.next_check).chain(self.doubt_at()).min()
    }

    /// The next datagram to send.
    pub fn poll(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// Where media goes.
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// Where a handshake may go before a path is selected: to where the newest authentic check came from, or
    /// along the pair that is being checked.
    pub fn early(&self) -> Option<Path> {
        let checked = || self.pairs.first().filter(|_| self.remote.is_some()).map(|pair| pair.path);
        self.selected.or(self.latest_vouched).or_else(checked)
    }

    /// True if signalling named this address as the peer's, or an authentic check came from it.
    pub fn vouches_for(&self, remote: SocketAddr) -> bool {
        self.pairs.iter().any(|pair| pair.path.remote == remote)
    }

    /// A handshake went there and back, which proves no less than a check does. On a lossy path it may be
    /// done before any check is answered.
    pub fn proved(&mut self, now: Timestamp, path: Path) {
        let Some(pair) = self.pairs.iter_mut().find(|pair| pair.path == path) else { return };
        pair.valid = true;
        let nominated = pair.nominated;
        if self.selected.is_none() && (self.role == Role::Controlling || nominated) {
            self.select(now, path);
            self.check_now(now);
        }
    }

    /// When the peer last proved that it wants our packets (RFC 7675).
    pub fn consent(&self) -> Timestamp {
        self.consent
    }

    /// Checks along paths that work, answered and not; an answer comes within `patience` or not at all.
    pub(crate) fn toll(&self, now: Timestamp, patience: Duration) -> (u32, u32) {
        let valid = self.pairs.iter().filter(|pair| pair.valid);
        valid.fold((0, 0), |(answered, unanswered), pair| {
            (answered + pair.answers, unanswered + pair.unanswered(now, patience))
        })
    }

    /// The newest measured round trip.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

/// So many random characters of ICE's alphabet.
fn text(rng: &mut ChaCha20Rng, length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..length).map(|_| char::from(ALPHABET[(rng.next_u32() % 64) as usize])).collect()
}

/// Between four and six fifths of a span, so that sessions do not check in step.
fn spread(rng: &mut ChaCha20Rng, span: Duration) -> Duration {
    span * (800 + rng.next_u32() % 401) / 1000
}
