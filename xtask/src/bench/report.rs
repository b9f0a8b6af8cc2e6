//! The table: every row with its numbers.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::error::BenchError;
use super::measured::Measured;
use super::platform::Platform;
use super::row::{Outcome, Row, Verdict};
use super::targets::ROWS;

/// A line under the headings, and nothing else.
const FOR_TERMINALS: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// What came of all rows.
pub(crate) struct Report(Vec<Outcome>);

impl Report {
    pub(crate) fn new(measured: &Measured, platform: &Platform) -> Self {
        Self::of(ROWS, measured, platform)
    }

    fn of(rows: &[Row], measured: &Measured, platform: &Platform) -> Self {
        Self(rows.iter().map(|row| row.judge(measured, platform)).collect())
    }

    /// For a terminal of this width.
    pub(crate) fn text(&self, width: usize) -> String {
        let mut table = self.table("no");
        table.load_style(FOR_TERMINALS).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        table.trim_fmt()
    }

    pub(crate) fn markdown(&self) -> String {
        self.table("**no**").load_style(ASCII_MARKDOWN).to_string()
    }

    fn table(&self, no: &str) -> Table {
        let mut table = Table::new();
        table.set_header(["what", "ours", "compared with", "ratio", "target", "met"]);
        if let Some(column) = table.column_mut(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for outcome in &self.0 {
            let met = match &outcome.verdict {
                Verdict::Met => "yes",
                Verdict::Missed => no,
                Verdict::Reported => "–",
                Verdict::Unmeasured(why) => why,
                Verdict::Absent => "nothing measured it",
            };
            table.add_row([
                outcome.row.what,
                &outcome.ours,
                &outcome.against,
                &outcome.ratio,
                &outcome.row.target(),
                met,
            ]);
        }
        table
    }

    /// An error that names each target which was missed.
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        let missed = self
            .0
            .iter()
            .filter(|outcome| matches!(outcome.verdict, Verdict::Missed | Verdict::Absent));
        let line = |outcome: &Outcome| {
            let Outcome { row, ours, against, .. } = outcome;
            match row.against {
                _ if outcome.verdict == Verdict::Absent => {
                    format!("{}: nothing measured it", row.what)
                }
                None => format!("{}: {ours}, target {}", row.what, row.target()),
                Some(_) => format!("{}: {ours}, {against}, target {}", row.what, row.target()),
            }
        };
        let missed: Vec<_> = missed.map(line).collect();
        if missed.is_empty() { Ok(()) } else { Err(BenchError::Missed(missed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one row of each kind comes to.
    fn report() -> Report {
        let map = |pairs: &[(&str, f64)]| {
            pairs.iter().map(|(name, number)| ((*name).to_string(), *number)).collect()
        };
        let measured = Measured {
            times: map(&[
                ("hit/4k", 2.318),
                ("hit/table", 1.2),
                ("hit/hash-table", 5.0),
                ("hit/guarded", 3.1),
                ("queue/wait", 125.0),
            ]),
            counts: map(&[
                ("page-am0-of-1k", 2461.0),
                ("page-am0-of-64k", 3461.0),
                ("page-am0-of-1m", 3461.0),
            ]),
            facts: map(&[("binding-bytes-full-tables", 40.63)]),
            is_quick: false,
        };
        let platform = Platform {
            processor: "AMD EPYC".into(),
            cores: 2,
            rustc: "1.88.0".into(),
            has_membarrier: true,
        };
        let shown = [
            "hit, 4 KiB",
            "hit through a guard",
            "two threads",
            "page-selective invalidation, AM 0",
            "memory of one binding, full",
            "descriptors a second: wait",
        ];
        let is_shown = |row: &&Row| shown.iter().any(|shown| row.what.starts_with(shown));
        let rows: Vec<_> = ROWS.iter().filter(is_shown).copied().collect();
        Report::of(&rows, &measured, &platform)
    }

    #[test]
    fn a_table_for_a_terminal() {
        insta::assert_snapshot!(report().text(150));
    }

    #[test]
    fn a_table_for_the_page() {
        insta::assert_snapshot!(report().markdown());
    }

    #[test]
    fn a_missed_target_is_named() {
        let error = report().check().unwrap_err();
        assert_eq!(error.code(), 1);
        let missed = [
            "hit, 4 KiB page, one thread: 2.32 ns, hash-table design: 5 ns, target ≤ 0.4 × hash-table design",
            "two threads, two devices: how many times as much as one: nothing measured it",
            "page-selective invalidation, AM 0, 1 thousand to 1 million cached: 3,461 instructions (page-am0-of-1m), the fewest: 2,461 \
             instructions (page-am0-of-1k), target ≤ 1.2 × the fewest",
        ];
        assert_eq!(error.to_string(), missed.join("\n  "));
    }
}
