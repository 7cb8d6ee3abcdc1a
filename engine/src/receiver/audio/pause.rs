//! What a pause sounds like.
//!
//! Why: who sends nothing while nobody speaks (DTX, RFC 7587 §3.1.3) leaves the listener without the room behind the voice.
//! Digital silence in its place sounds as if the line were dead; so the background is remembered while it is heard, and
//! goes on ([`undertone_codec::noise`]). A muted microphone is silence, and so is a peer who is gone.

use super::{AudioReceiver, Origin};
use std::time::Duration;
use undertone_codec::level::Vad;
use undertone_codec::noise::ComfortNoise;
use undertone_codec::opus;
use undertone_jitter::Stretch;
use undertone_media::{Packet, SampleRate};

/// Who pauses tells of the background every 400 ms. If nothing was heard of it for so long, the pause is no pause…
const LONGEST: Duration = Duration::from_millis(1_500);
/// …and its noise fades within this, as it does once the speaker is muted.
const FADE: Duration = Duration::from_millis(200);

/// A packet no longer than this holds no speech: the sender pauses (RFC 7587 §3.1.3).
pub(super) const PAUSE_BYTES: usize = 2;

/// Listens to the background, and continues it.
#[derive(Debug)]
pub(super) struct Background {
    rate: SampleRate,
    noise: ComfortNoise,
    vad: Vad,
    /// What was played last was real, or the pause after it.
    holds: bool,
    /// The newest packet says that the speaker is muted.
    muted: bool,
    /// Samples of noise since something was heard of the background.
    made: usize,
    /// What was played last is noise.
    pub(super) filling: bool,
}

impl Background {
    /// Has heard nothing yet, and makes silence until it has.
    pub(super) fn new(rate: SampleRate, seed: u32) -> Background {
        Background {
            rate,
            noise: ComfortNoise::new(rate, seed),
            vad: Vad::new(rate),
            holds: false,
            muted: false,
            made: 0,
            filling: false,
        }
    }

    /// Takes real sound as it is played.
    pub(super) fn hear(&mut self, pcm: &[i16]) {
        for piece in pcm.chunks(2 * self.rate.frame()) {
            // Of what follows a voice that was cut off nothing can be learned.
            let speech = self.muted || self.vad.is_speech(piece);
            self.noise.hear(piece, speech);
        }
        (self.holds, self.made, self.filling) = (!self.muted, 0, false);
    }

    /// Takes what was made up for want of packets: it says nothing of the background, but noise would go on from it.
    pub(super) fn pass(&mut self, pcm: &[i16]) {
        self.noise.hear(pcm, true);
        (self.holds, self.filling) = (false, false);
    }

    /// Appends `length` samples of a pause.
    pub(super) fn fill(&mut self, length: usize, out: &mut Vec<i16>) {
        let from = out.len();
        let fade = self.rate.samples(FADE);
        let whole = self.rate.samples(LONGEST) + fade;
        if !self.holds || self.made >= whole {
            self.filling = false;
            out.resize(from + length, 0);
            return;
        }
        self.noise.fill(length, out);
        for (sample, made) in out[from..].iter_mut().zip(self.made..) {
            let left = whole.saturating_sub(made).min(fade);
            *sample = (i64::from(*sample) * left as i64 / fade as i64) as i16;
        }
        self.made += length;
        self.filling = true;
    }

    /// Fades from the noise played last into what follows.
    pub(super) fn join(&mut self, next: &mut [i16]) {
        if std::mem::take(&mut self.filling) {
            self.noise.join(next);
        }
    }
}

impl AudioReceiver {
    /// Plays a packet that says that nothing follows: one empty frame from who has nothing to say, two from who is muted,
    /// of whom even the room is not to be heard. False if it is no such packet, or if it is to be decoded.
    pub(super) fn pause(&mut self, packet: &Packet, stretch: Stretch) -> bool {
        let payload = &packet.payload;
        let empty = payload.len() <= PAUSE_BYTES;
        self.background.muted = empty && payload.first().is_some_and(|toc| toc & 3 != 0);
        // The decoder lets a voice that is cut off fade.
        if !empty || self.background.muted && !self.background.filling {
            return false;
        }
        let Some(duration) = opus::packet_duration(payload) else { return false };
        let length = self.rate.samples(duration);
        self.make_up(length, true);
        // Noise may be of any length.
        let changed = match stretch {
            Stretch::None => length,
            Stretch::Faster(budget) => length.saturating_sub(self.rate.samples(budget)),
            Stretch::Slower(budget) => length + self.rate.samples(budget),
        };
        self.stretched.0 += length.saturating_sub(changed) as u64;
        self.stretched.1 += changed.saturating_sub(length) as u64;
        self.background.holds = true;
        if self.background.muted {
            self.background.made = self.background.made.max(self.rate.samples(LONGEST));
        }
        self.background.fill(changed, &mut self.scratch);
        self.quiet = true;
        self.jitter.heard(true);
        true
    }

    /// Tells the background what was just decoded or made up.
    pub(super) fn remember(&mut self, origin: Origin) {
        match origin {
            Origin::Plc => self.background.pass(&self.scratch),
            Origin::Silence => {}
            _ => self.background.hear(&self.scratch),
        }
    }
}

/// The packet that says that nothing follows, for who is muted or who has nothing to say; coded like the one that begins
/// with `toc`.
pub(crate) fn empty(toc: u8, muted: bool) -> Vec<u8> {
    vec![toc & 0xfc | u8::from(muted)]
}

/// How long that lasts.
pub(crate) fn empty_duration(payload: &[u8]) -> Duration {
    opus::packet_duration(payload).unwrap_or_default()
}
