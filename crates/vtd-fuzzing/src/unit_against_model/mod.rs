//! The unit held against `vtd-model` over programs of table edits, descriptors and requests.
//!
//! A program is any bytes: eight for each operation, with small pools of devices, PASIDs, domains and pages, so that operations
//! meet each other. A recorder writes down what the unit does, and [`Oracle`](crate::recording_oracle::Oracle) judges each line as it comes.

mod guest;
mod operation;
mod perform;
mod pools;
mod tables;

use crate::recording_oracle::Report;

use guest::Guest;
use operation::Operation;

/// Runs a program; the figures.
///
/// # Panics
/// Where the unit does what the model does not allow.
#[must_use]
#[allow(clippy::panic, reason = "an oracle reports by panicking")]
pub fn run(bytes: &[u8]) -> Report {
    let (setup, program) = bytes.split_at(bytes.len().min(8));
    let mut guest = Guest::new(setup);
    let mut done = Vec::new();
    for chunk in program.chunks(8) {
        let operation = Operation::decode(chunk);
        done.push(operation);
        guest.perform(operation);
        if let Some((_, difference)) = guest.differences().first() {
            panic!("{difference}\nafter {}\n{}", guest.describe(), listing(&done));
        }
    }
    guest.finish()
}

fn listing(operations: &[Operation]) -> String {
    let lines: Vec<String> =
        operations.iter().map(|operation| format!("  {operation:x?}")).collect();
    lines.join("\n")
}
