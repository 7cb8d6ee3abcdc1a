//! The account of a call: what a status line, a log and a report are made of.

use crate::adapt::{Loss, Plan};
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Sound};
use undertone_transport::rtcp::PlayoutReport;
use undertone_transport::{bwe, session};

/// A snapshot. Counters run from the beginning of the call.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// From the beginning of the call until keys were there.
    pub setup: Option<Duration>,
    /// Round trip, as measured last.
    pub rtt: Option<Duration>,
    /// Every byte that left, IP and UDP headers counted.
    pub wire_sent: DataSize,
    /// Every byte that came, likewise.
    pub wire_received: DataSize,
    /// Bytes of coded speech and pictures that left, each counted once.
    pub payload_sent: DataSize,
    /// What the path is thought to carry.
    pub estimate: Bitrate,
    /// Why.
    pub congestion: bwe::State,
    /// How packets get lost lately, as the plan sees it.
    pub loss: Loss,
    /// What is sent at present; `None` without a microphone.
    pub sending: Option<Sound>,
    /// How it is packed; `None` without a microphone.
    pub plan: Option<Plan>,
    /// What the listener's end told last of how our speech plays out; `None` until it does, or if it does not know how.
    pub told: Option<PlayoutReport>,
    /// Rate that the camera's encoder aims for.
    pub video_rate: Bitrate,
    /// Pictures coded, and of them key frames.
    pub video_frames: (u64, u64),
    /// How our pictures are coded.
    pub video_coding: VideoCoding,
    /// Packets sent again on request.
    pub resent: u64,
    /// What the session counted: bad datagrams, replays, forgeries.
    pub session: session::Stats,
    /// Each slot for voices.
    pub audio: Vec<AudioSlotStats>,
    /// Each slot for pictures.
    pub video: Vec<VideoSlotStats>,
}

/// One slot for voices. Shares are counted in steps of 10 ms that were played.
#[derive(Clone, Copy, Debug, Default)]
pub struct AudioSlotStats {
    /// Who is in it.
    pub participant: Option<u32>,
    /// Packets that came, each once.
    pub received: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that did not come the first time.
    pub lost: u64,
    /// Of them, those that came as retransmissions.
    pub repaired: u64,
    /// Packets that came, or came again, after their turn.
    pub late: u64,
    /// Packets that were no Opus packets.
    pub undecodable: u64,
    /// Interarrival jitter (RFC 3550).
    pub jitter: Duration,
    /// Delay that the jitter buffer aims at.
    pub target: Duration,
    /// Played as sent.
    pub decoded: u64,
    /// Played from a retransmission.
    pub rtx: u64,
    /// Played from a copy in a later packet.
    pub copied: u64,
    /// Played from combinations in later packets.
    pub coded: u64,
    /// Played from the next packet's copy.
    pub lbrr: u64,
    /// Played from deep redundancy.
    pub dred: u64,
    /// Made up.
    pub concealed: u64,
    /// Pauses.
    pub silence: u64,
    /// Mouth to ear at the newest step that tells.
    pub mouth_to_ear: Option<Duration>,
}

impl AudioSlotStats {
    /// Steps of speech played, pauses left out.
    pub fn voiced(&self) -> u64 {
        self.decoded + self.rtx + self.copied + self.coded + self.lbrr + self.dred + self.concealed
    }
}

/// One slot for pictures.
#[derive(Clone, Copy, Debug, Default)]
pub struct VideoSlotStats {
    /// Who is in it.
    pub participant: Option<u32>,
    /// Packets that came, each once.
    pub received: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that did not come the first time.
    pub lost: u64,
    /// Of them, those that came as retransmissions.
    pub repaired: u64,
    /// Pictures decoded.
    pub decoded: u64,
    /// Pictures that could not be decoded.
    pub undecodable: u64,
    /// How often the picture froze for want of a key frame.
    pub freezes: u64,
}

/// How our pictures are coded at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoCoding {
    /// Luma width in pixels.
    pub width: usize,
    /// Luma height in pixels.
    pub height: usize,
    /// Pictures a second at most.
    pub fps: u32,
    /// Of the last picture, 0 (fine) to 51 (coarse).
    pub quantiser: u32,
}
