//! Where the lines of a recording come together.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::RecordingSummary;
use super::draft::Draft;
use super::known_memory::KnownMemory;
use super::note::Note;
use crate::format::{Event, FormatError, FormatVersion, Header, Writer};

/// A recording that is being made. Its lock is the innermost: nothing is called while it is held.
pub(super) struct Tape {
    state: Mutex<State>,
}

struct State {
    /// None once the recording has ended, be it with an error.
    open: Option<Open>,
    error: Option<FormatError>,
    summary: RecordingSummary,
}

/// What there is while the recording goes on.
pub(super) struct Open {
    writer: Writer<Box<dyn Write + Send>>,
    version: FormatVersion,
    pub(super) memory: KnownMemory,
    pub(super) draft: Draft,
}

impl Tape {
    /// Starts a recording: writes the header.
    pub(super) fn new(header: &Header, output: Box<dyn Write + Send>) -> Result<Self, FormatError> {
        let writer = Writer::new(output, header)?;
        let version = header.format_version;
        let open =
            Open { writer, version, memory: KnownMemory::default(), draft: Draft::default() };
        let state = State { open: Some(open), error: None, summary: RecordingSummary::default() };
        Ok(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the recording still goes on.
    pub(super) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    /// Adds to the input that is being carried out.
    pub(super) fn with(&self, add: impl FnOnce(&mut Open)) {
        if let Some(open) = &mut self.state().open {
            add(open);
        }
    }

    /// Writes down what the unit did since the last input, if it did anything: these lines follow those of that input.
    pub(super) fn begin_input(&self) {
        self.with(|open| {
            if !open.draft.is_empty() {
                open.draft.note(Note::BetweenInputs);
            }
        });
        self.end_input(None);
    }

    /// Writes down the input that was carried out, with everything that came of it. Without an input it is something that
    /// the format has no line for.
    pub(super) fn end_input(&self, input: Option<Event>) {
        let mut state = self.state();
        let State { open, summary, .. } = &mut *state;
        let Some(writing) = open else { return };
        if let Err(error) = writing.end_input(input, summary) {
            // The VMM goes on; what was written so far is a recording, but for its last line.
            state.open = None;
            state.error = Some(error);
        }
    }

    /// Writes down something that the format has no line for, where it happened.
    pub(super) fn note(&self, text: &str) {
        let mut state = self.state();
        let State { open, summary, .. } = &mut *state;
        let Some(writing) = open else { return };
        if let Err(error) = writing.writer.note(&text) {
            state.open = None;
            state.error = Some(error);
        } else {
            summary.notes += 1;
        }
    }

    /// Ends the recording.
    pub(super) fn finish(&self) -> Result<RecordingSummary, FormatError> {
        self.begin_input();
        let mut state = self.state();
        if let Some(open) = state.open.take() {
            open.writer.finish()?;
        }
        state.error.take().map_or(Ok(state.summary), Err)
    }
}

impl Open {
    fn end_input(
        &mut self,
        input: Option<Event>,
        summary: &mut RecordingSummary,
    ) -> Result<(), FormatError> {
        let memory = self.memory.take_lines();
        let (mut notes, mut lines) = std::mem::take(&mut self.draft).into_lines(memory, input);
        let version = self.version;
        if let Some(event) = lines.iter().find(|event| event.since() > version) {
            notes.push(Note::NeedsVersion2(event.kind()));
            lines.retain(|event| event.since() <= version);
        }
        for note in notes {
            self.writer.note(&note)?;
            summary.notes += 1;
        }
        for event in lines {
            self.writer.write(&event)?;
            summary.events += 1;
        }
        Ok(())
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Tape")
            .field("open", &state.open.is_some())
            .field("error", &state.error)
            .field("summary", &state.summary)
            .finish_non_exhaustive()
    }
}
