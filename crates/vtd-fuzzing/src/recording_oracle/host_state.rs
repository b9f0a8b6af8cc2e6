//! What the host holds, held against what the tables say.

use std::collections::{BTreeMap, BTreeSet};

use vtd_model::{Desired, Invalidation, Mode, Slot};
use vtd_recording::format::{HostCall, HostCallKind, HostMode};
use vtd_spec::FirstStageLevels;
use vtd_spec::table::SecondStageLevels;

use super::machine::Machine;

/// The default quota of bindings of a device.
const QUOTA: usize = 4096;

/// What the host holds by its `host` lines, and what is to be compared before the next input.
#[derive(Debug, Default)]
pub(super) struct HostState {
    held: BTreeMap<(u16, Slot), (Mode, u16)>,
    scopes: Vec<Scope>,
}

/// Slots that a completed command covers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// All slots of all devices.
    Everything,
    /// All slots of one device.
    Device(u16),
    /// A descriptor's.
    Invalidation(Invalidation),
}

impl HostState {
    /// A `host` line.
    pub(super) fn called(&mut self, call: &HostCall) {
        let slot = match call.slot {
            vtd_spec::Slot::Rid => Slot::Rid,
            vtd_spec::Slot::Pasid(pasid) => Slot::Pasid(pasid.get()),
        };
        let key = (call.source_id.0, slot);
        match call.kind {
            HostCallKind::Bind { mode, domain } | HostCallKind::Replace { mode, domain } => {
                if let Some(mode) = model_mode(mode) {
                    self.held.insert(key, (mode, domain.0));
                }
            }
            HostCallKind::Unbind => {
                self.held.remove(&key);
            }
            _ => {}
        }
    }

    pub(super) fn covered(&mut self, scope: Scope) {
        self.scopes.push(scope);
    }

    /// A device takes what it holds along.
    pub(super) fn renumbered(&mut self, source_id: u16, new: u16) {
        self.held = std::mem::take(&mut self.held)
            .into_iter()
            .map(|((device, slot), held)| {
                ((if device == source_id { new } else { device }, slot), held)
            })
            .collect();
    }

    pub(super) fn released(&mut self, source_id: u16) {
        self.held.retain(|(device, _), _| *device != source_id);
    }
}

impl Machine {
    /// Compares what the last input covered. Stands before the next one.
    pub(super) fn compare_host(&mut self, line: u64) {
        let scopes = std::mem::take(&mut self.host.scopes);
        if scopes.is_empty() || self.host_failed {
            return;
        }
        for device in self.devices.assigned().collect::<Vec<_>>() {
            let filters: Vec<Scope> = scopes
                .iter()
                .copied()
                .filter(|scope| match *scope {
                    Scope::Everything => true,
                    Scope::Device(source_id) => source_id == device,
                    Scope::Invalidation(invalidation) => touches(invalidation, device),
                })
                .collect();
            if !filters.is_empty() {
                self.compare_device(line, device, &filters);
            }
        }
    }

    fn compare_device(&mut self, line: u64, device: u16, scopes: &[Scope]) {
        let unit = &self.registers.unit;
        let desired = unit.desired(&self.memory, device, 0..1 << 20);
        let by_slot: BTreeMap<Slot, Desired> =
            desired.iter().map(|desired| (desired.slot, *desired)).collect();
        let held = &self.host.held;
        let mut slots: BTreeSet<Slot> = by_slot.keys().copied().collect();
        let of_device = (device, Slot::Rid)..=(device, Slot::Pasid(u32::MAX));
        slots.extend(held.range(of_device).map(|((_, slot), _)| *slot));
        let of_device = (device, Slot::Pasid(0))..=(device, Slot::Pasid(u32::MAX));
        let is_full = held.range(of_device).count() >= QUOTA;
        for slot in slots {
            let held = self.host.held.get(&(device, slot)).copied();
            let desired = by_slot.get(&slot);
            let rid_pasid = desired.filter(|_| slot == Slot::Rid).is_some();
            let domains =
                [held.map(|(_, domain)| domain), desired.and_then(|desired| desired.domain)];
            if !scopes.iter().any(|scope| selects(*scope, slot, rid_pasid, domains)) {
                continue;
            }
            let wanted = desired.and_then(|desired| desired.mode).filter(|mode| match mode {
                Mode::Nested => false,
                // Shadowed in files of version 2 alone.
                Mode::SecondStage { .. } => self.shadows,
                Mode::PassThrough | Mode::FirstStage { .. } => true,
            });
            if held.map(|(mode, _)| mode) == wanted || is_full && held.is_none() {
                self.report.count("slot of the host");
                if let (Some((mode, _)), Some(domain)) =
                    (held, desired.and_then(|desired| desired.domain))
                {
                    self.host.held.insert((device, slot), (mode, domain));
                }
            } else {
                self.report.difference(
                    line,
                    format!("before this line the host holds {held:x?} for {device:x} {slot:x?}, not {wanted:x?}"),
                );
            }
        }
    }
}

/// Whether an invalidation says anything of the slots of a device.
fn touches(invalidation: Invalidation, device: u16) -> bool {
    match invalidation {
        Invalidation::Everything
        | Invalidation::Translations
        | Invalidation::ContextGlobal
        | Invalidation::ContextDomain { .. }
        | Invalidation::PasidGlobal
        | Invalidation::PasidDomain { .. }
        | Invalidation::Pasid { .. } => true,
        Invalidation::ContextDevice { source_id, function_mask, .. } => {
            let ignored = match function_mask {
                0 => 0,
                1 => 4,
                2 => 6,
                _ => 7,
            };
            (source_id ^ device) & !ignored == 0
        }
        _ => false,
    }
}

/// Whether a scope covers a slot, by its PASID and by the domain held or desired.
fn selects(scope: Scope, slot: Slot, is_rid: bool, domains: [Option<u16>; 2]) -> bool {
    let Scope::Invalidation(invalidation) = scope else { return true };
    match invalidation {
        Invalidation::PasidDomain { domain } => domains.contains(&Some(domain)),
        // Of slot Rid the PASID is not looked up here.
        Invalidation::Pasid { domain, pasid } => {
            !is_rid && slot == Slot::Pasid(pasid) && domains.contains(&Some(domain))
        }
        _ => true,
    }
}

fn model_mode(mode: HostMode) -> Option<Mode> {
    Some(match mode {
        HostMode::PassThrough => Mode::PassThrough,
        HostMode::FirstStage(stage) => Mode::FirstStage {
            table: stage.table.0,
            levels: if stage.levels == FirstStageLevels::Four { 4 } else { 5 },
            supervisor: stage.supervisor,
            write_protect: stage.write_protect,
            extended_accessed: stage.extended_accessed,
        },
        HostMode::SecondStage { table, levels } => Mode::SecondStage {
            table: table.0,
            levels: match levels {
                SecondStageLevels::Three => 3,
                SecondStageLevels::Four => 4,
                SecondStageLevels::Five => 5,
            },
        },
        _ => return None,
    })
}
