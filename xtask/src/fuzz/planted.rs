//! `--planted`: whether the targets find what was planted, from nothing.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use comfy_table::Table;
use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};

use super::FuzzError;
use super::arguments::Arguments;
use super::faults::{FAULTS, Fault};
use super::search_program::SearchProgram;
use crate::interruption::Interruption;

/// How long a seed may take. What ends here without an answer is an endless loop, and was found.
const PATIENCE: Duration = Duration::from_secs(900);

/// What came of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Found {
        executions: u64,
        oracle: String,
    },
    /// It did not end, or the process did.
    Ended,
    Nothing,
}

impl Outcome {
    /// From what the search has printed.
    fn read(text: &str) -> Self {
        let mut words = text.trim().splitn(4, ' ');
        let executions = match (words.next(), words.next().map(str::parse)) {
            (Some("found"), Some(Ok(executions))) => executions,
            (Some("nothing"), _) => return Self::Nothing,
            _ => return Self::Ended,
        };
        let message = words.nth(1).unwrap_or("");
        let oracle = message.split([':', ';', '{', '(']).next().unwrap_or(message).trim();
        Self::Found { executions, oracle: oracle.into() }
    }

    const fn is_found(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// Looks for each fault with each seed, and prints a table.
pub(crate) fn run(arguments: &Arguments, interruption: &Interruption) -> Result<(), FuzzError> {
    let faults: Vec<_> = FAULTS
        .iter()
        .filter(|fault| arguments.numbers.is_empty() || arguments.numbers.contains(&fault.number))
        .collect();
    if faults.is_empty() {
        return Err(FuzzError::WrongArguments("no fault has such a number".into()));
    }
    let program = SearchProgram::build_planted(None)?;
    let mut table = Table::new();
    table.set_header(["fault", "planted", "target", "found", "after", "by"]);
    let mut missed = Vec::new();
    for fault in faults {
        interruption.check()?;
        let outcomes = search(&program, fault, arguments)?;
        interruption.check()?;
        let found = outcomes.iter().filter(|outcome| outcome.is_found()).count();
        let [after, by] = [after(&outcomes), oracles(&outcomes)];
        let count = format!("{found} of {}", outcomes.len());
        println!("{:>4}  {:<64} {count}  {after}  {by}", fault.number, fault.what);
        let [number, what] = [fault.number.to_string(), fault.what.into()];
        table.add_row([number, what, fault.target.into(), count, after, by]);
        if !is_enough(found, outcomes.len()) {
            missed.push(format!("{}: {}", fault.number, fault.what));
        }
    }
    let text = table.load_style(NOTHING).to_string();
    println!("\n{text}");
    if let Some(file) = &arguments.markdown {
        let text = format!("{}\n", table.load_style(ASCII_MARKDOWN));
        fs::write(file, text).map_err(|error| FuzzError::failed("writing the table", error))?;
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(FuzzError::Found(format!("missed:\n  {}", missed.join("\n  "))))
}

/// Three of four, and of any other number as many.
const fn is_enough(found: usize, seeds: usize) -> bool {
    4 * found >= 3 * seeds && found > 0
}

fn search(
    program: &SearchProgram,
    fault: &Fault,
    arguments: &Arguments,
) -> Result<Vec<Outcome>, FuzzError> {
    let executions = arguments.executions.to_string();
    let workers = usize::try_from(arguments.workers.max(1)).unwrap_or(1);
    let seeds: Vec<_> = (1..=arguments.seeds).collect();
    let mut outcomes = Vec::new();
    for seeds in seeds.chunks(workers) {
        let mut children = Vec::new();
        for seed in seeds {
            let mut command = program.command();
            command.env("VTD_PLANTED", fault.number.to_string());
            command.args(["search", &seed.to_string(), &executions, fault.target]);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
            children.push(child.map_err(|error| FuzzError::failed("vtd-search", error))?);
        }
        for child in children {
            outcomes.push(wait(child)?);
        }
    }
    Ok(outcomes)
}

fn wait(mut child: Child) -> Result<Outcome, FuzzError> {
    let failed = |error| FuzzError::failed("vtd-search", error);
    let start = Instant::now();
    while child.try_wait().map_err(failed)?.is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().map_err(failed)?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text).map_err(failed)?;
    }
    Ok(Outcome::read(&text))
}

/// The fewest and the most executions.
fn after(outcomes: &[Outcome]) -> String {
    let executions = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Found { executions, .. } => Some(*executions),
        _ => None,
    });
    match (executions.clone().min(), executions.max()) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "-".into(),
    }
}

/// Each oracle once.
fn oracles(outcomes: &[Outcome]) -> String {
    let mut names: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Found { oracle, .. } => Some(oracle.as_str()),
            Outcome::Ended => Some("the process ends, or does not"),
            Outcome::Nothing => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_search_prints() {
        let found = Outcome::read("found 12 00ff waits: 3 completes (a.rs:1)\n");
        assert_eq!(found, Outcome::Found { executions: 12, oracle: "waits".into() });
        assert_eq!(Outcome::read("nothing\n"), Outcome::Nothing);
        assert_eq!(Outcome::read(""), Outcome::Ended);
        assert_eq!(after(&[found.clone(), Outcome::Nothing]), "12 to 12");
        assert_eq!(oracles(&[found.clone(), found, Outcome::Nothing]), "waits");
    }

    #[test]
    fn three_of_four_are_enough() {
        assert!(is_enough(3, 4) && is_enough(4, 4) && is_enough(1, 1));
        assert!(!is_enough(2, 4) && !is_enough(0, 0));
    }

    #[test]
    fn no_fault_has_two_lines() {
        let mut numbers: Vec<_> = FAULTS.iter().map(|fault| (fault.number, fault.target)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), FAULTS.len());
        assert!(FAULTS.len() >= 30);
    }
}
