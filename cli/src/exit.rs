//! How the process ends: one code for each fault, so that a script can tell them apart.

use std::fmt;
use std::process::ExitCode;

/// Why a command failed, which is also its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command line or a file named on it is wrong: 2.
    Usage = 2,
    /// The server refused the token: 3.
    Authentication = 3,
    /// Nothing answered: 4.
    Unreachable = 4,
    /// The call was up, but its media failed: 5.
    Media = 5,
    /// A microphone, speaker or camera is missing or busy: 6.
    Device = 6,
    /// The call was worse than the gate that was asked for: 7.
    Quality = 7,
}

/// A failure with what a person needs: what happened, and what to do.
#[derive(Debug)]
pub struct Failure {
    /// Whose fault, as an exit code.
    pub fault: Fault,
    /// What happened and what to do about it.
    pub message: String,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(fault: Fault, message: impl fmt::Display) -> Failure {
        Failure { fault, message: message.to_string() }
    }

    /// The caller's fault.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Fault::Usage, message)
    }

    /// The code that the process exits with.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.fault as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;
