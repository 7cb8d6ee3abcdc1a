//! What can go wrong in a codec, by whose fault it is.

use std::fmt;

/// Why a codec refused. A bad packet leaves the decoder as it was: drop it and go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// The peer sent something that does not decode. Drop it; for video, ask for a key frame.
    PeerMisbehaved {
        /// Which codec refused it.
        codec: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The caller asked for what cannot be: a picture of another size, a block of an odd length. A bug here.
    ApiMisuse(&'static str),
    /// The library failed for a reason of its own, such as no memory. Make a new encoder or decoder.
    Library {
        /// Which codec.
        codec: &'static str,
        /// The library's own error number.
        code: i64,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::PeerMisbehaved { codec, what } => write!(f, "{codec}: the peer sent {what}"),
            CodecError::ApiMisuse(what) => write!(f, "wrong use of the codec: {what}"),
            CodecError::Library { codec, code } => write!(f, "{codec}: the library failed with code {code}"),
        }
    }
}

impl std::error::Error for CodecError {}
