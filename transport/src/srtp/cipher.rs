//! The two ways of sealing, with keys prepared once: AES-GCM, and counter mode with HMAC-SHA1.
//!
//! Wire: RFC 3711 §3 (RTP: header | ciphertext | tag; RTCP: 8 bytes | ciphertext | E and index | tag) and
//! RFC 7714 §8, §9 (the RTCP tag precedes the index). Not here: which index a packet has, and whether it was
//! used before (`srtp.rs`).

use super::Profile;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

const GCM_TAG: usize = 16;
const SHA1_TAG: usize = 10;
/// The E bit (RFC 3711 §3.4): the body is encrypted. We neither send nor accept anything else.
const ENCRYPTED: u32 = 1 << 31;
/// Header and sender SSRC of an RTCP packet stay readable.
const RTCP_CLEAR: usize = 8;
/// The E bit and the index.
const RTCP_INDEX: usize = 4;

/// Sealing of one kind of packet in one direction.
pub(super) enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
    /// Boxed, since these keys are large, and a session holds four ciphers.
    Cm {
        key: Box<EncryptingKey>,
        salt: [u8; 14],
        mac: Box<hmac::Key>,
    },
}

/// Which session keys to derive (RFC 3711 §4.3.2).
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Rtp,
    Rtcp,
}

impl Cipher {
    /// Derives the session keys from a master key and salt. `None` if their lengths are wrong.
    pub(super) fn derive(profile: Profile, key: &[u8], salt: &[u8], purpose: Purpose) -> Option<Cipher> {
        if key.len() != profile.key_bytes() || salt.len() != profile.salt_bytes() {
            return None;
        }
        let first_label = match purpose {
            Purpose::Rtp => 0,
            Purpose::Rtcp => 3,
        };
        let mut session_key = [0; 32];
        let session_key = session_key.get_mut(..key.len())?;
        let mut mac_key = [0; 20];
        let mut session_salt = [0; 14];
        let session_salt = session_salt.get_mut(..salt.len())?;
        derive(key, salt, first_label, session_key)?;
        derive(key, salt, first_label + 1, &mut mac_key)?;
        derive(key, salt, first_label + 2, session_salt)?;
        Cipher::with_session_keys(profile, session_key, session_salt, &mac_key)
    }

    pub(super) fn with_session_keys(profile: Profile, key: &[u8], salt: &[u8], mac: &[u8]) -> Option<Cipher> {
        let gcm = |algorithm| {
            Some(Cipher::Gcm {
                key: LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?),
                salt: salt.try_into().ok()?,
            })
        };
        match profile {
            Profile::AeadAes256Gcm => gcm(&AES_256_GCM),
            Profile::AeadAes128Gcm => gcm(&AES_128_GCM),
            Profile::Aes128CmSha1_80 => Some(Cipher::Cm {
                key: Box::new(counter_mode(key)?),
                salt: salt.try_into().ok()?,
                mac: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, mac)),
            }),
        }
    }

    /// Seals an RTP packet whose header takes `header` bytes, under a 48-bit `index`.
    pub(super) fn seal_rtp(&self, header: usize, ssrc: u32, index: u64, packet: &mut Vec<u8>) -> Option<()> {
        match self {
            Cipher::Gcm { key, salt } => {
                let (clear, secret) = packet.split_at_mut_checked(header)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*clear), secret).ok()?;
                packet.extend_from_slice(tag.as_ref());
            }
            Cipher::Cm { key, salt, mac } => {
                apply_keystream(key, salt, ssrc, index, packet.get_mut(header..)?)?;
                // The tag also covers the rollover counter, which does not travel (RFC 3711 §4.2).
                let end = packet.len();
                packet.extend_from_slice(&((index >> 16) as u32).to_be_bytes());
                let tag = hmac::sign(mac, packet);
                packet.truncate(end);
                packet.extend_from_slice(tag.as_ref().get(..SHA1_TAG)?);
            }
        }
        Some(())
    }

    /// Opens an RTP packet in place; says how long it is now. After `None` the bytes may be garbled.
    pub(super) fn open_rtp(&self, header: usize, ssrc: u32, index: u64, packet: &mut [u8]) -> Option<usize> {
        let end = packet.len().checked_sub(self.tag_bytes()).filter(|&end| end >= header)?;
        match self {
            Cipher::Gcm { key, salt } => {
                let (sealed, tag) = packet.split_at_mut_checked(end)?;
                let (clear, secret) = sealed.split_at_mut_checked(header)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place_separate_tag(nonce, Aad::from(&*clear), tag, secret).ok()?;
            }
            Cipher::Cm { key, salt, mac } => {
                // The rollover counter takes the tag's place, so that one call sees all of the input.
                let mut tag = [0; SHA1_TAG];
                tag.copy_from_slice(packet.get(end..)?);
                packet.get_mut(end..end + 4)?.copy_from_slice(&((index >> 16) as u32).to_be_bytes());
                let ours = hmac::sign(mac, packet.get(..end + 4)?);
                packet.get_mut(end..)?.copy_from_slice(&tag);
                verify_slices_are_equal(ours.as_ref().get(..SHA1_TAG)?, &tag).ok()?;
                apply_keystream(key, salt, ssrc, index, packet.get_mut(header..end)?)?;
            }
        }
        Some(end)
    }

    /// Seals an RTCP packet under a 31-bit `index`.
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, packet: &mut Vec<u8>) -> Option<()> {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match self {
            Cipher::Gcm { key, salt } => {
                let (clear, secret) = packet.split_at_mut_checked(RTCP_CLEAR)?;
                let aad = Aad::from(rtcp_aad(clear, trailer)?);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let tag = key.seal_in_place_separate_tag(nonce, aad, secret).ok()?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&trailer);
            }
            Cipher::Cm { key, salt, mac } => {
                apply_keystream(key, salt, ssrc, u64::from(index), packet.get_mut(RTCP_CLEAR..)?)?;
                packet.extend_from_slice(&trailer);
                let tag = hmac::sign(mac, packet);
                packet.extend_from_slice(tag.as_ref().get(..SHA1_TAG)?);
            }
        }
        Some(())
    }

    /// The index that a sealed RTCP packet carries; `None` if it is too short or not encrypted.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let end = match self {
            Cipher::Gcm { .. } => packet.len(),
            Cipher::Cm { .. } => packet.len().checked_sub(SHA1_TAG)?,
        };
        if end < RTCP_CLEAR + RTCP_INDEX {
            return None;
        }
        let (_, trailer) = packet.get(..end)?.split_last_chunk::<RTCP_INDEX>()?;
        let trailer = u32::from_be_bytes(*trailer);
        (trailer & ENCRYPTED != 0).then_some(trailer & !ENCRYPTED)
    }

    /// Opens an RTCP packet in place; says how long it is now. After `None` the bytes may be garbled.
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8]) -> Option<usize> {
        let end = packet.len().checked_sub(self.tag_bytes() + RTCP_INDEX).filter(|&end| end >= RTCP_CLEAR)?;
        match self {
            Cipher::Gcm { key, salt } => {
                let (sealed, rest) = packet.split_at_mut_checked(end)?;
                let (tag, _) = rest.split_at_checked(GCM_TAG)?;
                let (clear, secret) = sealed.split_at_mut_checked(RTCP_CLEAR)?;
                let aad = Aad::from(rtcp_aad(clear, (ENCRYPTED | index).to_be_bytes())?);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                key.open_in_place_separate_tag(nonce, aad, tag, secret).ok()?;
            }
            Cipher::Cm { key, salt, mac } => {
                let (body, tag) = packet.split_at_mut_checked(end + RTCP_INDEX)?;
                let ours = hmac::sign(mac, body);
                verify_slices_are_equal(ours.as_ref().get(..SHA1_TAG)?, tag).ok()?;
                apply_keystream(key, salt, ssrc, u64::from(index), body.get_mut(RTCP_CLEAR..end)?)?;
            }
        }
        Some(end)
    }

    fn tag_bytes(&self) -> usize {
        match self {
            Cipher::Gcm { .. } => GCM_TAG,
            Cipher::Cm { .. } => SHA1_TAG,
        }
    }
}

/// RFC 7714 §8.1 and §9.1: two zero bytes, SSRC, 48-bit index, all XORed with the salt.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mask = (u128::from(ssrc) << 48) | u128::from(index);
    let salt = salt.iter().fold(0u128, |sum, &byte| (sum << 8) | u128::from(byte));
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&(salt ^ mask).to_be_bytes()[4..]);
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.3: the clear header, then the E bit and the index.
fn rtcp_aad(clear: &[u8], trailer: [u8; 4]) -> Option<[u8; 12]> {
    let mut aad = [0; 12];
    aad.get_mut(..RTCP_CLEAR)?.copy_from_slice(clear);
    aad.get_mut(RTCP_CLEAR..)?.copy_from_slice(&trailer);
    Some(aad)
}

/// RFC 3711 §4.1.1: counter mode from (salt ⊕ SSRC·2^64 ⊕ index·2^16).
fn apply_keystream(
    key: &EncryptingKey,
    salt: &[u8; 14],
    ssrc: u32,
    index: u64,
    bytes: &mut [u8],
) -> Option<()> {
    let salt = salt.iter().fold(0u128, |sum, &byte| (sum << 8) | u128::from(byte)) << 16;
    let iv = salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
    counter(key, iv, bytes)
}

/// RFC 3711 §4.3.3: a session key is the keystream of the master key from (label ⊕ salt).
fn derive(key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) -> Option<()> {
    // Salts shorter than 112 bits are filled up with zeros on the right (RFC 7714 §11).
    let mut padded = [0; 16];
    padded.get_mut(..salt.len())?.copy_from_slice(salt);
    let iv = u128::from_be_bytes(padded) ^ (u128::from(label) << 64);
    out.fill(0);
    counter(&counter_mode(key)?, iv, out)
}

fn counter(key: &EncryptingKey, iv: u128, bytes: &mut [u8]) -> Option<()> {
    let iv = EncryptionContext::Iv128(FixedLength::from(iv.to_be_bytes()));
    key.less_safe_encrypt(bytes, iv).ok().map(|_| ())
}

fn counter_mode(key: &[u8]) -> Option<EncryptingKey> {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    const QUOTE: &str = "47616c6c696120657374206f6d6e697320646976697361 20696e207061727465732074726573";

    /// RFC 3711, appendix B.3.
    #[test]
    fn session_keys_derive_as_rfc_3711_says() {
        let key = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = bytes("0EC675AD498AFEEBB6960B3AABE6");
        let mut out = [0; 94];
        derive(&key, &salt, 0, &mut out[..16]).unwrap();
        assert_eq!(out[..16], bytes("C61E7A93744F39EE10734AFE3FF7A087"));
        derive(&key, &salt, 2, &mut out[..14]).unwrap();
        assert_eq!(out[..14], bytes("30CBBC08863D8C85D49DB34A9AE1"));
        derive(&key, &salt, 1, &mut out).unwrap();
        let auth = "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF722709
            8 6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2";
        assert_eq!(out[..], bytes(auth));
    }

    /// RFC 3711, appendix B.2: the ends of a long keystream.
    #[test]
    fn the_keystream_is_that_of_rfc_3711() {
        let key = counter_mode(&bytes("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let salt: [u8; 14] = bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let mut stream = vec![0; 0xff02 * 16];
        apply_keystream(&key, &salt, 0, 0, &mut stream).unwrap();
        let head = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0";
        let tail = "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44";
        assert_eq!(stream[..48], bytes(head));
        assert_eq!(stream[0xfeff * 16..], bytes(tail));
    }

    /// RFC 7714, §16.1.1 and §16.2.1: one packet under both key lengths.
    #[test]
    fn gcm_seals_rtp_as_rfc_7714_says() {
        let header = "8040f17b8041f8d35501a0b2";
        let salt = bytes("517569642070726f2071756f");
        let cases = [
            (
                Profile::AeadAes128Gcm,
                "000102030405060708090a0b0c0d0e0f",
                "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                Profile::AeadAes256Gcm,
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ];
        for (profile, key, sealed) in cases {
            let cipher = Cipher::with_session_keys(profile, &bytes(key), &salt, &[]).unwrap();
            let plain = bytes(&(header.to_owned() + QUOTE));
            let mut packet = plain.clone();
            cipher.seal_rtp(12, 0x5501_a0b2, 0xf17b, &mut packet).unwrap();
            assert_eq!(packet, bytes(&(header.to_owned() + sealed)));
            let end = cipher.open_rtp(12, 0x5501_a0b2, 0xf17b, &mut packet).unwrap();
            assert_eq!(packet[..end], plain);
        }
    }

    /// RFC 7714, §17.1.
    #[test]
    fn gcm_seals_rtcp_as_rfc_7714_says() {
        let key = bytes("000102030405060708090a0b0c0d0e0f");
        let salt = bytes("517569642070726f2071756f");
        let cipher = Cipher::with_session_keys(Profile::AeadAes128Gcm, &key, &salt, &[]).unwrap();
        let plain = bytes(
            "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
             deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
        );
        let mut packet = plain.clone();
        cipher.seal_rtcp(0x4d61_7273, 0x5d4, &mut packet).unwrap();
        let sealed = "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade 800005d4";
        assert_eq!(packet, bytes(sealed));
        assert_eq!(cipher.rtcp_index(&packet), Some(0x5d4));
        let end = cipher.open_rtcp(0x4d61_7273, 0x5d4, &mut packet).unwrap();
        assert_eq!(packet[..end], plain);
    }

    /// The packets that libsrtp's own test driver checks itself against.
    #[test]
    fn counter_mode_seals_as_libsrtp_does() {
        let key = bytes("e1f97a0d3e018be0d64fa32c06de4139");
        let salt = bytes("0ec675ad498afeebb6960b3aabe6");
        let profile = Profile::Aes128CmSha1_80;
        let rtp = Cipher::derive(profile, &key, &salt, Purpose::Rtp).unwrap();
        let mut packet = bytes("800f1234decafbadcafebabeabababababababababababababababab");
        rtp.seal_rtp(12, 0xcafe_babe, 0x1234, &mut packet).unwrap();
        assert_eq!(
            packet,
            bytes("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb")
        );
        let rtcp = Cipher::derive(profile, &key, &salt, Purpose::Rtcp).unwrap();
        let mut packet = bytes("81c8000bcafebabeabababababababababababababababab");
        rtcp.seal_rtcp(0xcafe_babe, 1, &mut packet).unwrap();
        assert_eq!(
            packet,
            bytes("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798")
        );
    }
}
