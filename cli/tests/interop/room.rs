//! A server of ours in a process of its own, and a room's signalling as any client would speak it.

use super::wait_for;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use undertone_io::relay::{self, Relay};
use undertone_io::ws::{self, Client};
use undertone_io::{Clock, Signal, mailbox};
use undertone_signaling::message::{
    self, Body, Candidate, Description, DescriptionKind, Join, Leave, Participant, Slot,
};
use undertone_sim::loss::Share;
use undertone_sim::path::{LinkConfig, LinkModel};

/// `undertone serve`, open to everybody. Killed when dropped.
pub struct Server {
    child: Child,
    http: String,
    media: SocketAddr,
}

impl Server {
    /// Starts one on ports that the system chooses, and waits until it listens.
    pub fn start() -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_undertone"))
            .args(["serve", "--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--json"])
            .env_remove("UNDERTONE_KEY")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let said: serde_json::Value = serde_json::from_str(&line).expect("it says so in JSON");
        let http = said["http"].as_str().expect("it names its HTTP address").to_owned();
        let media =
            said["media"].as_str().and_then(|it| it.parse().ok()).expect("it names its media address");
        Server { child, http, media }
    }

    /// Puts a path in front of the server that loses, both ways, and leads whoever gets this answer along it.
    pub fn lossy(&self, seed: u64, percent: f64, answer: &str) -> (Relay, String) {
        let config = LinkConfig {
            loss: Share::from_percent(percent),
            delay: Duration::from_millis(15),
            ..LinkConfig::default()
        };
        let path = move |_| relay::Path {
            up: Box::new(LinkModel::new(seed, 0, &config)),
            down: Box::new(LinkModel::new(seed, 1, &config)),
        };
        let relay =
            Relay::start(relay::Config::new(self.media, Box::new(path)), Clock::new()).expect("a relay");
        let place = |address: SocketAddr| format!(" {} {} ", address.ip(), address.port());
        let answer = answer.replace(&place(self.media), &place(relay.local_addr()));
        assert!(
            answer.contains(&place(relay.local_addr())),
            "the answer has a candidate to replace: {answer}"
        );
        (relay, answer)
    }

    /// A room's link, for `undertone call`.
    pub fn link(&self, room: &str) -> String {
        format!("http://{}/{room}", self.http)
    }

    /// Where signalling is.
    pub fn websocket(&self) -> String {
        format!("ws://{}/ws", self.http)
    }
}

impl Server {
    /// What the server counts, as text.
    fn metrics(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.http)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server counted:\n{}", self.metrics().unwrap_or_else(|error| error.to_string()));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One participant's conversation with the server.
pub struct Channel {
    client: Client,
    inbox: mailbox::Inbox,
    /// Our number in the room.
    pub me: u32,
    /// Who is there, as said last.
    pub roster: Vec<Participant>,
    /// Who is in which of our lines, as said last.
    pub slots: Vec<Slot>,
    answer: Option<String>,
}

impl Channel {
    /// Enters a room.
    pub fn join(server: &Server, room: &str, name: &str) -> Channel {
        let (mailbox, inbox) = mailbox::mailbox().expect("a mailbox");
        let client =
            ws::connect(&server.websocket(), &ws::Options::default(), mailbox).expect("the WebSocket opens");
        let mut channel =
            Channel { client, inbox, me: 0, roster: Vec::new(), slots: Vec::new(), answer: None };
        channel.say(Join {
            token: String::new(),
            room: room.into(),
            name: name.into(),
            version: message::VERSION,
        });
        wait_for("the room to let us in", || {
            channel.listen();
            (channel.me != 0).then_some(())
        });
        channel
    }

    /// Sends an offer, and waits for its answer.
    pub fn negotiate(&mut self, offer: String) -> String {
        self.say(Description { kind: DescriptionKind::Offer.into(), sdp: offer });
        wait_for("the answer", || {
            self.listen();
            self.answer.take()
        })
    }

    /// Tells the server one more address of ours.
    pub fn trickle(&mut self, candidate: String) {
        self.say(Candidate { candidate, mid: "0".into() });
    }

    /// Reads what the server has said since.
    pub fn listen(&mut self) {
        while let Some(signal) = self.inbox.try_recv() {
            let Signal::Message { message, .. } = signal else {
                panic!("the server closed the channel: {:?}", self.client.end_reason());
            };
            match message::decode(&message).expect("a message that can be read") {
                Body::Joined(joined) => (self.me, self.roster) = (joined.participant, joined.participants),
                Body::Roster(roster) => self.roster = roster.participants,
                Body::Slots(slots) => self.slots = slots.slots,
                Body::Description(description) => self.answer = Some(description.sdp),
                Body::Error(error) => panic!("the server refused: {} ({})", error.message, error.hint),
                _ => {}
            }
        }
    }

    /// Who is on a line of ours, as the server says.
    pub fn participant_on(&mut self, mid: &str) -> Option<u32> {
        self.listen();
        self.slots.iter().find(|slot| slot.mid == mid).map(|slot| slot.participant)
    }

    /// Leaves the room.
    pub fn leave(mut self) {
        self.say(Leave {});
    }

    fn say(&mut self, body: impl Into<Body>) {
        let sent = self.client.send(Signal::Message { channel: 0, message: message::encode(body) });
        assert!(sent, "the signalling channel has ended: {:?}", self.client.end_reason());
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            while let Some(Signal::Message { message, .. }) = self.inbox.try_recv() {
                eprintln!("unread by participant {}: {:?}", self.me, message::decode(&message));
            }
            eprintln!("participant {} knew of {:?}", self.me, self.slots);
        }
    }
}
