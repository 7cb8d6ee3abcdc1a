//! The real world: clock, sockets, threads, files and sound devices, so that no other crate has any.
//!
//! Invariant: nothing here knows what a call, a codec or a packet is. Whatever travels is bytes, PCM, or a
//! [`Signal`], and what is driven is any [`undertone_media::Machine`].
//!
//! ```text
//!   ws::Client ─┐ Mailbox                ┌── beat, every 10 ms (microphone, speaker, stats)
//!               ├────────▶ run::run ─────┤
//! http::Server ─┘            │  ▲        └── signal (to ws::Client or http::Channels)
//!                            ▼  │
//!                       udp::Socket  ◀──▶  relay::Relay (a weak link, in real time)
//! ```

pub mod clock;
#[cfg(feature = "device")]
pub mod device;
pub mod files;
pub mod http;
pub mod mailbox;
pub mod relay;
pub mod run;
pub mod shutdown;
mod tls;
pub mod udp;
mod wait;
pub mod ws;

pub use clock::Clock;
pub use mailbox::{Inbox, Mailbox, Signal};
pub use shutdown::Shutdown;

/// 32 unpredictable bytes from the operating system, to seed a machine's own generator.
///
/// # Panics
/// If the operating system has no randomness to give: keys made without it would be no keys.
pub fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).expect("the operating system gives random bytes");
    seed
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_seeds_are_alike() {
        assert_ne!(super::random_seed(), super::random_seed());
    }
}
