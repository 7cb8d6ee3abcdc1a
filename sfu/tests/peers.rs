//! Clients that are not like ours: browsers, peers that announce no SSRC, listeners on a weak link.

mod party;

use party::{Like, Party, Sending, assert_continuous, at, ms};
use std::collections::BTreeSet;
use undertone_media::{Kind, Timestamp};
use undertone_transport::rtcp::Rtcp;

fn video(like: Like) -> Sending {
    Sending { video: Some(3), like, ..Sending::default() }
}

#[test]
fn browsers_send_and_receive_on_the_same_lines() {
    let mut party = Party::new((2, 2));
    party.join("kitchen", "Anna", Sending { bare_h264: true, ..video(Like::Browser) });
    party.join("kitchen", "Bert", video(Like::Ours));
    party.join("kitchen", "Cleo", video(Like::Browser));
    party.run_until(at(4_000));
    for client in &party.clients {
        assert!(client.errors.is_empty(), "{:?}", client.errors);
        for other in party.clients.iter().filter(|other| other.id != client.id) {
            assert_continuous(client.of(other.id, Kind::Audio), 150, "audio");
            assert_continuous(client.of(other.id, Kind::Video), 200, "video");
        }
    }
}

#[test]
fn each_gets_feedback_in_the_format_it_agreed_to() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", video(Like::Browser));
    party.join("kitchen", "Bert", video(Like::Ours));
    party.run_until(at(3_000));
    let (anna, bert) = (&party.clients[0], &party.clients[1]);
    let twcc = |(_, packet): &&(Timestamp, Rtcp)| matches!(packet, Rtcp::Twcc(_));
    let ccfb = |(_, packet): &&(Timestamp, Rtcp)| matches!(packet, Rtcp::Ccfb(_));
    assert!(anna.rtcp.iter().filter(twcc).count() >= 8 && !anna.rtcp.iter().any(|p| ccfb(&p)));
    // libwebrtc ignores a report that names none of its own streams, and takes the path for dead.
    let own = [&anna.audio, &anna.video].map(|stream| stream.as_ref().unwrap().0.config().ssrc);
    assert!(anna.rtcp.iter().all(|(_, packet)| match packet {
        Rtcp::Twcc(report) => own.contains(&report.media),
        _ => true,
    }));
    assert!(bert.rtcp.iter().filter(ccfb).count() >= 8 && !bert.rtcp.iter().any(|p| twcc(&p)));
    // Transport-wide numbers run through both streams without a gap; ours carry none.
    let mut numbers: Vec<u16> =
        anna.heard.values().flatten().map(|heard| heard.header.ext.twcc.unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.len() > 250 && numbers.iter().enumerate().all(|(at, &number)| at == usize::from(number)));
    assert!(bert.heard.values().flatten().all(|heard| heard.header.ext.twcc.is_none()));
}

#[test]
fn a_peer_that_announces_no_ssrc_is_known_by_mid() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", video(Like::Anonymous));
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(3_000));
    assert_continuous(party.clients[1].of(1, Kind::Audio), 100, "audio");
    assert_continuous(party.clients[1].of(1, Kind::Video), 150, "video");
    assert_eq!(party.sfu.stats().unknown_streams, 0);
}

#[test]
fn the_mid_comes_along_until_the_subscriber_has_reported() {
    let mut party = Party::new((1, 0));
    party.join("kitchen", "Anna", Sending::default());
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(4_000));
    let heard = party.clients[1].of(1, Kind::Audio);
    let with_mid = heard.iter().filter(|heard| heard.header.ext.mid.is_some()).count();
    assert!(heard[0].header.ext.mid.is_some());
    assert!((1..100).contains(&with_mid), "{with_mid} of {}", heard.len());
}

/// A link that carries so many bytes a second and drops the rest, with half a second's worth of slack.
fn policer(bytes_per_sec: u64, to: std::net::SocketAddr) -> party::Filter {
    let mut level = 0;
    let mut last = Timestamp::ZERO;
    Box::new(move |now, transmit| {
        if transmit.to != to {
            return true;
        }
        level -= (now.since(last).as_micros() as i64 * bytes_per_sec as i64 / 1_000_000).min(level);
        last = now;
        let size = transmit.bytes.len() as i64 + 28;
        let fits = level + size <= bytes_per_sec as i64 / 2;
        level += if fits { size } else { 0 };
        fits
    })
}

#[test]
fn a_weak_subscriber_keeps_the_sound_and_loses_the_picture_and_gets_it_back() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending { size: 900, ..video(Like::Ours) });
    party.join("kitchen", "Bert", Sending::default());
    party.join("kitchen", "Cleo", Sending::default());
    party.run_until(at(3_000));
    assert!(party.clients[1].slots.iter().all(|slot| slot.active));
    // Sound is some 40 kbit/s, the picture 550.
    party.filter = policer(160_000 / 8, party.clients[1].addr);
    party.run_until(at(12_000));
    let picture_off = |party: &Party| {
        let mid = party.clients[1].slot_of(1, Kind::Video).unwrap().0;
        party.clients[1].slots.iter().any(|slot| slot.mid == mid && !slot.active)
    };
    assert!(picture_off(&party), "{:?}", party.clients[1].slots);
    let sound = |party: &Party, since: u64| {
        party.clients[1].of(1, Kind::Audio).iter().filter(|heard| heard.at >= at(since)).count()
    };
    party.run_until(at(15_000));
    assert!(sound(&party, 12_000) >= 140, "{} of 150 packets", sound(&party, 12_000));
    let cleo: BTreeSet<bool> = party.clients[2].slots.iter().map(|slot| slot.active).collect();
    assert_eq!(cleo, BTreeSet::from([true]), "nobody else suffers");

    party.filter = Box::new(|_, _| true);
    party.run(ms(70_000));
    assert!(!picture_off(&party), "tried again once the link is good");
    let last = party.clients[1].of(1, Kind::Video).last().unwrap().at;
    assert!(party.now.since(last) < ms(100));
}

#[test]
fn a_publisher_is_told_what_the_weakest_link_can_carry() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending { size: 900, ..video(Like::Ours) });
    party.join("kitchen", "Bert", Sending::default());
    party.join("kitchen", "Cleo", Sending::default());
    party.run_until(at(3_000));
    let told = |party: &Party, since: u64| {
        let heard = party.clients[0].rtcp.iter().filter(|(when, _)| *when >= at(since));
        let limits = heard.filter_map(|(at, packet)| match packet {
            Rtcp::Remb { bitrate, ssrcs, .. } => Some((*at, bitrate.as_bps() / 1000, ssrcs.clone())),
            _ => None,
        });
        limits.collect::<Vec<_>>()
    };
    let early = told(&party, 1_000);
    assert!(early.iter().all(|(_, kbps, _)| *kbps > 700), "no link has shown a limit: {early:?}");
    // Sound is some 40 kbit/s, the picture 550.
    party.filter = policer(500_000 / 8, party.clients[1].addr);
    party.run_until(at(10_500));
    // It takes a moment to notice.
    let limits = told(&party, 6_500);
    let picture = party.clients[0].video.as_ref().unwrap().0.config().ssrc;
    assert!(
        limits.iter().all(|(_, kbps, ssrcs)| (200..600).contains(kbps) && *ssrcs == [picture]),
        "{limits:?}"
    );
    assert!(limits.len() >= 3, "renewed, in case one was lost: {limits:?}");

    // A publisher that obeys keeps its picture on that link.
    party.clients[0].sending.size = 450;
    party.run_until(at(20_000));
    let bert = &party.clients[1];
    let since = bert.of(1, Kind::Video).iter().filter(|heard| heard.at >= at(16_000)).count();
    assert!(since >= 190, "{since} packets in 4 s");
}

#[test]
fn a_picture_that_grows_on_a_good_link_is_no_congestion() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending { size: 100, ..video(Like::Ours) });
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(4_000));
    party.clients[0].sending.size = 1_100;
    party.run_until(at(10_000));
    let bert = &party.clients[1];
    let paused: Vec<_> =
        bert.slots_history.iter().filter(|(_, slots)| slots.iter().any(|s| !s.active)).collect();
    assert!(paused.is_empty(), "{paused:?}");
    assert_continuous(bert.of(1, Kind::Video), 700, "video");
}
