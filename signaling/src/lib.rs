//! How peers find each other and agree: messages, descriptions, tokens, room URLs.
//!
//! Invariant: signaling opens no socket, reads no clock and draws no randomness; every function is pure, and
//! no input, however malformed, makes one panic. What carries the messages is `io`'s affair; what follows
//! from an agreement is `engine`'s and `sfu`'s.

pub mod message;
pub mod sdp;
pub mod token;
pub mod url;
