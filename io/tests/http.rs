//! HTTP and WebSocket signalling, over real TCP on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use undertone_io::http::{Config, MAX_MESSAGE, Page, Server, Tls};
use undertone_io::ws::{ConnectError, Options, Trust, connect};
use undertone_io::{Inbox, Mailbox, Signal, mailbox};

fn pages() -> Vec<Page> {
    vec![
        Page { path: "/".into(), content_type: "text/html; charset=utf-8", body: b"<h1>room</h1>".to_vec() },
        Page { path: "/app.js".into(), content_type: "text/javascript", body: b"join()".to_vec() },
    ]
}

fn server(config: Config) -> (Server, Mailbox, Inbox) {
    let (mailbox, inbox) = mailbox::mailbox().unwrap();
    (Server::start(config, mailbox.clone()).unwrap(), mailbox, inbox)
}

fn url(server: &Server) -> String {
    format!("ws://{}/ws", server.local_addr())
}

fn message(channel: u64, message: &[u8]) -> Signal {
    Signal::Message { channel, message: message.to_vec() }
}

#[track_caller]
fn next(inbox: &Inbox) -> Signal {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if let Some(signal) = inbox.try_recv() {
            return signal;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no signal within 5 s");
}

/// One plain HTTP request; gives status, headers and body.
fn request(addr: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut tcp = TcpStream::connect(addr).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(tcp, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = String::new();
    tcp.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn get(server: &Server, path: &str) -> (u16, String, String) {
    request(server.local_addr(), "GET", path)
}

#[test]
fn messages_travel_both_ways_on_channels_of_their_own() {
    let (server, _mailbox, inbox) = server(Config::default());
    let (alice_box, alice_inbox) = mailbox::mailbox().unwrap();
    let (bob_box, bob_inbox) = mailbox::mailbox().unwrap();
    let mut alice = connect(&url(&server), &Options::default(), alice_box).unwrap();
    assert!(alice.send(message(0, b"alice")));
    let Signal::Message { channel: a, message: said } = next(&inbox) else { panic!("a message") };
    assert_eq!(said, b"alice");
    let mut bob = connect(&url(&server), &Options::default(), bob_box).unwrap();
    assert!(bob.send(message(0, b"bob")));
    let Signal::Message { channel: b, message: said } = next(&inbox) else { panic!("a message") };
    assert_eq!(said, b"bob");
    assert!(a != b && a != 0 && b != 0, "{a} {b}");

    let channels = server.channels();
    assert_eq!(channels.len(), 2);
    for n in 0..100u8 {
        channels.send(message(a, &[n, 1]));
        channels.send(message(b, &[n, 2]));
    }
    channels.send(message(77, b"nobody"));
    for n in 0..100u8 {
        assert_eq!(next(&alice_inbox), message(0, &[n, 1]));
        assert_eq!(next(&bob_inbox), message(0, &[n, 2]));
    }

    // The largest message passes; then the client leaves, and what it said last still arrives.
    let largest = vec![7; MAX_MESSAGE];
    assert!(alice.send(message(0, &largest)));
    drop(alice);
    assert_eq!(next(&inbox), message(a, &largest));
    assert_eq!(next(&inbox), Signal::Closed { channel: a });
    assert_eq!(next(&alice_inbox), Signal::Closed { channel: 0 });

    // The server ends a channel after what was sent on it.
    channels.send(message(b, b"bye"));
    channels.send(Signal::Closed { channel: b });
    assert_eq!(next(&bob_inbox), message(0, b"bye"));
    assert_eq!(next(&bob_inbox), Signal::Closed { channel: 0 });
    assert_eq!(next(&inbox), Signal::Closed { channel: b });
    assert_eq!(bob.end_reason().as_deref(), Some("closed by the server"));
    assert!(!bob.send(message(0, b"late")) || !bob.send(message(0, b"later")), "the end is seen");
}

#[test]
fn pages_rooms_health_and_metrics() {
    let config = Config {
        pages: pages(),
        healthz: Arc::new(|| r#"{"status":"ok","rooms":3}"#.into()),
        metrics: Arc::new(|| "rooms 3\n".into()),
        ..Config::default()
    };
    let (server, _mailbox, _inbox) = server(config);
    let (status, head, body) = get(&server, "/");
    assert_eq!((status, body.as_str()), (200, "<h1>room</h1>"));
    assert!(head.contains("content-type: text/html; charset=utf-8") && head.contains("nosniff"), "{head}");
    assert_eq!(get(&server, "/standup").2, "<h1>room</h1>");
    assert_eq!(get(&server, "/caf%C3%A9?token=x").2, "<h1>room</h1>");
    let (status, head, body) = get(&server, "/app.js");
    assert_eq!((status, body.as_str()), (200, "join()"));
    assert!(head.contains("content-type: text/javascript"), "{head}");
    assert_eq!(get(&server, "/other.js").0, 404);
    assert_eq!(get(&server, "/a/b").0, 404);
    assert_eq!(get(&server, "/..%2f..%2fetc%2fpasswd").0, 404);
    let (status, head, body) = get(&server, "/healthz");
    assert_eq!((status, body.as_str()), (200, r#"{"status":"ok","rooms":3}"#));
    assert!(head.contains("application/json"), "{head}");
    let (status, head, body) = get(&server, "/metrics");
    assert_eq!((status, body.as_str()), (200, "rooms 3\n"));
    assert!(head.contains("text/plain"), "{head}");
    assert_eq!(request(server.local_addr(), "POST", "/healthz").0, 405);
    // Not an upgrade.
    assert!((400..500).contains(&get(&server, "/ws").0));
}

#[test]
fn a_server_without_pages_says_so() {
    let (server, _mailbox, _inbox) = server(Config::default());
    assert_eq!(get(&server, "/").0, 404);
    assert_eq!(get(&server, "/room").0, 404);
    assert_eq!(get(&server, "/healthz").2, r#"{"status":"ok"}"#);
}

fn certificate(names: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes())
}

#[test]
fn tls_with_a_certificate_of_its_own_making() {
    let (certificate_pem, key_pem) = certificate(&["localhost"]);
    let tls = Tls { certificate_pem: certificate_pem.clone(), key_pem };
    let (server, _mailbox, inbox) = server(Config { tls: Some(tls), ..Config::default() });
    let port = server.local_addr().port();
    let url = format!("wss://localhost:{port}/ws");
    let with = |trust| Options { trust, ..Options::default() };
    let (mine, _my_inbox) = mailbox::mailbox().unwrap();

    let mut client = connect(&url, &with(Trust::Certificate(certificate_pem.clone())), mine.clone()).unwrap();
    assert!(client.send(message(0, b"secret")));
    assert!(matches!(next(&inbox), Signal::Message { message, .. } if message == b"secret"));
    drop(client);

    let anyone = format!("wss://127.0.0.1:{port}/ws");
    connect(&anyone, &with(Trust::Anyone), mine.clone()).unwrap();

    let error = connect(&anyone, &with(Trust::Certificate(certificate_pem)), mine.clone()).err().unwrap();
    assert!(matches!(&error, ConnectError::Tls(e) if e.contains("for another name")), "{error}");
    let (stranger, _) = certificate(&["localhost"]);
    let error = connect(&url, &with(Trust::Certificate(stranger)), mine.clone()).err().unwrap();
    assert!(matches!(&error, ConnectError::Tls(_)), "{error}");
    let error = connect(&url, &with(Trust::Certificate(b"no PEM".to_vec())), mine.clone()).err().unwrap();
    assert!(matches!(&error, ConnectError::Tls(e) if e.contains("BEGIN CERTIFICATE")), "{error}");

    // Plain HTTP towards TLS, and the other way round.
    let error =
        connect(&format!("ws://127.0.0.1:{port}/ws"), &Options::default(), mine.clone()).err().unwrap();
    assert!(error.to_string().contains("perhaps it wants https"), "{error}");
    let (plain, _mailbox, _inbox) = self::server(Config::default());
    let url = format!("wss://localhost:{}/ws", plain.local_addr().port());
    let error = connect(&url, &with(Trust::Anyone), mine).err().unwrap();
    assert!(matches!(&error, ConnectError::Tls(e) if e.contains("http://")), "{error}");
}

#[test]
fn an_unusable_certificate_is_named_at_start() {
    let (certificate_pem, key_pem) = certificate(&["localhost"]);
    let (_, other_key) = certificate(&["localhost"]);
    for (certificate_pem, key_pem, expected) in [
        (b"".to_vec(), key_pem, "BEGIN CERTIFICATE"),
        (certificate_pem.clone(), b"".to_vec(), "BEGIN PRIVATE KEY"),
        (certificate_pem, other_key, "do not work together"),
    ] {
        let (mailbox, _inbox) = mailbox::mailbox().unwrap();
        let config = Config { tls: Some(Tls { certificate_pem, key_pem }), ..Config::default() };
        let error = Server::start(config, mailbox).err().unwrap().to_string();
        assert!(error.contains("HTTPS cannot start") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_busy_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let (mailbox, _inbox) = mailbox::mailbox().unwrap();
    let error = Server::start(Config { listen, ..Config::default() }, mailbox).err().unwrap().to_string();
    assert!(error.contains(&format!("TCP port {} on 127.0.0.1 is taken", listen.port())), "{error}");
}

#[test]
fn a_message_too_large_ends_its_sender_and_nobody_else() {
    let (server, _mailbox, inbox) = server(Config::default());
    let (greedy_box, greedy_inbox) = mailbox::mailbox().unwrap();
    let (modest_box, _modest_inbox) = mailbox::mailbox().unwrap();
    let mut greedy = connect(&url(&server), &Options::default(), greedy_box).unwrap();
    let mut modest = connect(&url(&server), &Options::default(), modest_box).unwrap();
    assert!(greedy.send(message(0, &vec![0; MAX_MESSAGE + 1])));
    assert!(matches!(next(&inbox), Signal::Closed { .. }));
    assert_eq!(next(&greedy_inbox), Signal::Closed { channel: 0 });
    assert!(modest.send(message(0, b"still here")));
    assert!(matches!(next(&inbox), Signal::Message { message, .. } if message == b"still here"));
}

#[test]
fn a_client_that_does_not_read_is_closed_as_too_slow() {
    let (server, _mailbox, inbox) = server(Config { queue: 4, ..Config::default() });
    // A handshake by hand, and then not one byte more is read.
    let mut tcp = TcpStream::connect(server.local_addr()).unwrap();
    write!(
        tcp,
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let channels = server.channels();
    let began = Instant::now();
    while channels.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(1));
    }
    let flood = vec![0; MAX_MESSAGE];
    let mut sent = 0;
    while channels.len() == 1 {
        channels.send(message(1, &flood));
        sent += 1;
        assert!(sent < 1000, "the queue is bounded");
        std::thread::sleep(Duration::from_millis(2));
    }
    // Loopback buffers took some megabytes before the queue filled.
    assert_eq!(next(&inbox), Signal::Closed { channel: 1 }, "the machine hears of it");
}

#[test]
fn only_so_many_channels_at_once() {
    let (server, _mailbox, _inbox) = server(Config { max_channels: 1, ..Config::default() });
    let (mine, _my_inbox) = mailbox::mailbox().unwrap();
    let _first = connect(&url(&server), &Options::default(), mine.clone()).unwrap();
    let began = Instant::now();
    while server.channels().is_empty() && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = connect(&url(&server), &Options::default(), mine).err().unwrap();
    assert_eq!(error, ConnectError::Refused(503));
    assert!(error.to_string().contains("try again later"), "{error}");
}

#[test]
fn stopping_says_goodbye_and_frees_the_port() {
    let (server, _mailbox, inbox) = server(Config::default());
    let (mine, my_inbox) = mailbox::mailbox().unwrap();
    let mut client = connect(&url(&server), &Options::default(), mine).unwrap();
    client.send(message(0, b"hello"));
    next(&inbox);
    server.channels().send(message(1, b"last words"));
    let addr = server.local_addr();
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(next(&my_inbox), message(0, b"last words"));
    assert_eq!(next(&my_inbox), Signal::Closed { channel: 0 });
    assert_eq!(client.end_reason().as_deref(), Some("closed by the server: the server is closing"));
    assert_eq!(next(&inbox), Signal::Closed { channel: 1 });
    TcpListener::bind(addr).unwrap();
}

#[test]
fn what_the_machine_said_last_survives_an_immediate_stop() {
    let (server, _mailbox, inbox) = server(Config::default());
    let (mine, my_inbox) = mailbox::mailbox().unwrap();
    let mut client = connect(&url(&server), &Options::default(), mine).unwrap();
    client.send(message(0, b"hello"));
    next(&inbox);
    let channels = server.channels();
    for n in 0..50u8 {
        channels.send(message(1, &[n]));
    }
    channels.send(Signal::Closed { channel: 1 });
    server.stop();
    for n in 0..50u8 {
        assert_eq!(next(&my_inbox), message(0, &[n]));
    }
    assert_eq!(next(&my_inbox), Signal::Closed { channel: 0 });
}

#[test]
fn leaving_a_server_that_reads_nothing_takes_no_longer_than_promised() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let accepting = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut request = vec![0; 4000];
        let len = tcp.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..len]).into_owned();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
        write!(
            tcp,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .unwrap();
        tcp
    });
    let (mine, inbox) = mailbox::mailbox().unwrap();
    let mut client = connect(&format!("ws://{addr}/ws"), &Options::default(), mine).unwrap();
    let _tcp = accepting.join().unwrap();
    let flood = vec![0; MAX_MESSAGE];
    while client.send(message(0, &flood)) {}
    let began = Instant::now();
    drop(client);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(next(&inbox), Signal::Closed { channel: 0 });
}

#[test]
fn why_there_is_no_connection() {
    let (mine, _inbox) = mailbox::mailbox().unwrap();
    let fail = |url: &str, options: &Options| connect(url, options, mine.clone()).err().unwrap();
    let quick = Options { timeout: Duration::from_millis(300), ..Options::default() };

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fail(&format!("ws://{nobody}/ws"), &quick);
    assert!(matches!(&error, ConnectError::Unreachable(e) if e.contains("nothing listens there")), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = fail(&format!("ws://{}/ws", silent.local_addr().unwrap()), &quick);
    assert!(
        matches!(&error, ConnectError::Unreachable(e) if e.contains("did not answer within 0.3 s")),
        "{error}"
    );

    for (status, expected) in [
        (401, ConnectError::Unauthorized(401)),
        (403, ConnectError::Unauthorized(403)),
        (404, ConnectError::Refused(404)),
        (200, ConnectError::Refused(200)),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let _ = tcp.read(&mut [0; 2000]);
            write!(tcp, "HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        assert_eq!(fail(&format!("ws://{addr}/ws"), &Options::default()), expected);
        answering.join().unwrap();
    }

    for url in ["", "ws://", "http://127.0.0.1/ws", "no url", "ws:/x"] {
        assert!(matches!(fail(url, &quick), ConnectError::BadUrl(_)), "{url}");
    }
}
