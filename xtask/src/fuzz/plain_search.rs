//! `--search`: a search that takes no libFuzzer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::FuzzError;
use super::arguments::Arguments;
use super::campaign::{Campaign, at};
use super::finding::{Finder, fingerprint};
use super::search_program::{Run, SearchProgram};
use super::target_programs;
use crate::interruption::Interruption;

/// What came of a search.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    executions: u64,
    /// What an oracle objects to.
    found: Option<Vec<u8>>,
}

impl Outcome {
    /// From `nothing EXECUTIONS` or `found EXECUTIONS INPUT`.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let kind = words.next()?;
        let executions = words.next()?.parse().ok()?;
        let digits = words.next().unwrap_or_default().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        let input = || digits.chunks(2).map(byte).collect::<Option<Vec<_>>>();
        match kind {
            "nothing" => Some(Self { executions, found: None }),
            "found" => Some(Self { executions, found: Some(input()?) }),
            _ => None,
        }
    }
}

/// Searches each target for its time, as many at once as there are workers.
pub(crate) fn run(arguments: &Arguments, interruption: &Interruption) -> Result<(), FuzzError> {
    let targets = target_programs::wanted(arguments)?;
    let program = match arguments.fault {
        None => SearchProgram::build()?,
        fault => SearchProgram::build_planted(fault)?,
    };
    let mut outcomes = Vec::new();
    for targets in targets.chunks(usize::try_from(arguments.workers).unwrap_or(1)) {
        interruption.check()?;
        let start = |target: &String| Ok((target.clone(), search(&program, target, arguments)?));
        let runs: Result<Vec<_>, FuzzError> = targets.iter().map(start).collect();
        for (target, run) in runs? {
            let text = run.text(None, interruption)?;
            let Some(outcome) = Outcome::read(&text) else {
                return Err(FuzzError::Failed(format!(
                    "the search of {target} has ended by itself"
                )));
            };
            let each = outcome.executions / arguments.time;
            let found = usize::from(outcome.found.is_some());
            println!(
                "{target:18} {} s, {found} found, {each}/s, {} runs",
                arguments.time, outcome.executions
            );
            outcomes.push((target, outcome));
        }
    }
    let mut finder = Finder::with(program, arguments.fault);
    for (target, outcome) in outcomes {
        let Some(input) = outcome.found else { continue };
        let campaign = Campaign::new(Path::new(""), &target, arguments)?;
        let file = campaign.artifacts.join(format!("search-{:016x}", fingerprint(&input)));
        fs::write(&file, input).map_err(at(&file))?;
        println!("{}", finder.look_at(&campaign, &file, interruption)?);
    }
    finder.into_result()
}

fn search(program: &SearchProgram, target: &str, arguments: &Arguments) -> Result<Run, FuzzError> {
    let mut command: Command = program.command();
    command.args(["explore", "1", &arguments.time.to_string(), target]);
    command.args(kept(target)?).stderr(Stdio::null());
    Run::start(command)
}

/// The files of the kept corpus.
fn kept(target: &str) -> Result<Vec<PathBuf>, FuzzError> {
    let folder = crate::folders::root().join("corpus/fuzz").join(target);
    let mut files = Vec::new();
    for folder in [folder.join("regressions"), folder] {
        if folder.is_dir() {
            let entries = fs::read_dir(&folder).map_err(at(&folder))?;
            files.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_search_prints() {
        assert_eq!(Outcome::read("nothing 12\n"), Some(Outcome { executions: 12, found: None }));
        let found = Some(vec![0x00, 0xff]);
        assert_eq!(Outcome::read("found 7 00ff\n"), Some(Outcome { executions: 7, found }));
        assert_eq!(Outcome::read("found 7 0g"), None);
        assert_eq!(Outcome::read(""), None);
    }
}
