//! Packets that carry those before them.
//!
//! Why: a lost packet that comes again with the very next one costs its listener one packet time, and no round
//! trip. It costs the wire one payload a packet but no headers. Several copies mend bursts.
//!
//! Wire: RFC 2198. Blocks do not say which packets they copy: a copy `n` places before the newest block is of
//! the packet `n` before, as all senders in use have it.
//!
//! Not here: when copies are worth it.

use crate::rtp::Header;

/// RFC 2198 §3: a block's length has 10 bits,
const LENGTH_MAX: usize = (1 << 10) - 1;
/// how far back its sound lies has 14.
const OFFSET_MAX: u32 = (1 << 14) - 1;

/// Puts copies of the packets right before it in front of a packet. `before` holds their timestamps and
/// payloads, oldest first, without a gap. A copy that does not fit, since it is too long or too long ago, is
/// left out, and with it all that are older: blocks are counted from the newest. `None` if none is left.
pub fn join(header: &Header, payload: &[u8], before: &[(u32, &[u8])], red: u8) -> Option<(Header, Vec<u8>)> {
    let fits = |&&(timestamp, copy): &&(u32, &[u8])| {
        copy.len() <= LENGTH_MAX && header.timestamp.wrapping_sub(timestamp) <= OFFSET_MAX
    };
    let fitting = before.iter().rev().take_while(fits).count();
    let copies = &before[before.len() - fitting..];
    if copies.is_empty() {
        return None;
    }
    let bytes: usize = copies.iter().map(|(_, copy)| 4 + copy.len()).sum();
    let mut joined = Vec::with_capacity(bytes + 1 + payload.len());
    for (timestamp, copy) in copies {
        let offset = header.timestamp.wrapping_sub(*timestamp);
        let word = u32::from(0x80 | header.payload_type) << 24 | offset << 10 | copy.len() as u32;
        joined.extend_from_slice(&word.to_be_bytes());
    }
    joined.push(header.payload_type & 0x7f);
    for (_, copy) in copies {
        joined.extend_from_slice(copy);
    }
    joined.extend_from_slice(payload);
    Some((Header { payload_type: red, ..*header }, joined))
}

/// Takes such a packet apart: the newest first, so that what it carries beside itself is known to be missing
/// when its turn comes. Of a packet that lies about its lengths, nothing is taken.
pub fn split<'a>(header: &Header, payload: &'a [u8]) -> Vec<(Header, &'a [u8])> {
    blocks(header, payload).unwrap_or_default()
}

fn blocks<'a>(header: &Header, payload: &'a [u8]) -> Option<Vec<(Header, &'a [u8])>> {
    let mut rest = payload;
    let mut copies = Vec::new();
    let newest = loop {
        let (&first, after) = rest.split_first()?;
        if first & 0x80 == 0 {
            rest = after;
            break first;
        }
        let (word, after) = rest.split_first_chunk()?;
        let word = u32::from_be_bytes(*word);
        copies.push((first & 0x7f, word >> 10 & OFFSET_MAX, word as usize & LENGTH_MAX));
        rest = after;
    };
    let places = u16::try_from(copies.len()).ok()?;
    let mut blocks = Vec::with_capacity(copies.len() + 1);
    for (at, (payload_type, offset, length)) in (0..).zip(copies) {
        let (copy, after) = rest.split_at_checked(length)?;
        rest = after;
        let seq = header.seq.wrapping_sub(places - at);
        let timestamp = header.timestamp.wrapping_sub(offset);
        blocks.push((Header { payload_type, seq, timestamp, marker: false, ..*header }, copy));
    }
    blocks.push((Header { payload_type: newest, ..*header }, rest));
    blocks.reverse();
    Some(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Extensions;
    use proptest::prelude::*;
    use undertone_media::Ssrc;

    fn header(seq: u16, timestamp: u32) -> Header {
        let ext = Extensions::default();
        Header { payload_type: 111, marker: false, seq, timestamp, ssrc: Ssrc(7), ext }
    }

    #[test]
    fn the_bytes_are_those_of_rfc_2198() {
        let (red, bytes) = join(&header(0, 500), b"new", &[(u32::MAX - 459, b"old!")], 63).unwrap();
        assert_eq!((red.payload_type, red.seq, red.timestamp), (63, 0, 500));
        // F, 111; 960 ticks in 14 bits, 4 bytes in 10; then 111 alone.
        assert_eq!(bytes, [&[0xef, 0x0f, 0x00, 0x04, 0x6f][..], b"old!new"].concat());
        let parts = split(&red, &bytes);
        assert_eq!(parts, [(header(0, 500), &b"new"[..]), (header(u16::MAX, u32::MAX - 459), &b"old!"[..])]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert!(join(&header(1, 20_000), b"", &[(0, b"long ago")], 63).is_none());
        assert!(join(&header(1, 960), b"", &[(0, &[0; 1024])], 63).is_none());
        // What is before it would be taken for the packet right before.
        let (red, bytes) =
            join(&header(3, 2_880), b"new", &[(0, b"1"), (960, &[0; 1024]), (1_920, b"3")], 63).unwrap();
        assert_eq!(split(&red, &bytes), [(header(3, 2_880), &b"new"[..]), (header(2, 1_920), &b"3"[..])]);
    }

    #[test]
    fn copies_of_several_packets_come_back_in_their_places() {
        let (red, bytes) =
            join(&header(1, 1_920), b"new", &[(u32::MAX - 959, b"a"), (0, b""), (960, b"ccc")], 63).unwrap();
        let expected = [
            (header(1, 1_920), &b"new"[..]),
            (header(0, 960), b"ccc"),
            (header(u16::MAX, 0), b""),
            (header(u16::MAX - 1, u32::MAX - 959), b"a"),
        ];
        assert_eq!(split(&red, &bytes), expected);
    }

    #[test]
    fn the_newest_alone_is_a_packet_too() {
        assert_eq!(split(&header(5, 9), &[111, 1, 2]), [(header(5, 9), &[1u8, 2][..])]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let parts = split(&header(3, 3), &bytes);
            prop_assert!(parts.iter().map(|(_, part)| part.len()).sum::<usize>() <= bytes.len());
        }
    }
}
