//! What the fuzzer does with bytes, one function for each thing that reads the network.
//!
//! cargo-fuzz drives them with coverage (`scripts/fuzz`), and `cli/tests/fuzz_corpus.rs` includes this very
//! file, so that each is run on stable with every test. A body fails by panicking: either the code under test
//! did, or something that was read and written again is not what it was.
//!
//! Bodies that need more than one packet read their input as a [`Script`]: steps of one byte of order, two of
//! length (little endian, low 11 bits) and the bytes themselves. So a mutation of one step leaves the others.

mod media;
mod peers;
pub mod seeds;
mod signals;
mod wire;

/// A thing to fuzz.
pub struct Target {
    /// As `cargo fuzz run` knows it; its corpus is in the folder of that name.
    pub name: &'static str,
    /// Takes any bytes.
    pub body: fn(&[u8]),
    /// One input takes milliseconds rather than microseconds.
    pub slow: bool,
}

/// All of them.
pub const TARGETS: [Target; 20] = [
    Target { name: "stun", body: wire::stun, slow: false },
    Target { name: "rtp", body: wire::rtp, slow: false },
    Target { name: "recv_stream", body: wire::recv_stream, slow: false },
    Target { name: "red", body: wire::red, slow: false },
    Target { name: "rlc", body: wire::rlc, slow: false },
    Target { name: "rtcp", body: wire::rtcp, slow: false },
    Target { name: "feedback", body: wire::feedback, slow: false },
    Target { name: "srtp", body: wire::srtp, slow: false },
    Target { name: "session", body: peers::session, slow: true },
    Target { name: "h264_payload", body: media::h264_payload, slow: false },
    Target { name: "dd", body: media::dd, slow: false },
    Target { name: "frames", body: media::frames, slow: false },
    Target { name: "jitter", body: media::jitter, slow: false },
    Target { name: "opus", body: media::opus, slow: true },
    Target { name: "h264_decoder", body: media::h264_decoder, slow: true },
    Target { name: "signal", body: signals::signal, slow: false },
    Target { name: "sdp", body: signals::sdp, slow: false },
    Target { name: "link", body: signals::link, slow: false },
    Target { name: "call", body: peers::call, slow: true },
    Target { name: "sfu", body: peers::sfu, slow: true },
];

/// Runs the target of that name.
///
/// # Panics
/// As its body does, and if there is no such target.
#[cfg_attr(test, allow(dead_code))] // the test goes through `TARGETS` itself
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target is called {name}")).body)(data);
}

/// An input of several steps.
pub struct Script<'a>(&'a [u8]);

/// Steps of one input: more would only make it slow.
const STEPS: usize = 96;

impl<'a> Script<'a> {
    /// The steps of an input: an order, and bytes to go with it. A last step that is cut short counts.
    pub fn steps(input: &'a [u8]) -> impl Iterator<Item = (u8, &'a [u8])> {
        Script(input).take(STEPS)
    }

    /// Appends a step.
    pub fn put(out: &mut Vec<u8>, order: u8, bytes: &[u8]) {
        let len = bytes.len().min(0x7ff);
        out.push(order);
        out.extend_from_slice(&(len as u16).to_le_bytes());
        out.extend_from_slice(&bytes[..len]);
    }
}

impl<'a> Iterator for Script<'a> {
    type Item = (u8, &'a [u8]);
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[order, low, high], rest) = self.0.split_first_chunk::<3>()?;
        let len = usize::from(u16::from_le_bytes([low, high]) & 0x7ff).min(rest.len());
        let (bytes, rest) = rest.split_at(len);
        self.0 = rest;
        Some((order, bytes))
    }
}

/// The four low bits of an order choose what; the four high ones say how much later it happens: up to 2 s.
pub fn later(order: u8) -> std::time::Duration {
    const MILLIS: [u64; 16] = [0, 0, 0, 0, 1, 2, 5, 10, 10, 20, 20, 50, 100, 200, 500, 2_000];
    std::time::Duration::from_millis(MILLIS[usize::from(order >> 4)])
}
