//! What is taken of an offer, what is refused, and what the refusal says.

use undertone_media::Kind::{Audio, Video};
use undertone_media::Ssrc;
use undertone_signaling::sdp::*;

fn local(name: &str, first_ssrc: u32) -> Local {
    Local {
        session_id: 1,
        ufrag: format!("{name}-ufrag"),
        pwd: format!("{name}-password-of-many-characters"),
        fingerprint: Fingerprint([7; 32]),
        lite: false,
        candidates: vec!["192.0.2.1:5000".parse().unwrap()],
        end_of_candidates: true,
        cname: name.into(),
        first_ssrc,
    }
}

fn line(kind: undertone_media::Kind, direction: Direction) -> Offered {
    Offered { kind, direction }
}

fn can() -> Capabilities {
    Capabilities::default()
}

/// An offer for one line each of sound and pictures, changed by `edit` as text.
fn edited(edit: impl Fn(String) -> String) -> Result<Description, SdpError> {
    let wants = [line(Audio, Direction::SendRecv), line(Video, Direction::SendRecv)];
    let text = offer(&local("ann", 100), &can(), &wants).to_string();
    let changed = edit(text.clone());
    assert_ne!(changed, text, "the edit changes nothing");
    Description::parse(&changed)
}

fn answered(edit: impl Fn(String) -> String) -> Result<Description, SdpError> {
    answer(&edited(edit)?, &local("bob", 200), &can())
}

#[test]
fn two_of_our_own_ends_choose_the_cheap_ways() {
    let wants = [line(Audio, Direction::SendRecv), line(Video, Direction::SendRecv)];
    let offer = offer(&local("ann", 100), &can(), &wants);
    let answer = answer(&offer, &local("bob", 200), &can()).unwrap();
    for line in lines(&offer, &answer).unwrap() {
        assert!(line.ccfb && !line.transport_cc && line.nack);
        let send = line.send.unwrap();
        assert_eq!(send.extensions.transport_cc, None);
        assert!(send.extensions.mid.is_some());
        assert_eq!(send.extensions.audio_level.is_some(), line.kind == Audio);
        assert_eq!(send.extensions.dependency_descriptor.is_some(), line.kind == Video);
        let (pt, rtx) = if line.kind == Audio { (111, 112) } else { (102, 103) };
        assert_eq!((send.payload_type, send.rtx_payload_type), (pt, Some(rtx)));
        assert_eq!(line.receive.unwrap().payload_types, [(pt, Some(rtx))]);
    }
    let (ours, theirs) =
        (remote_transport(&offer, &answer).unwrap(), remote_transport(&answer, &offer).unwrap());
    assert!(!ours.dtls_active && theirs.dtls_active, "the answerer begins");
    assert_eq!(ours.ufrag, "bob-ufrag");
}

#[test]
fn copies_are_sent_only_to_those_who_read_them() {
    let wants = [line(Audio, Direction::SendRecv)];
    let reads = || Capabilities { audio_red: true, ..can() };
    for (offerer, answerer, agreed) in
        [(reads(), reads(), Some(63)), (reads(), can(), None), (can(), reads(), None)]
    {
        let offer = offer(&local("ann", 100), &offerer, &wants);
        let answer = answer(&offer, &local("bob", 200), &answerer).unwrap();
        for (ours, theirs) in [(&offer, &answer), (&answer, &offer)] {
            let line = lines(ours, theirs).unwrap().remove(0);
            assert_eq!(line.send.unwrap().red_payload_type, agreed);
            let receive = line.receive.unwrap();
            assert_eq!(receive.red_payload_type, agreed);
            assert_eq!(receive.payload_types, [(111, Some(112))], "copies are no media of their own");
        }
    }
}

#[test]
fn an_answer_keeps_the_order_in_which_the_peer_likes_to_send() {
    let reads = || Capabilities { audio_red: true, ..can() };
    let mut offer = offer(&local("ann", 100), &reads(), &[line(Audio, Direction::SendRecv)]);
    let order = |description: &Description| -> Vec<u8> {
        description.media[0].codecs.iter().map(|codec| codec.payload_type).collect()
    };
    let answered = |offer: &Description| answer(offer, &local("bob", 200), &reads()).unwrap();
    assert_eq!(order(&answered(&offer)), order(&offer));
    offer.media[0].codecs.reverse();
    assert_eq!(order(&answered(&offer)), order(&offer), "RFC 3264 §6.1");
}

#[test]
fn repair_symbols_are_sent_only_to_those_who_read_them() {
    let wants = [line(Audio, Direction::SendRecv), line(Video, Direction::SendRecv)];
    let reads = || Capabilities { audio_red: true, audio_rlc: true, ..can() };
    let red_alone = || Capabilities { audio_red: true, ..can() };
    for (offerer, answerer, agreed) in
        [(reads(), reads(), Some(113)), (reads(), red_alone(), None), (red_alone(), reads(), None)]
    {
        let offer = offer(&local("ann", 100), &offerer, &wants);
        let answer = answer(&offer, &local("bob", 200), &answerer).unwrap();
        for (ours, theirs) in [(&offer, &answer), (&answer, &offer)] {
            let mut both = lines(ours, theirs).unwrap();
            let video = both.pop().unwrap();
            assert_eq!(video.send.unwrap().rlc_payload_type, None);
            let audio = both.pop().unwrap();
            let send = audio.send.unwrap();
            assert_eq!((send.rlc_payload_type, send.red_payload_type), (agreed, Some(63)));
            let receive = audio.receive.unwrap();
            assert_eq!(receive.rlc_payload_type, agreed);
            assert_eq!(receive.payload_types, [(111, Some(112))], "repair is no media of its own");
        }
    }
}

/// The answers of browsers to an offer with a format that they never heard of.
#[test]
fn browsers_leave_out_what_is_ours_alone() {
    let can = Capabilities { audio_red: true, audio_rlc: true, ..can() };
    let ours = offer(&local("ann", 100), &can, &[line(Audio, Direction::SendRecv)]);
    let text = ours.to_string();
    assert!(text.contains("a=rtpmap:113 rlc/48000\r\na=fmtp:113 apt=111\r\n"), "{text}");
    let known = |line: &&str| !line.contains(":113 ") && !line.contains(" rlc/");
    let theirs: String = text
        .replace("RTP/SAVPF 111 112 63 113", "RTP/SAVPF 111 112 63")
        .split_inclusive("\r\n")
        .filter(known)
        .map(|it| it.replace("setup:actpass", "setup:active"))
        .collect();
    let theirs = Description::parse(&theirs).unwrap();
    let agreed = lines(&ours, &theirs).unwrap().remove(0);
    let send = agreed.send.unwrap();
    assert_eq!((send.red_payload_type, send.rlc_payload_type), (Some(63), None));
    assert_eq!(agreed.receive.unwrap().payload_types, [(111, Some(112))]);
}

/// A payload type that names another codec's, or none at all, is not ours.
#[test]
fn repair_symbols_belong_to_one_codec() {
    let can = Capabilities { audio_rlc: true, ..can() };
    let text = offer(&local("ann", 100), &can, &[line(Audio, Direction::SendRecv)]).to_string();
    for other in ["a=fmtp:113 apt=112\r\n", "a=fmtp:113 apt=x\r\n", ""] {
        let changed = text.replace("a=fmtp:113 apt=111\r\n", other);
        assert_ne!(changed, text);
        let offer = Description::parse(&changed).unwrap();
        let answer = answer(&offer, &local("bob", 200), &can).unwrap();
        let agreed = lines(&answer, &offer).unwrap().remove(0);
        assert_eq!(agreed.send.unwrap().rlc_payload_type, None);
        assert_eq!(agreed.receive.unwrap().payload_types, [(111, Some(112))]);
    }
}

#[test]
fn a_direct_call_sends_on_the_first_line_that_the_offerer_listens_on() {
    let wants = [
        line(Audio, Direction::SendOnly),
        line(Video, Direction::SendOnly),
        line(Audio, Direction::RecvOnly),
        line(Audio, Direction::RecvOnly),
        line(Video, Direction::RecvOnly),
    ];
    let offer = offer(&local("ann", 100), &can(), &wants);
    let voice_only = Capabilities { send: Counts { audio: 1, video: 0 }, ..can() };
    let answer = answer(&offer, &local("bob", 200), &voice_only).unwrap();
    let directions: Vec<Direction> = answer.media.iter().map(|media| media.direction).collect();
    use Direction::{Inactive, RecvOnly, SendOnly};
    assert_eq!(directions, [RecvOnly, RecvOnly, SendOnly, Inactive, Inactive]);
    let sending: Vec<String> =
        lines(&answer, &offer).unwrap().into_iter().filter(|l| l.send.is_some()).map(|l| l.mid).collect();
    assert_eq!(sending, ["2"]);
}

#[test]
fn streams_keep_clear_of_the_peers() {
    let wants = [line(Audio, Direction::SendRecv), line(Video, Direction::SendRecv)];
    let offer = offer(&local("ann", 100), &can(), &wants);
    let answer = answer(&offer, &local("bob", 101), &can()).unwrap();
    let streams = |description: &Description| -> Vec<Option<(Ssrc, Option<Ssrc>)>> {
        let other = if std::ptr::eq(description, &offer) { &answer } else { &offer };
        lines(description, other)
            .unwrap()
            .iter()
            .map(|l| l.send.as_ref().map(|s| (s.ssrc, s.rtx_ssrc)))
            .collect()
    };
    let pair = |first: u32| Some((Ssrc(first), Some(Ssrc(first + 1))));
    assert_eq!(streams(&offer), [pair(100), pair(102)]);
    assert_eq!(streams(&answer), [pair(104), pair(106)]);
}

/// libwebrtc: "Failed to add remote stream ssrc".
#[test]
fn a_line_of_sound_describes_one_stream() {
    let offer = offer(&local("ann", 100), &can(), &[line(Audio, Direction::SendRecv)]);
    assert_eq!(offer.media[0].ssrcs.len(), 1);
    assert_eq!(offer.media[0].ssrc_groups[0].ssrcs, [Ssrc(100), Ssrc(101)]);
}

#[test]
fn a_lite_answerer_waits_for_the_handshake() {
    let offer = edited(|text| text.replace("sendrecv", "sendonly")).unwrap();
    let answer = answer(&offer, &Local { lite: true, ..local("sfu", 200) }, &can()).unwrap();
    assert_eq!(answer.transport.as_ref().unwrap().setup, Setup::Passive);
    let remote = remote_transport(&offer, &answer).unwrap();
    assert!(remote.lite && remote.dtls_active);
}

#[test]
fn an_offerer_that_has_a_role_keeps_it() {
    let active = answered(|text| text.replace("setup:actpass", "setup:active")).unwrap();
    assert_eq!(active.transport.unwrap().setup, Setup::Passive);
    let passive = answered(|text| text.replace("setup:actpass", "setup:passive")).unwrap();
    assert_eq!(passive.transport.unwrap().setup, Setup::Active);
}

#[test]
fn constrained_baseline_comes_first() {
    let offer = edited(|text| {
        text.replace("102 103\r\n", "98 96 97 102 103\r\n").replace(
            "a=rtpmap:102",
            "a=rtpmap:98 H264/90000\r\n\
             a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f\r\n\
             a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42001f\r\n\
             a=rtpmap:97 h264/90000\r\na=fmtp:97 profile-level-id=42e01f\r\n\
             a=rtpmap:102",
        )
    })
    .unwrap();
    let answer = answer(&offer, &local("bob", 200), &can()).unwrap();
    assert_eq!(answer.media[1].codecs[0].payload_type, 102);
}

/// RFC 6184 §8.2.2: without level asymmetry, the lower of the two levels holds for both.
#[test]
fn the_level_is_the_lower_unless_asymmetry_is_allowed() {
    let fmtp = |edit: fn(String) -> String| answered(edit).unwrap().media[1].codecs[0].fmtp.clone();
    assert_eq!(
        fmtp(|text| text.replace("42e01f", "42e034")),
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
    );
    let symmetric = |text: String| text.replace("level-asymmetry-allowed=1;", "").replace("42e01f", "42e00d");
    assert_eq!(fmtp(symmetric), "packetization-mode=1;profile-level-id=42e00d");
}

#[test]
fn without_retransmissions_nobody_asks_for_them() {
    let offer = edited(|text| text.replace("a=fmtp:103 apt=102\r\n", "")).unwrap();
    let answer = answer(&offer, &local("bob", 200), &can()).unwrap();
    let video = &lines(&answer, &offer).unwrap()[1];
    assert!(!video.nack && video.pli);
    let send = video.send.as_ref().unwrap();
    assert_eq!((send.rtx_payload_type, send.rtx_ssrc), (None, None));
}

#[test]
fn sound_may_be_asked_for_again_without_retransmission_format() {
    let offer = edited(|text| text.replace("a=fmtp:112 apt=111\r\n", "")).unwrap();
    let answer = answer(&offer, &local("bob", 200), &can()).unwrap();
    let audio = &lines(&answer, &offer).unwrap()[0];
    assert!(audio.nack);
    assert_eq!(audio.send.as_ref().unwrap().rtx_ssrc, None);
}

#[test]
fn transport_wide_feedback_where_the_better_is_missing() {
    let answer = answered(|text| text.replace("a=rtcp-fb:* ack ccfb\r\n", "")).unwrap();
    let offer = edited(|text| text.replace("a=rtcp-fb:* ack ccfb\r\n", "")).unwrap();
    for line in lines(&answer, &offer).unwrap() {
        assert!(line.transport_cc && !line.ccfb);
        assert!(line.send.unwrap().extensions.transport_cc.is_some());
    }
}

#[test]
fn an_extension_flows_only_where_both_let_it() {
    let offer = edited(|text| text.replace("a=extmap:1 ", "a=extmap:1/sendonly ")).unwrap();
    let answer = answer(&offer, &local("bob", 200), &can()).unwrap();
    let audio = &lines(&answer, &offer).unwrap()[0];
    assert_eq!(audio.send.as_ref().unwrap().extensions.mid, None);
    assert_eq!(audio.receive.as_ref().unwrap().extensions.mid, Some(1));
}

#[test]
fn what_is_not_for_us_is_refused_in_its_place() {
    let offer = edited(|text| {
        text.replace("BUNDLE 0 1", "BUNDLE 0 1 d")
            + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\na=sctp-port:5000\r\n"
    })
    .unwrap();
    let answer = answer(&offer, &local("bob", 200), &can()).unwrap();
    assert_eq!(answer.bundle, ["0", "1"]);
    assert!(answer.media[2].rejected);
    assert!(answer.to_string().contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert_eq!(lines(&offer, &answer).unwrap().len(), 2);
}

#[test]
fn a_line_without_a_common_codec_is_refused_and_the_rest_goes_on() {
    let answer = answered(|text| text.replace("H264", "AV1")).unwrap();
    assert!(!answer.media[0].rejected && answer.media[1].rejected);
    assert_eq!(answer.media[1].mid, "1");
    assert_eq!(answer.bundle, ["0"]);
}

#[test]
fn an_unusable_offer_is_told_its_fault() {
    let fault = |edit: &dyn Fn(String) -> String| answered(edit).unwrap_err();
    let drop = |name: &'static str| {
        move |text: String| -> String {
            text.split_inclusive("\r\n").filter(|l| !l.starts_with(&format!("a={name}"))).collect()
        }
    };
    assert_eq!(fault(&drop("ice-ufrag")), SdpError::NoIce);
    assert_eq!(fault(&drop("ice-pwd")), SdpError::NoIce);
    assert_eq!(fault(&drop("fingerprint")), SdpError::NoFingerprint);
    assert_eq!(fault(&|t| t.replace("sha-256", "sha-1")), SdpError::NoFingerprint);
    assert!(matches!(fault(&|t| t.replace(":07", ":7")), SdpError::Attribute("fingerprint", _)));
    assert_eq!(fault(&drop("mid")), SdpError::Mid(0));
    assert_eq!(fault(&|t| t.replace("mid:1", "mid:0")), SdpError::Mid(1));
    assert_eq!(fault(&drop("group")), SdpError::NotBundled("0".into()));
    assert_eq!(fault(&|t| t.replace("BUNDLE 0 1", "BUNDLE 0")), SdpError::NotBundled("1".into()));
    assert_eq!(fault(&drop("rtcp-mux")), SdpError::NoRtcpMux("0".into()));
    let plain = SdpError::NotEncrypted("0".into(), "RTP/AVP".into());
    assert_eq!(fault(&|t| t.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP")), plain);
    let none = SdpError::NoCommonCodec("AV1, rtx, speex".into());
    assert_eq!(fault(&|t| t.replace("H264", "AV1").replace("opus", "speex")), none);
    assert_eq!(fault(&|t| t.replace("audio 9", "audio 0").replace("video 9", "video 0")), SdpError::NoMedia);
    assert_eq!(
        fault(&|t| t.replace("setup:actpass", "setup:holdconn")),
        SdpError::Attribute("setup", "holdconn".into())
    );
    let lite = edited(|t| t.replace("s=-\r\n", "s=-\r\na=ice-lite\r\n"));
    let both =
        answer(&lite.unwrap_or_else(|e| panic!("{e}")), &Local { lite: true, ..local("sfu", 1) }, &can());
    assert_eq!(both, Err(SdpError::BothLite));
    assert!(matches!(Description::parse("hello"), Err(SdpError::Malformed(_))));
    assert_eq!(Description::parse(&"v=0\r\n".repeat(MAX_BYTES)), Err(SdpError::TooLong));
    assert_eq!(SdpError::NoRtcpMux("0".into()).to_string(), "media line \"0\" lacks a=rtcp-mux");
}

#[test]
fn an_answer_to_something_else_is_told_its_fault() {
    let one = offer(&local("ann", 100), &can(), &[line(Audio, Direction::SendRecv)]);
    let two = offer(
        &local("ann", 100),
        &can(),
        &[line(Video, Direction::SendRecv), line(Audio, Direction::SendRecv)],
    );
    let reply = answer(&one, &local("bob", 200), &can()).unwrap();
    assert_eq!(lines(&two, &reply), Err(SdpError::LinesDiffer(1)));
    let swapped = offer(&local("ann", 100), &can(), &[line(Video, Direction::SendRecv)]);
    assert_eq!(lines(&swapped, &reply), Err(SdpError::LinesDiffer(0)));
    let moved = Description::parse(&reply.to_string().replace("111", "96")).unwrap();
    assert_eq!(lines(&one, &moved), Err(SdpError::NotOffered("0".into(), 96)));
    let mut open = reply.clone();
    open.transport.as_mut().unwrap().setup = Setup::ActPass;
    assert_eq!(remote_transport(&one, &open), Err(SdpError::SetupConflict));
}

#[test]
fn candidates_are_tried_best_first_and_odd_ones_left_out() {
    let offer = edited(|text| {
        text.replace(
            "a=end-of-candidates\r\n",
            "a=candidate:9 1 UDP 2130706999 198.51.100.7 9000 typ srflx raddr 10.0.0.1 rport 9\r\n\
             a=candidate:9 2 udp 2130706999 198.51.100.7 9001 typ host\r\n\
             a=candidate:9 1 tcp 2130706999 198.51.100.7 9 typ host tcptype active\r\n\
             a=candidate:9 1 udp 99 5d8c4f0e-3c3c-4b3a-9b0e-9b9f7fcb8a11.local 9 typ host\r\n\
             a=candidate:9 1 udp 99 2001:db8::5 9002 typ relay raddr ::1 rport 1\r\n\
             a=candidate:9 1 udp 99 0.0.0.0 9 typ host\r\na=candidate:rubbish\r\n",
        )
    })
    .unwrap();
    let transport = offer.transport.unwrap();
    assert!(!transport.end_of_candidates);
    let wanted = ["198.51.100.7:9000", "192.0.2.1:5000", "[2001:db8::5]:9002"];
    assert_eq!(transport.candidates, wanted.map(|address| address.parse().unwrap()));
    let trickled =
        "a=candidate:1 1 udp 2122260223 192.0.2.5 4000 typ host generation 0 ufrag x network-id 1\r\n";
    assert_eq!(candidate(trickled), Some("192.0.2.5:4000".parse().unwrap()));
    assert_eq!(candidate(&trickled[2..]), candidate(&trickled[12..]));
    assert_eq!(candidate(""), None);
}
