//! `cargo xtask fuzz`: runs the fuzz targets, keeps what they find, and shows that they find what was planted.

mod arguments;
mod campaign;
mod coverage;
mod error;
mod faults;
mod finding;
mod kept;
mod lack;
mod plain_search;
mod planted;
mod planted_search;
mod progress;
mod reach;
mod search_program;
mod target_programs;
mod watch;

use std::process::ExitCode;

pub(crate) use arguments::Arguments;
use error::FuzzError;

use crate::interruption::Interruption;

/// Does what the command line asks for.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match attempt(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", error.kind());
            error.code().into()
        }
    }
}

fn attempt(arguments: &Arguments) -> Result<(), FuzzError> {
    let interruption = Interruption::listen()
        .map_err(|error| FuzzError::failed("listening for signals", error))?;
    let done = if arguments.planted {
        planted::run(arguments, &interruption)
    } else if arguments.coverage {
        coverage::run(&interruption)
    } else if arguments.search {
        plain_search::run(arguments, &interruption)
    } else {
        campaign::run(arguments, &interruption)
    };
    // Ctrl-C ends cargo as well, and is then no failure of its own.
    if !matches!(done, Err(FuzzError::Found(_))) {
        interruption.check()?;
    }
    done
}
