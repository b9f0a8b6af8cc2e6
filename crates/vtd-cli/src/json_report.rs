//! The report for programs: one JSON document.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use vtd_recording::replay::{Report, Tally};

use crate::bad_input::BadInput;

/// What was found, of all files. The names of the fields are an interface.
#[derive(Serialize)]
pub(crate) struct JsonReport<'r> {
    pub(crate) files: Vec<FileReport<'r>>,
    pub(crate) errors: &'r [BadInput],
    pub(crate) total: Tally,
    /// Requests that used what the guest had been told is invalid.
    pub(crate) violations: u64,
}

/// What was found of one file.
#[derive(Serialize)]
pub(crate) struct FileReport<'r> {
    file: String,
    #[serde(flatten)]
    report: &'r Report,
    total: Tally,
}

impl<'r> FileReport<'r> {
    pub(crate) fn new(file: &Path, report: &'r Report) -> Self {
        Self { file: file.display().to_string(), report, total: report.total() }
    }
}

impl fmt::Display for JsonReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        writeln!(f, "{text}")
    }
}
