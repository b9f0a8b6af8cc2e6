//! Guest memory whose contents are written down when the unit reads them.

use std::sync::Arc;

use vtd::memory::{AccessError, AccessErrorKind, GuestMemory};
use vtd::spec::Gpa;

use super::known_memory::lines_of;
use super::note::Note;
use super::tape::Tape;
use crate::format::Event;

/// The VMM's guest memory, with a [`Tape`] that is told of all accesses.
pub(super) struct RecordingMemory {
    memory: Arc<dyn GuestMemory>,
    tape: Arc<Tape>,
}

impl RecordingMemory {
    pub(super) fn new(memory: Arc<dyn GuestMemory>, tape: Arc<Tape>) -> Self {
        Self { memory, tape }
    }

    fn view(&self) -> View<'_> {
        View { memory: &*self.memory, tape: &self.tape }
    }
}

impl GuestMemory for RecordingMemory {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.view().load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.view().load_qwords(gpa, out)
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.view().compare_exchange_u64(gpa, current, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.view().store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.view().store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        self.view().with_snapshot(walk);
    }
}

/// A map of the memory, held still or not. The tape is never locked while the VMM's memory is called.
struct View<'a> {
    memory: &'a dyn GuestMemory,
    tape: &'a Tape,
}

impl View<'_> {
    /// The unit read these qwords. The recording gets the whole lines that they lie in, since a line says what memory holds
    /// and since the unit often comes for the neighbours later.
    fn read(&self, gpa: Gpa, qwords: &[u64]) {
        if !self.tape.is_open() {
            return;
        }
        let lines = lines_of(gpa, qwords.len()).filter_map(|line| {
            let mut whole = [0; 8];
            // Memory may end within a line; then only what the unit read is known.
            self.memory.load_qwords(line, &mut whole).ok()?;
            Some((line, whole))
        });
        let lines: Vec<_> = lines.collect();
        self.tape.with(|open| {
            for (line, whole) in &lines {
                open.memory.found(*line, whole);
            }
            // Last, since it is what the unit goes by, should memory have changed between the two looks.
            open.memory.found(gpa, qwords);
        });
    }

    fn refused<T>(&self, result: Result<T, AccessError>) -> Result<T, AccessError> {
        if let Err(AccessError { gpa, kind: AccessErrorKind::NotBacked, .. }) = &result {
            self.tape.with(|open| open.draft.note(Note::NotMemory(*gpa)));
        }
        result
    }
}

impl GuestMemory for View<'_> {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let value = self.refused(self.memory.load_u64(gpa))?;
        self.read(gpa, &[value]);
        Ok(value)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.refused(self.memory.load_qwords(gpa, out))?;
        self.read(gpa, out);
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let exchanged = self.refused(self.memory.compare_exchange_u64(gpa, current, new))?;
        let (Ok(found) | Err(found)) = exchanged;
        self.tape.with(|open| {
            open.memory.found(gpa, &[found]);
            if exchanged.is_ok() {
                open.memory.wrote(gpa, &[new]);
                let bytes = new.to_le_bytes().to_vec();
                open.draft.output(Event::IommuWrite { gpa, bytes });
            }
        });
        Ok(exchanged)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.refused(self.memory.store_u32_release(gpa, value))?;
        self.tape.with(|open| {
            open.memory.wrote_u32(gpa, value);
            let bytes = value.to_le_bytes().to_vec();
            open.draft.output(Event::IommuWrite { gpa, bytes });
        });
        Ok(())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.refused(self.memory.store_qwords_release(gpa, values))?;
        self.tape.with(|open| {
            open.memory.wrote(gpa, values);
            // A line holds at most 64 bytes.
            let places = (gpa.0..=u64::MAX).step_by(64).map(Gpa);
            for (gpa, values) in places.zip(values.chunks(8)) {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                open.draft.output(Event::IommuWrite { gpa, bytes });
            }
        });
        Ok(())
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        self.memory.with_snapshot(&mut |memory| walk(&View { memory, tape: self.tape }));
    }
}
