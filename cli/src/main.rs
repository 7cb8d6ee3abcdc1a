//! The `undertone` command: the door for people at a terminal.
//!
//! It composes what the other crates keep apart: the sans-IO engine and SFU with the real world of `io`, or
//! with the simulated one of `sim`.

mod args;
mod call;
mod demo;
#[cfg(feature = "device")]
mod device;
mod exit;
mod film;
mod lab;
mod participant;
mod report;

mod serve;
mod source;
mod web;

use args::{Cli, Command, LabCommand};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.verbose);
    let done = match &cli.command {
        Command::Call(args) => call::call(args),
        Command::Serve(args) => serve::serve(args),
        Command::Token(args) => serve::token(args),
        Command::Lab(LabCommand::Call(args)) => lab::call(args),
        Command::Lab(LabCommand::Speech(args)) => lab::speech(args),
        Command::Lab(LabCommand::Jitter(args)) => lab::jitter(args),
        Command::Lab(LabCommand::Congestion(args)) => lab::congestion(args),
        Command::Demo(args) => demo::demo(args),
        Command::Devices => devices(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("undertone: {failure}");
            failure.code()
        }
    }
}

/// Logs go to stderr, so that stdout holds results alone.
fn log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false).init();
}

#[cfg(feature = "device")]
fn devices() -> exit::Outcome {
    device::list()
}

#[cfg(not(feature = "device"))]
fn devices() -> exit::Outcome {
    Err(exit::Failure::new(
        exit::Fault::Device,
        "this build has no sound devices; build with `cargo build --release --features device`",
    ))
}
