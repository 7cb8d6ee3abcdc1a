//! How signalling crosses from network threads into the loop that drives a machine.
//!
//! Why: the loop sleeps on its sockets; a plain channel would not wake it. A [`Mailbox`] is a bounded
//! channel together with the alarm clock of its reader.

use crate::wait::Waker;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::io;

/// How many messages wait at most. A burst of joins fits; a flood is pushed back onto its senders.
const CAPACITY: usize = 1024;

/// A signalling message on its way, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An encoded message.
    Message {
        /// Which conversation: a client has only 0, a server numbers its clients from 1.
        channel: u64,
        /// The bytes.
        message: Vec<u8>,
    },
    /// Inbound: the peer has gone. Outbound: close, after what was sent has gone out.
    Closed {
        /// Which conversation.
        channel: u64,
    },
}

/// The end where signals are put in. Clones feed the same inbox.
#[derive(Clone, Debug)]
pub struct Mailbox {
    sender: Sender<Signal>,
    waker: Waker,
}

/// The end where the loop takes them out.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Signal>,
    pub(crate) waker: Waker,
}

/// Why a signal was not taken.
#[derive(Debug)]
pub enum Undelivered {
    /// The loop is behind: try again in a few milliseconds.
    Full(Signal),
    /// The loop has ended.
    Gone,
}

/// A mailbox and its inbox.
///
/// # Errors
/// When the process has no file descriptors left (the waker needs two).
pub fn mailbox() -> io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    let waker = Waker::new()?;
    Ok((Mailbox { sender, waker: waker.clone() }, Inbox { receiver, waker }))
}

impl Mailbox {
    /// Puts a signal in and wakes the loop. Never blocks.
    ///
    /// # Errors
    /// [`Undelivered::Full`] gives the signal back; [`Undelivered::Gone`] means that nobody will read.
    pub fn try_send(&self, signal: Signal) -> Result<(), Undelivered> {
        match self.sender.try_send(signal) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(signal)) => Err(Undelivered::Full(signal)),
            Err(TrySendError::Disconnected(_)) => Err(Undelivered::Gone),
        }
    }

    /// The same for asynchronous senders: waits while the loop is behind, which holds their peer back.
    /// False if nobody will read.
    pub(crate) async fn send(&self, mut signal: Signal) -> bool {
        loop {
            match self.try_send(signal) {
                Ok(()) => return true,
                Err(Undelivered::Gone) => return false,
                Err(Undelivered::Full(back)) => {
                    signal = back;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        }
    }

    /// Makes the loop look around at once, with nothing to read.
    pub fn wake(&self) {
        self.waker.wake();
    }
}

impl Inbox {
    /// The next signal, if one waits.
    pub fn try_recv(&self) -> Option<Signal> {
        self.receiver.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_gives_the_signal_back_and_a_dead_one_says_so() {
        let (mailbox, inbox) = mailbox().unwrap();
        for channel in 0..CAPACITY as u64 {
            mailbox.try_send(Signal::Closed { channel }).unwrap();
        }
        let extra = Signal::Closed { channel: 9999 };
        assert!(matches!(mailbox.try_send(extra.clone()), Err(Undelivered::Full(back)) if back == extra));
        assert_eq!(inbox.try_recv(), Some(Signal::Closed { channel: 0 }));
        mailbox.try_send(extra).unwrap();
        drop(inbox);
        assert!(matches!(mailbox.try_send(Signal::Closed { channel: 1 }), Err(Undelivered::Gone)));
    }
}
