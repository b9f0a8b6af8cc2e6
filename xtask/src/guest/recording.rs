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

    /// Whether the unit, given what the guest did, answers as it did then.
    pub(crate) fn replay(&self, recording: &Path) -> Result<Verdict, GuestError> {
        let told = run(self.program, &["replay", "--format", "json"], Some(recording))?;
        Ok(verdict(&told))
    }

    /// Whether no DMA used an address that the guest had been told was invalid.
    pub(crate) fn audit(&self, recording: &Path) -> Result<Verdict, GuestError> {
        if !self.audits {
            return Ok(Verdict::Skip("this vtd replay has no --audit".into()));
        }
        let told = run(self.program, &["replay", "--quiet", "--audit"], Some(recording))?;
        Ok(match told.code {
            Some(0) => Verdict::Pass("no DMA by invalid addresses".into()),
            _ => Verdict::Fail(told.first_line()),
        })
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

/// Reads the report: all in all, how many answers differ of how many.
fn verdict(told: &Told) -> Verdict {
    let report: Value = serde_json::from_str(&told.text).unwrap_or_default();
    let count = |name: &str| report.pointer(&format!("/total/{name}")).and_then(Value::as_u64);
    let (Some(agree), Some(differ), Some(explained)) =
        (count("agree"), count("differ"), count("explained"))
    else {
        return Verdict::Fail(told.first_line());
    };
    let all = agree.saturating_add(differ).saturating_add(explained);
    let figures = format!("{differ} of {all} differ");
    match (told.code, all) {
        (Some(0), 0) => Verdict::Fail("the recording is empty".into()),
        (Some(0), _) => Verdict::Pass(figures),
        (Some(1), _) => Verdict::Fail(figures),
        _ => Verdict::Fail(told.first_line()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: i32, text: &str, errors: &str) -> Verdict {
        verdict(&Told { code: Some(code), text: text.into(), errors: errors.into() })
    }

    #[test]
    fn the_report_decides() {
        let report = r#"{"files":[],"errors":[],"total":{"agree":40,"differ":0,"explained":2}}"#;
        assert_eq!(told(0, report, ""), Verdict::Pass("0 of 42 differ".into()));
        let differs = r#"{"files":[],"errors":[],"total":{"agree":40,"differ":2,"explained":0}}"#;
        assert_eq!(told(1, differs, ""), Verdict::Fail("2 of 42 differ".into()));
        let empty = r#"{"files":[],"errors":[],"total":{"agree":0,"differ":0,"explained":0}}"#;
        assert_eq!(told(0, empty, ""), Verdict::Fail("the recording is empty".into()));
        assert_eq!(told(2, "", "x.rec:3: no unit\n"), Verdict::Fail("x.rec:3: no unit".into()));
        assert_eq!(told(2, empty, "x.rec: cut\n"), Verdict::Fail("x.rec: cut".into()));
    }
}
