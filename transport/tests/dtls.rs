//! DTLS against itself, against older versions, and against liars.

mod wire;

use dimpl::{Dtls, DtlsCertificate, Output};
use std::sync::Arc;
use undertone_media::Timestamp;
use undertone_transport::dtls::{Certificate, Crypto, Endpoint, Event, Fingerprint};
use undertone_transport::ice::Role;
use undertone_transport::session::{Config, Remote};
use undertone_transport::srtp::Profile;
use undertone_transport::{PeerMisbehaved, TransportError};
use wire::{End, Wire, anchor, at, ms};

#[test]
fn a_seed_repeats_every_byte() {
    for make in [Wire::to_lite, Wire::peer_to_peer] {
        for seed in 0..5 {
            let run = |seed| {
                let mut wire = make(seed, ms(50), 20);
                wire.connect();
                (0..20).for_each(|seq| wire.send_rtp(0, seq));
                wire.run_until(at(30_000));
                wire.log
            };
            // Each run counts from another instant, and must not show it.
            assert_eq!(run(seed), run(seed));
            assert_ne!(run(seed)[1].transmit.bytes, run(seed + 100)[1].transmit.bytes);
        }
    }
}

#[test]
fn sessions_that_share_a_seed_share_no_keys() {
    let hello = |number| {
        let config = Config {
            crypto: Crypto::Seeded([1; 32]),
            certificate: Certificate::from_seed([1; 32]),
            seed: [number; 32],
            ..Config::new(anchor())
        };
        let client = End::with(config, "10.0.0.1:4001".parse().unwrap());
        let mut wire = Wire::new(client, End::new(Role::Lite, 2, 1), ms(50), 0, 1);
        let answer = wire.ends[1].remote(true, true);
        wire.ends[0].session.start(wire.now, answer);
        wire.drain();
        wire.log[1].transmit.bytes.clone()
    };
    assert_ne!(hello(1), hello(2));
}

#[test]
fn an_impostor_is_refused() {
    for liar in [0, 1] {
        let (client, server) = (End::new(Role::Controlling, 1, 1), End::new(Role::Lite, 2, 1));
        let mut wire = Wire::new(client, server, ms(50), 0, 1);
        let mut offer = wire.ends[0].remote(false, false);
        let mut answer = wire.ends[1].remote(true, true);
        let announced = if liar == 0 { &mut offer } else { &mut answer };
        announced.fingerprint = Fingerprint([7; 32]);
        wire.ends[1].session.start(wire.now, offer);
        wire.ends[0].session.start(wire.now, answer);
        wire.run_until(at(1000));
        let deceived = &wire.ends[1 - liar];
        assert!(deceived.connected.is_none() && !deceived.session.is_connected());
        let reason = TransportError::PeerMisbehaved(PeerMisbehaved::FingerprintMismatch);
        assert_eq!(deceived.failed.as_ref().map(|(_, error)| error), Some(&reason));
    }
}

#[test]
fn a_certificate_without_its_key_is_the_callers_bug() {
    let config =
        Config { certificate: Certificate::from_der(vec![1, 2, 3], vec![4, 5, 6]), ..Config::new(anchor()) };
    let mut client = End::with(config, "10.0.0.1:4001".parse().unwrap());
    let server = End::new(Role::Lite, 2, 1);
    client.session.start(Timestamp::ZERO, Remote { ..server.remote(true, true) });
    let mut wire = Wire::new(client, server, ms(50), 0, 1);
    wire.drain();
    assert!(
        matches!(wire.ends[0].failed, Some((_, TransportError::ApiMisuse(_)))),
        "{:?}",
        wire.ends[0].failed
    );
}

/// An old peer, straight from the library.
fn old_peer(active: bool, version_13: bool) -> (Dtls, Fingerprint) {
    let certificate = Certificate::from_seed([9; 32]);
    let fingerprint = certificate.fingerprint();
    let certificate = DtlsCertificate { certificate: certificate.der, private_key: certificate.key };
    // With its cookie, which costs a round trip more.
    let config = Arc::new(dimpl::Config::default());
    let mut dtls = match version_13 {
        true => Dtls::new_13(config, certificate, anchor()),
        false => Dtls::new_12(config, certificate, anchor()),
    };
    dtls.set_active(active);
    dtls.handle_timeout(anchor()).unwrap();
    (dtls, fingerprint)
}

/// Runs both until neither says anything; gives both ends' keys.
/// What each side exported: ours with the profile.
type Exported = (Option<(Profile, Vec<u8>)>, Option<Vec<u8>>);

fn shake_hands(ours: &mut Endpoint, theirs: &mut Dtls) -> Exported {
    let (mut our_keys, mut their_keys) = (None, None);
    for _ in 0..20 {
        while let Some(event) = ours.poll() {
            match event {
                Event::Transmit(bytes) => theirs.handle_packet(&bytes).unwrap(),
                Event::Connected { profile, material } => our_keys = Some((profile, material)),
                Event::Closed => {}
            }
        }
        let mut buffer = vec![0; 2000];
        loop {
            match theirs.poll_output(&mut buffer) {
                Output::Packet(bytes) => ours.receive(Timestamp::ZERO, bytes).unwrap(),
                Output::KeyingMaterial(material, _) => their_keys = Some(material.to_vec()),
                Output::Timeout(_) => break,
                _ => {}
            }
        }
    }
    (our_keys, their_keys)
}

#[test]
fn both_versions_are_spoken_in_both_roles() {
    for version_13 in [false, true] {
        for active in [false, true] {
            for crypto in [Crypto::System, Crypto::Seeded([3; 32])] {
                let (mut theirs, fingerprint) = old_peer(!active, version_13);
                let certificate = Certificate::from_seed([1; 32]);
                let mut ours =
                    Endpoint::new(Timestamp::ZERO, &certificate, crypto, active, fingerprint, anchor())
                        .unwrap();
                let (our_keys, their_keys) = shake_hands(&mut ours, &mut theirs);
                let (profile, material) = our_keys.expect("we have keys");
                assert_eq!(profile, Profile::AeadAes256Gcm);
                assert_eq!(Some(material), their_keys, "1.3: {version_13}, client: {active}");
            }
        }
    }
}

#[test]
fn records_that_overtake_the_server_hello_are_kept() {
    let certificate = Certificate::from_seed([1; 32]);
    let fingerprint = certificate.fingerprint();
    let end = |active| {
        let seed = Crypto::Seeded([u8::from(active); 32]);
        Endpoint::new(Timestamp::ZERO, &certificate, seed, active, fingerprint, anchor()).unwrap()
    };
    let (mut client, mut server) = (end(true), end(false));
    let Some(Event::Transmit(hello)) = client.poll() else { panic!("a client begins") };
    server.receive(Timestamp::ZERO, &hello).unwrap();
    let Some(Event::Transmit(flight)) = server.poll() else { panic!("a server answers") };
    // Cut the flight after its first record, the ServerHello, and swap the parts.
    let first = 13 + usize::from(u16::from_be_bytes([flight[11], flight[12]]));
    client.receive(Timestamp::ZERO, &flight[first..]).unwrap();
    client.receive(Timestamp::ZERO, &flight[..first]).unwrap();
    assert!(client.is_connected());
}
