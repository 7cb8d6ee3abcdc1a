//! The impairing relay: what its links say happens, to each client alone, and on time.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use undertone_io::Clock;
use undertone_io::relay::{Config, Direction, Path, Relay, Tapped};
use undertone_media::{Bitrate, DataSize, Fate, Link, Timestamp};

/// Nothing happens.
struct Wire;
impl Link for Wire {
    fn offer(&mut self, now: Timestamp, _size: DataSize) -> Fate {
        Fate::Arrives(now)
    }
}

/// Everything takes a while.
struct Far(Duration);
impl Link for Far {
    fn offer(&mut self, now: Timestamp, _size: DataSize) -> Fate {
        Fate::Arrives(now + self.0)
    }
}

/// Every n-th datagram is lost.
struct EveryNth(u64, u64);
impl Link for EveryNth {
    fn offer(&mut self, now: Timestamp, _size: DataSize) -> Fate {
        self.1 += 1;
        if self.1.is_multiple_of(self.0) { Fate::Lost } else { Fate::Arrives(now) }
    }
}

/// A bottleneck with room for so much waiting.
struct Narrow {
    rate: Bitrate,
    queue: Duration,
    free: Timestamp,
}
impl Link for Narrow {
    fn offer(&mut self, now: Timestamp, size: DataSize) -> Fate {
        if self.free.since(now) > self.queue {
            return Fate::Overflowed;
        }
        self.free = self.free.max(now) + size / self.rate;
        Fate::Arrives(self.free)
    }
}

fn bind() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// A server that sends everything back, until it gets an empty datagram.
fn echo_server() -> (SocketAddr, std::thread::JoinHandle<Vec<SocketAddr>>) {
    let socket = bind();
    let addr = socket.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = [0; 2000];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            if len == 0 {
                break;
            }
            if !seen.contains(&from) {
                seen.push(from);
            }
            socket.send_to(&buffer[..len], from).unwrap();
        }
        seen
    });
    (addr, thread)
}

fn relay(upstream: SocketAddr, path: impl FnMut(usize) -> Path + Send + 'static) -> Relay {
    Relay::start(Config::new(upstream, Box::new(path)), Clock::new()).unwrap()
}

/// Numbers that come back within `wait` of the last one.
fn collect(socket: &UdpSocket, wait: Duration) -> Vec<u32> {
    socket.set_read_timeout(Some(wait)).unwrap();
    let mut got = Vec::new();
    let mut buffer = [0; 2000];
    while let Ok((len, _)) = socket.recv_from(&mut buffer) {
        got.push(u32::from_be_bytes(buffer[..len.min(4)].try_into().unwrap()));
    }
    got
}

#[test]
fn clients_are_told_apart_and_answered_from_where_they_sent() {
    let (server, thread) = echo_server();
    let relay = relay(server, |_| Path { up: Box::new(Wire), down: Box::new(Wire) });
    let clients = [bind(), bind(), bind()];
    for round in 0..20u8 {
        for (n, client) in clients.iter().enumerate() {
            client.send_to(&[n as u8 + 1, round], relay.local_addr()).unwrap();
            let mut answer = [0; 10];
            let (len, from) = client.recv_from(&mut answer).unwrap();
            assert_eq!((&answer[..len], from), (&[n as u8 + 1, round][..], relay.local_addr()));
        }
    }
    // The last answer is counted just after it has left.
    std::thread::sleep(Duration::from_millis(50));
    let totals = relay.totals();
    assert_eq!(totals.len(), 3);
    for (client, totals) in clients.iter().zip(&totals) {
        assert_eq!(totals.addr, client.local_addr().unwrap());
        for way in [totals.up, totals.down] {
            assert_eq!((way.offered, way.delivered, way.lost), (20, 20, 0));
            assert_eq!(way.offered_size, DataSize::from_bytes(20 * (2 + 28)), "IP and UDP headers count");
        }
    }
    clients[0].send_to(&[], server).unwrap();
    assert_eq!(thread.join().unwrap().len(), 3, "one upstream address for each client");
}

#[test]
fn each_direction_delays_as_its_link_says_and_not_more() {
    let (server, thread) = echo_server();
    let (there, back) = (Duration::from_millis(30), Duration::from_millis(7));
    let relay = relay(server, move |_| Path { up: Box::new(Far(there)), down: Box::new(Far(back)) });
    let client = bind();
    let mut round_trips: Vec<Duration> = (0..30)
        .map(|_| {
            let began = Instant::now();
            client.send_to(b"ping", relay.local_addr()).unwrap();
            client.recv_from(&mut [0; 10]).unwrap();
            began.elapsed()
        })
        .collect();
    round_trips.sort();
    println!("round trips of 37 ms: median {:?}, worst {:?}", round_trips[15], round_trips[29]);
    assert!(round_trips[0] >= there + back, "never early: {:?}", round_trips[0]);
    assert!(round_trips[15] < there + back + Duration::from_millis(10), "median {:?}", round_trips[15]);
    client.send_to(&[], server).unwrap();
    thread.join().unwrap();
}

#[test]
fn one_client_loses_and_the_other_does_not() {
    let (server, thread) = echo_server();
    let (tap, tapped) = crossbeam_channel::unbounded::<Tapped>();
    let mut config = Config::new(
        server,
        Box::new(|client| Path {
            up: if client == 0 { Box::new(EveryNth(4, 0)) } else { Box::new(Wire) },
            down: Box::new(Wire),
        }),
    );
    config.tap = Some(tap);
    let relay = Relay::start(config, Clock::new()).unwrap();
    let clients = [bind(), bind()];
    // The first one becomes client 0 before the second one speaks.
    for client in &clients {
        for n in 1..=40u32 {
            client.send_to(&n.to_be_bytes(), relay.local_addr()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let wait = Duration::from_millis(500);
    let expected: Vec<u32> = (1..=40).filter(|n| n % 4 != 0).collect();
    assert_eq!(collect(&clients[0], wait), expected);
    assert_eq!(collect(&clients[1], wait), (1..=40).collect::<Vec<u32>>());
    let totals = relay.totals();
    assert_eq!((totals[0].up.lost, totals[0].up.delivered), (10, 30));
    assert_eq!((totals[1].up.lost, totals[1].up.delivered), (0, 40));
    let lost = |t: &Tapped| t.client == 0 && t.direction == Direction::Up && t.fate == Fate::Lost;
    assert_eq!(tapped.try_iter().filter(lost).count(), 10);
    clients[0].send_to(&[], server).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_bottleneck_paces_and_its_full_queue_overflows() {
    let (server, thread) = echo_server();
    // 1000 bytes with headers take 20 ms; 300 ms of queue hold about 16 of them.
    let relay = relay(server, |_| Path {
        up: Box::new(Narrow {
            rate: Bitrate::from_kbps(400),
            queue: Duration::from_millis(300),
            free: Timestamp::ZERO,
        }),
        down: Box::new(Wire),
    });
    let client = bind();
    let mut datagram = [0; 1000 - 28];
    let began = Instant::now();
    for n in 0..40u32 {
        datagram[..4].copy_from_slice(&n.to_be_bytes());
        client.send_to(&datagram, relay.local_addr()).unwrap();
    }
    let got = collect(&client, Duration::from_millis(200));
    let took = began.elapsed() - Duration::from_millis(200);
    let up = relay.totals()[0].up;
    assert_eq!(up.delivered + up.overflowed, 40);
    assert!((16..=30).contains(&up.delivered), "{up:?}");
    assert_eq!(got, (0..up.delivered as u32).collect::<Vec<_>>(), "drop-tail keeps the first, in order");
    let expected = Duration::from_millis(20) * up.delivered as u32;
    assert!(took >= expected && took < expected + Duration::from_millis(300), "{took:?} for {expected:?}");
    client.send_to(&[], server).unwrap();
    thread.join().unwrap();
}

#[test]
fn strangers_cannot_speak_to_a_client_through_the_relay() {
    let server = bind();
    let relay = relay(server.local_addr().unwrap(), |_| Path { up: Box::new(Wire), down: Box::new(Wire) });
    let (client, stranger) = (bind(), bind());
    client.send_to(b"hello", relay.local_addr()).unwrap();
    let (_, hole) = server.recv_from(&mut [0; 10]).unwrap();
    let hole = SocketAddr::new("127.0.0.1".parse().unwrap(), hole.port());
    stranger.send_to(b"evil", hole).unwrap();
    server.send_to(&7u32.to_be_bytes(), hole).unwrap();
    assert_eq!(collect(&client, Duration::from_millis(100)), [7]);
}

#[test]
fn a_taken_port_is_told() {
    let taken = bind();
    let mut config = Config::new(
        taken.local_addr().unwrap(),
        Box::new(|_| Path { up: Box::new(Wire), down: Box::new(Wire) }),
    );
    config.listen = taken.local_addr().unwrap();
    let error = Relay::start(config, Clock::new()).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("is taken by another program"), "{error}");
}
