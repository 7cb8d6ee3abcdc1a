//! A weak link for programs that are not ours: a UDP relay with the lab's link model, in real time.
//!
//!     cargo run --release -p undertone-io --example relay -- --upstream 127.0.0.1:5000 --delay 20 --loss 30 --after 5
//!
//! Its first line is the address that clients send to. A line on its standard input makes it print what it has
//! carried so far, IP and UDP headers counted; the end of its input ends it. What is lost begins to be lost
//! `--after` seconds from the start, so that a call can be set up before.

use std::io::BufRead;
use std::time::Duration;
use undertone_io::clock::Clock;
use undertone_io::relay::{Config, Path, Relay};
use undertone_media::Timestamp;
use undertone_sim::path::{Change, LinkConfig, LinkModel, Outage, Share};

fn main() {
    let mut link = LinkConfig::default();
    let (mut loss, mut outage) = (Share::ZERO, None);
    let (mut upstream, mut seed, mut after) = (None, 1, 0);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let number = || value.parse::<u64>().expect("a whole number");
        match name.as_str() {
            "--upstream" => upstream = Some(value.parse().expect("IP:PORT")),
            "--delay" => link.delay = Duration::from_millis(number()),
            "--jitter" => link.jitter = Duration::from_millis(number()),
            "--loss" => loss = Share::from_percent(value.parse().expect("percent")),
            "--burst" => link.burst = value.parse().expect("a number of packets"),
            "--outage" => {
                let (good, bad) = value.split_once('/').expect("GOODMS/BADMS");
                let ms = |text: &str| text.parse().expect("milliseconds");
                outage = Some(Outage { good_ms: ms(good), bad_ms: ms(bad) });
            }
            "--seed" => seed = number(),
            "--after" => after = number(),
            other => panic!("no such option: {other}"),
        }
    }
    let weak = move |direction| {
        let mut model = LinkModel::new(seed, direction, &link);
        model.change(Timestamp::from_millis(after * 1000), Change::Loss(loss));
        model.change(Timestamp::from_millis(after * 1000), Change::Outage(outage));
        Box::new(model)
    };
    let path = Box::new(move |_| Path { up: weak(0), down: weak(1) });
    let config = Config::new(upstream.expect("--upstream IP:PORT"), path);
    let relay = Relay::start(config, Clock::new()).expect("a relay");
    println!("{}", relay.local_addr());

    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        let (mut up, mut down, mut lost, mut offered) = (0, 0, 0, 0);
        for client in relay.totals() {
            up += client.up.offered_size.as_bytes();
            down += client.down.offered_size.as_bytes();
            lost += client.up.lost + client.down.lost;
            offered += client.up.offered + client.down.offered;
        }
        println!(
            "{{\"up_bytes\":{up},\"down_bytes\":{down},\"datagrams\":{offered},\"lost_datagrams\":{lost}}}"
        );
    }
}
