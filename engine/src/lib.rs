//! One call, sans-IO: microphone and camera on one side, datagrams on the other.
//!
//! Invariant: the engine reads no clock, opens no socket, starts no thread. It composes `codec`,
//! `transport`, `jitter` and `signaling`, which do not know each other; what it adds is the decisions that
//! need all of them (`adapt`) and the account of what happened (`stats`).
//!
//! ```text
//! push_audio → sender → transform → pacer → session → poll      (out)
//! handle → session → receiver: jitter, decoder, stretch → pull_audio   (in)
//! ```
//!
//! A caller pushes and pulls 10 ms of mono at a time, on its own clock: 16 kHz for a voice, or 48 ([`Config`]).

pub mod adapt;
mod call;
mod config;
mod effort;
mod event;
mod media_path;
mod negotiation;
mod own_losses;
pub mod receiver;
pub mod sender;
mod stats;
mod transform;

pub use call::Call;
pub use config::{Coding, Config, Role, VideoConfig};
pub use effort::Effort;
pub use event::{Event, Failure, Participant, SlotEvent};
pub use receiver::{Origin, Played};
pub use sender::Prefer;
pub use stats::{AudioSlotStats, Stats, VideoCoding, VideoSlotStats};
pub use transform::{FrameTransform, Plain};

use std::time::Duration;
use undertone_media::{SampleRate, Timestamp};

/// Samples of 10 ms at 16 kHz: one step of the microphone and of the speaker of who wants no more.
pub const FRAME_SAMPLES: usize = SampleRate::Wide.frame();

/// Ties the call's own clock to wall-clock time, so that the ends of a call can speak of the same moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Wall-clock time, from any origin that both ends share, at [`Timestamp::ZERO`].
    pub epoch: Duration,
}

impl Timing {
    /// `now` as NTP time (RFC 3550 §4).
    pub fn ntp(&self, now: Timestamp) -> u64 {
        undertone_transport::rtcp::ntp(now + self.epoch)
    }

    /// How long ago an NTP time was; `None` if it lies in the future, as it does when two clocks differ.
    pub fn since(&self, now: Timestamp, ntp: u64) -> Option<Duration> {
        let ticks = self.ntp(now).checked_sub(ntp)?;
        Some(Duration::from_micros(((u128::from(ticks) * 1_000_000) >> 32) as u64))
    }
}
