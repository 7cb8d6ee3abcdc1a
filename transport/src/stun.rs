//! STUN messages (RFC 8489), as ICE (RFC 8445) uses them: Binding requests and their answers.
//!
//! Wire: 20 bytes of header (type, length, magic cookie, transaction), then attributes of type, length and
//! value padded to four bytes; MESSAGE-INTEGRITY (HMAC-SHA1) and FINGERPRINT (CRC-32) come last.
//!
//! Parsing is total: whatever bytes come, it answers `Some` or `None`. Not here: TURN, long-term credentials,
//! retransmission (`ice`).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MAGIC: u32 = 0x2112_a442;
const HEADER: usize = 20;
const INTEGRITY_BYTES: usize = 4 + 20;
const FINGERPRINT_BYTES: usize = 4 + 4;
/// XORed onto the CRC so that a packet of another protocol with a CRC of its own differs (RFC 8489 §14.7).
const FINGERPRINT_MASK: u32 = 0x5354_554e;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;
/// From here on an attribute may be ignored by those who do not know it (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;

/// Joins an answer to its request. Drawn at random, so that nobody off the path can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transaction(pub [u8; 12]);

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Asks to be answered: an ICE check.
    Request,
    /// Asks nothing: a keepalive.
    Indication,
    /// The request was good.
    Success,
    /// The request was refused.
    Error,
}

/// Which part the sender of a check plays, with its tie-breaker (RFC 8445 §7.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It nominates.
    Controlling(u64),
    /// It follows.
    Controlled(u64),
}

/// A Binding message that was read.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub class: Class,
    /// Which exchange it belongs to.
    pub transaction: Transaction,
    /// `receiver's ufrag:sender's ufrag`, in requests.
    pub username: Option<&'a str>,
    /// The priority that the sender gives the candidate a check leaves from.
    pub priority: Option<u32>,
    /// The sender nominates this pair.
    pub use_candidate: bool,
    /// The sender's part in ICE.
    pub part: Option<Part>,
    /// From where the answerer saw the request come.
    pub mapped: Option<SocketAddr>,
    /// Why a request was refused.
    pub error: Option<u16>,
    bytes: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins.
    integrity: Option<usize>,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` if it is no sound Binding message.
    pub fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let (header, body) = bytes.split_first_chunk::<HEADER>()?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let class = match kind {
            0x0001 => Class::Request,
            0x0011 => Class::Indication,
            0x0101 => Class::Success,
            0x0111 => Class::Error,
            _ => return None,
        };
        if header[4..8] != MAGIC.to_be_bytes() || length != body.len() || length % 4 != 0 {
            return None;
        }
        let transaction = Transaction(*header.last_chunk()?);
        let mut message = Message {
            class,
            transaction,
            username: None,
            priority: None,
            use_candidate: false,
            part: None,
            mapped: None,
            error: None,
            bytes,
            integrity: None,
        };
        let mut at = HEADER;
        while at < bytes.len() {
            let &[k0, k1, l0, l1] = bytes.get(at..)?.first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let value = bytes.get(at + 4..)?.get(..length)?;
            match (u16::from_be_bytes([k0, k1]), message.integrity) {
                (FINGERPRINT, _) => {
                    if at + FINGERPRINT_BYTES != bytes.len() || value != fingerprint(bytes.get(..at)?) {
                        return None;
                    }
                }
                // Whatever else follows the integrity is not covered by it (RFC 8489 §14.5).
                (_, Some(_)) => {}
                (MESSAGE_INTEGRITY, None) => {
                    if length != 20 {
                        return None;
                    }
                    message.integrity = Some(at);
                }
                (kind, None) => message.attribute(kind, value)?,
            }
            at += 4 + length.next_multiple_of(4);
        }
        Some(message)
    }

    fn attribute(&mut self, kind: u16, value: &'a [u8]) -> Option<()> {
        match kind {
            USERNAME => self.username = Some(str::from_utf8(value).ok()?),
            PRIORITY => self.priority = Some(u32::from_be_bytes(value.try_into().ok()?)),
            USE_CANDIDATE => self.use_candidate = true,
            ICE_CONTROLLING => {
                self.part = Some(Part::Controlling(u64::from_be_bytes(value.try_into().ok()?)))
            }
            ICE_CONTROLLED => self.part = Some(Part::Controlled(u64::from_be_bytes(value.try_into().ok()?))),
            XOR_MAPPED_ADDRESS => self.mapped = Some(read_address(value, self.transaction)?),
            ERROR_CODE => {
                let &[_, _, class, number] = value.first_chunk::<4>()?;
                self.error = Some(u16::from(class & 7) * 100 + u16::from(number));
            }
            0..OPTIONAL => return None,
            _ => {}
        }
        Some(())
    }

    /// True if whoever wrote it knows the password behind `key`.
    pub fn is_authentic(&self, key: &hmac::Key) -> bool {
        let Some(at) = self.integrity else { return false };
        let (Some(covered), Some(tag)) = (self.bytes.get(..at), self.bytes.get(at + 4..at + INTEGRITY_BYTES))
        else {
            return false;
        };
        verify_slices_are_equal(&integrity(covered, key), tag).is_ok()
    }
}

/// The key of a short-term credential (RFC 8489 §9.1.1), prepared once.
pub fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// The two ufrags in a check's USERNAME: first the receiver's own, then the sender's (RFC 8445 §7.2.2). With
/// the first of them one port can serve many sessions. Nothing is authenticated here.
pub fn username(bytes: &[u8]) -> Option<(&str, &str)> {
    Message::parse(bytes)?.username?.split_once(':')
}

/// What a check says.
#[derive(Clone, Debug)]
pub struct Check<'a> {
    /// Of this exchange.
    pub transaction: Transaction,
    /// `receiver's ufrag:sender's ufrag`.
    pub username: &'a str,
    /// Of the candidate it leaves from.
    pub priority: u32,
    /// The sender's part in ICE.
    pub part: Part,
    /// Nominates the pair.
    pub use_candidate: bool,
}

impl Check<'_> {
    /// The datagram, under the receiver's password.
    pub fn write(&self, key: &hmac::Key) -> Vec<u8> {
        let mut writer = Writer::new(0x0001, self.transaction);
        writer.attribute(USERNAME, self.username.as_bytes());
        writer.attribute(PRIORITY, &self.priority.to_be_bytes());
        match self.part {
            Part::Controlling(tie) => writer.attribute(ICE_CONTROLLING, &tie.to_be_bytes()),
            Part::Controlled(tie) => writer.attribute(ICE_CONTROLLED, &tie.to_be_bytes()),
        }
        if self.use_candidate {
            writer.attribute(USE_CANDIDATE, &[]);
        }
        writer.seal(key)
    }
}

/// The answer to a good check, under the answerer's password: it came from `mapped`.
pub fn success(transaction: Transaction, mapped: SocketAddr, key: &hmac::Key) -> Vec<u8> {
    let mut writer = Writer::new(0x0101, transaction);
    writer.attribute(XOR_MAPPED_ADDRESS, &write_address(mapped, transaction));
    writer.seal(key)
}

/// The answer to a check whose sender claims the part that we play (487, RFC 8445 §7.3.1.1).
pub fn role_conflict(transaction: Transaction, key: &hmac::Key) -> Vec<u8> {
    let mut writer = Writer::new(0x0111, transaction);
    writer.attribute(ERROR_CODE, &[0, 0, 4, 87]);
    writer.seal(key)
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn new(kind: u16, transaction: Transaction) -> Writer {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&transaction.0);
        Writer { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn seal(mut self, key: &hmac::Key) -> Vec<u8> {
        let tag = integrity(&self.bytes, key);
        self.attribute(MESSAGE_INTEGRITY, &tag);
        let crc = fingerprint(&self.bytes);
        self.attribute(FINGERPRINT, &crc);
        let length = (self.bytes.len() - HEADER) as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }
}

/// HMAC-SHA1 over what precedes the attribute, as if the message ended with it (RFC 8489 §14.5).
fn integrity(covered: &[u8], key: &hmac::Key) -> [u8; 20] {
    let length = (covered.len() + INTEGRITY_BYTES - HEADER) as u16;
    let mut context = hmac::Context::with_key(key);
    context.update(&covered[..2]);
    context.update(&length.to_be_bytes());
    context.update(&covered[4..]);
    let mut tag = [0; 20];
    tag.copy_from_slice(&context.sign().as_ref()[..20]);
    tag
}

/// CRC-32 over what precedes the attribute, as if the message ended with it (RFC 8489 §14.7).
fn fingerprint(covered: &[u8]) -> [u8; 4] {
    let length = (covered.len() + FINGERPRINT_BYTES - HEADER) as u16;
    let bytes =
        covered[..2].iter().chain(&length.to_be_bytes()).chain(&covered[4..]).copied().collect::<Vec<_>>();
    (crc32(&bytes) ^ FINGERPRINT_MASK).to_be_bytes()
}

/// The CRC of Ethernet and zip, reflected, polynomial 0x04c11db7.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0u32, |crc, &byte| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize])
}

/// What an address is XORed with, so that no middlebox rewrites it (RFC 8489 §14.2).
fn address_mask(transaction: Transaction) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC.to_be_bytes());
    mask[4..].copy_from_slice(&transaction.0);
    mask
}

fn write_address(address: SocketAddr, transaction: Transaction) -> Vec<u8> {
    let family = if address.is_ipv4() { 1 } else { 2 };
    let port = address.port() ^ (MAGIC >> 16) as u16;
    let mut value = vec![0, family];
    value.extend_from_slice(&port.to_be_bytes());
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    value.extend(octets.iter().zip(address_mask(transaction)).map(|(octet, mask)| octet ^ mask));
    value
}

fn read_address(value: &[u8], transaction: Transaction) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], octets) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0, p1]) ^ (MAGIC >> 16) as u16;
    let plain: Vec<u8> =
        octets.iter().zip(address_mask(transaction)).map(|(octet, mask)| octet ^ mask).collect();
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?)),
        2 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    /// RFC 5769 §2.1: a request with all that ICE needs.
    const REQUEST: [u8; 108] = *b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
        \x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\
        \x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

    /// RFC 5769 §2.2: the answer to it.
    const RESPONSE: [u8; 80] = *b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
        \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\x80\x28\x00\x04\
        \xc0\x7d\x4c\x96";

    #[test]
    fn the_request_of_rfc_5769_is_understood() {
        let message = Message::parse(&REQUEST).unwrap();
        assert_eq!(message.class, Class::Request);
        assert_eq!(message.username, Some("evtj:h6vY"));
        assert_eq!(message.priority, Some(0x6e00_01ff));
        assert_eq!(message.part, Some(Part::Controlled(0x932f_f9b1_5126_3b36)));
        assert!(!message.use_candidate);
        assert!(message.is_authentic(&key(PASSWORD)));
        assert!(!message.is_authentic(&key("another")));
        assert_eq!(username(&REQUEST), Some(("evtj", "h6vY")));
    }

    #[test]
    fn the_response_of_rfc_5769_is_understood() {
        let message = Message::parse(&RESPONSE).unwrap();
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped, Some("192.0.2.1:32853".parse().unwrap()));
        assert!(message.is_authentic(&key(PASSWORD)));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let (transaction, key) = (Transaction([7; 12]), key(PASSWORD));
        let part = Part::Controlling(42);
        let check =
            Check { transaction, username: "them:us", priority: 9, part, use_candidate: true }.write(&key);
        let message = Message::parse(&check).unwrap();
        assert_eq!((message.username, message.priority), (Some("them:us"), Some(9)));
        assert_eq!((message.part, message.use_candidate), (Some(part), true));
        assert!(message.is_authentic(&key));
        for address in ["192.0.2.7:9", "[2001:db8::7]:65535"] {
            let address = address.parse().unwrap();
            let answer = success(transaction, address, &key);
            assert_eq!(Message::parse(&answer).unwrap().mapped, Some(address));
        }
        let refusal = role_conflict(transaction, &key);
        assert_eq!(Message::parse(&refusal).unwrap().error, Some(487));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = username(&bytes);
        }

        /// All but FINGERPRINT, the last 8 bytes, is covered by the integrity.
        #[test]
        fn a_mutated_request_never_panics_nor_passes(at in 0..100usize, with in any::<u8>(), cut in 0..108usize) {
            let mut bytes = REQUEST;
            let changed = bytes[at] != with;
            bytes[at] = with;
            if let Some(message) = Message::parse(&bytes) {
                prop_assert!(!changed || !message.is_authentic(&key(PASSWORD)));
            }
            prop_assert!(Message::parse(&REQUEST[..cut]).is_none());
        }
    }
}
