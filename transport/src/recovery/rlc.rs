//! Repair symbols on the packets after: a sliding-window random linear code.
//!
//! Why: a copy mends one packet and no other; a combination of all packets of the last moment mends whichever of
//! them was lost. At the same bytes it brings back far more, with any pattern of losses, as soon as as much came
//! as was lost.
//!
//! After RFC 8681 (over GF(256), coefficients of its generator, density threshold 15), with headers of our own,
//! since speech packets are short: repair symbols ride on the packets that they do not protect, and what RFC 8681
//! says of each symbol is said once a packet or follows from the packet's number.
//!
//! The [`Encoder`] and [`Decoder`] of a payload type `rlc/<rate>;apt=<type>` carry one format's packets in its own
//! stream, between ends that both speak it:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+---------------------------+-----------+-------+-----------+
//! |R|P|            ESI            |     K     | step  |     E     |  NSS (8), K repair symbols of 2·(E + 1) bytes,
//! +-+-+---------------------------+-----------+-------+-----------+  payload
//! ```
//!
//! `ESI` numbers the payload's first source symbol. Without `R` the payload follows at once: two bytes a packet.
//! `P`: only part of the payload is protected; which part its format says, so that who cannot read it (a relay)
//! can make no use of the repair symbols.
//! `K` repair symbols combine the `NSS` source symbols before `ESI`, all of packets `480·step` ticks apart; with
//! `K = NSS` they are those symbols. The first one's key is `64·ESI`, the others' follow it. A packet becomes
//! source symbols as its length (RFC 6716 §3.2.1: one or two bytes), its bytes, and zeros up to a whole symbol.
//! A packet that is missing between others is one without bytes. A sender that cannot go on in this way (another
//! packet time, a pause) begins a new window and, unless it kept
//! a packet, leaves out a number; with another symbol size it leaves out 256.
//!
//! Not here: how much to send ([`Plan`] comes from outside).

mod decoder;
mod encoder;
mod gf256;
mod solver;
mod tinymt;

pub use decoder::{Carrier, Decoder, Recovered};
pub use encoder::{Encoder, Plan, symbol_size};

/// What an encoder or a decoder has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Repair symbols sent.
    pub sent: u64,
    /// Repair symbols that came.
    pub received: u64,
    /// Of these, the ones that said something new: as many source symbols are known that would not be.
    pub innovative: u64,
    /// Packets that were lost, or late, and came back.
    pub recovered: u64,
    /// Source symbols that were protected and are too old now to come back.
    pub unrecoverable: u64,
    /// Packets that make no sense.
    pub bad: u64,
}

/// Ticks of media time that `step` counts.
const STEP_TICKS: u32 = 480;
/// The bits of the first two bytes.
const REPAIR: u16 = 0x8000;
const PARTIAL: u16 = 0x4000;
const ESI_MASK: u16 = 0x3fff;
/// The most repair symbols on one packet.
const REPAIR_MAX: usize = 63;
/// The longest payload that can be protected: more its length cannot say.
const PAYLOAD_MAX: usize = 1275;

/// What precedes repair symbols and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// 14 bits.
    esi: u16,
    partial: bool,
    repair: Option<Repair>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Repair {
    count: usize,
    step: u32,
    symbol: usize,
    window: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<(Head, &[u8])> {
        let (esi, rest) = bytes.split_first_chunk()?;
        let word = u16::from_be_bytes(*esi);
        let head = Head { esi: word & ESI_MASK, partial: word & PARTIAL != 0, repair: None };
        if word & REPAIR == 0 {
            return Some((head, rest));
        }
        let (&[a, b, window], rest) = rest.split_first_chunk()?;
        let word = u16::from_be_bytes([a, b]);
        let repair = Repair {
            count: usize::from(word >> 10),
            step: u32::from(word >> 6 & 15) * STEP_TICKS,
            symbol: 2 * (usize::from(word & 63) + 1),
            window: usize::from(window),
        };
        let sound = repair.count > 0 && repair.count <= repair.window && repair.step > 0;
        sound.then_some((Head { repair: Some(repair), ..head }, rest))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let first = self.esi & ESI_MASK | if self.partial { PARTIAL } else { 0 };
        let Some(repair) = self.repair else {
            return out.extend_from_slice(&first.to_be_bytes());
        };
        let word = (repair.count << 10) as u16 | ((repair.step / STEP_TICKS) << 6) as u16;
        out.extend_from_slice(&(first | REPAIR).to_be_bytes());
        out.extend_from_slice(&(word | (repair.symbol / 2 - 1) as u16).to_be_bytes());
        out.push(repair.window as u8);
    }
}

/// The key of a packet's first repair symbol. It follows from the code's own numbers, so that a relay may give
/// the packet others.
fn key(esi: u16) -> u16 {
    esi.wrapping_mul(64)
}

/// A length as RFC 6716 §3.2.1 writes it: one byte up to 251, else two.
fn write_length(length: usize, out: &mut Vec<u8>) {
    if length < 252 {
        out.push(length as u8);
    } else {
        out.push(252 + (length & 3) as u8);
        out.push(((length - 252) >> 2) as u8);
    }
}

/// How many bytes of length precede the payload, and how long that is.
fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [first @ ..252, ..] => Some((1, usize::from(first))),
        [first, second, ..] => Some((2, usize::from(first) + 4 * usize::from(second))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_come_back() {
        for length in 0..=PAYLOAD_MAX {
            let mut out = Vec::new();
            write_length(length, &mut out);
            assert_eq!(read_length(&out), Some((out.len(), length)));
        }
    }

    proptest! {
        #[test]
        fn heads_come_back(
            esi in 0..0x4000u16, partial in any::<bool>(), count in 1..=63usize, step in 1..=15u32, symbol in 1..=64usize, window in 63..=255usize,
        ) {
            let repair = Repair { count, step: step * STEP_TICKS, symbol: 2 * symbol, window };
            for repair in [None, Some(repair)] {
                let head = Head { esi, partial, repair };
                let mut out = Vec::new();
                head.write(&mut out);
                prop_assert_eq!(out.len(), if repair.is_some() { 5 } else { 2 });
                prop_assert_eq!(Head::parse(&out), Some((head, &[][..])));
            }
        }
    }
}
