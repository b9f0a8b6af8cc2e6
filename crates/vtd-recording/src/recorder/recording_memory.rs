//! What is written down of the unit's accesses to guest memory.

use vtd::memory::{AccessError, AccessErrorKind, GuestMemory};
use vtd::spec::Gpa;

use super::known_memory::lines_of;
use super::note::Note;
use super::tape::Tape;
use crate::format::Event;
use crate::watched_memory::Watch;

/// Writes accesses down on a [`Tape`], which is never locked while the VMM's memory is called.
impl Watch for Tape {
    /// The recording gets the whole lines that the qwords lie in, since a line says what memory holds and since the unit often
    /// comes for the neighbours later.
    fn loaded(&self, memory: &dyn GuestMemory, gpa: Gpa, qwords: &[u64]) {
        if !self.is_open() {
            return;
        }
        let lines = lines_of(gpa, qwords.len()).filter_map(|line| {
            let mut whole = [0; 8];
            // Memory may end within a line; then only what the unit read is known.
            memory.load_qwords(line, &mut whole).ok()?;
            Some((line, whole))
        });
        let lines: Vec<_> = lines.collect();
        self.with(|open| {
            for (line, whole) in &lines {
                open.memory.found(*line, whole);
            }
            // Last, since it is what the unit goes by, should memory have changed between the two looks.
            open.memory.found(gpa, qwords);
        });
    }

    fn exchanged(&self, gpa: Gpa, exchanged: Result<u64, u64>, new: u64) {
        let (Ok(found) | Err(found)) = exchanged;
        self.with(|open| {
            open.memory.found(gpa, &[found]);
            if exchanged.is_ok() {
                open.memory.wrote(gpa, &[new]);
                let bytes = new.to_le_bytes().to_vec();
                open.draft.output(Event::IommuWrite { gpa, bytes });
            }
        });
    }

    fn stored_u32(&self, gpa: Gpa, value: u32) {
        self.with(|open| {
            open.memory.wrote_u32(gpa, value);
            let bytes = value.to_le_bytes().to_vec();
            open.draft.output(Event::IommuWrite { gpa, bytes });
        });
    }

    fn stored(&self, gpa: Gpa, values: &[u64]) {
        self.with(|open| {
            open.memory.wrote(gpa, values);
            // A line holds at most 64 bytes.
            let places = (gpa.0..=u64::MAX).step_by(64).map(Gpa);
            for (gpa, values) in places.zip(values.chunks(8)) {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                open.draft.output(Event::IommuWrite { gpa, bytes });
            }
        });
    }

    fn refused(&self, error: &AccessError) {
        if error.kind == AccessErrorKind::NotBacked {
            self.with(|open| open.draft.note(Note::NotMemory(error.gpa)));
        }
    }
}
