//! What the app's threads and the worker share: rings of sound, the newest pictures, events, wishes.
//!
//! Why rings without locks: an audio callback must never wait for a thread that decodes a picture. The
//! other locks are held for a move of a few words and never while coding.

use crate::event::Told;
use crate::stats::ut_stats;
use crossbeam::queue::ArrayQueue;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use undertone_io::Clock;
use undertone_media::{SampleRate, VideoFrame};

/// Room for 10 ms of sound, of which as much is used as the rate says.
pub(crate) type Frame = [i16; SampleRate::Full.frame()];
/// Nothing.
pub(crate) const SILENCE: Frame = [0; SampleRate::Full.frame()];

/// Sound that a ring holds at most: 320 ms. What is older than that is of no use in a conversation.
const RING_FRAMES: usize = 32;
/// Events that wait at most; the oldest give way, since each roster replaces the one before.
const EVENTS: usize = 256;
/// Pictures that wait at most, one for each participant.
const PICTURES: usize = 64;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Made, not joined.
    New,
    /// The worker waits for TCP and TLS: nothing has been said yet that would need a goodbye.
    Connecting,
    /// The loop runs.
    Talking,
    /// The worker is done.
    Over,
}

pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// Of what is pushed and pulled.
    pub(crate) rate: SampleRate,
    /// From [`Shared::push`] to the worker.
    pub(crate) microphone: ArrayQueue<Frame>,
    /// From the worker to [`Shared::pull`].
    pub(crate) speaker: ArrayQueue<Frame>,
    /// The most frames that one pull asked for: so many must wait in the speaker's ring.
    pub(crate) appetite: AtomicUsize,
    /// Pulls so far; the worker sees by it whether anybody listens.
    pub(crate) pulls: AtomicU64,
    /// Frames that the speaker's ring lacked, and that the microphone's could not hold.
    pub(crate) missing: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// The newest picture of our camera.
    pub(crate) camera: Mutex<Option<VideoFrame>>,
    /// The newest picture of each participant.
    screen: Mutex<BTreeMap<u32, VideoFrame>>,
    events: Mutex<VecDeque<Told>>,
    pub(crate) stats: Mutex<ut_stats>,
    /// Flags of what is muted.
    pub(crate) muted: AtomicU32,
    pub(crate) leaving: AtomicBool,
    phase: AtomicU8,
}

impl Shared {
    pub(crate) fn new(rate: SampleRate) -> Shared {
        Shared {
            clock: Clock::new(),
            rate,
            microphone: ArrayQueue::new(RING_FRAMES),
            speaker: ArrayQueue::new(RING_FRAMES),
            appetite: AtomicUsize::new(1),
            pulls: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            camera: Mutex::default(),
            screen: Mutex::default(),
            events: Mutex::default(),
            stats: Mutex::default(),
            muted: AtomicU32::new(0),
            leaving: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::New as u8),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::New,
            1 => Phase::Connecting,
            2 => Phase::Talking,
            _ => Phase::Over,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// False if the call was joined before.
    pub(crate) fn begin(&self) -> bool {
        let (new, connecting) = (Phase::New as u8, Phase::Connecting as u8);
        self.phase.compare_exchange(new, connecting, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes sound from the microphone; whole frames only. The oldest gives way to the newest.
    pub(crate) fn push(&self, pcm: &[i16]) {
        for pcm in pcm.chunks_exact(self.rate.frame()) {
            let mut frame = SILENCE;
            frame[..pcm.len()].copy_from_slice(pcm);
            if self.microphone.force_push(frame).is_some() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Fills `pcm` for the speaker, with silence where there is nothing.
    pub(crate) fn pull(&self, pcm: &mut [i16]) {
        let frames = pcm.chunks_exact_mut(self.rate.frame());
        let running = self.phase() == Phase::Talking;
        self.appetite.fetch_max(frames.len().min(RING_FRAMES / 2), Ordering::Relaxed);
        for pcm in frames {
            match self.speaker.pop() {
                Some(frame) => pcm.copy_from_slice(&frame[..pcm.len()]),
                None => {
                    // Before the loop runs there is nothing to miss.
                    self.missing.fetch_add(u64::from(running), Ordering::Relaxed);
                    pcm.fill(0);
                }
            }
        }
        self.pulls.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn show(&self, participant: u32, picture: VideoFrame) {
        let mut screen = lock(&self.screen);
        screen.insert(participant, picture);
        if screen.len() > PICTURES {
            screen.pop_first();
        }
    }

    pub(crate) fn picture(&self) -> Option<(u32, VideoFrame)> {
        lock(&self.screen).pop_first()
    }

    pub(crate) fn tell(&self, told: Told) {
        let mut events = lock(&self.events);
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(told);
    }

    pub(crate) fn told(&self) -> Option<Told> {
        lock(&self.events).pop_front()
    }
}

/// A panic elsewhere does not make the words behind a lock unreadable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = SampleRate::Wide.frame();

    /// A frame that begins with a step of this.
    fn frame(sample: i16) -> Frame {
        std::array::from_fn(|n| if n < STEP { sample } else { 0 })
    }

    #[test]
    fn a_microphone_nobody_empties_keeps_the_newest_sound() {
        let shared = Shared::new(SampleRate::Wide);
        for n in 0..RING_FRAMES as i16 + 3 {
            shared.push(&[n; STEP]);
        }
        assert_eq!(shared.microphone.pop(), Some(frame(3)));
        assert_eq!(shared.dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_speaker_that_asks_too_early_gets_silence_and_is_counted() {
        let shared = Shared::new(SampleRate::Wide);
        shared.pull(&mut [0; STEP]);
        shared.set_phase(Phase::Talking);
        let _ = shared.speaker.push(frame(5));
        let mut pcm = [1; 2 * STEP];
        shared.pull(&mut pcm);
        assert_eq!((pcm[0], pcm[159], pcm[160], pcm[319]), (5, 5, 0, 0));
        assert_eq!(shared.missing.load(Ordering::Relaxed), 1);
        assert_eq!(shared.appetite.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_last_event_outlives_a_flood() {
        let shared = Shared::new(SampleRate::Wide);
        for participant in 0..2 * EVENTS as u32 {
            shared.tell(Told::Engine(undertone_engine::Event::Joined { participant }));
        }
        shared.tell(Told::Engine(undertone_engine::Event::Ended));
        let all: Vec<_> = std::iter::from_fn(|| shared.told()).collect();
        assert_eq!(all.len(), EVENTS);
        assert!(matches!(all.last(), Some(Told::Engine(undertone_engine::Event::Ended))));
    }
}
