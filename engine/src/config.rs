//! What a call is told at its beginning.

use crate::{Effort, Prefer};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_media::{Bitrate, SampleRate, Sound};
use undertone_transport::dtls::{Certificate, Crypto};

/// Beyond this people stop talking to each other anyway.
pub(crate) const PATIENCE_MAX: Duration = Duration::from_millis(400);

/// Our part in finding each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Enter a room of an SFU.
    Join {
        /// The room.
        room: String,
        /// The signed grant; empty where the server is open.
        token: String,
        /// How the others shall see us.
        name: String,
    },
    /// Call a peer directly: the first signalling message is our offer.
    Offer,
    /// Be called directly: wait for the peer's offer.
    Answer,
}

/// The camera's side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoConfig {
    /// Luma width in pixels; even.
    pub width: usize,
    /// Luma height in pixels; even.
    pub height: usize,
    /// Pictures a second.
    pub fps: u32,
    /// The most that video may take. Default 1.5 Mbit/s up to 360p, 2.5 up to 720p, 4 above.
    pub max_bitrate: Bitrate,
    /// What gives way where that is not to be had: size or motion. Default size.
    pub prefer: Prefer,
}

impl Default for VideoConfig {
    fn default() -> VideoConfig {
        VideoConfig::new(640, 360, 30)
    }
}

impl VideoConfig {
    /// Pictures of a size and so many a second, with the bits that they need to look good.
    pub fn new(width: usize, height: usize, fps: u32) -> VideoConfig {
        let max_bitrate = Bitrate::from_kbps(match width * height {
            pixels if pixels <= 640 * 360 => 1_500,
            pixels if pixels <= 1280 * 720 => 2_500,
            _ => 4_000,
        });
        VideoConfig { width, height, fps, max_bitrate, prefer: Prefer::default() }
    }
}

/// How speech is coded and decoded, whatever the path is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coding {
    /// How much of the processor it may take. Default medium.
    pub effort: Effort,
    /// Send next to nothing while nobody speaks (DTX, RFC 7587 §3.1.3): the listener's end goes on with the background
    /// that it heard. Saves half of the rate and of the battery where people take turns. Default off: the quietest
    /// sounds are taken for background, and who waits for them hears less.
    pub dtx: bool,
}

/// How a call behaves.
#[derive(Clone)]
pub struct Config {
    /// Our part in finding each other.
    pub role: Role,
    /// Our UDP addresses, best first; media leaves from them.
    pub local: Vec<SocketAddr>,
    /// Whether we have a microphone. Default yes.
    pub audio: bool,
    /// Samples a second of what is pushed and pulled. Default 16 kHz, all that a voice needs.
    pub sample_rate: SampleRate,
    /// What is sent. Default speech. Music wants 48 kHz, and is sent while the path carries it
    /// ([`crate::Event::Sending`]).
    pub sound: Sound,
    /// How speech is coded and decoded, whatever the path is like.
    pub coding: Coding,
    /// The camera, if there is one. Default none.
    pub video: Option<VideoConfig>,
    /// How many others can be heard at once. Default 3: more voices at once are noise.
    pub audio_slots: usize,
    /// How many others can be seen at once. Default 0: a caller without a screen pays for no pictures.
    pub video_slots: usize,
    /// How late the owner may come to push and pull sound: the jitter buffer keeps so much more, since what is
    /// missing when the speaker asks is made up. Default 10 ms, for a thread that shares its processor; zero
    /// where time is virtual, and nobody is ever late.
    pub playout_slack: Duration,
    /// The longest that playout waits for repairs of lost speech. The other end is told, and plans its protection for it.
    /// Default 400 ms: beyond it people stop talking to each other anyway. Less, where who hears too late might as well
    /// not have heard.
    pub patience: Duration,
    /// First estimate of what the path carries. Default 300 kbit/s: speech and small video start at once.
    pub start_bitrate: Bitrate,
    /// How long to look for a path before giving up. Default 15 s.
    pub connect_timeout: Duration,
    /// Proves who we are to the peer whom signalling told its fingerprint.
    pub certificate: Certificate,
    /// Where the handshake's randomness comes from. Default the system; seeded in a simulation.
    pub crypto: Crypto,
    /// Seeds everything else that is random: SSRCs, sequence numbers, ICE credentials.
    pub seed: [u8; 32],
    /// The instant that `Timestamp::ZERO` stands for.
    pub anchor: Instant,
    /// Wall-clock time at `Timestamp::ZERO`; see [`crate::Timing`].
    pub epoch: Duration,
}

impl Config {
    /// A voice call, with a fresh certificate. `seed` must be unpredictable in a real call.
    pub fn new(role: Role, local: Vec<SocketAddr>, seed: [u8; 32], anchor: Instant) -> Config {
        Config {
            role,
            local,
            audio: true,
            sample_rate: SampleRate::default(),
            sound: Sound::default(),
            coding: Coding::default(),
            video: None,
            audio_slots: 3,
            video_slots: 0,
            playout_slack: Duration::from_millis(10),
            patience: PATIENCE_MAX,
            start_bitrate: Bitrate::from_kbps(300),
            connect_timeout: Duration::from_secs(15),
            certificate: Certificate::generate(),
            crypto: Crypto::System,
            seed,
            anchor,
            epoch: Duration::ZERO,
        }
    }
}
