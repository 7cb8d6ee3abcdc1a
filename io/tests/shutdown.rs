//! SIGTERM turns the switch. Alone in its process, since signals are the whole process's.
#![cfg(unix)]

use std::process::Command;
use std::time::{Duration, Instant};
use undertone_io::Shutdown;

#[test]
fn sigterm_turns_the_switch_and_every_copy_sees_it() {
    let shutdown = Shutdown::on_signals().unwrap();
    let copy = shutdown.clone();
    assert!(!copy.is_triggered());
    assert!(
        Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap().success()
    );
    let began = Instant::now();
    while !copy.is_triggered() {
        assert!(began.elapsed() < Duration::from_secs(5), "the signal is heard");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(shutdown.is_triggered());
    assert!(!Shutdown::new().is_triggered(), "another switch is another switch");
}
