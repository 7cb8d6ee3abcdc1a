//! A weak network on one machine: a UDP relay that delays, drops and throttles in real time.
//!
//! Why: to hear on loopback, with real sockets and unprivileged, what a call sounds like at the edge of a
//! cell. The model is any [`undertone_media::Link`], the one that virtual time uses too.
//!
//! ```text
//! client A ──▶ listen ──▶ link up   A ──▶ socket A ──▶ upstream
//!        ◀── listen ◀── link down A ◀── socket A ◀──
//! ```
//! Each client address gets an upstream socket of its own, as behind a NAT, and its own pair of links.
//! A client that was silent for [`Config::idle_timeout`] is forgotten, as a NAT forgets.

use crate::clock::{Clock, precise_timers};
use crate::udp::{BindError, MAX_DATAGRAM, Socket, header_bytes};
use crate::wait::{WaitSet, Waker};
use crossbeam_channel::Sender;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use undertone_media::{DataSize, Fate, Link, Timestamp};

/// How many datagrams of one socket are taken before anything else gets its turn.
const BATCH: usize = 64;

/// Both directions of one client's path.
pub struct Path {
    /// From the client to the upstream server.
    pub up: Box<dyn Link + Send>,
    /// From the server to the client.
    pub down: Box<dyn Link + Send>,
}

/// Makes the path of the n-th client (from 0, in order of their first datagram).
pub type NewPath = Box<dyn FnMut(usize) -> Path + Send>;

/// Where a relay stands and how bad it is.
pub struct Config {
    /// Where clients send to. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The server behind the relay.
    pub upstream: SocketAddr,
    /// The links of each client.
    pub new_path: NewPath,
    /// Receives one record per datagram, for reports. Unbounded or drained, or records are left out.
    pub tap: Option<Sender<Tapped>>,
    /// After how long a silent client is forgotten. Two minutes is what NATs should grant (RFC 4787 §4.3).
    pub idle_timeout: Duration,
    /// How many clients at most; datagrams from others are dropped. Each costs a socket.
    pub max_clients: usize,
}

impl Config {
    /// A relay on a free loopback port in front of `upstream`, for at most 64 clients.
    pub fn new(upstream: SocketAddr, new_path: NewPath) -> Config {
        let ip = if upstream.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        Config {
            listen: SocketAddr::new(ip, 0),
            upstream,
            new_path,
            tap: None,
            idle_timeout: Duration::from_secs(120),
            max_clients: 64,
        }
    }
}

/// Which way a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// What became of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// When it reached the relay.
    pub at: Timestamp,
    /// Whose, counted from 0 in order of first appearance.
    pub client: usize,
    /// Which way.
    pub direction: Direction,
    /// Its size with IP and UDP headers.
    pub size: DataSize,
    /// What the link said.
    pub fate: Fate,
}

/// Totals of one direction; sizes count IP and UDP headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams that reached the relay.
    pub offered: u64,
    /// Their size.
    pub offered_size: DataSize,
    /// Datagrams that left it, so far.
    pub delivered: u64,
    /// Their size.
    pub delivered_size: DataSize,
    /// Lost by the link.
    pub lost: u64,
    /// Refused by its full queue.
    pub overflowed: u64,
    /// The most that a datagram left later than the link wanted, because this machine was busy.
    pub worst_lateness: Duration,
}

/// One client of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTotals {
    /// Its address.
    pub addr: SocketAddr,
    /// Client to server.
    pub up: Totals,
    /// Server to client.
    pub down: Totals,
}

/// A relay at work on a thread of its own. Dropping it ends it; what is under way is lost.
pub struct Relay {
    addr: SocketAddr,
    totals: Arc<Mutex<Vec<ClientTotals>>>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Binds and starts relaying.
    ///
    /// # Errors
    /// [`BindError`] for the listening address.
    pub fn start(config: Config, clock: Clock) -> Result<Relay, BindError> {
        let listen = config.listen;
        let bind_error = |source| BindError { addr: listen, protocol: "UDP", source };
        let socket = Socket::bind(listen)?;
        let addr = socket.local_addr();
        let totals = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let waker = Waker::new().map_err(bind_error)?;
        let thread = {
            let (totals, stop, waker) = (totals.clone(), stop.clone(), waker.clone());
            std::thread::Builder::new()
                .name("relay".into())
                .spawn(move || Relaying::new(config, clock, socket, totals).run(&stop, &waker))
                .map_err(bind_error)?
        };
        Ok(Relay { addr, totals, stop, waker, thread: Some(thread) })
    }

    /// Where clients send to.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// All clients so far, in order of appearance.
    pub fn totals(&self) -> Vec<ClientTotals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A datagram on its way. Ordered by release time, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Released {
    at: Timestamp,
    order: u64,
    client: usize,
    direction: Direction,
    bytes: Vec<u8>,
}

struct Client {
    addr: SocketAddr,
    /// The relay's own address that the client speaks to: answers come from there.
    reached: SocketAddr,
    upstream: Socket,
    path: Path,
    heard: Timestamp,
}

/// The relay's thread.
struct Relaying {
    config: Config,
    clock: Clock,
    listen: Socket,
    totals: Arc<Mutex<Vec<ClientTotals>>>,
    /// Those remembered, by number; `numbers` finds them by address.
    clients: BTreeMap<usize, Client>,
    numbers: BTreeMap<SocketAddr, usize>,
    under_way: BinaryHeap<Reverse<Released>>,
    order: u64,
}

impl Relaying {
    fn new(config: Config, clock: Clock, listen: Socket, totals: Arc<Mutex<Vec<ClientTotals>>>) -> Relaying {
        Relaying {
            config,
            clock,
            listen,
            totals,
            clients: BTreeMap::new(),
            numbers: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            order: 0,
        }
    }

    fn run(mut self, stop: &AtomicBool, waker: &Waker) {
        precise_timers();
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut waiting = WaitSet::default();
        let mut sweep = self.clock.now() + self.config.idle_timeout;
        while !stop.load(Ordering::SeqCst) {
            self.release();
            if self.clock.now() >= sweep {
                self.forget_idle();
                sweep = self.clock.now() + self.config.idle_timeout / 4;
            }
            let wake = self.under_way.peek().map_or(sweep, |Reverse(first)| first.at.min(sweep));
            waiting.clear();
            waiting.push(&self.listen.socket);
            self.clients.values().for_each(|client| waiting.push(&client.upstream.socket));
            waiting.wait(waker, Some(wake.since(self.clock.now())));
            // Readiness is by place, so upstream sockets are read before a new client shifts them.
            let ready: Vec<usize> = self
                .clients
                .keys()
                .enumerate()
                .filter(|&(place, _)| waiting.is_ready(place + 1))
                .map(|(_, &number)| number)
                .collect();
            for number in ready {
                self.take_down(number, &mut buffer);
            }
            if waiting.is_ready(0) && !self.take_up(&mut buffer) {
                return;
            }
        }
    }

    /// Takes what clients sent. False if the socket is unusable.
    fn take_up(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..BATCH {
            let received = match self.listen.recv(buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return true,
                Err(_) => return false,
            };
            let now = self.clock.now();
            if let Some(number) = self.client(now, received.from, received.to) {
                self.offer(now, number, Direction::Up, &buffer[..received.len]);
            }
        }
        true
    }

    /// Takes what the server sent to one client.
    fn take_down(&mut self, number: usize, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some(client) = self.clients.get(&number) else { return };
            let Ok(Some(received)) = client.upstream.recv(buffer) else { return };
            // Only the server may use the hole that the client has made.
            if received.from == self.config.upstream {
                self.offer(self.clock.now(), number, Direction::Down, &buffer[..received.len]);
            }
        }
    }

    /// The number of the client at `addr`, which may be new.
    fn client(&mut self, now: Timestamp, addr: SocketAddr, reached: SocketAddr) -> Option<usize> {
        if let Some(&number) = self.numbers.get(&addr) {
            if let Some(client) = self.clients.get_mut(&number) {
                client.heard = now;
                client.reached = reached;
            }
            return Some(number);
        }
        if self.clients.len() >= self.config.max_clients {
            return None;
        }
        let any: SocketAddr = match self.config.upstream {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let upstream = Socket::bind(any).ok()?;
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let number = totals.len();
        totals.push(ClientTotals { addr, up: Totals::default(), down: Totals::default() });
        drop(totals);
        let path = (self.config.new_path)(number);
        self.clients.insert(number, Client { addr, reached, upstream, path, heard: now });
        self.numbers.insert(addr, number);
        Some(number)
    }

    fn offer(&mut self, now: Timestamp, number: usize, direction: Direction, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let (link, peer) = match direction {
            Direction::Up => (&mut client.path.up, self.config.upstream),
            Direction::Down => (&mut client.path.down, client.addr),
        };
        let size = DataSize::from_bytes((bytes.len() + header_bytes(peer)) as u64);
        let fate = link.offer(now, size);
        if let Fate::Arrives(at) = fate {
            self.order += 1;
            let bytes = bytes.to_vec();
            self.under_way.push(Reverse(Released {
                at,
                order: self.order,
                client: number,
                direction,
                bytes,
            }));
        }
        self.count(number, direction, |totals| {
            totals.offered += 1;
            totals.offered_size += size;
            totals.lost += u64::from(fate == Fate::Lost);
            totals.overflowed += u64::from(fate == Fate::Overflowed);
        });
        if let Some(tap) = &self.config.tap {
            let _ = tap.try_send(Tapped { at: now, client: number, direction, size, fate });
        }
    }

    /// Sends on what is due.
    fn release(&mut self) {
        while let Some(Reverse(first)) = self.under_way.peek() {
            let now = self.clock.now();
            if first.at > now {
                return;
            }
            let Some(Reverse(Released { at, client: number, direction, bytes, .. })) = self.under_way.pop()
            else {
                return;
            };
            let Some(client) = self.clients.get(&number) else { continue };
            let (sent, peer) = match direction {
                Direction::Up => {
                    let upstream = self.config.upstream;
                    (client.upstream.send(&bytes, upstream, None), upstream)
                }
                Direction::Down => (self.listen.send(&bytes, client.addr, Some(client.reached)), client.addr),
            };
            if sent.is_ok() {
                let size = DataSize::from_bytes((bytes.len() + header_bytes(peer)) as u64);
                self.count(number, direction, |totals| {
                    totals.delivered += 1;
                    totals.delivered_size += size;
                    totals.worst_lateness = totals.worst_lateness.max(now.since(at));
                });
            }
        }
    }

    fn count(&self, number: usize, direction: Direction, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = totals.get_mut(number) {
            change(match direction {
                Direction::Up => &mut client.up,
                Direction::Down => &mut client.down,
            });
        }
    }

    fn forget_idle(&mut self) {
        let (now, timeout) = (self.clock.now(), self.config.idle_timeout);
        self.clients.retain(|_, client| now.since(client.heard) <= timeout);
        self.numbers.retain(|_, number| self.clients.contains_key(number));
    }
}
