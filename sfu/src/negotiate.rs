//! From a participant's offer to our answer, and to what its streams are.
//!
//! Not here: SDP itself (`signaling::sdp`), who may publish (`join`).

use crate::Config;
use crate::source::{Codec, SourceConfig};
use undertone_media::{Kind, Ssrc};
use undertone_signaling::sdp::{
    self, Capabilities, Counts, Description, ExtensionIds, Line, Local, SdpError,
};
use undertone_transport::dtls;
use undertone_transport::feedback::Format;
use undertone_transport::rtp::{Extension, ExtensionMap, Mid};
use undertone_transport::session::{LocalDescription, Remote};

/// A line on which the participant sends.
#[derive(Clone, Debug)]
pub(crate) struct TrackConfig {
    /// Comes in the mid extension.
    pub(crate) mid: Option<Mid>,
    pub(crate) ssrc: Option<Ssrc>,
    pub(crate) rtx_ssrc: Option<Ssrc>,
    /// Media payload types, each with that of its retransmissions.
    pub(crate) payload_types: Vec<(u8, Option<u8>)>,
    /// What each source on it is made from, but for the SSRC.
    pub(crate) source: SourceConfig,
    /// Key frames may be asked for.
    pub(crate) pli: bool,
}

impl TrackConfig {
    /// The media that a payload type carries, alone or with redundancy, and its retransmissions; `None`: none.
    pub(crate) fn media(&self, payload_type: u8) -> Option<(u8, Option<u8>)> {
        let SourceConfig { red_payload_type, rlc_payload_type, .. } = self.source;
        let own = if [red_payload_type, rlc_payload_type].contains(&Some(payload_type)) {
            self.source.payload_type
        } else {
            payload_type
        };
        self.payload_types.iter().copied().find(|&(media, _)| media == own)
    }
}

/// A line on which the participant receives: one stream, whoever is in it.
#[derive(Clone, Debug)]
pub(crate) struct SlotConfig {
    pub(crate) mid: String,
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) payload_type: u8,
    pub(crate) clock_rate: u32,
    pub(crate) ssrc: Ssrc,
    pub(crate) rtx: Option<(Ssrc, u8)>,
    /// Payload types of packets with copies, and with repair symbols, that the subscriber reads.
    pub(crate) red: Option<u8>,
    pub(crate) rlc: Option<u8>,
    /// The subscriber asks for lost packets.
    pub(crate) nack: bool,
    pub(crate) extensions: ExtensionMap,
}

impl SlotConfig {
    /// Lost packets go again as they went first: browsers know no RTX for sound.
    pub(crate) fn repeats(&self) -> bool {
        self.nack && self.rtx.is_none()
    }
}

/// What an offer and its answer come to.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub(crate) answer: String,
    pub(crate) remote: Remote,
    pub(crate) tracks: Vec<TrackConfig>,
    pub(crate) slots: Vec<SlotConfig>,
    /// Numbers of the extensions in what the participant sends.
    pub(crate) extensions: ExtensionMap,
    /// How arrival is reported to the participant, and by it.
    pub(crate) feedback: Option<Format>,
}

/// What the random numbers of a session are used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub(crate) session_id: u64,
    pub(crate) first_ssrc: u32,
}

/// Answers an offer.
pub(crate) fn agree(
    config: &Config,
    text: &str,
    local: LocalDescription,
    draw: Draw,
    publish: bool,
    subscribe: bool,
) -> Result<Agreement, SdpError> {
    let offer = Description::parse(text)?;
    let none = Counts { audio: 0, video: 0 };
    let slots = Counts { audio: config.audio_slots, video: config.video_slots };
    let all = Capabilities::default();
    let can = Capabilities {
        send: if subscribe { slots } else { none },
        receive: if publish { all.receive } else { none },
        audio_red: true,
        audio_rlc: true,
        ..all
    };
    let local = Local {
        // The o= line holds 63 bits (RFC 8829 §5.2.1).
        session_id: draw.session_id >> 1,
        ufrag: local.ufrag,
        pwd: local.pwd,
        fingerprint: sdp::Fingerprint(local.fingerprint.0),
        lite: true,
        candidates: config.public_addrs.clone(),
        end_of_candidates: true,
        cname: "undertone".into(),
        first_ssrc: draw.first_ssrc,
    };
    let answer = sdp::answer(&offer, &local, &can)?;
    let transport = sdp::remote_transport(&answer, &offer)?;
    let lines = sdp::lines(&answer, &offer)?;
    let codec = |mid: &str, payload_type: u8, kind: Kind| {
        let codecs = answer.media.iter().filter(|media| media.mid == mid).flat_map(|media| &media.codecs);
        let name = codecs.into_iter().find(|codec| codec.payload_type == payload_type);
        name.map_or(Codec::Opaque, |codec| Codec::from_name(&codec.name, kind))
    };
    let tracks = lines.iter().filter_map(|line| track(line, codec)).collect();
    let slots = lines.iter().filter_map(|line| slot(line, codec)).collect();
    let mut extensions = ExtensionMap::default();
    for receive in lines.iter().filter_map(|line| line.receive.as_ref()) {
        add_extensions(&mut extensions, &receive.extensions);
    }
    let feedback = if lines.iter().any(|line| line.ccfb) {
        Some(Format::Ccfb)
    } else if lines.iter().any(|line| line.transport_cc) {
        Some(Format::Twcc)
    } else {
        None
    };
    Ok(Agreement {
        answer: answer.to_string(),
        remote: Remote {
            ufrag: transport.ufrag,
            pwd: transport.pwd,
            fingerprint: dtls::Fingerprint(transport.fingerprint.0),
            dtls_active: transport.dtls_active,
            candidates: transport.candidates,
            lite: transport.lite,
        },
        tracks,
        slots,
        extensions,
        feedback,
    })
}

fn track(line: &Line, codec: impl Fn(&str, u8, Kind) -> Codec) -> Option<TrackConfig> {
    let receive = line.receive.as_ref()?;
    let &(payload_type, rtx_payload_type) = receive.payload_types.first()?;
    Some(TrackConfig {
        mid: Mid::new(line.mid.as_bytes()),
        ssrc: receive.ssrc,
        rtx_ssrc: receive.rtx_ssrc,
        payload_types: receive.payload_types.clone(),
        source: SourceConfig {
            kind: line.kind,
            codec: codec(&line.mid, payload_type, line.kind),
            ssrc: receive.ssrc.unwrap_or_default(),
            payload_type,
            rtx_payload_type,
            red_payload_type: receive.red_payload_type,
            rlc_payload_type: receive.rlc_payload_type,
            clock_rate: receive.clock_rate,
            nack: line.nack,
        },
        pli: line.pli,
    })
}

fn slot(line: &Line, codec: impl Fn(&str, u8, Kind) -> Codec) -> Option<SlotConfig> {
    let send = line.send.as_ref()?;
    let mut extensions = ExtensionMap::default();
    add_extensions(&mut extensions, &send.extensions);
    Some(SlotConfig {
        mid: line.mid.clone(),
        kind: line.kind,
        codec: codec(&line.mid, send.payload_type, line.kind),
        payload_type: send.payload_type,
        clock_rate: send.clock_rate,
        ssrc: send.ssrc,
        rtx: send.rtx_ssrc.zip(send.rtx_payload_type),
        red: send.red_payload_type,
        rlc: send.rlc_payload_type,
        nack: line.nack,
        extensions,
    })
}

fn add_extensions(map: &mut ExtensionMap, ids: &ExtensionIds) {
    // One number means one thing on all bundled lines (RFC 8843 §8), so a union is exact.
    for (id, uri) in ids.named() {
        if let Some(known) = Extension::from_uri(uri) {
            map.set(id, known);
        }
    }
}

/// Every extension that signalling names is one that transport reads.
#[cfg(test)]
mod tests {
    use undertone_signaling::sdp::extension;
    use undertone_transport::rtp::Extension;

    #[test]
    fn signalling_and_transport_mean_the_same_extensions() {
        for (uri, known) in [
            (extension::MID, Extension::Mid),
            (extension::RID, Extension::Rid),
            (extension::AUDIO_LEVEL, Extension::AudioLevel),
            (extension::ABS_SEND_TIME, Extension::AbsSendTime),
            (extension::TRANSPORT_CC, Extension::TransportCc),
            (extension::ABS_CAPTURE_TIME, Extension::CaptureTime),
            (extension::DEPENDENCY_DESCRIPTOR, Extension::Dependency),
        ] {
            assert_eq!(Extension::from_uri(uri), Some(known));
        }
    }
}
