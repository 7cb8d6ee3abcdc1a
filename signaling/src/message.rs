//! The messages of a signalling channel, compiled from `proto/undertone.proto`.
//!
//! Why protobuf: old and new peers read each other, fields can be added, and a browser needs forty lines to
//! speak it. One message per WebSocket binary frame, the same type in both directions.
//! Not here: who may say what when (`sfu`, `engine`).

use prost::Message as _;
use std::fmt;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/undertone.v1.rs"));
}

pub use generated::description::Kind as DescriptionKind;
pub use generated::message::Body;
pub use generated::{
    Candidate, Description, Error, ErrorCode, Join, Joined, Leave, MediaKind, Message, Mute, Participant,
    Ping, Pong, Roster, Slot, Slots,
};

/// The version of the protocol that this code speaks; see `Join.version`.
pub const VERSION: u32 = 1;

/// The longest message that [`decode`] reads. An offer with fifty slots has some 60 kB.
pub const MAX_BYTES: usize = 512 * 1024;

/// A message that cannot be used. The peer's fault: answer `ERROR_CODE_BAD_MESSAGE`, or ignore it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than [`MAX_BYTES`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a protobuf message of our schema.
    Malformed(String),
    /// A body that this version does not know: ignore it, it comes from a newer peer.
    Unknown,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::TooLong { bytes } => {
                write!(f, "the peer sent a message of {bytes} bytes; {MAX_BYTES} is the most")
            }
            MessageError::Malformed(why) => write!(f, "the peer sent an unreadable message: {why}"),
            MessageError::Unknown => write!(f, "the peer sent a message of a kind unknown to this version"),
        }
    }
}

impl std::error::Error for MessageError {}

/// The bytes of a message.
pub fn encode(body: impl Into<Body>) -> Vec<u8> {
    Message { body: Some(body.into()) }.encode_to_vec()
}

/// Reads a message. Total: any bytes give a body or an error.
pub fn decode(bytes: &[u8]) -> Result<Body, MessageError> {
    if bytes.len() > MAX_BYTES {
        return Err(MessageError::TooLong { bytes: bytes.len() });
    }
    let message = Message::decode(bytes).map_err(|error| MessageError::Malformed(error.to_string()))?;
    message.body.ok_or(MessageError::Unknown)
}

macro_rules! bodies {
    ($($body:ident),*) => {$(
        impl From<$body> for Body {
            fn from(body: $body) -> Body {
                Body::$body(body)
            }
        }
    )*};
}
bodies!(Join, Joined, Description, Candidate, Roster, Slots, Mute, Leave, Error, Ping, Pong);

impl From<undertone_media::Kind> for MediaKind {
    fn from(kind: undertone_media::Kind) -> MediaKind {
        match kind {
            undertone_media::Kind::Audio => MediaKind::Audio,
            undertone_media::Kind::Video => MediaKind::Video,
        }
    }
}

impl MediaKind {
    /// The engine's own noun; `None` if the peer did not say.
    pub fn media(self) -> Option<undertone_media::Kind> {
        match self {
            MediaKind::Audio => Some(undertone_media::Kind::Audio),
            MediaKind::Video => Some(undertone_media::Kind::Video),
            MediaKind::Unspecified => None,
        }
    }
}
