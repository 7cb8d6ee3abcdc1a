//! Redundancy from hop to hop: what a weak link loses comes back, and costs nobody else a byte.

mod party;

use party::{Party, Redundancy, Sending, at, seqs};
use std::collections::BTreeSet;
use undertone_media::{Kind, Transmit};

fn is_rtp(transmit: &Transmit) -> bool {
    undertone_transport::session::classify(&transmit.bytes) == undertone_transport::session::Class::Rtp
}

/// Loses two packets in ten.
fn lossy() -> impl FnMut() -> bool {
    let mut state = 7u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24 < 51
    }
}

/// Packets of Anna's sound that a client does not have, in thousandths.
fn missing(party: &Party, client: usize) -> u64 {
    let have: BTreeSet<u64> = seqs(party.clients[client].of(1, Kind::Audio)).into_iter().collect();
    let (first, last) = (have.first().unwrap(), have.last().unwrap());
    let all = last - first + 1;
    (all - have.len() as u64) * 1000 / all
}

fn speaks(redundancy: Redundancy) -> Sending {
    Sending { redundancy, ..Sending::default() }
}

#[test]
fn a_subscriber_that_loses_packets_gets_them_back_and_nobody_else_pays() {
    for (redundancy, payload_type) in [(Redundancy::Red, 63), (Redundancy::Rlc, 113)] {
        let mut party = Party::new((1, 0));
        party.join("kitchen", "Anna", Sending::default());
        party.join("kitchen", "Bert", speaks(redundancy));
        party.join("kitchen", "Cleo", speaks(redundancy));
        party.run_until(at(1_000));
        let bert = party.clients[1].addr;
        let mut lose = lossy();
        party.filter = Box::new(move |_, transmit| transmit.to != bert || !is_rtp(transmit) || !lose());
        party.run_until(at(3_000));
        // Nobody asks for anything: these clients do not.
        party.clients[1].heard.clear();
        party.clients[2].heard.clear();
        party.run_until(at(13_000));
        // At this loss one copy or two: 4 % of the packets are missing with one, 1 % with two.
        let most = if redundancy == Redundancy::Red { 50 } else { 10 };
        assert!(missing(&party, 1) <= most, "{redundancy:?}: {} per mille missing", missing(&party, 1));
        assert_eq!(missing(&party, 2), 0);
        let types = |client: usize| -> BTreeSet<u8> {
            party.clients[client].of(1, Kind::Audio).iter().map(|heard| heard.header.payload_type).collect()
        };
        assert!(types(1).contains(&payload_type));
        assert_eq!(types(2), BTreeSet::from([111]), "the sound link gets what was sent and no more");
    }
}

#[test]
fn protection_ends_when_the_losses_do() {
    let mut party = Party::new((1, 0));
    party.join("kitchen", "Anna", Sending::default());
    party.join("kitchen", "Bert", speaks(Redundancy::Rlc));
    let bert = party.clients[1].addr;
    party.run_until(at(1_000));
    let mut lose = lossy();
    party.filter = Box::new(move |_, transmit| transmit.to != bert || !is_rtp(transmit) || !lose());
    party.run_until(at(6_000));
    party.filter = Box::new(|_, _| true);
    party.run_until(at(16_000));
    let last = party.clients[1].of(1, Kind::Audio).last().unwrap();
    assert_eq!(last.header.payload_type, 111);
}

#[test]
fn what_a_publisher_protects_comes_back_at_the_sfu() {
    for redundancy in [Redundancy::Red, Redundancy::Rlc] {
        let mut party = Party::new((1, 0));
        party.join("kitchen", "Anna", speaks(redundancy));
        party.join("kitchen", "Bert", Sending::default());
        party.run_until(at(1_000));
        // Requests go unanswered, so that redundancy is all there is.
        party.clients[0].obliging = false;
        party.clients[1].heard.clear();
        let anna = party.clients[0].addr;
        let mut lose = lossy();
        party.filter =
            Box::new(move |_, transmit| transmit.from != Some(anna) || !is_rtp(transmit) || !lose());
        party.run_until(at(11_000));
        let most = if redundancy == Redundancy::Red { 60 } else { 10 };
        assert!(missing(&party, 1) <= most, "{redundancy:?}: {} per mille missing", missing(&party, 1));
        let heard = party.clients[1].of(1, Kind::Audio);
        // The SFU passes on sound alone, and each number with its own payload.
        assert!(heard.iter().all(|it| [111, 112].contains(&it.header.payload_type)));
        let offsets: BTreeSet<u16> = heard
            .iter()
            .filter_map(|it| {
                let packet = it.packet.as_ref()?;
                let sent = u16::from_be_bytes(*packet.payload.last_chunk::<2>()?);
                Some(packet.seq.wire().wrapping_sub(sent))
            })
            .collect();
        assert_eq!(offsets.len(), 1);
    }
}
