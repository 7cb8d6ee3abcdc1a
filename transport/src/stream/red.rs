//! Packets that carry those before them.
//!
//! Why: a lost packet that comes again with the very next one costs its listener one packet time, and no round
//! trip. It costs the wire one payload a packet but no headers.
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

/// Puts a copy of the packet right before it in front of a packet. `before` is that one's timestamp and
/// payload. `None` if the copy does not fit: it is too long, or too long ago.
pub fn join(header: &Header, payload: &[u8], before: (u32, &[u8]), red: u8) -> Option<(Header, Vec<u8>)> {
    let (timestamp, copy) = before;
    let offset = header.timestamp.wrapping_sub(timestamp);
    if copy.len() > LENGTH_MAX || offset > OFFSET_MAX {
        return None;
    }
    let word = u32::from(0x80 | header.payload_type) << 24 | offset << 10 | copy.len() as u32;
    let mut joined = Vec::with_capacity(5 + copy.len() + payload.len());
    joined.extend_from_slice(&word.to_be_bytes());
    joined.push(header.payload_type & 0x7f);
    joined.extend_from_slice(copy);
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
        let (red, bytes) = join(&header(0, 500), b"new", (u32::MAX - 459, b"old!"), 63).unwrap();
        assert_eq!((red.payload_type, red.seq, red.timestamp), (63, 0, 500));
        // F, 111; 960 ticks in 14 bits, 4 bytes in 10; then 111 alone.
        assert_eq!(bytes, [&[0xef, 0x0f, 0x00, 0x04, 0x6f][..], b"old!new"].concat());
        let parts = split(&red, &bytes);
        assert_eq!(parts, [(header(0, 500), &b"new"[..]), (header(u16::MAX, u32::MAX - 459), &b"old!"[..])]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert!(join(&header(1, 20_000), b"", (0, b"long ago"), 63).is_none());
        assert!(join(&header(1, 960), b"", (0, &[0; 1024]), 63).is_none());
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
