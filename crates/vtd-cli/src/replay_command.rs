//! `vtd replay`.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use vtd_recording::replay::{Assign, Options, Report, StepView, Tally, replay};

use crate::arguments::{Format, ReplayArguments};
use crate::bad_input::BadInput;
use crate::exit_status::ExitStatus;
use crate::input;
use crate::json_report::{FileReport, JsonReport};
use crate::output::Output;
use crate::step_text::StepText;
use crate::text_report::{TextReport, TextTotal};

/// Replays every file. A bad one does not keep the others from being replayed.
pub(crate) fn run(arguments: &ReplayArguments) -> ExitStatus {
    let options = arguments.options();
    let mut output = Output::new();
    let mut found = Found::default();
    for file in &arguments.files {
        let result = replay_file(file, &options, arguments, &mut output);
        if arguments.step {
            output.print(&'\n');
        }
        match result {
            Ok(report) => {
                if !arguments.quiet && arguments.format == Format::Text {
                    let assigned = options.assign != Assign::AsRecorded;
                    output.print(&TextReport { file, report: &report, assigned });
                    if arguments.files.len() > 1 {
                        output.print(&'\n');
                    }
                }
                output.flush();
                found.reports.push((file, report));
            }
            Err(bad) => {
                output.flush();
                complain(&bad);
                found.errors.push(bad);
            }
        }
    }
    match arguments.format {
        _ if arguments.quiet => {}
        Format::Json => output.print(&found.json()),
        Format::Text if arguments.files.len() > 1 => output.print(&found.text_total()),
        Format::Text => {}
    }
    match output.finish() {
        Some(error) => {
            complain(&format_args!("standard output: {error}"));
            ExitStatus::BadInput
        }
        None => found.exit_status(),
    }
}

fn replay_file(
    file: &Path,
    options: &Options,
    arguments: &ReplayArguments,
    output: &mut Output,
) -> Result<Report, BadInput> {
    // Steps and a progress bar would get into each other's way.
    let with_progress = !arguments.quiet && !arguments.step;
    let input = input::open(file, with_progress).map_err(|why| BadInput::unopened(file, &why))?;
    let mut show = |step: &StepView| output.print(&StepText(step));
    let follow: Option<&mut dyn FnMut(&StepView)> =
        if arguments.step { Some(&mut show) } else { None };
    replay(input, options, follow).map_err(|why| BadInput::refused(file, &why))
}

/// Says what is wrong. Nothing can be done where even that fails.
fn complain(what: &impl Display) {
    let _ = writeln!(io::stderr(), "error: {what}");
}

/// What was found so far.
#[derive(Default)]
struct Found<'a> {
    reports: Vec<(&'a Path, Report)>,
    errors: Vec<BadInput>,
}

impl Found<'_> {
    fn total(&self) -> Tally {
        self.reports.iter().map(|(_, report)| report.total()).sum()
    }

    /// Requests that used what the guest had been told is invalid.
    fn violations(&self) -> u64 {
        self.reports.iter().map(|(_, report)| report.violations()).sum()
    }

    fn exit_status(&self) -> ExitStatus {
        if !self.errors.is_empty() {
            ExitStatus::BadInput
        } else if self.total().differ > 0 || self.violations() > 0 {
            ExitStatus::Differ
        } else {
            ExitStatus::Agree
        }
    }

    fn json(&self) -> JsonReport<'_> {
        let files = self.reports.iter().map(|(file, report)| FileReport::new(file, report));
        let (files, errors) = (files.collect(), &self.errors);
        JsonReport { files, errors, total: self.total(), violations: self.violations() }
    }

    fn text_total(&self) -> TextTotal {
        let files = self.reports.len() + self.errors.len();
        let (total, violations) = (self.total(), self.violations());
        TextTotal { files, bad: self.errors.len(), total, violations }
    }
}
