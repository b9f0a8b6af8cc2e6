//! What the host holds against what the guest's tables say, after each invalidation wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::Quotas;
use vtd::host::{HostDevice, HostIommu, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::descriptor::FunctionMask;
use vtd::spec::{Binding, DomainId, Pasid, Slot, SourceId};

use super::guest_tables::{DeviceEntries, Granted, GuestTables, joined};

/// What an invalidation descriptor covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalidated {
    Everything,
    Device(SourceId, FunctionMask),
    Domain(DomainId),
    Pasid(DomainId, Pasid),
    /// Second-stage translations of a domain, or of all: from the first of these pages of 4 KiB up to the last, which is
    /// included.
    Translations(Option<DomainId>, u64, u64),
}

/// A domain, or all, and pages of 4 KiB: from the first up to, not including, the second.
type Window = (Option<DomainId>, (u64, u64));

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
    /// IVA.
    invalidate_address: u64,
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

    /// IVA as it was written: reads of it tell nothing.
    pub(super) fn invalidate_address(&self) -> u64 {
        self.registers().invalidate_address
    }

    /// Follows RTADDR (020), GCMD (018, with GSTS behind it where 8 bytes are written) and IVA.
    pub(super) fn write(&self, offset: u64, size: u8, value: u64) {
        let mut registers = self.registers();
        let iva = (self.tables.ecap >> 8 & 0x3ff) * 16;
        let address = registers.invalidate_address;
        match (offset, size) {
            (place, 8) if place == iva => registers.invalidate_address = value,
            (place, 4) if place == iva => {
                registers.invalidate_address = address >> 32 << 32 | value;
            }
            (place, 4) if place == iva + 4 => {
                registers.invalidate_address = address & 0xffff_ffff | value << 32;
            }
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
        if !registers.translation || registers.latched >> 10 & 3 > 1 {
            return Vec::new();
        }
        let mut results = Vec::new();
        for (source_id, device) in &registers.assigned {
            for scope in invalidated {
                let device = (*source_id, *device);
                let root = registers.latched;
                match scope {
                    Invalidated::Translations(domain, first, last) => {
                        let window = (*domain, (*first, last.saturating_add(1)));
                        let scope = (window, &*history);
                        self.check_mappings(memory, device, root, scope, &mut results);
                    }
                    _ => self.check_device(memory, device, root, (scope, history), &mut results),
                }
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
        let wanted = self.entries(memory, (source_id, device), root, &pasids);
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
                Invalidated::Translations(..) => false,
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

    /// What the tables say of a device in either mode, for a host that shadows second-stage tables or not.
    fn entries(
        &self,
        memory: &SparseMemory,
        (source_id, device): (SourceId, HostDevice),
        root: u64,
        pasids: &std::ops::Range<u32>,
    ) -> DeviceEntries {
        let mut wanted = match root >> 10 & 3 {
            0 => self.tables.legacy_entry(memory, root, source_id),
            _ => self.tables.entries(memory, root, source_id, pasids),
        };
        let capabilities = self.host.capabilities(device);
        if !capabilities.is_ok_and(|capabilities| capabilities.shadowing) {
            for entry in wanted.entries.values_mut() {
                entry.binding =
                    entry.binding.filter(|binding| !matches!(binding, Binding::SecondStage(_)));
            }
        }
        wanted
    }

    /// What is mapped for the shadowed tables of a device against those tables, over the pages of an invalidation: one result for
    /// each slot, but for those whose last call failed, whose entry is changing, or that a quota may leave out.
    fn check_mappings(
        &self,
        memory: &SparseMemory,
        (source_id, device): (SourceId, HostDevice),
        root: u64,
        ((domain, pages), history): (Window, &CallHistory),
        results: &mut Vec<Compared>,
    ) {
        let wanted = self.entries(memory, (source_id, device), root, &(0..Pasid::END));
        for (slot, binding) in self.held(device).0 {
            let Binding::SecondStage(stage) = binding else { continue };
            let Some(entry) = wanted.entries.get(&slot) else { continue };
            let known = history.domains.get(&(source_id, slot));
            let settled =
                entry.binding == Some(binding) && known.is_none_or(|known| *known == entry.domain);
            let named = domain.is_none_or(|domain| domain == entry.domain);
            let mappings = self.host.mappings(device, slot);
            let full = mappings.len() >= self.quotas.mappings_per_device as usize;
            if !settled || !named || full || history.failed.contains(&(source_id, slot)) {
                continue;
            }
            let held: Vec<Granted> = mappings
                .iter()
                .filter_map(|mapping| {
                    let (first, end) = (mapping.iova.0 >> 12, mapping.end_page());
                    let (from, to) = (first.max(pages.0), end.min(pages.1));
                    let granted = u64::from(mapping.permission.reads())
                        | u64::from(mapping.permission.writes()) << 1;
                    let address = mapping.gpa.0 + ((from.max(first) - first) << 12);
                    (from < to).then(|| (from, to - from, address, granted))
                })
                .collect();
            let held = joined(&held);
            let granted = self.tables.granted(memory, &stage, &(pages.0..pages.1));
            if held == granted {
                results.push(Ok(()));
                continue;
            }
            // The first range that differs is enough to go by.
            let show = |own: &[Granted], other: &[Granted]| {
                let differs = own.iter().find(|range| !other.contains(range));
                let range =
                    differs.map_or("nothing else".into(), |(first, pages, gpa, granted)| {
                        let granted =
                            ["", "r", "w", "rw"].get(usize::try_from(*granted).unwrap_or(0));
                        format!("{:x} {gpa:x} {pages:x} {}", first << 12, granted.unwrap_or(&""))
                    });
                format!("{source_id} {slot} {range}")
            };
            results.push(Err((show(&granted, &held), show(&held, &granted))));
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
