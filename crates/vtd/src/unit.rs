//! The remapping unit, as a VMM sees it.

use std::fmt;
use std::sync::Arc;

use vtd_host::HostCapabilities;
use vtd_spec::{AddressType, FaultReason, FaultRecord, Iova, Pasid, Slot, SourceId};
use vtd_walk::{Access, Fault, RootTable};

use crate::device::Device;
use crate::diagnostics::Subject;
use crate::endpoint::EndpointSlot;
use crate::engine::{self, DEFAULT_BUDGET, HostCalls};
use crate::protected_memory::ProtectedRegions;
use crate::responses::PendingResponses;
use crate::shared::{Shared, count};
use crate::translation::{Mode, request_kind};
use crate::{
    AttachError, Attachment, DeviceId, DeviceView, DmaHandle, Effect, ResetKind, SlotState, Step,
    UnitConfig, UnitCounts, UnknownDevice,
};

/// A VT-d remapping unit. Clones are the same unit.
///
/// A register write does a bounded amount of work and never waits for the host; [`step`](Self::step) does the rest, on whatever
/// thread the VMM gives it, and [`take_effect`](Self::take_effect) yields what the VMM has to do. Every method may be called from
/// any thread.
#[derive(Clone)]
pub struct RemappingUnit {
    pub(crate) shared: Arc<Shared>,
}

/// What it is made of. No lock is taken, so that it can be printed from anywhere.
impl fmt::Debug for RemappingUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemappingUnit").field(&self.shared.config).finish()
    }
}

/// A fault of an assigned device, as the host's IOMMU reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFault {
    /// The slot of the request.
    pub slot: Slot,
    /// The address asked for.
    pub address: Iova,
    /// What was asked for.
    pub access: Access,
    /// Why it was blocked.
    pub reason: FaultReason,
    /// Whether it was an untranslated request, a translation request or a translated one.
    pub address_type: AddressType,
}

impl HostFault {
    /// A fault of an untranslated request.
    #[must_use]
    pub fn new(slot: Slot, address: Iova, access: Access, reason: FaultReason) -> Self {
        Self { slot, address, access, reason, address_type: AddressType::Untranslated }
    }

    /// The same of another kind of request. A translation request is recorded as a read, which it is on the bus.
    #[must_use]
    pub fn with_address_type(self, address_type: AddressType) -> Self {
        Self { address_type, ..self }
    }
}

impl RemappingUnit {
    /// A unit as it is after power-on.
    #[must_use]
    pub fn new(config: UnitConfig) -> Self {
        Self { shared: Arc::new(Shared::new(config)) }
    }

    /// The size of the register page in bytes, a multiple of 4 KiB.
    #[must_use]
    pub fn register_page_size(&self) -> u64 {
        self.shared.config.capabilities.register_page_size()
    }

    /// The guest reads `size` bytes of the register page at byte `offset`. Never waits for the host.
    ///
    /// What is not an aligned access of 4 or 8 bytes reads 0.
    #[must_use]
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.freeze();
        self.shared.registers().read(offset, size)
    }

    /// The guest writes `size` bytes of the register page at byte `offset`.
    ///
    /// Does at most [`DEFAULT_BUDGET`] of work and never calls the host. What is not an aligned access of 4 or 8 bytes is
    /// ignored.
    pub fn write(&self, offset: u64, size: u8, value: u64) {
        self.freeze();
        self.shared.carry_on();
        {
            let mut registers = self.shared.registers();
            for message in registers.write(offset, size, value) {
                self.shared.send(message);
            }
            self.shared.note_asked(&registers);
        }
        // Whatever is left has asked for a wake.
        let _left = engine::step(&self.shared, DEFAULT_BUDGET, HostCalls::LeftToStep);
        self.shared.wake();
    }

    /// Does work that is left, at most `budget` of it: entries read, slots looked at, descriptors and host calls.
    pub fn step(&self, budget: u32) -> Step {
        let mut left = budget;
        let mut step;
        // The lock is let go now and then, so that a register write does not wait for a large budget.
        loop {
            let now = left.min(DEFAULT_BUDGET);
            left -= now;
            step = engine::step(&self.shared, now, HostCalls::Made);
            if step != Step::More || left == 0 {
                break;
            }
        }
        self.shared.wake();
        step
    }

    /// Steps until nothing is left, or only what waits for a guard or the host. For replays and tests: a guest that keeps writing
    /// the queue's tail from another thread keeps this going.
    pub fn run(&self) -> Step {
        loop {
            let step = self.step(DEFAULT_BUDGET);
            if step != Step::More {
                return step;
            }
        }
    }

    /// The next thing for the VMM to do.
    #[must_use]
    pub fn take_effect(&self) -> Option<Effect> {
        self.shared.effects().take()
    }

    /// Resets the unit. No guest memory is read or written any more, no pending wait is completed, and every binding is changed
    /// to what holds after power-on by the steps that follow; step until idle before the memory goes away.
    pub fn reset(&self, kind: ResetKind) {
        {
            let mut engine = self.shared.engine();
            // Held until translation is off: a page request finds its queue as it was, or none.
            let mut registers = self.shared.registers();
            registers.reset(kind);
            let mut translator = self.shared.translator();
            translator.mode = Mode::Off;
            translator.caches.invalidate_all();
            translator.protected = ProtectedRegions::default();
            drop(translator);
            drop(registers);
            self.shared.responses.change(PendingResponses::clear);
            self.shared.interrupts().reset();
            self.shared.effects().forget_interrupts();
            self.shared.carry_on();
            engine.reset();
            engine.return_pasids();
            engine.reset_interrupts(&self.shared);
            self.shared.want_wake();
        }
        self.shared.wake();
    }

    /// Attaches a device. An assigned one starts blocked; the steps that follow bind what the guest's tables say.
    ///
    /// Before the guest starts, an assigned device narrows [`capabilities`](Self::capabilities) to what its
    /// [host](HostCapabilities) has, also if it is released again. After that a device whose host has less is refused: a VMM that
    /// is to plug in others later configures what all of them have.
    ///
    /// # Errors
    /// [`AttachError`]: the source-id or the device of the host is taken, or the device cannot be assigned.
    pub fn attach(
        &self,
        source_id: SourceId,
        attachment: Attachment,
    ) -> Result<DeviceId, AttachError> {
        let host = self.host_capabilities(source_id, attachment)?;
        let device = {
            let mut engine = self.shared.engine();
            let mut registers = self.shared.registers();
            let mut devices = self.shared.devices_mut();
            if devices.of_source(source_id).is_some() {
                return Err(AttachError::SourceIdTaken(source_id));
            }
            devices.check_host_device(source_id, attachment)?;
            let agreed = match &host {
                Some(host) => self.agree(source_id, registers.capabilities(), host)?,
                None => *registers.capabilities(),
            };
            let device = devices.add(source_id, attachment, host);
            let device = device.ok_or(AttachError::TooManyDevices(source_id))?;
            registers.show(agreed);
            if let Some(host) = host {
                engine.ledger.add_device(device.id.key(), source_id, host.pasids);
                if !host.unmap_cuts {
                    engine.ledger.map_whole_leaves(device.id.key());
                }
                engine.reconcile_device(device.id);
                self.shared.want_wake();
            }
            device.id
        };
        self.shared.wake();
        Ok(device)
    }

    pub(crate) fn host_capabilities(
        &self,
        source_id: SourceId,
        attachment: Attachment,
    ) -> Result<Option<HostCapabilities>, AttachError> {
        let Attachment::Assigned(host_device) = attachment else { return Ok(None) };
        if !self.shared.config.capabilities.caching_mode() {
            return Err(AttachError::NoCachingMode(source_id));
        }
        let host = self.shared.config.host.as_ref().ok_or(AttachError::NoHost(source_id))?;
        let capabilities = host.capabilities(host_device);
        capabilities.map(Some).map_err(|source| AttachError::Host { source_id, source })
    }

    /// Releases a device. From now on its requests have no translation, and its endpoint is not called any more, but for a call
    /// that another thread has begun: an invalidation that it has not answered counts as done. [`Effect::Released`] follows when
    /// nothing is held for it, no guard of it is open and no call of its endpoint is under way.
    ///
    /// # Errors
    /// [`UnknownDevice`] if it has been released before.
    pub fn release(&self, device: DeviceId) -> Result<(), UnknownDevice> {
        let endpoint = {
            let mut engine = self.shared.engine();
            let devices = self.shared.devices();
            let found = devices.get(device).filter(|device| !device.is_released());
            let found = found.ok_or(UnknownDevice)?;
            found.mark_released();
            self.shared.translator().caches.unresolve_device(device.key());
            engine.forget_device_tlb(device);
            engine.release_device(device);
            self.shared.want_wake();
            found.replace_endpoint(EndpointSlot::Absent)
        };
        drop(endpoint);
        self.shared.wake();
        Ok(())
    }

    /// Tries again what the host refused for this device: all its slots are reconciled by the steps that follow.
    ///
    /// # Errors
    /// [`UnknownDevice`] if it is not an assigned device.
    pub fn retry(&self, device: DeviceId) -> Result<(), UnknownDevice> {
        {
            let mut engine = self.shared.engine();
            if !engine.ledger.has_device(device.key()) {
                return Err(UnknownDevice);
            }
            // The VMM has to hear of it if this fails too.
            self.shared.grant(Subject::HostCallFailed(device));
            // A device on its way out is to hold nothing, and its release tries that again.
            let releasing =
                self.shared.devices().get(device).is_some_and(|device| device.is_released());
            if releasing {
                engine.release_device(device);
            } else {
                engine.reconcile_device(device);
            }
            self.shared.want_wake();
        }
        self.shared.wake();
        Ok(())
    }

    /// The DMA of an emulated device with a PASID, or with none.
    ///
    /// # Errors
    /// [`UnknownDevice`] if it has been released or is assigned.
    pub fn dma(&self, device: DeviceId, pasid: Option<Pasid>) -> Result<DmaHandle, UnknownDevice> {
        let device = self.emulated(device)?;
        Ok(DmaHandle::new(Arc::clone(&self.shared), device, pasid))
    }

    pub(crate) fn emulated(&self, device: DeviceId) -> Result<Arc<Device>, UnknownDevice> {
        let devices = self.shared.devices();
        let found = devices.get(device).filter(|found| found.is_emulated() && !found.is_released());
        found.cloned().ok_or(UnknownDevice)
    }

    /// Records a fault that the host's IOMMU reported of an assigned device, unless FPD in the guest's tables, which are read for
    /// it, suppresses that. While translation is off, or aborts, nothing is recorded.
    ///
    /// # Errors
    /// [`UnknownDevice`] if it is not attached.
    pub fn report_host_fault(
        &self,
        device: DeviceId,
        fault: HostFault,
    ) -> Result<(), UnknownDevice> {
        self.freeze();
        let source_id = self.shared.devices().get(device).ok_or(UnknownDevice)?.source_id();
        let pasid = match fault.slot {
            Slot::Rid => None,
            Slot::Pasid(pasid) => Some(pasid),
        };
        let record = FaultRecord {
            address: fault.address.page().0,
            source_id,
            pasid,
            reason: fault.reason,
            kind: request_kind(fault.access, fault.address_type),
            execute: fault.access.execute,
            privileged: fault.access.privileged,
            address_type: fault.address_type,
        };
        // Then requests are blocked without a record, whoever blocks them.
        if matches!(self.root_table(), None | Some(RootTable::Abort)) {
            count(&self.shared.figures.faults_suppressed);
            return Ok(());
        }
        let fpd = self.shared.has_fpd(source_id, pasid);
        self.shared.record_fault(&record, &Fault { fpd, ..Fault::new(fault.reason) });
        self.shared.wake();
        Ok(())
    }

    /// The devices, in the order of their handles.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceView> {
        self.shared.devices().iter().map(|device| device.view()).collect()
    }

    /// The slots of an assigned device that have state: slot Rid first, then PASIDs in order.
    #[must_use]
    pub fn slots(&self, device: DeviceId) -> Vec<(Slot, SlotState)> {
        let engine = self.shared.engine();
        engine.ledger.slots(device.key()).map(|(slot, state)| (slot, state.clone())).collect()
    }

    /// Whether requests are translated, and through what; `None` while translation is off.
    #[must_use]
    pub fn root_table(&self) -> Option<RootTable> {
        match self.shared.translator().mode {
            Mode::Off => None,
            Mode::On(root) => Some(root),
        }
    }

    /// What the unit has done so far.
    #[must_use]
    pub fn counts(&self) -> UnitCounts {
        self.shared.counts()
    }
}
