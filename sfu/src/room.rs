//! A room: who is in it, and who is in whose slot.
//!
//! Why: everything that concerns more than one participant happens here. Participants are kept in the order
//! in which they joined, which is the roster's order and the order of video slots.
//!
//! Not here: packets (`forward`), tokens and channels (`join`, `sfu`).

use crate::link::Link;
use crate::outbox::Outbox;
use crate::rewrite::SourceId;
use crate::slots::{Speakers, assign};
use crate::source::Source;
use std::collections::BTreeMap;
use undertone_media::{Kind, Timestamp};
use undertone_signaling::message::{self, MediaKind};

/// Somebody in a room.
pub(crate) struct Participant {
    pub(crate) id: u32,
    pub(crate) channel: u64,
    pub(crate) name: String,
    pub(crate) publish: bool,
    pub(crate) subscribe: bool,
    pub(crate) joined: Timestamp,
    pub(crate) muted: bool,
    pub(crate) video_muted: bool,
    /// Since its offer.
    pub(crate) link: Option<Link>,
    /// When the machine will next look at it.
    pub(crate) wake: Timestamp,
    /// What it was last told of its slots.
    told: Vec<message::Slot>,
}

impl Participant {
    pub(crate) fn new(now: Timestamp, id: u32, channel: u64, name: String) -> Participant {
        Participant {
            id,
            channel,
            name,
            publish: true,
            subscribe: true,
            joined: now,
            muted: false,
            video_muted: false,
            link: None,
            wake: now,
            told: Vec::new(),
        }
    }

    /// All that it publishes.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.link.iter().flat_map(|link| &link.tracks).filter_map(|track| track.source.as_ref())
    }

    pub(crate) fn sources_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        self.link.iter_mut().flat_map(|link| &mut link.tracks).filter_map(|track| track.source.as_mut())
    }

    fn is_muted(&self, kind: Kind) -> bool {
        match kind {
            Kind::Audio => self.muted,
            Kind::Video => self.video_muted,
        }
    }

    /// When anything authentic came last: since it joined, if nothing has.
    pub(crate) fn heard(&self) -> Timestamp {
        self.link.as_ref().map_or(self.joined, |link| link.heard)
    }

    /// How the others see it.
    pub(crate) fn card(&self) -> message::Participant {
        let sends = |kind| self.sources().any(|source| source.kind == kind);
        message::Participant {
            id: self.id,
            name: self.name.clone(),
            audio: sends(Kind::Audio),
            video: sends(Kind::Video),
            muted: self.muted,
            video_muted: self.video_muted,
        }
    }
}

/// A room.
pub(crate) struct Room {
    pub(crate) name: String,
    /// In the order of their numbers.
    pub(crate) participants: Vec<Participant>,
    pub(crate) speakers: Speakers,
    /// The most audio slots that a participant has: who ranks behind that many is heard by nobody.
    pub(crate) audible: usize,
    next_id: u32,
}

impl Room {
    pub(crate) fn new(name: String) -> Room {
        Room { name, participants: Vec::new(), speakers: Speakers::default(), audible: 0, next_id: 1 }
    }

    /// Lets somebody in. Numbers are never used twice.
    pub(crate) fn enter(&mut self, now: Timestamp, channel: u64, name: String) -> &mut Participant {
        let id = self.next_id;
        self.next_id += 1;
        let name = if name.is_empty() { format!("Guest {id}") } else { name };
        self.participants.push(Participant::new(now, id, channel, name));
        let last = self.participants.len() - 1;
        &mut self.participants[last]
    }

    /// Where a participant is in the list.
    pub(crate) fn index(&self, id: u32) -> Option<usize> {
        self.participants.binary_search_by_key(&id, |participant| participant.id).ok()
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Participant> {
        let at = self.index(id)?;
        self.participants.get_mut(at)
    }

    /// Everybody's card.
    pub(crate) fn cards(&self) -> Vec<message::Participant> {
        self.participants.iter().map(Participant::card).collect()
    }

    /// Tells everybody who is there.
    pub(crate) fn announce(&self, out: &mut Outbox) {
        let roster = message::Roster { participants: self.cards() };
        for participant in &self.participants {
            out.signal(participant.channel, roster.clone());
        }
    }

    /// Puts sources into slots after anything changed, and tells those whom it concerns.
    pub(crate) fn arrange(&mut self, now: Timestamp, out: &mut Outbox) {
        let mut owners: BTreeMap<SourceId, (u32, usize)> = BTreeMap::new();
        let mut cameras = Vec::new();
        for (at, participant) in self.participants.iter().enumerate() {
            for source in participant.sources() {
                owners.insert(source.id, (participant.id, at));
                if source.kind == Kind::Video && !source.stale && !participant.video_muted {
                    cameras.push((source.id, participant.id, source.codec()));
                }
            }
        }
        self.speakers.retain(|source| owners.contains_key(&source));
        let speakers: Vec<SourceId> = self.speakers.ranking().collect();

        let mut wanted_keys = Vec::new();
        let mut routes: BTreeMap<SourceId, Vec<(usize, usize)>> = BTreeMap::new();
        self.audible = 0;
        for (at, participant) in self.participants.iter_mut().enumerate() {
            let id = participant.id;
            let Some(link) = &mut participant.link else { continue };
            for kind in [Kind::Audio, Kind::Video] {
                let slots: Vec<usize> =
                    (0..link.slots.len()).filter(|&slot| link.slots[slot].config.kind == kind).collect();
                let Some(&first) = slots.first() else { continue };
                let codec = link.slots[first].config.codec;
                let wanted: Vec<SourceId> = match kind {
                    Kind::Audio => {
                        self.audible = self.audible.max(slots.len());
                        let others = speakers.iter().filter(|source| owners[source].0 != id);
                        others.copied().take(slots.len()).collect()
                    }
                    Kind::Video => {
                        let others = cameras.iter().filter(|camera| camera.1 != id && camera.2 == codec);
                        others.map(|camera| camera.0).take(slots.len()).collect()
                    }
                };
                let current: Vec<Option<SourceId>> =
                    slots.iter().map(|&slot| link.slots[slot].source().map(|(_, source)| source)).collect();
                for (&slot, source) in slots.iter().zip(assign(&current, &wanted)) {
                    let source = source.map(|source| (owners[&source].0, source));
                    if link.slots[slot].set_source(source) && link.connected {
                        wanted_keys.extend(source);
                    }
                    if let Some((_, source)) = source {
                        routes.entry(source).or_default().push((at, slot));
                    }
                }
            }
        }
        for participant in &mut self.participants {
            for source in participant.sources_mut() {
                source.routes = routes.remove(&source.id).unwrap_or_default();
            }
        }
        self.ask_keys(now, &wanted_keys, out);
        self.tell_slots(out);
    }

    /// Tells participants who is in their slots, if that changed.
    pub(crate) fn tell_slots(&mut self, out: &mut Outbox) {
        let muted: BTreeMap<u32, [bool; 2]> = self
            .participants
            .iter()
            .map(|p| (p.id, [Kind::Audio, Kind::Video].map(|k| p.is_muted(k))))
            .collect();
        for participant in &mut self.participants {
            let Some(link) = &participant.link else { continue };
            let filled = link.slots.iter().filter_map(|slot| Some((slot, slot.source()?.0)));
            let slots: Vec<message::Slot> = filled
                .map(|(slot, owner)| {
                    let muted = muted.get(&owner).is_some_and(|muted| muted[slot.config.kind as usize]);
                    message::Slot {
                        mid: slot.config.mid.clone(),
                        participant: owner,
                        kind: MediaKind::from(slot.config.kind).into(),
                        active: !muted && slot.playing(),
                    }
                })
                .collect();
            if slots != participant.told {
                participant.told.clone_from(&slots);
                out.signal(participant.channel, message::Slots { slots });
            }
        }
    }

    /// Asks publishers for key frames of these sources.
    pub(crate) fn ask_keys(&mut self, now: Timestamp, wanted: &[(u32, SourceId)], out: &mut Outbox) {
        for &(owner, id) in wanted {
            let Some(at) = self.index(owner) else { continue };
            if let Some(source) = self.participants[at].sources_mut().find(|source| source.id == id) {
                source.requests.want();
            }
            self.serve(now, at, out);
        }
    }

    /// Asks for the key frames that a participant's slots wait for: it has just been connected.
    pub(crate) fn ask_awaited(&mut self, now: Timestamp, at: usize, out: &mut Outbox) {
        let link = self.participants.get(at).and_then(|participant| participant.link.as_ref());
        let slots = link.into_iter().flat_map(|link| &link.slots);
        let wanted: Vec<_> = slots.filter(|slot| slot.needs_key()).filter_map(|slot| slot.source()).collect();
        self.ask_keys(now, &wanted, out);
    }

    /// Does what is due for a participant, and puts what it has to send into the outbox.
    pub(crate) fn serve(&mut self, now: Timestamp, at: usize, out: &mut Outbox) {
        let Some(participant) = self.participants.get_mut(at) else { return };
        let id = participant.id;
        let Some(link) = &mut participant.link else { return };
        link.service(now, out);
        link.drain(id, out);
        out.wake.push((id, link.deadline()));
    }
}
