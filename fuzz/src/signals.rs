//! Signalling: messages, descriptions, room URLs, tokens.

use undertone_media::Kind;
use undertone_signaling::message::{self, Message};
use undertone_signaling::sdp::{
    self, Capabilities, Counts, Description, Direction, Fingerprint, Local, Offered,
};
use undertone_signaling::{token, url::RoomUrl};

/// The secret of the seeds.
pub(crate) const SECRET: &[u8] = b"a secret of the corpus";

/// A message is read; written and read again it is the same.
pub(crate) fn signal(data: &[u8]) {
    let Ok(body) = message::decode(data) else { return };
    let again = message::decode(&message::encode(body.clone())).expect("our own message is one");
    assert_eq!(Message { body: Some(again) }, Message { body: Some(body.clone()) });
    if let message::Body::Candidate(candidate) = body {
        sdp::candidate(&candidate.candidate);
    }
}

/// One end of an exchange of descriptions.
pub(crate) fn local(lite: bool) -> Local {
    Local {
        session_id: 5,
        ufrag: "Uf01".into(),
        pwd: "a-password-of-22-chars".replace('-', "+"),
        fingerprint: Fingerprint([0x5e; 32]),
        lite,
        candidates: vec!["192.0.2.1:7000".parse().expect("an address")],
        end_of_candidates: true,
        cname: "c5".into(),
        first_ssrc: 0x1000,
    }
}

/// What we offer where the input is taken for the answer.
pub(crate) fn our_offer() -> Description {
    let line = |kind, direction| Offered { kind, direction };
    let lines = [
        line(Kind::Audio, Direction::SendOnly),
        line(Kind::Video, Direction::SendOnly),
        line(Kind::Audio, Direction::RecvOnly),
        line(Kind::Video, Direction::RecvOnly),
    ];
    sdp::offer(
        &local(false),
        &Capabilities { audio_red: true, audio_rlc: true, ..Capabilities::default() },
        &lines,
    )
}

/// A description is read, taken for an offer and answered, and taken for the answer to ours.
pub(crate) fn sdp(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    sdp::candidate(text);
    let Ok(theirs) = Description::parse(text) else { return };
    let written = theirs.to_string();
    let again = Description::parse(&written).expect("our own writing of it can be read");
    assert_eq!(again.to_string(), written);
    for lite in [false, true] {
        let few = Counts { audio: 1, video: 1 };
        let can = if lite {
            Capabilities::default()
        } else {
            Capabilities { send: few, audio_red: true, audio_rlc: true, ..Default::default() }
        };
        let Ok(answer) = sdp::answer(&theirs, &local(lite), &can) else { continue };
        let text = answer.to_string();
        let read = Description::parse(&text).expect("our own answer can be read");
        assert_eq!(read.media.len(), theirs.media.len());
        let ours = sdp::lines(&answer, &theirs).expect("our own answer agrees");
        assert!(ours.iter().all(|line| {
            let sent = line.send.as_ref().map(|it| it.clock_rate);
            let received = line.receive.as_ref().map(|it| it.clock_rate);
            sent.into_iter().chain(received).all(|rate| rate > 0)
        }));
        let _ = sdp::remote_transport(&answer, &theirs);
        let _ = sdp::lines(&theirs, &read);
    }
    let offer = our_offer();
    let _ = sdp::lines(&offer, &theirs);
    let _ = sdp::remote_transport(&offer, &theirs);
}

/// A room URL is read and written; what follows the first line end is a token, or part of one.
pub(crate) fn link(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (link, token) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(room) = RoomUrl::parse(link) {
        let again = RoomUrl::parse(&room.to_string()).expect("our own URL is one");
        assert_eq!((again.room, again.token, again.port), (room.room, room.token, room.port));
    }
    for now in [0, 1_000, u64::MAX] {
        if let Ok(claims) = token::verify(SECRET, token, now) {
            let _ = claims.check_room(link);
            let minted = token::mint(SECRET, &claims);
            assert_eq!(token::verify(SECRET, &minted, now), Ok(claims));
        }
        assert!(token::verify(b"another secret", token, now).is_err());
    }
}
