//! The sender's side: repair symbols of the packets before, in front of each packet.

use super::gf256::{self, BLOCK, Block};
use super::solver::WINDOW_MAX;
use super::{
    ESI_MASK, Head, PAYLOAD_MAX, REPAIR_MAX, Repair, STEP_TICKS, Stats, key, tinymt::Coefficients,
    write_length,
};
use crate::rtp::Header;
use std::collections::VecDeque;

/// Symbols that are remembered: a window, and those of the packet that came on top.
const RING: usize = 2 * WINDOW_MAX;

/// So many packets may be missing in a row without ending the window.
const MISSING_MAX: u16 = 3;

/// How one packet is to protect those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many packets back, as far as they have no more than 128 symbols. Default 12: a quarter of a second of
    /// packets of 20 ms. What comes back comes after up to so many packets, so more than the listener waits for is
    /// of no use.
    pub window: usize,
    /// Repair symbols for a thousand source symbols. 500 adds half the bytes and mends up to about 20 % of loss,
    /// 1000 up to 35 and 4000 up to 60, each with a long window (`testdata/golden/rlc.txt`). Parts of a symbol add up over packets. Default 0: none.
    pub rate: u32,
    /// Bytes of a symbol, 2–128 and even; see [`symbol_size`]. Another size begins a new window, so change it as
    /// rarely as the codec's rate. Default 20.
    pub symbol: usize,
    /// The payload with its repair symbols is no longer than this; symbols that do not fit are left out. Default
    /// 1100.
    pub max_bytes: usize,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { window: 12, rate: 0, symbol: 20, max_bytes: 1100 }
    }
}

/// A symbol size for payloads of mostly `payload` bytes: about two symbols each. Fewer and larger ones come in
/// coarse steps and waste more padding; more and smaller ones cost more work for little.
pub fn symbol_size(payload: usize) -> usize {
    (payload + 1).div_ceil(2).next_multiple_of(2).clamp(8, 128)
}

/// A packet in the window.
#[derive(Clone, Copy, Debug)]
struct Source {
    seq: u16,
    timestamp: u32,
    symbols: usize,
}

/// Puts repair symbols on the packets of one stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    symbol: usize,
    /// Distance of the packets in the window.
    step: u32,
    /// Number of the next source symbol.
    esi: u64,
    /// Packets that the next repair symbols may combine, oldest first; the newest is the one before.
    window: VecDeque<Source>,
    /// Their symbols, each at its number modulo [`RING`].
    ring: Vec<Block>,
    /// Thousandths of a repair symbol that are owed.
    owed: u32,
    /// For one packet.
    scratch: Vec<u8>,
    terms: Vec<(u8, usize)>,
    stats: Stats,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder that has sent nothing.
    pub fn new() -> Encoder {
        Encoder {
            symbol: 0,
            step: 0,
            esi: 0,
            window: VecDeque::new(),
            ring: Vec::new(),
            owed: 0,
            scratch: Vec::new(),
            terms: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// What was sent.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Puts repair symbols as planned in front of a packet's payload and gives it the payload type `rlc`.
    /// `protected` is what the listener gets back if this packet is lost: the payload, or that part of it which
    /// the listener can tell from the payload ([`super::Decoder::receive`]).
    ///
    /// Packets come in the order of their numbers. Some may be missing; those that were sent without passing here
    /// do not come back.
    pub fn dress(
        &mut self,
        header: &Header,
        protected: &[u8],
        payload: &[u8],
        plan: &Plan,
        rlc: u8,
    ) -> (Header, Vec<u8>) {
        self.advance(header, plan.symbol.clamp(2, 128) & !1);
        let own = self.symbols_of(protected);
        let (packets, window) = self.reach_back(plan.window);
        let repair = Repair { count: 0, step: self.step, symbol: self.symbol, window };
        let count = self.afford(own, payload.len(), plan, window);
        let head = Head {
            esi: self.esi as u16 & ESI_MASK,
            partial: protected != payload,
            repair: (count > 0 && packets > 0).then_some(Repair { count, ..repair }),
        };
        let mut out = Vec::with_capacity(5 + count * self.symbol + payload.len());
        head.write(&mut out);
        if head.repair.is_some() {
            self.combine(head.esi, window, count, &mut out);
        }
        out.extend_from_slice(payload);
        self.push(header, protected, own);
        (Header { payload_type: rlc, ..*header }, out)
    }

    /// Makes the window one that this packet may combine.
    fn advance(&mut self, header: &Header, symbol: usize) {
        let next = self.window.back().and_then(|last| {
            let packets = header.seq.wrapping_sub(last.seq);
            let ticks = header.timestamp.wrapping_sub(last.timestamp);
            if !(1..=MISSING_MAX + 1).contains(&packets) || self.symbol != symbol {
                return None;
            }
            let step = ticks / u32::from(packets);
            let even = ticks.is_multiple_of(u32::from(packets) * STEP_TICKS);
            (even && (1..=15).contains(&(step / STEP_TICKS))).then_some((packets, step))
        });
        match next {
            Some((packets, step)) if step == self.step => {
                for _ in 1..packets {
                    self.push_missing();
                }
            }
            Some((1, step)) => {
                self.step = step;
                self.window.drain(..self.window.len() - 1);
            }
            _ => self.restart(),
        }
        if self.symbol != symbol {
            // A listener who has not heard of the new size yet cuts packets in the old one: none of what it takes
            // for their symbols may have the number of another's.
            self.esi += RING as u64;
            self.symbol = symbol;
            self.ring.clear();
            self.ring.resize(RING * gf256::blocks(symbol), [0; BLOCK]);
        }
    }

    /// Begins a new window. The number left out keeps a listener from taking the next packet for the successor
    /// of the last.
    fn restart(&mut self) {
        if self.window.pop_back().is_some() {
            self.esi += 1;
        }
        self.window.clear();
        self.owed = 0;
    }

    /// How many packets and symbols the repair symbols combine.
    fn reach_back(&self, packets: usize) -> (usize, usize) {
        let mut reach = (0, 0);
        for source in self.window.iter().rev().take(packets) {
            if reach.1 + source.symbols > WINDOW_MAX {
                break;
            }
            reach = (reach.0 + 1, reach.1 + source.symbols);
        }
        reach
    }

    /// How many repair symbols to send now. As many as the window has symbols say all there is to say.
    fn afford(&mut self, own: usize, payload: usize, plan: &Plan, window: usize) -> usize {
        let owed = u64::from(self.owed) + u64::from(plan.rate) * own as u64;
        self.owed = (owed % 1000) as u32;
        let room = plan.max_bytes.saturating_sub(5 + payload) / self.symbol;
        (owed / 1000).min(window.min(REPAIR_MAX).min(room) as u64) as usize
    }

    /// Writes the repair symbols.
    fn combine(&mut self, esi: u16, window: usize, count: usize, out: &mut Vec<u8>) {
        let stride = gf256::blocks(self.symbol);
        let start = self.esi - window as u64;
        let place = |at: usize| (start as usize + at) % RING * stride;
        let mut coefficients = Coefficients::new(key(esi), window);
        for at in 0..count {
            let end = out.len() + self.symbol;
            if count == window {
                out.extend_from_slice(self.ring[place(at)..place(at) + stride].as_flattened());
            } else {
                let factors = coefficients.next().iter();
                self.terms.clear();
                self.terms.extend(factors.enumerate().map(|(it, &factor)| (factor, place(it))));
                for block in 0..stride {
                    out.extend_from_slice(&gf256::sum_of_products(&self.terms, &self.ring, block));
                }
            }
            out.truncate(end);
        }
        self.stats.sent += count as u64;
    }

    fn symbols_of(&self, protected: &[u8]) -> usize {
        (1 + usize::from(protected.len() >= 252) + protected.len()).div_ceil(self.symbol)
    }

    /// A packet without bytes takes the place of one that is missing.
    fn push_missing(&mut self) {
        let Some(&last) = self.window.back() else { return };
        let (seq, timestamp) = (last.seq.wrapping_add(1), last.timestamp.wrapping_add(self.step));
        self.push(&Header { seq, timestamp, ..Header::default() }, &[], 1);
    }

    /// Remembers the packet for those after it.
    fn push(&mut self, header: &Header, protected: &[u8], symbols: usize) {
        let source = Source { seq: header.seq, timestamp: header.timestamp, symbols };
        if protected.len() > PAYLOAD_MAX || symbols > WINDOW_MAX {
            // Too long to be protected at all: the next packet begins anew.
            self.esi += symbols as u64;
            self.window.push_back(source);
            return self.restart();
        }
        self.scratch.clear();
        write_length(protected.len(), &mut self.scratch);
        self.scratch.extend_from_slice(protected);
        let stride = gf256::blocks(self.symbol);
        for symbol in self.scratch.chunks(self.symbol) {
            let at = self.esi as usize % RING * stride;
            gf256::fill(&mut self.ring[at..at + stride], symbol);
            self.esi += 1;
        }
        self.window.push_back(source);
        let mut held: usize = self.window.iter().map(|it| it.symbols).sum();
        while held > WINDOW_MAX {
            held -= self.window.pop_front().map_or(held, |it| it.symbols);
        }
    }
}
