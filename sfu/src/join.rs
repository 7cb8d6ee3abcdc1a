//! Who may come in, and what is said when not.
//!
//! Why: most of what goes wrong in a call goes wrong here, with a person waiting. Each refusal names the
//! fault and what to do about it. Not here: the signature itself (`signaling::token`).

use crate::Config;
use std::fmt::Display;
use undertone_media::Timestamp;
use undertone_signaling::message::{Error, ErrorCode, Join, MessageError, VERSION};
use undertone_signaling::sdp::SdpError;
use undertone_signaling::token::{self, TokenError};
use undertone_transport::TransportError;

/// Longest name of a room or a participant, in bytes.
const NAME_BYTES: usize = 128;

/// What a join comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) room: String,
    pub(crate) name: String,
    pub(crate) publish: bool,
    pub(crate) subscribe: bool,
}

fn refusal(code: ErrorCode, message: impl Display, hint: impl Display) -> Error {
    Error { code: code.into(), message: message.to_string(), hint: hint.to_string() }
}

/// Checks a join against the configuration and the clock.
pub(crate) fn admit(config: &Config, now: Timestamp, join: &Join) -> Result<Admission, Error> {
    if join.version == 0 {
        let message =
            format!("the client speaks version {} of the protocol, the server {VERSION}", join.version);
        return Err(refusal(ErrorCode::Version, message, "update the client"));
    }
    if join.room.is_empty() || join.room.len() > NAME_BYTES || join.room.chars().any(char::is_control) {
        let message = format!("a room's name has 1 to {NAME_BYTES} bytes and no control characters");
        return Err(refusal(ErrorCode::BadMessage, message, "check the end of the room's URL"));
    }
    if config.only_rooms.as_ref().is_some_and(|rooms| !rooms.contains(&join.room)) {
        let message = format!("there is no room {:?} on this server", join.room);
        return Err(refusal(ErrorCode::RoomUnknown, message, "check the end of the room's URL"));
    }
    let mut admission =
        Admission { room: join.room.clone(), name: tidy(&join.name), publish: true, subscribe: true };
    let Some(secret) = &config.secret else { return Ok(admission) };
    if join.token.is_empty() {
        let hint = "ask whoever invited you for a link with a token";
        return Err(refusal(ErrorCode::TokenInvalid, "this server lets in nobody without a token", hint));
    }
    let now_unix = (config.unix_epoch_at_start + now.since(Timestamp::ZERO)).as_secs();
    let claims = token::verify(secret, &join.token, now_unix)
        .and_then(|claims| claims.check_room(&join.room).map(|()| claims))
        .map_err(|error| {
            let code = match error {
                TokenError::Expired { .. } => ErrorCode::TokenExpired,
                TokenError::WrongRoom { .. } => ErrorCode::NotPermitted,
                _ => ErrorCode::TokenInvalid,
            };
            refusal(code, &error, error.hint())
        })?;
    if !claims.name.is_empty() {
        admission.name = tidy(&claims.name);
    }
    admission.publish = claims.publish;
    admission.subscribe = claims.subscribe;
    Ok(admission)
}

/// A name that can be shown: no control characters, not too long.
fn tidy(name: &str) -> String {
    let mut tidy: String = name.chars().filter(|c| !c.is_control()).collect();
    while tidy.len() > NAME_BYTES {
        tidy.pop();
    }
    tidy.trim().to_owned()
}

/// The room, or the server, is full.
pub(crate) fn full(what: &str, limit: usize) -> Error {
    let message = format!("{what} is full: it takes no more than {limit}");
    refusal(ErrorCode::Full, message, "wait until somebody leaves, or use another server")
}

/// The server is being stopped.
pub(crate) fn shutting_down() -> Error {
    refusal(ErrorCode::ShuttingDown, "the server is stopping", "join again in a moment, or on another server")
}

/// A message that cannot be read.
pub(crate) fn unreadable(error: &MessageError) -> Error {
    refusal(ErrorCode::BadMessage, error, "send one undertone.v1.Message per binary frame")
}

/// A message that came at the wrong time.
pub(crate) fn out_of_turn(what: &str, instead: &str) -> Error {
    refusal(ErrorCode::BadMessage, format!("{what} came at the wrong time"), instead)
}

/// An offer that cannot be used.
pub(crate) fn bad_description(error: &SdpError) -> Error {
    let hint = "offer BUNDLE, rtcp-mux, Opus and, for pictures, H.264 with packetization-mode=1";
    refusal(ErrorCode::BadDescription, error, hint)
}

/// The participant's media path failed.
pub(crate) fn no_media(error: &TransportError) -> Error {
    let hint = match error {
        TransportError::PeerMisbehaved(_) => "join again; if it happens again, update the client",
        _ => "check that UDP to the server's media port is not blocked, then join again",
    };
    refusal(ErrorCode::MediaPath, error, hint)
}

/// The participant joined, and never offered media.
pub(crate) fn no_offer() -> Error {
    refusal(
        ErrorCode::MediaPath,
        "no offer came after the join",
        "send a Description with an offer, then media",
    )
}

/// A newer join of the same name took the place of this one, which had fallen silent.
pub(crate) fn replaced() -> Error {
    let message = "you joined again under this name while this connection was silent";
    refusal(ErrorCode::MediaPath, message, "nothing, if the newer connection works; else join again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use undertone_signaling::token::Claims;

    fn config(secret: Option<&[u8]>) -> Config {
        // The anchor is never read here; any instant will do, and the clock may not be asked.
        Config {
            secret: secret.map(<[u8]>::to_vec),
            unix_epoch_at_start: Duration::from_secs(1_000_000),
            ..Config::new(anchor())
        }
    }

    #[allow(clippy::disallowed_methods)]
    fn anchor() -> std::time::Instant {
        std::time::Instant::now()
    }

    fn join(token: &str) -> Join {
        Join { token: token.into(), room: "kitchen".into(), name: " Anna\n".into(), version: VERSION }
    }

    #[test]
    fn an_open_server_lets_everybody_in_by_a_tidy_name() {
        let admission = admit(&config(None), Timestamp::ZERO, &join("")).unwrap();
        assert_eq!(admission.name, "Anna");
    }

    #[test]
    fn a_token_is_checked_against_time_and_room() {
        let config = config(Some(b"secret"));
        let code = |now: u64, secret: &[u8], claims: &Claims| {
            let token = token::mint(secret, claims);
            admit(&config, Timestamp::from_millis(now * 1000), &join(&token)).map_err(|e| e.code())
        };
        let good = Claims::new("kitchen", "Bert", 1_000_100);
        assert_eq!(code(0, b"secret", &good).unwrap().name, "Bert");
        assert_eq!(code(500, b"secret", &good), Err(ErrorCode::TokenExpired));
        assert_eq!(code(0, b"other", &good), Err(ErrorCode::TokenInvalid));
        assert_eq!(code(0, b"secret", &Claims::new("attic", "", 1_000_100)), Err(ErrorCode::NotPermitted));
        let early = Claims { nbf: 1_000_090, ..good.clone() };
        assert_eq!(code(0, b"secret", &early), Err(ErrorCode::TokenInvalid));
        assert_eq!(admit(&config, Timestamp::ZERO, &join("")).unwrap_err().code(), ErrorCode::TokenInvalid);
        let listener = Claims { publish: false, ..good };
        assert!(!code(0, b"secret", &listener).unwrap().publish);
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for join in [
            Join { version: 0, ..join("") },
            Join { room: String::new(), ..join("") },
            Join { room: "a\u{7}b".into(), ..join("") },
            Join { room: "x".repeat(129), ..join("") },
        ] {
            let error = admit(&config(None), Timestamp::ZERO, &join).unwrap_err();
            assert!(!error.message.is_empty() && !error.hint.is_empty(), "{error:?}");
        }
    }
}
