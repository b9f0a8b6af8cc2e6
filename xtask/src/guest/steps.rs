//! Steps that take a while: shown as they run, with all that they print in a log.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use super::error::{self, GuestError};
use super::lack::{Lack, network_failure};
use crate::interruption::Interruption;
use crate::process::Process;

/// How many of the last lines of a failed step are shown.
const TAIL: usize = 12;

/// Runs steps one after another, and keeps the log.
#[derive(Debug)]
pub(crate) struct Steps<'i> {
    log: File,
    path: PathBuf,
    interruption: &'i Interruption,
}

impl<'i> Steps<'i> {
    /// Opens the log, to write behind what is there.
    pub(crate) fn open(path: PathBuf, interruption: &'i Interruption) -> Result<Self, GuestError> {
        let log = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let log = log.map_err(error::file("cannot open", &path))?;
        Ok(Self { log, path, interruption })
    }

    /// Tells something, here and in the log.
    pub(crate) fn say(&mut self, what: &str) -> Result<(), GuestError> {
        eprintln!("{what}");
        self.note(what)
    }

    fn note(&mut self, what: &str) -> Result<(), GuestError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        writeln!(self.log, "== {} {what}", now.as_secs())
            .map_err(error::file("cannot write", &self.path))
    }

    /// Runs a step that people may have to wait for, and says so. Its output goes to the log and is returned.
    pub(crate) fn run(&mut self, what: &str, command: &mut Command) -> Result<String, GuestError> {
        let bar = ProgressBar::new_spinner().with_message(what.to_string());
        bar.set_style(style());
        bar.enable_steady_tick(Duration::from_millis(120));
        let start = Instant::now();
        let output = self.run_quietly(what, command);
        bar.finish_and_clear();
        if output.is_ok() {
            eprintln!("{what}: {} s", start.elapsed().as_secs());
        }
        output
    }

    /// Runs a step that takes no time. Its output goes to the log and is returned.
    pub(crate) fn run_quietly(
        &mut self,
        what: &str,
        command: &mut Command,
    ) -> Result<String, GuestError> {
        self.interruption.check()?;
        self.note(&format!("{what}: {command:?}"))?;
        let failed =
            |source| GuestError::File { doing: "cannot use", path: self.path.clone(), source };
        let begin = self.log.seek(SeekFrom::End(0)).map_err(failed)?;
        command.stdin(Stdio::null());
        command.stdout(self.log.try_clone().map_err(failed)?);
        command.stderr(self.log.try_clone().map_err(failed)?);
        let mut process = Process::start(command).map_err(error::start(what))?;
        let status = loop {
            if let Some(status) = process.wait(Duration::from_millis(100)) {
                break status;
            }
            self.interruption.check()?;
        };
        let output = self.read_from(begin)?;
        if status.success() {
            return Ok(output);
        }
        self.note(&format!("{what}: {status}"))?;
        if let Some(line) = network_failure(&output) {
            let why = format!("{line} (while {what}; the whole log: {})", self.path.display());
            return Err(GuestError::MachineLacks(vec![Lack::Network(why)]));
        }
        Err(GuestError::Step {
            step: what.into(),
            why: format!("ended with {status}"),
            tail: tail(&output, TAIL),
            log: self.path.clone(),
        })
    }

    fn read_from(&mut self, begin: u64) -> Result<String, GuestError> {
        let mut bytes = Vec::new();
        let read =
            self.log.seek(SeekFrom::Start(begin)).and_then(|_| self.log.read_to_end(&mut bytes));
        read.map_err(error::file("cannot read", &self.path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn log(&self) -> &Path {
        &self.path
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// The last lines of a file, which may be a long one; nothing if it is not there.
pub(crate) fn tail_of_file(file: &Path, lines: usize) -> String {
    // More than any line of ours takes.
    const A_LINE: u64 = 4096;
    let read = || {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        let wanted = A_LINE.saturating_mul(u64::try_from(lines).unwrap_or(u64::MAX));
        file.seek(SeekFrom::Start(length.saturating_sub(wanted)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    tail(&String::from_utf8_lossy(&read().unwrap_or_default()), lines)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps<'i>(folder: &Path, interruption: &'i Interruption) -> Steps<'i> {
        Steps::open(folder.join("log"), interruption).unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_output_of_a_step_is_returned_and_kept() {
        let (folder, interruption) = (tempfile::tempdir().unwrap(), Interruption::default());
        let mut steps = steps(folder.path(), &interruption);
        steps.run_quietly("first", &mut shell("echo one")).unwrap();
        let output = steps.run_quietly("second", &mut shell("echo two; echo three >&2")).unwrap();
        assert_eq!(output, "two\nthree\n");
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(log.contains(" first: ") && log.contains("\none\n"), "{log}");
    }

    #[test]
    fn a_failed_step_tells_its_last_lines_and_its_log() {
        let (folder, interruption) = (tempfile::tempdir().unwrap(), Interruption::default());
        let mut steps = steps(folder.path(), &interruption);
        let error = steps.run_quietly("building", &mut shell("seq 100; exit 3")).unwrap_err();
        assert_eq!(error.exit_status(), super::super::exit_status::ExitStatus::NotPrepared);
        let text = error.to_string();
        assert!(text.starts_with("building: ended with exit status: 3\n  | 89\n"), "{text}");
        assert!(text.ends_with(&format!("log: {}", folder.path().join("log").display())), "{text}");
    }

    #[test]
    fn a_step_that_finds_no_packages_is_a_lack_of_network() {
        let (folder, interruption) = (tempfile::tempdir().unwrap(), Interruption::default());
        let mut steps = steps(folder.path(), &interruption);
        let script = "echo 'E: Failed getting release file x'; exit 1";
        let error = steps.run_quietly("debootstrap", &mut shell(script)).unwrap_err();
        assert!(
            matches!(&error, GuestError::MachineLacks(lacks) if matches!(lacks[..], [Lack::Network(_)])),
            "{error}"
        );
    }

    #[test]
    fn an_interrupted_step_ends() {
        let (folder, interruption) = (tempfile::tempdir().unwrap(), Interruption::default());
        let mut steps = steps(folder.path(), &interruption);
        let other = interruption.clone();
        let start = Instant::now();
        let comes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            other.come();
        });
        let error = steps.run_quietly("long", &mut shell("sleep 100")).unwrap_err();
        comes.join().unwrap();
        assert!(matches!(error, GuestError::Interrupted), "{error}");
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}
