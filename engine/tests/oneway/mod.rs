//! A call in virtual time in which one end talks and the other listens.

#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_engine::{Call, Config, Role};
use undertone_media::Timestamp;
use undertone_sim::path::{Change, LinkConfig, LinkModel};
use undertone_sim::world::{NodeId, World};
use undertone_transport::dtls::{Certificate, Crypto};

const STEP: Duration = Duration::from_millis(10);

/// DTLS wants an instant; none of its clocks is read here.
#[allow(clippy::disallowed_methods)]
fn anchor() -> Instant {
    Instant::now()
}

/// Two ends that are connected.
pub struct OneWay {
    world: World<Call>,
    ends: [NodeId; 2],
    /// Samples that the listener takes in a step.
    frame: usize,
    now: Timestamp,
}

impl OneWay {
    /// Both are configured alike, and the link is the same both ways.
    pub fn connect(link: &LinkConfig, configure: impl Fn(&mut Config)) -> OneWay {
        let mut world = World::new();
        let mut frame = 0;
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 5000));
        let ends = [(Role::Offer, 1), (Role::Answer, 2)].map(|(role, number)| {
            let seed = [number; 32];
            let mut config = Config {
                audio: number == 1,
                audio_slots: usize::from(number == 2),
                playout_slack: Duration::ZERO,
                certificate: Certificate::from_seed(seed),
                crypto: Crypto::Seeded(seed),
                ..Config::new(role, vec![address(number)], seed, anchor())
            };
            configure(&mut config);
            frame = config.sample_rate.frame();
            world.add(Call::new(config), address(number))
        });
        world.link(ends[0], ends[1], LinkModel::new(7, 0, link));
        world.link(ends[1], ends[0], LinkModel::new(7, 1, link));
        world.connect((ends[0], 0), (ends[1], 0), Duration::ZERO);
        let mut call = OneWay { world, ends, frame, now: Timestamp::ZERO };
        while call.ends.iter().any(|&end| !call.world.node(end).is_connected()) {
            call.now += STEP;
            call.world.run_until(call.now);
            assert!(call.now < Timestamp::from_millis(10_000), "they find each other");
        }
        call
    }

    /// From now on the link to the listener is different.
    pub fn change(&mut self, change: Change) {
        let now = self.now;
        self.world.link_mut(self.ends[0], self.ends[1]).expect("the link").change(now, change);
    }

    pub fn talker(&mut self) -> &mut Call {
        self.world.node_mut(self.ends[0])
    }

    pub fn listener(&mut self) -> &mut Call {
        self.world.node_mut(self.ends[1])
    }

    /// 10 ms pass, in which this was said, or nothing was asked of the talker's end. Says what was heard.
    pub fn step(&mut self, said: Option<&[i16]>) -> Vec<i16> {
        self.now += STEP;
        let now = self.now;
        self.world.run_until(now);
        let mut heard = vec![0; self.frame];
        self.listener().pull_audio(now, &mut heard);
        if let Some(said) = said {
            self.talker().push_audio(now, said);
        }
        heard
    }
}
