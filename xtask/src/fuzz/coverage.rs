//! What the kept corpus covers of the library crates.

use std::process::Command;

use super::lack::{Lack, survey};
use super::{FuzzError, root};

/// Replays the corpus under `cargo llvm-cov`, which prints a table by file.
pub(crate) fn run() -> Result<(), FuzzError> {
    let lacks = survey(&[Lack::LlvmTools]);
    if !lacks.is_empty() {
        return Err(FuzzError::Lacks(lacks));
    }
    let status = Command::new("cargo")
        .current_dir(root())
        .args(["llvm-cov", "test", "--package", "vtd-fuzzing", "--test", "corpus"])
        .args(["--ignore-filename-regex", "vtd-fuzzing|vtd-model|xtask"])
        .status()
        .map_err(|error| FuzzError::failed("cargo llvm-cov", error))?;
    if status.success() { Ok(()) } else { Err(FuzzError::Failed("cargo llvm-cov failed".into())) }
}
