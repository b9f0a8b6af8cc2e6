//! All that was measured in one run.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::error::BenchError;
use super::programs::{self, Programs};
use super::{callgrind, estimates};
use crate::folders::target;
use crate::interruption::Interruption;

/// Figures by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// Nanoseconds of one operation.
    pub(crate) times: BTreeMap<String, f64>,
    /// Instructions of one operation.
    pub(crate) counts: BTreeMap<String, f64>,
    pub(crate) facts: BTreeMap<String, f64>,
    /// What takes long to set up was left out.
    pub(crate) is_quick: bool,
}

impl Measured {
    /// Measures everything, and tells how far it is.
    pub(crate) fn take(
        programs: &Programs,
        is_quick: bool,
        interruption: &Interruption,
    ) -> Result<Self, BenchError> {
        eprintln!("1 of 3: hit rates and memory");
        let facts = Command::new(programs.path("facts")?);
        let facts = programs::output(facts, |line| eprintln!("{line}"), interruption)?;
        let facts = serde_json::from_str(&facts)
            .map_err(|error| BenchError::failed("what facts prints", error))?;
        eprintln!("2 of 3: instructions");
        let counts = callgrind::count(programs, is_quick, interruption)?;
        // By itself, so that nothing of ours disturbs it.
        eprintln!("3 of 3: times");
        let times = times(programs, is_quick, interruption)?;
        Ok(Self { times, counts, facts, is_quick })
    }
}

fn times(
    programs: &Programs,
    is_quick: bool,
    interruption: &Interruption,
) -> Result<BTreeMap<String, f64>, BenchError> {
    let folder = target().join("bench-times");
    // Nothing of an earlier run is to be taken for one of this.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| BenchError::failed(folder.display(), error))?;
    }
    let mut command = Command::new(programs.path("performance")?);
    command.arg("--bench").env("CRITERION_HOME", &folder);
    if is_quick {
        command.args(["--warm-up-time", "0.1", "--measurement-time", "0.2"]);
    }
    let told = |line: &str| match line.strip_prefix("Benchmarking ") {
        // It names each once before it says what it does.
        Some(name) if !name.contains(':') => eprintln!("  {name}"),
        Some(_) => {}
        None if line.is_empty() => {}
        None => eprintln!("  {line}"),
    };
    programs::output(command, told, interruption)?;
    estimates::medians(&folder)
}
