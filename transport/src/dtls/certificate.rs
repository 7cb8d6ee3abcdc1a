//! Self-signed certificates, and the fingerprints that stand for them in signalling (RFC 8122).
//!
//! Nobody reads a certificate of ours but for its key and its hash, so it holds as little as X.509 allows: on a
//! weak link each of its bytes delays the call. It is written by hand because the same seed must give the
//! same bytes, signature included (RFC 6979).

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePrivateKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a certificate, as signalled in SDP (RFC 8122 §5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Fingerprint {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Fingerprint(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no SHA-256 fingerprint: 32 hexadecimal bytes joined by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFingerprint;

impl fmt::Display for BadFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a SHA-256 fingerprint: 32 hexadecimal bytes joined by colons")
    }
}

impl std::error::Error for BadFingerprint {}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;
    fn from_str(text: &str) -> Result<Fingerprint, BadFingerprint> {
        let mut bytes = [0; 32];
        let mut parts = text.trim().split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(BadFingerprint)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(BadFingerprint);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadFingerprint)?;
        }
        if parts.next().is_some() { Err(BadFingerprint) } else { Ok(Fingerprint(bytes)) }
    }
}

/// What an end proves itself with: a self-signed certificate and its P-256 key.
#[derive(Clone)]
pub struct Certificate {
    /// X.509, DER.
    pub der: Vec<u8>,
    /// PKCS #8, DER. Secret.
    pub key: Vec<u8>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

impl Certificate {
    /// A fresh one from the system's randomness.
    pub fn generate() -> Certificate {
        Certificate::from_seed(crate::system_seed())
    }

    /// The one that belongs to a seed: same seed, same bytes.
    pub fn from_seed(seed: [u8; 32]) -> Certificate {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let key = signing_key(&mut rng);
        // Firefox wants serial numbers to differ between certificates. A clear top bit keeps it positive, a
        // set second one keeps its length.
        let mut serial = [0; 8];
        rng.fill_bytes(&mut serial);
        serial[0] = serial[0] & 0x7f | 0x40;

        let public = key.verifying_key().to_sec1_point(false);
        let tbs = sequence(&[
            &tagged(0xa0, &[&tagged(INTEGER, &[&[2]])]), // version 3
            &tagged(INTEGER, &[&serial]),
            &sequence(&[ECDSA_WITH_SHA256]),
            &name(),
            &sequence(&[&tagged(UTC_TIME, &[b"200101000000Z"]), &tagged(UTC_TIME, &[b"491231235959Z"])]),
            &name(),
            &sequence(&[
                &sequence(&[EC_PUBLIC_KEY, PRIME256V1]),
                &tagged(BIT_STRING, &[&[0], public.as_bytes()]),
            ]),
        ]);
        let signature: Signature = key.sign(&tbs);
        let signature = signature.to_der();
        let der = sequence(&[
            &tbs,
            &sequence(&[ECDSA_WITH_SHA256]),
            &tagged(BIT_STRING, &[&[0], signature.as_bytes()]),
        ]);
        let key = key.to_pkcs8_der().map(|document| document.as_bytes().to_vec()).unwrap_or_default();
        Certificate { der, key }
    }

    /// One that was stored. A wrong one shows when a session begins.
    pub fn from_der(der: Vec<u8>, key: Vec<u8>) -> Certificate {
        Certificate { der, key }
    }

    /// What signalling announces.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }
}

fn signing_key(rng: &mut ChaCha20Rng) -> SigningKey {
    loop {
        let mut scalar = [0; 32];
        rng.fill_bytes(&mut scalar);
        // All but one in 2^32 are below the group's order.
        if let Ok(key) = SigningKey::from_slice(&scalar) {
            return key;
        }
    }
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const PRIME256V1: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const COMMON_NAME: &[u8] = &[0x06, 3, 0x55, 4, 3];

fn name() -> Vec<u8> {
    sequence(&[&tagged(SET, &[&sequence(&[COMMON_NAME, &tagged(UTF8_STRING, &[b"u"])])])])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(SEQUENCE, parts)
}

/// Tag, length, value (X.690 §8.1), of less than 64 KiB.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = vec![tag];
    match length {
        0..0x80 => der.push(length as u8),
        0x80..0x100 => der.extend([0x81, length as u8]),
        _ => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_certificate_and_another_seed_another() {
        let (one, same, other) = (
            Certificate::from_seed([1; 32]),
            Certificate::from_seed([1; 32]),
            Certificate::from_seed([2; 32]),
        );
        assert_eq!(one.der, same.der);
        assert_eq!(one.key, same.key);
        assert_ne!(one.der, other.der);
        assert!(one.der.len() < 300, "{} bytes", one.der.len());
        assert_ne!(Certificate::generate().der, Certificate::generate().der);
    }

    #[test]
    fn fingerprints_survive_their_text() {
        let fingerprint = Certificate::from_seed([1; 32]).fingerprint();
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 95);
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text.to_lowercase().parse(), Ok(fingerprint));
        for bad in
            ["", "AB", &text[1..], &format!("{text}:00"), &text.replace(':', ";"), &text.replace(":", ":+")]
        {
            assert_eq!(bad.parse::<Fingerprint>(), Err(BadFingerprint), "{bad}");
        }
    }
}
