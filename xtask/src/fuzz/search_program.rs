//! The program of `vtd-fuzzing` that runs inputs outside of libFuzzer.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::FuzzError;
use super::folders::{root, target};
use crate::interruption::Interruption;
use crate::process::Process;

/// How long it may take to do something with one input. An input that does not end is cut here.
const PATIENCE: Duration = Duration::from_secs(120);

/// It, built.
pub(crate) struct SearchProgram {
    path: PathBuf,
    fault: Option<u16>,
}

/// How it ended.
pub(crate) enum Ended {
    /// By itself, with what it printed and whether all was well.
    Said(String, bool),
    /// It was cut.
    OutOfTime,
}

impl SearchProgram {
    /// Builds it. Cargo shows how far it is.
    pub(crate) fn build() -> Result<Self, FuzzError> {
        Self::build_in("search", &[])
    }

    /// Builds it with planted faults that can be switched on, and switches one on.
    pub(crate) fn build_planted(fault: Option<u16>) -> Result<Self, FuzzError> {
        Ok(Self { fault, ..Self::build_in("planted-search", &["--features", "planted"])? })
    }

    fn build_in(folder: &str, features: &[&str]) -> Result<Self, FuzzError> {
        let target = target(folder);
        let mut command = Command::new("cargo");
        command.current_dir(root()).args(["build", "--release", "--target-dir"]);
        command.arg(&target).args(["--package", "vtd-fuzzing", "--bin", "vtd-search"]);
        let status = command.args(features).status();
        let status = status.map_err(|error| FuzzError::failed("cargo", error))?;
        if !status.success() {
            return Err(FuzzError::Failed("vtd-search could not be built: cargo says why".into()));
        }
        Ok(Self { path: target.join("release/vtd-search"), fault: None })
    }

    /// A run of it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_remove("VTD_PLANTED").env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command.envs(self.fault.map(|fault| ("VTD_PLANTED", fault.to_string())));
        command
    }

    /// Has it do something with files.
    pub(crate) fn run(
        &self,
        arguments: &[&str],
        files: &[&Path],
        interruption: &Interruption,
    ) -> Result<Ended, FuzzError> {
        let failed = |error| FuzzError::failed("vtd-search", error);
        let mut command = self.command();
        command.args(arguments).args(files).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start(&mut command).map_err(failed)?;
        let output = process.child().stdout.take();
        // It may print more than a pipe holds.
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.map(|mut output| output.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let start = Instant::now();
        while process.wait(Duration::from_millis(50)).is_none() {
            interruption.check()?;
            if start.elapsed() > PATIENCE {
                return Ok(Ended::OutOfTime);
            }
        }
        let text = reader.join().unwrap_or_default();
        Ok(Ended::Said(text, process.ended().is_some_and(|status| status.success())))
    }
}
