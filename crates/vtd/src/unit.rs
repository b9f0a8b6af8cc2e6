//! The remapping unit, as a VMM sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use vtd_cache::{DeviceKey, Ledger, SavedSlot};
use vtd_host::{HostCapabilities, Reservation};
use vtd_spec::register::InterruptTableAddress;
use vtd_spec::{AddressType, Capabilities, FaultReason, FaultRecord, Iova, Pasid, Slot, SourceId};
use vtd_walk::{Access, Fault, RootTable};

use crate::agreement;
use crate::device::Device;
use crate::diagnostics::Subject;
use crate::endpoint::EndpointSlot;
use crate::engine::{self, DEFAULT_BUDGET, HostCalls, PendingWork};
use crate::protected_memory::ProtectedRegions;
use crate::register_page::RegisterPage;
use crate::shared::{Shared, count};
use crate::state::{STATE_VERSION, SavedDevice, SlotRecord, UnitState};
use crate::translation::{Mode, request_kind};
use crate::{
    AttachError, Attachment, DeviceId, DeviceView, DmaHandle, Effect, ResetKind, RestoreError,
    SaveError, SlotState, Step, UnitConfig, UnitCounts, UnknownDevice,
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

/// What the host of a restored unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreOnto {
    /// What the saved unit had it hold: the ledger is adopted without a call.
    SameHost,
    /// Nothing: exactly what was held is bound.
    FreshHost,
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
            self.shared.responses().clear();
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
    /// [`AttachError`]: the source-id is taken, or the device cannot be assigned.
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

    fn host_capabilities(
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

    /// The state of the unit, at any moment between steps.
    ///
    /// # Errors
    /// [`SaveError::HostCallUnderWay`] while another thread waits for the host or an endpoint.
    pub fn save(&self) -> Result<UnitState, SaveError> {
        let engine = self.shared.engine();
        if engine.is_calling() {
            return Err(SaveError::HostCallUnderWay);
        }
        let caps = self.capabilities();
        let registers = self.shared.registers().save();
        let translation = self.shared.translator().mode != Mode::Off;
        let devices = self.shared.devices();
        let saved = devices.iter().map(|device| SavedDevice {
            handle: device.id.0,
            source_id: device.source_id().0,
            assigned: match device.attachment {
                Attachment::Emulated => None,
                Attachment::Assigned(host_device) => Some(host_device.0),
            },
            releasing: device.is_released(),
            starved: engine.ledger.is_starved(device.id.key()),
            slots: save_slots(&engine.ledger, device.id.key()),
            starved_of_mappings: engine.ledger.is_starved_of_mappings(device.id.key()),
            endpoint: device.has_endpoint(),
        });
        let numbers = |pasids: Vec<Pasid>| pasids.into_iter().map(Pasid::get).collect();
        let (held, returned) = engine.guest_pasids();
        self.shared.hand_over();
        Ok(UnitState {
            version: STATE_VERSION,
            cap: caps.cap(),
            ecap: caps.ecap(),
            host_address_width: caps.host_address_width(),
            unit_version: self.shared.config.version,
            registers,
            translation,
            pending: engine.pending_work(&self.shared),
            devices: saved.collect(),
            next_handle: devices.next_handle(),
            pasids: numbers(held),
            returned_pasids: numbers(returned),
        })
    }

    /// A unit that goes on where a saved one stopped, and whose guest has started: it is shown what the state says, which may be
    /// less than what is configured (an agreement narrowed it), never more, and which the hosts must have.
    ///
    /// Device handles stay what they were; interrupts that had not been taken as effects before the save are the VMM's to carry
    /// over. Endpoints are not part of the state: the VMM names them again with [`set_endpoint`](Self::set_endpoint), and what
    /// they had not answered is delivered again.
    ///
    /// # Errors
    /// [`RestoreError`]: another version, another configuration, or a field that no unit can have.
    pub fn restore(
        config: UnitConfig,
        state: &UnitState,
        onto: RestoreOnto,
    ) -> Result<Self, RestoreError> {
        let shown = check(&config, state)?;
        let has_allocator = config.pasid_allocator.is_some();
        let unit = Self::new(config);
        unit.shared.registers().show(shown);
        unit.freeze();
        {
            let pending = &state.pending;
            let root = unit.restore_registers(state)?;
            unit.shared.translator().mode =
                if state.translation { Mode::On(root) } else { Mode::Off };
            unit.restore_latched(pending);
            unit.restore_devices(state, onto)?;
            unit.check_deliveries(state)?;
            let mut engine = unit.shared.engine();
            engine.resume(&unit.shared, pending, unit.shared.guards.barrier());
            unit.shared.responses().restore(&pending.responses);
            if onto == RestoreOnto::FreshHost && !pending.restore {
                engine.begin_restore();
            }
            unit.shared.want_wake();
        }
        // Last, as a unit that fails to be restored must not give back what the saved one has.
        let onto = if has_allocator { onto } else { RestoreOnto::FreshHost };
        unit.restore_pasids(state, onto)?;
        unit.shared.wake();
        Ok(unit)
    }

    /// Takes up the PASIDs that the guest has. On an allocator that knows them nothing changes; on a fresh one exactly these
    /// are reserved.
    fn restore_pasids(&self, state: &UnitState, onto: RestoreOnto) -> Result<(), RestoreError> {
        let pasid = |number| {
            let why = "no PASID that a virtual command could have given";
            let fits = Pasid::new(number).filter(|pasid| *pasid != Pasid::ZERO);
            fits.ok_or(RestoreError::Field { field: "pasids", why })
        };
        let allocator = self.shared.config.pasid_allocator.as_ref();
        let held = state.pasids.iter().map(|number| pasid(*number));
        let held = held.collect::<Result<BTreeSet<_>, _>>()?;
        let returned = state.returned_pasids.iter().map(|number| pasid(*number));
        let returned = returned.collect::<Result<BTreeSet<_>, _>>()?;
        let mut made = Vec::new();
        let reserved = held.iter().try_for_each(|pasid| {
            let Some(allocator) = allocator else { return Ok(()) };
            match allocator.reserve(*pasid) {
                Ok(Reservation::Made) => made.push(*pasid),
                Ok(Reservation::HeldAlready) if onto == RestoreOnto::SameHost => {}
                Ok(Reservation::HeldAlready) => return Err(RestoreError::PasidTaken(*pasid)),
                Err(source) => return Err(RestoreError::PasidRefused { pasid: *pasid, source }),
            }
            Ok(())
        });
        if let (Err(_), Some(allocator)) = (&reserved, allocator) {
            for pasid in made {
                // It was free a moment ago, and there is a better error to tell of.
                let _refused = allocator.free(pasid);
            }
        }
        reserved?;
        let mut engine = self.shared.engine();
        for pasid in held {
            engine.adopt_pasid(pasid);
        }
        if onto == RestoreOnto::SameHost {
            for pasid in returned {
                engine.give_back_pasid(pasid);
            }
        }
        Ok(())
    }

    fn restore_registers(&self, state: &UnitState) -> Result<RootTable, RestoreError> {
        let mut registers = self.shared.registers();
        let field = |field| RestoreError::Field { field, why: "it does not fit CAP.NFR" };
        registers.restore(&state.registers).map_err(field)?;
        // A command that was under way begins anew, unless a later one has taken its place.
        let RegisterPage { commands, latched_root, latched_interrupt_table, .. } = &mut *registers;
        let begun = &state.pending.begun;
        if begun.root && commands.root.is_none() {
            commands.root = Some(*latched_root);
        }
        commands.translation = commands.translation.or(begun.translation);
        commands.context |= begun.context;
        commands.iotlb |= begun.iotlb;
        if begun.interrupt_table {
            commands.interrupt_table = commands.interrupt_table.or(*latched_interrupt_table);
        }
        commands.interrupt_remapping = commands.interrupt_remapping.or(begun.interrupt_remapping);
        commands.compatibility = commands.compatibility.or(begun.compatibility);
        let root = vtd_spec::register::RootTableAddress::from_bits(*latched_root);
        Ok(RootTable::new(root, self.shared.caps()))
    }

    /// What is to be delivered is for devices that are there.
    fn check_deliveries(&self, state: &UnitState) -> Result<(), RestoreError> {
        let devices = self.shared.devices();
        let pending = &state.pending;
        let responses = pending.responses.iter().map(|response| response.device);
        let unknown = |handle: &u32| devices.get(DeviceId(*handle)).is_none();
        match pending.device_tlbs.devices().chain(responses).find(unknown) {
            Some(_) => {
                let why = "something to deliver to a device that is not there";
                Err(RestoreError::Field { field: "pending", why })
            }
            None => Ok(()),
        }
    }

    /// What commands that are taken up have changed, whether their completion is due or told.
    fn restore_latched(&self, pending: &PendingWork) {
        let registers = self.shared.registers();
        let PendingWork { begun, due, .. } = pending;
        {
            let mut interrupts = self.shared.interrupts();
            let status = registers.status;
            interrupts.enabled =
                begun.interrupt_remapping.or(due.interrupt_remapping).unwrap_or(status.ires);
            interrupts.compatibility =
                begun.compatibility.or(due.compatibility).unwrap_or(status.cfis);
            let table = registers.latched_interrupt_table;
            interrupts.table = table.map(InterruptTableAddress::from_bits);
        }
        let protected = due.protected_memory.unwrap_or(registers.protected_memory.enable.status);
        if protected {
            let regions = registers.protected_memory.regions(self.shared.caps());
            self.shared.translator().protected = regions;
        }
    }

    fn restore_devices(&self, state: &UnitState, onto: RestoreOnto) -> Result<(), RestoreError> {
        for saved in &state.devices {
            let source_id = SourceId(saved.source_id);
            let attachment = match saved.assigned {
                None => Attachment::Emulated,
                Some(host_device) => Attachment::Assigned(vtd_host::HostDevice(host_device)),
            };
            let host = self.host_capabilities(source_id, attachment)?;
            if let Some(host) = host.filter(|_| !saved.releasing) {
                self.agree(source_id, self.shared.caps(), &host)?;
            }
            let mut engine = self.shared.engine();
            let mut devices = self.shared.devices_mut();
            if saved.handle >= state.next_handle
                || devices.get(DeviceId(saved.handle)).is_some()
                || devices.of_source(source_id).is_some()
            {
                let why = "a handle or source-id that is taken or was never given";
                return Err(RestoreError::Field { field: "devices", why });
            }
            let device = devices.enter(DeviceId(saved.handle), source_id, attachment, host);
            if let Some(host) = host {
                engine.ledger.add_device(device.id.key(), source_id, host.pasids);
                if !host.unmap_cuts {
                    engine.ledger.map_whole_leaves(device.id.key());
                }
                for record in &saved.slots {
                    restore_slot(&mut engine.ledger, device.id.key(), record, onto)?;
                }
            }
            if saved.endpoint {
                device.replace_endpoint(EndpointSlot::Awaited);
            }
            if saved.starved {
                engine.ledger.starve(device.id.key());
            }
            if saved.starved_of_mappings {
                engine.ledger.starve_of_mappings(device.id.key());
            }
            if saved.releasing {
                device.mark_released();
                if !state.pending.due_releases.contains(&saved.handle) {
                    engine.release_device(device.id);
                }
            }
        }
        self.shared.devices_mut().continue_handles(state.next_handle);
        Ok(())
    }
}

fn save_slots(ledger: &Ledger, device: DeviceKey) -> Vec<SlotRecord> {
    let slots = ledger.save(device);
    let save = |slot: &SavedSlot| {
        let shadow = ledger.save_shadow(device, slot.slot);
        SlotRecord::from(slot).with_shadow(shadow)
    };
    slots.iter().map(save).collect()
}

fn restore_slot(
    ledger: &mut Ledger,
    device: DeviceKey,
    record: &SlotRecord,
    onto: RestoreOnto,
) -> Result<(), RestoreError> {
    let slot: SavedSlot = record.try_into()?;
    let shadow = record.shadow()?;
    match onto {
        RestoreOnto::SameHost => {
            ledger.adopt(device, &slot);
            if let Some(shadow) = shadow {
                ledger.adopt_shadow(device, slot.slot, shadow);
            }
        }
        RestoreOnto::FreshHost => {
            ledger.mourn(device, &slot);
            if let Some(shadow) = shadow {
                ledger.mourn_shadow(device, slot.slot, shadow);
            }
        }
    }
    Ok(())
}

/// Whether a state is of a unit with this configuration; what its guest is shown.
fn check(config: &UnitConfig, state: &UnitState) -> Result<Capabilities, RestoreError> {
    if !(1..=STATE_VERSION).contains(&state.version) {
        return Err(RestoreError::Version { found: state.version, readable: STATE_VERSION });
    }
    let other = |(what, saved, configured)| RestoreError::OtherUnit { what, saved, configured };
    let caps = agreement::implemented(&config.capabilities);
    let shown = agreement::restored(&caps, state.cap, state.ecap).map_err(other)?;
    let same = [
        ("VER", u64::from(state.unit_version), u64::from(config.version)),
        (
            "host address width",
            u64::from(state.host_address_width),
            u64::from(caps.host_address_width()),
        ),
    ];
    match same.into_iter().find(|(_, saved, configured)| saved != configured) {
        Some(differs) => Err(other(differs)),
        None => Ok(shown),
    }
}
