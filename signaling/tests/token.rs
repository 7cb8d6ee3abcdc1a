//! Who is admitted, who is not, and what they are told.

use proptest::prelude::*;
use std::time::Duration;
use undertone_signaling::token::*;

const SECRET: &[u8] = b"a secret of the operator";
const NOON: u64 = 1_800_000_000;

#[test]
fn a_minted_token_admits_with_its_grants() {
    let claims = Claims { publish: false, nbf: NOON - 10, ..Claims::new("standup", "Ann", NOON + 60) };
    let token = mint(SECRET, &claims);
    assert_eq!(verify(SECRET, &token, NOON), Ok(claims));
}

/// Made with Python's hmac: header {"alg":"HS256","typ":"JWT"}, claims {"room":"standup","exp":1800000060}.
#[test]
fn a_token_of_another_library_admits_with_full_grants() {
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb29tIjoic3RhbmR1cCIsImV4cCI6MTgwMDAwMDA2MH0.\
                 q6Mg7IjPHoCOOXKqRLu21fSyWpjCI5GqKUmQwEHC-z4";
    assert_eq!(verify(SECRET, token, NOON), Ok(Claims::new("standup", "", NOON + 60)));
}

/// The system's clock says neither 1970 nor 2200; only the time that is passed in counts.
#[test]
fn time_is_a_parameter() {
    for now in [1_000_000, NOON, 7_258_118_400] {
        let token = mint(SECRET, &Claims { nbf: now, ..Claims::new("r", "", now + 1) });
        assert!(verify(SECRET, &token, now).is_ok());
        assert!(verify(SECRET, &token, now + 3600).is_err());
        assert!(verify(SECRET, &token, now - 3600).is_err());
    }
}

#[test]
fn each_fault_has_its_own_name() {
    let good = mint(SECRET, &Claims::new("standup", "Ann", NOON));
    assert_eq!(verify(SECRET, &good, NOON + 90), Err(TokenError::Expired { ago: Duration::from_secs(90) }));
    let early = mint(SECRET, &Claims { nbf: NOON, ..Claims::new("standup", "Ann", NOON + 60) });
    let wait = Duration::from_secs(30);
    assert_eq!(verify(SECRET, &early, NOON - 30), Err(TokenError::NotYetValid { wait }));
    assert_eq!(verify(b"another", &good, NOON - 1), Err(TokenError::BadSignature));
    let mut changed = good.clone().into_bytes();
    let middle = good.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    assert_eq!(verify(SECRET, &String::from_utf8(changed).unwrap(), NOON - 1), Err(TokenError::BadSignature));
    for broken in ["", "hello", "a.b.c", "..", &good[..good.len() / 2]] {
        assert!(matches!(verify(SECRET, broken, NOON), Err(TokenError::Malformed(_))), "{broken:?}");
    }
    let claims = verify(SECRET, &good, NOON - 1).unwrap();
    assert_eq!(claims.check_room("standup"), Ok(()));
    let wrong = TokenError::WrongRoom { granted: "standup".into(), asked: "board".into() };
    assert_eq!(claims.check_room("board"), Err(wrong));
}

/// `alg: none` and RS256 are classic ways around a signature.
#[test]
fn only_hs256_admits() {
    let none = "eyJhbGciOiJub25lIn0.eyJyb29tIjoiciIsImV4cCI6MTgwMDAwMDA2MH0.";
    let rs256 = "eyJhbGciOiJSUzI1NiJ9.eyJyb29tIjoiciIsImV4cCI6MTgwMDAwMDA2MH0.AAAA";
    for token in [none, rs256] {
        assert!(matches!(verify(SECRET, token, NOON), Err(TokenError::Malformed(_))));
    }
}

/// Signed by us, but not of our shape: whoever mints tokens is told what is missing.
#[test]
fn a_claim_that_is_missing_is_named() {
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &std::collections::BTreeMap::from([("exp", NOON)]),
        &jsonwebtoken::EncodingKey::from_secret(SECRET),
    );
    let Err(TokenError::Malformed(why)) = verify(SECRET, &token.unwrap(), NOON) else { panic!("it admits") };
    assert!(why.contains("room"), "{why}");
}

#[test]
fn a_fault_says_what_it_is_and_what_to_do() {
    let expired = TokenError::Expired { ago: Duration::from_secs(7200) };
    assert_eq!(expired.to_string(), "the token expired 7200 s ago");
    assert_eq!(expired.hint(), "ask for a new link or token");
}

proptest! {
    #[test]
    fn no_text_admits_by_chance(text in ".{0,200}") {
        prop_assert!(verify(SECRET, &text, NOON).is_err());
    }
}
