//! No text makes the parser panic, and what it reads it can write and read again.

use proptest::collection::vec;
use proptest::prelude::*;
use undertone_media::Ssrc;
use undertone_signaling::sdp::*;

const OFFERS: [&str; 5] = [
    include_str!("../../testdata/sdp/chromium-156-slots.offer.sdp"),
    include_str!("../../testdata/sdp/firefox.offer.sdp"),
    include_str!("../../testdata/sdp/webrtc-rs-0.21.offer.sdp"),
    include_str!("../../testdata/sdp/str0m-0.25.offer.sdp"),
    include_str!("../../testdata/sdp/undertone.offer.sdp"),
];

fn local(first_ssrc: u32) -> Local {
    Local {
        session_id: 1,
        ufrag: "ufrag".into(),
        pwd: "password-password-password".into(),
        fingerprint: Fingerprint([7; 32]),
        lite: false,
        candidates: vec!["192.0.2.1:5000".parse().unwrap()],
        end_of_candidates: false,
        cname: "me".into(),
        first_ssrc,
    }
}

/// Everything that can be done with a text.
fn exercise(text: &str) -> Result<(), TestCaseError> {
    let _ = candidate(text);
    let Ok(parsed) = Description::parse(text) else { return Ok(()) };
    let written = parsed.to_string();
    prop_assert_eq!(Description::parse(&written), Ok(parsed.clone()), "{}", written);
    let Ok(answer) = answer(&parsed, &local(1), &Capabilities::default()) else { return Ok(()) };
    prop_assert_eq!(Description::parse(&answer.to_string()), Ok(answer.clone()));
    prop_assert!(lines(&answer, &parsed).is_ok());
    prop_assert!(lines(&parsed, &answer).is_ok());
    prop_assert!(remote_transport(&answer, &parsed).is_ok());
    Ok(())
}

/// One thing that goes wrong with a text.
#[derive(Clone, Debug)]
enum Fault {
    Byte(usize, char),
    Cut(usize, usize),
    DropLine(usize),
    RepeatLine(usize),
    SwapLines(usize, usize),
    Number(usize, u64),
    Words(usize, String),
}

fn fault() -> impl Strategy<Value = Fault> {
    let place = any::<usize>;
    prop_oneof![
        (place(), any::<char>()).prop_map(|(at, c)| Fault::Byte(at, c)),
        (place(), 0..200usize).prop_map(|(at, length)| Fault::Cut(at, length)),
        place().prop_map(Fault::DropLine),
        place().prop_map(Fault::RepeatLine),
        (place(), place()).prop_map(|(a, b)| Fault::SwapLines(a, b)),
        (place(), any::<u64>()).prop_map(|(at, n)| Fault::Number(at, n)),
        (place(), "[a-z0-9:/ ;=*+-]{0,20}").prop_map(|(at, words)| Fault::Words(at, words)),
    ]
}

fn apply(text: &str, fault: &Fault) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(String::from).collect();
    let count = lines.len().max(1);
    match fault {
        Fault::Byte(at, c) => {
            let mut chars: Vec<char> = text.chars().collect();
            let place = at % chars.len().max(1);
            if let Some(old) = chars.get_mut(place) {
                *old = *c;
            }
            return chars.into_iter().collect();
        }
        Fault::Cut(at, length) => {
            let start = at % text.chars().count().max(1);
            return text.chars().take(start).chain(text.chars().skip(start + length)).collect();
        }
        Fault::DropLine(at) if !lines.is_empty() => drop(lines.remove(at % count)),
        Fault::RepeatLine(at) if !lines.is_empty() => lines.insert(at % count, lines[at % count].clone()),
        Fault::SwapLines(a, b) if !lines.is_empty() => lines.swap(a % count, b % count),
        Fault::Number(at, n) if !lines.is_empty() => {
            let line = &mut lines[at % count];
            let digits = |c: char| c.is_ascii_digit();
            if let Some(start) = line.find(digits) {
                let end = line[start..].find(|c| !digits(c)).map_or(line.len(), |length| start + length);
                line.replace_range(start..end, &n.to_string());
            }
        }
        Fault::Words(at, words) if !lines.is_empty() => {
            let line = &mut lines[at % count];
            let start = line.find([':', ' ']).map_or(0, |place| place + 1);
            line.insert_str(start, words);
        }
        _ => {}
    }
    lines.concat()
}

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._+-]{1,12}"
}

fn feedback() -> impl Strategy<Value = Vec<Feedback>> {
    use Feedback::*;
    let one = prop_oneof![
        Just(Nack),
        Just(NackPli),
        Just(CcmFir),
        Just(TransportCc),
        Just(AckCcfb),
        Just(Other("goog-remb".into()))
    ];
    vec(one, 0..4).prop_map(|mut all| {
        all.sort();
        all.dedup();
        all
    })
}

fn direction() -> impl Strategy<Value = Direction> {
    (any::<bool>(), any::<bool>()).prop_map(|(send, receive)| Direction::new(send, receive))
}

fn media() -> impl Strategy<Value = Media> {
    let codec = (0..128u8, token(), 1..200_000u32, 0..3u8, "([a-z]{1,9}=[a-z0-9]{1,9};?){0,3}", feedback())
        .prop_map(|(payload_type, name, clock_rate, channels, fmtp, feedback)| Codec {
            payload_type,
            name,
            clock_rate,
            channels,
            fmtp,
            feedback,
        });
    let extension =
        (1..=255u8, token(), direction()).prop_map(|(id, uri, direction)| Extension { id, uri, direction });
    let source = (any::<u32>(), token()).prop_map(|(ssrc, cname)| Source { ssrc: Ssrc(ssrc), cname });
    let group = (token(), vec(any::<u32>().prop_map(Ssrc), 0..4))
        .prop_map(|(semantics, ssrcs)| SsrcGroup { semantics, ssrcs });
    let msid = (token(), prop_oneof![Just(String::new()), token()])
        .prop_map(|(stream, track)| Msid { stream, track });
    (
        any::<bool>(),
        direction(),
        (any::<bool>(), any::<bool>()),
        vec(codec, 0..5),
        feedback(),
        vec(extension, 0..5),
        vec(source, 0..4),
        vec(group, 0..2),
        proptest::option::of(msid),
        proptest::option::of(any::<u32>()),
    )
        .prop_map(
            |(
                audio,
                direction,
                (rtcp_mux, rtcp_rsize),
                mut codecs,
                feedback,
                mut extensions,
                mut ssrcs,
                ssrc_groups,
                msid,
                max_ptime,
            )| {
                codecs.sort_by_key(|codec| codec.payload_type);
                codecs.dedup_by_key(|codec| codec.payload_type);
                extensions.sort_by_key(|extension| extension.id);
                extensions.dedup_by_key(|extension| extension.id);
                ssrcs.sort_by_key(|source| source.ssrc);
                ssrcs.dedup_by_key(|source| source.ssrc);
                Media {
                    mid: String::new(),
                    kind: if audio { MediaKind::Audio } else { MediaKind::Video },
                    protocol: "UDP/TLS/RTP/SAVPF".into(),
                    rejected: false,
                    direction,
                    rtcp_mux,
                    rtcp_rsize,
                    codecs,
                    feedback,
                    extensions,
                    ssrcs,
                    ssrc_groups,
                    msid,
                    max_ptime,
                }
            },
        )
}

fn description() -> impl Strategy<Value = Description> {
    let setup = prop_oneof![Just(Setup::ActPass), Just(Setup::Active), Just(Setup::Passive)];
    let address = (any::<[u8; 4]>(), 1..=u16::MAX)
        .prop_filter("an address to send to", |(ip, _)| ip[0] > 0 && ip[0] < 224)
        .prop_map(|(ip, port)| (ip, port).into());
    let transport = (
        "[a-zA-Z0-9+/]{4,20}",
        "[a-zA-Z0-9+/]{22,40}",
        any::<[u8; 32]>(),
        setup,
        vec(address, 0..4),
        any::<bool>(),
    )
        .prop_map(|(ufrag, pwd, hash, setup, mut candidates, end_of_candidates)| {
            candidates.sort();
            candidates.dedup();
            Transport { ufrag, pwd, fingerprint: Fingerprint(hash), setup, candidates, end_of_candidates }
        });
    (any::<(u64, u64, bool, bool, bool)>(), transport, vec(media(), 1..5), any::<bool>()).prop_map(
        |((session_id, version, lite, trickle, extmap_allow_mixed), transport, mut media, bundled)| {
            for (at, media) in media.iter_mut().enumerate() {
                media.mid = format!("m{at}");
            }
            let mids = media.iter().map(|media| media.mid.clone()).filter(|_| bundled).collect();
            Description {
                session_id,
                version,
                lite,
                trickle,
                extmap_allow_mixed,
                transport: Some(transport),
                bundle: mids,
                media,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_description_comes_back_as_it_went(description in description()) {
        let text = description.to_string();
        prop_assert_eq!(Description::parse(&text), Ok(description), "{}", text);
    }

    #[test]
    fn mutated_offers_do_no_harm(which in 0..OFFERS.len(), faults in vec(fault(), 1..6)) {
        let text = faults.iter().fold(OFFERS[which].to_string(), |text, fault| apply(&text, fault));
        exercise(&text)?;
    }

    #[test]
    fn random_text_does_no_harm(text in "(?s).{0,300}", lines in vec("[vostamcbki]=.{0,40}", 0..20)) {
        exercise(&text)?;
        exercise(&format!("v=0\r\n{}", lines.join("\r\n")))?;
    }
}

/// A text made to be slow: as many items as fit, of the kinds that are compared with each other.
#[test]
fn a_hostile_text_costs_little() {
    let ssrcs: String = (0..).map(|n| format!("a=ssrc:{n}\r\n")).take(15_000).collect();
    let feedback: String = (0..).map(|n| format!("a=rtcp-fb:* x{n}\r\n")).take(11_000).collect();
    for body in [ssrcs, feedback] {
        let text = format!("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n{body}");
        assert!(text.len() < MAX_BYTES);
        for _ in 0..20 {
            let _ = Description::parse(&text);
        }
    }
}
