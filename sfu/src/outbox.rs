//! What handling one input leaves behind.

use crate::Stats;
use crate::rewrite::SourceId;
use std::collections::VecDeque;
use undertone_media::{Output, Timestamp};
use undertone_signaling::message::{self, Body};
use undertone_transport::TransportError;

/// Outputs, counts, and what the machine must do after a room has had its say.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) queue: VecDeque<Output>,
    pub(crate) stats: Stats,
    /// Participants of the room at hand who must be woken no later than then.
    pub(crate) wake: Vec<(u32, Timestamp)>,
    /// Participants whose session has just got its keys.
    pub(crate) connected: Vec<u32>,
    /// Participants whose session is over.
    pub(crate) failed: Vec<(u32, TransportError)>,
    sources: u64,
}

impl Outbox {
    /// Says something in a channel.
    pub(crate) fn signal(&mut self, channel: u64, body: impl Into<Body>) {
        self.queue.push_back(Output::Signal { channel, message: message::encode(body) });
    }

    /// Ends a channel.
    pub(crate) fn close(&mut self, channel: u64) {
        self.queue.push_back(Output::CloseSignal { channel });
    }

    /// A number that no source had before.
    pub(crate) fn new_source(&mut self) -> SourceId {
        self.sources += 1;
        SourceId(self.sources)
    }
}
