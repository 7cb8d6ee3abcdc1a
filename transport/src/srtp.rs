//! Sealing of RTP and RTCP: SRTP (RFC 3711) and its AES-GCM profiles (RFC 7714).

/// How packets are sealed (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// AES-256 in GCM, 16-byte tag.
    AeadAes256Gcm,
    /// AES-128 in GCM, 16-byte tag.
    AeadAes128Gcm,
    /// AES-128 in counter mode, HMAC-SHA1 cut to 10 bytes.
    Aes128CmSha1_80,
}
