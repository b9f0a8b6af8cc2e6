//! Instructions, as callgrind counts them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::BenchError;
use super::programs::{self, Programs};
use crate::interruption::Interruption;

/// Something that the program `counts` does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scenario {
    name: String,
    /// How often.
    operations: u32,
    is_quick: bool,
}

impl Scenario {
    /// A line of its list: `hit-4k 4096 quick`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            name: words.next()?.into(),
            operations: words.next()?.parse().ok().filter(|operations| *operations > 0)?,
            is_quick: words.next()? == "quick",
        })
    }
}

/// The instructions of one operation of each scenario. Several are counted at once, as it does not matter how busy the machine is.
pub(crate) fn count(
    programs: &Programs,
    only_quick: bool,
    interruption: &Interruption,
) -> Result<BTreeMap<String, f64>, BenchError> {
    let program = Command::new(programs.path("counts")?);
    let list = programs::output(program, |line| eprintln!("{line}"), interruption)?;
    let scenarios: Vec<_> = list
        .lines()
        .filter_map(Scenario::read)
        .filter(|scenario| scenario.is_quick || !only_quick)
        .collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, counts) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            let count = count_one(programs, scenario, interruption)?;
            eprintln!("  {}: {count:.1} instructions", scenario.name);
            if let Ok(mut counts) = counts.lock() {
                counts.insert(scenario.name.clone(), count);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(BenchError::Failed("a thread panicked".into())))
        })
    })?;
    counts.into_inner().map_err(|error| BenchError::failed("counting", error))
}

fn count_one(
    programs: &Programs,
    scenario: &Scenario,
    interruption: &Interruption,
) -> Result<f64, BenchError> {
    let failed = |error| BenchError::failed("a file for callgrind", error);
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut command = Command::new("valgrind");
    // Only what happens in `measured`, with all that it calls.
    command.args(["--tool=callgrind", "--toggle-collect=*measured*"]);
    command.arg(format!("--callgrind-out-file={}", file.path().display()));
    command.arg(programs.path("counts")?).arg(&scenario.name);
    let said = Mutex::new(String::new());
    let told = |line: &str| {
        if let Ok(mut said) = said.lock() {
            said.push_str(line);
            said.push('\n');
        }
    };
    let ended = programs::output(command, told, interruption);
    if let (Err(BenchError::Failed(_)), Ok(said)) = (&ended, said.lock()) {
        eprint!("{said}");
    }
    ended?;
    let text = fs::read_to_string(file.path()).map_err(failed)?;
    let total = total(&text).filter(|total| *total > 0).ok_or_else(|| {
        BenchError::Failed(format!("callgrind has counted nothing of {}", scenario.name))
    })?;
    Ok(f64::from(total) / f64::from(scenario.operations))
}

/// What callgrind's file says was counted in all.
fn total(text: &str) -> Option<u32> {
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    total.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list() {
        let scenario = |line| Scenario::read(line).map(|found| (found.operations, found.is_quick));
        assert_eq!(scenario("hit-4k 4096 quick"), Some((4096, true)));
        assert_eq!(scenario("page-am0-of-1m 1 slow"), Some((1, false)));
        for other in ["", "hit-4k", "hit-4k 0 quick", "hit-4k x quick", "hit-4k 1"] {
            assert_eq!(scenario(other), None, "{other}");
        }
    }

    #[test]
    fn the_total_of_a_file() {
        let text = "version: 1\nevents: Ir\nfn=(1) counts::main\n0 12\n\ntotals: 258072\n";
        assert_eq!(total(text), Some(258_072));
        assert_eq!(total("totals: 7 3\n"), Some(7));
        assert_eq!(total("events: Ir\n"), None);
    }
}
