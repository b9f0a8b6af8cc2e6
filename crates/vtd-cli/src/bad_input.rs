//! A file that could not be replayed.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use vtd_recording::format::FormatError;
use vtd_recording::replay::ReplayError;

/// A file that could not be replayed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BadInput {
    file: String,
    /// The line, counted from 1, where the reason has one.
    line: Option<u64>,
    message: String,
}

impl BadInput {
    pub(crate) fn unopened(file: &Path, why: &io::Error) -> Self {
        Self { file: file.display().to_string(), line: None, message: why.to_string() }
    }

    pub(crate) fn refused(file: &Path, why: &ReplayError) -> Self {
        let message = match why {
            // Its own message leaves the reason to the error below.
            ReplayError::Format(FormatError::Read { source, .. }) => format!("{why}: {source}"),
            _ => why.to_string(),
        };
        Self { file: file.display().to_string(), line: Some(why.line()), message }
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.message)
    }
}
