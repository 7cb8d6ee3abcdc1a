//! Which packets a lossy link loses, for runners that are not written in Rust: one line of 0 (arrives) and 1 (lost).
//!
//!     cargo run --release -p undertone-sim --example fates -- --loss 30 --burst 1 --seed 1 --packets 600
//!     cargo run --release -p undertone-sim --example fates -- --outage 800/200 --packet-ms 60 --packets 200
//!
//! The draws are those of `undertone lab speech`: packet n of a seed has the same fate there. A packet leaves when all of
//! it has been spoken.

use std::time::Duration;
use undertone_media::{DataSize, Fate, Link, Timestamp};
use undertone_sim::path::{LinkConfig, LinkModel, Outage, Share};

fn main() {
    let mut config = LinkConfig::default();
    let (mut seed, mut packets, mut packet_ms) = (1, 0, 20);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match name.as_str() {
            "--loss" => config.loss = Share::from_percent(value.parse().expect("percent")),
            "--burst" => config.burst = value.parse().expect("a number of packets"),
            "--outage" => {
                let (good, bad) = value.split_once('/').expect("GOODMS/BADMS");
                let ms = |text: &str| text.parse().expect("milliseconds");
                config.outage = Some(Outage { good_ms: ms(good), bad_ms: ms(bad) });
            }
            "--seed" => seed = value.parse().expect("a number"),
            "--packets" => packets = value.parse().expect("a number"),
            "--packet-ms" => packet_ms = value.parse().expect("milliseconds"),
            other => panic!("no such option: {other}"),
        }
    }
    let mut link = LinkModel::new(seed, 1, &config);
    let mut now = Timestamp::ZERO;
    let mut line = String::new();
    for _ in 0..packets {
        now += Duration::from_millis(packet_ms);
        let arrives = matches!(link.offer(now, DataSize::from_bytes(100)), Fate::Arrives(_));
        line.push(if arrives { '0' } else { '1' });
    }
    println!("{line}");
}
