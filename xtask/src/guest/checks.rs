//! The checks of one boot, and what came of each.

use super::console::Message;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// With what the check counted or measured, in its own words.
    Pass(String),
    Fail(String),
    /// The mode or the kernel has no such thing.
    Skip(String),
}

impl Verdict {
    pub(crate) fn is_fail(&self) -> bool {
        matches!(self, Self::Fail(_))
    }
}

/// A check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// `None` until the guest has told.
    pub(crate) verdict: Option<Verdict>,
}

/// The checks of one boot, in the order in which the guest named them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    checks: Vec<Check>,
    running: Option<String>,
    progress: Option<(u64, u64)>,
    done: bool,
    garbled: Vec<String>,
}

impl Checks {
    /// Takes what the guest has said.
    pub(crate) fn take(&mut self, message: Message) {
        match message {
            Message::Plan(names) => {
                self.done = false;
                for name in names {
                    self.name(&name);
                }
            }
            Message::Begin(name) => {
                self.name(&name);
                self.progress = None;
                self.running = Some(name);
            }
            Message::Progress { check, done, of } => {
                if self.running.as_ref() == Some(&check) {
                    self.progress = Some((done, of));
                }
            }
            Message::Pass { check, figures } => self.settle(&check, &Verdict::Pass(figures)),
            Message::Fail { check, what } => self.settle(&check, &Verdict::Fail(what)),
            Message::Skip { check, why } => self.settle(&check, &Verdict::Skip(why)),
            Message::Done => self.done = true,
            // The next kernel says a plan of its own.
            Message::Reboot | Message::Kexec => self.done = false,
            Message::Garbled(text) => self.garbled.push(text),
        }
    }

    /// Adds the check, unless it is there.
    fn name(&mut self, name: &str) {
        if !self.checks.iter().any(|check| check.name == name) {
            self.checks.push(Check { name: name.into(), verdict: None });
        }
    }

    fn settle(&mut self, name: &str, verdict: &Verdict) {
        if self.running.as_deref() == Some(name) {
            self.running = None;
            self.progress = None;
        }
        self.name(name);
        for check in self.checks.iter_mut().filter(|check| check.name == name) {
            // A check told twice, as before and after a reset, has failed if it did so once.
            if !check.verdict.as_ref().is_some_and(Verdict::is_fail) {
                check.verdict = Some(verdict.clone());
            }
        }
    }

    /// Ends the boot: what the guest has not told of has failed, for this reason.
    pub(crate) fn end(&mut self, why: &str) {
        let running = self.running.take();
        for check in &mut self.checks {
            if check.verdict.is_none() {
                let began = running.as_ref() == Some(&check.name);
                let state = if began { "no result" } else { "did not begin" };
                check.verdict = Some(Verdict::Fail(format!("{state}: {why}")));
            }
        }
    }

    /// Whether the guest has said that all is over.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The check under way, and how far it is.
    pub(crate) fn running(&self) -> Option<(&str, Option<(u64, u64)>)> {
        self.running.as_deref().map(|name| (name, self.progress))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Lines that began like messages and were none.
    pub(crate) fn garbled(&self) -> &[String] {
        &self.garbled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Checks {
        let mut checks = Checks::default();
        for line in lines {
            checks.take(Message::parse(line).unwrap());
        }
        checks
    }

    fn verdict<'c>(checks: &'c Checks, name: &str) -> &'c Verdict {
        checks.iter().find(|check| check.name == name).unwrap().verdict.as_ref().unwrap()
    }

    #[test]
    fn a_boot_that_passes() {
        let mut checks = told(&[
            "VTD: plan block sva",
            "VTD: begin block",
            "VTD: progress block 1/2",
            "VTD: pass block 64 KiB",
            "VTD: begin sva",
            "VTD: skip sva not in this mode",
            "VTD: done",
        ]);
        assert!(checks.is_done());
        checks.end("never mind");
        assert_eq!(verdict(&checks, "block"), &Verdict::Pass("64 KiB".into()));
        assert_eq!(verdict(&checks, "sva"), &Verdict::Skip("not in this mode".into()));
    }

    #[test]
    fn progress_is_of_the_check_under_way() {
        let mut checks = told(&["VTD: begin sva", "VTD: progress sva 3/9"]);
        assert_eq!(checks.running(), Some(("sva", Some((3, 9)))));
        checks.take(Message::parse("VTD: progress block 5/6").unwrap());
        assert_eq!(checks.running(), Some(("sva", Some((3, 9)))));
        checks.take(Message::parse("VTD: pass sva").unwrap());
        assert_eq!(checks.running(), None);
    }

    #[test]
    fn what_was_not_told_has_failed() {
        let mut checks = told(&["VTD: plan a b c", "VTD: begin a", "VTD: pass a", "VTD: begin b"]);
        checks.end("cut after 60 s");
        assert_eq!(verdict(&checks, "a"), &Verdict::Pass(String::new()));
        assert_eq!(verdict(&checks, "b"), &Verdict::Fail("no result: cut after 60 s".into()));
        assert_eq!(verdict(&checks, "c"), &Verdict::Fail("did not begin: cut after 60 s".into()));
    }

    #[test]
    fn a_failure_stays_across_a_reset() {
        let checks = told(&[
            "VTD: plan reset",
            "VTD: fail reset the unit was on",
            "VTD: reboot",
            "VTD: plan reset",
            "VTD: pass reset",
            "VTD: done",
        ]);
        assert_eq!(verdict(&checks, "reset"), &Verdict::Fail("the unit was on".into()));
        assert_eq!(checks.iter().count(), 1);
    }

    #[test]
    fn done_before_a_second_plan_is_not_done() {
        assert!(!told(&["VTD: plan kexec", "VTD: done", "VTD: plan kexec"]).is_done());
        assert!(!told(&["VTD: plan kexec", "VTD: done", "VTD: kexec"]).is_done());
    }
}
