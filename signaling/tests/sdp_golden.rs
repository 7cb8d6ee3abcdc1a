//! Real offers and the answers that they get. `UPDATE_GOLDEN=1 cargo test` rewrites the answers; read the diff.

use std::fmt::Write as _;
use std::path::PathBuf;
use undertone_signaling::sdp::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/sdp")
}

fn compare(name: &str, actual: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, actual, "{name} differs; if that is meant, run again with UPDATE_GOLDEN=1");
}

fn sfu() -> Local {
    Local {
        session_id: 42,
        ufrag: "sfuU".into(),
        pwd: "sfuPasswordOf24Character".into(),
        fingerprint: Fingerprint([0xab; 32]),
        lite: true,
        candidates: vec!["203.0.113.1:7000".parse().unwrap(), "[2001:db8::1]:7000".parse().unwrap()],
        end_of_candidates: true,
        cname: "undertone".into(),
        first_ssrc: 1000,
    }
}

/// The plain view, one line a fact.
fn table(lines: &[Line], transport: &RemoteTransport) -> String {
    let mut text = format!("{transport:#?}\n");
    for line in lines {
        writeln!(
            text,
            "{} {:?} nack={} pli={} fir={} twcc={} ccfb={}",
            line.mid, line.kind, line.nack, line.pli, line.fir, line.transport_cc, line.ccfb
        )
        .unwrap();
        if let Some(send) = &line.send {
            writeln!(text, "  send {send:?}").unwrap();
        }
        if let Some(receive) = &line.receive {
            writeln!(text, "  receive {receive:?}").unwrap();
        }
    }
    text
}

fn check(name: &str) {
    let text = std::fs::read_to_string(folder().join(format!("{name}.offer.sdp"))).unwrap();
    let offer = Description::parse(&text).unwrap();
    assert_eq!(
        Description::parse(&offer.to_string()).as_ref(),
        Ok(&offer),
        "{name}: the offer changes on the way"
    );
    let answer = answer(&offer, &sfu(), &Capabilities::default()).unwrap();
    let written = answer.to_string();
    assert_eq!(Description::parse(&written).as_ref(), Ok(&answer), "{name}: the answer changes on the way");
    compare(&format!("{name}.answer.sdp"), &written);
    let ours = lines(&answer, &offer).unwrap();
    compare(&format!("{name}.view.txt"), &table(&ours, &remote_transport(&answer, &offer).unwrap()));
    // The offerer sees the same from its side.
    let theirs = lines(&offer, &answer).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.send.is_some(), theirs.receive.is_some(), "{name} {}", ours.mid);
        if let (Some(send), Some(receive)) = (&ours.send, &theirs.receive) {
            assert_eq!(receive.payload_types, [(send.payload_type, send.rtx_payload_type)]);
            assert_eq!((receive.ssrc, receive.rtx_ssrc), (Some(send.ssrc), send.rtx_ssrc));
            assert_eq!(receive.extensions, send.extensions);
        }
        if let (Some(send), Some(receive)) = (&theirs.send, &ours.receive) {
            assert_eq!(receive.payload_types, [(send.payload_type, send.rtx_payload_type)]);
            assert_eq!(receive.ssrc, Some(send.ssrc));
            assert_eq!(receive.extensions, send.extensions);
        }
    }
}

#[test]
fn chromium_with_slots() {
    check("chromium-156-slots");
}

#[test]
fn chromium_with_all_its_codecs_and_a_data_channel() {
    check("chromium-156-all");
}

#[test]
fn firefox_with_bundle_only_lines() {
    check("firefox");
}

#[test]
fn webrtc_rs() {
    check("webrtc-rs-0.21");
}

#[test]
fn str0m() {
    check("str0m-0.25");
}

/// Our own offer, as a client with a microphone, a camera and slots for others makes it.
#[test]
fn our_own() {
    let me = Local {
        lite: false,
        ufrag: "cliU".into(),
        pwd: "clientPasswordOf24Charac".into(),
        candidates: vec!["192.0.2.1:5000".parse().unwrap()],
        cname: "ann".into(),
        first_ssrc: 1000,
        ..sfu()
    };
    use undertone_media::Kind::{Audio, Video};
    let wants = [
        Offered { kind: Audio, direction: Direction::SendOnly },
        Offered { kind: Video, direction: Direction::SendOnly },
        Offered { kind: Audio, direction: Direction::RecvOnly },
        Offered { kind: Video, direction: Direction::RecvOnly },
    ];
    compare("undertone.offer.sdp", &offer(&me, &Capabilities::default(), &wants).to_string());
    check("undertone");
}

/// What Chromium made of our offer: no retransmissions of sound, no RFC 8888.
#[test]
fn chromium_answers_us() {
    let read =
        |name: &str| Description::parse(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap();
    let (offer, answer) = (read("undertone.offer.sdp"), read("chromium-156.answer.sdp"));
    let transport = remote_transport(&offer, &answer).unwrap();
    assert!(!transport.dtls_active);
    compare("chromium-156.view.txt", &table(&lines(&offer, &answer).unwrap(), &transport));
}
