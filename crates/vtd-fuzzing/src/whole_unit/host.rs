//! A host that notes calls which are illegal.

use std::sync::{Arc, Mutex, PoisonError};

use vtd::host::{
    FailingHost, HostCapabilities, HostDevice, HostError, HostErrorKind, HostIommu,
    InvalidateError, Mapping, ModelHost, StageOneInvalidation,
};
use vtd::spec::descriptor::PageGroupResponse;
use vtd::spec::{Binding, Iova, Slot};

/// The model host, whose refusals are noted: only failures that were asked for are the unit's to live with.
#[derive(Debug, Default)]
pub(crate) struct Legal {
    pub(crate) model: ModelHost,
    illegal: Arc<Mutex<Option<String>>>,
}

/// A host that fails on request, around one that is legal.
pub(super) type Host = FailingHost<Legal>;

impl Legal {
    /// The first call that was illegal.
    pub(crate) fn illegal(&self) -> Option<String> {
        self.illegal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note<T>(
        &self,
        call: &str,
        slot: Slot,
        answer: Result<T, HostError>,
    ) -> Result<T, HostError> {
        if let Err(error) = &answer
            && error.kind != HostErrorKind::NoSpace
        {
            let text = format!("{call} of {slot}: {error}");
            self.illegal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        }
        answer
    }
}

impl HostIommu for Legal {
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
        self.model.capabilities(device)
    }

    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.note("bind", slot, self.model.bind(device, slot, binding))
    }

    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.note("replace", slot, self.model.replace(device, slot, binding))
    }

    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
        self.note("unbind", slot, self.model.unbind(device, slot))
    }

    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        self.model.invalidate(device, slot, batch)
    }

    fn map(&self, device: HostDevice, slot: Slot, mapping: &Mapping) -> Result<(), HostError> {
        self.note("map", slot, self.model.map(device, slot, mapping))
    }

    fn unmap(
        &self,
        device: HostDevice,
        slot: Slot,
        first: Iova,
        pages: u64,
    ) -> Result<(), HostError> {
        self.note("unmap", slot, self.model.unmap(device, slot, first, pages))
    }

    fn respond(&self, device: HostDevice, response: &PageGroupResponse) -> Result<(), HostError> {
        self.model.respond(device, response)
    }
}
