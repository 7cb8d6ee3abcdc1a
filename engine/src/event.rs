//! What a call tells its owner.

use crate::adapt::Reason;
use std::fmt;
use std::time::Duration;
use undertone_media::{Kind, Sound};

/// Somebody in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The number under which the server knows them.
    pub id: u32,
    /// Their name.
    pub name: String,
    /// They send sound.
    pub audio: bool,
    /// They send pictures.
    pub video: bool,
    /// Their microphone is muted.
    pub muted: bool,
}

/// Who is in a receive slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotEvent {
    /// The slot: its place among those of its kind.
    pub slot: usize,
    /// Heard or seen.
    pub kind: Kind,
    /// Who; `None`: nobody now.
    pub participant: Option<u32>,
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server let us in.
    Joined {
        /// Our own number.
        participant: u32,
    },
    /// Who is in the room now.
    Roster(Vec<Participant>),
    /// A slot shows somebody else.
    Slot(SlotEvent),
    /// Media may flow.
    Connected {
        /// From the beginning of the call until keys were there.
        setup: Duration,
    },
    /// Other sound is sent from now on: a voice, because the path does not carry the music that was asked for, or music
    /// again.
    Sending {
        /// What.
        sound: Sound,
        /// Why.
        reason: Reason,
    },
    /// The call is over, as we or the peer wanted.
    Ended,
    /// The call is over, as nobody wanted.
    Failed(Failure),
}

/// Why a call failed: whose fault, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused the token.
    Refused {
        /// What the server says.
        message: String,
        /// What it advises.
        hint: String,
    },
    /// No datagram came through, or none comes any more.
    Unreachable(String),
    /// The peer broke the protocol, or offers nothing that we speak.
    Peer(String),
    /// A codec of ours could not be made.
    Codec(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused { message, hint } if hint.is_empty() => {
                write!(f, "the server refused: {message}")
            }
            Failure::Refused { message, hint } => write!(f, "the server refused: {message}; {hint}"),
            Failure::Unreachable(what) => write!(f, "the other side cannot be reached: {what}"),
            Failure::Peer(what) => write!(f, "the other side misbehaves: {what}"),
            Failure::Codec(what) => write!(f, "a codec failed: {what}"),
        }
    }
}
