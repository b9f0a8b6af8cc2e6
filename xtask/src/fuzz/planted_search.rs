//! One search for a planted fault: one seed.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::FuzzError;
use super::faults::Fault;
use super::search_program::{Ended, SearchProgram};
use crate::interruption::Interruption;
use crate::process::Process;

/// How long a search may say nothing. It says something every few thousand executions, so what is silent for so long is in an endless
/// loop, and was found.
const PATIENCE: Duration = Duration::from_secs(180);
/// After so many executions each a person is told.
const TOLD: u64 = 100_000;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Found {
        executions: u64,
        oracle: String,
    },
    /// The process ended, or an input does not.
    Ended,
    /// An oracle objects whether the fault is planted or not: that is no find.
    Anyway {
        oracle: String,
    },
    Nothing,
}

impl Outcome {
    pub(super) const fn is_found(&self) -> bool {
        matches!(self, Self::Found { .. } | Self::Ended)
    }
}

/// A line of the search.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    At(u64),
    Found { executions: u64, input: Vec<u8>, oracle: String },
    Nothing,
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.trim().splitn(4, ' ');
        let word = words.next()?;
        if word == "nothing" {
            return Some(Self::Nothing);
        }
        let executions = words.next()?.parse().ok()?;
        if word == "at" {
            return Some(Self::At(executions));
        }
        let digits = words.next()?;
        let byte = |at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let input = (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        let message = words.next().unwrap_or("");
        let oracle = message.split([':', ';', '{', '(']).next().unwrap_or(message).trim().into();
        (word == "found").then_some(Self::Found { executions, input, oracle })
    }
}

/// A search for a fault.
pub(super) struct PlantedSearch<'a> {
    pub(super) program: &'a SearchProgram,
    pub(super) fault: &'a Fault,
    pub(super) seed: u64,
    pub(super) executions: u64,
}

impl PlantedSearch<'_> {
    /// Searches, and tells how far it is.
    pub(super) fn run(&self, interruption: &Interruption) -> Result<Outcome, FuzzError> {
        let failed = |error| FuzzError::failed("vtd-search", error);
        let mut command = self.program.command();
        command.env("VTD_PLANTED", self.fault.number.to_string());
        let [seed, executions] = [self.seed, self.executions].map(|number| number.to_string());
        command.args(["search", &seed, &executions, self.fault.target]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start(&mut command).map_err(failed)?;
        let (sender, lines) = mpsc::channel();
        let output = process.child().stdout.take();
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Some(line) = line.ok().as_deref().and_then(Line::read) else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let outcome = self.follow(&lines, interruption)?;
        self.tell(&match &outcome {
            Outcome::Found { executions, oracle } => format!("{oracle}, after {executions}"),
            Outcome::Ended => "the process ended, or an input does not".into(),
            Outcome::Anyway { oracle } => format!("{oracle}, with nothing planted as well"),
            Outcome::Nothing => "nothing".into(),
        });
        Ok(outcome)
    }

    fn follow(
        &self,
        lines: &Receiver<Line>,
        interruption: &Interruption,
    ) -> Result<Outcome, FuzzError> {
        let mut heard = Instant::now();
        loop {
            interruption.check()?;
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(Line::At(executions)) => {
                    heard = Instant::now();
                    if executions.is_multiple_of(TOLD) {
                        self.tell(&format!("{executions} executions"));
                    }
                }
                Ok(Line::Nothing) => return Ok(Outcome::Nothing),
                Ok(Line::Found { executions, input, oracle }) => {
                    return Ok(match self.is_wrong_anyway(&input, interruption)? {
                        true => Outcome::Anyway { oracle },
                        false => Outcome::Found { executions, oracle },
                    });
                }
                Err(RecvTimeoutError::Timeout) if heard.elapsed() < PATIENCE => {}
                Err(_) => return Ok(Outcome::Ended),
            }
        }
    }

    fn tell(&self, what: &str) {
        eprintln!("  seed {}: {what}", self.seed);
    }

    /// Whether an oracle objects to an input where nothing is planted.
    fn is_wrong_anyway(
        &self,
        input: &[u8],
        interruption: &Interruption,
    ) -> Result<bool, FuzzError> {
        let failed = |error| FuzzError::failed("a file for an input", error);
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        file.write_all(input).map_err(failed)?;
        let ended =
            self.program.run(&["replay", self.fault.target], &[file.path()], interruption)?;
        Ok(!matches!(ended, Ended::Said(_, true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_search_prints() {
        let found = Line::Found { executions: 12, input: vec![0, 0xff], oracle: "waits".into() };
        assert_eq!(Line::read("found 12 00ff waits: 3 completes (a.rs:1)\n"), Some(found));
        assert_eq!(Line::read("nothing\n"), Some(Line::Nothing));
        assert_eq!(Line::read("at 5000\n"), Some(Line::At(5000)));
        for other in ["", "found", "found 12 0", "lost 12 00 waits"] {
            assert_eq!(Line::read(other), None, "{other}");
        }
    }
}
