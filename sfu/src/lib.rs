//! The selective forwarding unit: many transports, no codec.
//!
//! Invariant: the SFU never looks inside the media of our own clients (the dependency descriptor carries
//! what it needs to know), reads no clock, draws no randomness but from its seed, and no datagram or message
//! makes it panic. It decides *which packet goes to whom under which numbers*; it never decodes, mixes or
//! stores media.
//!
//! ```text
//! datagram ─ demux ─ Session ─ Source (repair, cache) ─ Room (who is in whose slot) ─┐
//! datagrams ─ Session ─ Pacer ─ Slot (rewritten numbers) ───── for each subscriber ──┘
//! ```
//!
//! One UDP port serves everybody: STUN finds its participant by the local ICE user name fragment, the rest
//! by source address (RFC 7983). Signalling is one offer/answer per participant; who is in which of its
//! receive slots afterwards changes by `Slots` messages, never by renegotiation.

mod allocate;
mod ceiling;
mod config;
mod forward;
mod join;
mod keyframe;
mod link;
mod negotiate;
mod outbox;
mod outgoing;
mod protect;
mod rewrite;
mod room;
mod sfu;
mod slots;
mod source;
mod stats;

pub use config::Config;
pub use sfu::Sfu;
pub use stats::Stats;
