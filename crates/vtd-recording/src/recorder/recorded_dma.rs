//! DMA of emulated devices that is recorded.

use std::sync::Arc;

use vtd::spec::{Iova, SourceId};
use vtd::{Access, DmaError, DmaGuard, DmaHandle, GuardedTranslation};

use super::note::Note;
use super::recorded_unit::Recorded;
use crate::format::{Direction, DmaAnswer, Event, Permissions};

/// The [`DmaHandle`] of a recorded unit.
#[derive(Clone, Debug)]
pub struct RecordedDma {
    recorded: Arc<Recorded>,
    handle: DmaHandle,
    source_id: SourceId,
}

/// An open guard of a [`RecordedDma`].
#[derive(Debug)]
pub struct RecordedGuard<'d> {
    dma: &'d RecordedDma,
    guard: &'d DmaGuard<'d>,
}

impl RecordedDma {
    pub(super) fn new(recorded: Arc<Recorded>, handle: DmaHandle, source_id: SourceId) -> Self {
        Self { recorded, handle, source_id }
    }

    /// Runs one transfer inside a guard: [`DmaHandle::with_guard`].
    ///
    /// Other inputs of the unit wait until the transfer is over. A replay has nobody who holds a guard, so no completion
    /// may wait for one here; and a transfer that gives the unit an input waits for itself.
    pub fn with_guard<T>(&self, transfer: impl FnOnce(&RecordedGuard<'_>) -> T) -> T {
        // The guard is closed before the turn is over.
        let _turn = self.recorded.turn();
        self.handle.with_guard(|guard| transfer(&RecordedGuard { dma: self, guard }))
    }

    fn line(
        &self,
        iova: Iova,
        access: Access,
        found: &Result<GuardedTranslation<'_>, DmaError>,
    ) -> Option<Event> {
        let direction = if access.write { Direction::Write } else { Direction::Read };
        let answer = match found {
            Ok(found) => {
                let (gpa, size) = found.page();
                let permissions = match (found.granted().read, found.granted().write) {
                    (true, true) => Permissions::ReadWrite,
                    (false, true) => Permissions::Write,
                    (_, false) => Permissions::Read,
                };
                DmaAnswer::Translated { gpa, mask: size - 1, permissions }
            }
            // Neither is a request that the unit translates, and neither changes it.
            Err(DmaError::Interrupt | DmaError::Released) => return None,
            Err(_) => DmaAnswer::Fault,
        };
        let (source_id, pasid) = (self.source_id, self.handle.pasid());
        Some(Event::Dma { source_id, pasid, access: direction.into(), iova, answer })
    }
}

impl RecordedGuard<'_> {
    /// Translates one address: [`DmaGuard::translate`].
    ///
    /// # Errors
    /// As there.
    pub fn translate(
        &self,
        iova: Iova,
        access: Access,
    ) -> Result<GuardedTranslation<'_>, DmaError> {
        let found = self.guard.translate(iova, access);
        let tape = &self.dma.recorded.tape;
        let line = self.dma.line(iova, access, &found);
        // Without a PASID the context entry decides about privilege.
        let privileged = access.privileged && self.dma.handle.pasid().is_some();
        if line.is_some() && (privileged || access.execute) {
            tape.with(|open| open.draft.note(Note::Privileged));
        }
        tape.end_input(line);
        found
    }
}
