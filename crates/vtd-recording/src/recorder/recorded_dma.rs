//! DMA of emulated devices that is recorded.

use std::sync::{Arc, MutexGuard};

use vtd::spec::{Gpa, Iova};
use vtd::{
    Access, Completion, DmaError, GuardedTranslation, SharedDma, SharedGuard, TranslationRequest,
};

use super::note::Note;
use super::recorded_unit::Recorded;
use super::requester::Requester;
use crate::format::{FormatVersion, RequestAccess};
use crate::plain_walk::Request;
use crate::requests;

/// The [`SharedDma`] of a recorded unit.
#[derive(Clone, Debug)]
pub struct RecordedDma {
    recorded: Arc<Recorded>,
    handle: SharedDma,
}

/// An open guard of a [`RecordedDma`]. Translations cannot outlive it.
#[derive(Debug)]
pub struct RecordedGuard<'d> {
    dma: &'d RecordedDma,
    // In this order: the guard is closed before the turn is over, so that the next input finds no guard open.
    guard: SharedGuard<'d>,
    _turn: MutexGuard<'d, ()>,
}

impl RecordedDma {
    pub(super) fn new(recorded: Arc<Recorded>, handle: SharedDma) -> Self {
        Self { recorded, handle }
    }

    /// Opens a guard: [`SharedDma::guard`].
    ///
    /// Other inputs of the unit wait until it is dropped. A replay has nobody who holds a guard, so no completion may wait for one
    /// here; and a thread that gives the unit an input while it holds one, or opens another, waits for itself.
    #[must_use]
    pub fn guard(&self) -> RecordedGuard<'_> {
        let turn = self.recorded.turn();
        RecordedGuard { dma: self, guard: self.handle.guard(), _turn: turn }
    }

    /// Runs one transfer inside a [`guard`](Self::guard).
    pub fn with_guard<T>(&self, transfer: impl FnOnce(&RecordedGuard<'_>) -> T) -> T {
        transfer(&self.guard())
    }

    /// The source-id that the device has now, and the PASID.
    fn requester(&self) -> Option<Requester> {
        let source_id = self.recorded.source_id(self.handle.device())?;
        Some(Requester { source_id, pasid: self.handle.pasid() })
    }

    /// Has the recording say what the tables hold for a request, unless the device is released.
    fn look_before(&self, iova: Iova, access: Access, look: impl FnOnce(&Recorded, Request)) {
        if let Some(Requester { source_id, pasid }) = self.requester() {
            look(&self.recorded, Request { source_id, pasid, iova, access });
        }
    }

    /// The ACCESS of a request, as the recording's version has it.
    fn access(&self, access: Access) -> RequestAccess {
        let recorded = requests::recorded_access(access);
        if access.execute && access.write {
            self.recorded.note(Note::ExecutingWrite);
        }
        match self.recorded.version {
            FormatVersion::One => {
                // Without a PASID the context entry decides about privilege.
                let privileged = access.privileged && self.handle.pasid().is_some();
                if privileged || recorded.execute || recorded.zero_length {
                    self.recorded.note(Note::Privileged);
                }
                recorded.direction.into()
            }
            _ => recorded,
        }
    }
}

impl RecordedGuard<'_> {
    /// Translates one address: [`SharedGuard::translate`].
    ///
    /// # Errors
    /// As there.
    pub fn translate(
        &self,
        iova: Iova,
        access: Access,
    ) -> Result<GuardedTranslation<'_>, DmaError> {
        self.dma.look_before(iova, access, Recorded::look_at);
        let found = self.guard.translate(iova, access);
        let access = || self.dma.access(access);
        let line = self.dma.requester().and_then(|by| by.dma_with(iova, access, &found));
        self.dma.recorded.tape.end_input(line);
        found
    }

    /// Asks for a translation to keep in a device TLB: [`SharedGuard::translation_request`].
    ///
    /// # Errors
    /// As there.
    pub fn translation_request(
        &self,
        iova: Iova,
        request: TranslationRequest,
    ) -> Result<Completion, DmaError> {
        let access = requests::access(requests::recorded_translation_request(request));
        self.dma.look_before(iova, access, Recorded::look_at_translation_request);
        let found = self.guard.translation_request(iova, request);
        let line = self.dma.requester().and_then(|by| by.translate(iova, request, &found));
        self.dma.recorded.tape.end_input(line);
        found
    }

    /// Checks a translated request: [`SharedGuard::translated`].
    ///
    /// # Errors
    /// As there.
    pub fn translated(&self, address: Gpa, access: Access) -> Result<Gpa, DmaError> {
        self.dma.look_before(Iova(address.0), access, Recorded::look_at_translated);
        let found = self.guard.translated(address, access);
        let access = || self.dma.access(access);
        let line = self.dma.requester().and_then(|by| by.translated_with(address, access, &found));
        self.dma.recorded.tape.end_input(line);
        found
    }
}
