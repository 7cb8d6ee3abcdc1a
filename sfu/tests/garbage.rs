//! Bad datagrams are counted and dropped, and disturb nobody.

mod party;

use party::{Party, SFU_ADDR, Sending, assert_continuous, at};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::net::SocketAddr;
use undertone_media::{Input, Kind, Machine, Output, Transmit};

const EACH: usize = 1_000_000;

#[test]
fn a_million_random_and_a_million_mutated_datagrams_disturb_nobody() {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let sfu: SocketAddr = SFU_ADDR.parse().unwrap();
    let mut party = Party::new((2, 2));
    let sending = Sending { video: Some(3), ..Sending::default() };
    for name in ["Anna", "Bert"] {
        party.join("kitchen", name, sending);
    }
    party.run_until(at(2_000));
    let real: Vec<Transmit> = party.captured.iter().cloned().collect();
    assert!(real.len() > 300);
    let stranger: SocketAddr = "203.0.113.9:999".parse().unwrap();
    let mut buffer = vec![0u8; 1500];
    let mut sent = 0;
    let rounds = 100;
    for round in 1..=rounds {
        for n in 0..2 * EACH / rounds {
            let word = rng.next_u64();
            // Half from a stranger, half as if from a participant.
            let (from, len) = if n % 2 == 0 {
                let len = (word >> 8) as usize % 200;
                rng.fill_bytes(&mut buffer[..len]);
                // Every other one has a first byte that looks like something.
                if word & 1 == 0 && len > 0 {
                    buffer[0] = [0, 1, 20, 22, 23, 0x80, 0x90][(word >> 24) as usize % 7];
                }
                (if word & 2 == 0 { stranger } else { party.clients[(word >> 3) as usize % 2].addr }, len)
            } else {
                let old = &real[(word >> 8) as usize % real.len()];
                let len = old.bytes.len();
                buffer[..len].copy_from_slice(&old.bytes);
                for _ in 0..1 + word % 3 {
                    let word = rng.next_u64();
                    let at = word as usize % len;
                    buffer[at] ^= 1 << (word >> 32 & 7);
                }
                let cut = if word & 0x70 == 0 { (word >> 40) as usize % len } else { len };
                (if word & 8 == 0 { stranger } else { old.from.unwrap() }, cut)
            };
            sent += 1;
            party.sfu.handle(party.now, Input::Datagram { from, to: sfu, bytes: &mut buffer[..len] });
            while let Some(output) = party.sfu.poll() {
                // Answers to checks may leave; nothing else comes of garbage.
                if let Output::Transmit(transmit) = output {
                    assert!(transmit.bytes.len() <= 1500);
                }
            }
        }
        party.run_until(at(2_000 + round as u64 * 20));
    }
    party.run_until(at(6_000));
    assert_eq!(sent, 2 * EACH);
    let stats = party.sfu.stats();
    assert!(stats.garbage + stats.unroutable + stats.refused > 19 * EACH as u64 / 10, "{stats:?}");
    assert_eq!(stats.participants, 2);
    for (who, other) in [(0, 1), (1, 0)] {
        let other = party.clients[other].id;
        let client = &party.clients[who];
        assert!(client.errors.is_empty());
        assert_continuous(client.of(other, Kind::Audio), 190, "audio");
        assert_continuous(client.of(other, Kind::Video), 280, "video");
        assert!(client.of(other, Kind::Audio).last().unwrap().at > at(5_950));
    }
}
