//! STUN messages (RFC 8489), as ICE (RFC 8445) uses them.

/// The two ufrags in a check's USERNAME: first the receiver's own, then the sender's (RFC 8445 §7.2.2).
pub fn username(_bytes: &[u8]) -> Option<(&str, &str)> {
    None
}
