//! Why a session ended. Each error says whose fault it is and what to do about it.

use std::fmt;

/// The end of a session. A bad datagram is none: it is counted and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportError {
    /// The peer broke the protocol or is not who signalling said. Close, and tell the user.
    PeerMisbehaved(PeerMisbehaved),
    /// The network let no connectivity check through in time. Try another network or another address.
    NoPath,
    /// A path worked, and then nothing authentic came back for too long (RFC 7675 §5.1). Join again.
    ConsentExpired,
    /// The peer said goodbye (DTLS close_notify). Nobody's fault.
    PeerClosed,
    /// The caller's bug.
    ApiMisuse(ApiMisuse),
}

/// What the peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// Its DTLS certificate is not the one whose fingerprint was signalled (RFC 8122 §5).
    FingerprintMismatch,
    /// The DTLS handshake failed; the text names the step.
    Handshake(String),
    /// It agreed on no SRTP profile that we have (RFC 5764 §4.1.2).
    NoSrtpProfile,
}

/// What the caller did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// The certificate or its key cannot be used.
    BadCertificate(String),
    /// The crypto library refused to start; the text is its own.
    Crypto(String),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportError::PeerMisbehaved(PeerMisbehaved::FingerprintMismatch) => {
                write!(f, "the peer's certificate is not the one it announced: someone may be in between")
            }
            TransportError::PeerMisbehaved(PeerMisbehaved::Handshake(why)) => {
                write!(f, "the peer's DTLS handshake failed: {why}")
            }
            TransportError::PeerMisbehaved(PeerMisbehaved::NoSrtpProfile) => {
                write!(f, "the peer has no SRTP profile in common with us")
            }
            TransportError::NoPath => {
                write!(f, "no packet reached the peer and came back: check firewalls and UDP")
            }
            TransportError::ConsentExpired => {
                write!(f, "the peer fell silent: its network or process is gone")
            }
            TransportError::PeerClosed => write!(f, "the peer left"),
            TransportError::ApiMisuse(ApiMisuse::BadCertificate(why)) => {
                write!(f, "unusable certificate: {why}")
            }
            TransportError::ApiMisuse(ApiMisuse::Crypto(why)) => write!(f, "unusable crypto set-up: {why}"),
        }
    }
}

impl std::error::Error for TransportError {}
