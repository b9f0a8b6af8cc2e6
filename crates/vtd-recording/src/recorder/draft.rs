//! One input, before its lines are written.

use super::note::Note;
use crate::format::Event;

/// What came of the input that is being carried out. Its lines are written when it is over, since some of them stand before
/// the input itself.
#[derive(Debug, Default)]
pub(super) struct Draft {
    notes: Vec<Note>,
    outputs: Vec<Event>,
    /// Host calls made.
    calls: u64,
    /// How many of them failed, from the first on without a gap.
    first_failed: u64,
}

impl Draft {
    /// Puts down a note. One of a kind is enough for an input, whatever the guest makes the unit do in it.
    pub(super) fn note(&mut self, note: Note) {
        let kind = std::mem::discriminant(&note);
        if !self.notes.iter().any(|other| std::mem::discriminant(other) == kind) {
            self.notes.push(note);
        }
    }

    /// Adds an output of the unit.
    pub(super) fn output(&mut self, event: Event) {
        self.outputs.push(event);
    }

    /// Adds a host call; `events` are its lines.
    pub(super) fn host_call(&mut self, events: impl Iterator<Item = Event>, done: bool) {
        self.outputs.extend(events);
        if !done {
            if self.calls == self.first_failed {
                self.first_failed += 1;
            } else {
                self.note(Note::LaterCallFailed);
            }
        }
        self.calls += 1;
    }

    /// Whether there is an output or a note.
    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.notes.is_empty()
    }

    /// The notes, and all other lines in their order; `memory` are those that say what memory held when `input` came.
    pub(super) fn into_lines(
        mut self,
        memory: Vec<Event>,
        input: Option<Event>,
    ) -> (Vec<Note>, Vec<Event>) {
        let mut lines = memory;
        match input {
            Some(
                request @ (Event::Dma { .. }
                | Event::Translate { .. }
                | Event::Translated { .. }
                | Event::Interrupt { .. }),
            ) => {
                lines.append(&mut self.outputs);
                lines.push(request);
            }
            Some(input) => {
                lines.extend((0..self.first_failed).map(|_| Event::HostFail));
                lines.push(input);
                lines.append(&mut self.outputs);
            }
            None => {
                if self.first_failed > 0 {
                    self.note(Note::CallFailedBetweenInputs);
                }
                lines.append(&mut self.outputs);
            }
        }
        (self.notes, lines)
    }
}
