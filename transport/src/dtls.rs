//! DTLS 1.3 and 1.2 (RFC 9147, RFC 6347) with SRTP key export (RFC 5764), around the `dimpl` library.
//!
//! What is added here: certificates, fingerprints (RFC 8122), handshakes that repeat byte for byte for a seed,
//! and retransmission timed by what the path's round trip is known to be.
//!
//! Retransmission: the library doubles a fixed timeout, but by the time a handshake runs, ICE may have measured
//! the path, and on a slow link a long flight must not be repeated while it still arrives. So the library
//! lives on a clock of ours that stands still, and jumps to the library's deadline when we judge a flight lost.
//!
//! Not here: which address DTLS may come from (`session`), sealing of media (`srtp`).

mod certificate;
mod seeded;

pub use certificate::{BadFingerprint, Certificate, Fingerprint};

use crate::srtp::Profile;
use crate::{ApiMisuse, PeerMisbehaved, TransportError};
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use undertone_media::Timestamp;

/// The library pads a ClientHello to its MTU, and at 24 kbit/s each 100 bytes take 33 ms. What a client sends
/// later, 520 bytes of certificate and proof, is fragmented to this size too: two halves.
const CLIENT_MTU: usize = 268;
/// A server's flight travels in as few datagrams as can be, since each may be lost.
const SERVER_MTU: usize = 1200;
/// The library's own timeout, on the clock that stands still. Doubled 30 times it stays within 13 days.
const VIRTUAL_RTO: Duration = Duration::from_millis(1);
const MAX_RETRIES: usize = 30;
/// A library deadline this far away is no deadline.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);
/// When a client repeats a flight on a path of unknown round trip.
const BLIND_RTO: Duration = Duration::from_millis(300);
const MIN_RTO: Duration = Duration::from_millis(100);
const MAX_RTO: Duration = Duration::from_secs(3);
/// A timeout that lies below this does not grow beyond it.
const PATIENCE: Duration = Duration::from_millis(400);
/// When a server repeats its flight unasked. It seldom has to: the client asks by repeating its own.
const SERVER_RTO: Duration = Duration::from_secs(1);
/// Datagrams that overtook the ServerHello, kept until it comes.
const MAX_HELD: usize = 8;

/// Where handshakes take their randomness from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Crypto {
    /// The system's. For every real call.
    System,
    /// A seed: the whole handshake, keys included, repeats byte for byte. For the lab and for tests only:
    /// who knows the seed knows the keys. Each session draws its own from it.
    Seeded([u8; 32]),
}

/// Something that an endpoint wants done or known.
pub enum Event {
    /// Send this to the peer.
    Transmit(Vec<u8>),
    /// The handshake is done, and the peer's certificate is the announced one.
    Connected {
        /// How to seal media.
        profile: Profile,
        /// What to seal it with, in the order of RFC 5764 §4.2.
        material: Vec<u8>,
    },
    /// The peer closed the association.
    Closed,
}

/// One end of a DTLS association.
pub struct Endpoint {
    dtls: Dtls,
    /// The library's time. Moves only when a deadline of the library is to be reached.
    clock: Instant,
    due: Option<Due>,
    rtt: Option<Duration>,
    /// How often the present flight was repeated.
    repeats: u32,
    /// A gap after the newest datagram was acknowledged.
    acknowledged: bool,
    last_activity: Timestamp,
    /// When our newest flight left, and how long the one before took to be answered.
    flight: Option<Timestamp>,
    exchange: Duration,
    peer: Fingerprint,
    verified: bool,
    connected: bool,
    client: bool,
    /// We are a client, and do not know the version yet.
    unanswered: bool,
    held: Vec<Vec<u8>>,
    events: VecDeque<Event>,
    buffer: Vec<u8>,
}

/// When the library's next deadline is to be reached.
#[derive(Clone, Copy)]
struct Due {
    at: Timestamp,
    library: Instant,
    /// It is the library's timer for acknowledgements, not for a flight.
    acknowledges: bool,
}

impl Endpoint {
    /// An endpoint that will accept only the certificate with the fingerprint `peer`. An `active` one is the
    /// client; it has its first datagram ready. `anchor` is any instant.
    pub fn new(
        now: Timestamp,
        certificate: &Certificate,
        crypto: Crypto,
        active: bool,
        peer: Fingerprint,
        anchor: Instant,
    ) -> Result<Endpoint, TransportError> {
        let config = config(crypto, active)?;
        let certificate =
            DtlsCertificate { certificate: certificate.der.clone(), private_key: certificate.key.clone() };
        // The library panics on a key that it cannot load.
        if config.crypto_provider().key_provider.load_private_key(&certificate.private_key).is_err() {
            let why = "its key is no P-256 or P-384 key in PKCS #8";
            return Err(TransportError::ApiMisuse(ApiMisuse::BadCertificate(why.into())));
        }
        let mut endpoint = Endpoint {
            dtls: Dtls::new_auto(config, certificate, anchor),
            clock: anchor,
            due: None,
            rtt: None,
            repeats: 0,
            acknowledged: false,
            last_activity: now,
            flight: None,
            exchange: Duration::ZERO,
            peer,
            verified: false,
            connected: false,
            client: active,
            unanswered: active,
            held: Vec::new(),
            events: VecDeque::new(),
            buffer: vec![0; 2048],
        };
        endpoint.dtls.set_active(active);
        endpoint.dtls.handle_timeout(endpoint.clock).map_err(failed)?;
        endpoint.drain(now)?;
        Ok(endpoint)
    }

    /// Takes a datagram from the peer. An error is the end of the handshake; once connected there is none.
    pub fn receive(&mut self, now: Timestamp, bytes: &[u8]) -> Result<(), TransportError> {
        if self.unanswered {
            // A client that does not know the version yet takes anything but an answer for a fatal error.
            if !is_first_answer(bytes) {
                if self.held.len() < MAX_HELD {
                    self.held.push(bytes.to_vec());
                }
                return Ok(());
            }
            self.unanswered = false;
        }
        self.last_activity = now;
        if let Some(sent) = self.flight.take() {
            self.exchange = now.since(sent);
        }
        self.repeats = 0;
        self.acknowledged = false;
        self.step(now, |dtls, _| dtls.handle_packet(bytes))?;
        for held in std::mem::take(&mut self.held) {
            self.step(now, |dtls, _| dtls.handle_packet(&held))?;
        }
        Ok(())
    }

    /// The deadline has come.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), TransportError> {
        let Some(due) = self.due.filter(|due| due.at <= now) else { return Ok(()) };
        self.repeats += 1;
        self.clock = self.clock.max(due.library);
        self.step(now, |dtls, clock| dtls.handle_timeout(clock))
    }

    /// Repeats the present flight now: what was sent went astray.
    pub fn repeat(&mut self, now: Timestamp) -> Result<(), TransportError> {
        match self.due.filter(|due| !due.acknowledges) {
            Some(due) => {
                self.clock = self.clock.max(due.library);
                self.step(now, |dtls, clock| dtls.handle_timeout(clock))
            }
            None => Ok(()),
        }
    }

    /// When to call [`Endpoint::tick`].
    pub fn deadline(&self) -> Option<Timestamp> {
        self.due.map(|due| due.at)
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// True once keys were exported.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The path's round trip was measured.
    pub fn set_rtt(&mut self, rtt: Duration) {
        let first = self.rtt.replace(rtt).is_none();
        let delay = self.rto();
        if let Some(due) = self.due.as_mut().filter(|due| first && !due.acknowledges) {
            due.at = self.last_activity + delay;
        }
    }

    /// Tells the peer that we leave.
    pub fn close(&mut self, now: Timestamp) {
        if self.connected {
            // An error would mean that the association is over, which is what is wanted.
            let _ = self.step(now, |dtls, _| dtls.close());
        }
    }

    fn step(
        &mut self,
        now: Timestamp,
        act: impl FnOnce(&mut Dtls, Instant) -> Result<(), dimpl::Error>,
    ) -> Result<(), TransportError> {
        let clock = self.clock;
        match act(&mut self.dtls, clock).map_err(failed).and_then(|()| self.drain(now)) {
            // Media is keyed; a lost acknowledgement or a stray record must not end it.
            Err(_) if self.connected => {
                self.due = None;
                Ok(())
            }
            result => result,
        }
    }

    fn drain(&mut self, now: Timestamp) -> Result<(), TransportError> {
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(bytes) => {
                    self.last_activity = now;
                    self.flight = Some(now);
                    self.events.push_back(Event::Transmit(bytes.to_vec()));
                }
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::PeerCert(der) => {
                    if Fingerprint::of(der) != self.peer {
                        return Err(TransportError::PeerMisbehaved(PeerMisbehaved::FingerprintMismatch));
                    }
                    self.verified = true;
                }
                Output::KeyingMaterial(material, profile) if self.verified => {
                    let profile = match profile {
                        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
                        _ => return Err(TransportError::PeerMisbehaved(PeerMisbehaved::NoSrtpProfile)),
                    };
                    self.connected = true;
                    self.events.push_back(Event::Connected { profile, material: material.to_vec() });
                }
                Output::CloseNotify => self.events.push_back(Event::Closed),
                // There is a gap in the peer's flight: the library acknowledges the rest (RFC 9147 §7.1). It
                // would do so again and again, so let it once for each datagram.
                Output::Timeout(library) if library <= self.clock && !self.acknowledged => {
                    self.acknowledged = true;
                    self.dtls.handle_timeout(self.clock).map_err(failed)?;
                }
                Output::Timeout(library) => {
                    self.schedule(library);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Chooses our time for the library's next deadline.
    fn schedule(&mut self, library: Instant) {
        let ahead = library.saturating_duration_since(self.clock);
        // Part of a flight came, and the library would soon acknowledge it, should the rest not follow. Its
        // flight timer is never that near.
        let acknowledges = ahead < VIRTUAL_RTO / 2;
        let delay = if acknowledges { self.rto() / 4 } else { self.rto() };
        let library = library.max(self.clock + VIRTUAL_RTO / 4);
        self.due = (ahead < FAR).then_some(Due { at: self.last_activity + delay, library, acknowledges });
    }

    /// A small check measured the round trip, but a ClientHello is answered with 700 bytes, which on a slow link
    /// take a few times as long; and to repeat those would delay the first media. The last flight is no larger than the
    /// first and its answer, so it is answered no later. Grows gently: on a path that loses a third, doubling would take
    /// seconds to get through.
    fn rto(&self) -> Duration {
        let base = match self.rtt {
            _ if !self.client => SERVER_RTO,
            None => BLIND_RTO,
            Some(rtt) if self.connected => (rtt * 2 + Duration::from_millis(40)).max(self.exchange),
            Some(rtt) => rtt * 4,
        };
        let base = base.clamp(MIN_RTO, MAX_RTO);
        (0..self.repeats.min(16)).fold(base, |rto, _| rto + rto / 4).min(base.max(PATIENCE))
    }
}

/// True of a ServerHello or HelloVerifyRequest in the clear.
fn is_first_answer(bytes: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    matches!((bytes.first(), bytes.get(13)), (Some(&HANDSHAKE), Some(2 | 3)))
}

fn failed(error: dimpl::Error) -> TransportError {
    TransportError::PeerMisbehaved(PeerMisbehaved::Handshake(error.to_string()))
}

fn config(crypto: Crypto, active: bool) -> Result<Arc<Config>, TransportError> {
    static CLIENT: OnceLock<Arc<Config>> = OnceLock::new();
    static SERVER: OnceLock<Arc<Config>> = OnceLock::new();
    let shared = if active { &CLIENT } else { &SERVER };
    if let (Crypto::System, Some(config)) = (crypto, shared.get()) {
        return Ok(config.clone());
    }
    let builder = Config::builder()
        .mtu(if active { CLIENT_MTU } else { SERVER_MTU })
        // ICE has shown that the peer is where it says it is; a cookie would only cost a round trip.
        .use_server_cookie(false)
        .flight_start_rto(VIRTUAL_RTO)
        .flight_retries(MAX_RETRIES)
        .handshake_timeout(FAR * 12)
        .kx_groups(&[dimpl::NamedGroup::X25519, dimpl::NamedGroup::Secp256r1]);
    let builder = match crypto {
        Crypto::System => builder,
        Crypto::Seeded(seed) => seeded::seed(builder, seed),
    };
    let config =
        builder.build().map_err(|error| TransportError::ApiMisuse(ApiMisuse::Crypto(error.to_string())))?;
    let config = Arc::new(config);
    if crypto == Crypto::System {
        return Ok(shared.get_or_init(|| config).clone());
    }
    Ok(config)
}
