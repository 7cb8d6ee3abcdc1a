//! Coded frames in, datagrams out, and back.
//!
//! Invariant: transport never decodes media, never reads a clock, owns no socket. Time and randomness are
//! parameters, so the same seed gives the same bytes. A bad datagram is counted and dropped: no parser here
//! fails, and none panics.
//!
//! Security half: [`stun`] and [`ice`] find a path, [`dtls`] agrees on keys, [`srtp`] seals with them, and
//! [`session`] ties the four together. Media half: [`rtp`], [`rtcp`] and [`payload`] are formats, [`stream`]
//! asks again for what was lost, [`recovery`] makes up for it without asking, [`feedback`] tells the sender what arrived, [`bwe`] and [`pacer`] decide how fast.

pub mod bwe;
pub mod dtls;
mod error;
pub mod feedback;
pub mod ice;
pub mod pacer;
pub mod payload;
pub mod recovery;
pub mod rtcp;
pub mod rtp;
pub mod session;
pub mod srtp;
pub mod stream;
pub mod stun;

pub use error::{ApiMisuse, PeerMisbehaved, TransportError};

/// A seed that nobody can guess, from the system.
fn system_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).expect("a system without randomness has no secrets");
    seed
}
