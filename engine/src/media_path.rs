//! What all streams of a call share: one path, one estimate of it, one queue before it.

use crate::adapt::{Loss, LossMeter};
use crate::own_losses::OwnLosses;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Ssrc, Timestamp};
use undertone_transport::bwe::{self, Cc, Cluster, DelayLoss, Fate, Wanted};
use undertone_transport::feedback::{Format, PacketId, Recorder, SentLog};
use undertone_transport::pacer::{self, Pacer, Priority};
use undertone_transport::rtcp::Rtcp;
use undertone_transport::rtp::{self, Extension, ExtensionMap};
use undertone_transport::session::{Session, Toll, UDP_IP_BYTES, Width};
use undertone_transport::stream::{Copies, SendStream};

/// RTP's fixed header.
const RTP_BYTES: u64 = 12;

/// What may be on its way before anything was reported: 400 ms of a path of 24 kbit/s.
const FIRST_WINDOW: DataSize = DataSize::from_bytes(1_250);
/// A check and its answer that cross in less did not cross a thin path.
const SHORT_ROUND_TRIP: Duration = Duration::from_millis(80);
/// Taken for the round trip, at most, where only the time that connecting took is known: that tells of losses.
const LONG_ROUND_TRIP: Duration = Duration::from_millis(200);
/// How long after a packet's arrival the first report leaves.
const FIRST_REPORT: Duration = Duration::from_millis(100);
/// How much of what connecting showed the path to carry is sent at first, in thousandths.
const FIRST_PERMILLE: u64 = 900;

/// A packet that waits to be sent.
struct Waiting {
    header: rtp::Header,
    payload: Vec<u8>,
    /// In place of a payload.
    padding: u8,
}

/// Paces, numbers, seals, and learns from feedback.
pub(crate) struct MediaPath {
    pacer: Pacer<Waiting>,
    cc: DelayLoss,
    /// The rate of packets that ask for more, while they leave.
    probing: Option<Bitrate>,
    sent: SentLog,
    /// Tells the peer what arrived; `None` if no feedback was agreed.
    pub(crate) recorder: Option<Recorder>,
    format: Option<Format>,
    next_twcc: u16,
    losses: LossMeter,
    own_losses: OwnLosses,
    /// The rate to begin with, if it was not dared because nothing was known of the path.
    forgone: Option<Bitrate>,
    extensions: ExtensionMap,
    payload_sent: DataSize,
}

impl MediaPath {
    pub(crate) fn new(start: Bitrate) -> MediaPath {
        MediaPath {
            pacer: Pacer::new(pacer::Config { rate: start, ..pacer::Config::default() }),
            cc: DelayLoss::new(bwe::Config { start, ..bwe::Config::default() }),
            probing: None,
            sent: SentLog::new(),
            recorder: None,
            format: None,
            next_twcc: 0,
            losses: LossMeter::default(),
            own_losses: OwnLosses::default(),
            forgone: None,
            extensions: ExtensionMap::default(),
            payload_sent: DataSize::ZERO,
        }
    }

    /// Signalling has settled feedback and extensions.
    pub(crate) fn agree(&mut self, format: Option<Format>, extensions: ExtensionMap, reporter: Ssrc) {
        self.recorder = format.map(|format| Recorder::new(format, reporter));
        self.format = format;
        self.extensions = extensions;
    }

    /// What the extensions are called on this call's wire.
    pub(crate) fn extensions(&self) -> &ExtensionMap {
        &self.extensions
    }

    /// Bytes that a packet of speech costs beside its payload.
    pub(crate) fn overhead(&self, session: &Session) -> DataSize {
        let numbered =
            self.format == Some(Format::Twcc) && self.extensions.id(Extension::TransportCc).is_some();
        let extension = if numbered { 8 } else { 0 };
        DataSize::from_bytes(UDP_IP_BYTES + RTP_BYTES + extension + session.rtp_overhead() as u64)
    }

    /// Queues a packet of media or of repair.
    pub(crate) fn enqueue(
        &mut self,
        now: Timestamp,
        session: &Session,
        priority: Priority,
        header: rtp::Header,
        payload: Vec<u8>,
    ) {
        let size = self.overhead(session) + DataSize::from_bytes(payload.len() as u64);
        if priority != Priority::Rtx {
            self.payload_sent += DataSize::from_bytes(payload.len() as u64);
        }
        self.pacer.enqueue(now, priority, Waiting { header, payload, padding: 0 }, size);
    }

    /// Sends what the pacer lets go, and, where it is time to ask for more, padding in that stream.
    pub(crate) fn send_due(
        &mut self,
        now: Timestamp,
        session: &mut Session,
        mut padded: Option<&mut SendStream>,
    ) {
        loop {
            if let Some(stream) = &mut padded {
                self.probe(now, session, stream);
            }
            let Some(Waiting { mut header, payload, padding }) = self.pacer.poll(now) else { return };
            let mut id = PacketId::Rtp(header.ssrc, header.seq);
            if self.format == Some(Format::Twcc) {
                id = PacketId::Twcc(self.next_twcc);
                header.ext.twcc = Some(self.next_twcc);
                self.next_twcc = self.next_twcc.wrapping_add(1);
            }
            let mut packet = Vec::with_capacity(payload.len() + 64);
            header.write(&self.extensions, &mut packet);
            packet.extend_from_slice(&payload);
            rtp::pad(&mut packet, padding);
            let size =
                DataSize::from_bytes(packet.len() as u64 + session.rtp_overhead() as u64 + UDP_IP_BYTES);
            self.sent.on_sent(now, id, size);
            self.cc.on_sent(now, size);
            session.send_rtp(now, packet);
        }
    }

    /// Keeps to the rate of a probe, and fills it with padding while nothing else waits.
    fn probe(&mut self, now: Timestamp, session: &Session, stream: &mut SendStream) {
        let cluster = self.cc.probe(now);
        let rate = cluster.map(|cluster| cluster.rate);
        if rate != std::mem::replace(&mut self.probing, rate) {
            self.pacer.clear(Priority::Probe);
            self.pace(now);
        }
        let Some(Cluster { packet, .. }) = cluster.filter(|_| self.pacer.queued() == DataSize::ZERO) else {
            return;
        };
        let overhead = self.overhead(session);
        let padding = packet.saturating_sub(overhead).as_bytes().clamp(1, 255) as u8;
        if let Some(header) = stream.padding() {
            let size = overhead + DataSize::from_bytes(padding.into());
            self.pacer.enqueue(now, Priority::Probe, Waiting { header, payload: Vec::new(), padding }, size);
        }
    }

    /// What would be sent if the path carried it.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        self.cc.want(wanted);
    }

    /// The path is another one from now on.
    pub(crate) fn on_route_change(&mut self) {
        self.cc.on_route_change();
    }

    /// A media packet arrived.
    pub(crate) fn on_packet(&mut self, now: Timestamp, header: &rtp::Header, size: DataSize) {
        let id = match self.format {
            Some(Format::Twcc) => match header.ext.twcc {
                Some(seq) => PacketId::Twcc(seq),
                None => return,
            },
            _ => PacketId::Rtp(header.ssrc, header.seq),
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.on_packet(now, id, size);
        }
    }

    /// A report arrived.
    pub(crate) fn on_feedback(&mut self, now: Timestamp, report: &Rtcp, rtt: Option<Duration>) {
        let outcomes = self.sent.on_feedback(now, report);
        if outcomes.is_empty() {
            return;
        }
        self.cc.on_feedback(now, &outcomes, rtt);
        let queue = self.cc.state().queue;
        for outcome in outcomes.iter().filter(|outcome| outcome.fate != Fate::Untold) {
            let lost = outcome.fate == Fate::Lost;
            self.losses.on_packet(outcome.sent, lost);
            self.own_losses.on_packet(lost, queue);
        }
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.cc.on_tick(now);
        self.pace(now);
    }

    fn pace(&mut self, now: Timestamp) {
        // Above the estimate, so that a frame larger than usual has gone when the next one comes.
        let usual = self.cc.estimate().permille(1_250);
        self.pacer.set_rate(now, self.probing.unwrap_or(usual));
    }

    /// The round trip as feedback shows it, smoothed; `None` if it does not, since only RFC 8888 tells how
    /// long a report waited.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.sent.rtt().filter(|_| self.format == Some(Format::Ccfb))
    }

    pub(crate) fn estimate(&self) -> Bitrate {
        self.cc.estimate()
    }

    /// Media may flow. If connecting showed what the path carries, no more is sent. If it took losses, so that nothing
    /// showed, then until the first report tells better no more is sent than a weak path holds: speech alone does with
    /// little, pictures need more from the start.
    pub(crate) fn start(
        &mut self,
        now: Timestamp,
        width: Width,
        rtt: Option<Duration>,
        setup: Duration,
        pictures: bool,
    ) {
        let start = match width {
            Width::Thin(carries) => carries.permille(FIRST_PERMILLE),
            // However long the round trip: jitter, or distance, makes no path thin.
            Width::Wide => return,
            Width::Unknown if pictures || rtt.is_some_and(|rtt| rtt < SHORT_ROUND_TRIP) => return,
            Width::Unknown => FIRST_WINDOW.per(rtt.unwrap_or(setup.min(LONG_ROUND_TRIP)) + FIRST_REPORT),
        };
        let carries = width.thin();
        let start = start.min(self.cc.estimate());
        let doubtful = width == Width::Unknown;
        self.forgone = doubtful.then_some(self.cc.estimate());
        self.cc = DelayLoss::new(bwe::Config { start, carries, doubtful, ..bwe::Config::default() });
        self.pacer.set_rate(now, start.permille(1_250));
    }

    /// The round trip is known now that was not when media began: if it is so short that the path is no thin one, there
    /// was no need to begin with little, and where many are lost it would take long to find out.
    pub(crate) fn on_round_trip(&mut self, now: Timestamp, rtt: Duration) {
        if let Some(start) = self.forgone.take().filter(|_| rtt < SHORT_ROUND_TRIP) {
            self.cc = DelayLoss::new(bwe::Config { start, ..bwe::Config::default() });
            self.pacer.set_rate(now, start.permille(1_250));
        }
    }

    /// Pictures that wait, and their repair, and how long they need at the rate.
    pub(crate) fn pictures(&self) -> (DataSize, Duration) {
        let size = self.pacer.waiting(Priority::Rtx) + self.pacer.waiting(Priority::Video);
        (size, size / self.pacer.rate())
    }

    /// Drops them.
    pub(crate) fn drop_pictures(&mut self) {
        self.pacer.clear(Priority::Rtx);
        self.pacer.clear(Priority::Video);
    }

    /// How long what is queued now waits before it leaves.
    pub(crate) fn wait(&self, now: Timestamp, priority: Priority) -> Duration {
        self.pacer.wait(now, priority)
    }

    /// What connecting took: so many questions were answered, so many were not.
    pub(crate) fn on_connected(&mut self, toll: Toll) {
        self.losses.on_connected(toll.answered, toll.unanswered);
    }

    /// How packets get lost lately.
    pub(crate) fn loss(&self) -> Loss {
        self.losses.loss()
    }

    /// How often pictures are to be sent.
    pub(crate) fn copies(&self) -> Copies {
        Copies::against(self.lost())
    }

    /// How many packets of a thousand the path loses, whatever is sent.
    pub(crate) fn lost(&self) -> u32 {
        let lost = u32::from(self.losses.loss().permille);
        self.own_losses.permille().map_or(lost, |own| own.min(lost))
    }

    pub(crate) fn state(&self) -> bwe::State {
        self.cc.state()
    }

    pub(crate) fn payload_sent(&self) -> DataSize {
        self.payload_sent
    }

    /// When something is due: a packet to send, or a report.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let report = self.recorder.as_ref().and_then(Recorder::deadline);
        [self.pacer.deadline(), report].into_iter().flatten().min()
    }
}
