//! Recordings and conformance vectors held against `vtd-model`, without the unit.
//!
//! The model follows the registers, the invalidation queue and guest memory as the lines say, and judges every answer: it has to
//! be what the tables say, or what caches may still hold of what they said.

mod departures;
mod devices;
mod host_state;
mod judge;
mod known_memory;
mod machine;
mod page_requests;

use std::collections::BTreeMap;

use vtd_recording::format::{Event, FormatError, Header, Reader};

use machine::Machine;

/// Takes the lines of a recording one at a time, as they come about.
pub struct Oracle {
    machine: Machine,
    line: u64,
}

impl Oracle {
    /// An oracle for a recording with this header.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        Self { machine: Machine::new(header), line: 0 }
    }

    /// Takes one line; answers are judged.
    pub fn take(&mut self, event: &Event) {
        self.line += 1;
        self.machine.take(self.line, event);
    }

    /// What differs so far.
    #[must_use]
    pub fn differences(&self) -> &[(u64, String)] {
        &self.machine.report.differences
    }

    /// The figures, and what was expected and never came.
    #[must_use]
    pub fn finish(self) -> Report {
        self.machine.finish()
    }
}

/// What was checked of a file, and what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By what was checked: how many times.
    pub checked: BTreeMap<&'static str, u64>,
    /// What is not as the model has it: the line's number and what is wrong.
    pub differences: Vec<(u64, String)>,
}

impl Report {
    fn count(&mut self, what: &'static str) {
        *self.checked.entry(what).or_default() += 1;
    }

    fn difference(&mut self, line: u64, what: String) {
        self.differences.push((line, what));
    }

    /// Adds the figures of another file.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.checked {
            *self.checked.entry(what).or_default() += count;
        }
        self.differences.extend(other.differences.iter().cloned());
    }
}

/// Holds a recording against the model.
///
/// # Errors
/// [`FormatError`] if it is not a recording.
pub fn check(text: &[u8]) -> Result<Report, FormatError> {
    let reader = Reader::new(text)?;
    let mut machine = Machine::new(reader.header());
    for item in reader {
        let (line, event) = item?;
        machine.take(line, &event);
    }
    Ok(machine.finish())
}
