//! The world itself costs next to nothing: a lab run's seconds belong to the codecs.
#![allow(clippy::disallowed_methods)] // measures, so it needs a real clock

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_media::{Bitrate, Input, Machine, Output, Timestamp, Transmit};
use undertone_sim::path::{LinkConfig, LinkModel, Share};
use undertone_sim::world::{World, address};

/// Sends a speech-sized datagram every 20 ms.
struct Talker {
    to: SocketAddr,
    next: Timestamp,
    due: bool,
    heard: u64,
}

impl Machine for Talker {
    fn handle(&mut self, _: Timestamp, input: Input<'_>) {
        match input {
            Input::Tick => {
                self.due = true;
                self.next += Duration::from_millis(20);
            }
            _ => self.heard += 1,
        }
    }

    fn poll(&mut self) -> Option<Output> {
        let transmit = || Output::Transmit(Transmit { to: self.to, from: None, bytes: vec![0; 100] });
        std::mem::take(&mut self.due).then(transmit)
    }

    fn deadline(&self) -> Option<Timestamp> {
        Some(self.next)
    }
}

#[test]
fn a_minute_both_ways_takes_milliseconds() {
    let config = LinkConfig {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        loss: Share::from_percent(5.0),
        rate: Some(Bitrate::from_kbps(1000)),
        ..LinkConfig::default()
    };
    let begun = Instant::now();
    let mut world = World::new();
    let talker = |to| Talker { to, next: Timestamp::ZERO, due: false, heard: 0 };
    let a = world.add(talker(address(2)), address(1));
    let b = world.add(talker(address(1)), address(2));
    world.link(a, b, LinkModel::new(1, 0, &config));
    world.link(b, a, LinkModel::new(1, 1, &config));
    world.record(true);
    for tick in 0..=6000 {
        world.run_until(Timestamp::from_millis(tick * 10));
        world.node_mut(a);
        world.node_mut(b);
    }
    let took = begun.elapsed();
    println!("a minute of two-way traffic took {took:?}");
    assert!(world.node(a).heard > 2700 && world.node(b).heard > 2700);
    assert_eq!(world.take_sent().len(), 6002);
    // Usually 3 ms; the bound leaves room for a busy machine.
    assert!(took < Duration::from_millis(500), "{took:?}");
}
