//! Faster and slower, as the jitter buffer orders.

use super::AudioReceiver;
use std::time::Duration;
use undertone_codec::stretch::Change;

/// How much is stretched at once, in steps of 10 ms: what the pitch of most voices needs and packets have at least.
const PIECE: usize = 2;

/// To take so much out of a piece, or put it in, is urgent.
const URGENT: usize = 1;

impl AudioReceiver {
    /// Changes the length of what was just decoded by about `budget`, as far as pitch periods allow. What is not played
    /// yet of the sound before serves to find them. Long packets are changed piece by piece.
    pub(super) fn stretch(&mut self, change: Change, budget: Duration) {
        let step = self.rate.frame();
        let pieces = self.scratch.len().div_ceil(PIECE * step).max(1);
        let share = self.rate.samples(budget) / pieces;
        let urgent = share >= URGENT * step;
        let unplayed = self.queue.pcm.len();
        std::mem::swap(&mut self.scratch, &mut self.decoded);
        self.scratch.clear();
        self.scratch.append(&mut self.queue.pcm);
        for piece in self.decoded.chunks(PIECE * step) {
            self.scratch.extend_from_slice(piece);
            let block = self.scratch.len().saturating_sub(piece.len() + step);
            self.block.clear();
            self.block.extend(self.scratch.drain(block..));
            let changed =
                self.stretcher.stretch(&mut self.block, change, share, urgent).unsigned_abs() as u64;
            self.scratch.append(&mut self.block);
            match change {
                Change::Faster => self.stretched.0 += changed,
                Change::Slower => self.stretched.1 += changed,
            }
        }
        let unplayed = unplayed.min(self.scratch.len());
        self.queue.pcm.extend(self.scratch.drain(..unplayed));
    }
}
