//! Sealing of RTP and RTCP: SRTP (RFC 3711) and its AES-GCM profiles (RFC 7714).
//!
//! Why our own: an SFU seals every packet once per subscriber, so this is its hottest path. Keys are expanded
//! once, packets change in place, and nothing is allocated but what a packet grows by.
//!
//! Invariant: no two packets are ever sealed under one key and index, since in GCM that gives the key stream
//! and the authentication key away. A [`Sealer`] remembers what it has sealed and refuses the second.
//!
//! Not here: key exchange (`dtls`), header extension encryption, MKI, unencrypted RTCP.

mod cipher;
mod window;

use cipher::{Cipher, Purpose};
use std::collections::BTreeMap;
use window::Window;

/// The most streams that one direction tracks. A peer that uses more is refused the rest.
const MAX_STREAMS: usize = 1024;
/// RTP indices have 48 bits (RFC 3711 §3.3.1), RTCP's 31 (§3.4); then a key is used up.
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;
const MAX_RTCP_INDEX: u64 = (1 << 31) - 1;

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

impl Profile {
    /// Bytes of a master key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Profile::AeadAes256Gcm => 32,
            Profile::AeadAes128Gcm | Profile::Aes128CmSha1_80 => 16,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes that sealing adds to an RTP packet. RTCP grows by four more.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => 16,
            Profile::Aes128CmSha1_80 => 10,
        }
    }
}

/// Why a packet was neither sealed nor opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has no whole header, or no room for what sealing adds.
    Malformed,
    /// Its index was used before, or is so old that nobody can tell (RFC 3711 §3.3.2).
    Replayed,
    /// Its tag is not of this key.
    Unauthentic,
    /// The key has sealed all it may, or the peer uses too many streams.
    Exhausted,
}

/// An opened RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of plaintext, from the start of the buffer.
    pub len: usize,
    /// True if no packet of this stream had a higher index: it is no late or raced copy.
    pub newest: bool,
}

/// Makes both directions from what DTLS exported (RFC 5764 §4.2): client key, server key, client salt,
/// server salt. `None` if there are too few bytes.
pub fn from_dtls(profile: Profile, material: &[u8], client: bool) -> Option<(Sealer, Opener)> {
    let (keys, salts) = material.split_at_checked(profile.key_bytes() * 2)?;
    let (client_key, server_key) = keys.split_at_checked(profile.key_bytes())?;
    let (client_salt, rest) = salts.split_at_checked(profile.salt_bytes())?;
    let server_salt = rest.get(..profile.salt_bytes())?;
    let (ours, theirs) = if client {
        ((client_key, client_salt), (server_key, server_salt))
    } else {
        ((server_key, server_salt), (client_key, client_salt))
    };
    Some((Sealer::new(profile, ours.0, ours.1)?, Opener::new(profile, theirs.0, theirs.1)?))
}

/// Seals what we send.
pub struct Sealer {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    streams: BTreeMap<u32, Window>,
    rtcp_index: u64,
}

impl Sealer {
    /// From a master key and salt. `None` if their lengths are not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Sealer> {
        Some(Sealer {
            profile,
            rtp: Cipher::derive(profile, key, salt, Purpose::Rtp)?,
            rtcp: Cipher::derive(profile, key, salt, Purpose::Rtcp)?,
            streams: BTreeMap::new(),
            rtcp_index: 0,
        })
    }

    /// How packets are sealed.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Seals a whole RTP packet. After an error the packet must not be sent.
    pub fn protect_rtp(&mut self, packet: &mut Vec<u8>) -> Result<(), Refused> {
        let header = rtp_header(packet).ok_or(Refused::Malformed)?;
        if !self.streams.contains_key(&header.ssrc) && self.streams.len() >= MAX_STREAMS {
            return Err(Refused::Exhausted);
        }
        let window = self.streams.entry(header.ssrc).or_default();
        let index = window.nearest(header.seq).ok_or(Refused::Replayed)?;
        if index > MAX_RTP_INDEX {
            return Err(Refused::Exhausted);
        }
        if !window.is_fresh(index) {
            return Err(Refused::Replayed);
        }
        window.mark(index);
        self.rtp.seal_rtp(header.len, header.ssrc, index, packet).ok_or(Refused::Malformed)
    }

    /// Seals a whole RTCP packet, compound or reduced-size. After an error it must not be sent.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), Refused> {
        let ssrc = rtcp_ssrc(packet).ok_or(Refused::Malformed)?;
        // One count for all senders: an index only has to be unique with its SSRC.
        if self.rtcp_index >= MAX_RTCP_INDEX {
            return Err(Refused::Exhausted);
        }
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(ssrc, self.rtcp_index as u32, packet).ok_or(Refused::Malformed)
    }
}

/// Opens what the peer sends. Total: any bytes may be given.
pub struct Opener {
    rtp: Cipher,
    rtcp: Cipher,
    streams: BTreeMap<u32, Window>,
    rtcp_streams: BTreeMap<u32, Window>,
}

impl Opener {
    /// From a master key and salt. `None` if their lengths are not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Opener> {
        Some(Opener {
            rtp: Cipher::derive(profile, key, salt, Purpose::Rtp)?,
            rtcp: Cipher::derive(profile, key, salt, Purpose::Rtcp)?,
            streams: BTreeMap::new(),
            rtcp_streams: BTreeMap::new(),
        })
    }

    /// Opens an RTP packet in place. After an error the bytes may be garbled.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, Refused> {
        let header = rtp_header(packet).ok_or(Refused::Malformed)?;
        let Some(window) = self.streams.get_mut(&header.ssrc) else {
            return self.open_first(header, packet);
        };
        let index = window.nearest(header.seq).ok_or(Refused::Replayed)?;
        if !window.is_fresh(index) {
            return Err(Refused::Replayed);
        }
        let len = self.rtp.open_rtp(header.len, header.ssrc, index, packet).ok_or(Refused::Unauthentic)?;
        // Only what is authentic may move the window (RFC 3711 §3.3).
        let newest = window.mark(index);
        Ok(Opened { len, newest })
    }

    /// The first packet of a stream that we see is taken as its first cycle, or, if its number is so low
    /// that the packets before a wrap may have been lost, else as its second.
    fn open_first(&mut self, header: RtpHeader, packet: &mut [u8]) -> Result<Opened, Refused> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(Refused::Exhausted);
        }
        let second_cycle = (header.seq < 1 << 14).then(|| packet.to_vec());
        let mut index = u64::from(header.seq);
        let mut opened = self.rtp.open_rtp(header.len, header.ssrc, index, packet);
        if let (None, Some(copy)) = (opened, second_cycle) {
            packet.copy_from_slice(&copy);
            index += 1 << 16;
            opened = self.rtp.open_rtp(header.len, header.ssrc, index, packet);
        }
        let len = opened.ok_or(Refused::Unauthentic)?;
        self.streams.entry(header.ssrc).or_default().mark(index);
        Ok(Opened { len, newest: true })
    }

    /// Opens an RTCP packet in place; says how many bytes of plaintext there are. After an error the bytes
    /// may be garbled.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let ssrc = rtcp_ssrc(packet).ok_or(Refused::Malformed)?;
        let index = self.rtcp.rtcp_index(packet).ok_or(Refused::Malformed)?;
        match self.rtcp_streams.get(&ssrc) {
            Some(window) if !window.is_fresh(u64::from(index)) => return Err(Refused::Replayed),
            None if self.rtcp_streams.len() >= MAX_STREAMS => return Err(Refused::Exhausted),
            _ => {}
        }
        let len = self.rtcp.open_rtcp(ssrc, index, packet).ok_or(Refused::Unauthentic)?;
        self.rtcp_streams.entry(ssrc).or_default().mark(u64::from(index));
        Ok(len)
    }
}

#[derive(Clone, Copy)]
struct RtpHeader {
    ssrc: u32,
    seq: u16,
    /// With CSRCs and extensions: what stays readable.
    len: usize,
}

/// The few fields that sealing needs (RFC 3550 §5.1), and where the header ends.
fn rtp_header(packet: &[u8]) -> Option<RtpHeader> {
    let &[first, _, seq_high, seq_low, _, _, _, _, a, b, c, d] = packet.first_chunk::<12>()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let &[_, _, high, low] = packet.get(len..)?.first_chunk::<4>()?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    }
    (len <= packet.len()).then_some(RtpHeader {
        ssrc: u32::from_be_bytes([a, b, c, d]),
        seq: u16::from_be_bytes([seq_high, seq_low]),
        len,
    })
}

fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let &[first, _, _, _, a, b, c, d] = packet.first_chunk::<8>()?;
    (first >> 6 == 2).then_some(u32::from_be_bytes([a, b, c, d]))
}
