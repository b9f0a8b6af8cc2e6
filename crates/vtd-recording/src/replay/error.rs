//! Why a recording could not be replayed.

use thiserror::Error;
use vtd::spec::{CapabilityError, SourceId};

use crate::format::FormatError;

/// A recording that cannot be replayed, which is not the same as one whose answers differ.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A line cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The header's capabilities do not fit together.
    #[error("line {line}: {why}")]
    Capabilities {
        /// The last of the header's lines that say what the unit can do.
        line: u64,
        /// Which two things do not fit.
        #[source]
        why: CapabilityError,
    },
    /// Devices cannot be assigned under this header.
    #[error(
        "line {line}: no device can be assigned: field cap shows CM (caching mode) 0, so the guest does not tell of new entries"
    )]
    NoCachingMode {
        /// The last of the header's lines that say what the unit can do.
        line: u64,
    },
    /// A line asks for what cannot be done.
    #[error("line {line}: {why}")]
    Input {
        /// Where it stands.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// The unit read a page that no line names, and that is not allowed.
    #[error(
        "line {line}: the unit read guest memory at {page:#x}, a page that no line before names"
    )]
    UnknownPage {
        /// The input that led to it.
        line: u64,
        /// The page.
        page: u64,
    },
    /// `assign` and `--assign` cannot be applied to a device.
    #[error("line {line}: {source_id} cannot be attached: {why}")]
    Attach {
        /// The line of the device.
        line: u64,
        /// The device.
        source_id: SourceId,
        /// Why.
        why: String,
    },
    /// The state of the unit could not be carried over.
    #[error("line {line}: the unit could not be saved and restored: {why}")]
    SaveRestore {
        /// The input before.
        line: u64,
        /// Why.
        why: String,
    },
}

impl ReplayError {
    /// The line that the error is about, counted from 1.
    #[must_use]
    pub const fn line(&self) -> u64 {
        match self {
            Self::Format(error) => error.line(),
            Self::Capabilities { line, .. }
            | Self::NoCachingMode { line }
            | Self::Input { line, .. }
            | Self::UnknownPage { line, .. }
            | Self::Attach { line, .. }
            | Self::SaveRestore { line, .. } => *line,
        }
    }
}
