//! Captures for Wireshark, and for whoever wants to count.
//!
//! Format: pcapng (draft-ietf-opsawg-pcapng), one little-endian section, one interface of LINKTYPE_RAW
//! with microsecond timestamps, which count from the start of the run. Each datagram appears once, at the
//! time it was sent, under IPv4 (RFC 791) and UDP (RFC 768) headers that are made up here, checksums
//! included. A comment on each packet says what became of it, so Wireshark's filter
//! `frame.comment contains "lost"` finds the holes.
//!
//! Not here: reading captures, IPv6.

use crate::world::Sent;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use undertone_media::Fate;

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_RAW: u16 = 101;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_TSRESOL: u16 = 9;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// Writes one capture. The output is not buffered here: give a `BufWriter` for a file.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    block: Vec<u8>,
    packets: u16,
}

impl<W: Write> Writer<W> {
    /// Begins a capture. Fails if `out` does.
    pub fn new(out: W) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, block: Vec::new(), packets: 0 };
        writer.block.extend(0x1A2B_3C4D_u32.to_le_bytes());
        writer.block.extend(1u16.to_le_bytes());
        writer.block.extend(0u16.to_le_bytes());
        writer.block.extend(u64::MAX.to_le_bytes());
        writer.finish_block(SECTION_HEADER)?;

        writer.block.extend(LINKTYPE_RAW.to_le_bytes());
        writer.block.extend(0u16.to_le_bytes());
        writer.block.extend(0u32.to_le_bytes());
        writer.option(OPTION_IF_NAME, b"undertone");
        writer.option(OPTION_IF_TSRESOL, &[6]);
        writer.option(OPTION_END, &[]);
        writer.finish_block(INTERFACE_DESCRIPTION)?;
        Ok(writer)
    }

    /// Adds a datagram. Fails if the output does, and for IPv6 addresses or a payload that no IPv4
    /// datagram can carry.
    pub fn write(&mut self, sent: &Sent) -> io::Result<()> {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (sent.from, sent.to) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a capture holds IPv4 only"));
        };
        let total = u16::try_from(IPV4_HEADER + UDP_HEADER + sent.bytes.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "larger than any IPv4 datagram"))?;

        let at = sent.at.as_micros();
        self.block.extend(0u32.to_le_bytes());
        self.block.extend(((at >> 32) as u32).to_le_bytes());
        self.block.extend((at as u32).to_le_bytes());
        self.block.extend(u32::from(total).to_le_bytes());
        self.block.extend(u32::from(total).to_le_bytes());
        self.block.extend(ipv4_header(*from.ip(), *to.ip(), total, self.packets));
        self.block.extend(udp_header((*from.ip(), from.port()), (*to.ip(), to.port()), &sent.bytes));
        self.block.extend(&sent.bytes);
        self.pad();
        let comment = match sent.fate {
            Some(Fate::Arrives(at)) => {
                format!("arrives {}.{:06}", at.as_micros() / 1_000_000, at.as_micros() % 1_000_000)
            }
            Some(Fate::Lost) => "lost by the link".into(),
            Some(Fate::Overflowed) => "lost, the queue was full".into(),
            None => "lost, nobody is there".into(),
        };
        self.option(OPTION_COMMENT, comment.as_bytes());
        self.option(OPTION_END, &[]);
        self.packets = self.packets.wrapping_add(1);
        self.finish_block(ENHANCED_PACKET)
    }

    /// Ends the capture and gives the output back, flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.block.extend(code.to_le_bytes());
        self.block.extend((value.len() as u16).to_le_bytes());
        self.block.extend(value);
        self.pad();
    }

    /// Fills up to the next 32-bit boundary.
    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// A block says its type and its whole length before its body, and the length again after it.
    fn finish_block(&mut self, kind: u32) -> io::Result<()> {
        let length = (self.block.len() as u32 + 12).to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&length)?;
        self.out.write_all(&self.block)?;
        self.out.write_all(&length)?;
        self.block.clear();
        Ok(())
    }
}

fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, total: u16, identification: u16) -> [u8; IPV4_HEADER] {
    let mut header = [0; IPV4_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    header[6] = 0x40; // Do not fragment, as sockets of real-time media ask for.
    header[8] = 64; // Time to live.
    header[9] = 17; // UDP.
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let checksum = !ones_sum(0, &header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn udp_header(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> [u8; UDP_HEADER] {
    let length = (UDP_HEADER + payload.len()) as u16;
    let mut header = [0; UDP_HEADER];
    header[0..2].copy_from_slice(&from.1.to_be_bytes());
    header[2..4].copy_from_slice(&to.1.to_be_bytes());
    header[4..6].copy_from_slice(&length.to_be_bytes());
    // The pseudo header: both addresses, protocol 17, and the length once more.
    let mut sum = ones_sum(17, &from.0.octets());
    sum = ones_sum(sum, &to.0.octets());
    sum = ones_sum(sum, &length.to_be_bytes());
    sum = ones_sum(sum, &header);
    // Zero would say "no checksum"; its other form in ones' complement stands for it.
    let checksum = match !ones_sum(sum, payload) {
        0 => 0xFFFF,
        checksum => checksum,
    };
    header[6..8].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// The ones' complement sum of RFC 1071 over big-endian words, going on from `start`.
fn ones_sum(start: u16, bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    let mut sum = u64::from(start) + bytes.chunks(2).map(word).sum::<u64>();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_checksum_of_a_known_header() {
        // The worked example of RFC 1071's algorithm that textbooks use: 172.16.10.99 to 172.16.10.12.
        let header = [
            0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x00, 0x00, 0xac, 0x10, 0x0a, 0x63,
            0xac, 0x10, 0x0a, 0x0c,
        ];
        assert_eq!(!ones_sum(0, &header), 0xb1e6);
    }

    #[test]
    fn headers_sum_to_all_ones() {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(ones_sum(0, &ipv4_header(from, to, 33, 7)), 0xFFFF);
        for payload in [&b"hello"[..], b"", b"even"] {
            let header = udp_header((from, 5000), (to, 6000), payload);
            let mut sum = ones_sum(17, &from.octets());
            sum = ones_sum(sum, &to.octets());
            sum = ones_sum(sum, &header[4..6]);
            sum = ones_sum(sum, &header);
            assert_eq!(ones_sum(sum, payload), 0xFFFF);
        }
    }
}
