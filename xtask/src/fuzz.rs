//! `cargo xtask fuzz`: runs the fuzz targets, keeps what they find, and shows that they find what was planted.

mod arguments;
mod campaign;
mod coverage;
mod faults;
mod finding;
mod lack;
mod planted;
mod progress;
mod search_program;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) use arguments::Arguments;
use lack::Lack;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuzzError {
    /// This machine lacks something.
    #[error("missing: {}", .0.iter().map(Lack::to_string).collect::<Vec<_>>().join("\nmissing: "))]
    Lacks(Vec<Lack>),
    /// Something was found, or something planted was not.
    #[error("{0}")]
    Found(String),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
}

impl FuzzError {
    fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Lacks(_) => 3,
            Self::Found(_) => 1,
            Self::Failed(_) => 4,
        }
    }
}

/// Does what the command line asks for.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let done = if arguments.planted {
        planted::run(arguments)
    } else if arguments.coverage {
        coverage::run()
    } else {
        campaign::run(arguments)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.code().into()
        }
    }
}

/// The folder of the whole project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
