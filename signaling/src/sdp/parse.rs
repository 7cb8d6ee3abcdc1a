//! Text to [`Description`]: total, whatever the bytes.
//!
//! sdp-types takes the text apart into lines and attributes; the meaning of the attributes is given here.
//! Lists are cut at a length that no real peer reaches, so that a hostile text costs little time.

use super::{
    Codec, Description, Direction, Extension, Feedback, Fingerprint, MAX_BYTES, MAX_LINES, Media, MediaKind,
    Msid, SdpError, Setup, Source, SsrcGroup, Transport,
};
use sdp_types::Attribute;
use std::net::{IpAddr, SocketAddr};
use undertone_media::Ssrc;

/// The most sources, groups, candidates, or feedback kinds of one codec, that are kept.
const MAX_ITEMS: usize = 64;

/// The longest mid: what a one-byte header extension can carry (RFC 8285 §4.2).
const MAX_MID: usize = 16;

impl Description {
    /// Reads a description. Attributes that we do not use are dropped.
    pub fn parse(text: &str) -> Result<Description, SdpError> {
        if text.len() > MAX_BYTES {
            return Err(SdpError::TooLong);
        }
        let session = sdp_types::Session::parse(text.as_bytes())
            .map_err(|error| SdpError::Malformed(error.to_string()))?;
        if session.medias.len() > MAX_LINES {
            return Err(SdpError::TooLong);
        }
        let general = Attributes(&session.attributes);
        let mut media: Vec<Media> = Vec::with_capacity(session.medias.len());
        for (at, line) in session.medias.iter().enumerate() {
            let parsed = parse_media(at, line, general)?;
            if !parsed.mid.is_empty() && media.iter().any(|other| other.mid == parsed.mid) {
                return Err(SdpError::Mid(at));
            }
            media.push(parsed);
        }
        let bundle: Vec<String> = general
            .values("group")
            .find_map(|group| group.strip_prefix("BUNDLE"))
            .map(|mids| mids.split_ascii_whitespace().take(MAX_LINES).map(String::from).collect())
            .unwrap_or_default();
        // RFC 8843 §7.2: the first line of the group that is in use speaks for all, since the others'
        // candidates lead to ports that bundling gives up.
        let in_use = || media.iter().zip(&session.medias).filter(|(line, _)| !line.rejected);
        let speaker = bundle
            .iter()
            .find_map(|mid| in_use().find(|(line, _)| line.mid == *mid))
            .or_else(|| in_use().next());
        let transport = match speaker {
            Some((_, raw)) => Some(parse_transport(Attributes(&raw.attributes), general)?),
            None => None,
        };
        let extmap_allow_mixed = general.has("extmap-allow-mixed")
            || (speaker.is_some()
                && in_use().all(|(_, raw)| Attributes(&raw.attributes).has("extmap-allow-mixed")));
        let trickles = |attributes: Attributes<'_>| {
            attributes
                .values("ice-options")
                .any(|options| options.split_ascii_whitespace().any(|option| option == "trickle"))
        };
        Ok(Description {
            session_id: session.origin.sess_id.parse().unwrap_or(0),
            version: session.origin.sess_version,
            lite: general.has("ice-lite"),
            trickle: trickles(general)
                || speaker.is_some_and(|(_, raw)| trickles(Attributes(&raw.attributes))),
            extmap_allow_mixed,
            transport,
            bundle,
            media,
        })
    }
}

/// The address of a candidate line, with or without `a=` and `candidate:`, as browsers trickle them; `None`
/// if it is not one that we can use (TCP, RTCP's own, an mDNS name).
pub fn candidate(text: &str) -> Option<SocketAddr> {
    let text = text.trim_ascii();
    let text = text.strip_prefix("a=").unwrap_or(text);
    let text = text.strip_prefix("candidate:").unwrap_or(text);
    ranked_candidate(text).map(|(_, address)| address)
}

/// Priority and address of a candidate attribute's value (RFC 8839 §5.1).
fn ranked_candidate(value: &str) -> Option<(u32, SocketAddr)> {
    let mut fields = value.split_ascii_whitespace();
    let (_foundation, component, transport) = (fields.next()?, fields.next()?, fields.next()?);
    let (priority, address, port) = (fields.next()?, fields.next()?, fields.next()?);
    if component != "1" || !transport.eq_ignore_ascii_case("udp") || fields.next()? != "typ" {
        return None;
    }
    let (address, port): (IpAddr, u16) = (address.parse().ok()?, port.parse().ok()?);
    if port == 0 || address.is_unspecified() || address.is_multicast() {
        return None;
    }
    Some((priority.parse().ok()?, SocketAddr::new(address, port)))
}

/// The attributes of the session or of a line.
#[derive(Clone, Copy)]
struct Attributes<'a>(&'a [Attribute]);

impl<'a> Attributes<'a> {
    fn has(self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.attribute == name)
    }

    fn values(self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |attribute| attribute.attribute == name)
            .map(|attribute| attribute.value.as_deref().unwrap_or_default().trim_ascii())
    }

    /// Values that begin with a payload type: the type, and the rest.
    fn by_payload_type(self, name: &'static str) -> impl Iterator<Item = (u8, &'a str)> {
        self.values(name).filter_map(|value| {
            let (number, rest) = value.split_once(' ')?;
            Some((number.parse().ok()?, rest.trim_ascii()))
        })
    }

    fn direction(self) -> Option<Direction> {
        self.0.iter().find_map(|attribute| parse_direction(&attribute.attribute))
    }
}

fn parse_direction(text: &str) -> Option<Direction> {
    match text {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn parse_transport(line: Attributes<'_>, general: Attributes<'_>) -> Result<Transport, SdpError> {
    let value = |name| line.values(name).next().or_else(|| general.values(name).next());
    let (Some(ufrag), Some(pwd)) = (value("ice-ufrag"), value("ice-pwd")) else {
        return Err(SdpError::NoIce);
    };
    // RFC 8839 §5.4 wants ice-chars; some peers use more of ASCII, which does no harm.
    let sound = |text: &str, least| {
        (least..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
    };
    if !sound(ufrag, 4) || !sound(pwd, 22) {
        return Err(SdpError::NoIce);
    }
    let fingerprint = line
        .values("fingerprint")
        .chain(general.values("fingerprint"))
        .find_map(|value| {
            let (hash, hex) = value.split_once(' ')?;
            hash.eq_ignore_ascii_case("sha-256").then_some(hex)
        })
        .ok_or(SdpError::NoFingerprint)?;
    let setup = match value("setup") {
        None | Some("actpass") => Setup::ActPass,
        Some("active") => Setup::Active,
        Some("passive") => Setup::Passive,
        Some(other) => return Err(SdpError::Attribute("setup", other.into())),
    };
    let mut ranked: Vec<(u32, SocketAddr)> = line
        .values("candidate")
        .chain(general.values("candidate"))
        .filter_map(ranked_candidate)
        .take(MAX_ITEMS)
        .collect();
    ranked.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let mut candidates: Vec<SocketAddr> = Vec::with_capacity(ranked.len());
    for (_, address) in ranked {
        if !candidates.contains(&address) {
            candidates.push(address);
        }
    }
    Ok(Transport {
        ufrag: ufrag.into(),
        pwd: pwd.into(),
        fingerprint: parse_fingerprint(fingerprint)
            .ok_or_else(|| SdpError::Attribute("fingerprint", fingerprint.into()))?,
        setup,
        candidates,
        end_of_candidates: line.has("end-of-candidates") || general.has("end-of-candidates"),
    })
}

fn parse_fingerprint(hex: &str) -> Option<Fingerprint> {
    let mut hash = [0; 32];
    let mut pairs = hex.trim_ascii().split(':');
    for byte in &mut hash {
        let pair = pairs.next().filter(|pair| pair.len() == 2 && !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(Fingerprint(hash))
}

fn parse_media(at: usize, line: &sdp_types::Media, general: Attributes<'_>) -> Result<Media, SdpError> {
    let attributes = Attributes(&line.attributes);
    let kind = match line.media.as_str() {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        other => MediaKind::Other(other.into(), line.fmt.clone()),
    };
    let mid = attributes
        .values("mid")
        .next()
        .filter(|mid| mid.len() <= MAX_MID && !mid.contains(|c: char| c.is_ascii_whitespace()))
        .unwrap_or_default();
    // RFC 8843 §6: port 0 with bundle-only asks for the group's port rather than none.
    let rejected = line.port == 0 && !attributes.has("bundle-only");
    let empty = Media::rejected(mid, kind, &line.proto);
    if rejected {
        return Ok(empty);
    }
    if mid.is_empty() {
        return Err(SdpError::Mid(at));
    }
    if empty.kind.media().is_none() {
        return Ok(Media { rejected, ..empty });
    }
    if !line.proto.contains("SAVP") {
        return Err(SdpError::NotEncrypted(mid.into(), line.proto.clone()));
    }
    let mut msid = attributes.values("msid").next().and_then(parse_msid);
    let mut ssrcs: Vec<Source> = Vec::new();
    for value in attributes.values("ssrc") {
        let (number, about) = value.split_once(' ').unwrap_or((value, ""));
        let Ok(ssrc) = number.parse().map(Ssrc) else { continue };
        let (name, text) = about.trim_ascii().split_once(':').unwrap_or((about, ""));
        if name == "msid" && msid.is_none() {
            msid = parse_msid(text);
        }
        let place = ssrcs.iter().position(|source| source.ssrc == ssrc).unwrap_or(ssrcs.len());
        if place == ssrcs.len() && place < MAX_ITEMS {
            ssrcs.push(Source { ssrc, cname: String::new() });
        }
        if let Some(source) = ssrcs.get_mut(place).filter(|_| name == "cname") {
            source.cname = text.trim_ascii().into();
        }
    }
    Ok(Media {
        rejected,
        direction: attributes.direction().or(general.direction()).unwrap_or(Direction::SendRecv),
        rtcp_mux: attributes.has("rtcp-mux"),
        rtcp_rsize: attributes.has("rtcp-rsize"),
        codecs: parse_codecs(&line.fmt, attributes),
        feedback: collect_feedback(attributes.values("rtcp-fb").filter_map(|value| value.strip_prefix("* "))),
        extensions: parse_extensions(attributes),
        ssrcs,
        ssrc_groups: attributes.values("ssrc-group").filter_map(parse_group).take(MAX_ITEMS).collect(),
        msid,
        max_ptime: attributes.values("maxptime").next().and_then(|value| value.parse().ok()),
        ..empty
    })
}

fn parse_msid(value: &str) -> Option<Msid> {
    let mut names = value.split_ascii_whitespace();
    let stream = names.next()?.into();
    Some(Msid { stream, track: names.next().unwrap_or_default().into() })
}

fn parse_group(value: &str) -> Option<SsrcGroup> {
    let mut fields = value.split_ascii_whitespace();
    let semantics = fields.next()?.into();
    let ssrcs = fields.take(MAX_ITEMS).map(|ssrc| ssrc.parse().map(Ssrc)).collect::<Result<_, _>>().ok()?;
    Some(SsrcGroup { semantics, ssrcs })
}

/// The formats of the m-line, in its order; one without `a=rtpmap` is of a static type, none of which we use.
fn parse_codecs(formats: &str, attributes: Attributes<'_>) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = Vec::new();
    for format in formats.split_ascii_whitespace() {
        let Some(payload_type) = format.parse::<u8>().ok().filter(|pt| *pt < 128) else { continue };
        if codecs.iter().any(|codec| codec.payload_type == payload_type) {
            continue;
        }
        let mine = move |(pt, rest)| (pt == payload_type).then_some(rest);
        let Some(map) = attributes.by_payload_type("rtpmap").find_map(mine) else { continue };
        let mut fields = map.split('/');
        let (name, clock_rate) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let Some(clock_rate) = clock_rate.parse().ok().filter(|rate| *rate > 0) else { continue };
        if name.is_empty() {
            continue;
        }
        codecs.push(Codec {
            payload_type,
            name: name.into(),
            clock_rate,
            channels: fields.next().and_then(|channels| channels.parse().ok()).unwrap_or(0),
            fmtp: attributes.by_payload_type("fmtp").find_map(mine).unwrap_or_default().into(),
            feedback: collect_feedback(attributes.by_payload_type("rtcp-fb").filter_map(mine)),
        });
    }
    codecs
}

fn collect_feedback<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Feedback> {
    let mut all = Vec::new();
    for value in values {
        let feedback = Feedback::parse(value);
        if all.len() < MAX_ITEMS && !all.contains(&feedback) {
            all.push(feedback);
        }
    }
    all
}

fn parse_extensions(attributes: Attributes<'_>) -> Vec<Extension> {
    let mut extensions: Vec<Extension> = Vec::new();
    for value in attributes.values("extmap") {
        let mut fields = value.split_ascii_whitespace();
        let (Some(number), Some(uri)) = (fields.next(), fields.next()) else { continue };
        let (number, direction) = number.split_once('/').unwrap_or((number, "sendrecv"));
        let (Ok(id), Some(direction)) = (number.parse(), parse_direction(direction)) else { continue };
        if id > 0 && !extensions.iter().any(|extension| extension.id == id) {
            extensions.push(Extension { id, uri: uri.into(), direction });
        }
    }
    extensions
}

impl Feedback {
    /// From the text after the payload type.
    fn parse(value: &str) -> Feedback {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["nack"] => Feedback::Nack,
            ["nack", "pli"] => Feedback::NackPli,
            ["ccm", "fir"] => Feedback::CcmFir,
            ["transport-cc"] => Feedback::TransportCc,
            ["ack", "ccfb"] => Feedback::AckCcfb,
            words => Feedback::Other(words.join(" ")),
        }
    }
}
