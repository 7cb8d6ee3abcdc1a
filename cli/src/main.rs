//! The `undertone` command: the door for people at a terminal.
//!
//! It composes what the other crates keep apart: the sans-IO engine and SFU with the real world of `io`, or
//! with the simulated one of `sim`.

mod args;
mod exit;
mod lab;
mod report;
mod serve;
mod source;
mod web;

use args::{Cli, Command, LabCommand};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Lab(LabCommand::Call(args)) => lab::call(args),
        Command::Serve(args) => serve::serve(args),
        Command::Token(args) => serve::token(args),
        _ => Err(exit::Failure::usage("not here yet")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("undertone: {failure}");
            failure.code()
        }
    }
}
