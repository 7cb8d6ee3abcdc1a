//! One association with a peer: ICE finds the path, DTLS agrees on keys, SRTP seals.
//!
//! ```text
//! new ─ local() to signalling ─ start(remote) ─► checks, and the ClientHello right behind the first of them
//!     ─► Connected ─► send_rtp, receive ─► … ─► Failed
//! ```
//!
//! Early DTLS: a client does not wait for its check to be answered, and a server takes DTLS from any address
//! whose check was authentic. So keys are there one round trip after the start, where the usual sequence of
//! check, nomination and handshake takes three. It is safe: DTLS proves the peer by its certificate, whatever
//! the path.
//!
//! Moving: a lite session follows the newest authentic media packet to a new address, but sends there at most
//! three times what came from there until a check confirms it, so that nobody can point our media at a victim.
//!
//! Not here: what is in the packets (`rtp`, `rtcp`, `stream`).

mod gauge;
mod toll;

use crate::{PeerMisbehaved, TransportError, dtls, ice, srtp};
use gauge::Gauge;
pub use gauge::Width;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use toll::Handshake;
pub use toll::Toll;
use undertone_media::{DataSize, Timestamp, Transmit};

/// What every datagram costs beside its bytes: IPv4 and UDP headers.
pub const UDP_IP_BYTES: u64 = 28;

/// How a session behaves.
#[derive(Clone)]
pub struct Config {
    /// Our part in ICE. Default controlling.
    pub role: ice::Role,
    /// What we prove ourselves with. Default a fresh one.
    pub certificate: dtls::Certificate,
    /// Where the DTLS handshake takes its randomness from. Default the system's.
    pub crypto: dtls::Crypto,
    /// Seeds ICE credentials, transaction ids and timer jitter. Default from the system's randomness.
    pub seed: [u8; 32],
    /// The moment that [`Timestamp::ZERO`] stands for, since DTLS wants an `Instant`. Any will do.
    pub anchor: Instant,
    /// How long to look for a path, and to shake hands, before giving up. Default 15 s.
    pub connect_timeout: Duration,
    /// How long a silent peer is kept. Default 30 s, as consent expires (RFC 7675 §5.1).
    pub idle_timeout: Duration,
}

impl Config {
    /// What suits a real call: a controlling agent, fresh secrets.
    pub fn new(anchor: Instant) -> Config {
        Config {
            role: ice::Role::Controlling,
            certificate: dtls::Certificate::generate(),
            crypto: dtls::Crypto::System,
            seed: crate::system_seed(),
            anchor,
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// What signalling tells the peer about us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDescription {
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Of our certificate.
    pub fingerprint: dtls::Fingerprint,
}

/// What signalling told us about the peer.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its ICE user name fragment.
    pub ufrag: String,
    /// Its ICE password.
    pub pwd: String,
    /// Of its certificate.
    pub fingerprint: dtls::Fingerprint,
    /// True if we are the DTLS client (`a=setup:active` on our side).
    pub dtls_active: bool,
    /// Where it may be reached.
    pub candidates: Vec<SocketAddr>,
    /// It announced `a=ice-lite`.
    pub lite: bool,
}

/// What a datagram turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The session's own business; poll it.
    Handled,
    /// Bad, forged, replayed or early: counted and dropped.
    Dropped,
    /// An RTP packet, decrypted.
    Rtp(&'a mut [u8]),
    /// A compound or reduced-size RTCP packet, decrypted.
    Rtcp(&'a mut [u8]),
}

/// Something a session wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit(Transmit),
    /// Keys are there: media may flow.
    Connected {
        /// How media is sealed.
        profile: srtp::Profile,
    },
    /// From now on the peer is reached here; also said of the first path.
    PathChanged(SocketAddr),
    /// It is over. Nothing more comes.
    Failed(TransportError),
}

/// Counts since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams that were nothing we know, or malformed.
    pub bad: u64,
    /// SRTP or SRTCP packets whose index was seen before.
    pub replayed: u64,
    /// Packets or checks whose authentication failed.
    pub unauthentic: u64,
    /// Packets, DTLS or SRTP, from an address that no check has vouched for, or before there were keys.
    pub unexpected: u64,
    /// Media packets that the caller sent before there were keys or a path, that have no valid header or a used
    /// index, or that an unconfirmed address may not be sent yet.
    pub unsent: u64,
    /// RTP packets sealed and queued.
    pub rtp_sent: u64,
    /// RTP packets opened.
    pub rtp_received: u64,
    /// RTCP packets sealed and queued.
    pub rtcp_sent: u64,
    /// RTCP packets opened.
    pub rtcp_received: u64,
    /// The newest round trip time that a check measured.
    pub rtt: Option<Duration>,
    /// What the path from us carried while we connected.
    pub width: Width,
    /// What the path took of what was sent to connect.
    pub toll: Toll,
    /// Of the handshake, what was still on its way to the peer when there were keys.
    pub unanswered: DataSize,
}

/// What a datagram is, by its first bytes (RFC 7983 §7, RFC 5761 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A STUN message.
    Stun,
    /// A DTLS record.
    Dtls,
    /// An RTP packet.
    Rtp,
    /// An RTCP packet.
    Rtcp,
    /// None of these.
    Unknown,
}

/// Tells apart what shares one port.
pub fn classify(bytes: &[u8]) -> Class {
    match bytes {
        [0..=3, ..] if bytes.len() >= 20 => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] if bytes.len() >= 8 => Class::Rtcp,
        [128..=191, _, ..] if bytes.len() >= 12 => Class::Rtp,
        _ => Class::Unknown,
    }
}

/// How many times what came from an unconfirmed address may be sent there (RFC 9000 §8 uses the same).
const AMPLIFICATION: usize = 3;
/// A datagram that fits any path we use.
const MAX_EARLY: usize = 1500;

/// An address that media came from and that no check has confirmed yet.
struct Unconfirmed {
    remote: SocketAddr,
    received: usize,
    sent: usize,
}

struct Keys {
    sealer: srtp::Sealer,
    opener: srtp::Opener,
}

/// One ICE, DTLS and SRTP association. Sans-IO: see `media::Machine` for the loop that drives it.
pub struct Session {
    certificate: dtls::Certificate,
    crypto: dtls::Crypto,
    anchor: Instant,
    connect_timeout: Duration,
    idle_timeout: Duration,
    agent: ice::Agent,
    /// The peer's fingerprint, whether we are the DTLS client, and when we began.
    started: Option<(dtls::Fingerprint, bool, Timestamp)>,
    dtls: Option<dtls::Endpoint>,
    /// Where DTLS last came from.
    dtls_path: Option<ice::Path>,
    /// Where it last went.
    dtls_sent: Option<ice::Path>,
    /// A DTLS datagram that overtook the check which will vouch for its sender.
    early: Option<(SocketAddr, SocketAddr, Vec<u8>)>,
    keys: Option<Keys>,
    gauge: Gauge,
    handshake: Handshake,
    unconfirmed: Option<Unconfirmed>,
    remote_addr: Option<SocketAddr>,
    over: bool,
    outbox: VecDeque<Output>,
    stats: Stats,
}

impl Session {
    /// A session that knows nothing of its peer yet.
    pub fn new(config: Config) -> Session {
        Session {
            certificate: config.certificate,
            crypto: config.crypto,
            anchor: config.anchor,
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            agent: ice::Agent::new(config.role, ChaCha20Rng::from_seed(config.seed)),
            started: None,
            dtls: None,
            dtls_path: None,
            dtls_sent: None,
            early: None,
            keys: None,
            gauge: Gauge::default(),
            handshake: Handshake::default(),
            unconfirmed: None,
            remote_addr: None,
            over: false,
            outbox: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// What signalling has to tell the peer.
    pub fn local(&self) -> LocalDescription {
        let ice::Credentials { ufrag, pwd } = self.agent.local().clone();
        LocalDescription { ufrag, pwd, fingerprint: self.certificate.fingerprint() }
    }

    /// Adds an address of ours that checks may leave from. With fewer than two, the socket chooses.
    pub fn add_local_candidate(&mut self, address: SocketAddr) {
        self.agent.add_local(address);
    }

    /// Begins, now that signalling has brought the peer's side. Only the first call counts.
    pub fn start(&mut self, now: Timestamp, remote: Remote) {
        if self.over || self.started.is_some() {
            return;
        }
        self.started = Some((remote.fingerprint, remote.dtls_active, now));
        let credentials = ice::Credentials { ufrag: remote.ufrag, pwd: remote.pwd };
        self.agent.start(now, &credentials, &remote.candidates, remote.lite);
        self.advance(now);
        // Checks may have come before the answer did, and the peer's ClientHello with them.
        self.take_early(now);
    }

    /// Adds an address of the peer that signalling brought later.
    pub fn add_remote_candidate(&mut self, now: Timestamp, address: SocketAddr) {
        if !self.over {
            self.agent.add_remote(now, address);
            self.advance(now);
        }
    }

    /// Our own network has changed (another Wi-Fi, another radio): finds the peer again at once rather than
    /// when silence has raised a doubt.
    pub fn network_changed(&mut self, now: Timestamp) {
        if !self.over {
            self.agent.check_now(now);
            self.advance(now);
        }
    }

    /// Takes a datagram that reached our address `to`, and decrypts media in place. Whatever it holds, nothing
    /// worse happens than that it is counted and dropped.
    pub fn receive<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &'a mut [u8],
    ) -> Received<'a> {
        if self.over {
            return Received::Dropped;
        }
        let class = classify(bytes);
        if self.keys.is_none() {
            self.gauge.on_received(now, bytes.len(), class == Class::Dtls);
            if class == Class::Dtls {
                self.handshake.on_received(now);
            }
        }
        match class {
            Class::Stun => self.receive_stun(now, from, to, bytes),
            Class::Dtls => self.receive_dtls(now, from, to, bytes),
            Class::Rtp => self.receive_rtp(now, from, to, bytes),
            Class::Rtcp => self.receive_rtcp(now, from, bytes),
            Class::Unknown => {
                self.stats.bad += 1;
                Received::Dropped
            }
        }
    }

    fn receive_stun<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &mut [u8],
    ) -> Received<'a> {
        let verdict = self.agent.receive(now, from, to, bytes);
        match verdict {
            ice::Verdict::Accepted => {
                if self.unconfirmed.as_ref().is_some_and(|unconfirmed| unconfirmed.remote == from) {
                    self.unconfirmed = None;
                }
                self.advance(now);
                self.take_early(now);
                return Received::Handled;
            }
            ice::Verdict::Bad => self.stats.bad += 1,
            ice::Verdict::Unauthentic => self.stats.unauthentic += 1,
        }
        Received::Dropped
    }

    fn receive_dtls<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &mut [u8],
    ) -> Received<'a> {
        let Some((peer, active, _)) = self.started.filter(|_| self.agent.vouches_for(from)) else {
            if self.keys.is_none() && bytes.len() <= MAX_EARLY {
                self.early = Some((from, to, bytes.to_vec()));
            }
            self.stats.unexpected += 1;
            return Received::Dropped;
        };
        if self.dtls.is_none() && !active && !self.begin_dtls(now, peer, active) {
            return Received::Dropped;
        }
        let Some(dtls) = &mut self.dtls else {
            self.stats.unexpected += 1;
            return Received::Dropped;
        };
        let result = dtls.receive(now, bytes);
        self.dtls_path = Some(self.agent.arrival(from, to));
        self.agent.heard(now, from);
        self.flush_dtls(now);
        match result {
            Ok(()) => self.advance(now),
            Err(error) => self.fail(error),
        }
        Received::Handled
    }

    /// A datagram that overtook its sender's check gets its turn.
    fn take_early(&mut self, now: Timestamp) {
        let vouched = |(from, ..): &mut (SocketAddr, SocketAddr, Vec<u8>)| self.agent.vouches_for(*from);
        if self.started.is_some()
            && !self.over
            && let Some((from, to, mut bytes)) = self.early.take_if(vouched)
        {
            self.stats.unexpected = self.stats.unexpected.saturating_sub(1);
            self.receive_dtls(now, from, to, &mut bytes);
        }
    }

    fn receive_rtp<'a>(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &'a mut [u8],
    ) -> Received<'a> {
        let Some(keys) = &mut self.keys else {
            self.stats.unexpected += 1;
            return Received::Dropped;
        };
        let size = bytes.len();
        let opened = match keys.opener.unprotect_rtp(bytes) {
            Ok(opened) => opened,
            Err(refused) => return self.refuse(refused),
        };
        self.stats.rtp_received += 1;
        self.agent.heard(now, from);
        self.consider_move(from, to, size, opened.newest);
        bytes.get_mut(..opened.len).map_or(Received::Dropped, Received::Rtp)
    }

    fn receive_rtcp<'a>(&mut self, now: Timestamp, from: SocketAddr, bytes: &'a mut [u8]) -> Received<'a> {
        let Some(keys) = &mut self.keys else {
            self.stats.unexpected += 1;
            return Received::Dropped;
        };
        let len = match keys.opener.unprotect_rtcp(bytes) {
            Ok(len) => len,
            Err(refused) => return self.refuse(refused),
        };
        self.stats.rtcp_received += 1;
        self.agent.heard(now, from);
        bytes.get_mut(..len).map_or(Received::Dropped, Received::Rtcp)
    }

    fn refuse<'a>(&mut self, refused: srtp::Refused) -> Received<'a> {
        match refused {
            srtp::Refused::Malformed => self.stats.bad += 1,
            srtp::Refused::Replayed => self.stats.replayed += 1,
            srtp::Refused::Unauthentic | srtp::Refused::Exhausted => self.stats.unauthentic += 1,
        }
        Received::Dropped
    }

    /// Media came: from where we send to, or is the peer somewhere else now?
    fn consider_move(&mut self, from: SocketAddr, to: SocketAddr, size: usize, newest: bool) {
        if let Some(unconfirmed) = self.unconfirmed.as_mut().filter(|unconfirmed| unconfirmed.remote == from)
        {
            unconfirmed.received += size;
        }
        if !newest || self.remote_addr == Some(from) {
            return;
        }
        self.agent.follow(from, to);
        self.note_path();
        if self.remote_addr == Some(from) {
            let confirmed = self.agent.vouches_for(from);
            self.unconfirmed = (!confirmed).then_some(Unconfirmed { remote: from, received: size, sent: 0 });
        }
    }

    /// The deadline has come.
    pub fn tick(&mut self, now: Timestamp) {
        if self.over {
            return;
        }
        self.agent.tick(now);
        self.advance(now);
        if let Some(dtls) = &mut self.dtls {
            let result = dtls.tick(now);
            self.flush_dtls(now);
            if let Err(error) = result {
                // The handshake starts before a path is proved; where there is none, that is the fault.
                let unheard = self.keys.is_none() && self.agent.selected().is_none();
                return self.fail(if unheard { TransportError::NoPath } else { error });
            }
        }
        if self.expiry().is_some_and(|expiry| expiry <= now) {
            self.fail(match (&self.keys, self.agent.selected()) {
                (Some(_), _) => TransportError::ConsentExpired,
                (None, None) => TransportError::NoPath,
                (None, Some(_)) => {
                    TransportError::PeerMisbehaved(PeerMisbehaved::Handshake("it never finished".into()))
                }
            });
        }
    }

    /// When patience ends, if nothing happens.
    fn expiry(&self) -> Option<Timestamp> {
        match (&self.keys, self.started) {
            (Some(_), _) => Some(self.agent.consent() + self.idle_timeout),
            (None, Some((.., began))) => Some(began + self.connect_timeout),
            (None, None) => None,
        }
    }

    /// When to call [`Session::tick`]; `None`: never.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.over {
            return None;
        }
        let dtls = self.dtls.as_ref().and_then(dtls::Endpoint::deadline);
        [self.agent.deadline(), dtls, self.expiry()].into_iter().flatten().min()
    }

    /// The next thing to do, or `None` when all is drained.
    pub fn poll(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// Carries on after anything happened to ICE: its datagrams, the first DTLS flight, the path.
    fn advance(&mut self, now: Timestamp) {
        while let Some(transmit) = self.agent.poll() {
            self.gauge.on_sent(now, transmit.bytes.len(), false);
            self.outbox.push_back(Output::Transmit(transmit));
        }
        if let Some((peer, active @ true, _)) = self.started
            && self.dtls.is_none()
            && self.agent.early().is_some()
            && !self.begin_dtls(now, peer, active)
        {
            return;
        }
        self.stats.rtt = self.agent.rtt();
        if let Some(rtt) = self.stats.rtt {
            self.gauge.on_round_trip(rtt);
            if let Some(dtls) = &mut self.dtls {
                dtls.set_rtt(rtt);
            }
        }
        if let Some(dtls) = &mut self.dtls
            && self.dtls_path.is_none()
            && self.dtls_sent != self.agent.early()
        {
            // The ClientHello went along a pair that another one has outrun.
            let result = dtls.repeat(now);
            self.flush_dtls(now);
            if let Err(error) = result {
                return self.fail(error);
            }
        }
        self.note_path();
    }

    /// Where the peer is reached. Keys may be there a little before the nomination: then media goes where the
    /// handshake did.
    fn path(&self) -> Option<ice::Path> {
        self.agent.selected().or(self.dtls_path.filter(|_| self.keys.is_some()))
    }

    fn begin_dtls(&mut self, now: Timestamp, peer: dtls::Fingerprint, active: bool) -> bool {
        let crypto = match self.crypto {
            dtls::Crypto::System => dtls::Crypto::System,
            dtls::Crypto::Seeded(seed) => dtls::Crypto::Seeded(self.own_seed(seed)),
        };
        match dtls::Endpoint::new(now, &self.certificate, crypto, active, peer, self.anchor) {
            Ok(endpoint) => {
                self.dtls = Some(endpoint);
                self.flush_dtls(now);
                true
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Sessions may share a seed, but never their keys: each mixes in its ICE credentials.
    fn own_seed(&self, seed: [u8; 32]) -> [u8; 32] {
        use aws_lc_rs::digest::{Context, SHA256};
        let mut context = Context::new(&SHA256);
        let ice::Credentials { ufrag, pwd } = self.agent.local();
        [&seed[..], ufrag.as_bytes(), pwd.as_bytes()].into_iter().for_each(|part| context.update(part));
        let mut own = [0; 32];
        own.copy_from_slice(context.finish().as_ref());
        own
    }

    fn flush_dtls(&mut self, now: Timestamp) {
        let path = self.agent.selected().or(self.dtls_path).or_else(|| self.agent.early());
        let mut connected = false;
        while let Some(event) = self.dtls.as_mut().and_then(dtls::Endpoint::poll) {
            self.dtls_sent = path;
            match event {
                dtls::Event::Transmit(bytes) => {
                    if let Some(ice::Path { local, remote }) = path {
                        self.gauge.on_sent(now, bytes.len(), true);
                        self.handshake.on_sent(now, bytes.len());
                        self.outbox.push_back(Output::Transmit(Transmit { to: remote, from: local, bytes }));
                    }
                }
                dtls::Event::Connected { profile, material } => {
                    let client = self.started.is_some_and(|(_, active, _)| active);
                    let Some((sealer, opener)) = srtp::from_dtls(profile, &material, client) else {
                        return self.fail(TransportError::PeerMisbehaved(PeerMisbehaved::NoSrtpProfile));
                    };
                    self.keys = Some(Keys { sealer, opener });
                    self.early = None;
                    connected = true;
                    self.outbox.push_back(Output::Connected { profile });
                    if let Some(path) = self.dtls_path {
                        self.agent.proved(now, path);
                    }
                }
                dtls::Event::Closed => return self.fail(TransportError::PeerClosed),
            }
        }
        if connected {
            // Now that the last flight is out.
            self.stats.width = self.gauge.width();
            self.stats.unanswered = self.gauge.unanswered();
            self.stats.toll = self.toll(now);
        }
    }

    /// What the path took of checks and handshake together.
    fn toll(&self, now: Timestamp) -> Toll {
        let rtt = self.agent.rtt().or(self.handshake.round_trip()).unwrap_or_default();
        let patience = toll::patience(rtt, self.stats.width);
        let (answered, unanswered) = self.agent.toll(now, patience);
        let handshake = self.handshake.toll(patience);
        Toll { answered: answered + handshake.answered, unanswered: unanswered + handshake.unanswered }
    }

    fn note_path(&mut self) {
        let remote = self.path().map(|path| path.remote);
        if remote != self.remote_addr
            && let Some(remote) = remote
        {
            self.remote_addr = Some(remote);
            self.outbox.push_back(Output::PathChanged(remote));
        }
    }

    /// Seals a plaintext RTP packet and queues it towards the peer. Before there are keys it is counted and
    /// dropped.
    pub fn send_rtp(&mut self, _now: Timestamp, mut packet: Vec<u8>) {
        match self.keys.as_mut().map(|keys| keys.sealer.protect_rtp(&mut packet)) {
            Some(Ok(())) if self.transmit(packet) => self.stats.rtp_sent += 1,
            _ => self.stats.unsent += 1,
        }
    }

    /// The same, and gives the sealed datagram back for [`Session::send_again`]; `None` if it was dropped.
    pub fn send_rtp_kept(&mut self, _now: Timestamp, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let sealed = self.keys.as_mut().and_then(|keys| keys.sealer.protect_rtp(&mut packet).ok()).is_some();
        if sealed && self.transmit(packet.clone()) {
            self.stats.rtp_sent += 1;
            return Some(packet);
        }
        self.stats.unsent += 1;
        None
    }

    /// Queues a sealed datagram once more, for peers that resend without RTX (RFC 4588 is the better way).
    /// It must be the same to the bit: no two packets may be sealed under one index.
    pub fn send_again(&mut self, _now: Timestamp, sealed: &[u8]) {
        if self.transmit(sealed.to_vec()) {
            self.stats.rtp_sent += 1;
        } else {
            self.stats.unsent += 1;
        }
    }

    /// Seals a plaintext RTCP packet and queues it towards the peer. Before there are keys it is counted and
    /// dropped.
    pub fn send_rtcp(&mut self, _now: Timestamp, mut packet: Vec<u8>) {
        match self.keys.as_mut().map(|keys| keys.sealer.protect_rtcp(&mut packet)) {
            Some(Ok(())) if self.transmit(packet) => self.stats.rtcp_sent += 1,
            _ => self.stats.unsent += 1,
        }
    }

    fn transmit(&mut self, bytes: Vec<u8>) -> bool {
        let Some(ice::Path { local, remote }) = self.path() else { return false };
        if let Some(unconfirmed) =
            self.unconfirmed.as_mut().filter(|unconfirmed| unconfirmed.remote == remote)
        {
            if unconfirmed.sent + bytes.len() > AMPLIFICATION * unconfirmed.received {
                return false;
            }
            unconfirmed.sent += bytes.len();
        }
        self.outbox.push_back(Output::Transmit(Transmit { to: remote, from: local, bytes }));
        true
    }

    /// Says goodbye to the peer, and ends. Poll once more to send it.
    pub fn close(&mut self, now: Timestamp) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
            self.flush_dtls(now);
        }
        self.end();
    }

    fn fail(&mut self, error: TransportError) {
        if !self.over {
            self.outbox.push_back(Output::Failed(error));
            self.end();
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.dtls = None;
        self.keys = None;
        self.early = None;
    }

    /// True once media may flow, until the session is over.
    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// Where the peer is reached at present.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    /// Bytes that sealing adds to an RTP packet: 16 until the profile is known.
    pub fn rtp_overhead(&self) -> usize {
        self.keys.as_ref().map_or(16, |keys| keys.sealer.profile().rtp_overhead())
    }

    /// What has been counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
