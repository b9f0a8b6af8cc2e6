//! Why nothing came of it.

use std::fmt::Display;

use crate::interruption::Interrupted;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// This machine lacks something.
    #[error("{0}")]
    Lacks(&'static str),
    /// Targets were missed.
    #[error("{}", lines(.0))]
    Missed(Vec<String>),
    /// Something takes more instructions than is kept.
    #[error("{}", lines(.0))]
    More(Vec<String>),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
    /// Somebody wanted it to end.
    #[error("nothing was written")]
    Interrupted,
}

fn lines(names: &[String]) -> String {
    names.join("\n  ")
}

impl From<Interrupted> for BenchError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl BenchError {
    pub(crate) fn failed(what: impl Display, error: impl Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }

    /// The word before it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Lacks(_) => "missing",
            Self::Missed(_) => "missed",
            Self::More(_) => "more instructions",
            Self::Failed(_) => "error",
            Self::Interrupted => "interrupted",
        }
    }

    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Missed(_) | Self::More(_) => 1,
            Self::Lacks(_) => 3,
            Self::Failed(_) => 4,
            Self::Interrupted => 130,
        }
    }
}
