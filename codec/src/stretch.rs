//! Speech made a little shorter or longer without changing its pitch, and joined without a click.
//!
//! Why: a jitter buffer follows the network by playing slightly faster or slower. WSOLA (waveform similarity
//! overlap-add) takes out, or repeats, one whole pitch period where the waveform matches itself, and
//! crossfades over the seam. Unvoiced sounds and onsets match nothing and are left alone; silence may be cut
//! anywhere.
//!
//! ```text
//! block   ──────╮ A · · · │ B ╭──────      A and B are alike, one period apart
//! faster  ──────╮ A fades to B ╭──────     what lies between is gone
//! slower  ──────╮ A · · · │ B fades to A │ · · · B ╭──────
//! ```
//!
//! Not here: when to stretch (`jitter`).

use crate::CodecError;

/// Which way to stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Take a pitch period out: play faster, the delay shrinks.
    Faster,
    /// Put a pitch period in: play slower, the delay grows.
    Slower,
}

/// Normalised correlation, in thousandths, above which two pieces of speech are one waveform.
const ALIKE_PERMILLE: i64 = 850;

/// The same where playout is far behind: a seam that can be heard is better than lateness.
const URGENT_PERMILLE: i64 = 500;

/// A match that is so much worse than the best one still serves, if its length suits better.
const NEARLY_PERMILLE: i64 = 30;

/// Correlation above which it pays to align two pieces that must be joined anyway.
const ALIGNED_PERMILLE: i64 = 500;

/// Below this root mean square, about −50 dBov, nobody hears a seam.
const QUIET_RMS: u64 = 100;

/// Nor where it is so much below the voice (as a factor): 24 dB.
const QUIET_BELOW: u64 = 16;

/// How fast the voice's level is forgotten, in blocks: seconds, longer than a pause between sentences.
const LEVEL_BLOCKS: u64 = 512;

/// Stretches speech by one or a few pitch periods a call.
#[derive(Clone, Debug)]
pub struct Stretcher {
    shortest: usize,
    longest: usize,
    overlap: usize,
    seam: Vec<i16>,
    likeness: Vec<i64>,
    /// How loud the voice is, root mean square.
    level: u64,
}

/// Where a block is cut: the distance at which it resembles itself, and how well, in thousandths.
#[derive(Clone, Copy, Debug)]
struct Match {
    distance: usize,
    likeness: i64,
}

impl Stretcher {
    /// Prepares for a sample rate: pitch periods of 2.5 ms (400 Hz) to 15 ms (66 Hz) are looked for.
    ///
    /// # Errors
    /// `ApiMisuse` if the rate is not within 8–48 kHz.
    pub fn new(sample_rate: u32) -> Result<Stretcher, CodecError> {
        if !(8_000..=48_000).contains(&sample_rate) {
            return Err(CodecError::ApiMisuse("speech is stretched at 8 to 48 kHz"));
        }
        let ms = sample_rate as usize / 1000;
        let (shortest, longest) = (ms * 5 / 2, ms * 15);
        Ok(Stretcher {
            shortest,
            longest,
            overlap: ms * 5,
            seam: Vec::with_capacity(longest),
            likeness: Vec::with_capacity(longest + 1),
            level: 0,
        })
    }

    /// Listens to a block that is about to be played: whether it is a pause, in which any cut goes unheard. Pauses
    /// are known by the voice around them, so every block should be heard.
    pub fn pause(&mut self, pcm: &[i16]) -> bool {
        let here = rms(pcm);
        self.level = here.max(self.level - self.level.div_ceil(LEVEL_BLOCKS));
        self.is_quiet(here)
    }

    fn is_quiet(&self, rms: u64) -> bool {
        rms < QUIET_RMS.max(self.level / QUIET_BELOW)
    }

    /// Takes about `budget` samples out of `pcm`, or puts them in: whole pitch periods, and at least one. Its first
    /// and last samples stay, so that it still joins its neighbours. Returns the samples added (positive) or removed
    /// (negative); 0 if it was left alone because nothing in it matches, or because it is too short: 7.5 ms allow the
    /// shortest period, 20 ms all, and 30 ms find deep voices more surely. `urgent` makes do with poorer matches.
    pub fn stretch(&mut self, pcm: &mut Vec<i16>, change: Change, budget: usize, urgent: bool) -> isize {
        let Some(Match { distance, likeness }) = self.best_match(pcm, budget, urgent) else { return 0 };
        let overlap = self.overlap_for(distance, pcm.len());
        let a = (pcm.len() - distance - overlap) / 2;
        let b = a + distance;
        self.seam.clear();
        let (from, to) = match change {
            Change::Faster => (a, b),
            Change::Slower => (b, a),
        };
        self.seam.extend((0..overlap).map(|i| fade(pcm[from + i], pcm[to + i], i, overlap, likeness)));
        // Everything up to `from`, the seam, then everything after what the seam turned into.
        match change {
            Change::Faster => {
                pcm.splice(a..b + overlap, self.seam.iter().copied());
                -(distance as isize)
            }
            Change::Slower => {
                self.seam.extend_from_slice(&pcm[a + overlap..b + overlap]);
                pcm.splice(b..b + overlap, self.seam.iter().copied());
                distance as isize
            }
        }
    }

    /// Joins `next` to a waveform that ended elsewhere, such as real speech after concealment. `tail` is how
    /// that waveform would have gone on. At most `reach` samples of `next` are dropped so that both are in
    /// phase; `tail` then fades into what is left. Returns the samples dropped.
    pub fn join(&mut self, tail: &[i16], next: &mut Vec<i16>, reach: usize) -> usize {
        let overlap = tail.len().min(next.len()).min(self.overlap);
        let tail = &tail[..overlap];
        let reach = reach.min(next.len() - overlap);
        let best = (0..=reach)
            .map(|skip| (likeness(tail, &next[skip..skip + overlap]), skip))
            .max_by_key(|&(likeness, skip)| (likeness, std::cmp::Reverse(skip)));
        let (alike, skip) = best.filter(|&(alike, _)| alike >= ALIGNED_PERMILLE).unwrap_or((0, 0));
        next.drain(..skip);
        for (i, (sample, &old)) in next.iter_mut().zip(tail).enumerate() {
            *sample = fade(old, *sample, i, overlap, alike);
        }
        skip
    }

    /// Joins `next` to a waveform that ended elsewhere without losing any of it: `tail`, how that waveform would have
    /// gone on, is played until both are in phase, then fades into `next`. Returns the samples put before `next`, at
    /// most a pitch period.
    pub fn bridge(&mut self, tail: &[i16], next: &mut Vec<i16>) -> usize {
        let overlap = tail.len().min(next.len()).min(self.overlap);
        let reach = (tail.len() - overlap).min(self.longest);
        let alike = |extra: usize| likeness(&tail[extra..extra + overlap], &next[..overlap]);
        let best = (0..=reach)
            .map(|extra| (alike(extra), extra))
            .max_by_key(|&(alike, extra)| (alike, std::cmp::Reverse(extra)));
        let (alike, extra) = best.filter(|&(alike, _)| alike >= ALIGNED_PERMILLE).unwrap_or((0, 0));
        for (i, (sample, &old)) in next.iter_mut().zip(&tail[extra..extra + overlap]).enumerate() {
            *sample = fade(old, *sample, i, overlap, alike);
        }
        next.splice(..0, tail[..extra].iter().copied());
        extra
    }

    /// One period of overlap where the block has room for it, and what room there is elsewhere: `period` sees
    /// to it that 5 ms are left.
    fn overlap_for(&self, period: usize, length: usize) -> usize {
        period.min(length - period)
    }

    /// Where the block can be cut: as near to `budget` as matches allow, and above it only if there is none below.
    fn best_match(&mut self, pcm: &[i16], budget: usize, urgent: bool) -> Option<Match> {
        let longest = self.longest.min(pcm.len().saturating_sub(self.overlap));
        if longest < self.shortest {
            return None;
        }
        self.likeness.clear();
        for distance in self.shortest..=longest {
            let overlap = self.overlap_for(distance, pcm.len());
            let a = (pcm.len() - distance - overlap) / 2;
            let b = a + distance;
            self.likeness.push(likeness(&pcm[a..a + overlap], &pcm[b..b + overlap]));
        }
        let best = *self.likeness.iter().max()?;
        let least = if urgent { URGENT_PERMILLE } else { ALIKE_PERMILLE };
        if best < least {
            // Noise and silence match nowhere, and need not where they are too quiet to be heard.
            let distance = budget.clamp(self.shortest, longest);
            let likeness = self.likeness[distance - self.shortest];
            return self.is_quiet(rms(pcm)).then_some(Match { distance, likeness });
        }
        let is_peak = |i: usize| {
            let here = self.likeness[i];
            let before = i.checked_sub(1).map_or(i64::MIN, |j| self.likeness[j]);
            let after = self.likeness.get(i + 1).copied().unwrap_or(i64::MIN);
            here >= (best - NEARLY_PERMILLE).max(least) && here >= before && here >= after
        };
        let peaks = || (0..self.likeness.len()).filter(|&i| is_peak(i));
        let fits = peaks().rfind(|&i| self.shortest + i <= budget);
        let found = fits.or_else(|| peaks().next())?;
        Some(Match { distance: self.shortest + found, likeness: self.likeness[found] })
    }
}

/// `from` turning into `to`: step `i` of `n`. Two waveforms that are alike add up, strangers add up in power; the sum
/// is weighted so that neither is heard as a dent.
fn fade(from: i16, to: i16, i: usize, n: usize, likeness: i64) -> i16 {
    let (i, n) = (i as i64, n as i64);
    let likeness = likeness.clamp(0, 1000);
    let sum = i64::from(from) * (n - i) + i64::from(to) * i;
    let power = ((n - i).pow(2) + i.pow(2)) * 1000 + 2 * i * (n - i) * likeness;
    // Eight bits after the point.
    let weight = (power.unsigned_abs() * 65_536 / 1000).isqrt() as i64;
    (sum * 256 / weight.max(1)).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// Normalised correlation in thousandths: 1000 for one waveform at any volume, 0 for strangers.
fn likeness(a: &[i16], b: &[i16]) -> i64 {
    let dot =
        |x: &[i16], y: &[i16]| -> i64 { x.iter().zip(y).map(|(&x, &y)| i64::from(x) * i64::from(y)).sum() };
    let norm = (dot(a, a) as u64).isqrt() * (dot(b, b) as u64).isqrt();
    if norm == 0 { 0 } else { dot(a, b) * 1000 / norm as i64 }
}

fn rms(pcm: &[i16]) -> u64 {
    let energy: u64 = pcm.iter().map(|&s| u64::from(s.unsigned_abs()).pow(2)).sum();
    (energy / pcm.len().max(1) as u64).isqrt()
}
