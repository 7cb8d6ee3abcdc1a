//! What one forwarded packet costs.

fn main() {}
