//! What the host holds against what the guest's tables say, after each invalidation wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::Quotas;
use vtd::host::{HostDevice, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::descriptor::FunctionMask;
use vtd::spec::{Binding, DomainId, Pasid, Slot, SourceId};

use super::guest_tables::GuestTables;

/// What an invalidation descriptor covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalidated {
    Everything,
    Device(SourceId, FunctionMask),
    Domain(DomainId),
    Pasid(DomainId, Pasid),
}

/// A slot of a device.
pub(super) type Place = (SourceId, Slot);

/// What is known of the slots from the calls that were made.
#[derive(Debug, Default)]
pub(super) struct CallHistory {
    /// The domain that a slot is held under, where it is known: the unit follows a domain without a call.
    pub(super) domains: BTreeMap<Place, DomainId>,
    /// Slots whose last call failed: they need not hold what the tables say.
    pub(super) failed: BTreeSet<Place>,
}

/// One slot compared: what the tables say and what the host holds, where the two differ.
pub(super) type Compared = Result<(), (String, String)>;

/// What the host should hold while the registers are as the recording's writes have left them.
#[derive(Debug)]
pub(super) struct HostState {
    host: Arc<ModelHost>,
    tables: GuestTables,
    quotas: Quotas,
    registers: Mutex<Registers>,
}

#[derive(Debug, Default)]
struct Registers {
    root: u64,
    latched: u64,
    translation: bool,
    assigned: BTreeMap<SourceId, HostDevice>,
}

impl HostState {
    pub(super) fn new(host: Arc<ModelHost>, tables: GuestTables, quotas: Quotas) -> Self {
        Self { host, tables, quotas, registers: Mutex::default() }
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn assign(&self, source_id: SourceId, device: HostDevice) {
        self.registers().assigned.insert(source_id, device);
    }

    pub(super) fn renumber(&self, source_id: SourceId, new: SourceId) {
        let mut registers = self.registers();
        if let Some(device) = registers.assigned.remove(&source_id) {
            registers.assigned.insert(new, device);
        }
    }

    pub(super) fn release(&self, source_id: SourceId) {
        self.registers().assigned.remove(&source_id);
    }

    pub(super) fn reset(&self) {
        let mut registers = self.registers();
        let assigned = std::mem::take(&mut registers.assigned);
        *registers = Registers { assigned, ..Registers::default() };
    }

    /// Follows RTADDR (020) and GCMD (018, with GSTS behind it where 8 bytes are written).
    pub(super) fn write(&self, offset: u64, size: u8, value: u64) {
        let mut registers = self.registers();
        match (offset, size) {
            (0x20, 8) => registers.root = value,
            (0x20, 4) => registers.root = registers.root >> 32 << 32 | value,
            (0x24, 4) => registers.root = registers.root & 0xffff_ffff | value << 32,
            (0x18, 4 | 8) => {
                registers.translation = value >> 31 & 1 == 1;
                if value >> 30 & 1 == 1 {
                    registers.latched = registers.root;
                }
            }
            _ => {}
        }
    }

    /// Compares the host with the tables over what was invalidated: one result for each slot that either side names, but for
    /// those whose last call failed and those that a quota leaves out.
    pub(super) fn check(
        &self,
        memory: &SparseMemory,
        invalidated: &[Invalidated],
        history: &mut CallHistory,
    ) -> Vec<Compared> {
        let registers = self.registers();
        // Only scalable mode has PASID entries; the other modes have no descriptor that names a binding.
        if !registers.translation || registers.latched >> 10 & 3 != 1 {
            return Vec::new();
        }
        let mut results = Vec::new();
        for (source_id, device) in &registers.assigned {
            for scope in invalidated {
                let device = (*source_id, *device);
                self.check_device(
                    memory,
                    device,
                    registers.latched,
                    (scope, history),
                    &mut results,
                );
            }
        }
        results
    }

    fn check_device(
        &self,
        memory: &SparseMemory,
        (source_id, device): (SourceId, HostDevice),
        root: u64,
        (scope, history): (&Invalidated, &mut CallHistory),
        results: &mut Vec<Compared>,
    ) {
        if let Invalidated::Device(named, mask) = scope
            && !mask.matches(*named, source_id)
        {
            return;
        }
        let pasids = match scope {
            Invalidated::Pasid(_, pasid) => pasid.get()..pasid.get() + 1,
            _ => 0..Pasid::END,
        };
        let wanted = self.tables.entries(memory, root, source_id, &pasids);
        let (held, full) = self.held(device);
        let slots: BTreeSet<Slot> = wanted.entries.keys().chain(held.keys()).copied().collect();
        for slot in slots {
            let entry = wanted.entries.get(&slot);
            let of_domain = |domain: DomainId| {
                history.domains.get(&(source_id, slot)) == Some(&domain)
                    || entry.is_some_and(|entry| entry.domain == domain)
            };
            let in_scope = match scope {
                Invalidated::Everything | Invalidated::Device(..) => true,
                Invalidated::Domain(domain) => of_domain(*domain),
                Invalidated::Pasid(domain, pasid) => {
                    let named = match slot {
                        Slot::Rid => wanted.rid_pasid == Some(pasid.get()),
                        Slot::Pasid(own) => own == *pasid,
                    };
                    named && of_domain(*domain)
                }
            };
            let wanted = entry.and_then(|entry| entry.binding);
            let held = held.get(&slot).copied();
            let left_out = full && held.is_none() && slot != Slot::Rid;
            if !in_scope || left_out || history.failed.contains(&(source_id, slot)) {
                continue;
            }
            if wanted != held {
                let show = |binding: Option<Binding>| {
                    let binding = binding.map_or("nothing".into(), |binding| binding.to_string());
                    format!("{source_id} {slot} {binding}")
                };
                results.push(Err((show(wanted), show(held))));
                continue;
            }
            if let Some(entry) = entry.filter(|_| held.is_some()) {
                history.domains.insert((source_id, slot), entry.domain);
            }
            results.push(Ok(()));
        }
    }

    /// What the host holds for a device, and whether its quota or the unit's is used up.
    fn held(&self, device: HostDevice) -> (BTreeMap<Slot, Binding>, bool) {
        let all = self.host.bindings();
        let pasids = |of: Option<HostDevice>| {
            let counts = |(holder, slot, _): &&(HostDevice, Slot, Binding)| {
                of.is_none_or(|of| of == *holder) && *slot != Slot::Rid
            };
            u32::try_from(all.iter().filter(counts).count()).unwrap_or(u32::MAX)
        };
        let full =
            pasids(Some(device)) >= self.quotas.per_device || pasids(None) >= self.quotas.per_unit;
        let own = all.iter().filter(|(holder, _, _)| *holder == device);
        (own.map(|(_, slot, binding)| (*slot, *binding)).collect(), full)
    }
}
