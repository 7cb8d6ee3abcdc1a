//! Redundancy for one subscriber whose link loses packets.
//!
//! Why: a request and its answer take a round trip, and are lost as well. Protection works from hop to hop, so
//! that one weak link costs neither the publisher nor the other subscribers a byte, and it reads no payload.
//!
//! Wire: `transport::recovery`: repair symbols where the subscriber speaks `rlc`, else copies (RED).

use crate::negotiate::SlotConfig;
use std::collections::VecDeque;
use undertone_media::{Bitrate, Kind};
use undertone_transport::recovery::red;
use undertone_transport::recovery::rlc::{Encoder, Plan, symbol_size};
use undertone_transport::rtp::Header;

/// Where protection begins, and where it ends again: below, requests alone mend all but one packet in a thousand.
const LOSS_ON: u32 = 30;
const LOSS_OFF: u32 = 15;
/// Losses are forgotten by half after so many packets.
const LOSSES_LEAST: u32 = 100;
/// A link that carries less has no room for more than the packets themselves.
const LEAST: Bitrate = Bitrate::from_kbps(40);
/// And one that carries less than this, for no more than doubling the sound: packets of 20 ms are 40 kbit/s.
const AMPLE: Bitrate = Bitrate::from_kbps(80);
const LOSS_AMPLE: u32 = 200;
/// The most copies in one packet.
const COPIES_MAX: usize = 3;

/// How much to send along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measure {
    /// Copies of the packets before, where the subscriber reads no better.
    copies: usize,
    /// Window in packets and repair symbols for a thousand source symbols.
    window: usize,
    rate: u32,
}

/// What a loss of so many in a thousand asks for; `None`: nothing.
///
/// The residual loss is that of `testdata/golden/rlc.txt`: with these windows 0.2 % at 5 % loss, 0.1 % at 10 %,
/// 0.8 % at 30 % and 3 % at 50 %, which requests make still smaller. Windows are as short as that allows, since a
/// packet comes back the later the longer they are. A copy mends all losses of one packet, two all of two, and so
/// on: 1 % remains of 10 %, 3 % of 30 %.
fn measure(loss_permille: u32, on: bool) -> Option<Measure> {
    let (copies, window, rate) = match loss_permille {
        loss if loss < if on { LOSS_OFF } else { LOSS_ON } => return None,
        ..80 => (1, 6, 500),
        80..LOSS_AMPLE => (1, 6, 1000),
        LOSS_AMPLE..400 => (2, 6, 2000),
        _ => (3, 8, 4000),
    };
    Some(Measure { copies, window, rate })
}

/// What a link loses, over its last hundred packets or two. The controller's own count begins anew with each of
/// its trials, and protection must not end with it.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    lost: u32,
    all: u32,
}

impl Losses {
    pub(crate) fn count(&mut self, lost: bool) {
        self.lost += u32::from(lost);
        self.all += 1;
        if self.all == 2 * LOSSES_LEAST {
            (self.lost, self.all) = (self.lost / 2, LOSSES_LEAST);
        }
    }

    /// In thousandths; none before enough packets went.
    pub(crate) fn permille(&self) -> u32 {
        if self.all < LOSSES_LEAST / 4 { 0 } else { self.lost * 1000 / self.all }
    }
}

/// Protects the packets of one slot.
#[derive(Debug)]
pub(crate) struct Protection {
    red: Option<u8>,
    rlc: Option<u8>,
    now: Option<Measure>,
    encoder: Encoder,
    symbol: usize,
    /// Number, timestamp and payload of the packets before, the newest last, without a gap.
    before: VecDeque<(u16, u32, Vec<u8>)>,
}

impl Protection {
    /// `None` if the slot's subscriber reads neither form.
    pub(crate) fn new(config: &SlotConfig) -> Option<Protection> {
        let readable = config.kind == Kind::Audio && (config.red.is_some() || config.rlc.is_some());
        readable.then(|| Protection {
            red: config.red,
            rlc: config.rlc,
            now: None,
            encoder: Encoder::new(),
            symbol: 0,
            before: VecDeque::new(),
        })
    }

    /// The subscriber's link loses so many packets in a thousand and carries so much, as far as is known.
    pub(crate) fn plan(&mut self, loss_permille: u32, carries: Option<Bitrate>) {
        let below = |least| carries.is_some_and(|rate| rate < least);
        let loss = if below(AMPLE) { loss_permille.min(LOSS_AMPLE - 1) } else { loss_permille };
        self.now = measure(loss, self.now.is_some()).filter(|_| !below(LEAST));
    }

    /// Whether a packet of that number would be protected by those after it.
    pub(crate) fn takes(&self, seq: u16) -> bool {
        let newest = self.before.back().map(|(newest, ..)| *newest);
        self.now.is_some() && newest.is_none_or(|newest| seq.wrapping_sub(newest) as i16 > 0)
    }

    /// A packet about to leave for the first time, with what makes up for those before it; `None`: as it is.
    pub(crate) fn dress(&mut self, header: &Header, payload: &[u8]) -> Option<(Header, Vec<u8>)> {
        let ahead = self.before.back().map(|(newest, ..)| header.seq.wrapping_sub(*newest) as i16);
        if ahead.is_some_and(|ahead| ahead <= 0) {
            return None; // overtaken: what protects it is on its way
        }
        if ahead != Some(1) {
            self.before.clear();
        }
        let dressed = self.now.and_then(|measure| match (self.rlc, self.red) {
            (Some(rlc), _) => {
                let fitting = symbol_size(payload.len());
                // Another size begins anew, so only if this one is far off.
                if self.symbol == 0 || fitting > 2 * self.symbol || 2 * fitting < self.symbol {
                    self.symbol = fitting;
                }
                let Measure { window, rate, .. } = measure;
                let plan = Plan { window, rate, symbol: self.symbol, ..Plan::default() };
                Some(self.encoder.dress(header, payload, payload, &plan, rlc))
            }
            (None, Some(red)) => {
                let first = self.before.len().saturating_sub(measure.copies);
                let before: Vec<(u32, &[u8])> =
                    self.before.range(first..).map(|(_, at, payload)| (*at, &payload[..])).collect();
                red::join(header, payload, &before, red)
            }
            (None, None) => None,
        });
        if self.before.len() == COPIES_MAX {
            self.before.pop_front();
        }
        self.before.push_back((header.seq, header.timestamp, payload.to_vec()));
        dressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_is_met_with_more() {
        let mut before = (0, 0);
        for loss in 0..1000 {
            let now = measure(loss, false).map_or((0, 0), |it| (it.copies, it.rate));
            assert!(now.0 >= before.0 && now.1 >= before.1, "at {loss}");
            before = now;
        }
        assert_eq!(before, (COPIES_MAX, 4000));
    }

    #[test]
    fn losses_are_those_of_late() {
        let mut losses = Losses::default();
        (0..24).for_each(|_| losses.count(true));
        assert_eq!(losses.permille(), 0, "too few to tell");
        (0..1000).for_each(|n| losses.count(n % 5 == 0));
        assert!((190..=210).contains(&losses.permille()));
        (0..400).for_each(|_| losses.count(false));
        assert!(losses.permille() < LOSS_OFF);
    }

    #[test]
    fn a_loss_around_the_threshold_does_not_flicker() {
        assert_eq!(measure(29, false), None);
        assert!(measure(30, false).is_some() && measure(15, true).is_some());
        assert_eq!(measure(14, true), None);
    }
}
