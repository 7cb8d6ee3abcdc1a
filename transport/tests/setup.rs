//! How soon two ends hold keys.

mod wire;

use wire::{Wire, at, ms};

#[test]
fn a_client_of_a_lite_server_holds_keys_after_one_round_trip() {
    let mut wire = Wire::to_lite(1, ms(50), 0);
    wire.connect();
    for sent in &wire.log {
        println!("{:?} {} -> {}: {} B", sent.at, sent.from, sent.transmit.to, sent.transmit.bytes.len());
    }
    assert_eq!(wire.ends[0].connected.as_ref().unwrap().0, at(100));
    assert_eq!(wire.ends[1].connected.as_ref().unwrap().0, at(150));
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
        println!("both hold keys at 30 % loss, RTT 100: p50 {:?} p90 {:?} max {:?} ms", times[50], times[90], times[99]);
        assert!(times[50].0 < 800 && times[90].0 < 2500, "{times:?}");
    }
}
