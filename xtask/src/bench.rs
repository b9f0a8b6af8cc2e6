//! `cargo xtask bench`: what requests and invalidations cost, next to their targets.

mod arguments;
mod callgrind;
mod error;
mod estimates;
mod figure;
mod kept_counts;
mod lack;
mod measured;
mod page;
mod platform;
mod programs;
mod report;
mod row;
mod targets;

use std::process::ExitCode;

pub(crate) use arguments::Arguments;
use error::BenchError;
use measured::Measured;
use platform::Platform;
use programs::Programs;
use report::Report;

use crate::folders::root;
use crate::interruption::Interruption;
use crate::terminal;

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

fn attempt(arguments: &Arguments) -> Result<(), BenchError> {
    let interruption = Interruption::listen()
        .map_err(|error| BenchError::failed("listening for signals", error))?;
    // Before anything is built.
    lack::survey()?;
    if arguments.counts {
        return kept_counts::run(arguments.keep, &interruption);
    }
    let programs = Programs::build(&["performance", "counts", "facts"])?;
    let platform = Platform::here()?;
    let measured = Measured::take(&programs, arguments.quick, &interruption)?;
    let report = Report::new(&measured, &platform);
    println!("{}", report.text(terminal::width()));
    let page = root().join("docs/performance.md");
    // Figures of a quick run are no figures to keep.
    let writes_page = !(arguments.quick || arguments.check);
    let file = arguments.markdown.clone().or(writes_page.then_some(page));
    if let Some(file) = file {
        page::write(&file, &report, &platform)?;
    }
    if arguments.check { report.check() } else { Ok(()) }
}
