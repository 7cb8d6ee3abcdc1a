//! `undertone lab`: the real engine, or a part of it, over an emulated network or a recording, in virtual time.
//!
//! Why: an hour's call takes seconds, the same seed gives the same bytes, and what differs between two runs
//! is what was changed between them. It is the bench of record for every figure that we print.

mod congestion;
mod ear;
mod frontier;
mod jitter;
mod network;
mod outcome;
mod page;
mod run;
mod speech;

pub use congestion::congestion;
pub use ear::{Ear, frozen};
pub use jitter::jitter;
pub use network::Network;
pub use outcome::{Direction, Percentiles};
pub use page::{charts, command, facts};
pub use run::call;
pub use speech::speech;
