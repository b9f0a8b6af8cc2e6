//! What libFuzzer prints while it runs.

use std::time::{Duration, Instant};

/// How far a process of libFuzzer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) executions: u64,
    /// Edges that were reached.
    pub(crate) reached: u64,
    /// Edges that there are.
    pub(crate) edges: u64,
    /// Inputs.
    pub(crate) corpus: u64,
}

impl Progress {
    /// Takes in a line, such as `#4096 pulse  cov: 931 ft: 2417 corp: 204/10Kb lim: 400 exec/s: 2048 rss: 61Mb`. Whether it said anything.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        self.numbers(line).is_some() || self.edges(line).is_some() || self.end(line).is_some()
    }

    fn numbers(&mut self, line: &str) -> Option<()> {
        let mut words = line.strip_prefix('#')?.split_whitespace();
        self.executions = words.next()?.parse().ok()?;
        while let Some(word) = words.next() {
            match word {
                "cov:" => self.reached = words.next()?.parse().ok()?,
                "corp:" => self.corpus = words.next()?.split('/').next()?.parse().ok()?,
                _ => {}
            }
        }
        Some(())
    }

    /// `INFO: Loaded 1 modules   (8120 inline 8-bit counters): 8120 [0x…, 0x…),`
    fn edges(&mut self, line: &str) -> Option<()> {
        let (_, rest) = line.strip_prefix("INFO: Loaded ")?.split_once('(')?;
        let (number, what) = rest.split_once(' ')?;
        if what.starts_with("inline 8-bit counters)") {
            self.edges = number.parse().ok()?;
        }
        Some(())
    }

    /// `stat::number_of_executed_units: 621031`
    fn end(&mut self, line: &str) -> Option<()> {
        let number = line.strip_prefix("stat::number_of_executed_units:")?;
        self.executions = number.trim().parse().ok()?;
        Some(())
    }

    /// What several processes that share a corpus have come to.
    pub(crate) fn together<'p>(all: impl Iterator<Item = &'p Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            executions: sum.executions + one.executions,
            reached: sum.reached.max(one.reached),
            edges: sum.edges.max(one.edges),
            corpus: sum.corpus.max(one.corpus),
        })
    }

    /// In words, after so long.
    pub(crate) fn said(&self, elapsed: Duration, found: usize) -> String {
        let Self { executions, reached, edges, corpus } = *self;
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let each = executions.saturating_mul(1000) / milliseconds;
        let of = match (100 * reached).checked_div(edges) {
            Some(percent) => format!("{reached} of {edges} edges ({percent} %)"),
            None => format!("{reached} edges"),
        };
        let [executions, each] = [executions, each].map(grouped);
        // What matters most stands first: a narrow terminal shows no more.
        format!("{found} found, {of}, {corpus} inputs, {each}/s, {executions} runs")
    }
}

/// A process of libFuzzer, as it was when it last said how far it is: it does so ever more rarely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) progress: Progress,
    pub(crate) at: Instant,
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The file that a line says an input was written to, if it is one that something is wrong with.
pub(crate) fn artifact(line: &str) -> Option<&str> {
    let (_, file) = line.split_once("Test unit written to ")?;
    let name = file.rsplit('/').next()?;
    // It goes on after these.
    if name.starts_with("slow-unit-") { None } else { Some(file.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_libfuzzer() {
        let mut progress = Progress::default();
        for (line, told) in [
            ("INFO: Loaded 1 modules   (8120 inline 8-bit counters): 8120 [0x55, 0x56), ", true),
            ("INFO: Loaded 1 PC tables (8120 PCs): 8120 [0x57,0x58), ", true),
            (
                "#4096\tpulse  cov: 931 ft: 2417 corp: 204/10Kb lim: 400 exec/s: 2048 rss: 61Mb",
                true,
            ),
            ("INFO: Seed: 1", false),
            ("#x", false),
        ] {
            assert_eq!(progress.take(line), told, "{line}");
        }
        let expected = Progress { executions: 4096, reached: 931, edges: 8120, corpus: 204 };
        assert_eq!(progress, expected);
        assert!(progress.take("stat::number_of_executed_units: 5000"));
        assert_eq!(progress, Progress { executions: 5000, ..expected });
        let other = Progress { executions: 4, reached: 1000, edges: 8120, corpus: 3 };
        let two = Progress::together([progress, other].iter());
        assert_eq!(two, Progress { executions: 5004, reached: 1000, edges: 8120, corpus: 204 });
    }

    #[test]
    fn how_far_it_is_in_words() {
        let progress = Progress { executions: 1_234_567, reached: 931, edges: 8120, corpus: 204 };
        assert_eq!(
            progress.said(Duration::from_secs(10), 0),
            "0 found, 931 of 8120 edges (11 %), 204 inputs, 123,456/s, 1,234,567 runs"
        );
        assert_eq!(
            Progress::default().said(Duration::ZERO, 1),
            "1 found, 0 edges, 0 inputs, 0/s, 0 runs"
        );
    }

    #[test]
    fn where_an_input_is() {
        let line = "artifact_prefix='a/'; Test unit written to a/crash-12";
        assert_eq!(artifact(line), Some("a/crash-12"));
        assert_eq!(artifact("artifact_prefix='a/'; Test unit written to a/slow-unit-1"), None);
        assert_eq!(artifact("#2 INITED"), None);
    }
}
