//! Decoded sound that waits for the speaker.

use super::Origin;
use std::collections::VecDeque;
use std::time::Duration;
use undertone_media::{MediaTime, SampleRate};

/// A run of decoded sound of one origin.
#[derive(Clone, Copy, Debug)]
struct Span {
    samples: usize,
    origin: Origin,
    /// The media time of its first sample; `None` for sound that nobody made.
    time: Option<MediaTime>,
}

/// Evens out packets of 20–120 ms into steps of 10, and knows of each where it came from and when it was captured.
#[derive(Debug)]
pub(super) struct Queue {
    /// What is not played yet.
    pub(super) pcm: Vec<i16>,
    rate: SampleRate,
    spans: VecDeque<Span>,
}

impl Queue {
    /// Nothing to play.
    pub(super) fn new(rate: SampleRate) -> Queue {
        Queue { pcm: Vec::with_capacity(8 * rate.frame()), rate, spans: VecDeque::new() }
    }

    /// How long it lasts.
    pub(super) fn duration(&self) -> Duration {
        self.rate.duration(self.pcm.len())
    }

    /// Adds sound that begins at `time`.
    pub(super) fn push(&mut self, pcm: &[i16], origin: Origin, time: Option<MediaTime>) {
        self.pcm.extend_from_slice(pcm);
        if !pcm.is_empty() {
            self.spans.push_back(Span { samples: pcm.len(), origin, time });
        }
    }

    /// Adds what comes next to `mix`, 10 ms. Says where the first of it came from, and its media time if somebody made it.
    pub(super) fn take(&mut self, mix: &mut [i32]) -> (Origin, Option<MediaTime>) {
        let first = self.spans.front().copied();
        let available = self.pcm.len().min(mix.len());
        for (sum, sample) in mix.iter_mut().zip(self.pcm.drain(..available)) {
            *sum += i32::from(sample);
        }
        let mut left = available;
        while left > 0 {
            let Some(span) = self.spans.front_mut() else { break };
            let part = span.samples.min(left);
            span.samples -= part;
            span.time = span.time.map(|time| time + self.rate.ticks(part));
            left -= part;
            if span.samples == 0 {
                self.spans.pop_front();
            }
        }
        (first.map_or(Origin::Silence, |span| span.origin), first.and_then(|span| span.time))
    }
}
