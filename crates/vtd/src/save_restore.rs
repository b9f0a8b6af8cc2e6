//! A unit saved, and one that goes on where a saved one stopped.

use std::collections::BTreeSet;
use std::sync::Arc;

use vtd_cache::{DeviceKey, Ledger, SavedSlot};
use vtd_host::Reservation;
use vtd_spec::register::InterruptTableAddress;
use vtd_spec::{Capabilities, Pasid, SourceId};
use vtd_walk::RootTable;

use crate::agreement;
use crate::device::Device;
use crate::endpoint::EndpointSlot;
use crate::engine::PendingWork;
use crate::register_page::RegisterPage;
use crate::state::{STATE_VERSION, SavedDevice, SlotRecord, UnitState};
use crate::translation::Mode;
use crate::{Attachment, DeviceId, RemappingUnit, RestoreError, SaveError, UnitConfig};

/// What the host of a restored unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreOnto {
    /// What the saved unit had it hold: the ledger is adopted without a call.
    SameHost,
    /// Nothing: exactly what was held is bound.
    FreshHost,
}

impl RemappingUnit {
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
            unit.shared.responses.change(|responses| responses.restore(&pending.responses));
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
        self.shared.note_asked(&registers);
        Ok(RootTable::new(root, self.shared.caps()))
    }

    /// What is to be delivered is for devices that are there.
    fn check_deliveries(&self, state: &UnitState) -> Result<(), RestoreError> {
        let devices = self.shared.devices();
        let pending = &state.pending;
        let of = |handle: u32| devices.get(DeviceId(handle));
        let with_endpoint =
            |handle| of(handle).is_some_and(|device: &Arc<Device>| device.has_endpoint());
        let mut responses = pending.responses.iter().map(|response| response.device);
        if !pending.device_tlbs.devices().all(with_endpoint)
            || !responses.all(|handle| of(handle).is_some())
        {
            let why =
                "something to deliver to a device that is not there, or that takes none of it";
            return Err(RestoreError::Field { field: "pending", why });
        }
        Ok(())
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
            devices.check_host_device(source_id, attachment)?;
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
    if ledger.slot(device, slot.slot).is_some() {
        return Err(RestoreError::Field { field: "slots", why: "one slot twice" });
    }
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
