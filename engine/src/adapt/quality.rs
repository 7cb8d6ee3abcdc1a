//! What a listener hears of it: coded rate, packet time and what is missing, as one number.
//!
//! Why: rate given to speech and rate given to protection can only be weighed in one currency. It is PESQ-WB (ITU-T
//! P.862.2) above 1, in thousandths. What `undertone lab speech` and PESQ say of many voices follows one simple law:
//! *flaws add*. The flaw is the inverse of the quality; coding has one, speech brought back from deep redundancy adds about
//! 1 for the whole of it, by how finely it was quantised, and concealed speech about 2.5, and more the closer gaps come: it
//! is made up from what was heard before. How long gaps are makes little difference. `bench/adapt.py` measures the tables again.

use super::survival::ONE;
use std::time::Duration;

/// Coded rates that are weighed, in bit/s, with the quality at packets of 20 ms and at longer ones.
#[rustfmt::skip]
pub(super) const RATES: [(u64, u64, u64); 14] = [
    ( 6_000,  710, 1110), ( 6_500, 1040, 1500), ( 7_000, 1430, 1770), ( 7_500, 1730, 2020), ( 8_000, 1960, 2190),
    ( 9_000, 2330, 2470), (10_000, 2580, 2670), (11_000, 2750, 2840), (12_000, 2900, 2990), (14_000, 3110, 3180),
    (16_000, 3240, 3260), (18_000, 3300, 3330), (20_000, 3370, 3380), (23_000, 3430, 3430),
];

/// The same where speech may be narrowband, for the rates at which that makes a difference.
#[rustfmt::skip]
const NARROW: [(u64, u64, u64); 5] = [
    ( 6_000, 1280, 1550), ( 6_500, 1490, 1710), ( 7_000, 1660, 1860), ( 7_500, 1820, 1980), ( 8_000, 1970, 2190),
];

/// A flaw that makes speech as bad as PESQ can tell, 1.1.
const HOPELESS: u64 = 10_000;

/// Quantisers of deep redundancy that are weighed: the flaw that speech brought back from them adds, in thousandths for
/// the whole of it, in packets of 60 ms, and the bits of 40 ms.
pub(super) const QUANTISERS: [(u8, u64, u64); 5] =
    [(2, 970, 66), (4, 1_050, 54), (6, 1_290, 40), (8, 1_960, 27), (10, 1_970, 18)];

/// A packet time, and what is heard of speech that is missing in such packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    pub(super) packet: Duration,
    /// The flaw that concealed speech adds, in thousandths for the whole of it, as long as it is little; and how much that grows
    /// with its share.
    concealed: u64,
    crowded: u64,
    /// What speech from deep redundancy adds beside its quantiser's flaw: the more seams, the more.
    deep: i64,
}

const fn length(ms: u64, concealed: u64, crowded: u64, deep: i64) -> Length {
    Length { packet: Duration::from_millis(ms), concealed, crowded, deep }
}

/// Packet times that are weighed: libopus codes frames of up to 60 ms, so longer packets hold two.
pub(super) const LENGTHS: [Length; 4] = [
    length(20, 2_510, 13_670, 120),
    length(40, 2_350, 24_380, 110),
    length(60, 2_590, 23_190, 0),
    length(120, 2_280, 24_320, -260),
];

/// The flaw of coded speech of which nothing is missing, at one of [`RATES`].
pub(super) fn coded(packet: Duration, rate: (u64, u64, u64), narrowband: bool) -> u64 {
    let narrow = NARROW.iter().find(|narrow| narrowband && narrow.0 == rate.0);
    let (_, short, long) = *narrow.unwrap_or(&rate);
    1_000_000 / if packet <= LENGTHS[0].packet { short } else { long }
}

/// The quality that is left when so much is concealed and so much comes from deep redundancy, in millionths, the latter with
/// this flaw of its quantiser.
pub(super) fn heard(length: Length, coded: u64, concealed: u64, (deep, flaw): (u64, u64)) -> i64 {
    let missing = (length.concealed + length.crowded * concealed / ONE) * concealed / ONE;
    let flaw = coded + missing + flaw.saturating_add_signed(length.deep) * deep / ONE;
    (1_000_000 / flaw.min(HOPELESS)) as i64
}

/// What is left of a quality at a delay from mouth to ear, in millionths.
///
/// A millisecond costs 1.6 thousandths, one beyond 177 ms less than one. The E-model (ITU-T G.107) asks for less up to
/// there and for five times as much beyond; but it judges lines on which everything is understood. Here who is hard to
/// understand is better understood late than not at all, and what is understood anyway is not to be late by more than it takes.
pub(super) fn timely(mouth_to_ear: Duration) -> i64 {
    let micros = mouth_to_ear.as_micros() as i64;
    let beyond = (micros - 177_000).max(0);
    (1_000_000 - (micros - beyond) * 1600 / 1000 - beyond * 900 / 1000).max(50_000)
}
