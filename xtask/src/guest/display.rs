//! How far it is, for people who wait.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::boot::Boot;
use super::checks::Checks;

/// One line at the bottom of the terminal: which boot of how many, which check, how far.
#[derive(Debug)]
pub(crate) struct Display {
    bar: ProgressBar,
}

impl Display {
    pub(crate) fn new(boots: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(boots).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("{spinner} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    /// Something that takes a moment and is no check.
    pub(crate) fn show(&self, boot: &Boot, what: &str) {
        self.bar.set_message(format!("{boot}: {what}"));
    }

    pub(crate) fn show_checks(&self, boot: &Boot, checks: &Checks, elapsed: Duration) {
        self.bar.set_message(format!("{boot}: {}, {} s", under_way(checks), elapsed.as_secs()));
    }

    /// A line that stays, for terminals and for logs alike.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    pub(crate) fn one_more(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What a guest is doing.
pub(crate) fn under_way(checks: &Checks) -> String {
    let settled = checks.iter().filter(|check| check.verdict.is_some()).count();
    let all = checks.iter().count();
    match checks.running() {
        _ if checks.is_empty() => "booting".into(),
        _ if checks.is_done() => "powering off".into(),
        None => format!("{settled} of {all} checks"),
        Some((name, None)) => format!("{settled} of {all} checks, {name}"),
        Some((name, Some((done, of)))) => format!("{settled} of {all} checks, {name} {done}/{of}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::console::Message;

    #[test]
    fn what_a_guest_is_doing_in_words() {
        let mut checks = Checks::default();
        assert_eq!(under_way(&checks), "booting");
        for (line, expected) in [
            ("VTD: plan a b", "0 of 2 checks"),
            ("VTD: begin a", "0 of 2 checks, a"),
            ("VTD: progress a 3/9", "0 of 2 checks, a 3/9"),
            ("VTD: pass a", "1 of 2 checks"),
            ("VTD: done", "powering off"),
        ] {
            checks.take(Message::parse(line).unwrap());
            assert_eq!(under_way(&checks), expected);
        }
    }
}
