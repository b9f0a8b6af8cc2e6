//! The project's own programs: the machine, and the one that replays recordings.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::error::{self, GuestError};

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

/// Where cargo says that it has put a program.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").is_some_and(|target| target == name))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_told_from_a_library_of_the_same_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"vtd"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"vtd"},"executable":"/target/release/vtd"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages, "vtd"), Some("/target/release/vtd".into()));
        assert_eq!(executable(messages, "vtd-machine"), None);
    }
}
