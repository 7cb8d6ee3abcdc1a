//! Who is let in, what the others are told, and how a participation ends.

mod party;

use party::{Party, Sending, at, ms, sfu_config};
use undertone_media::{Input, Machine, Output};
use undertone_sfu::Config;
use undertone_signaling::message::{self, Body, Description, DescriptionKind, ErrorCode, Join, Ping};
use undertone_signaling::token::{self, Claims};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn guarded() -> Party {
    let config = Config {
        secret: Some(SECRET.to_vec()),
        unix_epoch_at_start: std::time::Duration::from_secs(1_700_000_000),
        ..sfu_config(9)
    };
    Party::with(config, (2, 2))
}

#[test]
fn a_token_opens_its_room_until_it_expires() {
    let mut party = guarded();
    let exp = 1_700_000_060;
    let good = token::mint(SECRET, &Claims::new("kitchen", "Anna", exp));
    let expired = token::mint(SECRET, &Claims::new("kitchen", "Bert", 1_699_999_000));
    let forged = token::mint(b"another secret of thirty-two bytes", &Claims::new("kitchen", "Cleo", exp));
    let elsewhere = token::mint(SECRET, &Claims::new("attic", "Dora", exp));
    for (name, token) in
        [("x", &*good), ("Bert", &expired), ("Cleo", &forged), ("Dora", &elsewhere), ("Emil", "")]
    {
        party.join_with("kitchen", name, token, Sending::default());
    }
    party.run_until(at(1_000));
    assert!(party.clients[0].connected.is_some());
    assert_eq!(party.clients[0].roster[0].name, "Anna", "the token's name wins");
    let codes =
        [ErrorCode::TokenExpired, ErrorCode::TokenInvalid, ErrorCode::NotPermitted, ErrorCode::TokenInvalid];
    for (client, code) in party.clients[1..].iter().zip(codes) {
        let [error] = &client.errors[..] else { panic!("{}: {:?}", client.name, client.errors) };
        assert_eq!(error.code(), code, "{}", client.name);
        assert!(!error.message.is_empty() && !error.hint.is_empty());
        assert!(client.closed);
    }
    let stats = party.sfu.stats();
    assert_eq!((stats.participants, stats.joins_refused), (1, 4));
}

#[test]
fn a_token_may_allow_listening_alone() {
    let mut party = guarded();
    let exp = 1_700_000_060;
    let speaker = token::mint(SECRET, &Claims::new("hall", "Anna", exp));
    let listener = token::mint(SECRET, &Claims { publish: false, ..Claims::new("hall", "Bert", exp) });
    party.join_with("hall", "", &speaker, Sending::default());
    party.join_with("hall", "", &listener, Sending { audio: false, ..Sending::default() });
    party.run_until(at(2_000));
    assert!(party.clients[1].lines.iter().all(|line| line.send.is_none()));
    assert!(party.clients[1].of(1, undertone_media::Kind::Audio).len() > 50);
}

#[test]
fn nonsense_in_signalling_is_answered_and_ends_the_channel() {
    let mut party = Party::new((1, 1));
    let sfu = &mut party.sfu;
    let mut answer = |message: Vec<u8>| {
        sfu.handle(at(1), Input::Signal { channel: 77, message: &message });
        std::iter::from_fn(|| sfu.poll()).collect::<Vec<Output>>()
    };
    let code = |outputs: &[Output]| match &outputs[0] {
        Output::Signal { message, .. } => match message::decode(message).unwrap() {
            Body::Error(error) => {
                assert!(!error.hint.is_empty());
                error.code()
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&answer(vec![0xff; 9])), ErrorCode::BadMessage);
    let offer = Description { kind: DescriptionKind::Offer.into(), sdp: "v=0".into() };
    assert_eq!(code(&answer(message::encode(offer.clone()))), ErrorCode::BadMessage, "before Join");
    let join = |version| Join { token: String::new(), room: "r".into(), name: String::new(), version };
    assert_eq!(code(&answer(message::encode(join(0)))), ErrorCode::Version);
    answer(message::encode(join(1)));
    let outputs = answer(message::encode(offer));
    assert_eq!(code(&outputs), ErrorCode::BadDescription);
    assert!(matches!(outputs.last(), Some(Output::CloseSignal { channel: 77 })));
    let pong = answer(message::encode(Ping { id: 5 }));
    assert!(matches!(&pong[..], [Output::Signal { .. }]));
    assert_eq!(party.sfu.stats().participants, 0);
}

#[test]
fn rooms_and_servers_have_a_limit() {
    let mut party = Party::with(Config { room_size: 2, rooms: 1, ..sfu_config(9) }, (1, 0));
    for (room, name) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")] {
        party.join(room, name, Sending::default());
    }
    party.run_until(at(500));
    for who in [2, 3] {
        assert_eq!(party.clients[who].errors[0].code(), ErrorCode::Full);
    }
    assert_eq!(party.sfu.stats().participants, 2);
}

#[test]
fn a_closed_channel_is_a_leave() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending::default());
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(1_000));
    party.close(1);
    party.run(ms(100));
    assert_eq!(party.clients[0].roster.len(), 1);
    assert!(party.clients[0].slots.is_empty());
    party.close(0);
    party.run(ms(100));
    let stats = party.sfu.stats();
    assert_eq!((stats.rooms, stats.participants), (0, 0));
    assert_eq!(party.sfu.deadline(), None, "an empty SFU waits for nothing");
}

#[test]
fn a_silent_participant_is_dropped_after_the_idle_timeout() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending::default());
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(2_000));
    party.clients[1].silent = true;
    party.run_until(at(25_000));
    assert_eq!(party.clients[0].roster.len(), 2);
    party.run_until(at(40_000));
    assert_eq!(party.clients[0].roster.len(), 1, "Bert is gone");
    assert_eq!(party.clients[1].errors[0].code(), ErrorCode::MediaPath);
    assert!(party.clients[1].closed);
}

#[test]
fn a_participant_that_never_sends_media_is_dropped() {
    let mut party = Party::new((1, 1));
    party.filter = Box::new(|_, _| false);
    party.join("kitchen", "Anna", Sending::default());
    party.clients[0].silent = true;
    let join = Join { token: String::new(), room: "kitchen".into(), name: "Mute".into(), version: 1 };
    party.sfu.handle(party.now, Input::Signal { channel: 50, message: &message::encode(join) });
    while party.sfu.poll().is_some() {}
    for second in 1..=40u64 {
        party.sfu.handle(at(second * 1000), Input::Tick);
    }
    assert_eq!(party.sfu.stats().participants, 0);
}

#[test]
fn a_rejoin_takes_the_place_of_the_ghost() {
    let mut party = Party::new((2, 1));
    party.join("kitchen", "Anna", Sending::default());
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(2_000));
    // Bert's phone loses its network; the server does not know yet. He joins again from another one.
    party.clients[1].silent = true;
    party.run_until(at(5_000));
    party.join("kitchen", "Bert", Sending::default());
    party.run_until(at(11_000));
    let ids: Vec<u32> = party.clients[0].roster.iter().map(|p| p.id).collect();
    assert_eq!(ids, [1, 3], "the silent one is gone long before its idle timeout");
    // Two living people of one name stay both.
    party.join("kitchen", "Anna", Sending::default());
    party.run_until(at(25_000));
    assert_eq!(party.clients[0].roster.len(), 3);
    assert!(party.clients[0].errors.is_empty());
}

#[test]
fn drain_tells_everybody_and_lets_nobody_in() {
    let mut party = Party::new((1, 1));
    party.join("kitchen", "Anna", Sending::default());
    party.join("attic", "Bert", Sending::default());
    party.run_until(at(1_000));
    party.sfu.drain(party.now);
    party.join("kitchen", "Cleo", Sending::default());
    party.run(ms(200));
    for client in &party.clients {
        assert_eq!(client.errors[0].code(), ErrorCode::ShuttingDown);
        assert!(client.closed);
    }
    assert_eq!(party.sfu.stats().participants, 0);
    assert_eq!(party.sfu.deadline(), None);
}
