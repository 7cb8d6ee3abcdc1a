//! Who offers what, and what is taken of it. Pure functions: same input, same description.

use super::{Description, Direction, Fingerprint, SdpError};
use std::net::SocketAddr;
use undertone_media::Kind;

/// What one end says of itself, whatever the media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Names the session: any number, different for each session.
    pub session_id: u64,
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Of our certificate.
    pub fingerprint: Fingerprint,
    /// We are ICE-lite: an SFU with a public address.
    pub lite: bool,
    /// Our UDP addresses, best first.
    pub candidates: Vec<SocketAddr>,
    /// No more candidates will follow.
    pub end_of_candidates: bool,
    /// Canonical name of our streams.
    pub cname: String,
    /// The first of the SSRCs that our streams take; the others follow it, and those that the peer uses are
    /// left out. Draw it at random for each session, so that two peers' streams differ.
    pub first_ssrc: u32,
}

/// How many lines of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Lines of sound.
    pub audio: usize,
    /// Lines of pictures.
    pub video: usize,
}

/// What one end can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Answerer only: on how many lines we send, where the peer wants to receive; the first of each kind are
    /// taken. Default: all (an SFU). One end of a direct call with a microphone alone has 1 and 0.
    pub send: Counts,
    /// Answerer only: on how many lines we receive. Default: all.
    pub receive: Counts,
    /// Retransmissions (RFC 4588) for audio too, where the peer speaks them. Default true.
    pub audio_rtx: bool,
    /// Congestion feedback by RFC 8888, which costs no header extension on each packet; taken before
    /// transport-wide feedback where both ends have it. Default true.
    pub ccfb: bool,
    /// URIs of header extensions, the preferred first. Default: all of [`super::extension`] but abs-send-time.
    pub extensions: Vec<&'static str>,
    /// Opus format parameters: what we like to receive (RFC 7587 §6.1). Default
    /// `minptime=10;useinbandfec=1`.
    pub opus: String,
    /// Longest packet that we like to receive. Default 120 ms.
    pub max_ptime: u32,
}

/// One line of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Of what.
    pub kind: Kind,
    /// Which way, from the offerer's point of view.
    pub direction: Direction,
}

/// Makes an offer. Mids are the lines' numbers from 0.
pub fn offer(local: &Local, can: &Capabilities, lines: &[Offered]) -> Description {
    let _ = (local, can, lines);
    unimplemented!("follows within minutes")
}

/// Answers an offer: takes what both ends can do, rejects the lines that have nothing for us, and fails only
/// if the offer is unusable as a whole.
pub fn answer(offer: &Description, local: &Local, can: &Capabilities) -> Result<Description, SdpError> {
    let _ = (offer, local, can);
    unimplemented!("follows within minutes")
}
