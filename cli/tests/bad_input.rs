//! What a person does wrong, and what the network does: a message that names the fault, the right exit code,
//! and nothing else disturbed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const KEY: &str = "correct horse battery staple";

fn undertone() -> Command {
    Command::new(env!("CARGO_BIN_EXE_undertone"))
}

struct Server {
    child: Child,
    http: String,
    media: String,
}

impl Server {
    fn start(extra: &[&str]) -> Server {
        let mut child = undertone()
            .args(["serve", "--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--json"])
            .args(extra)
            .stdout(Stdio::piped())
            .spawn()
            .expect("undertone runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let text = |key: &str| said[key].as_str().expect(key).to_string();
        Server { child, http: text("http"), media: text("media") }
    }

    fn room(&self, name: &str) -> String {
        format!("http://{}/{name}", self.http)
    }

    fn get(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.http).expect("the server listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: undertone\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(url: &str, extra: &[&str]) -> Output {
    undertone()
        .args(["call", url, "--in", "tone", "--secs", "2", "--json", "--out"])
        .arg(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bad-input"))
        .args(extra)
        .output()
        .expect("undertone runs")
}

fn token(room: &str, minutes: &str, key: &str) -> String {
    let arguments = ["token", "--room", room, "--name", "ada", "--minutes", minutes, "--key", key];
    let output = undertone().args(arguments).output().expect("undertone runs");
    let url = String::from_utf8(output.stdout).expect("text");
    url.trim().split_once("token=").expect("a token").1.to_string()
}

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is missing in: {said}");
    }
    assert!(output.stdout.is_empty(), "results must not follow a failure");
}

#[test]
fn a_token_opens_its_room_and_no_other() {
    let server = Server::start(&["--key", KEY]);
    let good = token("den", "5", KEY);
    let done = call(&format!("{}?token={good}", server.room("den")), &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fails(&call(&server.room("den"), &[]), 3, &["token"]);
    fails(&call(&format!("{}?token=rubbish", server.room("den")), &[]), 3, &["token"]);
    fails(&call(&format!("{}?token={good}", server.room("attic")), &[]), 3, &["den"]);
    let forged = token("den", "5", "another key");
    fails(&call(&format!("{}?token={forged}", server.room("den")), &[]), 3, &["refused"]);
    let stale = token("den", "0", KEY);
    std::thread::sleep(Duration::from_millis(6_500));
    fails(&call(&format!("{}?token={stale}", server.room("den")), &[]), 3, &["expired"]);
}

#[test]
fn a_server_with_fixed_rooms_has_no_others() {
    let server = Server::start(&["--room", "den"]);
    assert!(call(&server.room("den"), &[]).status.success());
    fails(&call(&server.room("attic"), &[]), 4, &["attic"]);
}

#[test]
fn a_file_that_is_no_sound_is_named() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let noise = folder.join("not-a-sound.wav");
    std::fs::write(&noise, b"this is a letter, not a recording").expect("written");
    let noise = noise.to_str().expect("a path");
    let url = "http://127.0.0.1:9/den";
    for file in [noise, "/nowhere/at/all.wav"] {
        let output = undertone().args(["call", url, "--in", file]).output().expect("undertone runs");
        fails(&output, 2, &[file]);
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let listening = TcpListener::bind("127.0.0.1:0").expect("bound");
    let media = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let (tcp, udp) = (listening.local_addr().expect("an address"), media.local_addr().expect("an address"));
    for (http, media, port) in [
        (tcp.to_string(), "127.0.0.1:0".to_string(), tcp.port()),
        ("127.0.0.1:0".to_string(), udp.to_string(), udp.port()),
    ] {
        let output = undertone().args(["serve", "--http", &http, "--media", &media]).output().expect("runs");
        fails(&output, 2, &[&port.to_string(), "taken"]);
    }
}

#[test]
fn nobody_there_is_said_soon() {
    let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let asked = Instant::now();
    fails(&call(&format!("http://{free}/den"), &[]), 4, &[&free.port().to_string(), "reached"]);
    assert!(asked.elapsed() < Duration::from_secs(12));
    fails(&call("den", &[]), 2, &["http"]);
}

#[test]
fn a_media_port_that_never_answers_is_said() {
    // The server's page works, but its media address leads to a socket that nobody reads.
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let server = Server::start(&["--public", &deaf.local_addr().expect("an address").to_string()]);
    fails(&call(&server.room("den"), &[]), 4, &["reached"]);
}

#[test]
fn rubbish_on_the_media_port_disturbs_nobody() {
    let server = Server::start(&[]);
    let room = server.room("den");
    let speaker = std::thread::spawn({
        let room = room.clone();
        move || {
            undertone().args(["call", &room, "--in", "tone", "--secs", "5", "--json"]).output().expect("runs")
        }
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let began = Instant::now();
    let mut sent = 0u32;
    while began.elapsed() < Duration::from_secs(4) {
        let bytes: Vec<u8> = (0..(sent % 1_200) + 1)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .collect();
        let _ = socket.send_to(&bytes, &server.media);
        sent += 1;
        if sent.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let listener = call(&room, &["--name", "ben"]);
    assert!(listener.status.success(), "{}", String::from_utf8_lossy(&listener.stderr));
    assert!(speaker.join().expect("joined").status.success());
    assert!(server.get("/healthz").contains("\"status\":\"ok\""));
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_stop_stops_in_order() {
    let mut server = Server::start(&[]);
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    let asked = Instant::now();
    let status = server.child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < Duration::from_secs(8));
}
