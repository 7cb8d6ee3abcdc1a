//! The RTP header (RFC 3550 §5.1) and its extensions (RFC 8285), read and written.
//!
//! Why: every forwarded packet passes here twice, so it is our own, allocates nothing and copies little;
//! the `rtp` crate is its oracle in the tests. Reading is total: bytes that are no RTP header are `None`,
//! an extension of a wrong length is absent, and an unknown one is skipped.
//!
//! Not here: what a payload holds (`payload`), unwrapping of numbers (`stream`).

use std::fmt;
use std::ops::Range;
use undertone_media::Ssrc;

/// Bytes of a header without extensions.
pub const FIXED_LEN: usize = 12;

/// RFC 8285 §4.2: every element is an id and a length in one byte.
const ONE_BYTE: u16 = 0xbede;
/// RFC 8285 §4.3: two bytes; the low four bits are free for the application.
const TWO_BYTE: u16 = 0x1000;

/// At most `N` bytes, held in place, so that a header is copied without allocating.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inline<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Inline<N> {
    /// A copy of `bytes`; `None` if they do not fit.
    pub fn new(bytes: &[u8]) -> Option<Inline<N>> {
        let mut inline = Inline { bytes: [0; N], len: u8::try_from(bytes.len()).ok()? };
        inline.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(inline)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The stream identifiers `mid` (RFC 9143) and `rid` (RFC 8852): at most 16 bytes here, since a longer
/// one would not fit a one-byte extension element.
pub type Mid = Inline<16>;

/// A dependency descriptor as it travels; `payload::dd` reads it. The largest that Chromium sends (three
/// spatial by three temporal layers, with the structure) fits.
pub type Descriptor = Inline<127>;

impl<const N: usize> Default for Inline<N> {
    fn default() -> Inline<N> {
        Inline { bytes: [0; N], len: 0 }
    }
}

impl Mid {
    /// The identifier as text; `None` if it is no UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }
}

impl<const N: usize> fmt::Debug for Inline<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.as_bytes()) {
            Ok(text) if text.bytes().all(|b| b.is_ascii_graphic()) => write!(f, "{text:?}"),
            _ => write!(f, "{:02x?}", self.as_bytes()),
        }
    }
}

/// The header extensions that this crate understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Extension {
    /// Which m-line a packet belongs to.
    Mid,
    /// Which simulcast layer.
    Rid,
    /// How loud it is (RFC 6464).
    AudioLevel,
    /// When it was sent, 6.18 fixed-point seconds.
    AbsSendTime,
    /// Its number among all packets of the transport, for `feedback`.
    TransportCc,
    /// When its content was captured, NTP 32.32.
    CaptureTime,
    /// What frame it carries and which layers that needs (`payload::dd`).
    Dependency,
}

impl Extension {
    /// All of them.
    pub const ALL: [Extension; 7] = [
        Extension::Mid,
        Extension::Rid,
        Extension::AudioLevel,
        Extension::AbsSendTime,
        Extension::TransportCc,
        Extension::CaptureTime,
        Extension::Dependency,
    ];

    /// The name under which SDP negotiates it (RFC 8285 §5).
    pub const fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Extension::CaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Extension::Dependency => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// The extension of that name, if it is one of ours.
    pub fn from_uri(uri: &str) -> Option<Extension> {
        Extension::ALL.into_iter().find(|extension| extension.uri() == uri)
    }
}

/// Which number stands for which extension on one transport, as SDP negotiated it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap {
    /// The id of each extension; 0 is none.
    ids: [u8; Extension::ALL.len()],
    /// The extension of each id that fits the one-byte form, for the fast path.
    by_id: [Option<Extension>; 15],
}

impl ExtensionMap {
    /// A map of the given pairs.
    pub fn new(pairs: &[(u8, Extension)]) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        for &(id, extension) in pairs {
            map.set(id, extension);
        }
        map
    }

    /// Uses `id` for `extension`. Ids are 1 to 14 (one-byte form) or up to 255 (two-byte form); 0 and 15
    /// mean nothing and remove it (RFC 8285 §4.2).
    pub fn set(&mut self, id: u8, extension: Extension) {
        for slot in &mut self.by_id {
            if *slot == Some(extension) {
                *slot = None;
            }
        }
        let id = if id == 15 { 0 } else { id };
        self.ids[extension as usize] = id;
        if (1..=14).contains(&id) {
            self.by_id[usize::from(id)] = Some(extension);
        }
    }

    /// The id of an extension, if it was negotiated.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        Some(self.ids[extension as usize]).filter(|&id| id != 0)
    }

    /// The extension of an id.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        match self.by_id.get(usize::from(id)) {
            Some(found) => *found,
            None => Extension::ALL.into_iter().find(|&extension| self.id(extension) == Some(id)),
        }
    }
}

/// How loud a packet's audio is (RFC 6464 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender heard speech in it.
    pub voice: bool,
    /// In −dBov: 0 is loudest, 127 is silence.
    pub level: u8,
}

/// The values of the header extensions of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// See [`Extension::Mid`].
    pub mid: Option<Mid>,
    /// See [`Extension::Rid`].
    pub rid: Option<Mid>,
    /// See [`Extension::AudioLevel`].
    pub audio_level: Option<AudioLevel>,
    /// 24 bits: see [`Extension::AbsSendTime`].
    pub abs_send_time: Option<u32>,
    /// See [`Extension::TransportCc`].
    pub twcc: Option<u16>,
    /// See [`Extension::CaptureTime`]; the sender's clock offset, if one came along, is dropped.
    pub capture_time: Option<u64>,
    /// See [`Extension::Dependency`].
    pub dd: Option<Descriptor>,
}

/// An RTP header. Contributing sources are skipped, and never written: nothing here mixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Names the codec, 0–127.
    pub payload_type: u8,
    /// The start of a talk spurt, or the end of a picture.
    pub marker: bool,
    /// Sequence number as it travels.
    pub seq: u16,
    /// Media time as it travels.
    pub timestamp: u32,
    /// Which stream.
    pub ssrc: Ssrc,
    /// The extensions.
    pub ext: Extensions,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

impl Header {
    /// Reads a packet: its header, and where its payload lies (without padding; it may be empty).
    pub fn parse(packet: &[u8], map: &ExtensionMap) -> Option<(Header, Range<usize>)> {
        let fixed: &[u8; FIXED_LEN] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut header = Header {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            seq: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: Ssrc(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
            ext: Extensions::default(),
        };
        let mut start = FIXED_LEN + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            let profile = u16_at(packet, start)?;
            let len = 4 * usize::from(u16_at(packet, start + 2)?);
            let elements = packet.get(start + 4..start + 4 + len)?;
            header.ext.read(profile, elements, map);
            start += 4 + len;
        }
        let mut end = packet.len();
        if fixed[0] & 0x20 != 0 {
            // RFC 3550 §5.1: the last byte counts the padding, itself included.
            let padding = usize::from(*packet.last()?);
            if padding == 0 {
                return None;
            }
            end = end.checked_sub(padding)?;
        }
        (start <= end).then_some((header, start..end))
    }

    /// Appends the header as it travels; the payload follows it. Extensions that were not negotiated are
    /// left out.
    pub fn write(&self, map: &ExtensionMap, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(0x80);
        out.push(self.payload_type & 0x7f | u8::from(self.marker) << 7);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.0.to_be_bytes());
        if self.ext.write(map, out) {
            out[start] |= 0x10;
        }
    }
}

/// Appends `bytes` of padding to a packet of a header alone; none of it reaches whoever reads the payload.
///
/// RFC 3550 §5.1: "The last octet of the padding contains a count of how many padding octets should be ignored, including
/// itself."
pub fn pad(packet: &mut Vec<u8>, bytes: u8) {
    if let Some(first) = packet.first_mut().filter(|_| bytes > 0) {
        *first |= 0x20;
        packet.resize(packet.len() + usize::from(bytes) - 1, 0);
        packet.push(bytes);
    }
}

impl Extensions {
    fn read(&mut self, profile: u16, mut elements: &[u8], map: &ExtensionMap) {
        let one_byte = match profile {
            ONE_BYTE => true,
            profile if profile & 0xfff0 == TWO_BYTE => false,
            _ => return,
        };
        while let Some((&first, rest)) = elements.split_first() {
            if first == 0 {
                elements = rest;
                continue;
            }
            let (id, len, rest) = if one_byte {
                if first >> 4 == 15 {
                    return; // RFC 8285 §4.2: stop at id 15
                }
                (first >> 4, usize::from(first & 0x0f) + 1, rest)
            } else {
                let Some((&len, rest)) = rest.split_first() else { return };
                (first, usize::from(len), rest)
            };
            let Some((value, rest)) = rest.split_at_checked(len) else { return };
            if let Some(extension) = map.extension(id) {
                self.read_one(extension, value);
            }
            elements = rest;
        }
    }

    fn read_one(&mut self, extension: Extension, value: &[u8]) {
        match (extension, value) {
            (Extension::Mid, value) => self.mid = Inline::new(value),
            (Extension::Rid, value) => self.rid = Inline::new(value),
            (Extension::AudioLevel, &[b, ..]) => {
                self.audio_level = Some(AudioLevel { voice: b & 0x80 != 0, level: b & 0x7f });
            }
            (Extension::AbsSendTime, &[a, b, c]) => {
                self.abs_send_time = Some(u32::from_be_bytes([0, a, b, c]));
            }
            (Extension::TransportCc, &[a, b, ..]) => self.twcc = Some(u16::from_be_bytes([a, b])),
            (Extension::CaptureTime, value) => {
                self.capture_time = value.first_chunk().map(|ntp| u64::from_be_bytes(*ntp));
            }
            (Extension::Dependency, value) => self.dd = Inline::new(value),
            _ => {}
        }
    }

    /// Appends the extension block; false if there is nothing to write.
    fn write(&self, map: &ExtensionMap, out: &mut Vec<u8>) -> bool {
        let level = self.audio_level.map(|a| [u8::from(a.voice) << 7 | a.level & 0x7f]);
        let send_time = self.abs_send_time.map(u32::to_be_bytes);
        let twcc = self.twcc.map(u16::to_be_bytes);
        let capture = self.capture_time.map(u64::to_be_bytes);
        let values: [(Extension, Option<&[u8]>); 7] = [
            (Extension::Mid, self.mid.as_ref().map(Inline::as_bytes)),
            (Extension::Rid, self.rid.as_ref().map(Inline::as_bytes)),
            (Extension::AudioLevel, level.as_ref().map(|v| &v[..])),
            (Extension::AbsSendTime, send_time.as_ref().map(|v| &v[1..])),
            (Extension::TransportCc, twcc.as_ref().map(|v| &v[..])),
            (Extension::CaptureTime, capture.as_ref().map(|v| &v[..])),
            (Extension::Dependency, self.dd.as_ref().map(Inline::as_bytes)),
        ];
        let present = || values.iter().filter_map(|&(extension, value)| Some((map.id(extension)?, value?)));
        if present().next().is_none() {
            return false;
        }
        // The one-byte form wherever it can say it (RFC 8285 §4.2): a byte less for each.
        let one_byte = present().all(|(id, value)| id <= 14 && (1..=16).contains(&value.len()));
        out.extend_from_slice(&(if one_byte { ONE_BYTE } else { TWO_BYTE }).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        let start = out.len();
        for (id, value) in present() {
            if one_byte {
                out.push(id << 4 | (value.len() as u8 - 1));
            } else {
                out.extend_from_slice(&[id, value.len() as u8]);
            }
            out.extend_from_slice(value);
        }
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
        let words = ((out.len() - start) / 4) as u16;
        out[start - 2..start].copy_from_slice(&words.to_be_bytes());
        true
    }
}
