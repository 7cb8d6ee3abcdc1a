//! Networks by name: what 2G, a satellite or a crowded café does to datagrams, as plain tables.
//!
//! Why: "what would it sound like on 2G?" needs an answer without a recording. These are synthetic: rounded
//! figures in the ranges of the sources that each row names, not measurements of any one network. Real
//! links vary within seconds; a recorded capacity (`trace`) shows that better.
//!
//! Sources:
//! - CS: 3GPP TS 44.060 §10, RLC data in a 20 ms block: GPRS CS-2 30 octets, 12 kbit/s a slot; here two slots
//!   up and three down. TS 43.064: EDGE MCS-7, 44.8 kbit/s a slot; here two up and four down.
//! - NACC: 3GPP TR 44.901, a cell change in packet transfer takes seconds, and 300–700 ms with network
//!   assistance.
//! - HPBN: I. Grigorik, "High Performance Browser Networking", round trips of active connections: 2G
//!   300–1000 ms, 3G 100–500 ms, 4G below 100 ms.
//! - WPT: WebPageTest's connectivity profiles, `www/settings/connectivity.ini.sample` (3G Slow 400 kbit/s and
//!   400 ms, 3G 1.6 Mbit/s and 300 ms, LTE 12 Mbit/s and 70 ms).
//! - Loadero: the network conditions of that WebRTC test service,
//!   <https://wiki.loadero.com/test-creation/participant-configuration/network-conditions/> (GPRS 1 % loss,
//!   HSDPA 10–20 Mbit/s, satellite phone 256 kbit/s up and 600 ms).
//! - TTI: transmission times of 3GPP TS 25.302 (dedicated channels 10–80 ms) and TS 25.308 (HSDPA 2 ms).
//! - HARQ: a tenth of first transmissions fails by design (CQI's target, TS 36.213 §7.2.3); the next comes
//!   8 ms later on LTE (TS 36.213 §8), 12 ms on HSDPA (six processes of 2 ms), about 4 ms on 5G at 30 kHz.
//! - HO: 3GPP TR 36.881, an LTE hand-over interrupts for about 50 ms.
//! - Huston: G. Huston, "A transport protocol's view of Starlink" (APNIC, 2024): a new satellite each 15 s,
//!   which costs 30–50 ms and some loss; round trips differ by 6.7 ms from one to the next.
//! - Huitema: C. Huitema, "The weird case of the wifi latency spikes" (2023): a good office Wi-Fi stands
//!   still for 100–250 ms about every 33 s.
//! - Scan: an access point leaves its channel for 30–150 ms each 10 s
//!   (<https://dot11stream.com/2018/11/23/off-channel-scan-and-voice-traffic/>).
//! - G.114: ITU-T G.114 Annex A, a geostationary hop takes about 260 ms one way.
//! - own: our judgement, which is every queue length, burst and outage, how often one changes cells, how fast
//!   RLC sends again (100–160 ms), and whatever of Wi-Fi has no source above.

use crate::path::{LinkConfig, LinkModel, Outage, Retry, Share, Stall};
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Fate, Link, Timestamp};

/// One direction of a [`Model`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// Kbit/s, headers included.
    pub rate_kbps: u32,
    /// One way, without queueing.
    pub delay_ms: u32,
    /// Uniform from 0 to this, order kept.
    pub jitter_ms: u32,
    /// Datagrams lost of a thousand, in the long run.
    pub loss_permille: u32,
    /// Datagrams lost in a row, on average.
    pub burst: u32,
    /// How much may wait before the bottleneck.
    pub queue_ms: u32,
    /// What the radio adds.
    pub radio: Radio,
}

/// What a radio does to datagrams that it does not lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Radio {
    /// It sends at multiples of this; 0 is at any time.
    pub grant_ms: u32,
    /// What it sends again.
    pub retry: Option<Retry>,
    /// When it stands still.
    pub stall: Option<Stall>,
}

impl Direction {
    /// The link of this direction.
    pub fn config(&self, outage: Option<Outage>) -> LinkConfig {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        LinkConfig {
            delay: ms(self.delay_ms),
            jitter: ms(self.jitter_ms),
            loss: Share::from_ppm(self.loss_permille * 1000),
            burst: self.burst,
            outage,
            rate: Some(Bitrate::from_kbps(self.rate_kbps.into())),
            queue: ms(self.queue_ms),
            grant: ms(self.radio.grant_ms),
            retry: self.radio.retry,
            stall: self.radio.stall,
            ..LinkConfig::default()
        }
    }
}

/// A network by name, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// What to ask for.
    pub name: &'static str,
    /// From the client into the network.
    pub up: Direction,
    /// From the network to the client.
    pub down: Direction,
    /// Stretches without any connection, the same model for both directions.
    pub outage: Option<Outage>,
    /// Where the figures come from; see the module's list.
    pub source: &'static str,
}

/// Kbit/s, ms, jitter ms, lost ‰, burst, queue ms.
type Row = (u32, u32, u32, u32, u32, u32);

const fn model(
    name: &'static str,
    up: Row,
    down: Row,
    radio: Radio,
    outage: Option<Outage>,
    source: &'static str,
) -> Model {
    const fn direction(row: Row, radio: Radio) -> Direction {
        let (rate_kbps, delay_ms, jitter_ms, loss_permille, burst, queue_ms) = row;
        Direction { rate_kbps, delay_ms, jitter_ms, loss_permille, burst, queue_ms, radio }
    }
    Model { name, up: direction(up, radio), down: direction(down, radio), outage, source }
}

/// A grant of so many ms; so many percent of transmissions fail, the next comes so many ms later, at most so often;
/// stalls.
const fn radio(grant_ms: u32, (percent, step_ms, most): (u32, u32, u32), stall: Option<Stall>) -> Radio {
    let retry = Retry { failing: Share::from_ppm(percent * 10_000), step_ms, most };
    Radio { grant_ms, retry: if most > 0 { Some(retry) } else { None }, stall }
}

const NEVER: (u32, u32, u32) = (0, 0, 0);

/// Stalls of so many ms, about so many seconds apart.
const fn about_every(secs: u32, least_ms: u32, most_ms: u32) -> Option<Stall> {
    Some(Stall { every_ms: secs * 1000, steady: false, least_ms, most_ms })
}

/// Stalls of so many ms, exactly so many seconds apart.
const fn each(secs: u32, least_ms: u32, most_ms: u32) -> Option<Stall> {
    Some(Stall { every_ms: secs * 1000, steady: true, least_ms, most_ms })
}

const fn outage(good_ms: u32, bad_ms: u32) -> Option<Outage> {
    Some(Outage { good_ms, bad_ms })
}

/// All networks, the weakest first.
#[rustfmt::skip]
pub const MODELS: &[Model] = &[
    // name, then up and down:  kbit/s, ms, jitter ms, lost ‰, burst, queue ms; grant ms, (failing %, again after ms, at most), stalls s, ms
    model("gprs",          (   24, 300, 40, 10, 3, 2000), (   36, 300, 40, 10, 3, 2000), radio(20, (10, 160, 4), about_every(60, 1000, 3000)), None, "CS, NACC, HPBN, Loadero; own"),
    model("edge",          (   88, 200, 30, 10, 3, 1500), (  176, 200, 30, 10, 3, 1500), radio(20, (10, 100, 4), about_every(60, 300, 700)), None, "CS, NACC, HPBN; own"),
    model("3g-slow",       (  400, 200, 20,  5, 3, 1000), (  400, 200, 20,  5, 3, 1000), radio(20, ( 5, 120, 3), about_every(40, 200, 800)), None, "WPT, TTI; own"),
    model("3g",            (  768, 150, 15,  5, 3,  800), ( 1600, 150, 15,  5, 3,  800), radio(10, ( 3, 100, 3), about_every(60, 100, 400)), None, "WPT, TTI; own"),
    model("hsdpa",         ( 2000,  75,  5,  5, 3,  500), (10000,  75,  5,  5, 3,  500), radio( 2, (10,  12, 4), about_every(40,  80, 200)), None, "Loadero, TTI, HARQ; own"),
    model("lte",           (12000,  35,  5,  2, 2,  300), (12000,  35,  5,  2, 2,  300), radio( 1, (10,   8, 4), None), None, "WPT, HARQ; own"),
    model("lte-train",     ( 3000,  50, 15, 10, 5,  800), ( 6000,  50, 15, 10, 5,  800), radio( 1, (15,   8, 4), about_every(12, 40, 60)), outage(15_000, 800), "HARQ, HO; own"),
    model("5g-handover",   (10000,  15,  4,  2, 3,  300), (50000,  15,  4,  2, 3,  300), radio( 1, (10,   4, 4), about_every( 6, 30, 90)), None, "HARQ, HO; own"),
    model("wifi-good",     (30000,   5,  2,  1, 1,  100), (30000,   5,  2,  1, 1,  100), radio( 0, (10,   1, 7), about_every(33, 20, 60)), None, "Huitema; own"),
    model("wifi-crowded",  ( 3000,  10, 20, 20, 4,  200), ( 3000,  10, 20, 20, 4,  200), radio( 0, (40,   8, 7), each(10, 30, 150)), None, "Scan; own"),
    model("wifi-bad",      ( 1000,  15, 30, 50, 8,  400), ( 1000,  15, 30, 50, 8,  400), radio( 0, (50,  15, 7), about_every(33, 100, 250)), outage(8_000, 400), "Huitema; own"),
    model("satellite-geo", (  256, 300, 10,  5, 2, 1000), ( 1000, 300, 10,  5, 2, 1000), radio( 0, NEVER, None), None, "Loadero, G.114; own"),
    model("satellite-leo", (10000,  20, 20,  5, 4,  200), (80000,  20, 20,  5, 4,  200), radio( 0, NEVER, each(15, 30, 50)), None, "Huston; own"),
];

/// The network of that name.
pub fn by_name(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

/// A packet of a stream, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Counted from 0.
    pub seq: u64,
    /// When it was sent.
    pub sent: Timestamp,
    /// When it came out; `None` if it never did.
    pub arrived: Option<Timestamp>,
}

/// What a listener on this network gets of a steady stream: packets of `size`, IP and UDP headers included, one
/// each `interval` for `length`, down the model's link. For jitter buffers, which need arrivals and no packets.
///
/// The same seed gives the same arrivals.
pub fn arrivals(
    model: &Model,
    interval: Duration,
    size: DataSize,
    length: Duration,
    seed: u64,
) -> Vec<Arrival> {
    let mut link = LinkModel::new(seed, 1, &model.down.config(model.outage));
    let mut arrivals = Vec::new();
    let mut sent = Timestamp::ZERO;
    while sent.since(Timestamp::ZERO) < length {
        let arrived = match link.offer(sent, size) {
            Fate::Arrives(at) => Some(at),
            Fate::Lost | Fate::Overflowed => None,
        };
        arrivals.push(Arrival { seq: arrivals.len() as u64, sent, arrived });
        sent += interval;
    }
    arrivals
}
