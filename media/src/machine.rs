//! The shape of every machine that speaks to a network.
//!
//! Why: sans-IO. Inputs are calls that carry the time, outputs are polled until none is left, one getter
//! names the next deadline. There is no thread, socket, callback, lock or clock inside, so one loop in
//! `io` drives a call or an SFU in real time, and one in `sim` drives them in virtual time.
//!
//! ```text
//! loop {
//!     while let Some(output) = machine.poll() { … }        // drain
//!     wait until machine.deadline(), or until something arrives
//!     machine.handle(now, input);
//! }
//! ```

use crate::Timestamp;
use std::net::SocketAddr;

/// Something that happens to a machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A UDP datagram arrived. The machine may decrypt it in place.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// The local address that it reached.
        to: SocketAddr,
        /// What it holds.
        bytes: &'a mut [u8],
    },
    /// A signalling message arrived, reliably and in order within its channel.
    Signal {
        /// Which conversation: a client has only 0, a server numbers its clients.
        channel: u64,
        /// The encoded message.
        message: &'a [u8],
    },
    /// A signalling channel ended; nothing more will come from it.
    SignalClosed {
        /// Which conversation.
        channel: u64,
    },
    /// The deadline has come, or nothing else has happened for a while.
    Tick,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub to: SocketAddr,
    /// From which local address; `None` lets the socket choose.
    pub from: Option<SocketAddr>,
    /// What.
    pub bytes: Vec<u8>,
}

/// Something that a machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit(Transmit),
    /// Send a signalling message.
    Signal {
        /// In which conversation.
        channel: u64,
        /// The encoded message.
        message: Vec<u8>,
    },
    /// End a signalling channel, after what was sent on it has gone out.
    CloseSignal {
        /// Which conversation.
        channel: u64,
    },
}

/// A sans-IO machine.
pub trait Machine {
    /// Takes an input. Cannot fail: a bad datagram is counted and dropped.
    fn handle(&mut self, now: Timestamp, input: Input<'_>);

    /// The next thing to do, or `None` when all is drained.
    fn poll(&mut self) -> Option<Output>;

    /// When to call [`Machine::handle`] with [`Input::Tick`] if nothing comes before; `None`: never.
    fn deadline(&self) -> Option<Timestamp>;
}
