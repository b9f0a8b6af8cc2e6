//! `vtd`: replays recordings of guests that drive a VT-d remapping unit.

#![forbid(unsafe_code)]

mod arguments;
mod bad_input;
mod exit_status;
mod input;
mod json_report;
mod output;
mod printable;
mod progress;
mod replay_command;
mod step_text;
mod text_report;

use std::process::ExitCode;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let Command::Replay(arguments) = Arguments::from_command_line().command;
    replay_command::run(&arguments).into()
}
