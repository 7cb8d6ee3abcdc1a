//! What an operator decides about an SFU.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_transport::dtls::{Certificate, Crypto};

/// How an SFU behaves.
#[derive(Clone)]
pub struct Config {
    /// Where clients reach the media port: the candidates in every answer. Default none, and then nobody
    /// can send media: set at least one.
    pub public_addrs: Vec<SocketAddr>,
    /// Signs the tokens that joins must carry. Default `None`: every join is let in, for a lab or a LAN.
    pub secret: Option<Vec<u8>>,
    /// Unix time at [`Timestamp::ZERO`](undertone_media::Timestamp::ZERO): tokens expire by it. Default 0.
    pub unix_epoch_at_start: Duration,
    /// What the SFU proves itself with to every participant. Default a fresh one.
    pub certificate: Certificate,
    /// Where DTLS takes its randomness from. Default the system's. A seed here is for the lab alone.
    pub crypto: Crypto,
    /// Seeds ICE credentials, SSRCs and first sequence numbers. It must come from the system's randomness
    /// in the real world, since ICE passwords come from it. Default all zero.
    pub seed: [u8; 32],
    /// The moment that timestamp zero stands for, since DTLS wants an `Instant`. Any will do.
    pub anchor: Instant,
    /// Audio receive slots that one participant may open. Default 16; more are answered as inactive.
    pub audio_slots: usize,
    /// Video receive slots that one participant may open. Default 49, a 7 × 7 grid.
    pub video_slots: usize,
    /// Participants that one room takes. Default 500.
    pub room_size: usize,
    /// The rooms that there are. Default `None`: a room is there as soon as somebody joins it.
    pub only_rooms: Option<BTreeSet<String>>,
    /// Rooms that may exist at once. Default 10 000.
    pub rooms: usize,
    /// How long a participant may be silent on the media path, before or after it first worked, until it
    /// is taken for gone. Default 30 s, as consent expires (RFC 7675 §5.1).
    pub idle_timeout: Duration,
}

impl Config {
    /// What suits a real server, but for the addresses, the secret, the seed and the Unix time.
    pub fn new(anchor: Instant) -> Config {
        Config {
            public_addrs: Vec::new(),
            secret: None,
            unix_epoch_at_start: Duration::ZERO,
            certificate: Certificate::generate(),
            crypto: Crypto::System,
            seed: [0; 32],
            anchor,
            audio_slots: 16,
            video_slots: 49,
            room_size: 500,
            only_rooms: None,
            rooms: 10_000,
            idle_timeout: Duration::from_secs(30),
        }
    }
}
