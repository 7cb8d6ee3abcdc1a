//! Bad datagrams are counted and dropped, and disturb nobody.

mod party;

use party::{Party, SFU_ADDR, Sending, assert_continuous, at};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use undertone_media::{Input, Kind, Machine, Timestamp, Transmit};
use undertone_sfu::Sfu;

fn sending() -> Sending {
    Sending { video: Some(3), ..Sending::default() }
}

fn stranger() -> SocketAddr {
    "203.0.113.9:999".parse().unwrap()
}

/// Hands the SFU a datagram.
fn inject(sfu: &mut Sfu, now: Timestamp, from: SocketAddr, bytes: &mut [u8]) {
    sfu.handle(now, Input::Datagram { from, to: SFU_ADDR.parse().unwrap(), bytes });
}

/// Changes one to three bits, and sometimes cuts the end off.
fn mutate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    for _ in 0..1 + rng.next_u32() % 3 {
        let at = rng.next_u32() as usize % bytes.len();
        bytes[at] ^= 1 << (rng.next_u32() % 8);
    }
    if rng.next_u32().is_multiple_of(8) {
        bytes.truncate(rng.next_u32() as usize % bytes.len());
    }
}

/// Both hear and see each other without a gap, up to the end.
fn assert_undisturbed(party: &Party, since: u64, until: u64) {
    assert_eq!(party.sfu.stats().participants, 2);
    let seconds = ((until - since) / 1000) as usize;
    for (who, other) in [(0, 1), (1, 0)] {
        let (client, other) = (&party.clients[who], party.clients[other].id);
        assert!(client.errors.is_empty(), "{:?}", client.errors);
        assert_continuous(client.of(other, Kind::Audio), seconds * 49, "audio");
        assert_continuous(client.of(other, Kind::Video), seconds * 73, "video");
        assert!(client.of(other, Kind::Audio).last().unwrap().at >= at(until - 40));
    }
}

#[test]
fn a_million_random_datagrams_disturb_nobody() {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut party = Party::new((2, 2));
    party.join("kitchen", "Anna", sending());
    party.join("kitchen", "Bert", sending());
    party.run_until(at(1_000));
    let mut buffer = vec![0u8; 1500];
    for round in 0..100 {
        for _ in 0..10_000 {
            let word = rng.next_u64();
            let len = (word >> 8) as usize % if word & 7 == 0 { 1500 } else { 120 };
            rng.fill_bytes(&mut buffer[..len]);
            // Half of them look like something, a third comes as if from a participant.
            if word & 8 == 0 && len > 0 {
                buffer[0] = [0, 1, 20, 22, 23, 0x2c, 0x80, 0x90][(word >> 24) as usize % 8];
            }
            let from = match (word >> 40) % 6 {
                who @ 0..2 => party.clients[who as usize].addr,
                _ => stranger(),
            };
            inject(&mut party.sfu, party.now, from, &mut buffer[..len]);
        }
        party.run_until(at(1_000 + round * 40));
    }
    party.run_until(at(6_000));
    assert_undisturbed(&party, 1_000, 6_000);
    let stats = party.sfu.stats();
    assert!(stats.garbage > 250_000 && stats.unroutable > 250_000 && stats.refused > 50_000, "{stats:?}");
}

#[test]
fn a_million_mutants_that_overtake_the_real_datagrams_disturb_nobody() {
    let mut party = Party::new((2, 2));
    party.join("kitchen", "Anna", sending());
    party.join("kitchen", "Bert", sending());
    party.run_until(at(1_000));
    let count = Rc::new(Cell::new(0u64));
    let counter = count.clone();
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    party.before = Some(Box::new(move |now, sfu, real: &Transmit| {
        // Each comes before the datagram that it was made from, so no replay window helps.
        for _ in 0..200 {
            let mut bytes = real.bytes.clone();
            mutate(&mut rng, &mut bytes);
            if bytes == real.bytes {
                continue; // the same bit twice
            }
            let from = if rng.next_u32().is_multiple_of(4) { stranger() } else { real.from.unwrap() };
            inject(sfu, now, from, &mut bytes);
            counter.set(counter.get() + 1);
        }
    }));
    let mut end = 1_000;
    while count.get() < 1_000_000 {
        end += 1_000;
        party.run_until(at(end));
    }
    party.before = None;
    party.run_until(at(end + 1_000));
    assert_undisturbed(&party, 1_000, end + 1_000);
    let stats = party.sfu.stats();
    assert!(stats.refused > 600_000, "{stats:?}");
}

#[test]
fn mutants_of_the_handshake_cause_no_panic() {
    for seed in 0..20 {
        let mut party = Party::new((1, 1));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        party.before = Some(Box::new(move |now, sfu, real: &Transmit| {
            for _ in 0..50 {
                let mut bytes = real.bytes.clone();
                mutate(&mut rng, &mut bytes);
                sfu.handle(now, Input::Datagram { from: real.from.unwrap(), to: real.to, bytes: &mut bytes });
            }
        }));
        party.join("kitchen", "Anna", sending());
        party.join("attic", "Bert", sending());
        party.run_until(at(500));
        // Who rewrites a plaintext handshake may spoil it, but only that one.
        assert!(party.sfu.stats().participants <= 2);
    }
}

#[test]
fn a_participant_that_sends_nonsense_under_its_own_keys_harms_only_itself() {
    let mut party = Party::new((3, 3));
    party.join("kitchen", "Anna", sending());
    party.join("kitchen", "Bert", sending());
    party.join("kitchen", "Mallory", Sending { audio: false, ..Sending::default() });
    party.run_until(at(1_000));
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let mallory = &party.clients[2];
    let streams: Vec<u32> =
        mallory.lines.iter().filter_map(|line| line.receive.as_ref()?.ssrc).map(|ssrc| ssrc.0).collect();
    let own: Vec<(u32, u8)> = mallory
        .lines
        .iter()
        .filter_map(|line| line.send.as_ref())
        .flat_map(|send| {
            let rtx = send.rtx_ssrc.zip(send.rtx_payload_type);
            [Some((send.ssrc.0, send.payload_type)), rtx.map(|(ssrc, pt)| (ssrc.0, pt))]
        })
        .flatten()
        .collect();
    for step in 0..1_000u64 {
        let now = party.now;
        let session = &mut party.clients[2].session;
        for _ in 0..20 {
            let word = rng.next_u64();
            let mut packet = vec![0; 12 + (word >> 32) as usize % 300];
            rng.fill_bytes(&mut packet);
            if word & 1 == 0 {
                // RTP of its own streams or of none, with extensions and padding that may be broken.
                let (ssrc, pt) = own[word as usize / 2 % own.len()];
                packet[0] = 0x80 | (word >> 8) as u8 & 0x31;
                packet[1] = pt | (word >> 16) as u8 & 0x80;
                if word & 0x70 != 0 {
                    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
                    packet[2..4].copy_from_slice(&((step / 4) as u16).to_be_bytes());
                }
                if packet.len() > 16 && word & 0x80 == 0 {
                    packet[12..16].copy_from_slice(&[0xbe, 0xde, 0, (word >> 40) as u8 % 40]);
                }
                session.send_rtp(now, packet);
            } else {
                // RTCP of every type, about the streams that it receives.
                packet[0] = 0x80 | [1, 4, 11, 15, (word >> 8) as u8 & 0x3f][(word >> 20) as usize % 5];
                packet[1] = 200 + (word >> 16) as u8 % 8;
                let words = (packet.len() / 4 - 1) as u16;
                packet.truncate((usize::from(words) + 1) * 4);
                packet[2..4].copy_from_slice(&words.to_be_bytes());
                let stream = streams[word as usize / 2 % streams.len()].to_be_bytes();
                packet[4..8].copy_from_slice(&own[0].0.to_be_bytes());
                packet[8..12].copy_from_slice(&stream);
                session.send_rtcp(now, packet);
            }
        }
        party.run_until(at(1_000 + (step + 1) * 4));
    }
    party.run_until(at(6_000));
    for (who, other) in [(0, 1), (1, 0)] {
        let (client, other) = (&party.clients[who], party.clients[other].id);
        assert!(client.errors.is_empty(), "{:?}", client.errors);
        assert_continuous(client.of(other, Kind::Audio), 240, "audio");
        assert_continuous(client.of(other, Kind::Video), 350, "video");
    }
    // Key frames were asked for all the time, and given at the usual pace.
    assert!(party.clients[0].key_frames.len() < 20, "{}", party.clients[0].key_frames.len());
    let stats = party.sfu.stats();
    assert!(stats.key_frames_wanted > 50 && stats.nacked > 10_000, "{stats:?}");
}

#[test]
fn mutated_signalling_never_panics() {
    use undertone_signaling::message::{self, Description, DescriptionKind, Join, MediaKind, Mute};
    let mut party = Party::new((2, 2));
    party.join("kitchen", "Anna", sending());
    party.run_until(at(500));
    let sdp = party.clients[0].offer.as_ref().unwrap().to_string();
    let join = Join { token: "t".into(), room: "kitchen".into(), name: "Bert".into(), version: 1 };
    let messages = [
        message::encode(join.clone()),
        message::encode(Description { kind: DescriptionKind::Offer.into(), sdp }),
        message::encode(Mute { kind: MediaKind::Audio.into(), muted: true }),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    for channel in 1_000..6_000 {
        for real in &messages {
            let mut message = real.clone();
            if rng.next_u32().is_multiple_of(2) {
                mutate(&mut rng, &mut message);
            }
            party.sfu.handle(party.now, Input::Signal { channel, message: &message });
        }
        party.sfu.handle(party.now, Input::SignalClosed { channel });
        while party.sfu.poll().is_some() {}
    }
    assert_eq!(party.sfu.stats().participants, 1, "only Anna is left");
}
