//! The `undertone` binary.

fn main() {}
