//! Why no table was made.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::exit_status::ExitStatus;
use super::lack::Lack;
use crate::interruption::Interrupted;

/// Why no table was made.
#[derive(Debug, Error)]
pub(crate) enum GuestError {
    #[error("this machine lacks what a guest needs:{}", list(.0))]
    MachineLacks(Vec<Lack>),

    #[error("{step}: {why}{}\nThe whole log: {}", indented(.tail), .log.display())]
    Step {
        step: String,
        why: String,
        /// The last lines of its output.
        tail: String,
        log: PathBuf,
    },

    #[error("{doing} {}: {source}", .path.display())]
    File {
        /// Such as "cannot write".
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error("cannot start a program ({program}): {source}")]
    Start { program: String, source: io::Error },

    /// Anything else, in words.
    #[error("{0}")]
    Other(String),

    #[error("interrupted")]
    Interrupted,
}

impl From<Interrupted> for GuestError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl GuestError {
    pub(crate) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::MachineLacks(_) => ExitStatus::MachineLacks,
            Self::Interrupted => ExitStatus::Interrupted,
            Self::Step { .. } | Self::File { .. } | Self::Start { .. } | Self::Other(_) => {
                ExitStatus::NotPrepared
            }
        }
    }
}

/// For `map_err`: what was being done to which file.
pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GuestError {
    let path = path.to_path_buf();
    move |source| GuestError::File { doing, path, source }
}

/// For `map_err`: which program could not be started.
pub(crate) fn start(program: &str) -> impl FnOnce(io::Error) -> GuestError {
    let program = program.to_string();
    move |source| GuestError::Start { program, source }
}

fn list(lacks: &[Lack]) -> String {
    lacks.iter().map(|lack| format!("\n  - {lack}")).collect()
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("\n  | {line}")).collect()
}
