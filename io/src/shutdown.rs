//! One switch that everything which must end looks at.
//!
//! Why: SIGTERM, Ctrl-C and a test that is done all mean the same; whoever must stop should not know which
//! it was.

use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// A switch that is turned once. Clones are the same switch.
#[derive(Clone, Debug)]
pub struct Shutdown {
    on: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown { on: Arc::new(watch::Sender::new(false)) }
    }
}

impl Shutdown {
    /// A switch that only [`Shutdown::trigger`] turns.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// A switch that SIGTERM and SIGINT (Ctrl-C) also turn. A second such signal ends the process at once
    /// with status 130: a person who insists is obeyed.
    ///
    /// # Errors
    /// When the operating system refuses to deliver signals to this process.
    pub fn on_signals() -> io::Result<Shutdown> {
        let shutdown = Shutdown::new();
        let turned = shutdown.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            Signals::new()?
        };
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                signals.next().await;
                turned.trigger();
                signals.next().await;
                std::process::exit(130);
            });
        })?;
        Ok(shutdown)
    }

    /// Turns the switch.
    pub fn trigger(&self) {
        self.on.send_replace(true);
    }

    /// Whether it has been turned.
    pub fn is_triggered(&self) -> bool {
        *self.on.borrow()
    }

    /// Comes back once it has been turned.
    pub(crate) async fn triggered(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.on.subscribe().wait_for(|on| *on).await;
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        // Without signals the switch stays with `trigger`.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
