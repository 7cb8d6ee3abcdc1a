//! Signals belong to the app.
//!
//! Why: a Rust program ignores SIGPIPE from its start, a C program does not, so a server that hangs up while
//! we write would end the whole app. And a handler of the app must not run on a thread of ours.

/// Blocks all signals for the calling thread and those that it starts, except faults of its own and the
/// profiler's. A SIGPIPE that this thread causes then stays pending, and the write fails with EPIPE.
#[cfg(unix)]
#[allow(unsafe_code)] // std has no signal masks.
pub(crate) fn leave_to_the_app() {
    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGSEGV, SIGSYS, SIGTRAP};
    // SAFETY: all-zero bytes are a valid sigset_t, which sigfillset then initialises; the last call reads the
    // set, changes nothing but this thread's mask, and may be given NULL for the old one.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        for own in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGSEGV, SIGSYS, SIGTRAP] {
            libc::sigdelset(&mut set, own);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// There are none.
#[cfg(not(unix))]
pub(crate) fn leave_to_the_app() {}
