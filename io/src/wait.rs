//! Sleeping until a socket has something, an alarm rings, or a deadline comes, whichever is first.
//!
//! Why: a read timeout covers one socket, ends up to a scheduler tick late and cannot be cut short by
//! another thread. `ppoll(2)` covers many, counts nanoseconds and can.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An alarm clock that other threads ring to end a [`WaitSet::wait`] early. Clones ring the same one.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    inner: Arc<WakerInner>,
}

#[derive(Debug)]
struct WakerInner {
    /// True from the first ring until the sleeper has heard it: a hundred rings cost one system call.
    ringing: AtomicBool,
    #[cfg(unix)]
    bell: std::os::unix::net::UnixStream,
    #[cfg(unix)]
    ear: std::os::unix::net::UnixStream,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        let ringing = AtomicBool::new(false);
        #[cfg(unix)]
        {
            let (bell, ear) = std::os::unix::net::UnixStream::pair()?;
            bell.set_nonblocking(true)?;
            ear.set_nonblocking(true)?;
            Ok(Waker { inner: Arc::new(WakerInner { ringing, bell, ear }) })
        }
        #[cfg(not(unix))]
        Ok(Waker { inner: Arc::new(WakerInner { ringing }) })
    }

    pub(crate) fn wake(&self) {
        if !self.inner.ringing.swap(true, Ordering::SeqCst) {
            #[cfg(unix)]
            {
                use std::io::Write;
                // The pipe holds at most one byte per hearing, so it is never full.
                let _ = (&self.inner.bell).write(&[1]);
            }
        }
    }

    /// Stops the ringing. What was rung for must be looked at after this call, not before: then a ring in
    /// between is never lost.
    fn hear(&self) {
        #[cfg(unix)]
        {
            use std::io::Read;
            let _ = (&self.inner.ear).read(&mut [0; 8]);
        }
        self.inner.ringing.store(false, Ordering::SeqCst);
    }
}

/// What one thread sleeps on. Refilled before every wait, so that sockets may come and go.
#[derive(Debug, Default)]
pub(crate) struct WaitSet {
    #[cfg(unix)]
    entries: Vec<libc::pollfd>,
    #[cfg(not(unix))]
    sockets: usize,
}

#[cfg(unix)]
impl WaitSet {
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a socket; its place in the order of pushing is its index for [`WaitSet::is_ready`].
    pub(crate) fn push(&mut self, socket: &UdpSocket) {
        use std::os::fd::AsRawFd;
        self.entries.push(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }

    /// Sleeps until a pushed socket is readable, `waker` rings or `timeout` has passed (`None`: for ever).
    pub(crate) fn wait(&mut self, waker: &Waker, timeout: Option<Duration>) {
        use std::os::fd::AsRawFd;
        let ear = waker.inner.ear.as_raw_fd();
        self.entries.push(libc::pollfd { fd: ear, events: libc::POLLIN, revents: 0 });
        poll(&mut self.entries, timeout);
        if self.entries.pop().is_some_and(|ear| ear.revents != 0) {
            waker.hear();
        }
    }

    /// Whether the socket had something (or an error to fetch) after the last wait.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        self.entries.get(index).is_some_and(|entry| entry.revents != 0)
    }
}

#[cfg(target_os = "linux")]
fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) {
    let timeout = timeout.map(|span| libc::timespec {
        tv_sec: span.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: span.subsec_nanos() as libc::c_long,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    #[allow(unsafe_code)] // std has no poll.
    // SAFETY: pointer and length describe the exclusive slice `entries`; `timeout` is null or points to a
    // local that outlives the call; a null signal mask leaves signals as they are.
    let ready = unsafe {
        libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout, std::ptr::null())
    };
    forget_unless_ready(entries, ready);
}

#[cfg(all(unix, not(target_os = "linux")))]
fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) {
    // poll(2) counts milliseconds. Rounding up would be late every time; the rest is slept after it.
    let millis = timeout.map_or(-1, |span| span.as_millis().min(i32::MAX as u128) as libc::c_int);
    #[allow(unsafe_code)] // std has no poll.
    // SAFETY: pointer and length describe the exclusive slice `entries`.
    let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) };
    forget_unless_ready(entries, ready);
    if ready == 0
        && let Some(span) = timeout
    {
        std::thread::sleep(Duration::from_nanos(u64::from(span.subsec_nanos() % 1_000_000)));
    }
}

/// After an interruption by a signal the kernel leaves the answers of the call before in place.
#[cfg(unix)]
fn forget_unless_ready(entries: &mut [libc::pollfd], ready: libc::c_int) {
    if ready <= 0 {
        entries.iter_mut().for_each(|entry| entry.revents = 0);
    }
}

/// Without poll(2) the sockets, which never block, are looked at every millisecond.
#[cfg(not(unix))]
impl WaitSet {
    pub(crate) fn clear(&mut self) {
        self.sockets = 0;
    }

    pub(crate) fn push(&mut self, _socket: &UdpSocket) {
        self.sockets += 1;
    }

    pub(crate) fn wait(&mut self, waker: &Waker, timeout: Option<Duration>) {
        if !waker.inner.ringing.load(Ordering::SeqCst) {
            std::thread::sleep(timeout.unwrap_or(Duration::MAX).min(Duration::from_millis(1)));
        }
        waker.hear();
    }

    pub(crate) fn is_ready(&self, index: usize) -> bool {
        index < self.sockets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_ring_ends_the_wait_and_is_heard_once() {
        let waker = Waker::new().unwrap();
        let mut set = WaitSet::default();
        waker.wake();
        waker.wake();
        let began = Instant::now();
        set.wait(&waker, Some(Duration::from_secs(5)));
        assert!(began.elapsed() < Duration::from_secs(1), "the ring came before the wait");
        let began = Instant::now();
        set.wait(&waker, Some(Duration::from_millis(20)));
        assert!(began.elapsed() >= Duration::from_millis(20), "one hearing ends both rings");
    }

    #[test]
    fn a_ring_from_another_thread_ends_an_endless_wait() {
        let waker = Waker::new().unwrap();
        let other = waker.clone();
        let ringer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            other.wake();
        });
        WaitSet::default().wait(&waker, None);
        ringer.join().unwrap();
    }

    #[test]
    fn a_datagram_ends_the_wait_and_marks_its_socket() {
        let sockets: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        sockets[0].send_to(b"x", sockets[1].local_addr().unwrap()).unwrap();
        let mut set = WaitSet::default();
        sockets.iter().for_each(|socket| set.push(socket));
        set.wait(&Waker::new().unwrap(), Some(Duration::from_secs(5)));
        assert!(set.is_ready(1));
        assert!(!set.is_ready(0) || cfg!(not(unix)));
    }
}
