//! Networks by name: what 2G, a satellite or a crowded café does to datagrams, as plain tables.
//!
//! Why: "what would it sound like on 2G?" needs an answer without a recording. These are synthetic: rounded
//! figures in the ranges of the sources that each row names, not measurements of any one network. Real
//! links vary within seconds; a recorded capacity (`trace`) shows that better.
//!
//! Sources:
//! - WebPageTest: its connectivity profiles, `www/settings/connectivity.ini.sample` (rates and round trips:
//!   Edge 840 ms, 3G Slow 400 kbit/s and 400 ms, 3G 1.6 Mbit/s and 300 ms, LTE 12 Mbit/s and 70 ms).
//! - Loadero: the network conditions of that WebRTC test service,
//!   <https://wiki.loadero.com/test-creation/participant-configuration/network-conditions/> (GPRS 80/20
//!   kbit/s and 1 % loss, EDGE 260/200 kbit/s, HSDPA 10–20 Mbit/s, satellite phone 256 kbit/s up and 600 ms).
//! - G.114: ITU-T G.114 Annex A, a geostationary hop takes about 260 ms one way.
//! - own: our judgement, which every queue length, burst and outage is, and all of Wi-Fi.

use crate::path::{LinkConfig, Outage, Share};
use std::time::Duration;
use undertone_media::Bitrate;

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
}

impl Direction {
    /// The link of this direction.
    pub fn config(&self, outage: Option<Outage>) -> LinkConfig {
        LinkConfig {
            delay: Duration::from_millis(self.delay_ms.into()),
            jitter: Duration::from_millis(self.jitter_ms.into()),
            loss: Share::from_ppm(self.loss_permille * 1000),
            burst: self.burst,
            outage,
            rate: Some(Bitrate::from_kbps(self.rate_kbps.into())),
            queue: Duration::from_millis(self.queue_ms.into()),
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

const fn direction(
    rate_kbps: u32,
    delay_ms: u32,
    jitter_ms: u32,
    loss_permille: u32,
    burst: u32,
    queue_ms: u32,
) -> Direction {
    Direction { rate_kbps, delay_ms, jitter_ms, loss_permille, burst, queue_ms }
}

/// All networks, the weakest first.
#[rustfmt::skip]
pub const MODELS: &[Model] = &[
    // name, then up and down:       kbit/s, ms, jitter ms, lost ‰, burst, queue ms
    Model { name: "gprs",           up: direction(   20, 325, 100, 10, 3, 2000), down: direction(    80, 325, 100, 10, 3, 2000), outage: None, source: "Loadero; own" },
    Model { name: "edge",           up: direction(  200, 420,  50, 10, 3, 1500), down: direction(   240, 420,  50, 10, 3, 1500), outage: None, source: "WebPageTest, Loadero; own" },
    Model { name: "3g-slow",        up: direction(  400, 200,  50,  5, 3, 1000), down: direction(   400, 200,  50,  5, 3, 1000), outage: None, source: "WebPageTest, Loadero; own" },
    Model { name: "3g",             up: direction(  768, 150,  50,  5, 3,  800), down: direction(  1600, 150,  50,  5, 3,  800), outage: None, source: "WebPageTest, Loadero; own" },
    Model { name: "hsdpa",          up: direction( 2000,  75,  10,  5, 3,  500), down: direction( 10000,  75,  10,  5, 3,  500), outage: None, source: "Loadero; own" },
    Model { name: "lte",            up: direction(12000,  35,  15,  2, 2,  300), down: direction( 12000,  35,  15,  2, 2,  300), outage: None, source: "WebPageTest, Loadero; own" },
    Model { name: "lte-train",      up: direction( 3000,  50,  40, 10, 5,  800), down: direction(  6000,  50,  40, 10, 5,  800), outage: Some(Outage { good_ms: 15_000, bad_ms: 800 }), source: "own" },
    Model { name: "wifi-good",      up: direction(30000,   5,   3,  1, 1,  100), down: direction( 30000,   5,   3,  1, 1,  100), outage: None, source: "own" },
    Model { name: "wifi-crowded",   up: direction( 3000,  10,  60, 20, 4,  200), down: direction(  3000,  10,  60, 20, 4,  200), outage: None, source: "own" },
    Model { name: "wifi-bad",       up: direction( 1000,  15, 120, 50, 8,  400), down: direction(  1000,  15, 120, 50, 8,  400), outage: Some(Outage { good_ms: 8_000, bad_ms: 400 }), source: "own" },
    Model { name: "satellite-geo",  up: direction(  256, 300,  10,  5, 2, 1000), down: direction(  1000, 300,  10,  5, 2, 1000), outage: None, source: "Loadero, G.114; own" },
    Model { name: "satellite-leo",  up: direction(10000,  25,  15,  5, 4,  200), down: direction( 80000,  25,  15,  5, 4,  200), outage: Some(Outage { good_ms: 14_900, bad_ms: 100 }), source: "own" },
];

/// The network of that name.
pub fn by_name(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}
