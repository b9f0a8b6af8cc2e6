//! What the project does beyond cargo. `cargo xtask --help` says what there is.

#![forbid(unsafe_code)]

mod bench;
mod executable;
mod features;
mod folders;
mod fuzz;
mod guest;
mod interruption;
mod planted;
mod process;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the project does beyond cargo.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Plants the fault of each known failure in turn and expects a test to find it.
    Planted {
        /// Only the faults of this row of the table of known failures.
        #[arg(long)]
        row: Option<u16>,
    },
    /// Writes docs/features.md from the markers of the tests and vectors.
    Features {
        /// Writes nothing; fails if the page is not what the markers say, or if a marker is malformed.
        #[arg(long)]
        check: bool,
    },
    Guest(Box<guest::Arguments>),
    Fuzz(fuzz::Arguments),
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Planted { row } => planted::run(row),
        Task::Features { check } => features::run(check),
        // It has more than one way of not being done.
        Task::Guest(arguments) => return guest::run(&arguments).into(),
        Task::Fuzz(arguments) => return fuzz::run(&arguments),
        Task::Bench(arguments) => return bench::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
