//! [`Description`] to text.
//!
//! Each line in use repeats the transport's attributes, as browsers write them; the candidates stand once,
//! on the first. sdp-types strips line breaks from every value, so that no name can smuggle in a line.

use super::{Description, Direction, Feedback, Media, MediaKind, Setup, Transport};
use sdp_types::{AddrType, Attribute, Connection, NetType, Origin, Session};
use std::fmt;

impl fmt::Display for Description {
    /// Lines end in CR LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = Origin::new(self.session_id, self.version, NetType::In, AddrType::Ip4, "0.0.0.0");
        let mut session = Session::new(origin, "-");
        session.attributes.extend(self.lite.then(|| flag("ice-lite")));
        if !self.bundle.is_empty() {
            session.attributes.push(valued("group", format!("BUNDLE {}", self.bundle.join(" "))));
        }
        session.attributes.extend(self.extmap_allow_mixed.then(|| flag("extmap-allow-mixed")));
        session.attributes.extend(self.trickle.then(|| valued("ice-options", "trickle")));
        let speaker = self.speaker();
        for (at, media) in self.media.iter().enumerate() {
            session.medias.push(write_media(media, self.transport.as_ref(), speaker == Some(at)));
        }
        let mut bytes = Vec::new();
        session.write(&mut bytes).map_err(|_| fmt::Error)?;
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

impl Description {
    /// The line that speaks for the bundle: the first of the group that is in use (RFC 8843 §7.2).
    fn speaker(&self) -> Option<usize> {
        let in_use =
            |wanted: &dyn Fn(&Media) -> bool| self.media.iter().position(|m| !m.rejected && wanted(m));
        self.bundle.iter().find_map(|mid| in_use(&|m| m.mid == *mid)).or_else(|| in_use(&|_| true))
    }
}

fn flag(name: &str) -> Attribute {
    Attribute::new(name)
}

fn valued(name: &str, value: impl ToString) -> Attribute {
    Attribute::with_value(name, value)
}

fn write_media(media: &Media, transport: Option<&Transport>, speaks: bool) -> sdp_types::Media {
    let formats: Vec<String> = media.codecs.iter().map(|codec| codec.payload_type.to_string()).collect();
    let (kind, formats) = match &media.kind {
        MediaKind::Audio => ("audio", formats.join(" ")),
        MediaKind::Video => ("video", formats.join(" ")),
        MediaKind::Other(kind, formats) => (kind.as_str(), formats.clone()),
    };
    let mut attributes = Vec::new();
    if !media.mid.is_empty() {
        attributes.push(valued("mid", &media.mid));
    }
    if !media.rejected {
        if let Some(transport) = transport {
            write_transport(transport, speaks, &mut attributes);
        }
        write_attributes(media, &mut attributes);
    }
    sdp_types::Media {
        media: kind.into(),
        // The real port travels in the candidates (RFC 8840 §4.1.1).
        port: if media.rejected { 0 } else { 9 },
        num_ports: None,
        proto: media.protocol.clone(),
        fmt: if formats.is_empty() { "0".into() } else { formats },
        media_title: None,
        connections: vec![Connection::new(NetType::In, AddrType::Ip4, "0.0.0.0")],
        bandwidths: Vec::new(),
        key: None,
        attributes,
    }
}

fn write_transport(transport: &Transport, speaks: bool, attributes: &mut Vec<Attribute>) {
    attributes.push(valued("ice-ufrag", &transport.ufrag));
    attributes.push(valued("ice-pwd", &transport.pwd));
    attributes.push(valued("fingerprint", format!("sha-256 {}", transport.fingerprint)));
    attributes.push(valued("setup", transport.setup.as_str()));
    if !speaks {
        return;
    }
    for (at, address) in transport.candidates.iter().enumerate() {
        // RFC 8445 §5.1.2.1: type preference of a host candidate, then ours, then component 1.
        let priority = (126u32 << 24) | ((0xffff - at as u32 % 0xffff) << 8) | 255;
        let (ip, port) = (address.ip(), address.port());
        attributes.push(valued("candidate", format!("{} 1 udp {priority} {ip} {port} typ host", at + 1)));
    }
    attributes.extend(transport.end_of_candidates.then(|| flag("end-of-candidates")));
}

fn write_attributes(media: &Media, attributes: &mut Vec<Attribute>) {
    for extension in &media.extensions {
        let number = match extension.direction {
            Direction::SendRecv => extension.id.to_string(),
            direction => format!("{}/{}", extension.id, direction.as_str()),
        };
        attributes.push(valued("extmap", format!("{number} {}", extension.uri)));
    }
    if media.kind.media().is_none() {
        return;
    }
    attributes.push(flag(media.direction.as_str()));
    if let Some(msid) = &media.msid {
        attributes.push(valued("msid", format!("{} {}", msid.stream, msid.track).trim_ascii_end()));
    }
    attributes.extend(media.rtcp_mux.then(|| flag("rtcp-mux")));
    attributes.extend(media.rtcp_rsize.then(|| flag("rtcp-rsize")));
    for codec in &media.codecs {
        let pt = codec.payload_type;
        let channels = if codec.channels == 0 { String::new() } else { format!("/{}", codec.channels) };
        attributes.push(valued("rtpmap", format!("{pt} {}/{}{channels}", codec.name, codec.clock_rate)));
        attributes.extend(codec.feedback.iter().map(|fb| valued("rtcp-fb", format!("{pt} {}", fb.as_str()))));
        if !codec.fmtp.is_empty() {
            attributes.push(valued("fmtp", format!("{pt} {}", codec.fmtp)));
        }
    }
    attributes.extend(media.feedback.iter().map(|fb| valued("rtcp-fb", format!("* {}", fb.as_str()))));
    attributes.extend(media.max_ptime.map(|ms| valued("maxptime", ms)));
    for group in &media.ssrc_groups {
        let ssrcs: String = group.ssrcs.iter().map(|ssrc| format!(" {}", ssrc.0)).collect();
        attributes.push(valued("ssrc-group", format!("{}{ssrcs}", group.semantics)));
    }
    for source in &media.ssrcs {
        attributes.push(valued("ssrc", format!("{} cname:{}", source.ssrc.0, source.cname)));
    }
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

impl Setup {
    fn as_str(self) -> &'static str {
        match self {
            Setup::ActPass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
        }
    }
}

impl Feedback {
    fn as_str(&self) -> &str {
        match self {
            Feedback::Nack => "nack",
            Feedback::NackPli => "nack pli",
            Feedback::CcmFir => "ccm fir",
            Feedback::TransportCc => "transport-cc",
            Feedback::AckCcfb => "ack ccfb",
            Feedback::Other(text) => text,
        }
    }
}
