//! Tokens that admit a participant to a room.
//!
//! Why: whoever runs the application decides who may enter; the server only checks the signature.
//! Format: JWT (RFC 7519) signed with HS256 (RFC 7515), claims `room`, `sub` (the name that the others see),
//! `exp`, `nbf`, `publish`, `subscribe`. Any JWT library can mint one.
//! Not here: key rotation, and single use of a token.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How far the minting and the checking clock may differ.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// What a token grants, to whom, where and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The one room that it opens.
    pub room: String,
    /// The participant's name; empty: they choose one as they join.
    #[serde(rename = "sub", default)]
    pub name: String,
    /// First second at which it no longer holds, since the Unix epoch.
    pub exp: u64,
    /// First second at which it holds. Default 0: at once.
    #[serde(default)]
    pub nbf: u64,
    /// May send media. Default true.
    #[serde(default = "granted")]
    pub publish: bool,
    /// May receive media. Default true.
    #[serde(default = "granted")]
    pub subscribe: bool,
}

fn granted() -> bool {
    true
}

impl Claims {
    /// Full grants to `room` until `exp`, in seconds since the Unix epoch.
    pub fn new(room: &str, name: &str, exp: u64) -> Claims {
        Claims { room: room.into(), name: name.into(), exp, nbf: 0, publish: true, subscribe: true }
    }

    /// Whether the token is for this room.
    pub fn check_room(&self, room: &str) -> Result<(), TokenError> {
        if self.room == room {
            return Ok(());
        }
        Err(TokenError::WrongRoom { granted: self.room.clone(), asked: room.into() })
    }
}

/// Why a token does not admit. The participant's fault, or of whoever gave them the token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// It was good once.
    Expired {
        /// How long ago it ended.
        ago: Duration,
    },
    /// It will be good later.
    NotYetValid {
        /// How long until it begins.
        wait: Duration,
    },
    /// It was signed with another secret, or changed since.
    BadSignature,
    /// It is no JWT of ours; the text says what is wrong with it.
    Malformed(String),
    /// It opens another room.
    WrongRoom {
        /// The room that it opens.
        granted: String,
        /// The room that was asked for.
        asked: String,
    },
}

impl TokenError {
    /// What the participant can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            TokenError::Expired { .. } => "ask for a new link or token",
            TokenError::NotYetValid { .. } => "wait, or check the clocks of the two machines",
            TokenError::BadSignature => "check that token and server use the same secret",
            TokenError::Malformed(_) => "copy the whole token: three parts with a dot between",
            TokenError::WrongRoom { .. } => {
                "use the room that the token names, or ask for a token for this one"
            }
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Expired { ago } => write!(f, "the token expired {} s ago", ago.as_secs()),
            TokenError::NotYetValid { wait } => {
                write!(f, "the token is not valid for another {} s", wait.as_secs())
            }
            TokenError::BadSignature => write!(f, "the token's signature does not match the server's secret"),
            TokenError::Malformed(why) => write!(f, "this is not a token: {why}"),
            TokenError::WrongRoom { granted, asked } => {
                write!(f, "the token is for room {granted:?}, not {asked:?}")
            }
        }
    }
}

impl std::error::Error for TokenError {}

/// Signs a token.
pub fn mint(secret: &[u8], claims: &Claims) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret))
        .expect("an HMAC over plain strings and numbers cannot fail")
}

/// Checks a token's signature, then its times against `now_unix`, in seconds since the Unix epoch.
///
/// The room is the caller's to check ([`Claims::check_room`]), since only the caller knows which was asked.
pub fn verify(secret: &[u8], token: &str, now_unix: u64) -> Result<Claims, TokenError> {
    let mut validation = Validation::new(Algorithm::HS256);
    // The library would read the system's clock for these; here time is a parameter.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(secret), &validation)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenError::BadSignature,
            ErrorKind::InvalidAlgorithm => TokenError::Malformed("it is not signed with HS256".into()),
            ErrorKind::InvalidToken => TokenError::Malformed("it has not three parts".into()),
            _ => TokenError::Malformed(error.to_string()),
        })?
        .claims;
    let leeway = LEEWAY.as_secs();
    if now_unix >= claims.exp.saturating_add(leeway) {
        return Err(TokenError::Expired { ago: Duration::from_secs(now_unix - claims.exp) });
    }
    if now_unix.saturating_add(leeway) < claims.nbf {
        return Err(TokenError::NotYetValid { wait: Duration::from_secs(claims.nbf - now_unix) });
    }
    Ok(claims)
}
