//! Why nothing came of it.

use super::lack::Lack;
use crate::interruption::Interrupted;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuzzError {
    /// The command line names what there is not.
    #[error("{0}")]
    WrongArguments(String),
    /// This machine lacks something.
    #[error("{}", .0.iter().map(Lack::to_string).collect::<Vec<_>>().join("\nmissing: "))]
    Lacks(Vec<Lack>),
    /// Something was found, or something planted was not.
    #[error("{0}")]
    Found(String),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
    /// Somebody wanted it to end.
    #[error("what was found before is in fuzz/corpus and fuzz/artifacts")]
    Interrupted,
}

impl From<Interrupted> for FuzzError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl FuzzError {
    pub(crate) fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }

    /// The word before it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Lacks(_) => "missing",
            Self::Found(_) => "found",
            Self::Interrupted => "interrupted",
            Self::WrongArguments(_) | Self::Failed(_) => "error",
        }
    }

    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Found(_) => 1,
            // As clap's.
            Self::WrongArguments(_) => 2,
            Self::Lacks(_) => 3,
            Self::Failed(_) => 4,
            Self::Interrupted => 130,
        }
    }
}
