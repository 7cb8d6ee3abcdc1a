//! How long to hold packets.
