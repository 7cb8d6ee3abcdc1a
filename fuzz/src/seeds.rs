//! The first inputs: real packets, made by our own code and by the RFCs, so that a fuzzer need not find out
//! what a packet is. `UPDATE_CORPUS=1 cargo test --release -p undertone-cli --test fuzz_corpus` writes them.

use super::Script;
use super::peers::{Hall, Heard, Talk, description};
use super::signals::{SECRET, our_offer};
use super::wire::{PASSWORD, extensions};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use undertone_codec::pattern::Pattern;
use undertone_codec::{h264 as codec, opus};
use undertone_engine::{FRAME_SAMPLES, Role};
use undertone_media::{Bitrate, Kind, Ssrc, Timestamp};
use undertone_signaling::message::{self, Body, DescriptionKind, ErrorCode, MediaKind};
use undertone_signaling::token;
use undertone_transport::payload::{dd, h264};
use undertone_transport::recovery::red;
use undertone_transport::recovery::rlc::{Encoder, Plan};
use undertone_transport::rtcp::{
    self, CcfbFeedback, CcfbReport, CcfbStream, PlayoutReport, ReportBlock, Rtcp, Shares, TwccFeedback,
};
use undertone_transport::rtp::{AudioLevel, Extensions, Header, Inline};
use undertone_transport::stun;

/// Inputs by target and name.
pub type Seeds = BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>;

/// All of them. `root` is the workspace, whose speech and descriptions are used.
///
/// # Panics
/// If those files are not there.
pub fn all(root: &Path) -> Seeds {
    let speech = speech(root);
    let (heard, tapped) = overheard(&speech);
    let packets: Vec<&[u8]> = heard.iter().filter(|it| !it.0).map(|it| &it.1[..]).collect();
    let reports: Vec<&[u8]> = heard.iter().filter(|it| it.0).map(|it| &it.1[..]).collect();
    let mut seeds = Seeds::new();
    let mut add = |target, name: &str, bytes: Vec<u8>| {
        seeds.entry(target).or_default().insert(name.to_string(), bytes);
    };

    add("stun", "rfc5769-request", RFC_5769_REQUEST.to_vec());
    add("stun", "rfc5769-response", RFC_5769_RESPONSE.to_vec());
    for (name, bytes) in checks() {
        add("stun", name, bytes);
    }

    for (at, packet) in various(&packets, 8).into_iter().enumerate() {
        add("rtp", &format!("call-{at}"), packet.to_vec());
    }
    for (name, packet) in headers() {
        add("red", name, packet.clone());
        add("rtp", name, packet);
    }

    for (name, script) in repairs() {
        add("rlc", name, script);
    }

    let mut all_reports: Vec<(String, Vec<u8>)> =
        written().into_iter().map(|(name, report)| (name.into(), rtcp::write(&[report]))).collect();
    for (at, report) in various(&reports, 8).into_iter().enumerate() {
        all_reports.push((format!("call-{at}"), report.to_vec()));
    }
    for (name, report) in &all_reports {
        add("rtcp", name, report.clone());
    }
    add("rtcp", "compound", all_reports.iter().flat_map(|(_, report)| report.clone()).take(1_400).collect());

    let audio: Vec<&[u8]> = packets.iter().copied().filter(|it| matches!(it[1] & 0x7f, 111 | 63)).collect();
    let mut steps = Vec::new();
    for packet in audio.iter().take(24) {
        Script::put(&mut steps, 0x80, packet);
        Script::put(&mut steps, 0x0b, &[]);
    }
    add("recv_stream", "in-order", steps);
    let mut steps = Vec::new();
    for pair in audio.chunks_exact(3).take(8) {
        Script::put(&mut steps, 0x90, pair[2]);
        Script::put(&mut steps, 0xbb, &[]);
        Script::put(&mut steps, 0x40, pair[0]);
        Script::put(&mut steps, 0x48, pair[1]);
        Script::put(&mut steps, 0x0a, &[]);
        Script::put(&mut steps, 0x09, &all_reports[0].1);
    }
    add("recv_stream", "reordered", steps);

    let mut steps = Vec::new();
    for (_, report) in &all_reports {
        Script::put(&mut steps, 0x90, &[0; 20]);
        Script::put(&mut steps, 0x45, report);
        Script::put(&mut steps, 0x44, packets[0]);
    }
    add("feedback", "reports", steps);
    for (name, report) in own_reports() {
        let mut steps = Vec::new();
        Script::put(&mut steps, 0x10, &[0; 60]);
        Script::put(&mut steps, 0xc5, &report);
        add("feedback", name, steps);
    }

    for profile in 0..3u8 {
        let mut steps = vec![profile];
        for packet in packets.iter().take(6) {
            Script::put(&mut steps, 0x20, packet);
        }
        for report in reports.iter().take(3) {
            Script::put(&mut steps, 0x31, report);
        }
        Script::put(&mut steps, 0x02, packets[0]);
        Script::put(&mut steps, 0x03, reports[0]);
        add("srtp", &format!("profile-{profile}"), steps);
    }

    for lite in 0..2u8 {
        add("session", &format!("handshake-{lite}"), handshake(lite, |_, _| {}));
        add(
            "session",
            &format!("changed-{lite}"),
            handshake(lite, |steps, at| {
                Script::put(steps, 0x04, &[at as u8 * 9, 0, 1 << (at % 8)]);
            }),
        );
        add(
            "session",
            &format!("lossy-{lite}"),
            handshake(lite, |steps, at| {
                Script::put(steps, if at % 3 == 0 { 0x06 } else { 0x07 }, &[]);
            }),
        );
    }
    for (at, datagram) in various(&tapped.iter().map(Vec::as_slice).collect::<Vec<_>>(), 8).iter().enumerate()
    {
        let mut steps = vec![at as u8 & 1];
        for order in [0x03, 0x09, 0x0a, 0x0b, 0x03] {
            Script::put(&mut steps, order, datagram);
        }
        add("session", &format!("invented-{at}"), steps);
    }

    pictures(&mut add);
    sounds(&speech, &mut add);
    add("dd", "layers", descriptors());
    add("link", "room", b"https://host.example:8443/calls/a%20room?token=abc.def.ghi".to_vec());
    add("link", "v6", b"http://[2001:db8::7]:7000/kitchen#top".to_vec());
    let claims = token::Claims::new("kitchen", "Anna", 2_000_000_000);
    add("link", "token", format!("kitchen\n{}", token::mint(SECRET, &claims)).into_bytes());

    for (name, body) in messages() {
        add("signal", name, message::encode(body));
    }
    for name in ["chromium-156-all", "firefox", "str0m-0.25", "webrtc-rs-0.21", "undertone"] {
        for kind in ["offer", "answer"] {
            let file = root.join(format!("testdata/sdp/{name}.{kind}.sdp"));
            let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            add("sdp", &format!("{name}-{kind}"), text);
        }
    }
    add("sdp", "ours", our_offer().to_string().into_bytes());
    add("sdp", "candidate", b"candidate:1 1 udp 2130706431 192.0.2.9 7000 typ host".to_vec());

    for (target, settings) in [("call", [0u8, 1, 2, 3]), ("sfu", [0, 1, 2, 5])] {
        for (at, setting) in settings.into_iter().enumerate() {
            let mut steps = vec![setting];
            for message in messages().into_iter().map(|(_, body)| message::encode(body)).skip(at * 4).take(4)
            {
                Script::put(&mut steps, 0x05, &message);
            }
            Script::put(&mut steps, 0x06, our_offer().to_string().as_bytes());
            add(target, &format!("signals-{at}"), steps);
        }
        let mut steps = vec![[0, 2][usize::from(target == "sfu")]];
        for (at, packet) in packets.iter().filter(|it| it.len() > 14).take(30).enumerate() {
            let mut payload = vec![[0, 1, 8, 9, 0xe0][at % 5]];
            payload.extend_from_slice(&packet[12..]);
            Script::put(&mut steps, 0x82, &payload);
            if at % 4 == 0 {
                Script::put(&mut steps, 0x87, &[]);
            }
        }
        add(target, "media", steps);
        let mut steps = vec![[0, 2][usize::from(target == "sfu")]];
        for (_, report) in &all_reports {
            Script::put(&mut steps, 0x91, report);
        }
        for packet in packets.iter().take(4) {
            Script::put(&mut steps, 0x00, packet);
        }
        for datagram in tapped.iter().take(4) {
            Script::put(&mut steps, 0x04, datagram);
        }
        add(target, "reports", steps);
    }
    seeds
}

/// 16 kHz mono; the file has the shortest of headers.
fn speech(root: &Path) -> Vec<i16> {
    let file = root.join("testdata/speech/codec2_speech_orig_16k.wav");
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    bytes[44..].chunks_exact(2).map(|it| i16::from_le_bytes([it[0], it[1]])).collect()
}

/// What a peer hears of a call and of an SFU: opened packets, and datagrams as they travelled.
fn overheard(speech: &[i16]) -> (Vec<Heard>, Vec<Vec<u8>>) {
    let mut talk = Talk::new(Role::Answer);
    let offer = talk.peers[0].offer();
    talk.signal(&offer);
    talk.pass(Duration::from_millis(50));
    for frame in speech.as_chunks::<FRAME_SAMPLES>().0.iter().skip(100).take(150) {
        talk.play(frame);
    }
    let [peer] = talk.peers;
    let mut hall = Hall::new();
    hall.enter(0);
    hall.enter(1);
    let tapped = [peer.tapped, std::mem::take(&mut hall.peers[0].tapped)].concat();
    (peer.heard, tapped)
}

/// Of many packets, some that differ in size and kind.
fn various<'a>(packets: &[&'a [u8]], count: usize) -> Vec<&'a [u8]> {
    let mut seen = BTreeSet::new();
    packets
        .iter()
        .copied()
        .filter(|it| seen.insert((it.get(1).copied(), it.len() / 24)))
        .take(count)
        .collect()
}

fn checks() -> Vec<(&'static str, Vec<u8>)> {
    let (transaction, key) = (stun::Transaction([7; 12]), stun::key(PASSWORD));
    let check = |part, use_candidate| {
        stun::Check { transaction, username: "them:us", priority: 9, part, use_candidate }.write(&key)
    };
    let address = |text: &str| text.parse().expect("an address");
    vec![
        ("check", check(stun::Part::Controlling(42), true)),
        ("check-controlled", check(stun::Part::Controlled(u64::MAX), false)),
        ("success", stun::success(transaction, address("192.0.2.7:9"), &key)),
        ("success-v6", stun::success(transaction, address("[2001:db8::7]:65535"), &key)),
        ("role-conflict", stun::role_conflict(transaction, &key)),
    ]
}

/// Streams with repair symbols: some packets lost, some as another encoder made them.
fn repairs() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, [rate, window, symbol]) in
        [("copies", [90, 1, 10]), ("half", [12, 12, 8]), ("much", [100, 25, 12])]
    {
        let mut steps = Vec::new();
        let (mut encoder, plan) =
            (Encoder::new(), Plan { rate: 2_000, window: 6, symbol: 16, ..Plan::default() });
        for n in 0..60u8 {
            let payload = [&[rate, window, symbol][..], &vec![n; 20 + usize::from(n % 7) * 5]].concat();
            let order = if n % 5 == 2 { 0x02 } else { 0x00 } | if n == 40 { 0x40 } else { 0 };
            Script::put(&mut steps, order, &payload);
            let (seq, timestamp) = ((u16::MAX - 20).wrapping_add(u16::from(n)), u32::from(n) * 960);
            let header = Header { payload_type: 111, seq, timestamp, ssrc: Ssrc(7), ..Header::default() };
            let (_, bytes) = encoder.dress(&header, &payload, &payload, &plan, 113);
            if n % 3 == 1 {
                Script::put(&mut steps, 0x03 | n << 2, &bytes);
            }
        }
        seeds.push((name, steps));
    }
    seeds
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let ext = Extensions {
        mid: Inline::new(b"0"),
        rid: Inline::new(b"hi"),
        audio_level: Some(AudioLevel { voice: true, level: 30 }),
        abs_send_time: Some(0x12_3456),
        twcc: Some(77),
        capture_time: Some(0x0123_4567_89ab_cdef),
        dd: Some(dd::Writer::new(2).write(&dd::Facts { start: true, key: true, ..Default::default() })),
    };
    let plain = Header { payload_type: 111, seq: 65_535, timestamp: 5, ssrc: Ssrc(7), ..Header::default() };
    let packet = |header: &Header, wide, payload: &[u8]| {
        let mut out = Vec::new();
        header.write(&extensions(wide), &mut out);
        out.extend_from_slice(payload);
        out
    };
    let full = Header { ext, ..plain };
    let mut padded = packet(&full, false, b"payload\0\0\0\x04");
    padded[0] |= 0x20;
    let mut sources = packet(&plain, false, b"\0\0\0\x01\0\0\0\x02payload");
    sources[0] |= 2;
    let (joined, payload) = red::join(&plain, b"new", &[(u32::MAX - 954, b"old")], 63).expect("it fits");
    vec![
        ("one-byte", packet(&full, false, b"payload")),
        ("two-byte", packet(&full, true, b"payload")),
        ("padded", padded),
        ("sources", sources),
        ("red", packet(&joined, false, &payload)),
    ]
}

fn written() -> Vec<(&'static str, Rtcp)> {
    let block = ReportBlock {
        ssrc: Ssrc(7),
        fraction_lost: 20,
        cumulative_lost: -3,
        highest_seq: 0x1_0005,
        jitter: 40,
        last_sr: 0x1234_5678,
        delay_since_last_sr: 65_536,
    };
    let (sender, media) = (Ssrc(9), Ssrc(7));
    vec![
        (
            "sr",
            Rtcp::SenderReport {
                ssrc: media,
                ntp: 1 << 40,
                rtp_time: 960,
                packets: 5,
                octets: 300,
                blocks: vec![block],
            },
        ),
        ("rr", Rtcp::ReceiverReport { ssrc: sender, blocks: vec![block; 3] }),
        ("nack", Rtcp::Nack { sender, media, seqs: vec![1, 2, 9, 65_535, 0, 40] }),
        ("pli", Rtcp::Pli { sender, media }),
        ("fir", Rtcp::Fir { sender, requests: vec![(media, 3)] }),
        ("remb", Rtcp::Remb { sender, bitrate: Bitrate::from_kbps(1_234), ssrcs: vec![media] }),
        (
            "playout",
            Rtcp::Playout(PlayoutReport {
                sender,
                media,
                slack: Duration::from_millis(400),
                held: Duration::from_millis(80),
                shares: Shares { made_up: 3, coded: 40, deep: 9, ..Shares::default() },
            }),
        ),
        ("bye", Rtcp::Bye { ssrcs: vec![media, sender] }),
        ("twcc", twcc(sender, media)),
        ("ccfb", ccfb(sender, media)),
    ]
}

fn twcc(sender: Ssrc, media: Ssrc) -> Rtcp {
    let mut deltas = vec![Some(4), Some(300), None, Some(-20)];
    deltas.extend([None; 40]);
    deltas.extend([Some(8); 30]);
    let (base_seq, reference_time, feedback_count) = (0, 77, 1);
    Rtcp::Twcc(TwccFeedback { sender, media, base_seq, reference_time, feedback_count, deltas })
}

fn ccfb(sender: Ssrc, media: Ssrc) -> Rtcp {
    let reports =
        (0..9).map(|at| (at % 4 != 3).then_some(CcfbReport { ecn: 0, age: 900 - 20 * at })).collect();
    let streams = vec![CcfbStream { ssrc: media, begin_seq: 0, reports }];
    Rtcp::Ccfb(CcfbFeedback { sender, streams, timestamp: 1 << 20 })
}

/// Feedback about the packets that the body itself has sent.
fn own_reports() -> Vec<(&'static str, Vec<u8>)> {
    let (sender, media) = (Ssrc(9), Ssrc(7));
    let nack = Rtcp::Nack { sender, media, seqs: (0..60).step_by(7).collect() };
    vec![
        ("own-twcc", rtcp::write(&[twcc(sender, media)])),
        ("own-ccfb", rtcp::write(&[ccfb(sender, media)])),
        ("own-nack", rtcp::write(&[nack])),
    ]
}

/// Steps that carry a handshake to its end, with something done to it between.
fn handshake(setting: u8, disturb: impl Fn(&mut Vec<u8>, usize)) -> Vec<u8> {
    let mut steps = vec![setting];
    for at in 0..20 {
        disturb(&mut steps, at);
        Script::put(&mut steps, [0x10, 0x91, 0x13, 0xc3][at % 4], &[]);
    }
    let header = Header { payload_type: 111, ssrc: Ssrc(7), ..Header::default() };
    let mut packet = Vec::new();
    header.write(&extensions(false), &mut packet);
    for (order, bytes) in
        [(0x0d, &packet[..]), (0x13, &[]), (0x0e, &rtcp::write(&[twcc(Ssrc(7), Ssrc(9))])), (0x13, &[])]
    {
        Script::put(&mut steps, order, bytes);
    }
    steps
}

fn descriptors() -> Vec<u8> {
    let mut steps = Vec::new();
    for layers in 1..=3 {
        let writer = dd::Writer::new(layers);
        for frame in 0..4u16 {
            for (start, end) in [(true, false), (false, true)] {
                let temporal = frame as u8 % layers;
                let facts =
                    dd::Facts { start, end, key: frame == 0, frame_number: frame, spatial: 0, temporal };
                Script::put(&mut steps, 0, writer.write(&facts).as_bytes());
            }
        }
    }
    steps
}

fn pictures(add: &mut impl FnMut(&'static str, &str, Vec<u8>)) {
    let config = codec::EncoderConfig { width: 128, height: 72, fps: 15, ..codec::EncoderConfig::default() };
    let mut encoder = codec::Encoder::new(config).expect("an encoder can be made");
    let pattern = Pattern::new(128, 72);
    let (mut whole, mut frames, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..6u32 {
        let picture = pattern.frame(number, Timestamp::from_millis(u64::from(number) * 66));
        let coded = encoder.encode(&picture, number == 3).expect("it encodes");
        let Some(coded) = coded else { continue };
        if number < 4 {
            Script::put(&mut whole, 0, &coded.data);
        }
        let payloads = h264::packetize(&coded.data, 200);
        let mut unit = Vec::new();
        let last = payloads.len() - 1;
        for (at, payload) in payloads.iter().enumerate() {
            Script::put(&mut unit, 0, payload);
            let flags = u8::from(at == last);
            let step = [&[1, 0, 0, flags], &payload[..payload.len().min(12)]].concat();
            Script::put(&mut frames, if at == 0 { 0xb0 } else { 0x40 }, &step);
            if at % 4 != 2 {
                Script::put(&mut gaps, 0xb4, &[&[1 + flags, 0, 0, flags], &payload[..2]].concat());
            }
        }
        if number % 3 == 0 {
            add("h264_payload", &format!("unit-{number}"), unit);
        }
    }
    add("h264_decoder", "pictures", whole);
    add("frames", "in-order", frames);
    add("frames", "gaps", gaps);
}

fn sounds(speech: &[i16], add: &mut impl FnMut(&'static str, &str, Vec<u8>)) {
    let settings = [
        (
            "plain",
            opus::EncoderConfig { bitrate: Bitrate::from_kbps(24), ..opus::EncoderConfig::default() },
            320,
        ),
        (
            "lbrr",
            opus::EncoderConfig {
                bitrate: Bitrate::from_kbps(24),
                lbrr: Some(20),
                ..opus::EncoderConfig::default()
            },
            960,
        ),
        (
            "dred",
            opus::EncoderConfig {
                bitrate: Bitrate::from_kbps(9),
                redundancy: true,
                ..opus::EncoderConfig::default()
            },
            320,
        ),
    ];
    for (level, (name, config, samples)) in (0..).zip(settings) {
        let mut encoder = opus::Encoder::new(&config).expect("an encoder can be made");
        let (mut steps, mut played) = (vec![level], Vec::new());
        let wanted = opus::Redundancy { span: Duration::from_millis(600), quantiser: 4, slope: 2 };
        let (mut bare, mut packet) = (Vec::new(), Vec::new());
        for (at, pcm) in speech[16_000..].chunks_exact(samples).take(40).enumerate() {
            encoder.encode(pcm, &mut bare).expect("it encodes");
            if !encoder.dress(wanted, &bare, &mut packet) {
                packet.clone_from(&bare);
            }
            if at >= 26 {
                Script::put(&mut steps, [0, 3 | 16 << 3, 4, 5 | 3 << 3][at % 4], &packet);
            }
            if at % 5 != 4 {
                let near = if at % 5 == 0 && at > 0 { 2 } else { 1 };
                let step = [&[near, 0, 0, 0], &packet[..packet.len().min(8)]].concat();
                Script::put(&mut played, 0x98, &step);
            }
        }
        add("opus", name, steps);
        add("jitter", name, played);
    }
}

fn messages() -> Vec<(&'static str, Body)> {
    let participant =
        message::Participant { id: 3, name: "Bert".into(), audio: true, video: true, ..Default::default() };
    let slot = |mid: &str, kind: Kind| message::Slot {
        mid: mid.into(),
        participant: 3,
        kind: MediaKind::from(kind).into(),
        active: true,
    };
    let joined = message::Joined {
        participant: 1,
        room: "kitchen".into(),
        participants: vec![participant.clone()],
        publish: true,
        subscribe: true,
        version: message::VERSION,
    };
    let join = message::Join {
        token: String::new(),
        room: "kitchen".into(),
        name: "Carl".into(),
        version: message::VERSION,
    };
    let error = message::Error { code: ErrorCode::Full.into(), message: "full".into(), hint: "wait".into() };
    let offer = description(DescriptionKind::Offer, &our_offer().to_string());
    vec![
        ("joined", joined.into()),
        ("roster", message::Roster { participants: vec![participant; 2] }.into()),
        ("slots", message::Slots { slots: vec![slot("2", Kind::Audio), slot("3", Kind::Video)] }.into()),
        (
            "candidate",
            message::Candidate {
                candidate: "candidate:1 1 udp 1 192.0.2.9 7000 typ host".into(),
                mid: "0".into(),
            }
            .into(),
        ),
        ("ping", message::Ping { id: u64::MAX }.into()),
        ("pong", message::Pong { id: 1 }.into()),
        ("mute", message::Mute { kind: MediaKind::Audio.into(), muted: true }.into()),
        ("offer", message::decode(&offer).expect("our own message")),
        ("join", join.into()),
        ("error", error.into()),
        ("leave", message::Leave {}.into()),
    ]
}

/// RFC 5769 §2.1: a request with all that ICE needs.
const RFC_5769_REQUEST: &[u8; 108] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
    \x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\
    \x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

/// RFC 5769 §2.2: the answer to it.
const RFC_5769_RESPONSE: &[u8; 80] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
    \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\x80\x28\x00\x04\
    \xc0\x7d\x4c\x96";
