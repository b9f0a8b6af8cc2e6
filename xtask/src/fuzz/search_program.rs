//! The program of `vtd-fuzzing` that runs inputs outside of libFuzzer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FuzzError, root};

/// It, built.
pub(crate) struct SearchProgram {
    path: PathBuf,
}

impl SearchProgram {
    /// Builds it, with planted faults that can be switched on or without.
    pub(crate) fn build(planted: bool) -> Result<Self, FuzzError> {
        let target = root().join(if planted { "target/planted-search" } else { "target" });
        let mut command = Command::new("cargo");
        command.current_dir(root()).args(["build", "--quiet", "--release", "--target-dir"]);
        command.arg(&target).args(["--package", "vtd-fuzzing", "--bin", "vtd-search"]);
        if planted {
            command.args(["--features", "planted"]);
        }
        let status = command.status().map_err(|error| FuzzError::failed("cargo", error))?;
        if !status.success() {
            return Err(FuzzError::Failed("vtd-search could not be built".into()));
        }
        Ok(Self { path: target.join("release/vtd-search") })
    }

    /// A run of it, with no fault planted.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_remove("VTD_PLANTED").env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command
    }

    /// What it prints.
    pub(crate) fn output(
        &self,
        arguments: &[&str],
        file: Option<&Path>,
    ) -> Result<String, FuzzError> {
        let output = self.command().args(arguments).args(file).output();
        let output = output.map_err(|error| FuzzError::failed("vtd-search", error))?;
        if output.status.code() == Some(2) {
            return Err(FuzzError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The names of all targets.
    pub(crate) fn targets(&self) -> Result<Vec<String>, FuzzError> {
        Ok(self.output(&["targets"], None)?.lines().map(String::from).collect())
    }
}
