//! The hot path: a packet in, the rewritten packets out.
//!
//! Why: an SFU does little else, fifty times for each packet that comes in. A packet is read once; each
//! subscriber costs a look at its slot, one allocation, a header and the seal.
//!
//! Also what comes back: reports, requests for packets and for key frames, and the quarter-second turn that
//! judges each subscriber's link.

use crate::allocate::Demand;
use crate::ceiling;
use crate::link::Arrival;
use crate::outbox::Outbox;
use crate::outgoing::{Outgoing, Verdict};
use crate::rewrite::SourceId;
use crate::room::Room;
use crate::source::{Relayed, Source};
use std::sync::Arc;
use undertone_media::{Bitrate, Kind, SeqNo, Ssrc, Timestamp};
use undertone_transport::bwe::Wanted;
use undertone_transport::rtcp::{self, Rtcp};

/// The slowest picture that a publisher is asked for.
const LEAST_PICTURE: Bitrate = Bitrate::from_kbps(200);

/// So much of what all pictures take a link is asked for while some are paused, in thousandths: they change.
const WANTED_PERMILLE: u64 = 1_300;

impl Room {
    /// A decrypted RTP packet came from participant `at`.
    pub(crate) fn on_rtp(&mut self, now: Timestamp, at: usize, packet: &[u8], out: &mut Outbox) {
        let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) else { return };
        if let Some(arrival) = link.read(now, packet, out) {
            if arrival.news {
                self.introduce(now, at, &arrival, out);
            }
            self.listen(now, &arrival.packet, out);
            self.relay(now, at, arrival.track, &arrival.packet, out);
            for packet in &arrival.more {
                self.relay(now, at, arrival.track, packet, out);
            }
        }
        self.serve(now, at, out);
    }

    /// A source has begun.
    fn introduce(&mut self, now: Timestamp, at: usize, arrival: &Arrival, out: &mut Outbox) {
        let id = arrival.packet.source;
        let is_audio =
            self.participants[at].sources().any(|source| source.id == id && source.kind == Kind::Audio);
        if is_audio && self.speakers.ranking().all(|known| known != id) {
            self.speakers.add(id);
        }
        self.announce(out);
        self.arrange(now, out);
    }

    /// Notes how loud a packet is, and gives a new speaker the floor.
    fn listen(&mut self, now: Timestamp, packet: &Relayed, out: &mut Outbox) {
        let Some(level) = packet.ext.audio_level else { return };
        let place = self.speakers.hear(now, packet.source, level.level, level.voice);
        // A speaker hears the one behind the others' last, in place of itself.
        if place.is_some_and(|place| place <= self.audible) {
            self.arrange(now, out);
        }
    }

    /// Offers a packet to everybody whose slot its source is in.
    fn relay(&mut self, now: Timestamp, at: usize, track: usize, packet: &Arc<Relayed>, out: &mut Outbox) {
        let Some(source) = self.source_at(at, track) else { return };
        let routes = std::mem::take(&mut source.routes);
        let mut started = Vec::new();
        let mut needs_key = false;
        for &(to, slot) in &routes {
            match self.offer(now, to, slot, packet, out) {
                Some(Verdict::Start(_)) => started.push((to, slot)),
                Some(Verdict::NeedsKey) => needs_key = true,
                _ => {}
            }
        }
        let Some(source) = self.source_at(at, track) else { return };
        source.routes = routes;
        if needs_key {
            source.requests.want();
        }
        if !started.is_empty() {
            // Packets that overtook the first one were withheld: they follow it.
            let later: Vec<Arc<Relayed>> = source.cached_after(packet.seq).cloned().collect();
            for packet in &later {
                for &(to, slot) in &started {
                    self.offer(now, to, slot, packet, out);
                }
            }
        }
    }

    /// Offers a packet to one slot of one subscriber.
    fn offer(
        &mut self,
        now: Timestamp,
        to: usize,
        slot: usize,
        packet: &Arc<Relayed>,
        out: &mut Outbox,
    ) -> Option<Verdict> {
        let subscriber = self.participants.get_mut(to)?;
        let link = subscriber.link.as_mut()?;
        let verdict = link.offer(now, slot, packet, out);
        link.drain(subscriber.id, out);
        if let Some(deadline) = link.pacing() {
            out.wake.push((subscriber.id, deadline));
        }
        Some(verdict)
    }

    fn source_at(&mut self, at: usize, track: usize) -> Option<&mut Source> {
        self.participants.get_mut(at)?.link.as_mut()?.tracks.get_mut(track)?.source.as_mut()
    }

    /// The source of that number, wherever it is; the owner's index is tried first.
    fn find_source(&self, owner: Option<u32>, id: SourceId) -> Option<(usize, &Source)> {
        let likely = owner.and_then(|owner| self.index(owner));
        let all = likely.into_iter().chain(0..self.participants.len());
        all.filter_map(|at| Some((at, self.participants.get(at)?.sources().find(|source| source.id == id)?)))
            .next()
    }

    /// Decrypted RTCP came from participant `at`.
    pub(crate) fn on_rtcp(&mut self, now: Timestamp, at: usize, datagram: &[u8], out: &mut Outbox) {
        let mut wanted = Vec::new();
        for packet in rtcp::parse(datagram) {
            let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) else { return };
            match &packet {
                Rtcp::SenderReport { ssrc, blocks, .. } => {
                    for block in blocks {
                        link.on_report(now, block);
                    }
                    let sources = link.tracks.iter_mut().filter_map(|track| track.source.as_mut());
                    for source in sources.filter(|source| source.ssrc == *ssrc) {
                        source.on_sender_report(now, &packet);
                    }
                }
                Rtcp::ReceiverReport { blocks, .. } => {
                    for block in blocks {
                        link.on_report(now, block);
                    }
                }
                Rtcp::Nack { media, seqs, .. } => self.on_nack(now, at, *media, seqs, out),
                Rtcp::Pli { media, .. } => wanted.extend(self.wants_key(at, *media)),
                Rtcp::Fir { requests, .. } => {
                    wanted.extend(requests.iter().filter_map(|&(media, _)| self.wants_key(at, media)));
                }
                Rtcp::Twcc(_) | Rtcp::Ccfb(_) => {
                    // At once: the estimator watches whether a lower rate ends the trouble.
                    if link.on_feedback(now, &packet) {
                        self.allocate(now, at, out);
                    }
                }
                Rtcp::Remb { .. } | Rtcp::Playout(_) | Rtcp::Bye { .. } | Rtcp::Other { .. } => {}
            }
        }
        out.stats.key_frames_wanted += wanted.len() as u64;
        wanted.retain(|&source| !self.key_crossed(now, at, source));
        self.ask_keys(now, &wanted, out);
        self.serve(now, at, out);
    }

    /// Whose key frame a subscriber asks for.
    fn wants_key(&self, at: usize, media: Ssrc) -> Option<(u32, SourceId)> {
        let link = self.participants.get(at)?.link.as_ref()?;
        link.slots.iter().find(|slot| slot.config.ssrc == media)?.source()
    }

    /// A key frame of the source is on its way to participant `at`, who cannot know yet.
    fn key_crossed(&self, now: Timestamp, at: usize, (owner, id): (u32, SourceId)) -> bool {
        let link = self.participants.get(at).and_then(|p| p.link.as_ref());
        let source = self.find_source(Some(owner), id);
        link.zip(source).is_some_and(|(link, (_, source))| source.requests.crossed(now, link.rtt()))
    }

    /// A subscriber asks for packets again.
    fn on_nack(&mut self, now: Timestamp, at: usize, media: Ssrc, seqs: &[u16], out: &mut Outbox) {
        let link = self.participants.get(at).and_then(|p| p.link.as_ref());
        let Some((link, slot)) =
            link.and_then(|link| Some((link, link.slots.iter().position(|s| s.config.ssrc == media)?)))
        else {
            return;
        };
        out.stats.nacked += seqs.len() as u64;
        if link.slots[slot].config.repeats() {
            let link = self.participants.get_mut(at).and_then(|p| p.link.as_mut());
            out.stats.resent += link.map_or(0, |link| link.repeat(now, slot, seqs));
            return;
        }
        let owner = link.slots[slot].source().map(|(owner, _)| owner);
        let origins: Vec<(SourceId, SeqNo)> =
            seqs.iter().filter_map(|&seq| link.slots[slot].origin(seq)).collect();
        for (id, seq) in origins {
            let Some(packet) =
                self.find_source(owner, id).and_then(|(_, source)| source.cached(seq)).cloned()
            else {
                continue;
            };
            let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) else { return };
            out.stats.resent += u64::from(link.resend(now, slot, &packet));
        }
    }

    /// The quarter-second turn of participant `at`.
    pub(crate) fn turn(&mut self, now: Timestamp, at: usize, out: &mut Outbox) {
        let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) else { return };
        if link.turn_due(now) {
            if link.turn(now) {
                self.arrange(now, out);
            }
            self.allocate(now, at, out);
            self.advise(now, at);
        }
        self.date_slots(now, at);
        self.report(now, at);
    }

    /// Stops and resumes a subscriber's pictures as its link allows.
    fn allocate(&mut self, now: Timestamp, at: usize, out: &mut Outbox) {
        let Some(link) = self.participants.get(at).and_then(|p| p.link.as_ref()) else { return };
        let Some(capacity) = link.capacity(now).filter(|_| link.connected) else { return };
        let mut audio = Bitrate::ZERO;
        let mut slots = Vec::new();
        let mut demands = Vec::new();
        for (at, slot) in link.slots.iter().enumerate() {
            let Some((owner, id)) = slot.source() else { continue };
            let rate = self.find_source(Some(owner), id).map_or(Bitrate::ZERO, |(_, source)| source.rate());
            if slot.config.kind == Kind::Audio {
                audio += rate;
            } else {
                slots.push(at);
                demands.push(Demand { rate, playing: slot.playing() });
            }
        }
        if demands.is_empty() {
            return;
        }
        let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) else { return };
        let (share, limited) = (link.share(audio, demands.len() as u64), link.is_limited(now));
        for (&slot, demand) in slots.iter().zip(&demands) {
            if let Some(slot) = link.slots.get_mut(slot) {
                slot.limit =
                    share.and_then(|share| ceiling::limit(share, demand.rate, limited || !demand.playing));
            }
        }
        let play = link.allocator.allocate(now, capacity, audio, &demands);
        // What is paused comes back when the link is found to carry it: with sound alone it never shows that.
        let paused = play.iter().any(|play| !play);
        let all = audio + demands.iter().map(|demand| demand.rate).sum::<Bitrate>();
        link.want(if paused { Wanted::Whole(all.permille(WANTED_PERMILLE)) } else { Wanted::Enough });
        let mut wanted = Vec::new();
        let mut changed = false;
        for (&slot, &play) in slots.iter().zip(&play) {
            let Some(slot) = link.slots.get_mut(slot) else { continue };
            changed |= slot.playing() != play;
            if slot.play(play) {
                wanted.extend(slot.source());
            }
        }
        self.ask_keys(now, &wanted, out);
        if changed {
            self.tell_slots(out);
        }
    }

    /// Tells participant `at` how fast its pictures may be: as the weakest link that gets them allows, but
    /// never so slow that they are of no use to all others. A link that cannot carry even that goes without; where
    /// nobody else gets them, they wait for it as slow as that.
    fn advise(&mut self, now: Timestamp, at: usize) {
        let tracks =
            self.participants.get(at).and_then(|p| p.link.as_ref()).map_or(0, |link| link.tracks.len());
        for track in 0..tracks {
            let Some(source) = self.source_at(at, track).filter(|source| source.kind == Kind::Video) else {
                continue;
            };
            let routes = std::mem::take(&mut source.routes);
            let slots = || {
                routes
                    .iter()
                    .filter_map(|&(to, slot)| self.participants.get(to)?.link.as_ref()?.slots.get(slot))
            };
            let watched = slots().any(Outgoing::playing);
            let limits = slots().filter_map(|slot| {
                let limit = slot.limit?;
                (slot.playing() || limit >= LEAST_PICTURE || !watched).then_some(limit.max(LEAST_PICTURE))
            });
            let limit = limits.min();
            if let Some(source) = self.source_at(at, track) {
                source.routes = routes;
            }
            if let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) {
                link.advise(now, track, limit);
            }
        }
    }

    /// Reports at once when a slot's dates have become known: lips are in sync from then on.
    fn date_slots(&mut self, now: Timestamp, at: usize) {
        let Some(link) = self.participants.get(at).and_then(|p| p.link.as_ref()) else { return };
        let known: Vec<usize> = (0..link.slots.len())
            .filter(|&slot| !link.slots[slot].dated && self.sender_report(now, at, slot).is_some())
            .collect();
        if known.is_empty() {
            return;
        }
        let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) else { return };
        for slot in known {
            link.slots[slot].dated = true;
        }
        link.report_soon(now);
    }

    fn sender_report(&self, now: Timestamp, at: usize, slot: usize) -> Option<Rtcp> {
        let slot = self.participants.get(at)?.link.as_ref()?.slots.get(slot)?;
        let (owner, id) = slot.source()?;
        let (_, source) = self.find_source(Some(owner), id)?;
        slot.sender_report(now, source)
    }

    /// Sender and receiver reports to participant `at`, if they are due.
    fn report(&mut self, now: Timestamp, at: usize) {
        let Some(link) = self.participants.get(at).and_then(|p| p.link.as_ref()) else { return };
        if !link.report_due(now) {
            return;
        }
        let slots = 0..link.slots.len();
        let mut reports: Vec<Rtcp> = slots.filter_map(|slot| self.sender_report(now, at, slot)).collect();
        let Some(link) = self.participants.get_mut(at).and_then(|p| p.link.as_mut()) else { return };
        let received = link.report_blocks(now);
        match reports.first_mut() {
            Some(Rtcp::SenderReport { blocks, .. }) => *blocks = received,
            _ => reports.extend(link.receiver_report(received)),
        }
        link.report(now, &reports);
    }
}
