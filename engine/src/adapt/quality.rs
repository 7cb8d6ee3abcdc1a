//! What a listener hears of it: coded rate, packet time and what is missing, as one number.
//!
//! Why: rate given to speech and rate given to protection can only be weighed in one currency. It is PESQ-WB (ITU-T
//! P.862.2) above 1, in thousandths. What `undertone lab speech` and PESQ say of many voices follows one simple law:
//! *flaws add*. The flaw is the inverse of the quality; coding has one, concealed speech adds about 4.5 for the whole
//! of it, speech brought back from deep redundancy about 1, by how finely it was quantised. `bench/adapt.py` measures
//! the tables again.

use super::survival::ONE;
use std::time::Duration;

/// Coded rates that are weighed, in bit/s, with the quality at packets of 20 ms and at longer ones.
#[rustfmt::skip]
pub(super) const RATES: [(u64, u64, u64); 14] = [
    ( 6_000,  710, 1110), ( 6_500, 1040, 1500), ( 7_000, 1430, 1770), ( 7_500, 1730, 1960), ( 8_000, 1960, 2190),
    ( 9_000, 2330, 2470), (10_000, 2580, 2670), (11_000, 2750, 2840), (12_000, 2910, 2990), (14_000, 3110, 3180),
    (16_000, 3230, 3260), (18_000, 3300, 3330), (20_000, 3370, 3380), (23_000, 3430, 3430),
];

/// The same where speech may be narrowband, for the rates at which that makes a difference.
#[rustfmt::skip]
const NARROW: [(u64, u64, u64); 5] = [
    ( 6_000, 1280, 1550), ( 6_500, 1490, 1710), ( 7_000, 1660, 1860), ( 7_500, 1820, 1980), ( 8_000, 1970, 2190),
];

/// A flaw that makes speech as bad as PESQ can tell, 1.1.
const HOPELESS: u64 = 10_000;

/// Quantisers of deep redundancy that are weighed: the flaw that speech brought back from them adds, in thousandths for
/// the whole of it, and the bits of 40 ms.
pub(super) const QUANTISERS: [(u8, u64, u64); 5] =
    [(2, 760, 66), (4, 930, 54), (6, 1_150, 40), (8, 1_480, 27), (10, 1_850, 18)];

/// Packet times: libopus codes frames of up to 60 ms, so longer packets hold two. The flaw that concealed speech adds, and
/// what speech from deep redundancy adds beside its quantiser's flaw: the more seams, or the longer the gaps, the more.
pub(super) const PACKETS: [(Duration, u64, u64); 4] = [
    (Duration::from_millis(20), 4_000, 350),
    (Duration::from_millis(40), 4_500, 250),
    (Duration::from_millis(60), 6_500, 0),
    (Duration::from_millis(120), 7_000, 300),
];

/// The flaw of coded speech of which nothing is missing, at one of [`RATES`].
pub(super) fn coded(packet: Duration, rate: (u64, u64, u64), narrowband: bool) -> u64 {
    let narrow = NARROW.iter().find(|narrow| narrowband && narrow.0 == rate.0);
    let (_, short, long) = *narrow.unwrap_or(&rate);
    1_000_000 / if packet <= PACKETS[0].0 { short } else { long }
}

/// The quality that is left when this share is concealed and that one deep redundancy, in millionths.
pub(super) fn heard(coded: u64, (concealed, flaw): (u64, u64), (deep, deep_flaw): (u64, u64)) -> i64 {
    let flaw = coded + flaw * concealed / ONE + deep_flaw * deep / ONE;
    (1_000_000 / flaw.min(HOPELESS)) as i64
}

/// What is left of a quality at a delay from mouth to ear, in millionths.
///
/// A millisecond costs about a thousandth. The E-model (ITU-T G.107) asks for less up to 177 ms and for five times as much
/// beyond; but it judges lines on which everything is understood. Here who is hard to understand is better understood late
/// than not at all, and what is understood anyway is not to be late by more than it takes.
pub(super) fn timely(mouth_to_ear: Duration) -> i64 {
    let micros = mouth_to_ear.as_micros() as i64;
    let beyond = (micros - 177_000).max(0);
    (1_000_000 - (micros - beyond) * 1300 / 1000 - beyond * 900 / 1000).max(50_000)
}
