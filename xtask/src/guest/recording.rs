//! The recording of a boot, looked at from outside: it is replayed, and its DMA is audited.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::checks::Verdict;
use super::error::{self, GuestError};

/// The program `vtd`, and what it can do.
#[derive(Debug)]
pub(crate) struct Replayer<'p> {
    program: &'p Path,
    audits: bool,
}

impl<'p> Replayer<'p> {
    pub(crate) fn new(program: &'p Path) -> Result<Self, GuestError> {
        let help = run(program, &["replay", "--help"], None)?;
        Ok(Self { program, audits: help.text.contains("--audit") })
    }

    /// Replays a recording.
    pub(crate) fn look_at(&self, recording: &Path) -> Result<Seen, GuestError> {
        let mut arguments = vec!["replay", "--format", "json"];
        if self.audits {
            arguments.push("--audit");
        }
        let told = run(self.program, &arguments, Some(recording))?;
        Ok(Seen::new(&told))
    }
}

/// What is seen of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether the unit, given what the guest did, answers as it did then.
    pub(crate) replay: Verdict,
    /// Whether no DMA used what the guest had been told was invalid.
    pub(crate) audit: Verdict,
}

impl Seen {
    fn new(told: &Told) -> Self {
        let report = serde_json::from_str(&told.text).unwrap_or_default();
        let (replay, audit) = (replay(&report), audit(&report));
        if told.code == Some(0) || replay.is_fail() || audit.is_fail() {
            return Self { replay, audit };
        }
        // It is content with neither, and the report does not say why.
        Self { replay: Verdict::Fail(told.first_line()), audit }
    }

    pub(crate) fn nothing(why: &str) -> Self {
        Self { replay: Verdict::Fail(why.into()), audit: Verdict::Fail(why.into()) }
    }
}

/// What `vtd replay` printed, and its exit status.
struct Told {
    code: Option<i32>,
    text: String,
    errors: String,
}

impl Told {
    fn first_line(&self) -> String {
        let lines = self.errors.lines().chain(self.text.lines());
        let first = lines.map(str::trim).find(|line| !line.is_empty());
        let code = self.code.map_or("a signal".into(), |code| format!("status {code}"));
        first.map_or(format!("vtd replay ended with {code}"), Into::into)
    }
}

fn run(program: &Path, arguments: &[&str], recording: Option<&Path>) -> Result<Told, GuestError> {
    let mut command = Command::new(program);
    command.args(arguments).args(recording).stdin(Stdio::null());
    let output = command.output().map_err(error::start("vtd replay"))?;
    Ok(Told {
        code: output.status.code(),
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Of the report: how many answers differ of how many.
fn replay(report: &Value) -> Verdict {
    let count = |name: &str| report.pointer(&format!("/total/{name}")).and_then(Value::as_u64);
    let (Some(agree), Some(differ), Some(explained)) =
        (count("agree"), count("differ"), count("explained"))
    else {
        return Verdict::Skip("no report".into());
    };
    let all = agree.saturating_add(differ).saturating_add(explained);
    let figures = format!("{differ} of {all} differ");
    if differ > 0 {
        Verdict::Fail(figures)
    } else if all == 0 {
        Verdict::Fail("the recording is empty".into())
    } else {
        Verdict::Pass(figures)
    }
}

/// Of the report: how many requests used what had been invalidated.
fn audit(report: &Value) -> Verdict {
    let Some(audit) = report.pointer("/files/0/audit").filter(|audit| !audit.is_null()) else {
        return Verdict::Skip("the report has none".into());
    };
    let count = |name: &str| audit.get(name).and_then(Value::as_u64);
    let (Some(requests), Some(violations)) = (count("requests"), count("violations")) else {
        return Verdict::Fail("its report cannot be read".into());
    };
    let figures = format!("{violations} of {requests} used after invalidation");
    if violations == 0 {
        return Verdict::Pass(figures);
    }
    let first = audit.pointer("/uses/0/line").and_then(Value::as_u64);
    Verdict::Fail(first.map_or(figures.clone(), |line| format!("{figures}, first at line {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(code: i32, text: &str, errors: &str) -> Seen {
        Seen::new(&Told { code: Some(code), text: text.into(), errors: errors.into() })
    }

    fn total(differ: u64, audit: &str) -> String {
        let total = format!(r#"{{"agree":40,"differ":{differ},"explained":2}}"#);
        format!(r#"{{"files":[{{"audit":{audit}}}],"errors":[],"total":{total}}}"#)
    }

    #[test]
    fn the_report_decides() {
        let agrees = seen(0, &total(0, "null"), "");
        assert_eq!(agrees.replay, Verdict::Pass("0 of 42 differ".into()));
        assert_eq!(agrees.audit, Verdict::Skip("the report has none".into()));
        assert_eq!(seen(1, &total(3, "null"), "").replay, Verdict::Fail("3 of 45 differ".into()));
        let empty = r#"{"files":[],"total":{"agree":0,"differ":0,"explained":0}}"#;
        assert_eq!(seen(0, empty, "").replay, Verdict::Fail("the recording is empty".into()));
    }

    #[test]
    fn a_use_after_invalidation_is_no_difference() {
        let well = seen(0, &total(0, r#"{"requests":7,"violations":0,"uses":[]}"#), "");
        assert_eq!(well.audit, Verdict::Pass("0 of 7 used after invalidation".into()));
        let uses = r#"{"requests":7,"violations":2,"uses":[{"line":12}]}"#;
        let badly = seen(1, &total(0, uses), "");
        assert_eq!(badly.replay, Verdict::Pass("0 of 42 differ".into()));
        let expected = "2 of 7 used after invalidation, first at line 12";
        assert_eq!(badly.audit, Verdict::Fail(expected.into()));
        assert!(seen(0, &total(0, r#"{"requests":7}"#), "").audit.is_fail());
    }

    #[test]
    fn what_cannot_be_replayed_has_failed() {
        let unread = seen(2, "", "x.rec:3: no unit\n");
        assert_eq!(unread.replay, Verdict::Fail("x.rec:3: no unit".into()));
        let cut = seen(2, &total(0, "null"), "x.rec: cut\n");
        assert_eq!(cut.replay, Verdict::Fail("x.rec: cut".into()));
    }
}
