//! Two sessions and the network between them, in virtual time.
#![allow(dead_code, reason = "each test file uses its own part")]

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use undertone_media::{Timestamp, Transmit};
use undertone_transport::dtls::{Certificate, Crypto};
use undertone_transport::ice::Role;
use undertone_transport::session::{Config, Output, Received, Remote, Session};
use undertone_transport::{TransportError, srtp};

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A clock reading for DTLS to count from. Which one does not matter, and a test proves it.
#[allow(clippy::disallowed_methods, reason = "any instant will do")]
pub fn anchor() -> Instant {
    Instant::now()
}

pub struct End {
    pub session: Session,
    pub addr: SocketAddr,
    pub connected: Option<(Timestamp, srtp::Profile)>,
    pub failed: Option<(Timestamp, TransportError)>,
    pub paths: Vec<(Timestamp, SocketAddr)>,
    pub rtp: Vec<Vec<u8>>,
    pub rtcp: Vec<Vec<u8>>,
}

impl End {
    pub fn new(role: Role, number: u8, seed: u8) -> End {
        let addr = format!("10.0.0.{number}:{}", 4000 + u16::from(number)).parse().unwrap();
        let seed = [seed.wrapping_mul(7).wrapping_add(number); 32];
        let config = Config {
            role,
            certificate: Certificate::from_seed(seed),
            crypto: Crypto::Seeded(seed),
            seed,
            ..Config::new(anchor())
        };
        End::with(config, addr)
    }

    pub fn with(config: Config, addr: SocketAddr) -> End {
        let mut session = Session::new(config);
        session.add_local_candidate(addr);
        let (connected, failed) = (None, None);
        End { session, addr, connected, failed, paths: Vec::new(), rtp: Vec::new(), rtcp: Vec::new() }
    }

    pub fn remote(&self, dtls_active: bool, lite: bool) -> Remote {
        let local = self.session.local();
        Remote {
            ufrag: local.ufrag,
            pwd: local.pwd,
            fingerprint: local.fingerprint,
            dtls_active,
            candidates: vec![self.addr],
            lite,
        }
    }
}

/// What was put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub at: Timestamp,
    pub from: SocketAddr,
    pub transmit: Transmit,
    pub lost: bool,
}

pub struct Wire {
    pub now: Timestamp,
    pub ends: [End; 2],
    pub delay: Duration,
    pub loss_percent: u32,
    /// Of each direction, counting IP and UDP headers; 0: no limit.
    pub kbps: u64,
    busy_until: [Timestamp; 2],
    pub log: Vec<Sent>,
    flying: BTreeMap<(Timestamp, u64), (SocketAddr, Transmit)>,
    count: u64,
    rng: ChaCha20Rng,
}

impl Wire {
    /// `ends[0]` is the DTLS client. Neither is started.
    pub fn new(client: End, server: End, delay: Duration, loss_percent: u32, seed: u64) -> Wire {
        Wire {
            now: Timestamp::ZERO,
            ends: [client, server],
            delay,
            loss_percent,
            kbps: 0,
            busy_until: [Timestamp::ZERO; 2],
            log: Vec::new(),
            flying: BTreeMap::new(),
            count: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    pub fn to_lite(seed: u8, delay: Duration, loss_percent: u32) -> Wire {
        let (client, server) = (End::new(Role::Controlling, 1, seed), End::new(Role::Lite, 2, seed));
        let mut wire = Wire::new(client, server, delay, loss_percent, u64::from(seed));
        // A server learns no addresses from a client: it waits for checks.
        let mut offer = wire.ends[0].remote(false, false);
        offer.candidates.clear();
        let answer = wire.ends[1].remote(true, true);
        wire.ends[1].session.start(wire.now, offer);
        wire.ends[0].session.start(wire.now, answer);
        wire
    }

    pub fn peer_to_peer(seed: u8, delay: Duration, loss_percent: u32) -> Wire {
        let (client, server) = (End::new(Role::Controlling, 1, seed), End::new(Role::Controlled, 2, seed));
        let mut wire = Wire::new(client, server, delay, loss_percent, u64::from(seed));
        let offer = wire.ends[0].remote(false, false);
        let answer = wire.ends[1].remote(true, false);
        wire.ends[1].session.start(wire.now, offer);
        wire.ends[0].session.start(wire.now, answer);
        wire
    }

    /// Takes what the ends have to send and say.
    pub fn drain(&mut self) {
        for (end, busy_until) in self.ends.iter_mut().zip(&mut self.busy_until) {
            while let Some(output) = end.session.poll() {
                match output {
                    Output::Transmit(transmit) => {
                        self.count += 1;
                        let lost = self.rng.next_u32() % 100 < self.loss_percent;
                        if !lost {
                            let bits = (transmit.bytes.len() as u64 + 28) * 8;
                            let on_wire =
                                Duration::from_micros((bits * 1000).checked_div(self.kbps).unwrap_or(0));
                            *busy_until = self.now.max(*busy_until) + on_wire;
                            let key = (*busy_until + self.delay, self.count);
                            self.flying.insert(key, (end.addr, transmit.clone()));
                        }
                        self.log.push(Sent { at: self.now, from: end.addr, transmit, lost });
                    }
                    Output::Connected { profile } => end.connected = Some((self.now, profile)),
                    Output::PathChanged(to) => end.paths.push((self.now, to)),
                    Output::Failed(error) => end.failed = Some((self.now, error)),
                }
            }
        }
    }

    /// Puts a datagram on the wire that no end sent, to arrive at once.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.count += 1;
        self.flying.insert((self.now, self.count), (from, Transmit { to, from: None, bytes }));
    }

    pub fn run_until(&mut self, end: Timestamp) {
        self.run_while(end, |_| true);
    }

    pub fn run_while(&mut self, end: Timestamp, mut go_on: impl FnMut(&Wire) -> bool) {
        loop {
            self.drain();
            if !go_on(self) {
                return;
            }
            let next_arrival = self.flying.first_key_value().map(|(key, _)| key.0);
            let deadlines = self.ends.iter().filter_map(|end| end.session.deadline());
            let Some(next) = deadlines.chain(next_arrival).min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if next_arrival.is_some_and(|arrival| arrival <= self.now) {
                let Some((_, (from, transmit))) = self.flying.pop_first() else { continue };
                self.deliver(from, transmit);
            } else {
                for end in &mut self.ends {
                    if end.session.deadline().is_some_and(|deadline| deadline <= self.now) {
                        end.session.tick(self.now);
                        assert!(
                            end.session.deadline().is_none_or(|deadline| deadline > self.now),
                            "a tick must move the deadline on"
                        );
                    }
                }
            }
        }
    }

    fn deliver(&mut self, from: SocketAddr, transmit: Transmit) {
        let Some(end) = self.ends.iter_mut().find(|end| end.addr == transmit.to) else { return };
        let mut bytes = transmit.bytes;
        match end.session.receive(self.now, from, transmit.to, &mut bytes) {
            Received::Rtp(packet) => end.rtp.push(packet.to_vec()),
            Received::Rtcp(packet) => end.rtcp.push(packet.to_vec()),
            Received::Handled | Received::Dropped => {}
        }
    }

    pub fn connect(&mut self) {
        self.run_while(at(20_000), |wire| wire.ends.iter().any(|end| end.connected.is_none()));
        assert!(self.ends.iter().all(|end| end.session.is_connected()), "not connected by {:?}", self.now);
    }

    pub fn send_rtp(&mut self, end: usize, seq: u16) {
        self.ends[end].session.send_rtp(self.now, rtp(seq));
    }
}

pub fn rtp(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 5]);
    packet.extend([seq as u8; 60]);
    packet
}

pub fn rtcp() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0, 0, 0, 5]
}
