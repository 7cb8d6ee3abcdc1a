//! What the interop tests share: material whose every byte is known, a server, a room's signalling, and peers.
//!
//! Why: an engine and an SFU that only ever talk to each other agree on their own mistakes. Here WebRTC stacks
//! of other authors do ICE, DTLS and media with them, over real sockets on loopback.
//! Every wait has a deadline, and waits for a condition: a busy machine makes a test slow, not wrong.

// Each test binary uses its part of this.
#![allow(dead_code)]

pub mod engine;
pub mod ledger;
pub mod material;
pub mod room;
pub mod str0m;

use std::time::{Duration, Instant};

/// The longest that a test waits for one thing. Generous: two cores may be shared by many builds.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Looks until `look` finds something; panics with `what` when patience is at an end.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
