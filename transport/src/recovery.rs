//! Redundancy over opaque payloads: what comes with later packets makes up for lost ones, without a round trip.
//!
//! Why: at 10–80 % loss a request and its answer are lost too, and speech cannot wait. Nothing here looks into a
//! payload, so the same code works end to end and from hop to hop, under end-to-end encryption too.
//!
//! [`red`] repeats packets whole (RFC 2198, which browsers read); [`rlc`] sends combinations of many (after RFC
//! 8681, between our own ends), which mend more losses with the same bytes. Requests and their answers are
//! [`crate::stream`]'s.
//!
//! Not here: how much protection a path needs.

pub mod red;
pub mod rlc;
