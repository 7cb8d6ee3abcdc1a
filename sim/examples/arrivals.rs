//! When the packets of a steady stream come out of a network model, or out of a link that does nothing but delay them
//! (`--jitter`: by 20 to 20 + MS): `seq,send_ms,arrival_ms` (−1 lost), as `undertone lab jitter --arrivals` reads it.
//!
//!     cargo run --release -p undertone-sim --example arrivals -- --model lte-train --secs 120 --seed 1
//!     cargo run --release -p undertone-sim --example arrivals -- --jitter 100

use std::time::Duration;
use undertone_media::{DataSize, Timestamp};
use undertone_sim::models::{Direction, MODELS, Model, Radio, arrivals, by_name};

fn jittery(jitter_ms: u32) -> Model {
    let radio = Radio { grant_ms: 0, retry: None, stall: None };
    let way = Direction {
        rate_kbps: 1_000_000,
        delay_ms: 20,
        jitter_ms,
        loss_permille: 0,
        burst: 1,
        queue_ms: 1000,
        radio,
    };
    Model { name: "jitter", up: way, down: way, outage: None, source: "" }
}

fn main() {
    let (mut model, mut seed, mut packet_ms, mut size, mut secs) = (None, 1, 20, 100, 120);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let number = || value.parse::<u64>().expect("a whole number");
        match name.as_str() {
            "--model" => model = by_name(&value).copied(),
            "--jitter" => model = Some(jittery(number() as u32)),
            "--seed" => seed = number(),
            "--packet-ms" => packet_ms = number(),
            "--size" => size = number(),
            "--secs" => secs = number(),
            other => panic!("no such option: {other}"),
        }
    }
    let Some(model) = model else {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        panic!("--model is one of {}", names.join(", "));
    };
    let length = Duration::from_secs(secs);
    let packets =
        arrivals(&model, Duration::from_millis(packet_ms), DataSize::from_bytes(size), length, seed);
    println!("seq,send_ms,arrival_ms");
    for packet in packets {
        let ms = |at: Timestamp| at.as_micros() as f64 / 1000.0;
        println!("{},{},{}", packet.seq, ms(packet.sent), packet.arrived.map_or(-1.0, ms));
    }
}
