//! From two session descriptions to streams.

use crate::{Config, Role};
use undertone_media::Kind;
use undertone_signaling::sdp::{
    Capabilities, Counts, Description, Direction, ExtensionIds, Fingerprint, Line, Local, Offered,
    RemoteTransport, extension,
};
use undertone_transport::dtls;
use undertone_transport::feedback::Format;
use undertone_transport::rtp::{Extension, ExtensionMap};
use undertone_transport::session::{LocalDescription, Remote};

/// What this end says of itself.
pub(crate) fn local(config: &Config, session: LocalDescription, random: [u32; 3]) -> Local {
    Local {
        session_id: u64::from(random[0]),
        ufrag: session.ufrag,
        pwd: session.pwd,
        fingerprint: Fingerprint(session.fingerprint.0),
        lite: false,
        candidates: config.local.clone(),
        end_of_candidates: true,
        cname: format!("{:08x}", random[1]),
        // Room above for all our streams.
        first_ssrc: random[2] & 0x7fff_ffff,
    }
}

/// What this end can do.
pub(crate) fn capabilities(config: &Config) -> Capabilities {
    let mut extensions = vec![extension::MID, extension::TRANSPORT_CC, extension::DEPENDENCY_DESCRIPTOR];
    // Only an SFU wants to know who is loud; a peer hears it.
    if matches!(config.role, Role::Join { .. }) {
        extensions.push(extension::AUDIO_LEVEL);
    }
    Capabilities {
        send: Counts { audio: usize::from(config.audio), video: usize::from(config.video.is_some()) },
        receive: Counts { audio: config.audio_slots, video: config.video_slots },
        audio_red: true,
        audio_rlc: true,
        extensions,
        ..Capabilities::default()
    }
}

/// The lines that we offer: what we send first, then a line for each slot.
pub(crate) fn offered(config: &Config) -> Vec<Offered> {
    let line = |kind, direction| Offered { kind, direction };
    let mut lines = Vec::new();
    if config.audio {
        lines.push(line(Kind::Audio, Direction::SendOnly));
    }
    if config.video.is_some() {
        lines.push(line(Kind::Video, Direction::SendOnly));
    }
    lines.extend((0..config.audio_slots).map(|_| line(Kind::Audio, Direction::RecvOnly)));
    lines.extend((0..config.video_slots).map(|_| line(Kind::Video, Direction::RecvOnly)));
    lines
}

/// The peer's side, as the session wants it.
pub(crate) fn remote(transport: RemoteTransport) -> Remote {
    Remote {
        ufrag: transport.ufrag,
        pwd: transport.pwd,
        fingerprint: dtls::Fingerprint(transport.fingerprint.0),
        dtls_active: transport.dtls_active,
        candidates: transport.candidates,
        lite: transport.lite,
    }
}

/// How feedback about arrivals travels, if any was agreed.
pub(crate) fn format(lines: &[Line]) -> Option<Format> {
    if lines.iter().any(|line| line.ccfb) {
        Some(Format::Ccfb)
    } else if lines.iter().any(|line| line.transport_cc) {
        Some(Format::Twcc)
    } else {
        None
    }
}

/// The numbers of all extensions; they are the same on all lines of a bundle (RFC 8843 §9.2).
pub(crate) fn extension_map(lines: &[Line]) -> ExtensionMap {
    let mut map = ExtensionMap::default();
    let ids: Vec<ExtensionIds> = lines
        .iter()
        .flat_map(|line| {
            [line.send.as_ref().map(|it| it.extensions), line.receive.as_ref().map(|it| it.extensions)]
        })
        .flatten()
        .collect();
    for (id, uri) in ids.iter().flat_map(ExtensionIds::named) {
        if let Some(extension) = Extension::from_uri(uri) {
            map.set(id, extension);
        }
    }
    map
}

/// Our description as text and as a thing.
pub(crate) fn offer(local: &Local, config: &Config) -> Description {
    undertone_signaling::sdp::offer(local, &capabilities(config), &offered(config))
}
