//! When the packets of a steady stream come out of a network model: `seq,send_ms,arrival_ms` (−1 lost), as
//! `undertone lab jitter --arrivals` reads it.
//!
//!     cargo run --release -p undertone-sim --example arrivals -- --model lte-train --secs 120 --seed 1

use std::time::Duration;
use undertone_media::{DataSize, Timestamp};
use undertone_sim::models::{MODELS, arrivals, by_name};

fn main() {
    let (mut model, mut seed, mut packet_ms, mut size, mut secs) = (None, 1, 20, 100, 120);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let number = || value.parse().expect("a whole number");
        match name.as_str() {
            "--model" => model = by_name(&value),
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
    let packets = arrivals(model, Duration::from_millis(packet_ms), DataSize::from_bytes(size), length, seed);
    println!("seq,send_ms,arrival_ms");
    for packet in packets {
        let ms = |at: Timestamp| at.as_micros() as f64 / 1000.0;
        println!("{},{},{}", packet.seq, ms(packet.sent), packet.arrived.map_or(-1.0, ms));
    }
}
