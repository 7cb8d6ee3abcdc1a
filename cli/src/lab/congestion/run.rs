//! One event after the other, in virtual time.

use super::case::{Case, Cross};
use super::controller::{Controller, Kind, Limits};
use super::flow::{Flow, Packet, Report};
use super::tcp::{SEGMENT, Tcp};
use crate::exit::Outcome;
use std::collections::BTreeMap;
use std::time::Duration;
use undertone_media::{DataSize, Fate, Link, Timestamp};
use undertone_sim::loss::{Draws, Purpose};
use undertone_sim::path::{Change, LinkModel};

/// Between two reports of a receiver.
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// Between two ticks of a controller, and two points of its curve.
const TICK: Duration = Duration::from_millis(25);
/// What is still on its way when the last picture was taken may arrive for so long.
const LINGER: Duration = Duration::from_secs(1);
/// RFC 8867 §5.7: files of 100 kB to 1 MB, after a pause of 10 s on average.
const FILE_SEGMENTS: (u64, u64) = (67, 667);
const FILE_PAUSE_MS: u64 = 10_000;

#[derive(Debug)]
enum Event {
    /// A picture is taken.
    Frame(usize),
    /// Packets may leave the pacer.
    Send(usize),
    Arrive(usize, Packet),
    /// The receiver reports.
    Report(usize),
    Reported(usize, Report),
    Tick(usize),
    /// A connection begins, or looks whether it gets on.
    Connect(usize),
    Timer(usize),
    Segment(usize, u64),
    Acknowledged(usize, u64),
}

/// The link, who sends over it, and what is to come.
pub(super) struct World {
    case: Case,
    links: [LinkModel; 2],
    pub(super) flows: Vec<Flow>,
    connections: Vec<Option<Tcp>>,
    /// What connections that are over have received.
    tcp_received: DataSize,
    draws: Draws,
    now: Timestamp,
    /// By time, and by when they were thought of.
    events: BTreeMap<(Timestamp, u64), Event>,
    thought: u64,
}

impl World {
    pub(super) fn new(case: Case, kind: &Kind, limits: Limits, seed: u64) -> Outcome<World> {
        let link = |backward: bool| {
            let mut link = LinkModel::new(seed, u64::from(backward), &case.link(backward));
            for &(at, rate) in &case.steps[usize::from(backward)] {
                link.change(at, Change::Rate(Some(rate)));
            }
            link
        };
        let flow = |spec: &super::case::FlowSpec| Ok(Flow::new(spec.clone(), Controller::new(kind, limits)?));
        let connections = match case.cross {
            Cross::None => 0,
            Cross::Long => 1,
            Cross::Short(count) => count,
        };
        Ok(World {
            links: [link(false), link(true)],
            flows: case.flows.iter().map(flow).collect::<Outcome<_>>()?,
            connections: (0..connections).map(|_| None).collect(),
            tcp_received: DataSize::ZERO,
            draws: Draws::new(seed, 0, Purpose::Traffic),
            now: Timestamp::ZERO,
            events: BTreeMap::new(),
            thought: 0,
            case,
        })
    }

    /// Runs the case to its end.
    pub(super) fn run(&mut self) -> Outcome {
        for flow in 0..self.flows.len() {
            let start = self.flows[flow].spec.start;
            self.at(start, Event::Frame(flow));
            self.at(start + TICK, Event::Tick(flow));
            self.at(start + REPORT_EVERY, Event::Report(flow));
        }
        for connection in 0..self.connections.len() {
            let wait = match self.case.cross {
                Cross::Short(_) => self.draws.up_to(FILE_PAUSE_MS),
                _ => 0,
            };
            self.at(Timestamp::from_millis(wait), Event::Connect(connection));
        }
        let end = Timestamp::ZERO + self.case.length + LINGER;
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at >= end {
                break;
            }
            self.now = at;
            self.handle(event);
        }
        self.flows.iter_mut().find_map(|flow| flow.controller.failure()).map_or(Ok(()), Err)
    }

    /// What TCP got through.
    pub(super) fn tcp_received(&self) -> DataSize {
        self.connections.iter().flatten().map(|tcp| tcp.received).sum::<DataSize>() + self.tcp_received
    }

    pub(super) fn case(&self) -> &Case {
        &self.case
    }

    fn at(&mut self, at: Timestamp, event: Event) {
        self.thought += 1;
        self.events.insert((at.max(self.now), self.thought), event);
    }

    fn is_over(&self) -> bool {
        self.now >= Timestamp::ZERO + self.case.length
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Frame(flow) if !self.is_over() => {
                self.flows[flow].on_frame(now);
                self.send(flow);
                self.at(Flow::next_frame(now), Event::Frame(flow));
            }
            Event::Frame(_) => {}
            Event::Send(flow) => self.send(flow),
            Event::Arrive(flow, packet) => self.flows[flow].on_arrival(now, &packet),
            Event::Report(flow) => {
                if let Some(report) = self.flows[flow].report() {
                    self.tell(flow, report);
                }
                self.at(now + REPORT_EVERY, Event::Report(flow));
            }
            Event::Reported(flow, report) => {
                self.flows[flow].on_report(now, report);
                self.send(flow);
            }
            Event::Tick(flow) => {
                let it = &mut self.flows[flow];
                if it.spec.is_active(now) {
                    it.controller.on_tick(now);
                }
                let estimate = it.controller.estimate();
                it.estimates.push((now, estimate));
                self.send(flow);
                self.at(now + TICK, Event::Tick(flow));
            }
            Event::Connect(connection) if !self.is_over() => {
                let segments = match self.case.cross {
                    Cross::Short(_) => {
                        Some(FILE_SEGMENTS.0 + self.draws.up_to(FILE_SEGMENTS.1 - FILE_SEGMENTS.0))
                    }
                    _ => None,
                };
                self.connections[connection] = Some(Tcp::new(now, segments));
                self.fill(connection);
                self.at(now + TICK, Event::Timer(connection));
            }
            Event::Connect(_) => {}
            Event::Timer(connection) => {
                if let Some(tcp) = &mut self.connections[connection] {
                    tcp.on_tick(now);
                    self.fill(connection);
                    self.at(now + TICK, Event::Timer(connection));
                }
            }
            Event::Segment(connection, seq) => {
                if let Some(tcp) = &mut self.connections[connection] {
                    tcp.received += SEGMENT;
                }
                self.at(now + self.case.one_way, Event::Acknowledged(connection, seq));
            }
            Event::Acknowledged(connection, seq) => {
                let Some(tcp) = &mut self.connections[connection] else { return };
                tcp.on_ack(now, seq);
                if tcp.is_done() {
                    self.tcp_received += tcp.received;
                    self.connections[connection] = None;
                    // Twice the mean at most, uniformly.
                    let wait = Duration::from_millis(self.draws.up_to(2 * FILE_PAUSE_MS));
                    self.at(now + wait, Event::Connect(connection));
                } else {
                    self.fill(connection);
                }
            }
        }
    }

    /// Sends what the pacer lets go, and comes back when it lets more go.
    fn send(&mut self, flow: usize) {
        let now = self.now;
        while let Some(packet) = self.flows[flow].poll(now) {
            let it = &self.flows[flow].spec;
            let (link, farther) = (usize::from(it.backward), it.farther);
            if let Fate::Arrives(at) = self.links[link].offer(now, packet.size) {
                self.at(at + farther, Event::Arrive(flow, packet));
            }
        }
        if let Some(next) = self.flows[flow].deadline() {
            self.at(next, Event::Send(flow));
        }
    }

    fn tell(&mut self, flow: usize, report: Report) {
        let spec = &self.flows[flow].spec;
        let (back, farther) = (usize::from(!spec.backward), spec.farther);
        if !self.case.reports_on_link {
            let at = self.now + self.flows[flow].one_way(self.case.one_way);
            self.at(at, Event::Reported(flow, report));
        } else if let Fate::Arrives(at) = self.links[back].offer(self.now, report.size()) {
            self.at(at + farther, Event::Reported(flow, report));
        }
    }

    /// Sends what a connection's window has room for.
    fn fill(&mut self, connection: usize) {
        if self.is_over() {
            return;
        }
        while let Some(seq) = self.connections[connection].as_mut().and_then(Tcp::poll) {
            if let Fate::Arrives(at) = self.links[0].offer(self.now, SEGMENT) {
                self.at(at, Event::Segment(connection, seq));
            }
        }
    }
}
