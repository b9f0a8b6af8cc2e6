//! A recording of a unit that somebody else drives.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::UnitConfig;
use vtd::memory::{AccessError, GuestMemory};
use vtd::spec::Gpa;

use super::RecordingSummary;
use super::device_tlbs::DeviceTlbs;
use super::recorded_unit::{header, within};
use super::recording_observer::RecordingObserver;
use super::tape::Tape;
use crate::format::{Event, FormatError, FormatVersion};
use crate::watched_memory::{Watch, WatchedMemory};

/// A recording of a unit that somebody else drives, and who says what its inputs are.
///
/// A [`RecordedUnit`](super::RecordedUnit) knows its inputs by itself, but runs the unit until it is idle at each. This one leaves the unit alone: how it is
/// stepped, and what happens between two steps, stays as it is without a recording. It is for tests that look for what goes wrong
/// between steps, and for what led to a panic: what came of each input is written when the next one begins, when the
/// recording is finished, or when it is dropped, be it by a panic.
///
/// A replay runs the unit until it is idle at each input, so it may do things in another order.
pub struct Chronicle {
    tape: Arc<Tape>,
    /// The input that is being carried out, unless its answer is there.
    open: Mutex<Option<Event>>,
}

impl Chronicle {
    /// Starts a recording, in version 2 of the format, of the unit that is made from `config`: its memory and its observer are watched from
    /// here on.
    ///
    /// # Errors
    /// As [`RecordedUnit::new`](super::RecordedUnit::new).
    pub fn new(
        config: &mut UnitConfig,
        guest: Option<&str>,
        output: impl Write + Send + 'static,
    ) -> Result<Self, FormatError> {
        let version = FormatVersion::Two;
        let tape = Arc::new(Tape::new(&header(version, config, guest), Box::new(output))?);
        let memory = Arc::clone(&config.memory);
        config.memory =
            Arc::new(WatchedMemory { memory, watch: Arc::new(Bare(Arc::clone(&tape))) });
        config.observer = Some(Arc::new(RecordingObserver::new(
            Arc::clone(&tape),
            version,
            Arc::new(DeviceTlbs::default()),
            config.observer.take(),
        )));
        Ok(Self { tape, open: Mutex::default() })
    }

    /// An input begins. What came since the last one belongs to that.
    ///
    /// Of a request the answer is not known yet: any will do until [`end`](Self::end) says which it was.
    pub fn begin(&self, input: Event) {
        let before = self.open().replace(input);
        self.tape.end_input(before);
    }

    /// The guest writes a register, which begins an input. An access of no size that there is, is none.
    pub fn write(&self, offset: u64, size: u8, value: u64) {
        if let Some(value) = within(size, value) {
            self.begin(Event::Write { offset, size, value });
        }
    }

    /// The input has been carried out, and was this, with its answer; `None` if it came to nothing that has a line.
    pub fn end(&self, input: Option<Event>) {
        *self.open() = None;
        self.tape.end_input(input);
    }

    /// Guest memory holds these qwords from `gpa` upwards, whether the unit has read them or not.
    pub fn memory(&self, gpa: Gpa, qwords: &[u64]) {
        self.tape.with(|open| open.memory.found(gpa, qwords));
    }

    /// Something happened that the format has no line for: a comment `# note: …` says so. It is cut at the end of its first line.
    pub fn note(&self, text: &str) {
        let before = self.open().take();
        self.tape.end_input(before);
        self.tape.note(text.lines().next().unwrap_or_default());
    }

    /// Ends the recording, and flushes its output; the unit goes on without it.
    ///
    /// # Errors
    /// [`FormatError`] that ended the recording before, or that ended it now. It is told once.
    pub fn finish(&self) -> Result<RecordingSummary, FormatError> {
        let before = self.open().take();
        self.tape.end_input(before);
        self.tape.finish()
    }

    fn open(&self) -> MutexGuard<'_, Option<Event>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        // Who wants to know of an error has finished it before.
        let _ = self.finish();
    }
}

impl fmt::Debug for Chronicle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chronicle").field("tape", &self.tape).finish_non_exhaustive()
    }
}

/// Writes down what the unit read and wrote, and reads nothing itself: memory may count its reads.
struct Bare(Arc<Tape>);

impl Watch for Bare {
    fn loaded(&self, _: &dyn GuestMemory, gpa: Gpa, qwords: &[u64]) {
        self.0.with(|open| open.memory.found(gpa, qwords));
    }

    fn exchanged(&self, gpa: Gpa, exchanged: Result<u64, u64>, new: u64) {
        self.0.exchanged(gpa, exchanged, new);
    }

    fn stored_u32(&self, gpa: Gpa, value: u32) {
        self.0.stored_u32(gpa, value);
    }

    fn stored(&self, gpa: Gpa, values: &[u64]) {
        self.0.stored(gpa, values);
    }

    fn refused(&self, error: &AccessError) {
        self.0.refused(error);
    }
}
