//! What came of a boot: what the guest told, and what is seen from outside.

use std::path::PathBuf;
use std::time::Duration;

use super::boot::Boot;
use super::checks::Verdict;
use super::run::{Ending, Told};

/// A line of the table, for one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
}

/// What came of a boot.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) boot: Boot,
    /// The boot itself, the checks in their order, then what is seen from outside.
    pub(crate) lines: Vec<Line>,
    pub(crate) took: Duration,
    /// Where its files are, if they were kept.
    pub(crate) kept: Option<PathBuf>,
}

/// What is seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct FromOutside {
    pub(crate) machine: Verdict,
    pub(crate) replay: Verdict,
    pub(crate) audit: Verdict,
}

/// The names of the lines that every boot has.
pub(crate) const BOOT: &str = "boot";
pub(crate) const KERNEL_LOG: &str = "kernel log";
pub(crate) const MACHINE: &str = "vtd-machine";
pub(crate) const REPLAY: &str = "replay";
pub(crate) const AUDIT: &str = "audit";

impl Outcome {
    pub(crate) fn new(boot: Boot, mut told: Told, outside: FromOutside) -> Self {
        told.checks.end(&told.ending.to_string());
        let mut lines = vec![line(BOOT, how_it_went(&told))];
        for check in told.checks.iter() {
            if let Some(verdict) = &check.verdict {
                lines.push(line(&check.name, verdict.clone()));
            }
        }
        let log = match told.complaints.first() {
            None => Verdict::Pass(String::new()),
            Some(first) => Verdict::Fail(match told.complaints.len() {
                1 => first.clone(),
                count => format!("{first} (and {} more)", count.saturating_sub(1)),
            }),
        };
        lines.push(line(KERNEL_LOG, log));
        lines.push(line(MACHINE, outside.machine));
        lines.push(line(REPLAY, outside.replay));
        lines.push(line(AUDIT, outside.audit));
        Self { boot, lines, took: told.took, kept: None }
    }

    /// Of a boot that did not come about.
    pub(crate) fn not_started(boot: Boot, why: &str) -> Self {
        let why = why.lines().next().unwrap_or_default();
        let lines = vec![line(BOOT, Verdict::Fail(why.into()))];
        Self { boot, lines, took: Duration::ZERO, kept: None }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.lines.iter().any(|line| line.verdict.is_fail())
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| match &line.verdict {
            Verdict::Fail(what) => Some((line.name.as_str(), what.as_str())),
            _ => None,
        })
    }

    /// The boot in a few words.
    pub(crate) fn summary(&self) -> String {
        let count = |wanted: fn(&Verdict) -> bool| {
            let inner = self.lines.iter().filter(|line| !is_of_every_boot(&line.name));
            inner.filter(|line| wanted(&line.verdict)).count()
        };
        let mut parts =
            vec![format!("{} passed", count(|verdict| matches!(verdict, Verdict::Pass(_))))];
        match count(|verdict| matches!(verdict, Verdict::Skip(_))) {
            0 => {}
            skipped => parts.push(format!("{skipped} skipped")),
        }
        parts.extend(self.failures().map(|(name, _)| format!("{name} FAILED")));
        for name in [REPLAY, AUDIT] {
            if let Some(Verdict::Pass(figures)) = self.verdict(name) {
                parts.push(format!("{name}: {figures}"));
            }
        }
        parts.push(format!("{} s", self.took.as_secs()));
        parts.join(", ")
    }

    fn verdict(&self, name: &str) -> Option<&Verdict> {
        self.lines.iter().find(|line| line.name == name).map(|line| &line.verdict)
    }
}

fn line(name: &str, verdict: Verdict) -> Line {
    Line { name: name.into(), verdict }
}

pub(crate) fn is_of_every_boot(name: &str) -> bool {
    [BOOT, KERNEL_LOG, MACHINE, REPLAY, AUDIT].contains(&name)
}

fn how_it_went(told: &Told) -> Verdict {
    if told.ending != Ending::Done {
        return Verdict::Fail(told.ending.to_string());
    }
    if let Some(first) = told.checks.garbled().first() {
        return Verdict::Fail(format!("the guest said \"{first}\", which means nothing here"));
    }
    if told.checks.is_empty() {
        return Verdict::Fail("the guest ran no check".into());
    }
    Verdict::Pass(format!("{} s", told.took.as_secs()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::guest::checks::Checks;
    use crate::guest::console::Message;

    /// What a guest told that said these lines.
    pub(crate) fn told(lines: &[&str], ending: Ending) -> Told {
        let mut checks = Checks::default();
        for line in lines {
            checks.take(Message::parse(line).unwrap());
        }
        Told { checks, ending, complaints: vec![], took: Duration::from_secs(34) }
    }

    pub(crate) fn well() -> FromOutside {
        FromOutside {
            machine: Verdict::Pass(String::new()),
            replay: Verdict::Pass("0 of 42 differ".into()),
            audit: Verdict::Skip("no".into()),
        }
    }

    fn boot() -> Boot {
        use crate::guest::{boot::Plan, kernel::Series, mode::Mode, mode::Tables};
        Boot {
            kernel: Series::TRIED[1],
            mode: Mode::plain(Tables::FirstStage),
            plan: Plan::Checks(vec![]),
        }
    }

    #[test]
    fn a_boot_that_went_well() {
        let told =
            told(&["VTD: plan a b", "VTD: pass a", "VTD: skip b no", "VTD: done"], Ending::Done);
        let outcome = Outcome::new(boot(), told, well());
        assert!(!outcome.has_failed());
        assert_eq!(outcome.summary(), "1 passed, 1 skipped, replay: 0 of 42 differ, 34 s");
    }

    #[test]
    fn a_boot_that_ended_early_has_failed_and_so_has_what_it_did_not_tell() {
        let told =
            told(&["VTD: plan a b", "VTD: pass a"], Ending::TooEarly("exit status: 1".into()));
        let outcome = Outcome::new(boot(), told, well());
        let failures: Vec<_> = outcome.failures().map(|(name, _)| name.to_string()).collect();
        assert_eq!(failures, [BOOT, "b"]);
        assert!(
            outcome.summary().starts_with("1 passed, boot FAILED, b FAILED, "),
            "{}",
            outcome.summary()
        );
    }

    #[test]
    fn a_guest_that_checks_nothing_has_not_passed() {
        assert!(Outcome::new(boot(), told(&["VTD: done"], Ending::Done), well()).has_failed());
        assert!(
            Outcome::new(
                boot(),
                told(&["VTD: plan a", "VTD: pass a", "VTD: what"], Ending::Done),
                well()
            )
            .has_failed()
        );
    }

    #[test]
    fn a_boot_that_did_not_come_about_has_failed() {
        let outcome = Outcome::not_started(boot(), "starting vtd-machine: no\n  | why");
        assert_eq!(outcome.failures().collect::<Vec<_>>(), [(BOOT, "starting vtd-machine: no")]);
    }

    #[test]
    fn a_complaint_of_the_kernel_is_a_failure() {
        let mut told = told(&["VTD: plan a", "VTD: pass a", "VTD: done"], Ending::Done);
        told.complaints = vec!["WARNING: one".into(), "WARNING: two".into()];
        let outcome = Outcome::new(boot(), told, well());
        assert_eq!(
            outcome.failures().collect::<Vec<_>>(),
            [(KERNEL_LOG, "WARNING: one (and 1 more)")]
        );
    }
}
