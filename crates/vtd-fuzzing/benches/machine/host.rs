//! A host that does what it is asked, and keeps nothing.

use vtd::host::{
    HostCapabilities, HostDevice, HostError, HostIommu, InvalidateError, StageOneInvalidation,
};
use vtd::spec::{Binding, Slot};

#[derive(Debug)]
pub(crate) struct WillingHost;

impl HostIommu for WillingHost {
    fn capabilities(&self, _: HostDevice) -> Result<HostCapabilities, HostError> {
        Ok(HostCapabilities::everything())
    }

    fn bind(&self, _: HostDevice, _: Slot, _: &Binding) -> Result<(), HostError> {
        Ok(())
    }

    fn replace(&self, _: HostDevice, _: Slot, _: &Binding) -> Result<(), HostError> {
        Ok(())
    }

    fn unbind(&self, _: HostDevice, _: Slot) -> Result<(), HostError> {
        Ok(())
    }

    fn invalidate(
        &self,
        _: HostDevice,
        _: Slot,
        _: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        Ok(())
    }
}
