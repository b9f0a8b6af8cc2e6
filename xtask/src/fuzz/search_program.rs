//! The program of `vtd-fuzzing` that runs inputs outside of libFuzzer.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::FuzzError;
use crate::folders::{self, root};
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
        Self::build_in(&folders::target(), &[])
    }

    /// Builds it with planted faults that can be switched on, and switches one on.
    pub(crate) fn build_planted(fault: Option<u16>) -> Result<Self, FuzzError> {
        Ok(Self {
            fault,
            ..Self::build_in(&folders::target().join("planted-search"), &["--features", "planted"])?
        })
    }

    fn build_in(target: &Path, features: &[&str]) -> Result<Self, FuzzError> {
        let mut command = Command::new("cargo");
        command.current_dir(root()).args(["build", "--release", "--target-dir"]);
        command.arg(target).args(["--package", "vtd-fuzzing", "--bin", "vtd-search"]);
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
        let mut command = self.command();
        command.args(arguments).args(files).stderr(Stdio::null());
        let mut run = Run::start(command)?;
        match run.wait(Some(PATIENCE), interruption)? {
            None => Ok(Ended::OutOfTime),
            Some(status) => Ok(Ended::Said(run.printed(), status.success())),
        }
    }
}

/// It, while it runs.
pub(crate) struct Run {
    process: Process,
    /// It may print more than a pipe holds.
    reader: JoinHandle<String>,
}

impl Run {
    pub(crate) fn start(mut command: Command) -> Result<Self, FuzzError> {
        command.stdout(Stdio::piped());
        let mut process =
            Process::start(&mut command).map_err(|error| FuzzError::failed("vtd-search", error))?;
        let output = process.child().stdout.take();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error counts.
            let _read = output.map(|mut output| output.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Self { process, reader })
    }

    fn wait(
        &mut self,
        patience: Option<Duration>,
        interruption: &Interruption,
    ) -> Result<Option<ExitStatus>, FuzzError> {
        let start = Instant::now();
        loop {
            interruption.check()?;
            let ended = self.process.wait(Duration::from_millis(50));
            if ended.is_some() || patience.is_some_and(|patience| start.elapsed() > patience) {
                return Ok(ended);
            }
        }
    }

    fn printed(self) -> String {
        self.reader.join().unwrap_or_default()
    }

    /// What it has printed once it has ended, or once its time is up.
    pub(crate) fn text(
        mut self,
        patience: Option<Duration>,
        interruption: &Interruption,
    ) -> Result<String, FuzzError> {
        self.wait(patience, interruption)?;
        self.process.kill();
        Ok(self.printed())
    }
}
