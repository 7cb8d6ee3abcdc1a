//! Interactive connectivity establishment (RFC 8445): which path to the peer works.

/// Which side of ICE an end plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Checks, and nominates (the offerer, or whoever faces a lite peer).
    Controlling,
    /// Checks, and follows the peer's nomination.
    Controlled,
    /// Only answers: a server with a public address (RFC 8445 §2.5).
    Lite,
}
