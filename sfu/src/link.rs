//! A participant's media: its session, what it publishes, its receive slots, and how fast it may be sent to.
//!
//! Not here: who hears whom (`room`), which packet goes where (`forward`).

use crate::Config;
use crate::allocate::{self, Allocator, Capacity};
use crate::negotiate::{Agreement, TrackConfig};
use crate::outbox::Outbox;
use crate::outgoing::{Outgoing, Verdict};
use crate::protect::Losses;
use crate::rewrite::Place;
use crate::source::{Relayed, Source, SourceConfig};
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use undertone_media::{Bitrate, DataSize, Kind, Output, Ssrc, Timestamp};
use undertone_transport::bwe::{self, Cc, Cluster, DelayLoss, Fate, Reason, Wanted};
use undertone_transport::feedback::{Format, PacketId, Recorder, SentLog};
use undertone_transport::pacer::{self, Pacer, Priority};
use undertone_transport::rtcp::{self, ReportBlock, Rtcp};
use undertone_transport::rtp::{self, Extension, ExtensionMap, Header};
use undertone_transport::session::{self, Session};
use undertone_transport::stream::Copies;

/// How often rates are measured, links judged and silence noticed.
pub(crate) const TURN: Duration = allocate::INTERVAL;
/// How often a subscriber with pictures gets sender reports, and one without: 60 bytes every 2.5 s cost a
/// weak link 0.2 kbit/s (RFC 3550 §6.2 would allow much more).
const REPORT_VIDEO: Duration = Duration::from_secs(1);
const REPORT_AUDIO: Duration = Duration::from_millis(2500);
/// Pictures leave at most this much faster than the estimate, so that a key frame spreads over a few
/// frames' time and no more.
const PACING_PERMILLE: u64 = 2500;
/// How long congestion is remembered when video is allocated.
const CONGESTION_MEMORY: Duration = Duration::from_secs(2);
/// And when what fits is resumed: two reports at least.
const PRESSURE_MEMORY: Duration = Duration::from_millis(400);
/// And when publishers must keep to what it leaves for their pictures: let go, they would fill the queue again.
const LIMIT_MEMORY: Duration = Duration::from_secs(60);
/// Share of the estimate for pictures and their repair: an encoder overshoots now and then.
const PICTURES_PERMILLE: u64 = 900;
/// SSRCs that one participant may send before further new ones are ignored.
const STREAMS: usize = 64;
/// A listener who asks twice in a row, as our own ends do, gets two packets: a resend is as likely to be lost as the packet
/// was, and another round trip costs more.
const RESEND_APART: Duration = Duration::from_millis(2);
/// Taken for the round trip while it is unknown.
const DEFAULT_RTT: Duration = Duration::from_millis(40);
/// What may be resent in a turn whatever the estimate: two pictures at VGA.
const RESEND_FLOOR: u64 = 32_000;

/// A line on which the participant sends.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) config: TrackConfig,
    /// Since its first packet.
    pub(crate) source: Option<Source>,
}

/// A packet that waits for its turn.
#[derive(Debug)]
enum Queued {
    Picture {
        slot: usize,
        packet: Arc<Relayed>,
        place: Place,
        again: bool,
    },
    /// So many bytes, to ask the link for more.
    Padding {
        slot: usize,
        bytes: u8,
    },
}

/// A packet that came in and is new.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// On which track.
    pub(crate) track: usize,
    /// It is the first of its source, or the first after a long silence: slots must be arranged.
    pub(crate) news: bool,
    pub(crate) packet: Arc<Relayed>,
    /// What else was in it, later ones: lost packets come back with those after them.
    pub(crate) more: Vec<Arc<Relayed>>,
}

/// One participant's media path.
pub(crate) struct Link {
    pub(crate) session: Session,
    pub(crate) ufrag: String,
    pub(crate) connected: bool,
    /// When anything authentic came last.
    pub(crate) heard: Timestamp,
    /// Addresses from which it was heard, the newest last.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) slots: Vec<Outgoing>,
    pub(crate) allocator: Allocator,
    extensions: ExtensionMap,
    /// Which track an SSRC belongs to, as announced or as learnt.
    streams: Vec<(Ssrc, usize)>,
    recorder: Option<Recorder>,
    feedback: Option<Format>,
    sent: SentLog,
    twcc_seq: u16,
    cc: DelayLoss,
    /// The rate of packets that ask for more, while they leave.
    probing: Option<Bitrate>,
    pacer: Pacer<Queued>,
    losses: Losses,
    congested: Option<Timestamp>,
    rtt: Option<Duration>,
    /// Ours, in feedback.
    ssrc: Ssrc,
    next_turn: Timestamp,
    next_report: Timestamp,
    resend_allowance: u64,
}

impl Link {
    pub(crate) fn new(
        now: Timestamp,
        session: Session,
        ufrag: String,
        agreement: Agreement,
        rng: &mut ChaCha12Rng,
    ) -> Link {
        let ssrc = Ssrc(rng.next_u32());
        let mut streams = Vec::new();
        for (at, track) in agreement.tracks.iter().enumerate() {
            streams.extend([track.ssrc, track.rtx_ssrc].into_iter().flatten().map(|ssrc| (ssrc, at)));
        }
        let tracks = agreement.tracks.into_iter().map(|config| Track { config, source: None }).collect();
        let slots = agreement.slots.into_iter().map(|slot| Outgoing::new(slot, rng.next_u64())).collect();
        let bwe = bwe::Config { max: Bitrate::from_kbps(50_000), ..bwe::Config::default() };
        // Without feedback there is no estimate, and no use in pacing.
        let unpaced = Bitrate::from_kbps(1_000_000);
        let rate = if agreement.feedback.is_some() { bwe.start.permille(PACING_PERMILLE) } else { unpaced };
        Link {
            session,
            ufrag,
            connected: false,
            heard: now,
            addresses: Vec::new(),
            tracks,
            slots,
            allocator: Allocator::default(),
            extensions: agreement.extensions,
            streams,
            recorder: agreement.feedback.map(|format| Recorder::new(format, ssrc)),
            feedback: agreement.feedback,
            sent: SentLog::new(),
            twcc_seq: 0,
            cc: DelayLoss::new(bwe),
            probing: None,
            pacer: Pacer::new(pacer::Config { rate, ..pacer::Config::default() }),
            losses: Losses::default(),
            congested: None,
            rtt: None,
            ssrc,
            next_turn: now + TURN,
            next_report: now,
            resend_allowance: RESEND_FLOOR,
        }
    }

    /// Reads a decrypted RTP packet; `None` if it brings nothing new.
    pub(crate) fn read(&mut self, now: Timestamp, packet: &[u8], out: &mut Outbox) -> Option<Arrival> {
        let Some((header, payload)) = Header::parse(packet, &self.extensions) else {
            out.stats.refused += 1;
            return None;
        };
        let wire_bytes = packet.len() + self.session.rtp_overhead() + self.ip_overhead();
        if let (Some(recorder), Some(format)) = (&mut self.recorder, self.feedback) {
            let id = match format {
                Format::Twcc => header.ext.twcc.map(PacketId::Twcc),
                Format::Ccfb => Some(PacketId::Rtp(header.ssrc, header.seq)),
            };
            if let Some(id) = id {
                recorder.on_stream(header.ssrc);
                recorder.on_packet(now, id, DataSize::from_bytes(wire_bytes as u64));
            }
        }
        let Some(at) = self.track_of(&header) else {
            out.stats.unknown_streams += 1;
            return None;
        };
        let track = &mut self.tracks[at];
        let media = track.config.media(header.payload_type);
        let mut first = false;
        if let Some((payload_type, rtx_payload_type)) = media
            && track.source.as_ref().is_none_or(|source| source.ssrc != header.ssrc)
        {
            let config = SourceConfig {
                ssrc: header.ssrc,
                payload_type,
                rtx_payload_type,
                ..track.config.source.clone()
            };
            track.source = Some(Source::new(now, out.new_source(), &config));
            first = true;
        }
        let source = track.source.as_mut()?;
        let recovered = source.recovered();
        let mut packets = source.receive(now, &header, packet.get(payload)?, wire_bytes).into_iter();
        let packet = packets.next()?;
        let more: Vec<Arc<Relayed>> = packets.collect();
        out.stats.recovered += source.recovered() - recovered;
        out.stats.packets_in += 1 + more.len() as u64;
        let news = first | std::mem::take(&mut source.stale);
        Some(Arrival { track: at, news, packet, more })
    }

    /// Which track a packet belongs to: by SSRC, else by the mid that it carries, else by a payload type
    /// that only one track has (RFC 8843 §9.2).
    fn track_of(&mut self, header: &Header) -> Option<usize> {
        if let Some(&(_, at)) = self.streams.iter().find(|&&(ssrc, _)| ssrc == header.ssrc) {
            return Some(at);
        }
        if self.streams.len() >= STREAMS {
            return None;
        }
        let by_mid = |mid| self.tracks.iter().position(|track| track.config.mid == Some(mid));
        let mut by_type = self.tracks.iter().enumerate().filter(|(_, track)| {
            let pt = header.payload_type;
            let resent = |&(_, rtx): &(u8, Option<u8>)| rtx == Some(pt);
            track.config.media(pt).is_some() || track.config.payload_types.iter().any(resent)
        });
        let at = match header.ext.mid {
            Some(mid) => by_mid(mid)?,
            None => by_type.next().filter(|_| by_type.next().is_none())?.0,
        };
        self.streams.push((header.ssrc, at));
        Some(at)
    }

    /// Offers a packet to a slot. What it needs is the caller's to do.
    pub(crate) fn offer(
        &mut self,
        now: Timestamp,
        slot: usize,
        packet: &Arc<Relayed>,
        out: &mut Outbox,
    ) -> Verdict {
        let Some(outgoing) = self.slots.get_mut(slot).filter(|_| self.connected) else {
            return Verdict::Withhold;
        };
        let verdict = outgoing.offer(now, packet);
        match verdict {
            Verdict::Send(place) | Verdict::Start(place) => {
                out.stats.forwarded += 1;
                // Late by a repair, not by the path: the subscriber shall not take its delay for jitter.
                // Where protection is on, one that nothing overtook joins the others, to be protected as they are.
                let joins = outgoing.protection.as_ref().is_some_and(|it| it.takes(place.seq.wire()));
                let late = packet.repaired && !joins && matches!(verdict, Verdict::Send(_));
                let again = late && outgoing.repeats(now, packet);
                if outgoing.config.kind == Kind::Audio {
                    self.put(now, slot, packet, place, again);
                } else {
                    // What a stream begins with nobody can miss, so nobody asks for it again; it holds the
                    // parameters of all that follows, and is small.
                    let twice = matches!(verdict, Verdict::Start(_)) && outgoing.repeats(now, packet);
                    self.queue(now, slot, packet, place, again);
                    if twice {
                        self.queue(now, slot, packet, place, true);
                    }
                }
            }
            Verdict::NeedsKey | Verdict::Withhold => out.stats.withheld += 1,
        }
        verdict
    }

    /// Sends a packet again that went out through a slot. False if it may not, or just did.
    pub(crate) fn resend(&mut self, now: Timestamp, slot: usize, packet: &Arc<Relayed>) -> bool {
        let rtt = self.rtt.unwrap_or(DEFAULT_RTT);
        let wait = self.pacer.wait(now, Priority::Rtx);
        let Some(outgoing) = self.slots.get_mut(slot) else { return false };
        let (pause, copies) = match (outgoing.config.kind, self.feedback) {
            (Kind::Audio, _) => (RESEND_APART, 1),
            // Our own viewers ask until the picture comes. What they ask for less than a round trip after it left may be
            // on its way.
            (Kind::Video, Some(Format::Ccfb)) => (rtt + wait, Copies::against(self.losses.permille()).answer),
            // Browsers wait for a round trip, as they know it, before they ask again: each request counts.
            (Kind::Video, _) => (rtt / 2 + wait, Copies::of_rare_answers(self.losses.permille())),
        };
        let size = packet.payload.len() as u64 * u64::from(copies);
        if self.resend_allowance < size {
            return false;
        }
        let Some(place) = outgoing.resend(now, packet, pause) else { return false };
        self.resend_allowance -= size;
        if outgoing.config.kind == Kind::Audio {
            self.put(now, slot, packet, place, true);
        } else {
            (0..copies).for_each(|_| self.queue(now, slot, packet, place, true));
        }
        true
    }

    /// Sends packets again just as they went out through a slot; tells how many.
    pub(crate) fn repeat(&mut self, now: Timestamp, slot: usize, seqs: &[u16]) -> u64 {
        let Some(outgoing) = self.slots.get_mut(slot) else { return 0 };
        let apart = self.rtt.unwrap_or(DEFAULT_RTT) / 2;
        let mut repeated = 0;
        for &seq in seqs {
            let Some(sealed) = outgoing.repeat(now, seq, apart) else { continue };
            let size = sealed.len() as u64;
            if self.resend_allowance < size {
                break;
            }
            self.resend_allowance -= size;
            self.session.send_again(now, sealed);
            repeated += 1;
        }
        repeated
    }

    /// Lets a packet wait for its turn, which mostly is now.
    fn queue(&mut self, now: Timestamp, slot: usize, packet: &Arc<Relayed>, place: Place, again: bool) {
        let priority = if again { Priority::Rtx } else { Priority::Video };
        let size = self.wire_size(packet.payload.len() + 24);
        let queued = Queued::Picture { slot, packet: packet.clone(), place, again };
        self.pacer.enqueue(now, priority, queued, size);
        self.pump(now);
    }

    /// Sends what waits and may leave.
    fn pump(&mut self, now: Timestamp) {
        loop {
            self.probe(now);
            match self.pacer.poll(now) {
                Some(Queued::Picture { slot, packet, place, again }) => {
                    self.put(now, slot, &packet, place, again);
                }
                Some(Queued::Padding { slot, bytes }) => self.pad(now, slot, bytes),
                None => return,
            }
        }
    }

    /// What would go out if the link carried it.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        // Only who can send padding can ask.
        self.cc.want(if self.padded().is_some() { wanted } else { Wanted::Enough });
    }

    /// The slot beside whose packets padding goes.
    fn padded(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.pads() && slot.source().is_some())
    }

    /// Keeps to the rate of a probe, and fills it with padding while nothing else waits.
    fn probe(&mut self, now: Timestamp) {
        let cluster = self.cc.probe(now);
        let rate = cluster.map(|cluster| cluster.rate);
        if rate != std::mem::replace(&mut self.probing, rate) {
            self.pacer.clear(Priority::Probe);
            self.pace(now);
        }
        let Some(Cluster { packet, .. }) = cluster.filter(|_| self.pacer.queued() == DataSize::ZERO) else {
            return;
        };
        let Some(slot) = self.padded() else { return };
        let bare = self.wire_size(rtp::FIXED_LEN + 8);
        let bytes = packet.saturating_sub(bare).as_bytes().clamp(1, 255) as u8;
        let size = bare + DataSize::from_bytes(bytes.into());
        self.pacer.enqueue(now, Priority::Probe, Queued::Padding { slot, bytes }, size);
    }

    /// Sends padding in a slot's stream of retransmissions.
    fn pad(&mut self, now: Timestamp, slot: usize, bytes: u8) {
        let Some(outgoing) = self.slots.get_mut(slot) else { return };
        let (Some(mut header), map) = (outgoing.padding(), outgoing.config.extensions) else { return };
        header.ext.twcc = self.number(&map);
        let mut packet = Vec::with_capacity(usize::from(bytes) + 80);
        header.write(&map, &mut packet);
        rtp::pad(&mut packet, bytes);
        self.note(now, &header, packet.len());
        self.session.send_rtp(now, packet);
    }

    /// The next packet's number among all, where packets are reported by that.
    fn number(&mut self, map: &ExtensionMap) -> Option<u16> {
        let by_number = self.feedback == Some(Format::Twcc) && map.id(Extension::TransportCc).is_some();
        let number = self.twcc_seq;
        self.twcc_seq = number.wrapping_add(u16::from(by_number));
        by_number.then_some(number)
    }

    /// A packet leaves: feedback will tell of it.
    fn note(&mut self, now: Timestamp, header: &Header, rtp_bytes: usize) {
        if self.feedback.is_some() {
            let id = header.ext.twcc.map_or(PacketId::Rtp(header.ssrc, header.seq), PacketId::Twcc);
            let size = self.wire_size(rtp_bytes);
            self.sent.on_sent(now, id, size);
            self.cc.on_sent(now, size);
        }
    }

    /// Writes a packet under the slot's numbers and seals it: the one allocation of an output datagram.
    fn put(&mut self, now: Timestamp, slot: usize, packet: &Relayed, place: Place, again: bool) {
        let Some(outgoing) = self.slots.get_mut(slot) else { return };
        let mut header = if again {
            let Some(header) = outgoing.rtx_header(packet, place) else { return };
            header
        } else {
            outgoing.header(packet, place)
        };
        // What goes again is on its own.
        let protection = outgoing.protection.as_mut().filter(|_| !again);
        let dressed = protection.and_then(|it| it.dress(&header, &packet.payload));
        let payload = match &dressed {
            Some((dressed, payload)) => {
                header.payload_type = dressed.payload_type;
                payload
            }
            None => &packet.payload,
        };
        let map = outgoing.config.extensions;
        header.ext.twcc = self.number(&map);
        let descriptor = header.ext.dd.map_or(0, |dd| dd.as_bytes().len());
        let mut bytes = Vec::with_capacity(payload.len() + descriptor + 80);
        header.write(&map, &mut bytes);
        if again {
            bytes.extend_from_slice(&place.seq.wire().to_be_bytes());
        }
        bytes.extend_from_slice(payload);
        self.note(now, &header, bytes.len());
        match self.slots.get_mut(slot).filter(|outgoing| outgoing.config.repeats()) {
            Some(outgoing) => {
                if let Some(sealed) = self.session.send_rtp_kept(now, bytes) {
                    outgoing.keep(now, header.seq, sealed);
                }
            }
            None => self.session.send_rtp(now, bytes),
        }
    }

    /// Bytes on the wire of an RTP packet of so many.
    fn wire_size(&self, rtp_bytes: usize) -> DataSize {
        DataSize::from_bytes((rtp_bytes + self.session.rtp_overhead() + self.ip_overhead()) as u64)
    }

    fn ip_overhead(&self) -> usize {
        if self.session.remote_addr().is_some_and(|addr| addr.is_ipv6()) { 48 } else { 28 }
    }

    /// A congestion report came from the subscriber. True if the link must be given less.
    pub(crate) fn on_feedback(&mut self, now: Timestamp, report: &Rtcp) -> bool {
        let outcomes = self.sent.on_feedback(now, report);
        if outcomes.is_empty() {
            return false;
        }
        if self.feedback == Some(Format::Ccfb) {
            self.rtt = self.sent.rtt().or(self.rtt);
        }
        let before = self.cc.estimate();
        self.cc.on_feedback(now, &outcomes, self.rtt);
        for outcome in &outcomes {
            if outcome.fate != Fate::Untold {
                self.losses.count(outcome.fate == Fate::Lost);
            }
        }
        let (loss, carries) = (self.losses.permille(), Some(self.cc.estimate()));
        self.slots.iter_mut().filter_map(|it| it.protection.as_mut()).for_each(|it| it.plan(loss, carries));
        self.judge(now);
        self.cc.estimate() < before || self.allocator.on_trial()
    }

    /// A report on one of our streams came from the subscriber.
    pub(crate) fn on_report(&mut self, now: Timestamp, block: &ReportBlock) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.config.ssrc == block.ssrc) else { return };
        if self.feedback.is_none()
            && let Some(protection) = &mut slot.protection
        {
            protection.plan(u32::from(block.fraction_lost) * 1000 / 256, None);
        }
        let rtt = slot.answered(now, block);
        // RFC 8888 tells it with every report, and better.
        if let Some(rtt) = rtt.filter(|_| self.feedback != Some(Format::Ccfb)) {
            self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        }
    }

    /// The newest round trip; none before the first is known.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt.unwrap_or_default()
    }

    fn judge(&mut self, now: Timestamp) {
        // Hold: a queue drains, or the controller tries whether the losses end with a lower rate. They can
        // only if that rate is kept to.
        if matches!(self.cc.state().reason, Reason::Delay | Reason::Loss | Reason::Hold) {
            self.congested = Some(now);
        }
        self.pace(now);
    }

    fn pace(&mut self, now: Timestamp) {
        if self.feedback.is_some() {
            let usual = self.cc.estimate().permille(PACING_PERMILLE);
            self.pacer.set_rate(now, self.probing.unwrap_or(usual));
        }
    }

    /// What the link carries; `None` if the peer gives no feedback.
    pub(crate) fn capacity(&self, now: Timestamp) -> Option<Capacity> {
        self.feedback?;
        let congested = self.congested.is_some_and(|at| now.since(at) < CONGESTION_MEMORY);
        let pressed = self.congested.is_some_and(|at| now.since(at) < PRESSURE_MEMORY);
        let bwe::State { on_trial: losing, loss_permille, acked, .. } = self.cc.state();
        Some(Capacity { estimate: self.cc.estimate(), acked, congested, pressed, losing, loss_permille })
    }

    /// The link has lately shown what it carries. An estimate that has not yet grown shows nothing.
    pub(crate) fn is_limited(&self, now: Timestamp) -> bool {
        self.congested.is_some_and(|at| now.since(at) < LIMIT_MEMORY)
    }

    /// What each of so many pictures may take of the estimate beside `audio`; `None` if the peer gives no feedback.
    pub(crate) fn share(&self, audio: Bitrate, pictures: u64) -> Option<Bitrate> {
        self.feedback?;
        // What is lost is sent again, twice.
        let repairs = 2 * u64::from(self.cc.state().loss_permille.min(200));
        let left = self.cc.estimate().permille(PICTURES_PERMILLE - repairs).saturating_sub(audio);
        Some(left / pictures.max(1))
    }

    /// Tells the publisher how fast the pictures of a track may be.
    pub(crate) fn advise(&mut self, now: Timestamp, track: usize, limit: Option<Bitrate>) {
        let Some(source) = self.tracks.get_mut(track).and_then(|track| track.source.as_mut()) else { return };
        if let Some(bitrate) = source.ceiling.poll(now, limit) {
            let remb = Rtcp::Remb { sender: self.ssrc, bitrate, ssrcs: vec![source.ssrc] };
            self.session.send_rtcp(now, rtcp::write(&[remb]));
        }
    }

    /// Does what is due, but for the turn.
    pub(crate) fn service(&mut self, now: Timestamp, out: &mut Outbox) {
        if self.session.deadline().is_some_and(|deadline| deadline <= now) {
            self.session.tick(now);
        }
        if !self.connected {
            return;
        }
        for track in &mut self.tracks {
            let Some(source) = &mut track.source else { continue };
            let media = source.ssrc;
            let seqs = source.nack(now, self.rtt);
            if !seqs.is_empty() {
                out.stats.requested += seqs.len() as u64;
                let nack = Rtcp::Nack { sender: self.ssrc, media, seqs };
                self.session.send_rtcp(now, rtcp::write(&[nack]));
            }
            if source.requests.poll(now) && track.config.pli {
                out.stats.key_frames_asked += 1;
                self.session.send_rtcp(now, rtcp::write(&[Rtcp::Pli { sender: self.ssrc, media }]));
            }
        }
        if let Some(report) = self.recorder.as_mut().and_then(|recorder| recorder.poll(now)) {
            self.session.send_rtcp(now, rtcp::write(&[report]));
        }
        self.pump(now);
    }

    /// True once per [`TURN`].
    pub(crate) fn turn_due(&mut self, now: Timestamp) -> bool {
        now >= self.next_turn
    }

    /// Rates are measured and the estimate looked at. True if a camera has just fallen silent.
    pub(crate) fn turn(&mut self, now: Timestamp) -> bool {
        self.next_turn = now + TURN;
        let mut fell_silent = false;
        for source in self.tracks.iter_mut().filter_map(|track| track.source.as_mut()) {
            fell_silent |= source.turn(now);
        }
        self.cc.on_tick(now);
        self.judge(now);
        let quarter = (self.cc.estimate() * TURN).as_bytes() / 4;
        self.resend_allowance = quarter.max(RESEND_FLOOR);
        fell_silent
    }

    /// True if it is time to report.
    pub(crate) fn report_due(&self, now: Timestamp) -> bool {
        self.connected && now >= self.next_report
    }

    /// The next reports leave at once: a source's dates have just become known.
    pub(crate) fn report_soon(&mut self, now: Timestamp) {
        self.next_report = now;
    }

    /// What came from the participant, for the reports to it.
    pub(crate) fn report_blocks(&mut self, now: Timestamp) -> Vec<ReportBlock> {
        let sources = self.tracks.iter_mut().filter_map(|track| track.source.as_mut());
        sources.map(|source| source.report_block(now)).collect()
    }

    /// Sends the reports that were made.
    pub(crate) fn report(&mut self, now: Timestamp, reports: &[Rtcp]) {
        let video = self.slots.iter().any(|slot| slot.config.kind == Kind::Video && slot.source().is_some())
            || self
                .tracks
                .iter()
                .any(|track| track.config.source.kind == Kind::Video && track.source.is_some());
        self.next_report = now + if video { REPORT_VIDEO } else { REPORT_AUDIO };
        for report in reports {
            if let Rtcp::SenderReport { ssrc, ntp, .. } = report
                && let Some(slot) = self.slots.iter_mut().find(|slot| slot.config.ssrc == *ssrc)
            {
                slot.reported(now, *ntp);
            }
        }
        // Some 28 bytes each: a room full of pictures takes more than one datagram.
        for reports in reports.chunks(32) {
            self.session.send_rtcp(now, rtcp::write(reports));
        }
    }

    /// A report with nothing sent.
    pub(crate) fn receiver_report(&self, blocks: Vec<ReportBlock>) -> Option<Rtcp> {
        (!blocks.is_empty()).then_some(Rtcp::ReceiverReport { ssrc: self.ssrc, blocks })
    }

    /// Tells the peer that our streams end.
    pub(crate) fn goodbye(&mut self, now: Timestamp) {
        if self.connected {
            let ssrcs = self.slots.iter().map(|slot| slot.config.ssrc).take(31).collect();
            self.session.send_rtcp(now, rtcp::write(&[Rtcp::Bye { ssrcs }]));
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Timestamp {
        let mut next = self.next_turn;
        let mut due = |at: Option<Timestamp>| next = at.map_or(next, |at| at.min(next));
        due(self.session.deadline());
        if self.connected {
            due(self.recorder.as_ref().and_then(Recorder::deadline));
            due(self.pacer.deadline());
            for source in self.tracks.iter().filter_map(|track| track.source.as_ref()) {
                due(source.deadline());
            }
        }
        next
    }

    /// When the pacer wants to go on, after packets were offered.
    pub(crate) fn pacing(&self) -> Option<Timestamp> {
        self.pacer.deadline()
    }

    /// Moves what the session says into the outbox.
    pub(crate) fn drain(&mut self, id: u32, out: &mut Outbox) {
        while let Some(output) = self.session.poll() {
            match output {
                session::Output::Transmit(transmit) => {
                    out.stats.datagrams_out += 1;
                    out.stats.bytes_out += transmit.bytes.len() as u64;
                    out.queue.push_back(Output::Transmit(transmit));
                }
                session::Output::Connected { .. } => {
                    self.connected = true;
                    out.connected.push(id);
                }
                session::Output::PathChanged(_) => self.cc.on_route_change(),
                session::Output::Failed(error) => out.failed.push((id, error)),
            }
        }
    }
}

/// A session for a participant: we are ICE-lite and wait for its DTLS handshake.
pub(crate) fn session(config: &Config, rng: &mut ChaCha12Rng) -> Session {
    use undertone_transport::dtls::Crypto;
    let mut seed = || {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        seed
    };
    let crypto = match config.crypto {
        Crypto::System => Crypto::System,
        Crypto::Seeded(base) => {
            let mut mixed = seed();
            mixed.iter_mut().zip(base).for_each(|(byte, base)| *byte ^= base);
            Crypto::Seeded(mixed)
        }
    };
    let mut session = Session::new(session::Config {
        role: undertone_transport::ice::Role::Lite,
        certificate: config.certificate.clone(),
        crypto,
        seed: seed(),
        connect_timeout: config.idle_timeout,
        idle_timeout: config.idle_timeout,
        anchor: config.anchor,
    });
    for address in &config.public_addrs {
        session.add_local_candidate(*address);
    }
    session
}
