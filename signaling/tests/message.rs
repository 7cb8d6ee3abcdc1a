//! Messages survive the wire, and garbage does not pass for one.

use proptest::prelude::*;
use undertone_signaling::message::*;

#[test]
fn a_message_comes_back_as_it_went() {
    let join = Join { token: "t".into(), room: "room".into(), name: "Ann".into(), version: VERSION };
    assert_eq!(decode(&encode(join.clone())), Ok(Body::Join(join)));
    let slots = Slots {
        slots: vec![Slot { mid: "2".into(), participant: 7, kind: MediaKind::Video.into(), active: true }],
    };
    assert_eq!(decode(&encode(slots.clone())), Ok(Body::Slots(slots)));
    assert_eq!(decode(&encode(Leave {})), Ok(Body::Leave(Leave {})));
}

/// Old peers read numbers, not names: these bytes may never change.
#[test]
fn the_wire_format_is_fixed() {
    assert_eq!(encode(Ping { id: 5 }), [0x52, 0x02, 0x08, 0x05]);
    let description = Description { kind: DescriptionKind::Answer.into(), sdp: "v".into() };
    assert_eq!(encode(description), [0x1a, 0x05, 0x08, 0x02, 0x12, 0x01, b'v']);
    let error = Error { code: ErrorCode::TokenExpired.into(), message: String::new(), hint: "h".into() };
    assert_eq!(encode(error), [0x4a, 0x05, 0x08, 0x02, 0x1a, 0x01, b'h']);
}

#[test]
fn a_body_from_a_newer_peer_is_told_apart_from_garbage() {
    // Field 99, two bytes long.
    assert_eq!(decode(&[0x9a, 0x06, 0x02, 0x08, 0x01]), Err(MessageError::Unknown));
    assert_eq!(decode(&[]), Err(MessageError::Unknown));
    assert!(matches!(decode(&[0x0a, 0x7f]), Err(MessageError::Malformed(_))));
    assert_eq!(decode(&vec![0; MAX_BYTES + 1]), Err(MessageError::TooLong { bytes: MAX_BYTES + 1 }));
}

proptest! {
    #[test]
    fn any_bytes_give_a_body_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(body) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(body.clone())), Ok(body));
        }
    }
}
