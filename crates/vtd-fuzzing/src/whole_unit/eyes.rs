//! What is seen of the unit's work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::spec::descriptor::{Descriptor, Wait};
use vtd::spec::{FaultRecord, Pasid, SourceId};
use vtd::{DeviceTlbInvalidation, Fault, InvalidationId, Observer};

use super::mirror::Mirror;

/// Someone who looks on, and tells the model.
pub(super) struct Eyes {
    mirror: Arc<Mutex<Mirror>>,
    faults: Mutex<Vec<SeenFault>>,
    /// What devices have been told to drop, and have not dropped yet.
    outstanding: Mutex<Vec<InvalidationId>>,
}

/// A fault of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenFault {
    pub(super) source_id: SourceId,
    pub(super) code: u8,
    /// FPD does not suppress it: it is recorded, or lost for want of a record.
    pub(super) recorded: bool,
    /// PASID and page of its record.
    pub(super) asked: Option<(Option<u32>, u64)>,
}

impl Eyes {
    pub(super) fn new(mirror: Arc<Mutex<Mirror>>) -> Self {
        Self { mirror, faults: Mutex::default(), outstanding: Mutex::default() }
    }

    /// The faults since the last time.
    pub(super) fn take_faults(&self) -> Vec<SeenFault> {
        std::mem::take(&mut self.faults())
    }

    /// Nothing is waited for any more: a reset or a restore, after which what is to be done is told anew.
    pub(super) fn forget(&self) {
        self.outstanding().clear();
    }

    fn outstanding(&self) -> MutexGuard<'_, Vec<InvalidationId>> {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner)
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
        let FaultRecord { source_id, reason, pasid, address, .. } = *record;
        let asked = Some((pasid.map(Pasid::get), address));
        self.mirror().faulted(true);
        self.faults().push(SeenFault { source_id, code: reason.code(), recorded: true, asked });
    }

    fn fault_dropped(&self, source_id: SourceId, fault: &Fault) {
        let (code, recorded) = (fault.reason.code(), fault.is_recorded());
        if recorded {
            self.mirror().faulted(false);
        }
        self.faults().push(SeenFault { source_id, code, recorded, asked: None });
    }

    fn wait_completes(&self, wait: &Wait) {
        let outstanding = self.outstanding().len();
        self.mirror().completed(wait, outstanding);
    }

    fn wait_aborted(&self, _wait: &Wait) {
        self.mirror().aborted();
    }

    fn device_tlb_invalidation(&self, invalidation: &DeviceTlbInvalidation) {
        let mut outstanding = self.outstanding();
        // It may be told again.
        outstanding.retain(|id| *id != invalidation.id);
        outstanding.push(invalidation.id);
    }

    fn device_tlb_answered(&self, invalidation: &DeviceTlbInvalidation) {
        self.outstanding().retain(|id| *id != invalidation.id);
    }

    fn device_tlb_timed_out(&self, invalidation: &DeviceTlbInvalidation) {
        self.outstanding().retain(|id| *id != invalidation.id);
    }
}
