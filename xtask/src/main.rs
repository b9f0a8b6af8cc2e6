//! What the project does beyond cargo. `cargo xtask --help` says what there is.

mod planted;

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
        row: Option<u8>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Planted { row } => planted::run(row),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
