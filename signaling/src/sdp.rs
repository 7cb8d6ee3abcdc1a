//! Session descriptions: what two peers tell each other before media can flow.
//!
//! Why typed: SDP is a bag of text lines of which perhaps thirty matter to us. They are read once, here, into
//! a [`Description`]; everything after that is plain Rust. What we do not use is dropped on the way in.
//! Formats: SDP RFC 8866; offer/answer RFC 3264 as JSEP (RFC 8829) profiles it; BUNDLE RFC 8843; ICE RFC 8839;
//! DTLS-SRTP RFC 5763 and 8842; rtcp-fb RFC 4585; RTX RFC 4588; extmap RFC 8285; H.264 RFC 6184; Opus RFC 7587;
//! source attributes RFC 5576; congestion feedback RFC 8888.
//!
//! ```text
//! offerer                                    answerer
//! let offer = offer(&me, &can, &wants);  →   let answer = answer(&offer, &me, &can)?;
//! lines(&offer, &answer)?                ←   lines(&answer, &offer)?     // the plain view, each its own
//! ```
//!
//! Not here: a second offer on the same session (the SFU switches sources into fixed slots instead),
//! simulcast, data channels (their m-line is rejected), RED and FEC, TCP and relayed candidates.

mod codec;
mod negotiate;
mod parse;
mod view;
mod write;

pub use negotiate::{Capabilities, Counts, Local, Offered, answer, offer};
pub use parse::candidate;
pub use view::{ExtensionIds, Line, Receive, RemoteTransport, Send, lines, remote_transport};

use std::fmt;
use std::net::SocketAddr;
use undertone_media::Ssrc;

/// One side's half of an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Names the session for as long as it lives (the `o=` line).
    pub session_id: u64,
    /// Counts this side's descriptions of the session.
    pub version: u64,
    /// The sender is an ICE-lite agent (RFC 8445 §2.5): it answers checks and makes none.
    pub lite: bool,
    /// The sender may send more candidates later (RFC 8838).
    pub trickle: bool,
    /// One- and two-byte header extensions may be mixed in one stream (RFC 8285 §4.1.2).
    pub extmap_allow_mixed: bool,
    /// The one transport that all bundled lines share; `None` exactly if no line is in use.
    pub transport: Option<Transport>,
    /// Mids of the lines that share it, in the order of the BUNDLE group.
    pub bundle: Vec<String>,
    /// The media lines. A line's place is its name in the answer: lines are never removed or reordered.
    pub media: Vec<Media>,
}

/// How to reach and to know a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// ICE user name fragment, 4 to 256 ice-chars.
    pub ufrag: String,
    /// ICE password, 22 to 256 ice-chars.
    pub pwd: String,
    /// Hash of the certificate that the peer will show.
    pub fingerprint: Fingerprint,
    /// Who begins the DTLS handshake.
    pub setup: Setup,
    /// UDP addresses to try, best first. Others (TCP, mDNS names) are dropped as the text is read: a peer
    /// behind one is still found, as a peer-reflexive candidate, by its own checks.
    pub candidates: Vec<SocketAddr>,
    /// No more candidates will come.
    pub end_of_candidates: bool,
}

/// SHA-256 over a certificate (RFC 8122).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Who begins the DTLS handshake (RFC 4145 §4, RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Whichever the answerer likes. Only in offers.
    ActPass,
    /// The sender begins: it is the DTLS client.
    Active,
    /// The sender waits: it is the DTLS server.
    Passive,
}

/// One m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Its name (RFC 5888); empty only if rejected.
    pub mid: String,
    /// What it carries.
    pub kind: MediaKind,
    /// The transport protocol field; ours is `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// The line is refused, or no longer used (port 0 without `a=bundle-only`).
    pub rejected: bool,
    /// Which way media may flow, from the point of view of the description's sender.
    pub direction: Direction,
    /// RTP and RTCP share one port (RFC 5761).
    pub rtcp_mux: bool,
    /// Reduced-size RTCP is understood (RFC 5506).
    pub rtcp_rsize: bool,
    /// Payload formats that the sender is ready to receive, the preferred first.
    pub codecs: Vec<Codec>,
    /// Feedback for every codec of the line (`a=rtcp-fb:*`).
    pub feedback: Vec<Feedback>,
    /// RTP header extensions.
    pub extensions: Vec<Extension>,
    /// The streams that the sender sends or will send on this line. A stream of retransmissions may be named
    /// in a group alone.
    pub ssrcs: Vec<Source>,
    /// Which of them belong together.
    pub ssrc_groups: Vec<SsrcGroup>,
    /// Names of the MediaStream and track, in a browser's terms (RFC 8830).
    pub msid: Option<Msid>,
    /// Longest packet that the sender wants to receive, in milliseconds of audio.
    pub max_ptime: Option<u32>,
}

/// What a line carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Anything else (`application`, a data channel): carried along so that it can be rejected in place. The
    /// second text is its format list.
    Other(String, String),
}

/// Which way media may flow (RFC 3264 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the description's sender only.
    SendOnly,
    /// Towards the description's sender only.
    RecvOnly,
    /// Not now.
    Inactive,
}

impl Direction {
    /// From its two halves.
    pub fn new(send: bool, receive: bool) -> Direction {
        match (send, receive) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// The description's sender may send.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// The description's sender may receive.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same, seen from the other side.
    pub fn reversed(self) -> Direction {
        Direction::new(self.receives(), self.sends())
    }
}

/// A payload format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// RTP payload type.
    pub payload_type: u8,
    /// Encoding name as the sender wrote it; compare without case.
    pub name: String,
    /// Ticks of its RTP clock a second.
    pub clock_rate: u32,
    /// Encoding parameters: channels, for audio. 0 if not given.
    pub channels: u8,
    /// Format parameters, as one text; empty if not given. See [`Codec::parameter`].
    pub fmtp: String,
    /// Feedback for this codec.
    pub feedback: Vec<Feedback>,
}

/// A kind of RTCP feedback (`a=rtcp-fb`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feedback {
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack,
    /// Picture loss indication (RFC 4585 §6.3.1).
    NackPli,
    /// Full intra request (RFC 5104 §4.3.1).
    CcmFir,
    /// Transport-wide congestion control feedback.
    TransportCc,
    /// Congestion control feedback of RFC 8888.
    AckCcfb,
    /// Anything else.
    Other(String),
}

/// An RTP header extension (RFC 8285).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its local number.
    pub id: u8,
    /// Its name: see [`extension`].
    pub uri: String,
    /// Which way it may flow, from the point of view of the description's sender.
    pub direction: Direction,
}

/// URIs of the header extensions that we speak.
pub mod extension {
    /// Which m-line a packet belongs to (RFC 8843 §15).
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// Which simulcast layer a stream is (RFC 8852).
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// Loudness of the packet's audio (RFC 6464).
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    /// When the packet left, 24 bits.
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// Transport-wide sequence number.
    pub const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    /// When the packet's media was captured.
    pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
    /// What depends on what in layered video.
    pub const DEPENDENCY_DESCRIPTOR: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
}

/// A stream that will be sent (RFC 5576).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its number.
    pub ssrc: Ssrc,
    /// Canonical name: streams with the same are to be played in sync. Empty if not given.
    pub cname: String,
}

/// Streams that belong together (RFC 5576 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    /// How: `FID` pairs a stream with its retransmissions.
    pub semantics: String,
    /// Which.
    pub ssrcs: Vec<Ssrc>,
}

/// Names of a MediaStream and of a track within it (RFC 8830).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// The stream; `-` for none.
    pub stream: String,
    /// The track; empty if not given.
    pub track: String,
}

/// Why a description cannot be used. The peer's fault: tell it so (`ERROR_CODE_BAD_DESCRIPTION`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SdpError {
    /// Longer than [`MAX_BYTES`], or more than [`MAX_LINES`] m-lines.
    TooLong,
    /// Not SDP: the text names the line.
    Malformed(String),
    /// An attribute that matters cannot be read: its name and value.
    Attribute(&'static str, String),
    /// A line in use has no `a=mid`, one over 16 bytes, or one that another line has too. Counted from 0.
    Mid(usize),
    /// No line in use, so there is nothing to agree on.
    NoMedia,
    /// No ICE credentials, or misshapen ones.
    NoIce,
    /// No SHA-256 fingerprint.
    NoFingerprint,
    /// A line is not encrypted by DTLS-SRTP: its mid and protocol.
    NotEncrypted(String, String),
    /// A line in use is not in the BUNDLE group: its mid. One transport carries all.
    NotBundled(String),
    /// A line in use wants a port of its own for RTCP: its mid.
    NoRtcpMux(String),
    /// No line has a codec that we speak; the text lists what was offered.
    NoCommonCodec(String),
    /// Both sides are ICE-lite, so nobody would check the path.
    BothLite,
    /// Both sides want to begin the handshake, or both to wait for it; or an answer leaves it open.
    SetupConflict,
    /// The answer has not the lines of the offer, in its order. The number is the first that differs.
    LinesDiffer(usize),
    /// The answer takes a payload type that was not offered: mid and number.
    NotOffered(String, u8),
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SdpError::TooLong => {
                write!(f, "the description has more than {MAX_BYTES} bytes or {MAX_LINES} media lines")
            }
            SdpError::Malformed(why) => write!(f, "this is not SDP: {why}"),
            SdpError::Attribute(name, value) => write!(f, "a={name} cannot be read: {value:?}"),
            SdpError::Mid(at) => write!(f, "media line {at} has no a=mid of its own (16 bytes at most)"),
            SdpError::NoMedia => write!(f, "the description has no media line in use"),
            SdpError::NoIce => write!(
                f,
                "the description lacks a=ice-ufrag (4 characters or more) and a=ice-pwd (22 or more)"
            ),
            SdpError::NoFingerprint => write!(f, "the description lacks a=fingerprint:sha-256"),
            SdpError::NotEncrypted(mid, protocol) => {
                write!(
                    f,
                    "media line {mid:?} uses {protocol}; only UDP/TLS/RTP/SAVPF (DTLS-SRTP) is accepted"
                )
            }
            SdpError::NotBundled(mid) => {
                write!(f, "media line {mid:?} is not in the BUNDLE group; set bundlePolicy to \"max-bundle\"")
            }
            SdpError::NoRtcpMux(mid) => write!(f, "media line {mid:?} lacks a=rtcp-mux"),
            SdpError::NoCommonCodec(offered) => {
                write!(
                    f,
                    "no codec in common: Opus and H.264 (packetization-mode=1) are spoken here, offered were {offered}"
                )
            }
            SdpError::BothLite => write!(f, "both sides are ICE-lite; one must be a full agent"),
            SdpError::SetupConflict => {
                write!(f, "a=setup of the two sides do not fit: one must be active, one passive")
            }
            SdpError::LinesDiffer(at) => write!(f, "media line {at} of the answer is not that of the offer"),
            SdpError::NotOffered(mid, pt) => {
                write!(f, "media line {mid:?}: payload type {pt} was not offered")
            }
        }
    }
}

impl std::error::Error for SdpError {}

/// The longest text that is read as a description.
pub const MAX_BYTES: usize = 256 * 1024;

/// The most m-lines that a description may have.
pub const MAX_LINES: usize = 256;
