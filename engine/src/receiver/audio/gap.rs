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
}

/// How a voice would have gone on after a gap, as far as it is asked for: a pitch period and a cross-fade.
pub(super) const fn tail_samples(rate: SampleRate) -> usize {
    2 * rate.frame()
}

/// A longer gap says nothing to the decoder any more.
const LONGEST_LOSS: Duration = Duration::from_secs(1);

impl AudioReceiver {
    /// Keeps account of what is not real, and at its beginning the decoder's state.
    pub(super) fn make_up(&mut self, samples: usize, silent: bool) {
        let Some(from) = self.heard_until else { return };
        let gap = self.gap.get_or_insert_with(|| {
            self.decoder.remember();
            Gap { from, samples: 0, silent }
        });
        gap.samples += samples;
        gap.silent = silent;
    }

    /// Real sound that begins at `time` is about to be decoded. If as much was made up as is missing before it, the
    /// decoder goes on from there. If not, because packets were late rather than lost, its state goes back to where
    /// real sound ended, so that it decodes as it was coded; true: what was made up has to be joined to it.
    pub(super) fn resume(&mut self, time: MediaTime) -> bool {
        let Some(gap) = self.gap.take() else { return false };
        let missing = time.since(gap.from, OPUS_CLOCK);
        if self.rate.samples(missing) == gap.samples {
            return false;
        }
        self.tail.clear();
        if gap.silent {
            self.background.fill(tail_samples(self.rate), &mut self.tail);
        } else {
            self.decoder.conceal(tail_samples(self.rate), &mut self.tail);
        }
        self.decoder.rewind();
        if !missing.is_zero() && missing <= LONGEST_LOSS {
            self.decoder.conceal(self.rate.samples(missing), &mut self.scratch);
            self.scratch.clear();
        }
        true
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
