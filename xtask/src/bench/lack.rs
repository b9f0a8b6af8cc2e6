//! What a machine may lack, by name.

use std::process::{Command, Stdio};

use super::error::BenchError;

/// An error if something is missing without which nothing can be counted.
pub(crate) fn survey() -> Result<(), BenchError> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--version"]);
    valgrind.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if valgrind.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(BenchError::Lacks(
        "valgrind, whose callgrind counts instructions (Debian: apt-get install valgrind)",
    ))
}
