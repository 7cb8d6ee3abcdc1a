//! The simulated world: links, virtual time, captures and scores.
//!
//! Invariant: nothing here reads a clock, opens a socket or decides with floats. A link's fate for a
//! datagram, and the order of all that happens in a [`world::World`], follow from the seed and the inputs
//! alone, so the same seed gives the same bytes on every machine. Floats appear in `score` only, which
//! reports and decides nothing.
//!
//! ```text
//! machine → Transmit → path::LinkModel (loss → bottleneck → radio → delay + jitter) → machine
//!                        └ world::Sent → pcapng, score
//! ```

pub mod loss;
pub mod models;
pub mod path;
pub mod pcapng;
pub mod queue;
pub mod radio;
pub mod score;
pub mod trace;
pub mod world;
