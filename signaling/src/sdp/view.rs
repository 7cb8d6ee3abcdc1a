//! What was agreed, in plain terms: what goes out and what comes in on each line, under which numbers.

use super::{Codec, Description, Feedback, Fingerprint, Media, SdpError, Setup, extension};
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
    /// Payload type of packets that also carry those before them (RFC 2198), if the peer takes them.
    pub red_payload_type: Option<u8>,
    /// Payload type of packets that also carry repair symbols, if the peer takes them.
    pub rlc_payload_type: Option<u8>,
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
    /// Payload types that may come, each with that of its retransmissions. Never empty.
    pub payload_types: Vec<(u8, Option<u8>)>,
    /// Payload type of packets that also carry those before them (RFC 2198), of the first of `payload_types`.
    pub red_payload_type: Option<u8>,
    /// Payload type of packets that also carry repair symbols, of the first of `payload_types`.
    pub rlc_payload_type: Option<u8>,
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

impl ExtensionIds {
    /// Those that are in use, each with its URI, for a parser of headers that knows them by it.
    pub fn named(&self) -> impl Iterator<Item = (u8, &'static str)> {
        use super::extension::*;
        [
            (self.mid, MID),
            (self.rid, RID),
            (self.audio_level, AUDIO_LEVEL),
            (self.abs_send_time, ABS_SEND_TIME),
            (self.transport_cc, TRANSPORT_CC),
            (self.abs_capture_time, ABS_CAPTURE_TIME),
            (self.dependency_descriptor, DEPENDENCY_DESCRIPTOR),
        ]
        .into_iter()
        .filter_map(|(id, uri)| Some((id?, uri)))
    }
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
    remote.check_shape()?;
    if local.media.len() != remote.media.len() {
        return Err(SdpError::LinesDiffer(local.media.len().min(remote.media.len())));
    }
    let mut agreed = Vec::new();
    for (at, (ours, theirs)) in local.media.iter().zip(&remote.media).enumerate() {
        if ours.kind.media() != theirs.kind.media() {
            return Err(SdpError::LinesDiffer(at));
        }
        let Some(kind) = ours.kind.media().filter(|_| !ours.rejected && !theirs.rejected) else { continue };
        if ours.mid != theirs.mid {
            return Err(SdpError::LinesDiffer(at));
        }
        agreed.push(agree(kind, ours, theirs)?);
    }
    Ok(agreed)
}

/// How to reach the peer, from the two descriptions.
pub fn remote_transport(local: &Description, remote: &Description) -> Result<RemoteTransport, SdpError> {
    let ours = local.transport.as_ref().ok_or(SdpError::NoMedia)?;
    let theirs = remote.transport.as_ref().ok_or(SdpError::NoMedia)?;
    if local.lite && remote.lite {
        return Err(SdpError::BothLite);
    }
    let dtls_active = match (ours.setup, theirs.setup) {
        (Setup::ActPass | Setup::Passive, Setup::Active) | (Setup::Passive, Setup::ActPass) => false,
        (Setup::ActPass | Setup::Active, Setup::Passive) | (Setup::Active, Setup::ActPass) => true,
        _ => return Err(SdpError::SetupConflict),
    };
    Ok(RemoteTransport {
        ufrag: theirs.ufrag.clone(),
        pwd: theirs.pwd.clone(),
        fingerprint: theirs.fingerprint,
        dtls_active,
        candidates: theirs.candidates.clone(),
        lite: remote.lite,
    })
}

fn agree(kind: Kind, ours: &Media, theirs: &Media) -> Result<Line, SdpError> {
    let spoken = |codec: &&Codec| {
        let media = codec.apt().is_none() && !codec.is_red() && !codec.is_rlc();
        media && ours.codecs.iter().any(|own| own.matches(codec))
    };
    let resent = |payload_type: u8| {
        let rtx = theirs.rtx_of(payload_type)?.payload_type;
        (ours.rtx_of(payload_type)?.payload_type == rtx).then_some(rtx)
    };
    let copied = |payload_type: u8| {
        let red = theirs.red_of(payload_type)?.payload_type;
        (ours.red_of(payload_type)?.payload_type == red).then_some(red)
    };
    let repaired = |payload_type: u8| {
        let rlc = theirs.rlc_of(payload_type)?.payload_type;
        (ours.rlc_of(payload_type)?.payload_type == rlc).then_some(rlc)
    };
    let common: Vec<&Codec> = theirs.codecs.iter().filter(spoken).collect();
    let Some(first) = common.first() else {
        let strange = theirs.codecs.first().map_or(0, |codec| codec.payload_type);
        return Err(SdpError::NotOffered(theirs.mid.clone(), strange));
    };
    let own = ours.codecs.iter().find(|own| own.matches(first)).unwrap_or(first);
    let fed_back = |feedback: Feedback| {
        let has = |media: &Media, codec: &Codec| {
            codec.feedback.contains(&feedback) || media.feedback.contains(&feedback)
        };
        has(ours, own) && has(theirs, first)
    };
    let ccfb = fed_back(Feedback::AckCcfb);
    let transport_cc = fed_back(Feedback::TransportCc) && !ccfb;
    let sends = ours.direction.sends() && theirs.direction.receives();
    let receives = ours.direction.receives() && theirs.direction.sends();
    let send = own_streams(ours).filter(|_| sends).map(|(ssrc, rtx_ssrc)| {
        let rtx = resent(first.payload_type).zip(rtx_ssrc);
        Send {
            payload_type: first.payload_type,
            clock_rate: first.clock_rate,
            rtx_payload_type: rtx.map(|(payload_type, _)| payload_type),
            red_payload_type: copied(first.payload_type),
            rlc_payload_type: repaired(first.payload_type),
            ssrc,
            rtx_ssrc: rtx.map(|(_, ssrc)| ssrc),
            extensions: extension_ids(ours, theirs, transport_cc),
            fmtp: first.fmtp.clone(),
            max_ptime: theirs.max_ptime,
        }
    });
    let streams = own_streams(theirs);
    let receive = receives.then(|| Receive {
        payload_types: common.iter().map(|c| (c.payload_type, resent(c.payload_type))).collect(),
        red_payload_type: copied(first.payload_type),
        rlc_payload_type: repaired(first.payload_type),
        clock_rate: first.clock_rate,
        ssrc: streams.map(|(ssrc, _)| ssrc),
        rtx_ssrc: streams.and_then(|(_, rtx)| rtx),
        extensions: extension_ids(theirs, ours, transport_cc),
    });
    Ok(Line {
        mid: ours.mid.clone(),
        kind,
        send,
        receive,
        nack: fed_back(Feedback::Nack),
        pli: fed_back(Feedback::NackPli),
        fir: fed_back(Feedback::CcmFir),
        transport_cc,
        ccfb,
    })
}

/// The first stream that a line's sender sends on it, and its retransmissions.
fn own_streams(media: &Media) -> Option<(Ssrc, Option<Ssrc>)> {
    let pair = media.ssrc_groups.iter().find(|group| group.semantics == "FID").map(|group| &group.ssrcs[..]);
    match pair {
        Some([ssrc, rtx, ..]) => Some((*ssrc, Some(*rtx))),
        _ => media.ssrcs.first().map(|source| (source.ssrc, None)),
    }
}

/// Extensions that both know and that may flow from `sender` to `receiver`.
fn extension_ids(sender: &Media, receiver: &Media, transport_cc: bool) -> ExtensionIds {
    let id = |uri: &str| {
        let sent = sender.extensions.iter().find(|e| e.uri == uri && e.direction.sends())?;
        let received = |e: &super::Extension| e.id == sent.id && e.uri == uri && e.direction.receives();
        receiver.extensions.iter().any(received).then_some(sent.id)
    };
    ExtensionIds {
        mid: id(extension::MID),
        rid: id(extension::RID),
        audio_level: id(extension::AUDIO_LEVEL),
        abs_send_time: id(extension::ABS_SEND_TIME),
        transport_cc: id(extension::TRANSPORT_CC).filter(|_| transport_cc),
        abs_capture_time: id(extension::ABS_CAPTURE_TIME),
        dependency_descriptor: id(extension::DEPENDENCY_DESCRIPTOR),
    }
}
