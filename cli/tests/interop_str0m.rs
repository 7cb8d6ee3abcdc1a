//! str0m, a WebRTC stack by other authors, in a room of our SFU and in direct calls with our engine: ICE, DTLS
//! 1.2 and 1.3, Opus and H.264 both ways, over UDP on loopback.

mod interop;

use interop::engine::Engine;
use interop::material::{Material, tone_anywhere, tone_of};
use interop::room::{Channel, Server};
use interop::str0m::{Direction, DtlsVersion, Setup, Str0m};
use interop::wait_for;
use std::sync::Arc;
use undertone_engine::Role;
use undertone_media::Kind;
use undertone_signaling::message::DescriptionKind;

/// A participant's lines: what it sends, then a slot for each kind.
const LINES: [(Kind, Direction); 4] = [
    (Kind::Audio, Direction::SendOnly),
    (Kind::Video, Direction::SendOnly),
    (Kind::Audio, Direction::RecvOnly),
    (Kind::Video, Direction::RecvOnly),
];

fn enter(server: &Server, name: &str, dtls: DtlsVersion, material: &Arc<Material>) -> (Channel, Str0m) {
    let mut channel = Channel::join(server, "interop", name);
    let mut peer = Setup::new(dtls);
    let answer = channel.negotiate(peer.offer(&LINES));
    peer.accept_answer(&answer);
    (channel, peer.run(material.clone()))
}

/// Two str0m peers in one room: each receives the other's packets and pictures byte for byte, on the lines
/// that signalling names.
fn room_of_two(dtls: [DtlsVersion; 2]) {
    let server = Server::start();
    let [one, two] = [0, 1].map(|voice| Arc::new(Material::new(voice)));
    let (mut channel_1, mut peer_1) = enter(&server, "one", dtls[0], &one);
    let (mut channel_2, mut peer_2) = enter(&server, "two", dtls[1], &two);
    let ids = [channel_1.me, channel_2.me];
    for (peer, channel, other, other_id) in
        [(&mut peer_1, &mut channel_1, &two, ids[1]), (&mut peer_2, &mut channel_2, &one, ids[0])]
    {
        wait_for("ICE and DTLS", || peer.look().connected.then_some(()));
        let heard =
            wait_for("50 packets in a row", || peer.look().line_that_heard(other, 50).map(String::from));
        let saw = wait_for("30 pictures in a row", || peer.look().line_that_saw(other, 30).map(String::from));
        peer.look().assert_nothing_strange(&[other]);
        assert_eq!(channel.participant_on(&heard), Some(other_id), "the slot of the voice");
        assert_eq!(channel.participant_on(&saw), Some(other_id), "the slot of the picture");
    }
    assert!(peer_1.look().key_frames_asked > 0, "the SFU asks for a key frame when somebody begins to watch");
    assert_eq!(channel_1.roster.len(), 2);
    channel_2.leave();
    wait_for("the roster without who left", || {
        channel_1.listen();
        (channel_1.roster.len() == 1).then_some(())
    });
}

#[test]
fn a_room_carries_every_byte_between_str0m_peers_with_dtls_1_2() {
    room_of_two([DtlsVersion::Dtls12, DtlsVersion::Dtls12]);
}

#[test]
fn a_room_carries_every_byte_between_str0m_peers_with_dtls_1_3() {
    room_of_two([DtlsVersion::Dtls13, DtlsVersion::Auto]);
}

/// What each end of a direct call must have got of the other.
fn assert_both_hear_and_see(engine: &Engine, engine_voice: u32, peer: &mut Str0m, material: &Material) {
    wait_for("str0m's ICE and DTLS", || peer.look().connected.then_some(()));
    wait_for("the engine to hear the tone", || {
        (tone_anywhere(&engine.seen().pcm, material.tone_hz) > 0.8).then_some(())
    });
    wait_for("the engine to see 30 pictures", || (engine.seen().numbers.len() >= 30).then_some(()));
    let seen = engine.seen();
    assert!(
        seen.numbers.iter().all(|&number| material.shows(number)),
        "pictures of another: {:?}",
        seen.numbers
    );
    assert_eq!(seen.unreadable, 0, "every picture shown has its number");
    assert!(seen.stats.video.iter().all(|slot| slot.undecodable == 0), "{:?}", seen.stats.video);

    wait_for("str0m to hear the engine", || {
        (peer.look().decoded_tone(tone_of(engine_voice)) > 0.8).then_some(())
    });
    let engine_shows = interop::material::first_number_of(engine_voice);
    let numbers = wait_for("str0m to see 20 pictures of the engine", || {
        let (numbers, bad) = peer.look().decoded_numbers();
        assert_eq!(bad, 0, "every access unit from the engine decodes");
        (numbers.len() >= 20).then_some(numbers)
    });
    assert!(
        numbers.iter().all(|number| (engine_shows..engine_shows + 10_000).contains(number)),
        "{numbers:?}"
    );
    assert!(numbers.is_sorted(), "{numbers:?}");
}

/// str0m offers, the engine answers.
fn engine_answers(dtls: DtlsVersion, lines: &[(Kind, Direction)]) {
    let (engine, material) = (Engine::direct(Role::Answer, 1), Arc::new(Material::new(0)));
    let mut peer = Setup::new(dtls);
    engine.describe(DescriptionKind::Offer, peer.offer(lines));
    peer.accept_answer(&engine.description());
    let mut peer = peer.run(material.clone());
    assert_both_hear_and_see(&engine, 1, &mut peer, &material);
}

/// The engine offers, str0m answers.
fn engine_offers(dtls: DtlsVersion) {
    let (engine, material) = (Engine::direct(Role::Offer, 1), Arc::new(Material::new(0)));
    let mut peer = Setup::new(dtls);
    let answer = peer.answer(&engine.description());
    engine.describe(DescriptionKind::Answer, answer);
    let mut peer = peer.run(material.clone());
    assert_both_hear_and_see(&engine, 1, &mut peer, &material);
}

#[test]
fn str0m_calls_the_engine_with_dtls_1_3() {
    engine_answers(DtlsVersion::Dtls13, &LINES);
}

#[test]
fn str0m_calls_the_engine_with_dtls_1_2_and_lines_both_ways() {
    engine_answers(
        DtlsVersion::Dtls12,
        &[(Kind::Audio, Direction::SendRecv), (Kind::Video, Direction::SendRecv)],
    );
}

#[test]
fn the_engine_calls_str0m_with_dtls_1_2() {
    engine_offers(DtlsVersion::Dtls12);
}

#[test]
fn the_engine_calls_str0m_with_dtls_1_3() {
    engine_offers(DtlsVersion::Dtls13);
}
