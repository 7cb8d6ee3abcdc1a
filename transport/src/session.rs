//! One association with a peer: ICE finds the path, DTLS agrees on keys, SRTP seals.

use crate::{TransportError, dtls, ice, srtp};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_media::{Timestamp, Transmit};

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
    /// What suits a real call.
    pub fn new(anchor: Instant) -> Config {
        Config {
            role: ice::Role::Controlling,
            certificate: dtls::Certificate::generate(),
            crypto: dtls::Crypto::System,
            seed: [0; 32],
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
    /// Media packets that the caller sent before there were keys or a path, or that have no valid header.
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
        [128..=191, 192..=223, ..] => Class::Rtcp,
        [128..=191, _, ..] => Class::Rtp,
        _ => Class::Unknown,
    }
}

/// One ICE, DTLS and SRTP association.
pub struct Session {
    stats: Stats,
}

impl Session {
    /// A session that knows nothing of its peer yet.
    pub fn new(_config: Config) -> Session {
        Session { stats: Stats::default() }
    }

    /// What signalling has to tell the peer.
    pub fn local(&self) -> LocalDescription {
        LocalDescription {
            ufrag: String::new(),
            pwd: String::new(),
            fingerprint: dtls::Fingerprint([0; 32]),
        }
    }

    /// Adds an address of ours that checks may leave from.
    pub fn add_local_candidate(&mut self, _address: SocketAddr) {}

    /// Begins, now that signalling has brought the peer's side.
    pub fn start(&mut self, _now: Timestamp, _remote: Remote) {}

    /// Adds an address of the peer that signalling brought later.
    pub fn add_remote_candidate(&mut self, _now: Timestamp, _address: SocketAddr) {}

    /// Takes a datagram, decrypts media in place.
    pub fn receive<'a>(
        &mut self,
        _now: Timestamp,
        _from: SocketAddr,
        _to: SocketAddr,
        _bytes: &'a mut [u8],
    ) -> Received<'a> {
        Received::Dropped
    }

    /// The deadline has come.
    pub fn tick(&mut self, _now: Timestamp) {}

    /// When to call [`Session::tick`]; `None`: never.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The next thing to do, or `None` when all is drained.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// Seals a plaintext RTP packet and queues it towards the peer.
    pub fn send_rtp(&mut self, _now: Timestamp, _packet: Vec<u8>) {}

    /// Seals a plaintext RTCP packet and queues it towards the peer.
    pub fn send_rtcp(&mut self, _now: Timestamp, _packet: Vec<u8>) {}

    /// True once media may flow.
    pub fn is_connected(&self) -> bool {
        false
    }

    /// Where the peer is reached at present.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Bytes that sealing adds to an RTP packet: 16 until the profile is known.
    pub fn rtp_overhead(&self) -> usize {
        16
    }

    /// What has been counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
