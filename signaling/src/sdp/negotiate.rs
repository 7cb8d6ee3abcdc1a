//! Who offers what, and what is taken of it. Pure functions: same input, same description.

use super::{
    Codec, Description, Direction, Extension, Feedback, Fingerprint, Media, MediaKind, Msid, SdpError, Setup,
    Source, SsrcGroup, Transport, extension,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use undertone_media::{Kind, Ssrc};

/// Payload types of our own offers.
const OPUS: u8 = 111;
const OPUS_RTX: u8 = 112;
const OPUS_RED: u8 = 63;
const OPUS_RLC: u8 = 113;
const H264: u8 = 102;
const H264_RTX: u8 = 103;

/// The highest H.264 level that we receive: 3.1, which is 720p at 30 pictures a second (H.264 table A-1).
const LEVEL: u8 = 0x1f;

/// What one end says of itself, whatever the media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Names the session: any number below 2^63, different for each session.
    pub session_id: u64,
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Of our certificate.
    pub fingerprint: Fingerprint,
    /// We are ICE-lite: an SFU with a public address. Its streams are slots for different people, so that each
    /// is a MediaStream of its own; those of anyone else are one MediaStream, to be played in sync.
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

impl Counts {
    /// However many there are.
    pub const ALL: Counts = Counts { audio: usize::MAX, video: usize::MAX };

    /// Takes one of the kind, if there is one left.
    fn take(&mut self, kind: Kind) -> bool {
        let left = match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        };
        let any = *left > 0;
        *left = left.saturating_sub(1);
        any
    }
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
    /// Packets of sound that also carry those before them (RFC 2198), where the peer speaks them. Default false:
    /// only who decodes what comes, or takes it apart for others, can read them.
    pub audio_red: bool,
    /// Packets of sound that also carry repair symbols of a sliding-window code after RFC 8681, in a payload format
    /// of our own (`rlc`), where the peer speaks it. Others leave a format that they do not know out of their
    /// answer. Default false, as with `audio_red`.
    pub audio_rlc: bool,
    /// Congestion feedback by RFC 8888, which costs no header extension on each packet; taken before
    /// transport-wide feedback where both ends have it. Default true.
    pub ccfb: bool,
    /// URIs of header extensions. Default: all of [`super::extension`] but abs-send-time, which
    /// transport-wide feedback replaces, and rid, which only simulcast needs.
    pub extensions: Vec<&'static str>,
    /// Opus format parameters: what we like to receive (RFC 7587 §6.1). Default
    /// `minptime=10;useinbandfec=1`.
    pub opus: String,
    /// Longest audio packet that we like to receive, in milliseconds. Default 120, Opus' own limit.
    pub max_ptime: u32,
}

impl Default for Capabilities {
    fn default() -> Capabilities {
        Capabilities {
            send: Counts::ALL,
            receive: Counts::ALL,
            audio_rtx: true,
            audio_red: false,
            audio_rlc: false,
            ccfb: true,
            extensions: vec![
                extension::MID,
                extension::AUDIO_LEVEL,
                extension::TRANSPORT_CC,
                extension::ABS_CAPTURE_TIME,
                extension::DEPENDENCY_DESCRIPTOR,
            ],
            opus: "minptime=10;useinbandfec=1".into(),
            max_ptime: 120,
        }
    }
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
    let mut ssrcs = Ssrcs::new(local.first_ssrc, BTreeSet::new());
    let media: Vec<Media> = lines
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let codecs = match line.kind {
                Kind::Audio => audio_codecs(can),
                Kind::Video => video_codecs(),
            };
            let extensions = can.extensions.iter().zip(1..).filter(|(uri, _)| suits(uri, line.kind));
            let mut media = Media {
                rejected: false,
                direction: line.direction,
                rtcp_mux: true,
                rtcp_rsize: true,
                codecs,
                feedback: if can.ccfb { vec![Feedback::AckCcfb] } else { Vec::new() },
                extensions: extensions
                    .map(|(uri, id)| Extension { id, uri: (*uri).into(), direction: Direction::SendRecv })
                    .collect(),
                max_ptime: (line.kind == Kind::Audio).then_some(can.max_ptime),
                ..Media::rejected(&at.to_string(), line.kind.into(), "UDP/TLS/RTP/SAVPF")
            };
            announce_streams(&mut media, local, &mut ssrcs);
            media
        })
        .collect();
    describe(local, Setup::ActPass, true, media)
}

/// Answers an offer: takes what both ends can do, rejects the lines that have nothing for us, and fails only
/// if the offer is unusable as a whole.
pub fn answer(offer: &Description, local: &Local, can: &Capabilities) -> Result<Description, SdpError> {
    offer.check_shape()?;
    if offer.lite && local.lite {
        return Err(SdpError::BothLite);
    }
    let setup = match offer.transport.as_ref().map(|transport| transport.setup) {
        None => return Err(SdpError::NoMedia),
        Some(Setup::Active) => Setup::Passive,
        Some(Setup::Passive) => Setup::Active,
        // RFC 8842 §5.3 prefers active, which saves half a round trip. A lite agent waits instead: it cannot
        // know when the path works.
        Some(Setup::ActPass) if local.lite => Setup::Passive,
        Some(Setup::ActPass) => Setup::Active,
    };
    let mut ssrcs = Ssrcs::new(local.first_ssrc, offer.media.iter().flat_map(Media::all_ssrcs).collect());
    let (mut send, mut receive) = (can.send, can.receive);
    let media: Vec<Media> = offer
        .media
        .iter()
        .map(|offered| {
            let Some(mut media) = answer_line(offered, can) else {
                return Media::rejected(&offered.mid, offered.kind.clone(), &offered.protocol);
            };
            if let Some(kind) = offered.kind.media() {
                let sends = offered.direction.receives() && send.take(kind);
                let receives = offered.direction.sends() && receive.take(kind);
                media.direction = Direction::new(sends, receives);
            }
            announce_streams(&mut media, local, &mut ssrcs);
            media
        })
        .collect();
    if media.iter().all(|media| media.rejected) {
        let offered = offer.offered_codecs();
        return Err(if offered.is_empty() { SdpError::NoMedia } else { SdpError::NoCommonCodec(offered) });
    }
    Ok(describe(local, setup, offer.extmap_allow_mixed, media))
}

/// What of an offered line both ends can do; `None`: nothing.
fn answer_line(offered: &Media, can: &Capabilities) -> Option<Media> {
    let kind = offered.kind.media().filter(|_| !offered.rejected)?;
    let (codec, fmtp, rtx_wanted) = match kind {
        Kind::Audio => {
            (offered.codecs.iter().find(|codec| codec.is_opus())?, can.opus.clone(), can.audio_rtx)
        }
        Kind::Video => {
            let profile = |codec: &&Codec| codec.h264_profile();
            let codec = offered
                .codecs
                .iter()
                .find(|codec| profile(codec).is_some_and(|p| p.constrained()))
                .or_else(|| offered.codecs.iter().find(|codec| profile(codec).is_some()))?;
            (codec, answer_h264(codec)?, true)
        }
    };
    let rtx = offered.rtx_of(codec.payload_type).filter(|_| rtx_wanted);
    let red = offered.red_of(codec.payload_type).filter(|_| can.audio_red);
    let rlc = offered.rlc_of(codec.payload_type).filter(|_| can.audio_rlc);
    let all_offered = || codec.feedback.iter().chain(&offered.feedback);
    // RFC 8888 §6: where it can be had, it replaces the other kinds of congestion feedback.
    let ccfb = can.ccfb && all_offered().any(|fb| *fb == Feedback::AckCcfb);
    let wanted = |fb: &Feedback| match fb {
        // Where sound is resent without RTX, as libwebrtc does it, the packet itself comes once more.
        Feedback::Nack => rtx.is_some() || kind == Kind::Audio,
        Feedback::NackPli | Feedback::CcmFir => kind == Kind::Video,
        Feedback::TransportCc => !ccfb && can.extensions.contains(&extension::TRANSPORT_CC),
        Feedback::AckCcfb => ccfb,
        Feedback::Other(_) => false,
    };
    let feedback: Vec<Feedback> = codec.feedback.iter().filter(|fb| wanted(fb)).cloned().collect();
    let for_all: Vec<Feedback> = offered.feedback.iter().filter(|fb| wanted(fb)).cloned().collect();
    let transport_cc = feedback.iter().chain(&for_all).any(|fb| *fb == Feedback::TransportCc);
    let mut codecs = vec![Codec { fmtp, feedback, ..codec.clone() }];
    let besides = [rtx, red, rlc].into_iter().flatten();
    codecs.extend(besides.map(|it| Codec { feedback: Vec::new(), ..it.clone() }));
    // RFC 3264 §6.1: in the offer's order, which says what the peer likes to send. A browser sends copies if they come first.
    codecs.sort_by_key(|it| offered.codecs.iter().position(|one| one.payload_type == it.payload_type));
    Some(Media {
        rejected: false,
        rtcp_mux: true,
        rtcp_rsize: offered.rtcp_rsize,
        codecs,
        feedback: for_all,
        extensions: offered
            .extensions
            .iter()
            // Numbers above 14 would force the longer form of header extensions on every packet.
            .filter(|e| e.id <= 14 && can.extensions.contains(&e.uri.as_str()) && suits(&e.uri, kind))
            .filter(|e| transport_cc || e.uri != extension::TRANSPORT_CC)
            .map(|e| Extension { direction: e.direction.reversed(), ..e.clone() })
            .collect(),
        max_ptime: (kind == Kind::Audio).then_some(can.max_ptime),
        ..Media::rejected(&offered.mid, offered.kind.clone(), &offered.protocol)
    })
}

/// RFC 6184 §8.2.2: the profile is the offer's; the level is each receiver's own if both allow that, else the
/// lower of the two.
fn answer_h264(offered: &Codec) -> Option<String> {
    let profile = offered.h264_profile()?;
    let asymmetric = offered.parameter("level-asymmetry-allowed") == Some("1");
    let level = if asymmetric { LEVEL } else { profile.level.min(LEVEL) };
    let asymmetry = if asymmetric { "level-asymmetry-allowed=1;" } else { "" };
    Some(format!(
        "{asymmetry}packetization-mode=1;profile-level-id={:02x}{:02x}{level:02x}",
        profile.idc, profile.iop
    ))
}

fn audio_codecs(can: &Capabilities) -> Vec<Codec> {
    let mut opus = Codec {
        payload_type: OPUS,
        name: "opus".into(),
        clock_rate: 48_000,
        channels: 2,
        fmtp: can.opus.clone(),
        feedback: vec![Feedback::TransportCc],
    };
    if can.audio_rtx {
        opus.feedback.push(Feedback::Nack);
    }
    let rtx = can.audio_rtx.then(|| beside("rtx", OPUS_RTX, &opus));
    let red = can.audio_red.then(|| red(OPUS_RED, &opus));
    let rlc = can.audio_rlc.then(|| beside("rlc", OPUS_RLC, &opus));
    [Some(opus), rtx, red, rlc].into_iter().flatten().collect()
}

fn video_codecs() -> Vec<Codec> {
    let h264 = Codec {
        payload_type: H264,
        name: "H264".into(),
        clock_rate: 90_000,
        channels: 0,
        fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        feedback: vec![Feedback::TransportCc, Feedback::CcmFir, Feedback::Nack, Feedback::NackPli],
    };
    let rtx = beside("rtx", H264_RTX, &h264);
    vec![h264, rtx]
}

/// A format that names its codec by `apt`: retransmissions (RFC 4588 §8.6), or packets with repair symbols.
fn beside(name: &str, payload_type: u8, of: &Codec) -> Codec {
    Codec {
        payload_type,
        name: name.into(),
        clock_rate: of.clock_rate,
        channels: 0,
        fmtp: format!("apt={}", of.payload_type),
        feedback: Vec::new(),
    }
}

/// A codec's packets that carry those before them (RFC 2198 §5): one copy and the newest.
fn red(payload_type: u8, of: &Codec) -> Codec {
    Codec {
        payload_type,
        name: "red".into(),
        fmtp: format!("{0}/{0}", of.payload_type),
        feedback: Vec::new(),
        ..of.clone()
    }
}

/// Whether an extension says anything about such media.
fn suits(uri: &str, kind: Kind) -> bool {
    match uri {
        extension::AUDIO_LEVEL => kind == Kind::Audio,
        extension::DEPENDENCY_DESCRIPTOR | extension::RID => kind == Kind::Video,
        _ => true,
    }
}

/// Gives a line that sends its streams: one, and one for its retransmissions.
fn announce_streams(media: &mut Media, local: &Local, ssrcs: &mut Ssrcs) {
    if !media.direction.sends() {
        return;
    }
    let resends = media.codecs.iter().any(|codec| codec.apt().is_some());
    let taken: Vec<Ssrc> = ssrcs.by_ref().take(1 + usize::from(resends)).collect();
    // libwebrtc refuses a line of sound that describes two streams, so that the one for its retransmissions
    // is named in the group alone.
    let described = if media.kind == MediaKind::Audio { 1 } else { taken.len() };
    let source = |&ssrc: &Ssrc| Source { ssrc, cname: local.cname.clone() };
    media.ssrcs = taken.iter().take(described).map(source).collect();
    if resends {
        media.ssrc_groups = vec![SsrcGroup { semantics: "FID".into(), ssrcs: taken }];
    }
    let stream = if local.lite { format!("{}-{}", local.cname, media.mid) } else { local.cname.clone() };
    media.msid = Some(Msid { track: format!("{}-{}", local.cname, media.mid), stream });
}

fn describe(local: &Local, setup: Setup, extmap_allow_mixed: bool, media: Vec<Media>) -> Description {
    let bundle: Vec<String> =
        media.iter().filter(|line| !line.rejected).map(|line| line.mid.clone()).collect();
    Description {
        session_id: local.session_id,
        version: 1,
        lite: local.lite,
        trickle: !local.end_of_candidates,
        extmap_allow_mixed,
        transport: (!bundle.is_empty()).then(|| Transport {
            ufrag: local.ufrag.clone(),
            pwd: local.pwd.clone(),
            fingerprint: local.fingerprint,
            setup,
            candidates: local.candidates.clone(),
            end_of_candidates: local.end_of_candidates,
        }),
        bundle,
        media,
    }
}

impl Description {
    /// Whether the lines in use are carried as we can carry them: bundled, RTP and RTCP on one port.
    pub(super) fn check_shape(&self) -> Result<(), SdpError> {
        let in_use = || self.media.iter().filter(|line| !line.rejected && line.kind.media().is_some());
        let alone = self.bundle.is_empty() && in_use().count() == 1;
        for line in in_use() {
            if !alone && !self.bundle.contains(&line.mid) {
                return Err(SdpError::NotBundled(line.mid.clone()));
            }
            if !line.rtcp_mux {
                return Err(SdpError::NoRtcpMux(line.mid.clone()));
            }
        }
        Ok(())
    }

    /// The codecs of the lines in use, for an error message.
    fn offered_codecs(&self) -> String {
        let names: BTreeSet<&str> =
            self.media.iter().flat_map(|line| &line.codecs).map(|codec| codec.name.as_str()).collect();
        names.into_iter().take(12).collect::<Vec<_>>().join(", ")
    }
}

/// Numbers for our streams: consecutive, without zero and without those in use.
struct Ssrcs {
    next: u32,
    used: BTreeSet<u32>,
}

impl Ssrcs {
    fn new(first: u32, mut used: BTreeSet<u32>) -> Ssrcs {
        used.insert(0);
        Ssrcs { next: first, used }
    }
}

impl Iterator for Ssrcs {
    type Item = Ssrc;
    fn next(&mut self) -> Option<Ssrc> {
        while self.used.contains(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let ssrc = self.next;
        self.next = self.next.wrapping_add(1);
        Some(Ssrc(ssrc))
    }
}
