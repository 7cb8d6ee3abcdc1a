//! One media flow: pictures that fill the estimate, the product's pacer, and reports every 50 ms.

use super::case::FlowSpec;
use super::controller::Controller;
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Timestamp};
use undertone_transport::bwe::{Fate, Outcome};
use undertone_transport::pacer::{self, Pacer, Priority};

/// Pictures a second.
const FPS: u64 = 30;
/// The largest packet, headers included.
const PACKET_MOST: u64 = 1_200;
/// What a packet costs beside its payload; no picture is smaller.
const PACKET_LEAST: u64 = 100;

/// A packet on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) seq: u64,
    pub(super) size: DataSize,
    /// The picture that it is a part of; none: padding of a probe.
    pub(super) frame: Option<usize>,
    pub(super) sent: Timestamp,
}

/// A picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) captured: Timestamp,
    missing: u64,
    /// When its last packet came.
    pub(super) complete: Option<Timestamp>,
}

/// What a receiver tells: all numbers from `first` up to `last` that came, and when.
#[derive(Clone, Debug)]
pub(super) struct Report {
    first: u64,
    last: u64,
    arrivals: VecDeque<(u64, Timestamp)>,
}

impl Report {
    /// IP, UDP, SRTCP and RFC 8888's headers, and two bytes a packet.
    pub(super) fn size(&self) -> DataSize {
        DataSize::from_bytes(28 + 14 + 28 + 2 * (self.last + 1 - self.first))
    }
}

/// What came of a packet, for the account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: Timestamp,
    pub(super) sent: Timestamp,
    pub(super) size: DataSize,
}

/// Both ends of a flow.
pub(super) struct Flow {
    pub(super) spec: FlowSpec,
    pub(super) controller: Controller,
    pacer: Pacer<(DataSize, Option<usize>)>,
    seq: u64,
    /// Sent and not reported yet.
    in_flight: VecDeque<Packet>,
    pub(super) frames: Vec<Frame>,
    /// The receiver's: the next number to report, and what came since.
    reported: u64,
    arrived: VecDeque<(u64, Timestamp)>,
    pub(super) arrivals: Vec<Arrival>,
    /// Packets of pictures that left.
    pub(super) sent: u64,
    /// The estimate over time.
    pub(super) estimates: Vec<(Timestamp, Bitrate)>,
    active: bool,
}

impl Flow {
    pub(super) fn new(spec: FlowSpec, controller: Controller) -> Flow {
        let rate = controller.pacing();
        Flow {
            spec,
            controller,
            pacer: Pacer::new(pacer::Config { rate, ..pacer::Config::default() }),
            seq: 0,
            in_flight: VecDeque::new(),
            frames: Vec::new(),
            reported: 0,
            arrived: VecDeque::new(),
            arrivals: Vec::new(),
            sent: 0,
            estimates: Vec::new(),
            active: true,
        }
    }

    /// When the picture after one at `now` is taken.
    pub(super) fn next_frame(now: Timestamp) -> Timestamp {
        let number = now.as_micros() * FPS / 1_000_000 + 1;
        Timestamp::from_micros((number * 1_000_000).div_ceil(FPS))
    }

    /// Takes a picture, as large as the estimate has it.
    pub(super) fn on_frame(&mut self, now: Timestamp) {
        let active = self.spec.is_active(now);
        if active != std::mem::replace(&mut self.active, active) {
            self.controller.on_pause(now, !active);
        }
        if !active {
            return;
        }
        let bytes = (self.controller.estimate().as_bps() / 8 / FPS).max(PACKET_LEAST);
        let count = bytes.div_ceil(PACKET_MOST);
        let frame = self.frames.len();
        self.frames.push(Frame { captured: now, missing: count, complete: None });
        for part in 0..count {
            let size = DataSize::from_bytes(bytes * (part + 1) / count - bytes * part / count);
            self.pacer.enqueue(now, Priority::Video, (size, Some(frame)), size);
        }
    }

    /// The next packet that leaves now.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Packet> {
        let asked = if self.active { self.controller.probe(now) } else { None };
        self.pacer.set_rate(now, asked.map_or(self.controller.pacing(), |cluster| cluster.rate));
        if let Some(cluster) = asked.filter(|_| self.pacer.queued() == DataSize::ZERO) {
            self.pacer.enqueue(now, Priority::Probe, (cluster.packet, None), cluster.packet);
        }
        let (size, frame) = self.pacer.poll(now)?;
        let packet = Packet { seq: self.seq, size, frame, sent: now };
        self.seq += 1;
        self.sent += u64::from(frame.is_some());
        self.in_flight.push_back(packet);
        self.controller.on_sent(now, packet.seq, size);
        Some(packet)
    }

    /// When a packet may leave.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.pacer.deadline()
    }

    /// A packet comes out at the far end.
    pub(super) fn on_arrival(&mut self, now: Timestamp, packet: &Packet) {
        self.arrived.push_back((packet.seq, now));
        let Some(frame) = packet.frame.and_then(|frame| self.frames.get_mut(frame)) else { return };
        self.arrivals.push(Arrival { at: now, sent: packet.sent, size: packet.size });
        frame.missing -= 1;
        if frame.missing == 0 {
            frame.complete = Some(now);
        }
    }

    /// What the receiver has to tell.
    pub(super) fn report(&mut self) -> Option<Report> {
        let last = self.arrived.back()?.0;
        let first = std::mem::replace(&mut self.reported, last + 1);
        Some(Report { first, last, arrivals: std::mem::take(&mut self.arrived) })
    }

    /// A report is here. What was in reports before it that were lost themselves, nobody told.
    pub(super) fn on_report(&mut self, now: Timestamp, mut report: Report) {
        let Some(first) = self.in_flight.front().map(|packet| packet.seq) else { return };
        let mut outcomes = Vec::new();
        while let Some(packet) = self.in_flight.front().copied().filter(|it| it.seq <= report.last) {
            self.in_flight.pop_front();
            let fate = match report.arrivals.front() {
                Some(&(seq, at)) if seq == packet.seq => {
                    report.arrivals.pop_front();
                    Fate::Arrived(at)
                }
                _ if packet.seq < report.first => Fate::Untold,
                _ => Fate::Lost,
            };
            outcomes.push(Outcome { sent: packet.sent, size: packet.size, fate });
        }
        if !outcomes.is_empty() {
            self.controller.on_feedback(now, first, &outcomes);
        }
    }

    /// How long it takes from one end to the other, without a queue.
    pub(super) fn one_way(&self, link: Duration) -> Duration {
        link + self.spec.farther
    }
}
