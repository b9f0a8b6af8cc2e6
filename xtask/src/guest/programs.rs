//! The project's own programs: the machine, and the one that replays recordings.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::error::{self, GuestError};
use crate::executable::executable;

/// The project's own programs, built.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) machine: PathBuf,
    pub(crate) vtd: PathBuf,
}

impl Programs {
    /// Builds them. Cargo shows how far it is.
    pub(crate) fn build() -> Result<Self, GuestError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args([
                "build",
                "--quiet",
                "--release",
                "--package",
                "vtd-vfio-user",
                "--package",
                "vtd-cli",
                "--bins",
            ])
            .args(["--message-format", "json-render-diagnostics"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(error::start("cargo"))?;
        if !output.status.success() {
            return Err(GuestError::Other(format!(
                "vtd-machine and vtd could not be built: cargo ended with {}",
                output.status
            )));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let program = |name: &str| {
            executable(&messages, name)
                .ok_or_else(|| GuestError::Other(format!("cargo names no executable {name}")))
        };
        Ok(Self { machine: program("vtd-machine")?, vtd: program("vtd")? })
    }
}
