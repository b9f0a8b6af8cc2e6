//! What the host should hold, worked out from the guest's memory alone.
//!
//! This is a second reading of the tables, in raw integers and independent of the walks that the unit uses, so that a mistake in
//! those shows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::host::{HostDevice, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::descriptor::FunctionMask;
use vtd::spec::{Binding, DomainId, FirstStage, FirstStageLevels, Gpa, Pasid, Slot, SourceId};

/// What an invalidation descriptor covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalidated {
    Everything,
    Device(SourceId, FunctionMask),
    Domain(DomainId),
    Pasid(DomainId, Pasid),
}

/// What the host should hold while the registers are as the recording's writes have left them.
#[derive(Debug)]
pub(super) struct HostState {
    host: Arc<ModelHost>,
    ecap: u64,
    registers: Mutex<Registers>,
}

#[derive(Debug, Default)]
struct Registers {
    root: u64,
    latched: u64,
    translation: bool,
    assigned: BTreeSet<SourceId>,
}

/// A PASID-table entry with P=1.
#[derive(Clone, Copy, Debug)]
struct GuestEntry {
    binding: Option<Binding>,
    domain: DomainId,
}

/// The name of a device on the model host.
pub(super) fn host_device(source_id: SourceId) -> HostDevice {
    HostDevice(u64::from(source_id.0))
}

impl HostState {
    pub(super) fn new(host: Arc<ModelHost>, ecap: u64) -> Self {
        Self { host, ecap, registers: Mutex::default() }
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn assign(&self, source_id: SourceId) {
        self.registers().assigned.insert(source_id);
    }

    pub(super) fn release(&self, source_id: SourceId) {
        self.registers().assigned.remove(&source_id);
    }

    pub(super) fn reset(&self) {
        let mut registers = self.registers();
        let assigned = std::mem::take(&mut registers.assigned);
        *registers = Registers { assigned, ..Registers::default() };
    }

    /// Follows RTADDR (020) and GCMD (018).
    pub(super) fn write(&self, offset: u64, size: u8, value: u64) {
        let mut registers = self.registers();
        match (offset, size) {
            (0x20, 8) => registers.root = value,
            (0x20, 4) => registers.root = registers.root >> 32 << 32 | value,
            (0x24, 4) => registers.root = registers.root & 0xffff_ffff | value << 32,
            (0x18, 4) => {
                registers.translation = value >> 31 & 1 == 1;
                if value >> 30 & 1 == 1 {
                    registers.latched = registers.root;
                }
            }
            _ => {}
        }
    }

    /// Compares the host with the tables over what was invalidated: one result for each slot that either side names, but for
    /// those whose last call `failed`.
    pub(super) fn check(
        &self,
        memory: &SparseMemory,
        invalidated: &[Invalidated],
        domains: &BTreeMap<(SourceId, Slot), DomainId>,
        failed: &BTreeSet<(SourceId, Slot)>,
    ) -> Vec<Result<(), (String, String)>> {
        let registers = self.registers();
        // Only scalable mode has PASID entries; the other modes have no descriptor that names a binding.
        if !registers.translation || registers.latched >> 10 & 3 != 1 {
            return Vec::new();
        }
        let mut results = Vec::new();
        for source_id in &registers.assigned {
            for scope in invalidated {
                let device = (*source_id, registers.latched);
                results.extend(self.check_device(memory, device, scope, domains, failed));
            }
        }
        results
    }

    fn check_device(
        &self,
        memory: &SparseMemory,
        (source_id, root): (SourceId, u64),
        scope: &Invalidated,
        domains: &BTreeMap<(SourceId, Slot), DomainId>,
        failed: &BTreeSet<(SourceId, Slot)>,
    ) -> Vec<Result<(), (String, String)>> {
        if let Invalidated::Device(device, mask) = scope
            && !mask.matches(*device, source_id)
        {
            return Vec::new();
        }
        let pasids = match scope {
            Invalidated::Pasid(_, pasid) => pasid.get()..pasid.get() + 1,
            _ => 0..Pasid::END,
        };
        let wanted = self.entries(memory, root, source_id, &pasids);
        let device = host_device(source_id);
        let held: BTreeMap<Slot, Binding> = self
            .host
            .bindings()
            .into_iter()
            .filter(|(holder, _, _)| *holder == device)
            .map(|(_, slot, binding)| (slot, binding))
            .collect();
        let slots: BTreeSet<Slot> = wanted.entries.keys().chain(held.keys()).copied().collect();
        let of_domain = |slot: &Slot, domain: DomainId| {
            domains.get(&(source_id, *slot)) == Some(&domain)
                || wanted.entries.get(slot).is_some_and(|entry| entry.domain == domain)
        };
        let in_scope = |slot: &&Slot| match scope {
            Invalidated::Everything | Invalidated::Device(..) => true,
            Invalidated::Domain(domain) => of_domain(slot, *domain),
            Invalidated::Pasid(domain, pasid) => {
                let named = match slot {
                    Slot::Rid => wanted.rid_pasid == Some(pasid.get()),
                    Slot::Pasid(own) => own == pasid,
                };
                named && of_domain(slot, *domain)
            }
        };
        let compare = |slot: &Slot| {
            let wanted = wanted.entries.get(slot).and_then(|entry| entry.binding);
            let held = held.get(slot).copied();
            if wanted == held {
                return Ok(());
            }
            let show = |binding: Option<Binding>| {
                let binding = binding.map_or("nothing".into(), |binding| binding.to_string());
                format!("{source_id} {slot} {binding}")
            };
            Err((show(wanted), show(held)))
        };
        let settled = |slot: &&Slot| !failed.contains(&(source_id, **slot));
        slots.iter().filter(in_scope).filter(settled).map(compare).collect()
    }

    /// Every present PASID-table entry of a range of a device's PASIDs, by slot.
    fn entries(
        &self,
        memory: &SparseMemory,
        root: u64,
        source_id: SourceId,
        pasids: &Range<u32>,
    ) -> DeviceEntries {
        let mut found = DeviceEntries::default();
        // Not through the unit's side of the memory, which counts reads of pages that no line names.
        let load = |place: u64| {
            let mut bytes = [0; 8];
            let read = memory.read_bytes(Gpa(place), &mut bytes);
            read.map_or(0, |()| u64::from_le_bytes(bytes))
        };
        let page = |entry: u64| entry & 0x000f_ffff_ffff_f000;
        let (bus, devfn) = (u64::from(source_id.0 >> 8), u64::from(source_id.0 & 0xff));
        let half = load(page(root) + bus * 16 + devfn / 128 * 8);
        if half & 1 == 0 {
            return found;
        }
        let context = page(half) + devfn % 128 * 32;
        let (low, high) = (load(context), load(context + 8));
        if low & 1 == 0 {
            return found;
        }
        let rid_pasid = if self.ecap >> 49 & 1 == 1 { high & 0xf_ffff } else { 0 };
        let rid_pasid = u32::try_from(rid_pasid).unwrap_or(0);
        found.rid_pasid = Some(rid_pasid);
        let with_pasids = low >> 3 & 1 == 1;
        let last = (1_u32 << (7 + (low >> 9 & 7))).min(pasids.end.div_ceil(64));
        for index in pasids.start / 64..last {
            let directory = load(page(low) + u64::from(index) * 8);
            if directory & 1 == 0 {
                continue;
            }
            for number in (index * 64..index * 64 + 64).filter(|number| pasids.contains(number)) {
                let place = page(directory) + u64::from(number % 64) * 64;
                let slot = match Pasid::new(number) {
                    _ if number == rid_pasid => Slot::Rid,
                    Some(pasid) if with_pasids => Slot::Pasid(pasid),
                    _ => continue,
                };
                let words = [load(place), load(place + 8), load(place + 16)];
                if words[0] & 1 == 1 {
                    found.entries.insert(slot, guest_entry(words));
                }
            }
        }
        found
    }
}

#[derive(Debug, Default)]
struct DeviceEntries {
    rid_pasid: Option<u32>,
    entries: BTreeMap<Slot, GuestEntry>,
}

fn guest_entry([low, tag, first]: [u64; 3]) -> GuestEntry {
    let reserved = low & 0xc20 != 0 || tag & 0x7f_0000 != 0 || first & 0xf00 != 0;
    let binding = match low >> 6 & 7 {
        _ if reserved => None,
        1 => Some(Binding::FirstStage(FirstStage {
            table: Gpa(first & 0x000f_ffff_ffff_f000),
            levels: if first >> 2 & 3 == 0 {
                FirstStageLevels::Four
            } else {
                FirstStageLevels::Five
            },
            supervisor: first & 1 == 1,
            write_protect: first >> 4 & 1 == 1,
            extended_accessed: first >> 7 & 1 == 1,
        })),
        4 => Some(Binding::PassThrough),
        _ => None,
    };
    let domain = DomainId(u16::try_from(tag & 0xffff).unwrap_or(0));
    GuestEntry { binding, domain }
}
