//! Transport-wide feedback: what arrived when, by a number that runs through all packets of a transport.
//!
//! Wire: draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1. Browsers speak it; between our own ends
//! RFC 8888 (`ccfb`) needs no extension on every packet.

use super::Reader;
use undertone_media::Ssrc;

/// One tick of a delta, in microseconds.
pub(crate) const TICK_MICROS: i64 = 250;
/// One tick of the reference time, in microseconds.
pub(crate) const REFERENCE_MICROS: i64 = 64_000;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// The feedback as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwccFeedback {
    /// Who reports.
    pub sender: Ssrc,
    /// Any stream of the transport; it says nothing.
    pub media: Ssrc,
    /// Number of the first packet reported on.
    pub base_seq: u16,
    /// What the first delta counts from, in 64 ms of the receiver's clock; 24 bits, wraps.
    pub reference_time: u32,
    /// Counts the reports, so that a lost one is noticed; wraps.
    pub feedback_count: u8,
    /// For each packet from `base_seq` on: the ticks of 250 µs since the one received before it (the first
    /// counts from the reference time), or `None` if it did not arrive.
    pub deltas: Vec<Option<i16>>,
}

impl TwccFeedback {
    /// The numbers reported on, each with its arrival in microseconds after [`Self::reference_micros`].
    pub fn arrivals(&self) -> impl Iterator<Item = (u16, Option<i64>)> + '_ {
        let mut at = 0;
        self.deltas.iter().enumerate().map(move |(i, delta)| {
            let arrival = delta.map(|delta| {
                at += i64::from(delta) * TICK_MICROS;
                at
            });
            (self.base_seq.wrapping_add(i as u16), arrival)
        })
    }

    /// The reference time in microseconds of the receiver's clock, modulo 2^24 ticks of 64 ms.
    pub fn reference_micros(&self) -> i64 {
        i64::from(self.reference_time) * REFERENCE_MICROS
    }

    pub(super) fn read(mut body: Reader<'_>) -> Option<TwccFeedback> {
        let (sender, media) = (body.ssrc()?, body.ssrc()?);
        let base_seq = body.u16()?;
        let count = usize::from(body.u16()?);
        let reference_time = body.u24()?;
        let feedback_count = body.u8()?;

        let mut symbols: Vec<u8> = Vec::new();
        while symbols.len() < count {
            let chunk = body.u16()?;
            if chunk >> 15 == 0 {
                // A chunk that runs past the count is cut, not refused: some senders fill the last one up.
                let run = usize::from(chunk & 0x1fff).min(count - symbols.len());
                if run == 0 {
                    return None;
                }
                symbols.resize(symbols.len() + run, (chunk >> 13 & 3) as u8);
            } else if chunk >> 14 & 1 == 0 {
                symbols.extend((0..14).rev().map(|bit| (chunk >> bit & 1) as u8));
            } else {
                symbols.extend((0..7).rev().map(|pair| (chunk >> (2 * pair) & 3) as u8));
            }
        }
        symbols.truncate(count);

        let mut deltas = Vec::with_capacity(count);
        for symbol in symbols {
            deltas.push(match symbol {
                SMALL_DELTA => Some(i16::from(body.u8()?)),
                LARGE_DELTA => Some(body.u16()? as i16),
                _ => None, // 3 is reserved
            });
        }
        Some(TwccFeedback { sender, media, base_seq, reference_time, feedback_count, deltas })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let deltas = &self.deltas[..self.deltas.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&self.sender.0.to_be_bytes());
        out.extend_from_slice(&self.media.0.to_be_bytes());
        out.extend_from_slice(&self.base_seq.to_be_bytes());
        out.extend_from_slice(&(deltas.len() as u16).to_be_bytes());
        out.extend_from_slice(&((self.reference_time << 8) | u32::from(self.feedback_count)).to_be_bytes());
        let symbols: Vec<u8> = deltas.iter().map(|&delta| symbol(delta)).collect();
        let mut rest = &symbols[..];
        while !rest.is_empty() {
            let (chunk, covered) = chunk(rest);
            out.extend_from_slice(&chunk.to_be_bytes());
            rest = &rest[covered..];
        }
        for delta in deltas.iter().flatten() {
            match u8::try_from(*delta) {
                Ok(small) => out.push(small),
                Err(_) => out.extend_from_slice(&delta.to_be_bytes()),
            }
        }
    }
}

fn symbol(delta: Option<i16>) -> u8 {
    match delta {
        None => NOT_RECEIVED,
        Some(0..=255) => SMALL_DELTA,
        Some(_) => LARGE_DELTA,
    }
}

/// The chunk that says most about the symbols at the front of `rest`, and how many it covers.
fn chunk(rest: &[u8]) -> (u16, usize) {
    let run = rest.iter().take_while(|&&s| s == rest[0]).count().min(0x1fff);
    let ones = rest.iter().take(14).take_while(|&&s| s != LARGE_DELTA).count();
    let one_bit = if ones == rest.len().min(14) { ones } else { 0 };
    let two_bit = rest.len().min(7);
    if run >= one_bit.max(two_bit) {
        (u16::from(rest[0]) << 13 | run as u16, run)
    } else if one_bit >= two_bit {
        let bits =
            rest[..one_bit].iter().enumerate().fold(0, |bits, (i, &s)| bits | u16::from(s) << (13 - i));
        (0x8000 | bits, one_bit)
    } else {
        let pairs =
            rest[..two_bit].iter().enumerate().fold(0, |bits, (i, &s)| bits | u16::from(s) << (12 - 2 * i));
        (0xc000 | pairs, two_bit)
    }
}
