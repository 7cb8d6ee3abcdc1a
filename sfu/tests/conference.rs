//! Participants hear and see each other through their slots, whoever comes and goes.

mod party;

use party::{Party, Sending, assert_continuous, at, ms};
use std::collections::BTreeSet;
use undertone_media::{Kind, MediaTime};
use undertone_transport::rtcp::Rtcp;

fn video() -> Sending {
    Sending { video: Some(3), ..Sending::default() }
}

#[test]
fn three_participants_hear_and_see_each_other() {
    let mut party = Party::new((3, 3));
    for name in ["Anna", "Bert", "Cleo"] {
        party.join("kitchen", name, video());
    }
    party.run_until(at(5_000));
    for client in &party.clients {
        assert!(client.errors.is_empty(), "{:?}", client.errors);
        assert!(client.connected.is_some_and(|when| when < at(500)), "{:?}", client.connected);
        assert_eq!(client.roster.len(), 3);
        assert!(client.roster.iter().all(|p| p.audio && p.video && !p.muted));
        assert_eq!(client.slots.len(), 4, "two others, two kinds: {:?}", client.slots);
        assert!(client.slots.iter().all(|slot| slot.active && slot.participant != client.id));
        for other in party.clients.iter().filter(|other| other.id != client.id) {
            let audio = client.of(other.id, Kind::Audio);
            assert_continuous(audio, 200, "audio");
            let pictures = client.of(other.id, Kind::Video);
            assert_continuous(pictures, 300, "video");
            // What came is what that participant sent, and its level came along.
            assert!(audio.iter().all(|heard| party::Client::sender(heard) == u64::from(other.id)));
            assert!(audio.iter().all(|heard| heard.header.ext.audio_level.unwrap().level == 30));
            // The first picture packet starts a key frame.
            assert_eq!(pictures[0].packet.as_ref().unwrap().payload[1], 1);
        }
    }
    let stats = party.sfu.stats();
    assert_eq!((stats.rooms, stats.participants, stats.connected), (1, 3, 3));
    assert_eq!((stats.garbage, stats.unroutable, stats.unknown_streams), (0, 0, 0));
}

#[test]
fn a_browsers_video_without_descriptor_is_known_by_its_nal_types() {
    let mut party = Party::new((2, 2));
    party.join("kitchen", "Anna", Sending { bare_h264: true, ..video() });
    party.run_until(at(2_000));
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(4_000));
    let pictures = party.clients[1].of(1, Kind::Video);
    assert_continuous(pictures, 100, "video");
    assert_eq!(pictures[0].packet.as_ref().unwrap().payload[0], 0x67, "starts with a parameter set");
}

#[test]
fn a_late_joiner_gets_a_key_frame_at_once() {
    let mut party = Party::new((2, 2));
    party.join("kitchen", "Anna", video());
    party.run_until(at(5_000));
    let keys_before = party.clients[0].key_frames.len();
    assert_eq!(keys_before, 1, "nobody asks while nobody watches");
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(8_000));
    let [anna, bert] = &party.clients[..] else { unreachable!() };
    assert_eq!(anna.key_frames.len(), 2, "one more, for Bert");
    let connected = bert.connected.unwrap();
    let first = bert.of(anna.id, Kind::Video)[0].at;
    // A request and a picture: 20 ms of path to Anna, up to 40 ms to her next picture, 20 ms of path back.
    assert!(first.since(connected) <= ms(90), "{:?}", first.since(connected));
}

#[test]
fn who_leaves_frees_the_slots_and_who_comes_takes_them() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending::default());
    party.join("kitchen", "Bert", video());
    party.run_until(at(3_000));
    let mid = party.clients[0].slot_of(2, Kind::Video).unwrap().0;
    let channel = party.clients[1].channel;
    party.say(channel, undertone_signaling::message::Leave {});
    party.run_until(at(3_500));
    assert!(party.clients[0].slots.is_empty());
    assert_eq!(party.clients[0].roster.len(), 1);
    assert!(party.clients[1].closed);
    party.clients[1].silent = true;
    let before = party.clients[0].heard[&mid].last().unwrap().clone();

    party.join("kitchen", "Cleo", video());
    party.run_until(at(6_000));
    let anna = &party.clients[0];
    assert_eq!(anna.slot_of(3, Kind::Video).unwrap().0, mid, "the same slot");
    // Sequence and frame numbers run on as if nothing had happened; time passed as on the wall.
    assert_continuous(&anna.heard[&mid], 300, "across the switch");
    let after = anna.heard[&mid].iter().find(|heard| heard.at > at(3_500)).unwrap();
    let frame = |heard: &party::Heard| {
        let dd = heard.header.ext.dd.unwrap();
        u16::from_be_bytes([dd.as_bytes()[1], dd.as_bytes()[2]])
    };
    assert_eq!(frame(after), frame(&before).wrapping_add(1));
    let (old, new) = (before.packet.as_ref().unwrap(), after.packet.as_ref().unwrap());
    assert_eq!(new.seq, old.seq.next());
    let media = new.time.since(old.time, 90_000).as_millis() as i64;
    let wall = after.at.since(before.at).as_millis() as i64;
    assert!((media - wall).abs() <= 60, "{media} {wall}");
}

#[test]
fn rooms_hear_nothing_of_each_other() {
    let mut party = Party::new((3, 3));
    for (room, name) in [("kitchen", "Anna"), ("attic", "Bert"), ("kitchen", "Cleo"), ("attic", "Dora")] {
        party.join(room, name, video());
    }
    party.run_until(at(3_000));
    assert_eq!(party.sfu.stats().rooms, 2);
    for (who, other) in [(0, 2), (1, 3), (2, 0), (3, 1)] {
        let (client, other) = (&party.clients[who], &party.clients[other]);
        let names: BTreeSet<&str> = client.roster.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, BTreeSet::from([client.name.as_str(), other.name.as_str()]));
        let heard: usize = client.heard.values().map(Vec::len).sum();
        let from_other = client.of(other.id, Kind::Audio).len() + client.of(other.id, Kind::Video).len();
        assert_eq!(heard, from_other);
        assert!(from_other > 200);
    }
}

#[test]
fn with_more_sources_than_slots_the_loudest_are_heard() {
    let mut party = Party::new((2, 0));
    for (at, level) in [70, 60, 80, 20, 75].into_iter().enumerate() {
        party.join("hall", &format!("P{at}"), Sending { level, ..Sending::default() });
    }
    party.run_until(at(4_000));
    let heard_by = |party: &Party, who: usize| -> BTreeSet<u32> {
        party.clients[who].slots.iter().map(|slot| slot.participant).collect()
    };
    // Participant 4 is by far the loudest: all hear her, and she hears two others.
    for who in [0, 1, 2, 4] {
        assert!(heard_by(&party, who).contains(&4), "{who}: {:?}", party.clients[who].slots);
    }
    assert_eq!(heard_by(&party, 3).len(), 2);
    let silent_before = party.clients[0].slots_history.len();
    party.run_until(at(6_000));
    assert_eq!(party.clients[0].slots_history.len(), silent_before, "steady levels switch nothing");

    // Participant 3 raises her voice: everybody hears her within half a second.
    party.clients[2].sending.level = 15;
    party.run_until(at(6_500));
    for who in [0, 1, 3, 4] {
        assert!(heard_by(&party, who).contains(&3), "{who}: {:?}", party.clients[who].slots);
    }
    // What reaches a slot is continuous, whoever was in it.
    for client in &party.clients {
        for heard in client.heard.values() {
            assert_continuous(heard, 10, "switching audio slot");
        }
    }
}

#[test]
fn mute_empties_video_slots_and_marks_audio() {
    let mut party = Party::new((2, 1));
    party.join("kitchen", "Anna", video());
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(2_000));
    assert!(party.clients[1].slot_of(1, Kind::Video).is_some());
    party.mute(0, Kind::Video, true);
    party.mute(0, Kind::Audio, true);
    party.run_until(at(2_500));
    let bert = &party.clients[1];
    assert!(bert.slot_of(1, Kind::Video).is_none());
    assert!(bert.slots.iter().all(|slot| !slot.active), "{:?}", bert.slots);
    assert!(bert.roster.iter().any(|p| p.id == 1 && p.muted && p.video_muted));
    party.mute(0, Kind::Video, false);
    party.mute(0, Kind::Audio, false);
    party.run_until(at(4_000));
    let bert = &party.clients[1];
    assert!(bert.slots.len() == 2 && bert.slots.iter().all(|slot| slot.active));
    let pictures = bert.of(1, Kind::Video);
    assert!(pictures.last().unwrap().at > at(3_900));
    assert_continuous(pictures, 100, "across the pause");
}

#[test]
fn dates_of_sound_and_picture_stay_together() {
    let mut party = Party::new((2, 2));
    party.join("kitchen", "Anna", video());
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(4_000));
    let (anna, bert) = (party.clients[0].id, &party.clients[1]);
    assert!(bert.rtcp.iter().any(|(_, packet)| matches!(packet, Rtcp::SenderReport { .. })));
    // The client dates audio and video by one clock, so a packet's capture time, read on that clock from the
    // reports that the SFU made, lies as long before its arrival as the ways take, for both.
    let age = |kind| {
        let (mid, _) = bert.slot_of(anna, kind).unwrap();
        let heard = bert.of(anna, kind).last().unwrap();
        let time: MediaTime = heard.packet.as_ref().unwrap().time;
        let captured = bert.capture_ntp(&mid, time).unwrap();
        let arrived = undertone_transport::rtcp::ntp(heard.at + party::WALL_CLOCK);
        (arrived.wrapping_sub(captured) as i64 * 1000) >> 32
    };
    let (audio, video) = (age(Kind::Audio), age(Kind::Video));
    assert!((audio - video).abs() <= 1, "{audio} ms, {video} ms");
    assert!((18..=22).contains(&audio), "10 ms of path in, 10 ms out: {audio}");
}

#[test]
fn one_seed_gives_the_same_bytes() {
    let run = |seed: u8| {
        let mut party = Party::with(party::sfu_config(seed), (2, 2));
        party.join("kitchen", "Anna", video());
        party.join("kitchen", "Bert", video());
        party.run_until(at(1_500));
        (party.digest, party.sfu.stats())
    };
    let (first, second, other) = (run(3), run(3), run(4));
    assert_eq!(first, second);
    assert_ne!(first.0, other.0, "the digest sees the bytes");
    assert!(first.1.forwarded > 300);
}
