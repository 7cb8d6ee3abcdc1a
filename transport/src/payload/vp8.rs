//! VP8 (RFC 7741), as far as a forwarder needs it: browsers send it, and nothing here decodes it.

/// Whether a payload begins a key frame (RFC 7741 §4.2 and RFC 6386 §9.1).
pub fn is_key(payload: &[u8]) -> bool {
    begins_key(payload).unwrap_or(false)
}

fn begins_key(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    let skip = |rest: &mut &[u8], n: usize| rest.split_at_checked(n).map(|(_, tail)| *rest = tail);
    if first & 0x80 != 0 {
        let (&flags, tail) = rest.split_first()?;
        rest = tail;
        if flags & 0x80 != 0 {
            // The picture id takes a second byte when its top bit is set.
            let wide = rest.first()? & 0x80 != 0;
            skip(&mut rest, if wide { 2 } else { 1 })?;
        }
        if flags & 0x40 != 0 {
            skip(&mut rest, 1)?;
        }
        if flags & 0x30 != 0 {
            skip(&mut rest, 1)?;
        }
    }
    let starts_first_partition = first & 0x10 != 0 && first & 0x07 == 0;
    // The frame header's lowest bit is 0 in a key frame.
    Some(starts_first_partition && rest.first()? & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn key_frames_are_known_by_the_inverse_key_bit() {
        let table: [(&[u8], bool, &str); 8] = [
            (&[0x10, 0x00], true, "start of a key frame"),
            (&[0x10, 0x01], false, "start of another frame"),
            (&[0x00, 0x00], false, "continues a partition"),
            (&[0x11, 0x00], false, "starts the second partition"),
            (&[0x90, 0x80, 0x81, 0x02, 0x00], true, "behind a 15-bit picture id"),
            (&[0x90, 0xe0, 0x01, 0x02, 0x03, 0x00], true, "behind picture id, TL0PICIDX and TID"),
            (&[0x90, 0x80], false, "cut"),
            (&[], false, "empty"),
        ];
        for (payload, key, why) in table {
            assert_eq!(is_key(payload), key, "{why}");
        }
    }
}
