//! What a call tells its owner, as C can hold it.

use crate::options::{UT_AUDIO, UT_MUSIC, UT_SPEECH, UT_VIDEO};
use crate::result::ut_result::{self, *};
use std::ffi::{CString, c_char};
use std::ptr;
use undertone_engine::{Event, Failure};
use undertone_io::ws::ConnectError;
use undertone_media::{Kind, Sound};

/// What happened. New kinds may come: ignore what you do not know.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ut_event_kind {
    /// The server let us in; participant is our own number.
    UT_EVENT_JOINED = 1,
    /// Who is in the room now: participants, the whole list.
    UT_EVENT_ROSTER = 2,
    /// Media flows; setup_ms says how long that took.
    UT_EVENT_CONNECTED = 3,
    /// Somebody else is heard or seen (media) in a slot: participant, or 0 for nobody.
    UT_EVENT_SLOT = 4,
    /// The call is over, as we or the server wanted. Always the last event.
    UT_EVENT_ENDED = 5,
    /// The call is over, as nobody wanted: code and text say why. Always the last event.
    UT_EVENT_FAILED = 6,
    /// Other sound is sent from now on: UT_SPEECH, because the path does not carry the music that was asked for (text
    /// says why), or UT_MUSIC again.
    UT_EVENT_SENDING = 7,
}

/// Somebody in the room.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ut_participant {
    /// Their number in this room, from 1.
    pub id: u32,
    /// What they send: UT_AUDIO, UT_VIDEO or both.
    pub sends: u32,
    /// Of that, what is muted; only UT_AUDIO is told.
    pub muted: u32,
    /// Their name (UTF-8). Not unique, and chosen by them: never trust it as markup.
    pub name: *const c_char,
}

/// Something that happened. Owned by the library: it and all that it points at is valid until the next
/// ut_call_poll or ut_call_free of the same call. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ut_event {
    /// What. The fields below have a meaning where the kind says so, else they are 0, empty or NULL.
    pub kind: ut_event_kind,
    /// Who.
    pub participant: u32,
    /// Which slot: its place among those for the same media.
    pub slot: u32,
    /// UT_AUDIO or UT_VIDEO.
    pub media: u32,
    /// From the first word to the server until media could flow, in milliseconds.
    pub setup_ms: u32,
    /// Why the call failed.
    pub code: ut_result,
    /// Whose fault that is and what to do, for people (UTF-8). Never NULL.
    pub text: *const c_char,
    /// How many participants follow.
    pub participant_count: usize,
    /// Who is in the room.
    pub participants: *const ut_participant,
    /// What is sent: UT_SPEECH or UT_MUSIC.
    pub sound: u32,
}

/// A reason, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: ut_result,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn system(error: impl std::fmt::Display) -> Fault {
        Fault { code: UT_SYSTEM, text: error.to_string() }
    }

    fn of(failure: &Failure) -> Fault {
        let code = match failure {
            Failure::Refused { .. } => UT_REFUSED,
            Failure::Unreachable(_) => UT_UNREACHABLE,
            Failure::Codec(_) => UT_MEDIA,
            _ => UT_PEER,
        };
        Fault { code, text: failure.to_string() }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Fault {
        let code = match error {
            ConnectError::BadUrl(_) => UT_BAD_URL,
            ConnectError::Tls(_) => UT_TLS,
            ConnectError::Unauthorized(_) => UT_REFUSED,
            _ => UT_UNREACHABLE,
        };
        Fault { code, text: error.to_string() }
    }
}

/// An event on its way from the worker to whoever polls.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Engine(Event),
    Failed(Fault),
}

/// A flag for a kind of media.
pub(crate) fn flag(kind: Kind) -> u32 {
    match kind {
        Kind::Audio => UT_AUDIO,
        Kind::Video => UT_VIDEO,
    }
}

/// The event polled last, with all that it points at.
pub(crate) struct Polled {
    event: ut_event,
    text: CString,
    names: Vec<CString>,
    participants: Vec<ut_participant>,
}

impl Polled {
    /// In a box of its own: C keeps its address.
    pub(crate) fn new(told: Told) -> Box<Polled> {
        let mut polled = Box::new(Polled {
            event: ut_event {
                kind: ut_event_kind::UT_EVENT_ENDED,
                participant: 0,
                slot: 0,
                media: 0,
                setup_ms: 0,
                code: UT_OK,
                text: ptr::null(),
                participant_count: 0,
                participants: ptr::null(),
                sound: 0,
            },
            text: CString::default(),
            names: Vec::new(),
            participants: Vec::new(),
        });
        polled.fill(told);
        let Polled { event, text, participants, .. } = &mut *polled;
        event.text = text.as_ptr();
        event.participant_count = participants.len();
        if !participants.is_empty() {
            event.participants = participants.as_ptr();
        }
        polled
    }

    fn fill(&mut self, told: Told) {
        let event = &mut self.event;
        match told {
            Told::Engine(Event::Joined { participant }) => {
                event.kind = ut_event_kind::UT_EVENT_JOINED;
                event.participant = participant;
            }
            Told::Engine(Event::Roster(roster)) => {
                event.kind = ut_event_kind::UT_EVENT_ROSTER;
                self.names = roster.iter().map(|it| c_text(&it.name)).collect();
                let all = roster.iter().zip(&self.names).map(|(it, name)| ut_participant {
                    id: it.id,
                    sends: u32::from(it.audio) * UT_AUDIO + u32::from(it.video) * UT_VIDEO,
                    muted: u32::from(it.muted) * UT_AUDIO,
                    name: name.as_ptr(),
                });
                self.participants = all.collect();
            }
            Told::Engine(Event::Slot(change)) => {
                event.kind = ut_event_kind::UT_EVENT_SLOT;
                event.participant = change.participant.unwrap_or(0);
                event.slot = change.slot as u32;
                event.media = flag(change.kind);
            }
            Told::Engine(Event::Connected { setup }) => {
                event.kind = ut_event_kind::UT_EVENT_CONNECTED;
                event.setup_ms = setup.as_millis() as u32;
            }
            Told::Engine(Event::Sending { sound, reason }) => {
                event.kind = ut_event_kind::UT_EVENT_SENDING;
                event.sound = match sound {
                    Sound::Speech => UT_SPEECH,
                    Sound::Music => UT_MUSIC,
                };
                self.text = c_text(reason.name());
            }
            Told::Engine(Event::Ended) => event.kind = ut_event_kind::UT_EVENT_ENDED,
            Told::Engine(Event::Failed(failure)) => self.fail(&Fault::of(&failure)),
            Told::Failed(fault) => self.fail(&fault),
        }
    }

    fn fail(&mut self, fault: &Fault) {
        self.event.kind = ut_event_kind::UT_EVENT_FAILED;
        self.event.code = fault.code;
        self.text = c_text(&fault.text);
    }

    pub(crate) fn event(&self) -> *const ut_event {
        &raw const self.event
    }
}

/// Names come from the network: a NUL in one ends it nowhere, it is left out.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use undertone_engine::Participant;

    #[test]
    #[allow(unsafe_code)] // What C does.
    fn a_roster_points_at_names_that_live_as_long_as_it() {
        let participant =
            |id, name: &str| Participant { id, name: name.into(), audio: true, video: false, muted: id == 2 };
        let polled =
            Polled::new(Told::Engine(Event::Roster(vec![participant(1, "Ada"), participant(2, "B\0b")])));
        // SAFETY: `polled` is alive.
        let event = unsafe { &*polled.event() };
        // SAFETY: the same.
        let all = unsafe { std::slice::from_raw_parts(event.participants, event.participant_count) };
        // SAFETY: the same.
        let names: Vec<_> = all.iter().map(|it| unsafe { CStr::from_ptr(it.name) }).collect();
        assert_eq!(names, [c"Ada", c"Bb"]);
        assert_eq!((all[1].id, all[1].sends, all[1].muted), (2, UT_AUDIO, UT_AUDIO));
    }

    #[test]
    fn what_is_sent_is_told_with_its_reason() {
        let reason = undertone_engine::adapt::Reason::Scarce;
        let polled = Polled::new(Told::Engine(Event::Sending { sound: Sound::Speech, reason }));
        assert_eq!((polled.event.kind, polled.event.sound), (ut_event_kind::UT_EVENT_SENDING, UT_SPEECH));
        assert_eq!(polled.text.as_c_str(), c"scarce");
    }

    #[test]
    fn a_failure_keeps_its_fault() {
        let refused = Failure::Refused { message: "no".into(), hint: String::new() };
        let polled = Polled::new(Told::Engine(Event::Failed(refused)));
        assert_eq!((polled.event.kind, polled.event.code), (ut_event_kind::UT_EVENT_FAILED, UT_REFUSED));
        assert_eq!(polled.text.as_c_str(), c"the server refused: no");
        assert_eq!(Fault::from(ConnectError::Unreachable("x".into())).code, UT_UNREACHABLE);
        assert_eq!(Fault::from(ConnectError::Tls("x".into())).code, UT_TLS);
    }
}
