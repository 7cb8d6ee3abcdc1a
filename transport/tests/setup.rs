//! How soon two ends hold keys.

mod wire;

use undertone_transport::ice::Role;
use wire::{End, Wire, at, ms};

#[test]
fn a_client_of_a_lite_server_holds_keys_after_one_round_trip() {
    let mut wire = Wire::to_lite(1, ms(50), 0);
    wire.connect();
    assert_eq!(wire.ends[0].connected.as_ref().unwrap().0, at(100));
    assert_eq!(wire.ends[1].connected.as_ref().unwrap().0, at(150));
    // Each byte counts at 24 kbit/s: check, ClientHello, the server's flight, the client's second in halves.
    let sizes: Vec<_> = wire.log.iter().map(|sent| sent.transmit.bytes.len()).collect();
    let most = [100, 268, 64, 710, 268, 268, 110];
    assert!(
        sizes.len() == most.len() && sizes.iter().zip(most).all(|(size, most)| *size <= most),
        "{sizes:?}"
    );
}

#[test]
fn peers_hold_keys_after_one_round_trip() {
    let mut wire = Wire::peer_to_peer(1, ms(50), 0);
    wire.connect();
    assert_eq!(wire.ends[0].connected.as_ref().unwrap().0, at(100));
    assert_eq!(wire.ends[1].connected.as_ref().unwrap().0, at(150));
}

#[test]
fn calls_connect_when_three_packets_in_ten_are_lost() {
    for make in [Wire::to_lite, Wire::peer_to_peer] {
        let mut times: Vec<_> = (0..100)
            .map(|seed| {
                let mut wire = make(seed, ms(50), 30);
                wire.connect();
                let [client, server] = wire.ends.map(|end| end.connected.unwrap().0.as_micros() / 1000);
                (client.max(server), client)
            })
            .collect();
        times.sort();
        // (both hold keys, the client does), in ms.
        println!("30 % loss, RTT 100: p50 {:?} p90 {:?} max {:?}", times[50], times[90], times[99]);
        assert!(times[50].0 < 800 && times[90].0 < 2000, "{times:?}");
    }
}

/// On a slow link a flight repeated while its answer is still arriving would delay the first media.
#[test]
fn nothing_is_repeated_on_a_clean_slow_path() {
    for make in [Wire::to_lite, Wire::peer_to_peer] {
        let mut wire = make(1, ms(50), 0);
        wire.kbps = 24;
        wire.connect();
        wire.run_until(at(3000));
        let handshake: Vec<_> = wire.log.iter().filter(|sent| sent.transmit.bytes[0] >= 20).collect();
        assert_eq!(handshake.len(), 5, "{handshake:#?}");
        let [client, server] = wire.ends.map(|end| end.connected.unwrap().0);
        println!("24 kbit/s, RTT 100: client holds keys at {client:?}, server at {server:?}");
        assert!(client < at(650), "{client:?}");
    }
}

/// The first of the peer's addresses leads nowhere; the handshake moves to the one that answers.
#[test]
fn a_dead_candidate_costs_no_more_than_a_round_trip() {
    let (client, server) = (End::new(Role::Controlling, 1, 1), End::new(Role::Controlled, 2, 1));
    let mut wire = Wire::new(client, server, ms(50), 0, 1);
    let (offer, mut answer) = (wire.ends[0].remote(false, false), wire.ends[1].remote(true, false));
    answer.candidates.insert(0, "10.7.7.7:7".parse().unwrap());
    wire.ends[1].session.start(wire.now, offer);
    wire.ends[0].session.start(wire.now, answer);
    wire.connect();
    assert!(wire.ends[0].connected.as_ref().unwrap().0 <= at(200));
}
