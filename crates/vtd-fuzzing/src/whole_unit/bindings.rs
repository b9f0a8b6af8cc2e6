//! What the host has to hold for assigned devices.

use vtd::Attachment;
use vtd::host::HostDevice;
use vtd::spec::{Binding, FirstStageLevels, Slot};
use vtd_model::Mode;

use super::oracles::wrong;
use super::world::{Device, Kind, World};

/// A slot, the domain of its entry, and what is to be bound.
pub(super) type Wished = (Slot, Option<u16>, Option<Binding>);

impl World {
    /// Nothing is held for a device.
    pub(super) fn expect_nothing_held(&self, device: Device) {
        let held = self.host.inner().model.bindings();
        if let Some(held) = held.iter().find(|(holder, ..)| *holder == device.host)
            && device.kind == Kind::Assigned
        {
            wrong("bindings: something is held for a device that has been released", held);
        }
    }

    /// Pass-through of requests without PASID, and nothing else.
    pub(super) fn expect_power_on(&mut self, failures: u64) {
        if self.host.failed_calls() != failures {
            return;
        }
        for device in self.devices.iter().flatten() {
            if device.kind == Kind::Assigned {
                let held = self.held(device.host);
                let expected = [(Slot::Rid, Binding::PassThrough)];
                let starved = self.config_is_starved();
                if held != expected && !starved {
                    wrong("bindings: after a reset", &held);
                }
                self.figures.bindings += 1;
            }
        }
    }

    pub(super) fn config_is_starved(&self) -> bool {
        self.unit.counts().ledger.over_quota > 0
    }

    pub(super) fn held(&self, device: HostDevice) -> Vec<(Slot, Binding)> {
        let bindings = self.host.inner().model.bindings();
        let of_device = bindings.into_iter().filter(|(holder, ..)| *holder == device);
        of_device.map(|(_, slot, binding)| (slot, binding)).collect()
    }

    /// What the tables say of every device of the host.
    fn desired_of_the_host(&self) -> Vec<(HostDevice, Slot, Binding)> {
        let devices = (0..).zip(self.devices);
        let assigned = devices.filter_map(|(source, device)| Some((source, device?.host)));
        let of_device = |(source, host)| {
            let desired = self.desired(source, 0..1 << 20).into_iter();
            desired.filter_map(move |(slot, _, binding)| Some((host, slot, binding?)))
        };
        assigned.flat_map(of_device).collect()
    }

    /// What the host holds, but for what a failed call has left there: a fresh host is not given that.
    pub(super) fn held_by_the_tables(&self) -> Vec<(HostDevice, Slot, Binding)> {
        let mut held = self.host.inner().model.bindings();
        for device in self.unit.devices() {
            let Attachment::Assigned(host) = device.attachment else { continue };
            for (slot, state) in self.unit.slots(device.id) {
                if !state.contradicts() {
                    continue;
                }
                if self.host.failed_calls() == 0 {
                    wrong("bindings: held against the tables, and no call has failed", &state);
                }
                held.retain(|(holder, of, _)| (*holder, *of) != (host, slot));
            }
        }
        held
    }

    /// What was held before holds again. A device that had waited for space is compared with the tables as soon as there is some, so what
    /// they say is as good where a quota had been used up.
    pub(super) fn expect_held(&mut self, held: &[(HostDevice, Slot, Binding)], starved: bool) {
        let now = self.host.inner().model.bindings();
        let desired = if starved { self.desired_of_the_host() } else { Vec::new() };
        let is_known = |binding: &_| held.contains(binding) || desired.contains(binding);
        let is_kept = |binding: &_| now.contains(binding) || starved && !desired.contains(binding);
        if !now.iter().all(is_known) || !held.iter().all(is_kept) {
            wrong("restore: a fresh host holds something else", &(held, now));
        }
        self.figures.bindings += 1;
    }

    /// The domains of what is held for a PASID, by device.
    pub(super) fn held_domains(&self, pasid: u32) -> [Option<u16>; 3] {
        self.devices.map(|device| {
            let device = device.filter(|device| device.kind == Kind::Assigned)?;
            let slots = self.unit.slots(device.id);
            let of_pasid =
                |slot: &Slot| matches!(slot, Slot::Pasid(number) if number.get() == pasid);
            let (_, state) = slots.into_iter().find(|(slot, _)| of_pasid(slot))?;
            state.held.map(|held| held.domain.0)
        })
    }

    /// An invalidation of a PASID with a domain is done: what it covers is what the tables say.
    pub(super) fn expect_tables_of(
        &mut self,
        pasid: u32,
        domain: u64,
        held_before: &[Option<u16>; 3],
        failures: u64,
        before: &[Vec<Wished>; 3],
    ) {
        let failed = self.host.failed_calls() != failures;
        if !self.is_queue_working() || self.config_is_starved() {
            return;
        }
        for (source, device) in (0..).zip(self.devices) {
            let Some(device) = device.filter(|device| device.kind == Kind::Assigned) else {
                continue;
            };
            let desired = self.desired(source, pasid..pasid + 1);
            // The tables may have changed meanwhile: where the status is written there may be one.
            if before.get(usize::from(source)) != Some(&desired) {
                continue;
            }
            let Some((slot, entry, binding)) =
                desired.into_iter().find(|(slot, ..)| matches!(slot, Slot::Pasid(_)))
            else {
                continue;
            };
            let before = held_before.get(usize::from(source)).copied().flatten();
            let named = [entry, before].into_iter().flatten().any(|of| u64::from(of) == domain);
            if !named {
                continue;
            }
            let now = self.held(device.host).into_iter().find(|(of, _)| *of == slot);
            let now = now.map(|(_, binding)| binding);
            // What could not be bound is not, but nothing else is held either.
            if now != binding && !(failed && now.is_none()) {
                wrong("bindings: of a PASID that was invalidated", &(slot, now, binding));
            }
            self.figures.bindings += 1;
        }
    }

    /// Invalidates everything, and compares all bindings with the tables.
    pub(super) fn expect_tables_everywhere(&mut self) {
        if !self.is_queue_working() {
            return;
        }
        let failures = self.host.failed_calls();
        let before = [0, 1, 2].map(|source| self.desired(source, 0..1 << 20));
        if !self.invalidate_everything()
            || self.host.failed_calls() != failures
            || self.config_is_starved()
        {
            return;
        }
        self.expect_bindings("after a global invalidation", &before);
    }

    /// Translation has gone on or off: nothing has to be invalidated for bindings to follow.
    pub(super) fn expect_bindings_follow(&mut self, when: &str, failures: u64) {
        if self.host.failed_calls() == failures && !self.config_is_starved() {
            let now = [0, 1, 2].map(|source| self.desired(source, 0..1 << 20));
            self.expect_bindings(when, &now);
        }
    }

    /// All bindings are what the tables say, where they say what they said before.
    fn expect_bindings(&mut self, when: &str, before: &[Vec<Wished>; 3]) {
        for (source, device) in (0..).zip(self.devices) {
            let Some(device) = device.filter(|device| device.kind == Kind::Assigned) else {
                continue;
            };
            let desired = self.desired(source, 0..1 << 20);
            if before.get(usize::from(source)) != Some(&desired) {
                continue;
            }
            let desired: Vec<_> = desired
                .into_iter()
                .filter_map(|(slot, _, binding)| Some((slot, binding?)))
                .collect();
            let held = self.held(device.host);
            if held != desired {
                wrong(&format!("bindings: {when}"), &(source, held, desired));
            }
            self.figures.bindings += 1;
        }
    }

    /// What the tables say of a PASID, by device.
    pub(super) fn desired_of(&self, pasid: u32) -> [Vec<Wished>; 3] {
        [0, 1, 2].map(|source| match self.device(source) {
            Some(Device { kind: Kind::Assigned, .. }) => self.desired(source, pasid..pasid + 1),
            _ => Vec::new(),
        })
    }

    /// Whether descriptors that are queued now are carried out, of either width.
    pub(super) fn is_queue_running(&self) -> bool {
        let mirror = self.mirror();
        let queue = &mirror.registers.queue;
        queue.enabled && !queue.error && !queue.timeout && queue.head == queue.tail
    }

    pub(super) fn is_queue_working(&self) -> bool {
        let mirror = self.mirror();
        let queue = &mirror.registers.queue;
        queue.enabled && !queue.error && !queue.timeout && queue.address >> 11 & 1 == 1
    }

    /// What the tables say of the slots of a device: the entry's domain, and what is to be bound.
    pub(super) fn desired(&self, source: u8, pasids: std::ops::Range<u32>) -> Vec<Wished> {
        let source_id = crate::program::pools::of(&crate::program::pools::SOURCES, source);
        let mirror = self.mirror();
        let unit = &mirror.registers.unit;
        let desired = unit.desired(&*mirror.memory, source_id, pasids);
        let binding = |mode| match mode {
            Mode::PassThrough => Some(Binding::PassThrough),
            Mode::FirstStage { table, levels, supervisor, write_protect, extended_accessed } => {
                Some(Binding::FirstStage(vtd::spec::FirstStage {
                    table: vtd::spec::Gpa(table),
                    levels: if levels == 5 {
                        FirstStageLevels::Five
                    } else {
                        FirstStageLevels::Four
                    },
                    supervisor,
                    write_protect,
                    extended_accessed,
                }))
            }
            Mode::SecondStage { table, levels } => {
                use vtd::spec::table::SecondStageLevels::{Five, Four, Three};
                let levels = match levels {
                    3 => Three,
                    4 => Four,
                    _ => Five,
                };
                Some(Binding::SecondStage(vtd::spec::table::SecondStage {
                    table: vtd::spec::Gpa(table),
                    levels,
                    accessed_dirty: false,
                }))
            }
            Mode::Nested => None,
        };
        let slot = |slot| match slot {
            vtd_model::Slot::Rid => Some(Slot::Rid),
            vtd_model::Slot::Pasid(number) => vtd::spec::Pasid::new(number).map(Slot::Pasid),
        };
        let entry = |entry: vtd_model::Desired| {
            Some((slot(entry.slot)?, entry.domain, entry.mode.and_then(binding)))
        };
        desired.into_iter().filter_map(entry).collect()
    }
}
