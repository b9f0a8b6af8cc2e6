//! What the kept corpus covers of the library crates.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use super::FuzzError;
use super::campaign::at;
use super::lack::{Lack, survey};
use crate::folders::{root, target};
use crate::interruption::Interruption;

/// The crates that the targets are for.
const CRATES: [&str; 7] =
    ["vtd-spec", "vtd-walk", "vtd-cache", "vtd-memory", "vtd-host", "vtd", "vtd-recording"];

/// Lines that were run, of those that can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    run: u64,
    all: u64,
}

impl Lines {
    fn row(self, name: &str) -> [String; 4] {
        let percent = (100 * self.run).checked_div(self.all).unwrap_or(100);
        [name.into(), self.run.to_string(), self.all.to_string(), format!("{percent} %")]
    }
}

impl std::iter::Sum for Lines {
    fn sum<I: Iterator<Item = Self>>(lines: I) -> Self {
        lines.fold(Self::default(), |sum, one| Self {
            run: sum.run + one.run,
            all: sum.all + one.all,
        })
    }
}

/// Replays the corpus under `cargo tarpaulin`, which reads what the compiler's instrumentation counts without LLVM's own tools; prints a
/// table by file, and writes one by crate into the documentation.
pub(crate) fn run(interruption: &Interruption) -> Result<(), FuzzError> {
    let lacks = survey(&[Lack::Tarpaulin]);
    if !lacks.is_empty() {
        return Err(FuzzError::Lacks(lacks));
    }
    let folder = target().join("coverage");
    let status = Command::new("cargo")
        .current_dir(root())
        .args(["tarpaulin", "--engine", "llvm", "--skip-clean", "--locked", "--out", "Json"])
        .args(["--package", "vtd-fuzzing", "--test", "corpus"])
        .arg("--target-dir")
        .arg(&folder)
        .arg("--output-dir")
        .arg(&folder)
        .status();
    // It has build scripts leave their counts where they run.
    let _none = fs::remove_file(root().join("build_rs_cov.profraw"));
    interruption.check()?;
    let status = status.map_err(|error| FuzzError::failed("cargo tarpaulin", error))?;
    if !status.success() {
        return Err(FuzzError::Failed("cargo tarpaulin failed, and says why".into()));
    }
    let report = folder.join("tarpaulin-report.json");
    let text = fs::read_to_string(&report).map_err(at(&report))?;
    let files = files(&text)?;
    println!("{}", by_file(&files).load_style(NOTHING));
    let page = root().join("docs/coverage.md");
    let before = fs::read_to_string(&page).map_err(at(&page))?;
    fs::write(&page, with_table(&before, &by_crate(&files).load_style(ASCII_MARKDOWN).to_string()))
        .map_err(at(&page))
}

/// The lines of each file of the crates, by crate and file.
fn files(report: &str) -> Result<BTreeMap<(usize, String), Lines>, FuzzError> {
    let report: Value =
        serde_json::from_str(report).map_err(|error| FuzzError::failed("the report", error))?;
    let mut files = BTreeMap::new();
    for file in report.get("files").and_then(Value::as_array).into_iter().flatten() {
        let words = file.get("path").and_then(Value::as_array).into_iter().flatten();
        let path: Vec<_> = words.filter_map(Value::as_str).collect();
        let Some(place) = path.iter().rposition(|word| *word == "src") else { continue };
        let name = place.checked_sub(1).and_then(|place| path.get(place));
        let Some(number) = CRATES.iter().position(|one| Some(one) == name) else { continue };
        let lines = |field: &str| file.get(field).and_then(Value::as_u64).unwrap_or(0);
        let lines = Lines { run: lines("covered"), all: lines("coverable") };
        if lines.all > 0 {
            files.insert((number, path.get(place + 1..).unwrap_or_default().join("/")), lines);
        }
    }
    if files.is_empty() {
        return Err(FuzzError::Failed("the report names no file of the library crates".into()));
    }
    Ok(files)
}

fn table(first: &str) -> Table {
    let mut table = Table::new();
    table.set_header([first, "lines run", "of", ""]);
    for column in 1..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn by_crate(files: &BTreeMap<(usize, String), Lines>) -> Table {
    let mut table = table("crate");
    for (number, name) in CRATES.into_iter().enumerate() {
        let of_crate = files.iter().filter(|((one, _), _)| *one == number);
        table.add_row(of_crate.map(|(_, lines)| *lines).sum::<Lines>().row(name));
    }
    table.add_row(files.values().copied().sum::<Lines>().row("all"));
    table
}

fn by_file(files: &BTreeMap<(usize, String), Lines>) -> Table {
    let mut table = table("file");
    for (number, name) in CRATES.into_iter().enumerate() {
        let of_crate = files.iter().filter(|((one, _), _)| *one == number);
        table.add_row(of_crate.clone().map(|(_, lines)| *lines).sum::<Lines>().row(name));
        for ((_, file), lines) in of_crate {
            table.add_row(lines.row(&format!("  {file}")));
        }
    }
    table.add_row(files.values().copied().sum::<Lines>().row("all"));
    table
}

/// The page with its first table replaced.
fn with_table(page: &str, table: &str) -> String {
    let mut lines: Vec<_> = page.lines().collect();
    let is_row = |line: &&str| line.starts_with('|');
    let start = lines.iter().position(is_row).unwrap_or(lines.len());
    let rows = lines.iter().skip(start).take_while(|line| is_row(line)).count();
    lines.splice(start..start + rows, table.lines());
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_by_crate() {
        let report = r#"{"files":[
            {"path":["/","w","crates","vtd","src","a.rs"],"covered":3,"coverable":4},
            {"path":["/","w","crates","vtd","src","b","c.rs"],"covered":1,"coverable":1},
            {"path":["/","w","crates","vtd-model","src","a.rs"],"covered":1,"coverable":1},
            {"path":["/","w","crates","vtd-walk","tests","a.rs"],"covered":1,"coverable":1}]}"#;
        let files = files(report).unwrap();
        let names: Vec<_> =
            files.keys().map(|(number, name)| (CRATES[*number], name.as_str())).collect();
        assert_eq!(names, [("vtd", "a.rs"), ("vtd", "b/c.rs")]);
        let all: Lines = files.values().copied().sum();
        assert_eq!(all.row("all"), ["all", "4", "5", "80 %"]);
        assert!(super::files("{}").is_err());
    }

    #[test]
    fn the_table_of_the_page_is_replaced() {
        assert_eq!(with_table("a\n\n| x |\n| y |\n\nb\n", "| z |"), "a\n\n| z |\n\nb\n");
        assert_eq!(with_table("a\n", "| z |"), "a\n| z |\n");
    }
}
