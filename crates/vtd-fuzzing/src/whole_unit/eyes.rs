//! What is seen of the unit's work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::spec::descriptor::Descriptor;
use vtd::spec::{FaultRecord, SourceId};
use vtd::{Fault, Observer};

use super::mirror::Mirror;

/// Someone who looks on, and tells the model.
pub(super) struct Eyes {
    mirror: Arc<Mutex<Mirror>>,
    faults: Mutex<Vec<SeenFault>>,
}

/// A fault, and whether it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenFault {
    pub(super) source_id: SourceId,
    pub(super) code: u8,
    pub(super) recorded: bool,
}

impl Eyes {
    pub(super) fn new(mirror: Arc<Mutex<Mirror>>) -> Self {
        Self { mirror, faults: Mutex::default() }
    }

    /// The faults since the last time.
    pub(super) fn take_faults(&self) -> Vec<SeenFault> {
        std::mem::take(&mut self.faults())
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Vec<SeenFault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Eyes {
    fn descriptor(&self, offset: u64, descriptor: &Descriptor) {
        self.mirror().fetched(offset, descriptor);
    }

    fn queue_error(&self, offset: u64, why: &str) {
        self.mirror().stopped(offset, why);
    }

    fn fault_recorded(&self, record: &FaultRecord) {
        let FaultRecord { source_id, reason, .. } = *record;
        self.faults().push(SeenFault { source_id, code: reason.code(), recorded: true });
    }

    fn fault_dropped(&self, source_id: SourceId, fault: &Fault) {
        self.faults().push(SeenFault { source_id, code: fault.reason.code(), recorded: false });
    }
}
