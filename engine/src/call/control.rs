//! RTCP: what the two ends tell each other about the media.

use super::{Call, FIRST_RTT, Receiver};
use crate::Role;
use std::time::Duration;
use undertone_media::{Bitrate, Ssrc, Timestamp};
use undertone_transport::pacer::Priority;
use undertone_transport::rtcp::{self, PlayoutReport, Rtcp};

/// What our reports and feedback may cost beside the media.
pub(super) const FEEDBACK_ALLOWANCE: Bitrate = Bitrate::from_bps(1_500);

/// Between sender reports, once the listener has had two: they are small and change little.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// With video, lips depend on them; and where many are lost, one in a while must get through.
const REPORT_INTERVAL_VIDEO: Duration = Duration::from_secs(1);

const REPORTS_LOST: u16 = 200;
/// So much too early, one leaves with other news.
const REPORT_EARLY: Duration = Duration::from_millis(200);

/// A packet may be asked for twice in a row, and is then sent twice: a resend is as likely to be lost as the
/// packet was, and waiting another round trip would cost the listener all that delay all the time, and the
/// viewer a frozen picture.
const RESEND_PAUSE: Duration = Duration::from_millis(8);

/// What control traffic remembers.
#[derive(Debug, Default)]
pub(super) struct Control {
    rtt: Option<Duration>,
    next_report: Option<Timestamp>,
    reports: u64,
    /// How our speech plays out at the other end.
    pub(super) told: Option<PlayoutReport>,
    /// RTP packets that make no sense.
    pub(super) malformed: u64,
    /// RTP packets of streams that nobody announced.
    pub(super) unknown: u64,
}

impl Control {
    /// The newest round trip.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.next_report
    }
}

impl Call {
    pub(super) fn on_rtcp(&mut self, now: Timestamp, packets: Vec<Rtcp>) {
        for packet in packets {
            match &packet {
                Rtcp::SenderReport { ssrc, blocks, .. } => {
                    if let Some(&index) = self.sources.get(ssrc) {
                        match &mut self.slots[index].receiver {
                            Receiver::Audio(receiver) => receiver.stream.on_sender_report(now, &packet),
                            Receiver::Video(receiver) => receiver.stream.on_sender_report(now, &packet),
                            Receiver::Idle => {}
                        }
                    }
                    self.on_blocks(now, blocks);
                }
                Rtcp::ReceiverReport { blocks, .. } => self.on_blocks(now, blocks),
                Rtcp::Nack { media, seqs, .. } => self.resend(now, *media, seqs),
                Rtcp::Pli { media, .. } => self.want_key(now, *media),
                Rtcp::Fir { requests, .. } => {
                    requests.iter().for_each(|(media, _)| self.want_key(now, *media))
                }
                Rtcp::Twcc(_) | Rtcp::Ccfb(_) => {
                    self.path.on_feedback(now, &packet, self.control.rtt);
                    self.control.rtt = self.path.rtt().or(self.control.rtt);
                }
                Rtcp::Remb { bitrate, ssrcs, .. } => {
                    let camera = self.camera.as_mut();
                    if let Some(camera) = camera.filter(|camera| ssrcs.contains(&camera.stream.config().ssrc))
                    {
                        camera.limit(now, *bitrate);
                    }
                }
                Rtcp::Playout(report) => {
                    if self.speaker.as_ref().is_some_and(|it| it.stream.config().ssrc == report.media) {
                        self.control.told = Some(*report);
                    }
                }
                Rtcp::Bye { .. } | Rtcp::Other { .. } => {}
            }
        }
    }

    fn on_blocks(&mut self, now: Timestamp, blocks: &[rtcp::ReportBlock]) {
        let ntp = self.timing.ntp(now);
        if self.path.rtt().is_some() {
            return;
        }
        if let Some(rtt) = blocks.iter().find_map(|block| block.round_trip(ntp)) {
            self.control.rtt = Some(rtt);
        }
    }

    fn want_key(&mut self, now: Timestamp, media: Ssrc) {
        if let Some(camera) = &mut self.camera
            && camera.stream.config().ssrc == media
        {
            camera.on_key_request(now, self.control.rtt);
        }
    }

    fn resend(&mut self, now: Timestamp, media: Ssrc, seqs: &[u16]) {
        let copies = self.path.copies().answer;
        let rtt = self.control.rtt.unwrap_or(FIRST_RTT);
        let (stream, priority, copies) = match (&mut self.speaker, &mut self.camera) {
            (Some(speaker), _) if speaker.stream.config().ssrc == media => {
                (&mut speaker.stream, Priority::Audio, 1)
            }
            (_, Some(camera)) if camera.stream.config().ssrc == media => {
                (&mut camera.stream, Priority::Rtx, copies)
            }
            _ => return,
        };
        for &seq in seqs {
            // Viewers ask until the picture comes. What they ask for less than a round trip after it left may be on its
            // way.
            let pause = match priority {
                Priority::Audio => RESEND_PAUSE,
                _ => rtt + self.path.wait(now, priority),
            };
            let Some(again) = stream.resend(now, seq, pause) else { continue };
            let more = (1..copies).filter_map(|_| stream.copy(now, seq));
            for again in std::iter::once(again).chain(more) {
                self.resent += 1;
                self.path.enqueue(now, &self.session, priority, again.header, again.payload);
            }
        }
    }

    /// Sends the requests, feedback and reports that are due, in one datagram.
    pub(super) fn report(&mut self, now: Timestamp) {
        if !self.session.is_connected() {
            return;
        }
        // Where many are lost, a report may be the first to tell.
        if let Some(rtt) = self.session.stats().rtt.or(self.control.rtt) {
            self.path.on_round_trip(now, rtt);
            self.control.rtt = self.control.rtt.or(Some(rtt));
        }
        let rtt = self.control.rtt;
        let reporter = self.reporter();
        let mut packets = Vec::new();
        for slot in &mut self.slots {
            let stream = match &mut slot.receiver {
                Receiver::Idle => continue,
                Receiver::Audio(receiver) => {
                    receiver.settle();
                    &mut receiver.stream
                }
                Receiver::Video(receiver) => {
                    if receiver.ask_key(now) {
                        packets.push(Rtcp::Pli { sender: reporter, media: receiver.stream.config().ssrc });
                    }
                    &mut receiver.stream
                }
            };
            let seqs = stream.nack(now, rtt);
            if !seqs.is_empty() {
                packets.push(Rtcp::Nack { sender: reporter, media: stream.config().ssrc, seqs });
            }
        }
        // What leaves anyway pays the headers of what is almost due.
        let recorder = self.path.recorder.as_mut();
        let along = !packets.is_empty();
        packets.extend(recorder.and_then(|it| if along { it.poll_early(now) } else { it.poll(now) }));
        let soon = if packets.is_empty() { Duration::ZERO } else { REPORT_EARLY };
        if self.control.next_report.is_none_or(|due| due <= now + soon) && now >= self.quiet_until {
            let alone = packets.is_empty();
            self.sender_reports(now, &mut packets);
            let recorder = self.path.recorder.as_mut().filter(|_| alone && !packets.is_empty());
            packets.extend(recorder.and_then(|it| it.poll_early(now)));
        }
        if !packets.is_empty() {
            self.session.send_rtcp(now, rtcp::write(&packets));
        }
    }

    /// Who speaks in our reports.
    pub(super) fn reporter(&self) -> Ssrc {
        let audio = self.speaker.as_ref().map(|speaker| speaker.stream.config().ssrc);
        let video = self.camera.as_ref().map(|camera| camera.stream.config().ssrc);
        audio.or(video).unwrap_or(Ssrc(self.local.first_ssrc))
    }

    fn sender_reports(&mut self, now: Timestamp, packets: &mut Vec<Rtcp>) {
        let ntp = self.timing.ntp(now);
        let mut reports: Vec<Rtcp> = Vec::new();
        reports.extend(self.speaker.as_ref().and_then(|speaker| speaker.report(now, ntp)));
        reports.extend(self.camera.as_ref().and_then(|camera| camera.report(now, ntp)));
        let mut blocks = Vec::new();
        let mut playouts = Vec::new();
        let (direct, reporter) = (!matches!(self.config.role, Role::Join { .. }), self.reporter());
        for slot in &mut self.slots {
            let stream = match &mut slot.receiver {
                Receiver::Idle => continue,
                Receiver::Audio(receiver) => {
                    // Who sends our code reads our reports; a relay plays nothing out and plans no speech.
                    if direct && receiver.formats().rlc.is_some() && receiver.stream.stats().received > 0 {
                        playouts.push(Rtcp::Playout(receiver.playout_report(reporter)));
                    }
                    &mut receiver.stream
                }
                Receiver::Video(receiver) => &mut receiver.stream,
            };
            if stream.stats().received > 0 {
                blocks.push(stream.report_block(now));
            }
        }
        blocks.truncate(31);
        match reports.first_mut() {
            Some(Rtcp::SenderReport { blocks: own, .. }) => *own = blocks,
            _ if blocks.is_empty() => return,
            _ => reports.push(Rtcp::ReceiverReport { ssrc: self.reporter(), blocks }),
        }
        self.control.reports += 1;
        let wait = if self.control.reports < 3 {
            // The listener wants the first soon, and again in case it was lost.
            Duration::from_millis(500)
        } else if self.camera.is_some() || self.path.loss().permille >= REPORTS_LOST {
            REPORT_INTERVAL_VIDEO
        } else {
            REPORT_INTERVAL
        };
        self.control.next_report = Some(now + wait);
        reports.extend(playouts);
        packets.splice(0..0, reports);
    }
}
