//! What was agreed, in plain terms: what goes out and what comes in on each line, under which numbers.

use super::{Description, Fingerprint, SdpError};
use std::net::SocketAddr;
use undertone_media::{Kind, Ssrc};

/// One line that both sides use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub mid: String,
    /// What it carries.
    pub kind: Kind,
    /// What we send; `None`: nothing.
    pub send: Option<Send>,
    /// What we receive; `None`: nothing.
    pub receive: Option<Receive>,
    /// Lost packets may be asked for (generic NACK).
    pub nack: bool,
    /// Key frames may be asked for by PLI.
    pub pli: bool,
    /// Key frames may be asked for by FIR.
    pub fir: bool,
    /// Feedback is transport-wide (with its header extension).
    pub transport_cc: bool,
    /// Feedback is that of RFC 8888; never together with `transport_cc`.
    pub ccfb: bool,
}

/// How to send on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Payload type of the media.
    pub payload_type: u8,
    /// Ticks of its RTP clock a second.
    pub clock_rate: u32,
    /// Payload type of its retransmissions, if the peer takes them.
    pub rtx_payload_type: Option<u8>,
    /// Our stream.
    pub ssrc: Ssrc,
    /// Our retransmissions; there is one exactly if `rtx_payload_type` is.
    pub rtx_ssrc: Option<Ssrc>,
    /// Numbers of the header extensions that we may send.
    pub extensions: ExtensionIds,
    /// The peer's format parameters for the codec.
    pub fmtp: String,
    /// Longest packet that the peer likes, in milliseconds.
    pub max_ptime: Option<u32>,
}

/// How to read what comes on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Payload types that may come, each with that of its retransmissions.
    pub payload_types: Vec<(u8, Option<u8>)>,
    /// Ticks of the RTP clock a second.
    pub clock_rate: u32,
    /// The peer's stream, if it said; else the mid extension of its first packets tells.
    pub ssrc: Option<Ssrc>,
    /// The peer's retransmissions, if it said.
    pub rtx_ssrc: Option<Ssrc>,
    /// Numbers of the header extensions that may come.
    pub extensions: ExtensionIds,
}

/// Numbers of the header extensions on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// [`super::extension::MID`].
    pub mid: Option<u8>,
    /// [`super::extension::RID`].
    pub rid: Option<u8>,
    /// [`super::extension::AUDIO_LEVEL`].
    pub audio_level: Option<u8>,
    /// [`super::extension::ABS_SEND_TIME`].
    pub abs_send_time: Option<u8>,
    /// [`super::extension::TRANSPORT_CC`].
    pub transport_cc: Option<u8>,
    /// [`super::extension::ABS_CAPTURE_TIME`].
    pub abs_capture_time: Option<u8>,
    /// [`super::extension::DEPENDENCY_DESCRIPTOR`].
    pub dependency_descriptor: Option<u8>,
}

/// How to reach the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTransport {
    /// Its ICE user name fragment.
    pub ufrag: String,
    /// Its ICE password.
    pub pwd: String,
    /// Of its certificate.
    pub fingerprint: Fingerprint,
    /// We begin the DTLS handshake.
    pub dtls_active: bool,
    /// Its addresses, best first.
    pub candidates: Vec<SocketAddr>,
    /// It is ICE-lite.
    pub lite: bool,
}

/// The lines in use, in order. Both sides call it with their own description first; offer or answer does not
/// matter, as the answer is always the narrower.
pub fn lines(local: &Description, remote: &Description) -> Result<Vec<Line>, SdpError> {
    let _ = (local, remote);
    unimplemented!("follows within minutes")
}

/// How to reach the peer, from the two descriptions.
pub fn remote_transport(local: &Description, remote: &Description) -> Result<RemoteTransport, SdpError> {
    let _ = (local, remote);
    unimplemented!("follows within minutes")
}
