//! webrtc-rs, a WebRTC stack by other authors, in a room of our SFU together with str0m and our own engine,
//! and in direct calls with our engine: ICE, DTLS 1.2 (all that it speaks), Opus and H.264 both ways, over UDP
//! on loopback.

mod interop;
#[path = "interop/webrtc_rs.rs"]
mod webrtc_rs;

use interop::engine::Engine;
use interop::material::{Material, first_number_of, tone_anywhere, tone_of};
use interop::room::{Channel, Server};
use interop::str0m::{Direction, DtlsVersion, Setup};
use interop::wait_for;
use std::sync::Arc;
use std::time::Duration;
use undertone_engine::Role;
use undertone_media::Kind;
use undertone_signaling::message::DescriptionKind;
use webrtc_rs::WebrtcRs;

/// webrtc-rs, str0m and our engine in one room, each sending and each receiving the other two.
#[test]
fn three_stacks_in_one_room_receive_each_other() {
    let server = Server::start();
    let [ours, theirs] = [0, 1].map(|voice| Arc::new(Material::new(voice)));
    let engine_voice = 2;

    let mut channel_1 = Channel::join(&server, "interop", "webrtc-rs");
    let mut webrtc = WebrtcRs::new();
    webrtc.send(Kind::Audio, true);
    webrtc.send(Kind::Video, true);
    for kind in [Kind::Audio, Kind::Audio, Kind::Video, Kind::Video] {
        webrtc.receive(kind);
    }
    let answer = channel_1.negotiate(webrtc.offer());
    webrtc.accept_answer(answer);

    let mut channel_2 = Channel::join(&server, "interop", "str0m");
    let mut str0m = Setup::new(DtlsVersion::Dtls13);
    let answer = channel_2.negotiate(str0m.offer(&[
        (Kind::Audio, Direction::SendOnly),
        (Kind::Video, Direction::SendOnly),
        (Kind::Audio, Direction::RecvOnly),
        (Kind::Audio, Direction::RecvOnly),
        (Kind::Video, Direction::RecvOnly),
        (Kind::Video, Direction::RecvOnly),
    ]));
    str0m.accept_answer(&answer);
    let mut str0m = str0m.run(theirs.clone());

    wait_for("webrtc-rs' ICE and DTLS", || webrtc.look().connected.then_some(()));
    webrtc.publish(&ours);
    let engine = Engine::join(&server, "interop", engine_voice);

    wait_for("str0m to hear 50 packets of webrtc-rs in a row", || {
        str0m.look().line_that_heard(&ours, 50).map(drop)
    });
    wait_for("str0m to see 30 pictures of webrtc-rs in a row", || {
        str0m.look().line_that_saw(&ours, 30).map(drop)
    });
    wait_for("webrtc-rs to hear 50 packets of str0m in a row", || {
        webrtc.look().line_that_heard(&theirs, 50).map(drop)
    });
    wait_for("webrtc-rs to see 30 pictures of str0m in a row", || {
        webrtc.look().line_that_saw(&theirs, 30).map(drop)
    });

    for (name, material) in [("webrtc-rs", &ours), ("str0m", &theirs)] {
        wait_for(&format!("the engine to hear {name}"), || {
            // Both speak at once: neither has more than its half of what is heard.
            (tone_anywhere(&engine.seen().pcm, material.tone_hz) > 0.3).then_some(())
        });
        wait_for(&format!("the engine to see 20 pictures of {name}"), || {
            (engine.seen().numbers.iter().filter(|&&number| material.shows(number)).count() >= 20)
                .then_some(())
        });
    }
    assert_eq!(engine.seen().unreadable, 0, "every picture shown has its number");
    let engine_shows = first_number_of(engine_voice)..first_number_of(engine_voice) + 10_000;
    for (name, look) in [
        ("webrtc-rs", &mut (|| webrtc.look().decoded_numbers()) as &mut dyn FnMut() -> (Vec<u32>, usize)),
        ("str0m", &mut || str0m.look().decoded_numbers()),
    ] {
        wait_for(&format!("{name} to see 20 pictures of the engine"), || {
            let (numbers, bad) = look();
            assert_eq!(bad, 0, "every access unit that {name} receives decodes");
            (numbers.iter().filter(|number| engine_shows.contains(number)).count() >= 20).then_some(())
        });
    }
    wait_for("webrtc-rs to hear the engine", || {
        (webrtc.look().decoded_tone(tone_of(engine_voice)) > 0.8).then_some(())
    });
    wait_for("str0m to hear the engine", || {
        (str0m.look().decoded_tone(tone_of(engine_voice)) > 0.8).then_some(())
    });
}

/// Both behind paths that lose 4 % each way: pictures arrive whole, since what is lost is asked for and sent again
/// on both sides of the SFU.
#[test]
fn what_is_lost_on_the_way_comes_again() {
    let server = Server::start();
    let [ours, theirs] = [0, 1].map(|voice| Arc::new(Material::new(voice)));

    let mut channel_1 = Channel::join(&server, "lossy", "webrtc-rs");
    let mut webrtc = WebrtcRs::new();
    webrtc.send(Kind::Video, true);
    webrtc.receive(Kind::Video);
    let answer = channel_1.negotiate(webrtc.offer());
    let (relay_1, answer) = server.lossy(1, 4.0, &answer);
    webrtc.accept_answer(answer);

    let mut channel_2 = Channel::join(&server, "lossy", "str0m");
    let mut str0m = Setup::new(DtlsVersion::Dtls13);
    let offer = str0m.offer(&[(Kind::Video, Direction::SendOnly), (Kind::Video, Direction::RecvOnly)]);
    let (relay_2, answer) = server.lossy(2, 4.0, &channel_2.negotiate(offer));
    str0m.accept_answer(&answer);
    let mut str0m = str0m.run(theirs.clone());

    wait_for("webrtc-rs' ICE and DTLS", || webrtc.look().connected.then_some(()));
    webrtc.publish(&ours);
    wait_for("str0m to see 60 pictures of webrtc-rs in a row", || {
        str0m.look().line_that_saw(&ours, 60).map(drop)
    });
    wait_for("webrtc-rs to see 60 pictures of str0m in a row", || {
        webrtc.look().line_that_saw(&theirs, 60).map(drop)
    });
    for relay in [relay_1, relay_2] {
        let lost: u64 = relay.totals().iter().map(|client| client.up.lost + client.down.lost).sum();
        assert!(lost > 10, "the paths lose: {lost}");
    }
}

/// What each end of a direct call must have got of the other.
fn assert_both_hear_and_see(
    engine: &Engine,
    engine_voice: u32,
    peer: &mut WebrtcRs,
    material: &Arc<Material>,
) {
    wait_for("webrtc-rs' ICE and DTLS", || peer.look().connected.then_some(()));
    peer.publish(material);
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

    wait_for("webrtc-rs to hear the engine", || {
        (peer.look().decoded_tone(tone_of(engine_voice)) > 0.8).then_some(())
    });
    let engine_shows = first_number_of(engine_voice);
    let numbers = wait_for("webrtc-rs to see 20 pictures of the engine", || {
        let (numbers, bad) = peer.look().decoded_numbers();
        assert_eq!(bad, 0, "every access unit from the engine decodes");
        (numbers.len() >= 20).then_some(numbers)
    });
    assert!(
        numbers.iter().all(|number| (engine_shows..engine_shows + 10_000).contains(number)),
        "{numbers:?}"
    );
    assert!(numbers.is_sorted(), "{numbers:?}");

    let rtt = wait_for("the engine to know the round trip", || engine.seen().stats.rtt);
    assert!(rtt < Duration::from_millis(500), "on loopback: {rtt:?}");
}

/// A peer that hangs up by DTLS alone is gone at once.
#[test]
fn webrtc_rs_hangs_up_and_is_gone() {
    let engine = Engine::direct(Role::Offer, 1);
    let mut peer = WebrtcRs::new();
    peer.send(Kind::Audio, false);
    let answer = peer.answer(engine.description());
    engine.describe(DescriptionKind::Answer, answer);
    wait_for("ICE and DTLS", || (peer.look().connected && engine.seen().connected).then_some(()));
    drop(peer);
    wait_for("the engine to notice", || engine.over());
}

#[test]
fn webrtc_rs_calls_the_engine() {
    let (engine, material) = (Engine::direct(Role::Answer, 1), Arc::new(Material::new(0)));
    let mut peer = WebrtcRs::new();
    peer.send(Kind::Audio, false);
    peer.send(Kind::Video, false);
    engine.describe(DescriptionKind::Offer, peer.offer());
    peer.accept_answer(engine.description());
    assert_both_hear_and_see(&engine, 1, &mut peer, &material);
}

#[test]
fn the_engine_calls_webrtc_rs() {
    let (engine, material) = (Engine::direct(Role::Offer, 1), Arc::new(Material::new(0)));
    let mut peer = WebrtcRs::new();
    peer.send(Kind::Audio, false);
    peer.send(Kind::Video, false);
    let answer = peer.answer(engine.description());
    engine.describe(DescriptionKind::Answer, answer);
    assert_both_hear_and_see(&engine, 1, &mut peer, &material);
}
