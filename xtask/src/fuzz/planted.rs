//! `--planted`: whether the targets find what was planted, from nothing.

use std::fs;

use comfy_table::Table;
use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};

use super::FuzzError;
use super::arguments::Arguments;
use super::faults::{FAULTS, Fault};
use super::planted_search::{Outcome, PlantedSearch};
use super::search_program::SearchProgram;
use crate::interruption::Interruption;

/// What a file with the table begins with.
const HEAD: &str = "\
# Planted faults

What `cargo xtask fuzz --planted --markdown docs/planted-faults.md` found, from nothing, with each seed: after how many executions (the fewest and the
most), and by which oracles. See [fuzzing.md](fuzzing.md#planted-faults).

";

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
    for (number, fault) in (1..).zip(&faults) {
        eprintln!("fault {} ({number} of {}): {}", fault.number, faults.len(), fault.what);
        let outcomes = search(&program, fault, arguments, interruption)?;
        let row = row(fault, &outcomes, arguments.seeds);
        println!("{}", row.join("  "));
        table.add_row(row);
        if !is_enough(found(&outcomes), arguments.seeds) {
            missed.push(format!("{}: {}", fault.number, fault.what));
        }
    }
    let text = table.load_style(NOTHING).to_string();
    println!("\n{text}");
    if let Some(file) = &arguments.markdown {
        let text = format!("{HEAD}{}\n", table.load_style(ASCII_MARKDOWN));
        fs::write(file, text).map_err(|error| FuzzError::failed("writing the table", error))?;
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(FuzzError::Found(format!("missed:\n  {}", missed.join("\n  "))))
}

/// Looks for a fault with one seed after the other, until all are through or enough of them have missed it.
fn search(
    program: &SearchProgram,
    fault: &Fault,
    arguments: &Arguments,
    interruption: &Interruption,
) -> Result<Vec<Outcome>, FuzzError> {
    let workers = usize::try_from(arguments.workers.max(1)).unwrap_or(1);
    let seeds: Vec<_> = (1..=arguments.seeds).collect();
    let mut outcomes = Vec::new();
    for seeds in seeds.chunks(workers) {
        let of_chunk = std::thread::scope(|scope| {
            let searches = seeds.iter().map(|&seed| {
                let executions = arguments.executions;
                let search = PlantedSearch { program, fault, seed, executions };
                scope.spawn(move || search.run(interruption))
            });
            let searches: Vec<_> = searches.collect();
            let joined = searches.into_iter().map(|search| {
                search.join().unwrap_or_else(|_| Err(FuzzError::Failed("a search panicked".into())))
            });
            joined.collect::<Result<Vec<_>, _>>()
        })?;
        outcomes.extend(of_chunk);
        let missed = outcomes.len() - found(&outcomes);
        let most = usize::try_from(arguments.seeds).unwrap_or(usize::MAX).saturating_sub(missed);
        if !is_enough(most, arguments.seeds) {
            break;
        }
    }
    Ok(outcomes)
}

fn found(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.is_found()).count()
}

/// Three of four, and of any other number as many.
fn is_enough(found: usize, seeds: u64) -> bool {
    4 * found as u64 >= 3 * seeds && found > 0
}

fn row(fault: &Fault, outcomes: &[Outcome], seeds: u64) -> Vec<String> {
    let mut count = format!("{} of {}", found(outcomes), outcomes.len());
    if (outcomes.len() as u64) < seeds {
        count.push_str(", then no more seeds");
    }
    vec![
        fault.number.to_string(),
        fault.what.into(),
        fault.target.into(),
        count,
        after(outcomes),
        oracles(outcomes),
    ]
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
            Outcome::Ended => Some("the process ends, or an input does not"),
            Outcome::Anyway { .. } => Some("nothing planted is needed"),
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
    fn a_row_says_what_came_of_it() {
        let fault = &FAULTS[0];
        let found = Outcome::Found { executions: 12, oracle: "waits".into() };
        let anyway = Outcome::Anyway { oracle: "waits".into() };
        let outcomes = [found.clone(), found, Outcome::Nothing];
        let all = row(fault, &outcomes, 3);
        assert_eq!(all[3..], ["2 of 3", "12 to 12", "waits"]);
        let stopped = row(fault, &[Outcome::Nothing, anyway], 4);
        assert_eq!(stopped[3..], ["0 of 2, then no more seeds", "-", "nothing planted is needed"]);
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
