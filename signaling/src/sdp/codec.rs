//! Questions asked of payload formats: which are ours, and which belongs to which.

use super::{Codec, Direction, Media, MediaKind};
use undertone_media::Kind;

impl Codec {
    /// A format parameter's value. Names are compared without case (RFC 4855 §4).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim_ascii().eq_ignore_ascii_case(name).then_some(value.trim_ascii())
        })
    }

    /// Opus (RFC 7587 §7: always 48 000 and 2, whatever it carries).
    pub(super) fn is_opus(&self) -> bool {
        self.name.eq_ignore_ascii_case("opus") && self.clock_rate == 48_000 && self.channels == 2
    }

    /// The payload type whose retransmissions this format carries (RFC 4588 §8.1); `None` for media.
    pub fn apt(&self) -> Option<u8> {
        if !self.name.eq_ignore_ascii_case("rtx") {
            return None;
        }
        self.parameter("apt")?.parse().ok()
    }

    /// Carries packets of other formats together (RFC 2198); no format of its own.
    pub(super) fn is_red(&self) -> bool {
        self.name.eq_ignore_ascii_case("red")
    }

    /// Packets of another format with repair symbols, our own format; none by itself.
    pub(super) fn is_rlc(&self) -> bool {
        self.name.eq_ignore_ascii_case("rlc")
    }

    /// The profile, if the format is H.264 as we speak it: packetization-mode 1, one of the baseline profiles
    /// (RFC 6184 §8.1; a format that names neither means mode 0, profile and level 42000a).
    pub(super) fn h264_profile(&self) -> Option<H264Profile> {
        if !self.name.eq_ignore_ascii_case("H264") || self.clock_rate != 90_000 {
            return None;
        }
        if self.parameter("packetization-mode") != Some("1") {
            return None;
        }
        let id = self.parameter("profile-level-id").unwrap_or("42000a");
        if id.len() != 6 {
            return None;
        }
        let [_, idc, iop, level] = u32::from_str_radix(id, 16).ok()?.to_be_bytes();
        (idc == 0x42).then_some(H264Profile { idc, iop, level })
    }

    /// The same format on the other side.
    pub(super) fn matches(&self, other: &Codec) -> bool {
        self.payload_type == other.payload_type
            && self.name.eq_ignore_ascii_case(&other.name)
            && self.clock_rate == other.clock_rate
    }
}

/// H.264's profile-level-id, taken apart.
#[derive(Clone, Copy)]
pub(super) struct H264Profile {
    pub(super) idc: u8,
    pub(super) iop: u8,
    pub(super) level: u8,
}

impl H264Profile {
    /// Constrained baseline: the baseline profile without the parts that nobody implements.
    pub(super) fn constrained(self) -> bool {
        self.iop & 0x40 != 0
    }
}

impl Media {
    /// The format of a payload type's retransmissions.
    pub(super) fn rtx_of(&self, payload_type: u8) -> Option<&Codec> {
        self.codecs.iter().find(|codec| codec.apt() == Some(payload_type))
    }

    /// The format that carries a payload type's packets and copies of it alone (RFC 2198 §5; without
    /// parameters it could be anything).
    pub(super) fn red_of(&self, payload_type: u8) -> Option<&Codec> {
        let carries = |codec: &&Codec| {
            let mut types = codec.fmtp.split('/');
            codec.is_red() && types.all(|it| it.trim_ascii().parse() == Ok(payload_type))
        };
        self.codecs.iter().find(carries)
    }

    /// The format that carries a payload type's packets with repair symbols.
    pub(super) fn rlc_of(&self, payload_type: u8) -> Option<&Codec> {
        let apt = |codec: &Codec| codec.parameter("apt")?.parse().ok();
        self.codecs.iter().find(|codec| codec.is_rlc() && apt(codec) == Some(payload_type))
    }

    /// Every stream that the line names.
    pub(super) fn all_ssrcs(&self) -> impl Iterator<Item = u32> {
        let grouped = self.ssrc_groups.iter().flat_map(|group| &group.ssrcs);
        self.ssrcs.iter().map(|source| &source.ssrc).chain(grouped).map(|ssrc| ssrc.0)
    }

    /// A line that is refused; also what every other line starts from.
    pub(super) fn rejected(mid: &str, kind: MediaKind, protocol: &str) -> Media {
        Media {
            mid: mid.into(),
            kind,
            protocol: protocol.into(),
            rejected: true,
            direction: Direction::Inactive,
            rtcp_mux: false,
            rtcp_rsize: false,
            codecs: Vec::new(),
            feedback: Vec::new(),
            extensions: Vec::new(),
            ssrcs: Vec::new(),
            ssrc_groups: Vec::new(),
            msid: None,
            max_ptime: None,
        }
    }
}

impl MediaKind {
    /// The engine's own noun; `None` for what we do not carry.
    pub fn media(&self) -> Option<Kind> {
        match self {
            MediaKind::Audio => Some(Kind::Audio),
            MediaKind::Video => Some(Kind::Video),
            MediaKind::Other(..) => None,
        }
    }
}

impl From<Kind> for MediaKind {
    fn from(kind: Kind) -> MediaKind {
        match kind {
            Kind::Audio => MediaKind::Audio,
            Kind::Video => MediaKind::Video,
        }
    }
}
