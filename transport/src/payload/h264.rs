//! H.264 in RTP: cutting access units into payloads and putting them together again.
//!
//! Wire: RFC 6184 in packetization-mode 1: single NAL units (§5.6), STAP-A for several small ones (§5.7.1),
//! FU-A for parts of a large one (§5.8). Interleaved formats are for stored video and are refused.
//!
//! Not here: which packets make up an access unit and when to give up on one (`jitter`), H.264 itself.

const IDR_SLICE: u8 = 5;
const SPS: u8 = 7;
const AUD: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

const TYPE: u8 = 0x1f;
/// The forbidden bit and the importance of a NAL unit (RFC 6184 §1.3).
const IMPORTANCE: u8 = 0xe0;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The NAL units of a byte stream in Annex B form (H.264 §B.1), without start codes.
pub fn nal_units(annexb: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Bytes before the first start code belong to no unit.
    let first = start_code(annexb).map_or(annexb.len(), |at| at + 3);
    let mut rest = &annexb[first..];
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = start_code(rest);
            let mut unit = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[], |at| &rest[at + 3..]);
            // A zero here is the first byte of a long start code, or trailing_zero_8bits.
            while let [head @ .., 0] = unit {
                unit = head;
            }
            if !unit.is_empty() {
                return Some(unit);
            }
        }
        None
    })
}

/// Where the next `00 00 01` begins.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(&third) = bytes.get(at) {
        match (third, bytes[at - 2], bytes[at - 1]) {
            (1, 0, 0) => return Some(at - 2),
            // No start code ends within the next two bytes after anything above 1.
            (2.., _, _) => at += 3,
            _ => at += 1,
        }
    }
    None
}

/// Cuts one access unit in Annex B form into payloads of at most `max_payload` bytes (at least 8). The last
/// one's packet carries the marker. Parts of a large unit have nearly equal size, which the sender's
/// segmentation offload and the bottleneck's queue both like.
pub fn packetize(annexb: &[u8], max_payload: usize) -> Vec<Vec<u8>> {
    let max_payload = max_payload.max(8);
    let mut payloads = Vec::new();
    let mut together: Vec<&[u8]> = Vec::new();
    let mut together_len = 1;
    for unit in nal_units(annexb) {
        let len = 2 + unit.len();
        if together_len + len > max_payload {
            flush(&mut together, &mut payloads);
            together_len = 1;
        }
        if unit.len() > max_payload {
            fragment(unit, max_payload, &mut payloads);
        } else {
            together.push(unit);
            together_len += len;
        }
    }
    flush(&mut together, &mut payloads);
    payloads
}

fn flush(together: &mut Vec<&[u8]>, payloads: &mut Vec<Vec<u8>>) {
    match together[..] {
        [] => {}
        [unit] => payloads.push(unit.to_vec()),
        _ => {
            // RFC 6184 §5.7: the forbidden bit if any has it, the highest importance of all.
            let forbidden = together.iter().fold(0, |bits, unit| bits | unit[0] & 0x80);
            let importance = together.iter().map(|unit| unit[0] & 0x60).max().unwrap_or(0);
            let mut payload = vec![forbidden | importance | STAP_A];
            for unit in together.iter() {
                payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                payload.extend_from_slice(unit);
            }
            payloads.push(payload);
        }
    }
    together.clear();
}

fn fragment(unit: &[u8], max_payload: usize, payloads: &mut Vec<Vec<u8>>) {
    let (header, body) = (unit[0], &unit[1..]);
    let parts = body.len().div_ceil(max_payload - 2);
    let size = body.len().div_ceil(parts);
    for (i, part) in body.chunks(size).enumerate() {
        let start = if i == 0 { FU_START } else { 0 };
        let end = if (i + 1) * size >= body.len() { FU_END } else { 0 };
        let mut payload = Vec::with_capacity(2 + part.len());
        payload.extend_from_slice(&[header & IMPORTANCE | FU_A, start | end | header & TYPE]);
        payload.extend_from_slice(part);
        payloads.push(payload);
    }
}

/// Puts the payloads of one access unit, in order and complete, together in Annex B form. `None` if they do
/// not fit together: a fragment is missing or out of order, or the peer sent nonsense. Empty payloads are
/// padding and are skipped.
pub fn assemble<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut fragment_of = None;
    for payload in payloads {
        let Some((&indicator, mut rest)) = payload.split_first() else { continue };
        match indicator & TYPE {
            FU_A => {
                let (&fu, part) = rest.split_first()?;
                let header = indicator & IMPORTANCE | fu & TYPE;
                if fu & FU_START != 0 {
                    if fragment_of.is_some() || fu & FU_END != 0 {
                        return None; // RFC 6184 §5.8: never both
                    }
                    fragment_of = Some(fu & TYPE);
                    out.extend_from_slice(&START_CODE);
                    out.push(header);
                } else if fragment_of != Some(fu & TYPE) {
                    return None;
                }
                out.extend_from_slice(part);
                if fu & FU_END != 0 {
                    fragment_of = None;
                }
            }
            _ if fragment_of.is_some() => return None,
            STAP_A => {
                while !rest.is_empty() {
                    let (len, tail) = rest.split_first_chunk()?;
                    let (unit, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
                    out.extend_from_slice(&START_CODE);
                    out.extend_from_slice(unit);
                    rest = tail;
                }
            }
            1..=23 => {
                out.extend_from_slice(&START_CODE);
                out.extend_from_slice(payload);
            }
            _ => return None,
        }
    }
    (fragment_of.is_none() && !out.is_empty()).then_some(out)
}

/// Calls `test` with the first two bytes (or one) of each NAL unit that begins in a payload.
fn any_unit(payload: &[u8], test: impl Fn(u8, Option<u8>) -> bool) -> bool {
    let Some((&indicator, mut rest)) = payload.split_first() else { return false };
    match indicator & TYPE {
        STAP_A => {
            while let Some((len, tail)) = rest.split_first_chunk() {
                let Some((unit, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len))) else {
                    return false;
                };
                if unit.first().is_some_and(|&header| test(header & TYPE, unit.get(1).copied())) {
                    return true;
                }
                rest = tail;
            }
            false
        }
        FU_A => rest.first().is_some_and(|&fu| fu & FU_START != 0 && test(fu & TYPE, rest.get(1).copied())),
        unit => test(unit, rest.first().copied()),
    }
}

/// Whether a payload begins a picture that a decoder can start with: it holds a sequence parameter set, which
/// WebRTC sends in band (RFC 7742 §6.2). The beginning of an IDR slice is not enough: what starts there, since
/// the packet before was lost, starts without its parameters.
pub fn is_key(payload: &[u8]) -> bool {
    any_unit(payload, |unit, _| unit == SPS)
}

/// Whether a payload may be the first of its access unit, for senders without a dependency descriptor: it
/// begins with parameter sets, an SEI or a delimiter, or with a slice whose first macroblock is the
/// picture's first. Of several such payloads with one timestamp, the earliest is the first.
pub fn is_start(payload: &[u8]) -> bool {
    // first_mb_in_slice is Exp-Golomb coded (H.264 §7.3.3, §9.1): zero is a single 1 bit.
    any_unit(payload, |unit, body| match unit {
        1 | 2 | IDR_SLICE => body.is_some_and(|b| b & 0x80 != 0),
        6..=AUD => true,
        _ => false,
    })
}
