//! From made up sound back to real sound.
//!
//! Why: what is made up moves the decoder's state on as if packets had been lost. Where they were only late, the state
//! goes back to where real sound ended, and what was made up is joined to what follows in phase, by a cross-fade.

use super::{AudioReceiver, OPUS_CLOCK, Origin};
use std::time::Duration;
use undertone_jitter::Stretch;
use undertone_media::{MediaTime, SampleRate};

/// Made up sound after the last that was real.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// The media time at which the real sound ended.
    from: MediaTime,
    /// How much was made up since.
    samples: usize,
    /// The last of it was silence and not the decoder's.
    silent: bool,
    /// It interrupts talk; the room between two sentences may go on.
    fades: bool,
}

/// How real sound is joined to what was made up before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// It is its continuation, or nothing was made up.
    Not,
    /// By a cross-fade, without moving it: as much was made up as is missing.
    InStep,
    /// By a cross-fade, where both are in phase.
    InPhase,
}

/// How a voice would have gone on after a gap, as far as it is asked for: a pitch period and a cross-fade.
pub(super) const fn tail_samples(rate: SampleRate) -> usize {
    2 * rate.frame()
}

/// A longer gap says nothing to the decoder any more.
const LONGEST_LOSS: Duration = Duration::from_secs(1);

/// What is made up fades from here on: nobody knows any more what would have been said, and a voice that buzzes on is worse
/// than none…
const FADES_FROM: Duration = Duration::from_millis(120);
/// …and is silent from here on.
const FADED_AT: Duration = Duration::from_millis(300);

/// Fades what was made up, `before` samples after the last that were real.
fn fade(rate: SampleRate, pcm: &mut [i16], before: usize) {
    let (from, until) = (rate.samples(FADES_FROM), rate.samples(FADED_AT));
    for (sample, at) in pcm.iter_mut().zip(before..) {
        let left = until.saturating_sub(at).min(until - from);
        *sample = (i64::from(*sample) * left as i64 / (until - from) as i64) as i16;
    }
}

impl AudioReceiver {
    /// Keeps account of what is not real, and at its beginning the decoder's state.
    pub(super) fn make_up(&mut self, samples: usize, silent: bool) {
        let Some(from) = self.heard_until else { return };
        let gap = self.gap.get_or_insert_with(|| {
            self.decoder.remember();
            Gap { from, samples: 0, silent, fades: !self.quiet }
        });
        gap.samples += samples;
        gap.silent = silent;
    }

    /// Makes up `samples`, which fade as the gap goes on.
    pub(super) fn bridge_over(&mut self, samples: usize) {
        let before = self.gap.map_or(0, |gap| gap.samples);
        self.make_up(samples, false);
        self.decoder.conceal(samples, &mut self.scratch);
        if self.gap.is_some_and(|gap| gap.fades) {
            fade(self.rate, &mut self.scratch, before);
        }
    }

    /// Real sound that begins at `time` is about to be decoded. If as much was made up as is missing before it, the
    /// decoder goes on from there. If not, because packets were late rather than lost, its state goes back to where
    /// real sound ended, so that it decodes as it was coded.
    pub(super) fn resume(&mut self, time: MediaTime) -> Join {
        let Some(gap) = self.gap.take() else { return Join::Not };
        let missing = time.since(gap.from, OPUS_CLOCK);
        let in_step = self.rate.samples(missing) == gap.samples;
        if in_step && (gap.silent || gap.samples <= self.rate.samples(FADES_FROM)) {
            return Join::Not;
        }
        if in_step {
            self.decoder.remember();
        }
        self.tail.clear();
        if gap.silent {
            self.background.fill(tail_samples(self.rate), &mut self.tail);
        } else {
            self.decoder.conceal(tail_samples(self.rate), &mut self.tail);
            if gap.fades {
                fade(self.rate, &mut self.tail, gap.samples);
            }
        }
        self.decoder.rewind();
        if in_step {
            return Join::InStep;
        }
        if !missing.is_zero() && missing <= LONGEST_LOSS {
            self.decoder.conceal(self.rate.samples(missing), &mut self.scratch);
            self.scratch.clear();
        }
        Join::InPhase
    }

    /// Fades from what was made up into what was just decoded, in phase: later than ordered by up to a pitch period,
    /// or, where playout should hurry, earlier.
    pub(super) fn join(&mut self, stretch: Stretch) {
        if let Stretch::Faster(budget) = stretch {
            let skipped = self.stretcher.join(&self.tail, &mut self.scratch, self.rate.samples(budget));
            self.stretched.0 += skipped as u64;
            return;
        }
        let extra = self.stretcher.bridge(&self.tail, &mut self.scratch);
        self.queue.push(&self.scratch[..extra], Origin::Plc, None);
        self.scratch.drain(..extra);
    }

    /// The same where what was made up took exactly as long as what it stood for.
    pub(super) fn join_in_step(&mut self) {
        self.stretcher.join(&self.tail, &mut self.scratch, 0);
    }
}
