//! The remapping unit of a machine: as it is, or recorded.

use std::sync::Arc;

use vtd::spec::{Gpa, Iova, PageRequest, Pasid, SourceId};
use vtd::{
    Access, AttachError, Attachment, Completion, DeviceId, DmaError, Effect, Endpoint,
    GuardedTranslation, PageRequestError, RemappingUnit, ResetKind, SharedDma, SharedGuard, Step,
    TranslationRequest, UnknownDevice,
};
use vtd_recording::recorder::{RecordedDma, RecordedGuard, RecordedUnit};
use vtd_vm_memory::{Dma, Guard};

/// A remapping unit, or one that writes down what becomes of it. Clones are the same unit.
#[derive(Clone, Debug)]
pub enum MachineUnit {
    /// As it is: devices translate side by side.
    Plain(RemappingUnit),
    /// Recorded: one input after the other.
    Recorded(RecordedUnit),
}

impl MachineUnit {
    /// The unit itself, to look at.
    #[must_use]
    pub fn unit(&self) -> &RemappingUnit {
        match self {
            Self::Plain(unit) => unit,
            Self::Recorded(recorded) => recorded.unit(),
        }
    }

    /// [`RemappingUnit::read`].
    #[must_use]
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        match self {
            Self::Plain(unit) => unit.read(offset, size),
            Self::Recorded(recorded) => recorded.read(offset, size),
        }
    }

    /// [`RemappingUnit::write`].
    pub fn write(&self, offset: u64, size: u8, value: u64) {
        match self {
            Self::Plain(unit) => unit.write(offset, size, value),
            Self::Recorded(recorded) => recorded.write(offset, size, value),
        }
    }

    /// [`RemappingUnit::reset`], as at power-on.
    pub fn reset(&self) {
        match self {
            Self::Plain(unit) => unit.reset(ResetKind::PowerOn),
            Self::Recorded(recorded) => recorded.reset(ResetKind::PowerOn),
        }
    }

    /// [`RemappingUnit::run`].
    pub fn run(&self) -> Step {
        match self {
            Self::Plain(unit) => unit.run(),
            Self::Recorded(recorded) => recorded.run(),
        }
    }

    /// [`RemappingUnit::take_effect`].
    #[must_use]
    pub fn take_effect(&self) -> Option<Effect> {
        self.unit().take_effect()
    }

    /// [`RemappingUnit::attach`], of an emulated device.
    ///
    /// # Errors
    /// As there.
    pub fn attach_emulated(&self, source_id: SourceId) -> Result<DeviceId, AttachError> {
        match self {
            Self::Plain(unit) => unit.attach(source_id, Attachment::Emulated),
            Self::Recorded(recorded) => recorded.attach(source_id, Attachment::Emulated),
        }
    }

    /// [`RemappingUnit::attach_endpoint`].
    ///
    /// # Errors
    /// As there.
    pub fn attach_endpoint(
        &self,
        source_id: SourceId,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<DeviceId, AttachError> {
        match self {
            Self::Plain(unit) => unit.attach_endpoint(source_id, endpoint),
            Self::Recorded(recorded) => recorded.attach_endpoint(source_id, endpoint),
        }
    }

    /// [`RemappingUnit::page_request`].
    ///
    /// # Errors
    /// As there.
    pub fn page_request(
        &self,
        device: DeviceId,
        request: PageRequest,
    ) -> Result<(), PageRequestError> {
        match self {
            Self::Plain(unit) => unit.page_request(device, request),
            Self::Recorded(recorded) => recorded.page_request(device, request),
        }
    }

    /// [`RemappingUnit::dma`].
    ///
    /// # Errors
    /// As there.
    pub fn dma(&self, device: DeviceId, pasid: Option<Pasid>) -> Result<MachineDma, UnknownDevice> {
        Ok(match self {
            Self::Plain(unit) => MachineDma::Plain(unit.dma(device, pasid)?.into()),
            Self::Recorded(recorded) => MachineDma::Recorded(recorded.dma(device, pasid)?),
        })
    }
}

/// A DMA handle of a [`MachineUnit`].
#[derive(Clone, Debug)]
pub enum MachineDma {
    /// Of a unit as it is.
    Plain(SharedDma),
    /// Of a recorded one.
    Recorded(RecordedDma),
}

impl MachineDma {
    /// Opens a guard: [`SharedDma::guard`]. Over a recorded unit other inputs of the unit wait until it is dropped.
    #[must_use]
    pub fn guard(&self) -> MachineGuard<'_> {
        match self {
            Self::Plain(handle) => MachineGuard::Plain(handle.guard()),
            Self::Recorded(dma) => MachineGuard::Recorded(dma.guard()),
        }
    }

    /// Runs one transfer inside a guard. It must not give the unit another input.
    pub fn with_guard<T>(&self, transfer: impl FnOnce(&MachineGuard<'_>) -> T) -> T {
        transfer(&self.guard())
    }
}

impl Dma for MachineDma {
    type Guard<'d> = MachineGuard<'d>;

    fn guard(&self) -> MachineGuard<'_> {
        Self::guard(self)
    }
}

/// An open guard of a [`MachineDma`].
#[derive(Debug)]
pub enum MachineGuard<'d> {
    /// Of a unit as it is.
    Plain(SharedGuard<'d>),
    /// Of a recorded one.
    Recorded(RecordedGuard<'d>),
}

impl Guard for MachineGuard<'_> {
    fn translate(&self, iova: Iova, access: Access) -> Result<GuardedTranslation<'_>, DmaError> {
        Self::translate(self, iova, access)
    }
}

impl MachineGuard<'_> {
    /// [`SharedGuard::translate`].
    ///
    /// # Errors
    /// As there.
    pub fn translate(
        &self,
        iova: Iova,
        access: Access,
    ) -> Result<GuardedTranslation<'_>, DmaError> {
        match self {
            Self::Plain(guard) => guard.translate(iova, access),
            Self::Recorded(guard) => guard.translate(iova, access),
        }
    }

    /// [`SharedGuard::translation_request`].
    ///
    /// # Errors
    /// As there.
    pub fn translation_request(
        &self,
        iova: Iova,
        request: TranslationRequest,
    ) -> Result<Completion, DmaError> {
        match self {
            Self::Plain(guard) => guard.translation_request(iova, request),
            Self::Recorded(guard) => guard.translation_request(iova, request),
        }
    }

    /// [`SharedGuard::translated`].
    ///
    /// # Errors
    /// As there.
    pub fn translated(&self, address: Gpa, access: Access) -> Result<Gpa, DmaError> {
        match self {
            Self::Plain(guard) => guard.translated(address, access),
            Self::Recorded(guard) => guard.translated(address, access),
        }
    }
}
