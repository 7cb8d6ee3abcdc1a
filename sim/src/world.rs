//! Virtual time: machines, the links between them, and what travels.
//!
//! Why: a minute of call takes a second of computing and comes out the same each time, so a measurement
//! can be repeated and a fault replayed.
//!
//! The world owns the machines, and the caller looks into them between steps: push ten milliseconds of
//! sound at its exact time, run to the next, pull. What happens at one instant happens in this order:
//! datagrams and signalling messages in the order they were sent, then deadlines in the order the nodes
//! were added. So a packet that arrives on the tick at which it is played is there in time.
//!
//! ```
//! # use undertone_sim::{path::LinkModel, world::{World, address}};
//! # use undertone_media::{Input, Machine, Output, Timestamp};
//! # struct Idle;
//! # impl Machine for Idle {
//! #     fn handle(&mut self, _: Timestamp, _: Input<'_>) {}
//! #     fn poll(&mut self) -> Option<Output> { None }
//! #     fn deadline(&self) -> Option<Timestamp> { None }
//! # }
//! let mut world = World::new();
//! let a = world.add(Idle, address(1));
//! let b = world.add(Idle, address(2));
//! world.link(a, b, LinkModel::new(1, 0, &Default::default()));
//! world.link(b, a, LinkModel::new(1, 1, &Default::default()));
//! for tick in 0..100 {
//!     world.run_until(Timestamp::from_millis(10 * tick));
//!     let _speaker = world.node_mut(a); // push and pull sound here
//! }
//! ```
//!
//! Not here: real time (`io`), and what the machines are.

use crate::path::LinkModel;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use undertone_media::{DataSize, Fate, Input, Link, Machine, Output, Timestamp, Transmit};

/// The address that node number `n` of a world usually has: 10.0.0.n, port 5000.
pub const fn address(n: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)), 5000)
}

/// A machine of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// A datagram that a machine sent, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it was sent.
    pub at: Timestamp,
    /// Which machine sent it.
    pub source: NodeId,
    /// Which machine had the address that it went to; `None` if none had, or no link leads there.
    pub target: Option<NodeId>,
    /// From which address.
    pub from: SocketAddr,
    /// To which address.
    pub to: SocketAddr,
    /// What the link did. `None` if no link leads there: nobody gets it.
    pub fate: Option<Fate>,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

impl Sent {
    /// What it takes on the wire, IP and UDP headers included.
    pub fn wire_size(&self) -> DataSize {
        wire_size(self.to, &self.bytes)
    }

    /// When it reached the other end, if it did.
    pub fn arrival(&self) -> Option<Timestamp> {
        match self.fate {
            Some(Fate::Arrives(at)) => Some(at),
            _ => None,
        }
    }
}

/// The size of a datagram with its headers: 20 bytes of IPv4 (RFC 791) or 40 of IPv6 (RFC 8200), and 8 of
/// UDP (RFC 768).
fn wire_size(to: SocketAddr, bytes: &[u8]) -> DataSize {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    DataSize::from_bytes(headers + bytes.len() as u64)
}

/// What a world could not deliver. All zero in a world that is wired up right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorldStats {
    /// Datagrams sent to an address that nobody has or no link leads to.
    pub unroutable: u64,
    /// Datagrams that arrived after their target had given up the address.
    pub address_gone: u64,
    /// Signalling messages on a channel that is not connected, or closed.
    pub unsignalled: u64,
}

/// What waits for its time.
enum Event {
    Datagram { node: NodeId, from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Signal { node: NodeId, channel: u64, message: Vec<u8> },
    SignalClosed { node: NodeId, channel: u64 },
}

struct Node<M> {
    machine: M,
    /// The first is the one it sends from.
    addresses: Vec<SocketAddr>,
    deadline: Option<Timestamp>,
    /// When it last ticked with nothing else since. A machine whose deadline does not move past that is
    /// ticked again a microsecond later, so that its fault cannot stop the world's clock.
    ticked: Option<Timestamp>,
}

/// Machines in virtual time. `M` is whatever the caller wants back: one machine type, or an enum of several.
pub struct World<M> {
    now: Timestamp,
    nodes: Vec<Node<M>>,
    links: BTreeMap<(NodeId, NodeId), LinkModel>,
    /// Both directions of each signalling channel: who is at the other end, and how long a message takes.
    channels: BTreeMap<(NodeId, u64), (NodeId, u64, Duration)>,
    /// By time, then in the order they were sent.
    events: BTreeMap<(Timestamp, u64), Event>,
    events_made: u64,
    /// Machines that were touched and may have something to say.
    touched: BTreeSet<NodeId>,
    record: bool,
    sent: Vec<Sent>,
    stats: WorldStats,
}

impl<M> Default for World<M> {
    fn default() -> World<M> {
        World {
            now: Timestamp::ZERO,
            nodes: Vec::new(),
            links: BTreeMap::new(),
            channels: BTreeMap::new(),
            events: BTreeMap::new(),
            events_made: 0,
            touched: BTreeSet::new(),
            record: false,
            sent: Vec::new(),
            stats: WorldStats::default(),
        }
    }
}

impl<M: Machine> World<M> {
    /// An empty world at time zero.
    pub fn new() -> World<M> {
        World::default()
    }

    /// Puts a machine into the world, reachable at `address`. Nodes tick in the order they were added.
    pub fn add(&mut self, machine: M, address: SocketAddr) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { machine, addresses: vec![address], deadline: None, ticked: None });
        self.touched.insert(id);
        id
    }

    /// Sets what carries datagrams from one machine to another, one direction. Replaces what was there;
    /// what is on its way still arrives.
    pub fn link(&mut self, from: NodeId, to: NodeId, link: LinkModel) {
        self.links.insert((from, to), link);
    }

    /// The link from one machine to another, to change it or read its statistics.
    pub fn link_mut(&mut self, from: NodeId, to: NodeId) -> Option<&mut LinkModel> {
        self.links.get_mut(&(from, to))
    }

    /// Joins two machines' signalling channels, both ways. Messages arrive reliably, in order, after
    /// `delay`.
    pub fn connect(&mut self, a: (NodeId, u64), b: (NodeId, u64), delay: Duration) {
        self.channels.insert(a, (b.0, b.1, delay));
        self.channels.insert(b, (a.0, a.1, delay));
    }

    /// Gives a machine another address besides those it has. It goes on sending from the first.
    pub fn add_address(&mut self, id: NodeId, address: SocketAddr) {
        let addresses = &mut self.nodes[id.0].addresses;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// Takes an address from a machine: what is on its way there is lost, and what the machine sends from
    /// there goes nowhere.
    pub fn remove_address(&mut self, id: NodeId, address: SocketAddr) {
        self.nodes[id.0].addresses.retain(|&own| own != address);
    }

    /// Moves a machine to an address, as when a phone leaves Wi-Fi: it loses those it had. For an overlap
    /// use [`World::add_address`], and later [`World::remove_address`].
    pub fn move_to(&mut self, id: NodeId, address: SocketAddr) {
        self.nodes[id.0].addresses = vec![address];
    }

    /// The address that a machine sends from, if it has one.
    pub fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        self.nodes[id.0].addresses.first().copied()
    }

    /// A machine.
    pub fn node(&self, id: NodeId) -> &M {
        &self.nodes[id.0].machine
    }

    /// A machine, to call what the world does not know. What it then wants to send leaves at the present
    /// time, when the world next runs.
    pub fn node_mut(&mut self, id: NodeId) -> &mut M {
        self.touched.insert(id);
        let node = &mut self.nodes[id.0];
        node.ticked = None;
        &mut node.machine
    }

    /// All machines, in the order they were added.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<M> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether to keep a copy of every datagram from here on, for [`World::take_sent`]. Off at first.
    pub fn record(&mut self, on: bool) {
        self.record = on;
    }

    /// The datagrams sent since the last call, in the order they were sent.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// What could not be delivered.
    pub fn stats(&self) -> WorldStats {
        self.stats
    }

    /// Runs all that happens up to `until`, and at it. Afterwards it is `until`.
    pub fn run_until(&mut self, until: Timestamp) {
        self.run_until_with(until, |_, _, _| ());
    }

    /// The same, and shows each machine after each input it took, at the time it took it: for whoever
    /// wants to know exactly when something came about.
    pub fn run_until_with(&mut self, until: Timestamp, mut seen: impl FnMut(Timestamp, NodeId, &mut M)) {
        loop {
            self.drain();
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let tick = self.next_tick();
            let (at, node) = match (event, tick) {
                (Some(at), tick) if tick.is_none_or(|(due, _)| at <= due) => (at, None),
                (_, Some((due, node))) => (due, Some(node)),
                (None, None) => break,
                (Some(at), None) => (at, None),
            };
            if at > until {
                break;
            }
            self.now = self.now.max(at);
            let id = match node {
                Some(id) => {
                    let node = &mut self.nodes[id.0];
                    node.machine.handle(self.now, Input::Tick);
                    node.ticked = Some(self.now);
                    Some(id)
                }
                None => self.events.pop_first().and_then(|(_, event)| self.deliver(event)),
            };
            if let Some(id) = id {
                self.touched.insert(id);
                seen(self.now, id, &mut self.nodes[id.0].machine);
            }
        }
        self.now = self.now.max(until);
    }

    /// Which machine's deadline comes first, and when.
    fn next_tick(&self) -> Option<(Timestamp, NodeId)> {
        let due = |node: &Node<M>| {
            let earliest = node.ticked.map_or(self.now, |at| self.now.max(at + Duration::from_micros(1)));
            node.deadline.map(|deadline| deadline.max(earliest))
        };
        let ticks = self.nodes.iter().enumerate().filter_map(|(n, node)| due(node).map(|at| (at, NodeId(n))));
        ticks.min()
    }

    /// Hands an event to its machine; `None` if there is nobody to take it.
    fn deliver(&mut self, event: Event) -> Option<NodeId> {
        let (id, now) = match &event {
            Event::Datagram { node, .. } | Event::Signal { node, .. } | Event::SignalClosed { node, .. } => {
                (*node, self.now)
            }
        };
        let node = &mut self.nodes[id.0];
        match event {
            Event::Datagram { from, to, mut bytes, .. } => {
                if !node.addresses.contains(&to) {
                    self.stats.address_gone += 1;
                    return None;
                }
                node.machine.handle(now, Input::Datagram { from, to, bytes: &mut bytes });
            }
            Event::Signal { channel, message, .. } => {
                node.machine.handle(now, Input::Signal { channel, message: &message });
            }
            Event::SignalClosed { channel, .. } => {
                node.machine.handle(now, Input::SignalClosed { channel });
            }
        }
        node.ticked = None;
        Some(id)
    }

    /// Takes from the machines that were touched what they want done, and notes their deadlines.
    fn drain(&mut self) {
        while let Some(id) = self.touched.pop_first() {
            while let Some(output) = self.nodes[id.0].machine.poll() {
                match output {
                    Output::Transmit(transmit) => self.transmit(id, transmit),
                    Output::Signal { channel, message } => match self.channels.get(&(id, channel)) {
                        Some(&(node, channel, delay)) => {
                            self.schedule(self.now + delay, Event::Signal { node, channel, message });
                        }
                        None => self.stats.unsignalled += 1,
                    },
                    Output::CloseSignal { channel } => {
                        if let Some((node, channel, delay)) = self.channels.remove(&(id, channel)) {
                            self.channels.remove(&(node, channel));
                            self.schedule(self.now + delay, Event::SignalClosed { node, channel });
                        }
                    }
                }
            }
            self.nodes[id.0].deadline = self.nodes[id.0].machine.deadline();
        }
    }

    fn transmit(&mut self, source: NodeId, Transmit { to, from, bytes }: Transmit) {
        let own = &self.nodes[source.0].addresses;
        let from = match from {
            Some(from) => own.contains(&from).then_some(from),
            None => own.first().copied(),
        };
        let Some(from) = from else {
            self.stats.unroutable += 1;
            return;
        };
        let target = self.nodes.iter().position(|node| node.addresses.contains(&to)).map(NodeId);
        let link = target.and_then(|target| self.links.get_mut(&(source, target)));
        let fate = link.map(|link| link.offer(self.now, wire_size(to, &bytes)));
        let target = target.filter(|_| fate.is_some());
        if self.record {
            let bytes = bytes.clone();
            self.sent.push(Sent { at: self.now, source, target, from, to, fate, bytes });
        }
        match (target, fate) {
            (Some(node), Some(Fate::Arrives(at))) => {
                self.schedule(at, Event::Datagram { node, from, to, bytes });
            }
            (Some(_), _) => {}
            (None, _) => self.stats.unroutable += 1,
        }
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.events.insert((at.max(self.now), self.events_made), event);
        self.events_made += 1;
    }
}
