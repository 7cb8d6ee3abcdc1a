//! Lost packets are asked for and answered; key frames are asked for sparingly.

mod party;

use party::{Like, Party, Sending, assert_continuous, at, ms, seqs};
use undertone_media::{Kind, Transmit};
use undertone_transport::rtcp::Rtcp;

fn video() -> Sending {
    Sending { video: Some(3), ..Sending::default() }
}

fn is_rtp(transmit: &Transmit) -> bool {
    undertone_transport::session::classify(&transmit.bytes) == undertone_transport::session::Class::Rtp
}

/// Anna publishes, Bert watches.
fn two() -> Party {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", video());
    party.join("kitchen", "Bert", Sending::default());
    party
}

#[test]
fn a_subscribers_nack_is_answered_from_the_cache() {
    let mut party = two();
    party.run_until(at(2_000));
    let bert = &party.clients[1];
    let (_, ssrc) = bert.slot_of(1, Kind::Video).unwrap();
    let (mid, _) = bert.slot_of(1, Kind::Video).unwrap();
    // Bert pretends to have lost three packets that he got.
    let old = &bert.heard[&mid];
    let lost: Vec<u16> = old[old.len() - 20..old.len() - 17].iter().map(|heard| heard.header.seq).collect();
    let (now, before) = (party.now, party.sfu.stats());
    let nack = Rtcp::Nack { sender: undertone_media::Ssrc(1), media: ssrc, seqs: lost.clone() };
    party.clients[1].send_rtcp(now, nack.clone());
    party.clients[1].send_rtcp(now, nack);
    party.run(ms(100));
    let again: Vec<_> =
        party.clients[1].heard[&mid].iter().filter(|heard| heard.again && heard.at > now).collect();
    assert_eq!(again.len(), 3, "each once, though asked for twice at once");
    assert!(again.iter().all(|heard| heard.packet.is_none()), "known to the receiver as duplicates");
    let stats = party.sfu.stats();
    assert_eq!(stats.nacked - before.nacked, 6);
    assert_eq!(stats.resent - before.resent, 3);
    assert_eq!(stats.requested, 0, "the publisher is not troubled");
}

#[test]
fn what_the_publishers_link_loses_is_recovered_in_its_place() {
    let mut party = two();
    party.run_until(at(1_000));
    let mut count = 0;
    let anna = party.clients[0].addr;
    party.filter = Box::new(move |_, transmit| {
        if transmit.from != Some(anna) || !is_rtp(transmit) {
            return true;
        }
        count += 1;
        count % 10 != 0
    });
    party.run_until(at(6_000));
    party.filter = Box::new(|_, _| true);
    party.run_until(at(7_000));
    let stats = party.sfu.stats();
    assert!(stats.requested >= 40 && stats.recovered >= 40, "{stats:?}");
    let bert = &party.clients[1];
    for kind in [Kind::Audio, Kind::Video] {
        assert_continuous(bert.of(1, kind), 250, "recovered");
        // Number and payload belong together: the offset between Anna's numbers and Bert's never changes.
        let offsets: std::collections::BTreeSet<u16> = bert
            .of(1, kind)
            .iter()
            .filter_map(|heard| {
                let packet = heard.packet.as_ref()?;
                let sent = u16::from_be_bytes(*packet.payload.last_chunk::<2>()?);
                Some(packet.seq.wire().wrapping_sub(sent))
            })
            .collect();
        assert_eq!(offsets.len(), 1);
    }
}

#[test]
fn what_the_subscribers_link_loses_is_recovered_from_the_sfu() {
    let mut party = two();
    party.run_until(at(1_000));
    let (_, ssrc) = party.clients[1].slot_of(1, Kind::Video).unwrap();
    let (mid, _) = party.clients[1].slot_of(1, Kind::Video).unwrap();
    let bert = party.clients[1].addr;
    let mut count = 0;
    party.filter = Box::new(move |_, transmit| {
        count += u64::from(transmit.to == bert && is_rtp(transmit));
        transmit.to != bert || !is_rtp(transmit) || count % 17 != 0
    });
    for _ in 0..100 {
        party.run(ms(40));
        let mut have = seqs(&party.clients[1].heard[&mid]);
        have.sort_unstable();
        let missing: Vec<u16> =
            have.windows(2).flat_map(|pair| (pair[0] + 1..pair[1]).map(|seq| seq as u16)).collect();
        if !missing.is_empty() {
            let now = party.now;
            let nack = Rtcp::Nack { sender: undertone_media::Ssrc(1), media: ssrc, seqs: missing };
            party.clients[1].send_rtcp(now, nack);
        }
    }
    party.filter = Box::new(|_, _| true);
    let now = party.now;
    let mut have = seqs(&party.clients[1].heard[&mid]);
    have.sort_unstable();
    let missing: Vec<u16> =
        have.windows(2).flat_map(|pair| (pair[0] + 1..pair[1]).map(|seq| seq as u16)).collect();
    let nack = Rtcp::Nack { sender: undertone_media::Ssrc(1), media: ssrc, seqs: missing };
    party.clients[1].send_rtcp(now, nack);
    party.run(ms(200));
    assert_continuous(&party.clients[1].heard[&mid], 280, "recovered");
    assert!(party.sfu.stats().resent >= 10, "{:?}", party.sfu.stats());
}

#[test]
fn a_stream_survives_the_loss_of_its_first_packet() {
    let mut party = two();
    let bert = party.clients[1].addr;
    let mut lost = false;
    party.filter = Box::new(move |_, transmit| {
        let first = !lost && transmit.to == bert && is_rtp(transmit) && transmit.bytes[1] & 0x7f == 102;
        lost |= first;
        !first
    });
    party.run_until(at(2_000));
    let (mid, _) = party.clients[1].slot_of(1, Kind::Video).unwrap();
    let heard = &party.clients[1].heard[&mid];
    assert!(heard.first().is_some_and(|heard| heard.again && heard.packet.is_some()));
    assert_continuous(heard, 100, "from the first packet on");
}

#[test]
fn sound_that_a_browser_misses_comes_again_as_it_was() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending::default());
    party.join("kitchen", "Bert", Sending { like: Like::Browser, ..Sending::default() });
    party.run_until(at(1_000));
    let (mid, ssrc) = party.clients[1].slot_of(1, Kind::Audio).unwrap();
    let bert = party.clients[1].addr;
    let mut count = 0;
    party.filter = Box::new(move |_, transmit| {
        let heard = transmit.to == bert && is_rtp(transmit);
        count += u64::from(heard);
        !heard || count % 7 != 0
    });
    let missing = |party: &Party| -> Vec<u16> {
        let mut have = seqs(&party.clients[1].heard[&mid]);
        have.sort_unstable();
        have.windows(2).flat_map(|pair| (pair[0] + 1..pair[1]).map(|seq| seq as u16)).collect()
    };
    for round in 0..100 {
        party.run(ms(40));
        if round == 98 {
            party.filter = Box::new(|_, _| true);
        }
        let (now, seqs) = (party.now, missing(&party));
        if !seqs.is_empty() {
            // Impatience costs nothing: each packet goes once in half a round trip.
            for _ in 0..3 {
                let nack = Rtcp::Nack { sender: undertone_media::Ssrc(1), media: ssrc, seqs: seqs.clone() };
                party.clients[1].send_rtcp(now, nack);
            }
        }
    }
    party.run(ms(100));
    assert_continuous(&party.clients[1].heard[&mid], 230, "repeated");
    let stats = party.sfu.stats();
    assert!((25..80).contains(&stats.resent), "{stats:?}");
    // The same to the bit, or its seal would not have opened: nothing was refused as a forgery.
    assert_eq!(party.clients[1].session.stats().unauthentic, 0);
}

#[test]
fn key_frame_requests_are_gathered_and_throttled() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", video());
    for name in ["Bert", "Cleo", "Dora"] {
        party.join("kitchen", name, Sending::default());
    }
    party.run_until(at(3_000));
    let before = party.clients[0].plis.len();
    // All three complain every 20 ms for two seconds.
    for _ in 0..100 {
        let now = party.now;
        for who in 1..4 {
            let (_, media) = party.clients[who].slot_of(1, Kind::Video).unwrap();
            party.clients[who].send_rtcp(now, Rtcp::Pli { sender: undertone_media::Ssrc(1), media });
        }
        party.run(ms(20));
    }
    let plis = &party.clients[0].plis[before..];
    assert!((4..=7).contains(&plis.len()), "{plis:?}");
    for pair in plis.windows(2) {
        assert!(pair[1].since(pair[0]) >= ms(300), "{plis:?}");
    }
    assert_eq!(party.sfu.stats().key_frames_wanted, 300);
}

#[test]
fn a_publisher_that_ignores_a_request_is_asked_again() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", video());
    party.run_until(at(2_000));
    party.clients[0].obliging = false;
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(4_000));
    let asked = party.clients[0].plis.iter().filter(|&&when| when > at(2_000)).count();
    assert!((3..=6).contains(&asked), "{asked}");
    assert!(party.clients[1].of(1, Kind::Video).is_empty(), "nothing a decoder cannot use");
    party.clients[0].want_key();
    party.run_until(at(4_500));
    assert_continuous(party.clients[1].of(1, Kind::Video), 20, "after the key frame");
}

#[test]
fn a_lost_start_of_a_key_frame_does_not_cost_the_rest() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", video());
    party.run_until(at(2_000));
    party.join("kitchen", "Bert", Sending::default());
    // The first packet of the key frame that Bert waits for is lost on its way to the SFU.
    let anna = party.clients[0].addr;
    let mut dropped = false;
    // Payload and stamp, header, three-byte descriptor, tag: what is longer has a structure.
    let plain = Sending::default().size + 9 + 12 + 8 + 16;
    party.filter = Box::new(move |_, transmit| {
        let starts_key = transmit.from == Some(anna) && is_rtp(transmit) && transmit.bytes.len() > plain;
        let lose = starts_key && !dropped;
        dropped |= lose;
        !lose
    });
    party.run_until(at(4_000));
    let stats = party.sfu.stats();
    assert!(stats.recovered >= 1, "the packet was lost and came again: {stats:?}");
    let pictures = party.clients[1].of(1, Kind::Video);
    assert_continuous(pictures, 100, "from the recovered start on");
    assert_eq!(
        pictures[0].packet.as_ref().unwrap().payload[1],
        1,
        "it begins with the key frame's first packet"
    );
}
