//! The table at the end: a line for each check, a column for each mode, one table for each kernel.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle, presets};

use super::checks::Verdict;
use super::mode::Mode;
use super::outcome::{BOOT, Line, Outcome, REPLAY, is_of_every_boot};

/// A line under the headings, and nothing else.
const FOR_TERMINALS: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// The results of one kernel.
#[derive(Debug)]
pub(crate) struct Results<'o> {
    /// The kernel, for people.
    heading: String,
    outcomes: Vec<&'o Outcome>,
}

impl<'o> Results<'o> {
    pub(crate) fn new(heading: String, outcomes: Vec<&'o Outcome>) -> Self {
        Self { heading, outcomes }
    }

    /// The table for a terminal of this width: in several pieces where it does not fit.
    pub(crate) fn for_terminal(&self, width: usize) -> String {
        let (names, modes) = (self.names(), self.modes());
        let mut text = format!("{}\n", self.heading);
        for modes in pieces(&modes, &names, width) {
            let mut table = empty_table(FOR_TERMINALS);
            let headings = modes.iter().map(|mode| mode.parts().join("\n"));
            self.fill(&mut table, headings, &names, modes);
            text.push_str(&table.trim_fmt());
            text.push('\n');
        }
        text
    }

    /// The table in Markdown, whole.
    pub(crate) fn in_markdown(&self) -> String {
        let (names, modes) = (self.names(), self.modes());
        let mut table = empty_table(presets::ASCII_MARKDOWN);
        let headings = modes.iter().map(ToString::to_string);
        self.fill(&mut table, headings, &names, &modes);
        let mut text = format!("## {}\n\n{table}\n", self.heading);
        let (failed, skipped) = (self.failed(), self.skipped());
        for (what, list) in [("Failed", failed), ("Skipped", skipped)] {
            if !list.is_empty() {
                text.push_str(&format!("\n{what}:\n\n"));
                for entry in list {
                    text.push_str(&format!("- {entry}\n"));
                }
            }
        }
        text
    }

    fn fill(
        &self,
        table: &mut Table,
        headings: impl Iterator<Item = String>,
        names: &[String],
        modes: &[Mode],
    ) {
        let header = std::iter::once("check".to_string()).chain(headings);
        table.set_header(header);
        for name in names {
            let cells = modes.iter().map(|mode| self.cell(name, *mode));
            table.add_row(std::iter::once(name.clone()).chain(cells));
        }
    }

    /// The names of the lines: the boot, the checks in the order in which guests named them, and what is seen from outside.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for line in self.outcomes.iter().flat_map(|outcome| &outcome.lines) {
            if !names.contains(&line.name) {
                names.push(line.name.clone());
            }
        }
        // Stable, so each group keeps its order.
        names.sort_by_key(|name| (name != BOOT, is_of_every_boot(name)));
        names
    }

    fn modes(&self) -> Vec<Mode> {
        let mut modes = Vec::new();
        for outcome in &self.outcomes {
            if !modes.contains(&outcome.boot.mode) {
                modes.push(outcome.boot.mode);
            }
        }
        modes
    }

    /// What all boots of a mode come to in one line of the table.
    fn cell(&self, name: &str, mode: Mode) -> String {
        let of_mode = self.outcomes.iter().filter(|outcome| outcome.boot.mode == mode);
        let lines: Vec<_> =
            of_mode.flat_map(|outcome| &outcome.lines).filter(|line| line.name == name).collect();
        let any = |wanted: fn(&Verdict) -> bool| lines.iter().any(|line| wanted(&line.verdict));
        if any(Verdict::is_fail) {
            "FAIL".into()
        } else if any(|verdict| matches!(verdict, Verdict::Pass(_))) {
            if name == REPLAY { "0 differ".into() } else { "pass".into() }
        } else if lines.is_empty() {
            String::new()
        } else {
            "skip".into()
        }
    }

    /// Each failure, with the boot that it came up in.
    pub(crate) fn failed(&self) -> Vec<String> {
        let mut list = Vec::new();
        for outcome in &self.outcomes {
            list.extend(
                outcome.failures().map(|(name, what)| format!("{}: {name}: {what}", outcome.boot)),
            );
        }
        list
    }

    /// Each reason for which something was skipped, with the boots.
    pub(crate) fn skipped(&self) -> Vec<String> {
        let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
        for outcome in &self.outcomes {
            for Line { name, verdict } in &outcome.lines {
                let Verdict::Skip(why) = verdict else { continue };
                let reason = format!("{name}: {why}");
                let boot = outcome.boot.mode.to_string();
                match reasons.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, boots)) if boots.contains(&boot) => {}
                    Some((_, boots)) => boots.push(boot),
                    None => reasons.push((reason, vec![boot])),
                }
            }
        }
        let all = self.modes().len();
        let list = reasons.into_iter().map(|(reason, modes)| match modes.len() {
            count if count == all && all > 1 => format!("{reason} (every mode)"),
            _ => format!("{reason} ({})", modes.join(", ")),
        });
        list.collect()
    }
}

fn empty_table(style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Cuts the columns into pieces, none wider than this unless a single column is.
fn pieces<'m>(modes: &'m [Mode], names: &[String], width: usize) -> Vec<&'m [Mode]> {
    // Two spaces around, and a line between two columns.
    const BETWEEN: usize = 3;
    let first = names.iter().map(String::len).max().unwrap_or(0) + BETWEEN;
    let width_of = |mode: &Mode| {
        let parts = mode.parts().into_iter().map(str::len).max().unwrap_or(0);
        parts.max("0 differ".len()) + BETWEEN
    };
    let mut pieces = Vec::new();
    let mut rest = modes;
    while !rest.is_empty() {
        let mut used = first;
        let fit = rest.iter().take_while(|mode| {
            used += width_of(mode);
            used <= width
        });
        let (piece, others) = rest.split_at(fit.count().max(1));
        pieces.push(piece);
        rest = others;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::boot::{Boot, Plan};
    use crate::guest::kernel::Series;
    use crate::guest::outcome::tests::{told, well};
    use crate::guest::run::Ending;

    fn outcome(mode: &str, plan: Plan, lines: &[&str]) -> Outcome {
        let mode = mode.parse::<super::super::mode::Modes>().unwrap().modes()[0];
        let boot = Boot { kernel: Series::TRIED[1], mode, plan };
        Outcome::new(boot, told(lines, Ending::Done), well())
    }

    fn some() -> Vec<Outcome> {
        vec![
            outcome(
                "legacy",
                Plan::Checks(vec![]),
                &[
                    "VTD: plan block sva",
                    "VTD: pass block",
                    "VTD: skip sva legacy tables",
                    "VTD: done",
                ],
            ),
            outcome("legacy", Plan::Kexec, &["VTD: plan kexec", "VTD: pass kexec", "VTD: done"]),
            outcome(
                "first-stage+lazy",
                Plan::Checks(vec![]),
                &["VTD: plan block sva", "VTD: pass block", "VTD: fail sva read 0", "VTD: done"],
            ),
        ]
    }

    #[test]
    fn a_line_for_each_check_and_a_column_for_each_mode() {
        let outcomes = some();
        let results = Results::new("Linux 7.3.4".into(), outcomes.iter().collect());
        let text = results.for_terminal(80);
        let rows: Vec<Vec<_>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        for row in [
            &["boot", "pass", "pass"][..],
            &["block", "pass", "pass"],
            &["sva", "skip", "FAIL"],
            &["kexec", "pass"],
            &["replay", "0", "differ", "0", "differ"],
            &["audit", "skip", "skip"],
        ] {
            assert!(rows.iter().any(|there| there == row), "{row:?} is not in\n{text}");
        }
        assert_eq!(text.lines().next(), Some("Linux 7.3.4"));
        assert_eq!(results.failed(), ["linux-7.3-first-stage+lazy: sva: read 0"]);
        assert_eq!(results.skipped(), ["sva: legacy tables (legacy)", "audit: no (every mode)"]);
    }

    #[test]
    fn markdown_is_whole_whatever_its_width() {
        let outcomes = some();
        let text = Results::new("Linux 7.3.4".into(), outcomes.iter().collect()).in_markdown();
        assert!(text.starts_with("## Linux 7.3.4\n\n| check "), "{text}");
        assert!(text.contains("| sva         | skip     | FAIL             |"), "{text}");
        assert!(
            text.contains("\nFailed:\n\n- linux-7.3-first-stage+lazy: sva: read 0\n"),
            "{text}"
        );
    }

    #[test]
    fn a_narrow_terminal_has_it_in_pieces() {
        let modes = Mode::all();
        let names = vec!["page requests".to_string()];
        for width in [10, 40, 80, 132, 400] {
            let pieces = pieces(&modes, &names, width);
            assert_eq!(pieces.concat(), modes, "{width}");
            assert!(width > 10 || pieces.len() == modes.len());
            assert!(width < 400 || pieces.len() == 1);
        }
    }
}
