//! A session once it is connected: media, copies, garbage, moves, silence, goodbyes.

mod wire;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::net::SocketAddr;
use undertone_media::Timestamp;
use undertone_transport::TransportError;
use undertone_transport::ice::Role;
use undertone_transport::session::{Class, Config, Received, classify};
use undertone_transport::srtp::Profile;
use wire::{End, Wire, anchor, at, ms, rtcp, rtp};

const ELSEWHERE: &str = "10.9.9.9:999";

fn elsewhere() -> SocketAddr {
    ELSEWHERE.parse().unwrap()
}

#[test]
fn media_flows_both_ways() {
    for make in [Wire::to_lite, Wire::peer_to_peer] {
        let mut wire = make(1, ms(20), 0);
        wire.connect();
        for end in 0..2 {
            (0..5).for_each(|seq| wire.send_rtp(end, seq));
            wire.ends[end].session.send_rtcp(wire.now, rtcp());
        }
        wire.run_until(at(1000));
        for end in &wire.ends {
            assert_eq!(end.rtp, (0..5).map(rtp).collect::<Vec<_>>());
            assert_eq!(end.rtcp, [rtcp()]);
            assert_eq!(end.connected.as_ref().unwrap().1, Profile::AeadAes256Gcm);
            assert_eq!(end.session.rtp_overhead(), 16);
            let stats = end.session.stats();
            assert_eq!(
                (stats.rtp_sent, stats.rtp_received, stats.rtcp_sent, stats.rtcp_received),
                (5, 5, 1, 1)
            );
            assert_eq!((stats.bad, stats.replayed, stats.unauthentic, stats.unsent), (0, 0, 0, 0));
        }
        assert_eq!(wire.ends[0].session.stats().rtt, Some(ms(40)));
        assert_eq!(wire.ends[0].session.remote_addr(), Some(wire.ends[1].addr));
        assert_eq!(wire.ends[1].session.remote_addr(), Some(wire.ends[0].addr));
        // Each first path is said once.
        assert!(
            wire.ends.iter().all(|end| end.paths.len() == 1),
            "{:?}",
            wire.ends.each_ref().map(|e| &e.paths)
        );
    }
}

#[test]
fn what_is_sent_too_early_or_twice_is_counted() {
    let mut wire = Wire::to_lite(1, ms(20), 0);
    wire.send_rtp(0, 1);
    wire.connect();
    wire.send_rtp(0, 2);
    wire.send_rtp(0, 2);
    wire.ends[0].session.send_rtp(wire.now, vec![1, 2, 3]);
    wire.run_until(at(1000));
    assert_eq!(wire.ends[0].session.stats().unsent, 3);
    assert_eq!(wire.ends[1].rtp, [rtp(2)]);
}

#[test]
fn every_copy_of_what_was_on_the_wire_is_dropped() {
    let mut wire = Wire::to_lite(1, ms(20), 0);
    wire.connect();
    for seq in 0..50 {
        wire.send_rtp(0, seq);
        wire.send_rtp(1, seq);
    }
    wire.run_until(at(1000));
    for sent in wire.log.clone() {
        for from in [sent.from, elsewhere()] {
            wire.inject(from, sent.transmit.to, sent.transmit.bytes.clone());
        }
    }
    wire.run_until(at(2000));
    for end in &wire.ends {
        assert!(end.failed.is_none());
        assert_eq!(end.rtp.len(), 50);
        assert_eq!(end.session.stats().replayed, 100);
    }
    // A copied check from elsewhere has moved nothing.
    assert_eq!(wire.ends[1].session.remote_addr(), Some(wire.ends[0].addr));
}

/// 100 000 datagrams: random ones, and mutations of real ones, before, during and after the handshake.
#[test]
fn garbage_never_panics_and_changes_nothing() {
    let mut model = Wire::to_lite(1, ms(20), 0);
    model.connect();
    (0..20).for_each(|seq| model.send_rtp(0, seq));
    (0..20).for_each(|seq| model.send_rtp(1, seq));
    model.run_until(at(1000));
    let real: Vec<_> = model.log.iter().map(|sent| sent.transmit.bytes.clone()).collect();

    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut garbage = || -> Vec<u8> {
        if rng.next_u32() % 4 == 0 {
            let mut bytes = vec![0; (rng.next_u32() % 300) as usize];
            rng.fill_bytes(&mut bytes);
            return bytes;
        }
        let mut bytes = real[rng.next_u32() as usize % real.len()].clone();
        for _ in 0..1 + rng.next_u32() % 4 {
            let place = rng.next_u32() as usize % bytes.len();
            bytes[place] ^= 1 << (rng.next_u32() % 8);
        }
        if rng.next_u32() % 4 == 0 {
            bytes.truncate(rng.next_u32() as usize % (bytes.len() + 1));
        }
        if real.contains(&bytes) {
            bytes.push(0);
        }
        bytes
    };
    // On a connected session nothing at all may change, wherever the garbage claims to come from.
    let mut wire = Wire::to_lite(1, ms(20), 0);
    wire.connect();
    wire.run_until(at(1000));
    for i in 0..60_000u32 {
        let end = (i % 2) as usize;
        let from = if i % 4 < 2 { wire.ends[1 - end].addr } else { elsewhere() };
        let now = wire.now;
        let End { session, addr, .. } = &mut wire.ends[end];
        let mut bytes = garbage();
        let received = session.receive(now, from, *addr, &mut bytes);
        assert!(!matches!(received, Received::Rtp(_) | Received::Rtcp(_)));
        while session.poll().is_some() {}
    }
    wire.run_until(at(1100));
    wire.send_rtp(0, 1);
    wire.send_rtp(1, 1);
    wire.run_until(at(1200));
    for end in &wire.ends {
        assert!(end.failed.is_none(), "{:?}", end.failed);
        assert_eq!(end.rtp, [rtp(1)]);
    }
    // During a handshake garbage may end a session, as any forger on the path can, but never panics.
    for round in 0..400 {
        let mut wire = Wire::to_lite(1, ms(20), 0);
        wire.run_until(at(round % 70));
        for i in 0..100usize {
            let now = wire.now;
            let from = wire.ends[1 - i % 2].addr;
            let End { session, addr, .. } = &mut wire.ends[i % 2];
            session.receive(now, from, *addr, &mut garbage());
            while session.poll().is_some() {}
        }
    }
}

#[test]
fn a_lite_server_follows_the_newest_nomination() {
    let mut wire = Wire::to_lite(1, ms(20), 0);
    wire.connect();
    wire.run_until(at(1000));
    let old = wire.ends[0].addr;
    wire.ends[0].addr = elsewhere();
    wire.ends[0].session.network_changed(wire.now);
    wire.run_until(at(1030));
    assert_eq!(wire.ends[1].session.remote_addr(), Some(elsewhere()));
    assert_eq!(wire.ends[1].paths.iter().map(|path| path.1).collect::<Vec<_>>(), [old, elsewhere()]);
    wire.send_rtp(1, 7);
    wire.run_until(at(1100));
    assert_eq!(wire.ends[0].rtp, [rtp(7)]);
}

/// Nobody tells the client that its NAT gave it another address; the server's silence does.
#[test]
fn an_unnoticed_move_is_healed_within_a_second() {
    for make in [Wire::to_lite, Wire::peer_to_peer] {
        let mut wire = make(1, ms(20), 0);
        wire.connect();
        let mut seq = 0;
        let mut talk = |wire: &mut Wire, until: u64| {
            while wire.now < at(until) {
                seq += 1;
                // Only the server speaks: the client listens.
                wire.send_rtp(1, seq);
                wire.run_until(wire.now + ms(20));
            }
        };
        talk(&mut wire, 2000);
        wire.ends[0].addr = elsewhere();
        let before = wire.ends[0].rtp.len();
        talk(&mut wire, 2700);
        assert!(wire.ends[0].rtp.len() > before + 3, "{} after {before}", wire.ends[0].rtp.len());
        assert_eq!(wire.ends[1].session.remote_addr(), Some(elsewhere()));
    }
}

#[test]
fn media_from_a_new_address_is_followed_but_not_amplified() {
    let mut wire = Wire::to_lite(1, ms(20), 0);
    wire.connect();
    wire.run_until(at(1000));
    wire.send_rtp(0, 1);
    wire.drain();
    wire.run_until(at(1100));
    // The client speaks from elsewhere, and no check comes from there.
    wire.ends[0].addr = elsewhere();
    wire.send_rtp(0, 2);
    wire.run_until(wire.now + ms(21));
    assert_eq!(wire.ends[1].session.remote_addr(), Some(elsewhere()));
    (10..20).for_each(|seq| wire.send_rtp(1, seq));
    assert_eq!(wire.ends[1].session.stats().unsent, 7);
    wire.ends[0].session.network_changed(wire.now);
    wire.run_until(wire.now + ms(21));
    (20..30).for_each(|seq| wire.send_rtp(1, seq));
    assert_eq!(wire.ends[1].session.stats().unsent, 7);
}

#[test]
fn a_late_packet_from_the_old_address_moves_nothing_back() {
    let mut wire = Wire::to_lite(1, ms(20), 0);
    wire.connect();
    wire.run_until(at(1000));
    let old = wire.ends[0].addr;
    wire.send_rtp(0, 1);
    wire.drain();
    let late = wire.log.last().unwrap().transmit.clone();
    wire.ends[0].addr = elsewhere();
    wire.send_rtp(0, 2);
    wire.run_until(wire.now + ms(10));
    let mut bytes = late.bytes;
    let now = wire.now + ms(30);
    wire.drain();
    wire.run_until(now);
    let server = &mut wire.ends[1];
    assert!(matches!(server.session.receive(now, old, server.addr, &mut bytes), Received::Dropped));
    assert_eq!(server.session.remote_addr(), Some(elsewhere()));
}

#[test]
fn a_peer_that_never_answers_is_no_path() {
    for role in [Role::Controlling, Role::Controlled, Role::Lite] {
        let config = Config { role, connect_timeout: ms(3000), ..Config::new(anchor()) };
        let ours = End::with(config, "10.0.0.1:4001".parse().unwrap());
        let absent = End::new(Role::Controlled, 2, 1);
        let remote = absent.remote(true, false);
        let mut wire = Wire::new(ours, absent, ms(50), 100, 1);
        wire.ends[0].session.start(Timestamp::ZERO, remote);
        wire.run_until(at(10_000));
        assert_eq!(wire.ends[0].failed, Some((at(3000), TransportError::NoPath)));
        assert_eq!(wire.ends[0].session.deadline(), None);
        // It kept trying, but not like a flood.
        assert!(wire.log.len() < 30, "{} datagrams in 3 s", wire.log.len());
    }
}

#[test]
fn consent_expires_on_both_sides_of_a_dead_path() {
    for make in [Wire::to_lite, Wire::peer_to_peer] {
        let mut wire = make(1, ms(20), 0);
        wire.connect();
        wire.run_until(at(20_000));
        assert!(wire.ends.iter().all(|end| end.failed.is_none()), "idle is not dead");
        wire.loss_percent = 100;
        wire.run_until(at(60_000));
        for end in &wire.ends {
            let (when, error) = end.failed.clone().expect("it noticed");
            assert_eq!(error, TransportError::ConsentExpired);
            assert!(when > at(40_000) && when <= at(50_100), "{when:?}");
            assert!(!end.session.is_connected());
        }
    }
}

#[test]
fn an_idle_connected_session_is_nearly_silent() {
    for make in [Wire::to_lite, Wire::peer_to_peer] {
        let mut wire = make(1, ms(20), 0);
        wire.connect();
        wire.run_until(at(10_000));
        let before = wire.log.len();
        wire.run_until(at(70_000));
        // A check and its answer every few seconds.
        assert!(wire.log.len() - before <= 60, "{} datagrams a minute", wire.log.len() - before);
    }
}

#[test]
fn a_goodbye_is_heard() {
    for end in 0..2 {
        let mut wire = Wire::to_lite(1, ms(20), 0);
        wire.connect();
        wire.run_until(at(1000));
        wire.ends[end].session.close(wire.now);
        wire.run_until(at(1100));
        assert_eq!(wire.ends[1 - end].failed, Some((at(1020), TransportError::PeerClosed)));
        assert!(wire.ends[end].failed.is_none());
    }
}

#[test]
fn both_controlling_or_both_controlled_still_connect() {
    for role in [Role::Controlling, Role::Controlled] {
        for seed in 0..10 {
            let (client, server) = (End::new(role, 1, seed), End::new(role, 2, seed));
            let mut wire = Wire::new(client, server, ms(20), 0, 1);
            let (offer, answer) = (wire.ends[0].remote(false, false), wire.ends[1].remote(true, false));
            wire.ends[1].session.start(wire.now, offer);
            wire.ends[0].session.start(wire.now, answer);
            wire.connect();
            wire.run_until(at(500));
            assert!(wire.ends.iter().all(|end| end.session.remote_addr().is_some()));
        }
    }
}

/// The offerer learns the answer late; the answerer's checks and ClientHello come before it.
#[test]
fn a_peer_may_begin_before_the_answer_is_known() {
    let (client, server) = (End::new(Role::Controlled, 1, 1), End::new(Role::Controlling, 2, 1));
    let mut wire = Wire::new(client, server, ms(20), 0, 1);
    let answer = wire.ends[1].remote(false, false);
    let mut offer = wire.ends[0].remote(true, false);
    wire.ends[0].session.start(wire.now, answer);
    wire.run_until(at(50));
    offer.candidates.clear();
    wire.ends[1].session.start(wire.now, offer);
    wire.connect();
    assert!(wire.now <= at(110), "{:?}", wire.now);
}

#[test]
fn first_bytes_tell_protocols_apart() {
    let cases: [(&[u8], Class); 8] = [
        (&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Class::Stun),
        (&[22, 0xfe, 0xfd], Class::Dtls),
        (&[0x2e, 0], Class::Dtls),
        (&[0x80, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Class::Rtp),
        (&[0x90, 0x80 | 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Class::Rtp),
        (&[0x80, 200, 0, 0, 0, 0, 0, 0], Class::Rtcp),
        (&[0x40, 0], Class::Unknown),
        (&[], Class::Unknown),
    ];
    for (bytes, class) in cases {
        assert_eq!(classify(bytes), class, "{bytes:?}");
    }
}
