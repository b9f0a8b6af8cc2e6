//! Counts of instructions that are kept in the project, and compared.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use super::callgrind;
use super::error::BenchError;
use super::figure::Unit;
use super::platform::rustc;
use super::programs::Programs;
use crate::folders::{root, short};
use crate::interruption::Interruption;

const FILE: &str = "crates/vtd-fuzzing/benches/counts/kept.json";
/// How much more of a kept count is no matter.
const MARGIN_PERCENT: f64 = 3.0;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct KeptCounts {
    /// Another compiler makes other instructions.
    rustc: String,
    margin_percent: f64,
    counts: BTreeMap<String, f64>,
}

/// Counts what is quick, and compares or keeps it.
pub(crate) fn run(keep: bool, interruption: &Interruption) -> Result<(), BenchError> {
    let file = root().join(FILE);
    let at = |error: &dyn Display| BenchError::failed(short(&file), error);
    let count = || callgrind::count(&Programs::build(&["counts"])?, true, interruption);
    let rustc = rustc()?;
    if keep {
        let kept = KeptCounts::new(rustc, &count()?);
        let text = serde_json::to_string_pretty(&kept).map_err(|error| at(&error))?;
        return fs::write(&file, text + "\n").map_err(|error| at(&error));
    }
    let text = fs::read_to_string(&file).map_err(|error| at(&error))?;
    let kept: KeptCounts = serde_json::from_str(&text).map_err(|error| at(&error))?;
    if kept.rustc != rustc {
        println!("not compared: kept for rustc {}, and this is {rustc}", kept.rustc);
        return Ok(());
    }
    let counted = count()?;
    println!("{}", kept.table(&counted));
    let more = kept.more(&counted);
    if more.is_empty() { Ok(()) } else { Err(BenchError::More(more)) }
}

impl KeptCounts {
    fn new(rustc: String, counted: &BTreeMap<String, f64>) -> Self {
        let rounded =
            |(name, count): (&String, &f64)| (name.clone(), (count * 100.0).round() / 100.0);
        Self {
            rustc,
            margin_percent: MARGIN_PERCENT,
            counts: counted.iter().map(rounded).collect(),
        }
    }

    /// What takes more than is kept, or is not kept at all.
    fn more(&self, counted: &BTreeMap<String, f64>) -> Vec<String> {
        let more = |(name, now): (&String, &f64)| match self.counts.get(name) {
            None => Some(format!("{name}: nothing is kept for it (--counts --keep)")),
            Some(kept) if *now > kept * (1.0 + self.margin_percent / 100.0) => Some(format!(
                "{name}: {}, and {} is kept",
                Unit::Instructions.text(*now),
                Unit::Instructions.text(*kept)
            )),
            Some(_) => None,
        };
        counted.iter().filter_map(more).collect()
    }

    fn table(&self, counted: &BTreeMap<String, f64>) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["instructions of one", "kept", "now", ""]);
        for column in 1..4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for (name, now) in counted {
            let kept = self.counts.get(name);
            let text = |count: f64| format!("{count:.2}");
            let change = |kept: &f64| match 100.0 * (now / kept - 1.0) {
                small if small.abs() < 0.05 => String::new(),
                percent => format!("{percent:+.1} %"),
            };
            table.add_row([
                name.clone(),
                kept.map_or_else(String::new, |kept| text(*kept)),
                text(*now),
                kept.map_or_else(String::new, change),
            ]);
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, f64)]) -> BTreeMap<String, f64> {
        counts.iter().map(|(name, count)| ((*name).to_string(), *count)).collect()
    }

    #[test]
    fn what_takes_more_than_the_margin_is_named() {
        let kept = KeptCounts::new("1.88.0".into(), &counts(&[("hit", 100.0), ("miss", 1000.004)]));
        assert_eq!(kept.counts, counts(&[("hit", 100.0), ("miss", 1000.0)]));
        assert!(kept.more(&counts(&[("hit", 103.0), ("miss", 900.0)])).is_empty());
        let more = kept.more(&counts(&[("hit", 103.1), ("miss", 900.0), ("new", 1.0)]));
        let named = [
            "hit: 103 instructions, and 100 instructions is kept",
            "new: nothing is kept for it (--counts --keep)",
        ];
        assert_eq!(more, named);
    }

    #[test]
    fn a_table_of_kept_and_counted() {
        let kept = KeptCounts::new("1.88.0".into(), &counts(&[("hit", 100.0), ("miss", 1000.0)]));
        let table = kept.table(&counts(&[("hit", 103.1), ("miss", 900.0), ("new", 1.0)]));
        insta::assert_snapshot!(table);
    }

    #[test]
    fn the_file_is_one_that_is_read() {
        let text = fs::read_to_string(root().join(FILE)).unwrap();
        let kept: KeptCounts = serde_json::from_str(&text).unwrap();
        assert!(kept.counts.contains_key("hit-4k"));
    }
}
