//! Virtual time: exact, in a fixed order, and the same every time.

use std::time::Duration;
use undertone_media::{Bitrate, Fate, Input, Machine, Output, Timestamp, Transmit};
use undertone_sim::path::{LinkConfig, LinkModel, Share};
use undertone_sim::world::{NodeId, World, address};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Notes what it is told, and says what it was asked to say.
#[derive(Default)]
struct Probe {
    seen: Vec<(Timestamp, String)>,
    outputs: Vec<Output>,
    /// Sends every so often to there.
    sends: Option<(Duration, std::net::SocketAddr)>,
    next: Option<Timestamp>,
    /// Answers each datagram that starts with "ping".
    echo: bool,
}

impl Machine for Probe {
    fn handle(&mut self, now: Timestamp, input: Input<'_>) {
        let note = match input {
            Input::Datagram { from, to, bytes } => {
                if self.echo && bytes.starts_with(b"ping") {
                    self.send(from, b"pong");
                }
                bytes.reverse(); // as decryption in place does
                bytes.reverse();
                format!("{from}>{to} {}", String::from_utf8_lossy(bytes))
            }
            Input::Signal { channel, message } => {
                format!("signal {channel} {}", String::from_utf8_lossy(message))
            }
            Input::SignalClosed { channel } => format!("closed {channel}"),
            Input::Tick => {
                if let Some((period, to)) = self.sends {
                    self.send(to, b"beat");
                    self.next = Some(now + period);
                } else {
                    self.next = None;
                }
                "tick".into()
            }
        };
        self.seen.push((now, note));
    }

    fn poll(&mut self) -> Option<Output> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.next
    }
}

impl Probe {
    fn send(&mut self, to: std::net::SocketAddr, bytes: &[u8]) {
        self.outputs.push(Output::Transmit(Transmit { to, from: None, bytes: bytes.to_vec() }));
    }

    fn notes(&self) -> Vec<(u64, &str)> {
        self.seen.iter().map(|(at, note)| (at.as_micros() / 1000, note.as_str())).collect()
    }
}

fn pair(config: &LinkConfig) -> (World<Probe>, NodeId, NodeId) {
    let mut world = World::new();
    let a = world.add(Probe::default(), address(1));
    let b = world.add(Probe::default(), address(2));
    world.link(a, b, LinkModel::new(1, 0, config));
    world.link(b, a, LinkModel::new(1, 1, config));
    world.record(true);
    (world, a, b)
}

fn delay(millis: u64) -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(millis), ..LinkConfig::default() }
}

#[test]
fn datagrams_take_the_link_and_answers_take_it_back() {
    let (mut world, a, b) = pair(&delay(20));
    world.node_mut(b).echo = true;
    world.run_until(at(10));
    world.node_mut(a).send(address(2), b"ping");
    world.run_until(at(100));
    assert_eq!(world.node(b).notes(), [(30, "10.0.0.1:5000>10.0.0.2:5000 ping")]);
    assert_eq!(world.node(a).notes(), [(50, "10.0.0.2:5000>10.0.0.1:5000 pong")]);
    let sent = world.take_sent();
    let rows: Vec<_> =
        sent.iter().map(|s| (s.at, s.source, s.target, s.fate, s.wire_size().as_bytes())).collect();
    assert_eq!(
        rows,
        [
            (at(10), a, Some(b), Some(Fate::Arrives(at(30))), 32),
            (at(30), b, Some(a), Some(Fate::Arrives(at(50))), 32),
        ]
    );
    assert_eq!(world.now(), at(100));
}

#[test]
fn links_count_headers() {
    // 4 + 28 bytes at 32 kbit/s take 8 ms.
    let (mut world, a, b) = pair(&LinkConfig { rate: Some(Bitrate::from_kbps(32)), ..LinkConfig::default() });
    world.node_mut(a).send(address(2), b"ping");
    world.run_until(at(100));
    assert_eq!(world.node(b).notes()[0].0, 8);
}

#[test]
fn what_arrives_at_a_deadline_comes_before_it() {
    let (mut world, a, b) = pair(&delay(20));
    world.node_mut(b).next = Some(at(20));
    world.node_mut(a).send(address(2), b"x");
    world.run_until(at(20));
    assert_eq!(world.node(b).notes(), [(20, "10.0.0.1:5000>10.0.0.2:5000 x"), (20, "tick")]);
}

#[test]
fn a_run_includes_its_last_instant_and_nothing_after_it() {
    let (mut world, a, b) = pair(&delay(20));
    world.node_mut(a).sends = Some((Duration::from_millis(10), address(2)));
    world.node_mut(a).next = Some(at(0));
    world.run_until(at(29));
    assert_eq!(world.node(b).notes().len(), 1);
    world.run_until(at(30));
    assert_eq!(world.node(b).notes().len(), 2);
}

#[test]
fn one_instant_is_in_the_order_of_sending() {
    let (mut world, a, b) = pair(&delay(0));
    world.connect((a, 0), (b, 7), Duration::ZERO);
    world.node_mut(a).send(address(2), b"1");
    world.node_mut(a).outputs.push(Output::Signal { channel: 0, message: b"2".to_vec() });
    world.node_mut(a).send(address(2), b"3");
    world.run_until(at(0));
    let notes = world.node(b).notes();
    let all: Vec<_> = notes.iter().map(|(_, note)| note.chars().last()).collect();
    assert_eq!(all, [Some('1'), Some('2'), Some('3')]);
}

#[test]
fn signalling_is_reliable_in_order_and_ends_for_both() {
    let (mut world, a, b) = pair(&LinkConfig { loss: Share::ALL, ..LinkConfig::default() });
    world.connect((a, 0), (b, 7), Duration::from_millis(5));
    let signal = |channel, text: &str| Output::Signal { channel, message: text.into() };
    world.node_mut(a).outputs = vec![signal(0, "hi"), signal(0, "there"), Output::CloseSignal { channel: 0 }];
    world.run_until(at(50));
    assert_eq!(world.node(b).notes(), [(5, "signal 7 hi"), (5, "signal 7 there"), (5, "closed 7")]);
    assert_eq!(world.stats().unsignalled, 0);
    world.node_mut(b).outputs = vec![signal(7, "too late")];
    world.run_until(at(100));
    assert!(world.node(a).notes().is_empty());
    assert_eq!(world.stats().unsignalled, 1);
}

#[test]
fn a_move_changes_where_datagrams_come_from_and_go_to() {
    let (mut world, a, b) = pair(&delay(20));
    world.node_mut(a).send(address(2), b"x");
    world.node_mut(b).send(address(1), b"y");
    world.run_until(at(10));
    world.move_to(a, address(9));
    world.node_mut(a).send(address(2), b"z");
    world.node_mut(b).send(address(9), b"w");
    world.run_until(at(100));
    let expected = [(20, "10.0.0.1:5000>10.0.0.2:5000 x"), (30, "10.0.0.9:5000>10.0.0.2:5000 z")];
    assert_eq!(world.node(b).notes(), expected);
    // What was on its way to the old address is lost.
    assert_eq!(world.node(a).notes(), [(30, "10.0.0.2:5000>10.0.0.9:5000 w")]);
    assert_eq!(world.stats().address_gone, 1);
    assert_eq!(world.address_of(a), Some(address(9)));
}

#[test]
fn a_move_may_overlap() {
    let (mut world, a, b) = pair(&delay(20));
    world.add_address(a, address(9));
    for to in [1, 9] {
        world.node_mut(b).send(address(to), b"x");
    }
    let from = Some(address(9));
    let bytes = b"new".to_vec();
    world.node_mut(a).outputs.push(Output::Transmit(Transmit { to: address(2), from, bytes }));
    world.node_mut(a).send(address(2), b"old");
    world.run_until(at(30));
    assert_eq!(world.node(a).notes().len(), 2);
    let expected = [(20, "10.0.0.9:5000>10.0.0.2:5000 new"), (20, "10.0.0.1:5000>10.0.0.2:5000 old")];
    assert_eq!(world.node(b).notes(), expected);
    world.remove_address(a, address(1));
    assert_eq!(world.address_of(a), Some(address(9)));
}

#[test]
fn nowhere_is_counted_and_recorded() {
    let (mut world, a, _) = pair(&delay(0));
    let alone = world.add(Probe::default(), address(3));
    world.node_mut(a).send(address(77), b"x");
    world.node_mut(alone).send(address(1), b"no link");
    world.run_until(at(1));
    assert_eq!(world.stats().unroutable, 2);
    assert!(world.take_sent().iter().all(|sent| sent.fate.is_none() && sent.target.is_none()));
}

#[test]
fn a_deadline_that_does_not_move_cannot_stop_the_clock() {
    struct Stuck(u64);
    impl Machine for Stuck {
        fn handle(&mut self, _: Timestamp, _: Input<'_>) {
            self.0 += 1;
        }
        fn poll(&mut self) -> Option<Output> {
            None
        }
        fn deadline(&self) -> Option<Timestamp> {
            Some(Timestamp::ZERO)
        }
    }
    let mut world = World::new();
    let id = world.add(Stuck(0), address(1));
    world.run_until(at(1));
    assert_eq!(world.node(id).0, 1001);
}

#[test]
fn each_input_is_shown_at_its_time() {
    let (mut world, a, b) = pair(&delay(20));
    world.node_mut(b).echo = true;
    world.node_mut(a).send(address(2), b"ping");
    let mut shown = Vec::new();
    world.run_until_with(at(100), |now, id, probe| shown.push((now, id, probe.seen.len())));
    assert_eq!(shown, [(at(20), b, 1), (at(40), a, 1)]);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed| {
        let config = LinkConfig {
            loss: Share::from_percent(20.0),
            burst: 3,
            jitter: Duration::from_millis(30),
            ..LinkConfig::default()
        };
        let mut world = World::new();
        let ids: Vec<NodeId> = (1..=4).map(|n| world.add(Probe::default(), address(n))).collect();
        for (direction, (from, to)) in
            ids.iter().flat_map(|&from| ids.iter().map(move |&to| (from, to))).enumerate()
        {
            world.link(from, to, LinkModel::new(seed, direction as u64, &config));
        }
        for (n, &id) in ids.iter().enumerate() {
            let probe = world.node_mut(id);
            probe.sends = Some((Duration::from_millis(7), address(1 + (n as u8 + 1) % 4)));
            probe.next = Some(at(0));
        }
        world.record(true);
        world.run_until(at(5000));
        (world.take_sent(), ids.iter().flat_map(|&id| world.node(id).seen.clone()).collect::<Vec<_>>())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
