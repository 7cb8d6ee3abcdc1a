//! Room URLs, as people paste them.

use proptest::prelude::*;
use undertone_signaling::url::{RoomUrl, UrlError};

#[test]
fn a_room_url_is_taken_apart() {
    let url = RoomUrl::parse("http://127.0.0.1:8080/standup?token=a.b-c_d").unwrap();
    assert_eq!(url.host, "127.0.0.1");
    assert_eq!(url.port, 8080);
    assert_eq!(url.http, "http://127.0.0.1:8080");
    assert_eq!(url.websocket, "ws://127.0.0.1:8080/ws");
    assert_eq!(url.room, "standup");
    assert_eq!(url.token.as_deref(), Some("a.b-c_d"));
    assert!(!url.secure);
}

#[test]
fn what_may_be_left_out_has_a_default() {
    let url = RoomUrl::parse(" HTTPS://call.example/calls/team%20A/#chat ").unwrap();
    assert_eq!((url.port, url.room.as_str(), url.token.as_deref()), (443, "team A", None));
    assert_eq!(url.websocket, "wss://call.example:443/calls/ws");
    assert_eq!(url.to_string(), "https://call.example:443/calls/team%20A");
    assert_eq!(RoomUrl::parse("http://h/r?x=1&token=&y").unwrap().token, None);
    assert_eq!(RoomUrl::parse("https://[::1]:8443/r#token=abc").unwrap().token.as_deref(), Some("abc"));
    assert_eq!(RoomUrl::parse("http://[::1]:9/r").unwrap().websocket, "ws://[::1]:9/ws");
    assert_eq!(RoomUrl::parse("http://[::1]/r").unwrap().port, 80);
}

#[test]
fn each_fault_has_its_own_name() {
    for (text, fault) in [
        ("", UrlError::Scheme),
        ("standup", UrlError::Scheme),
        ("ws://host/r", UrlError::Scheme),
        ("http:///r", UrlError::NoHost),
        ("http://[::1/r", UrlError::NoHost),
        ("http://[[::1]/r", UrlError::NoHost),
        ("http://a]b/r", UrlError::NoHost),
        ("http://host:99999/r", UrlError::Port("99999".into())),
        ("http://host:0/r", UrlError::Port("0".into())),
        ("http://host:+80/r", UrlError::Port("+80".into())),
        ("http://[::1]x/r", UrlError::Port("x".into())),
        ("http://host", UrlError::NoRoom),
        ("http://host/?token=t", UrlError::NoRoom),
        ("http://host/r%2", UrlError::Encoding("r%2".into())),
        ("http://host/r%ff", UrlError::Encoding("r%ff".into())),
        ("http://host/two words", UrlError::Character(' ')),
        ("http://ann:pw@host/r", UrlError::Userinfo),
    ] {
        assert_eq!(RoomUrl::parse(text), Err(fault), "{text:?}");
    }
    assert_eq!(
        UrlError::NoRoom.to_string(),
        "the URL names no room (example: http://127.0.0.1:8080/room?token=…)"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,100}", tail in "[/:?#@%\\[\\]=a-z0-9]{0,40}") {
        let _ = RoomUrl::parse(&text);
        let _ = RoomUrl::parse(&format!("http://{tail}"));
    }

    #[test]
    fn a_url_comes_back_as_it_went(room in "\\PC{1,20}", token in proptest::option::of("\\PC{1,20}")) {
        let mut url = RoomUrl::parse("https://host:1/r").unwrap();
        (url.room, url.token) = (room, token);
        prop_assert_eq!(RoomUrl::parse(&url.to_string()), Ok(url));
    }
}
