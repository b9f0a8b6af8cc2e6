//! Looking on while processes of libFuzzer run.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::FuzzError;
use super::progress::{Progress, Said, artifact};
use crate::interruption::Interruption;
use crate::process::Process;

/// How long a process may take to end once it has been asked to.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many lines of a process are kept for when it fails.
const LAST_LINES: usize = 12;

/// Processes of libFuzzer that work on the same target.
pub(crate) struct Watch {
    workers: Vec<Worker>,
    lines: Receiver<(usize, String)>,
    start: Instant,
}

struct Worker {
    process: Process,
    said: Said,
    last: VecDeque<String>,
    /// It has written an input that something is wrong with.
    has_found: bool,
}

impl Watch {
    /// Starts so many processes, each by its own command.
    pub(crate) fn start(
        target: &str,
        commands: impl Iterator<Item = Command>,
    ) -> Result<Self, FuzzError> {
        let (sender, lines) = channel();
        let start = Instant::now();
        let mut workers = Vec::new();
        for (worker, mut command) in commands.enumerate() {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut process =
                Process::start(&mut command).map_err(|error| FuzzError::failed(target, error))?;
            if let Some(errors) = process.child().stderr.take() {
                let sender = sender.clone();
                std::thread::spawn(move || pass_on(BufReader::new(errors), worker, &sender));
            }
            let said = Said { progress: Progress::default(), at: start };
            workers.push(Worker { process, said, last: VecDeque::new(), has_found: false });
        }
        Ok(Self { workers, lines, start })
    }

    /// Shows how far it is until all have ended, or somebody wants it to end; the inputs that something is wrong with.
    pub(crate) fn run(
        mut self,
        target: &str,
        time: u64,
        interruption: &Interruption,
    ) -> Result<Vec<PathBuf>, FuzzError> {
        let bar = ProgressBar::new(time);
        let style =
            ProgressStyle::with_template("{prefix:18} {bar:8} {pos:>3}/{len} s  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(target.to_string());
        let mut found = Vec::new();
        while !interruption.has_come() {
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok((worker, line)) => found.extend(self.take(worker, line)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            bar.set_position(self.start.elapsed().as_secs().min(time));
            bar.set_message(self.said(found.len()));
        }
        for worker in &mut self.workers {
            worker.process.stop(PATIENCE);
        }
        while let Ok((worker, line)) = self.lines.recv() {
            found.extend(self.take(worker, line));
        }
        bar.finish_and_clear();
        let seconds = self.start.elapsed().as_secs();
        println!("{target:18} {seconds} s, {}", self.said(found.len()));
        interruption.check()?;
        self.expect_ends(target)?;
        Ok(found)
    }

    fn take(&mut self, worker: usize, line: String) -> Option<PathBuf> {
        let worker = self.workers.get_mut(worker)?;
        if worker.said.progress.take(&line) {
            worker.said.at = Instant::now();
            return None;
        }
        let found = artifact(&line).map(PathBuf::from);
        worker.has_found |= found.is_some();
        if worker.last.len() == LAST_LINES {
            worker.last.pop_front();
        }
        worker.last.push_back(line);
        found
    }

    fn said(&self, found: usize) -> String {
        let last = self.workers.iter().map(|worker| worker.said.at).max();
        let elapsed = last.map_or(Duration::ZERO, |last| last - self.start);
        let all = self.workers.iter().map(|worker| &worker.said.progress);
        Progress::together(all).said(elapsed, found)
    }

    /// A process that has found nothing ends well.
    fn expect_ends(&mut self, target: &str) -> Result<(), FuzzError> {
        for worker in &mut self.workers {
            let ended = worker.process.ended();
            if !worker.has_found && !ended.is_some_and(|status| status.success()) {
                let status = ended.map_or_else(|| "not at all".into(), |status| status.to_string());
                let last: Vec<_> = worker.last.iter().map(String::as_str).collect();
                return Err(FuzzError::Failed(format!(
                    "{target} has ended by itself ({status}) and left no input. It said last:\n{}",
                    last.join("\n")
                )));
            }
        }
        Ok(())
    }
}

/// A line may be anything: a target prints what it was given.
fn pass_on(mut errors: impl BufRead, worker: usize, sender: &Sender<(usize, String)>) {
    let mut bytes = Vec::new();
    while errors.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_string();
        if sender.send((worker, line)).is_err() {
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Watch {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Watch::start("t", std::iter::once(command)).unwrap()
    }

    #[test]
    fn what_is_found_is_told() {
        let watch = shell("echo 'x; Test unit written to a/crash-1' >&2; exit 77");
        let found = watch.run("t", 1, &Interruption::default()).unwrap();
        assert_eq!(found, [PathBuf::from("a/crash-1")]);
    }

    #[test]
    fn a_process_that_ends_badly_without_an_input_is_an_error() {
        let watch = shell("printf 'cannot \\377 start\\n' >&2; exit 3");
        let error = watch.run("t", 1, &Interruption::default()).unwrap_err();
        assert_eq!(error.code(), 4);
        assert!(error.to_string().ends_with("cannot \u{fffd} start"), "{error}");
    }

    #[test]
    fn an_interruption_ends_the_processes() {
        let interruption = Interruption::default();
        interruption.come();
        let start = Instant::now();
        let error = shell("exec sleep 100").run("t", 1, &interruption).unwrap_err();
        assert_eq!(error.code(), 130);
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}
