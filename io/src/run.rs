//! The loop that drives one machine in real time, on the thread that calls it.
//!
//! Why: a machine is a plain value that one thread owns; whoever owns it also feeds its microphone, empties
//! its speaker or reads its statistics. So the loop does not hide the machine behind a lock or a channel: it
//! lends it to a [`Hook`] on every beat of a steady grid (10 ms by default, an audio frame).
//!
//! Order within a turn: beat, deadline, datagrams, signals; outputs are drained after each. Then it sleeps
//! until the next beat or deadline, a datagram, or a signal.
//!
//! Not here: batches of system calls (`udp` has the place for them), several machines on one port.

use crate::clock::{Clock, precise_timers};
use crate::mailbox::{Inbox, Signal};
use crate::udp::{MAX_DATAGRAM, Socket};
use crate::wait::WaitSet;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;
use undertone_media::{Input, Machine, Output, Timestamp, Transmit};

/// How many datagrams of one socket are taken before anything else gets its turn.
const BATCH: usize = 64;

/// A machine whose deadline stays in the past is ticked this often instead of spinning.
const SHORTEST_NAP: Duration = Duration::from_millis(1);

/// A loop that was stopped for longer (a suspended laptop, a debugger) forgets the beats it missed instead
/// of making them all at once.
const LONGEST_CATCH_UP: Duration = Duration::from_millis(500);

/// One beat of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The point of the grid that it stands for: exact multiples of the period, a good date for captured
    /// audio. Beats are made up for one by one after a short delay, and skipped after a long one.
    pub due: Timestamp,
    /// When it runs: `due` or later.
    pub now: Timestamp,
}

/// What the owner of a machine does besides what the machine does itself.
pub trait Hook<M> {
    /// Time between two beats. Default 10 ms, the frame of audio devices and of playout.
    fn period(&self) -> Duration {
        Duration::from_millis(10)
    }

    /// Has the machine to itself: push microphone PCM, pull speaker PCM, take events and statistics.
    /// `Break` ends the loop, after what the machine still wants sent.
    fn beat(&mut self, beat: Beat, machine: &mut M) -> ControlFlow<()>;

    /// Passes on a signalling message that the machine wants sent, or the end of a channel. Must not block.
    fn signal(&mut self, signal: Signal);
}

/// What went through the loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams that came in.
    pub received: u64,
    /// Datagrams that went out.
    pub sent: u64,
    /// Datagrams that the network or the socket refused to take: lost, as on any network.
    pub unsent: u64,
    /// Signals that came in.
    pub signals: u64,
}

/// Drives `machine` until `hook` breaks.
///
/// A datagram is sent from the socket whose port is that of [`Transmit::from`], or else from the first one
/// that speaks the destination's IP version. No sockets is fine: then there are only beats and signals.
///
/// # Errors
/// Only when a socket becomes unusable; what a network does to datagrams is counted in [`Traffic`].
pub fn run<M: Machine>(
    machine: &mut M,
    hook: &mut impl Hook<M>,
    clock: &Clock,
    sockets: &[Socket],
    inbox: &Inbox,
) -> io::Result<Traffic> {
    precise_timers();
    let mut traffic = Traffic::default();
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut waiting = WaitSet::default();
    let mut due = clock.now();
    let mut ticked = None;
    drain(machine, hook, sockets, &mut traffic);
    loop {
        let now = clock.now();
        if now.since(due) > LONGEST_CATCH_UP {
            due = now;
        }
        while due <= now {
            let beat = Beat { due, now: clock.now() };
            let flow = hook.beat(beat, machine);
            drain(machine, hook, sockets, &mut traffic);
            if flow.is_break() {
                return Ok(traffic);
            }
            due += hook.period();
        }

        let now = clock.now();
        if machine.deadline().is_some_and(|deadline| deadline <= now) && !napping(ticked, now) {
            machine.handle(now, Input::Tick);
            ticked = Some(now);
            drain(machine, hook, sockets, &mut traffic);
        }

        let mut idle = true;
        for socket in sockets {
            for _ in 0..BATCH {
                let Some(received) = socket.recv(&mut buffer)? else { break };
                idle = false;
                traffic.received += 1;
                let bytes = &mut buffer[..received.len];
                machine.handle(clock.now(), Input::Datagram { from: received.from, to: received.to, bytes });
            }
            drain(machine, hook, sockets, &mut traffic);
        }
        for _ in 0..BATCH {
            let Some(signal) = inbox.try_recv() else { break };
            idle = false;
            traffic.signals += 1;
            let now = clock.now();
            match &signal {
                Signal::Message { channel, message } => {
                    machine.handle(now, Input::Signal { channel: *channel, message })
                }
                Signal::Closed { channel } => machine.handle(now, Input::SignalClosed { channel: *channel }),
            }
            drain(machine, hook, sockets, &mut traffic);
        }

        if idle {
            let wake = match (machine.deadline(), ticked) {
                // The earliest at which a deadline that is still in the past counts again.
                (Some(deadline), Some(ticked)) => due.min(deadline.max(ticked + SHORTEST_NAP)),
                (Some(deadline), None) => due.min(deadline),
                (None, _) => due,
            };
            waiting.clear();
            sockets.iter().for_each(|socket| waiting.push(&socket.socket));
            waiting.wait(&inbox.waker, Some(wake.since(clock.now())));
        }
    }
}

/// Whether the machine was ticked so lately that another tick would be spinning.
fn napping(ticked: Option<Timestamp>, now: Timestamp) -> bool {
    ticked.is_some_and(|ticked| now.since(ticked) < SHORTEST_NAP)
}

fn drain<M: Machine>(machine: &mut M, hook: &mut impl Hook<M>, sockets: &[Socket], traffic: &mut Traffic) {
    while let Some(output) = machine.poll() {
        match output {
            Output::Transmit(transmit) => match send(sockets, &transmit) {
                Ok(()) => traffic.sent += 1,
                Err(_) => traffic.unsent += 1,
            },
            Output::Signal { channel, message } => hook.signal(Signal::Message { channel, message }),
            Output::CloseSignal { channel } => hook.signal(Signal::Closed { channel }),
        }
    }
}

fn send(sockets: &[Socket], transmit: &Transmit) -> io::Result<()> {
    let fits = |socket: &&Socket| socket.reaches(transmit.to);
    let socket = match transmit.from {
        None => sockets.iter().find(fits),
        Some(from) => sockets
            .iter()
            .filter(fits)
            .find(|socket| {
                let local = socket.local_addr();
                local == from || (local.port() == from.port() && local.ip().is_unspecified())
            })
            .or_else(|| sockets.iter().find(fits)),
    };
    match socket {
        Some(socket) => socket.send(&transmit.bytes, transmit.to, transmit.from),
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
