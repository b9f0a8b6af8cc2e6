//! The ledger: what the host holds, slot by slot.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use vtd_spec::planted::is_planted;
use vtd_spec::{Binding, Pasid, Slot, SourceId};

use crate::shadow::{Fill, Lost, Shadow};
use crate::shadow_walk::Space;
use crate::{
    Call, Change, DeviceKey, Failure, FailureKind, Held, Outcome, PasidMap, SavedShadow, SavedSlot,
    SlotState,
};

/// How many PASID slots may have state, where slot Rid of each device is not counted, and how many ranges may be mapped for
/// shadowed second-stage tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Of one device.
    pub per_device: u32,
    /// Of the unit.
    pub per_unit: u32,
    /// Mapped ranges of one device.
    pub mappings_per_device: u32,
    /// Mapped ranges of the unit.
    pub mappings_per_unit: u32,
}

impl Default for Quotas {
    /// 4,096 slots a device and 65,536 in all; 65,535 ranges a device, which is what Linux's VFIO allows by default, and 262,144
    /// in all.
    fn default() -> Self {
        Self {
            per_device: 4_096,
            per_unit: 65_536,
            mappings_per_device: 65_535,
            mappings_per_unit: 262_144,
        }
    }
}

/// Figures of a [`Ledger`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Slots that the host holds.
    pub held: usize,
    /// Slots with a failure.
    pub failed: usize,
    /// Slots that hold what they should not.
    pub contradicting: usize,
    /// How often a binding or a mapping was not made because a quota was used up.
    pub over_quota: u64,
    /// Ranges that the host maps for shadowed second-stage tables.
    pub mapped: usize,
}

/// What the host holds for every host-backed device, and which calls failed.
///
/// A slot that the host does not hold and that has no error has no state. The one way to change it is
/// [`next_change`](Self::next_change), the call itself, and [`settle`](Self::settle).
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) devices: BTreeMap<DeviceKey, DeviceBindings>,
    quotas: Quotas,
    pasids: u32,
    counts: LedgerCounts,
    /// The device whose binding was last refused for want of space.
    refused: Option<DeviceKey>,
    /// How many slots have a shadow.
    pub(crate) shadows: usize,
    /// Slots whose shadow is to be compared with all of its table.
    pub(crate) unfilled: BTreeSet<(DeviceKey, Slot)>,
    /// How many shadows there have been.
    shadow_numbers: u64,
    /// Something that a saved unit had mapped may not be mapped again yet.
    pub(crate) has_lost: bool,
}

/// The slots of one device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceBindings {
    pub(crate) source_id: SourceId,
    pub(crate) rid: Option<SlotState>,
    /// RID_PASID of the context entry under which slot Rid was last settled.
    pub(crate) rid_pasid: Option<Pasid>,
    pub(crate) pasids: PasidMap<SlotState>,
    quota: u32,
    /// A binding of this device was refused for want of space and has not been tried again since.
    starved: bool,
    /// What the host maps for the slots that hold a second-stage table.
    pub(crate) shadows: BTreeMap<Slot, Shadow>,
    /// What was mapped when the unit was saved, for slots that are to be bound anew.
    pub(crate) lost: BTreeMap<Slot, Lost>,
    /// The host unmaps only what it has mapped as a whole, so each leaf is mapped by itself.
    pub(crate) maps_whole_leaves: bool,
    mapped: usize,
    /// As `starved`, for a mapping.
    starved_of_mappings: bool,
}

impl DeviceBindings {
    pub(crate) fn slot(&self, slot: Slot) -> Option<&SlotState> {
        match slot {
            Slot::Rid => self.rid.as_ref(),
            Slot::Pasid(pasid) => self.pasids.get(pasid),
        }
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(quotas: Quotas) -> Self {
        Self {
            devices: BTreeMap::new(),
            quotas,
            pasids: 0,
            counts: LedgerCounts::default(),
            refused: None,
            shadows: 0,
            unfilled: BTreeSet::new(),
            shadow_numbers: 0,
            has_lost: false,
        }
    }

    /// Enters a host-backed device with nothing held. `host_pasids` is how many PASIDs the host can bind for it.
    pub fn add_device(&mut self, device: DeviceKey, source_id: SourceId, host_pasids: u32) {
        self.devices.insert(
            device,
            DeviceBindings {
                source_id,
                rid: None,
                rid_pasid: None,
                pasids: PasidMap::default(),
                quota: self.quotas.per_device.min(host_pasids),
                starved: false,
                shadows: BTreeMap::new(),
                lost: BTreeMap::new(),
                maps_whole_leaves: false,
                mapped: 0,
                starved_of_mappings: false,
            },
        );
    }

    /// Has each leaf of a shadowed table mapped by itself, for a host that unmaps only what it has mapped as a whole. To be said
    /// before anything is held.
    pub fn map_whole_leaves(&mut self, device: DeviceKey) {
        if let Some(device) = self.devices.get_mut(&device) {
            device.maps_whole_leaves = true;
        }
    }

    /// Forgets a device. Its slots should have been emptied before; what is still held is returned.
    pub fn remove_device(&mut self, device: DeviceKey) -> Vec<(Slot, Held)> {
        let left: Vec<_> =
            self.slots(device).filter_map(|(slot, state)| Some((slot, state.held?))).collect();
        let slots: Vec<_> = self.slots(device).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.set(device, slot, None);
            self.drop_shadow(device, slot);
        }
        self.devices.remove(&device);
        left
    }

    /// A device has another source-id: its context entry is another one, so all its slots are to be reconciled. What is held
    /// stays.
    pub fn renumber_device(&mut self, device: DeviceKey, source_id: SourceId) {
        if let Some(device) = self.devices.get_mut(&device) {
            device.source_id = source_id;
        }
    }

    /// Whether this device is in the ledger.
    #[must_use]
    pub fn has_device(&self, device: DeviceKey) -> bool {
        self.devices.contains_key(&device)
    }

    /// The state of a slot, if it has any.
    #[must_use]
    pub fn slot(&self, device: DeviceKey, slot: Slot) -> Option<&SlotState> {
        self.devices.get(&device)?.slot(slot)
    }

    /// The slots of a device that have state: Rid first, then PASIDs in order.
    pub fn slots(&self, device: DeviceKey) -> impl Iterator<Item = (Slot, &SlotState)> {
        let device = self.devices.get(&device);
        let rid = device.and_then(|device| device.rid.as_ref()).map(|state| (Slot::Rid, state));
        let pasids = device.map(|device| device.pasids.iter()).into_iter().flatten();
        rid.into_iter().chain(pasids.map(|(pasid, state)| (Slot::Pasid(pasid), state)))
    }

    /// The devices, in order.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceKey, SourceId)> {
        self.devices.iter().map(|(key, device)| (*key, device.source_id))
    }

    /// Figures of all slots.
    #[must_use]
    pub fn counts(&self) -> LedgerCounts {
        self.counts
    }

    /// Whether a failed call left something with the host that the guest's tables do not say.
    #[must_use]
    pub fn contradicts(&self) -> bool {
        self.counts.contradicting != 0
    }

    /// Whether this device's slots contradict the guest's tables.
    #[must_use]
    pub fn device_contradicts(&self, device: DeviceKey) -> bool {
        self.contradicts() && self.slots(device).any(|(_, state)| state.contradicts())
    }

    /// The device whose binding was last refused for want of space, told once.
    pub fn take_refused(&mut self) -> Option<DeviceKey> {
        self.refused.take()
    }

    /// Whether a binding of this device waits for space.
    #[must_use]
    pub fn is_starved(&self, device: DeviceKey) -> bool {
        self.devices.get(&device).is_some_and(|device| device.starved)
    }

    /// Whether a mapping of this device waits for space.
    #[must_use]
    pub fn is_starved_of_mappings(&self, device: DeviceKey) -> bool {
        self.devices.get(&device).is_some_and(|device| device.starved_of_mappings)
    }

    /// Enters that a binding of this device waits for space, as a saved unit has it: it is tried as soon as there is some.
    pub fn starve(&mut self, device: DeviceKey) {
        if let Some(device) = self.devices.get_mut(&device) {
            device.starved = true;
        }
    }

    /// As [`starve`](Self::starve), for a mapping.
    pub fn starve_of_mappings(&mut self, device: DeviceKey) {
        if let Some(device) = self.devices.get_mut(&device) {
            device.starved_of_mappings = true;
        }
    }

    /// A device that was refused a binding or a mapping for want of space, if there is some now: reconcile it again.
    pub fn take_starved(&mut self) -> Option<DeviceKey> {
        let slots = self.pasids < self.quotas.per_unit;
        let mappings = self.counts.mapped < self.quotas.mappings_per_unit as usize;
        let own_mappings = self.quotas.mappings_per_device as usize;
        self.devices.iter_mut().find_map(|(key, device)| {
            let slot = slots && device.starved && device.pasids.len() < device.quota as usize;
            let mapping = mappings && device.starved_of_mappings && device.mapped < own_mappings;
            device.starved &= !slot;
            device.starved_of_mappings &= !mapping;
            (slot || mapping).then_some(*key)
        })
    }

    /// Enters what came of a change. A failed replace yields the unbind that must follow it.
    ///
    /// What is entered is what the host holds now, never what was intended.
    pub fn settle(&mut self, change: &Change, outcome: Outcome) -> Option<Change> {
        let state = self.slot(change.device, change.slot);
        let stale = state.is_some_and(SlotState::is_stale);
        let held = state.and_then(|state| state.held);
        let (held, failure, follow_up) = match (change.call, outcome) {
            // Planted (row 1): the entry that has replaced another is not stored.
            (Call::Replace(_), Outcome::Done) if is_planted(1) => (held, None, None),
            // Planted (row 22): a failed bind counts as bound.
            (Call::Bind(new), Outcome::Failed { .. }) if is_planted(22) => (Some(new), None, None),
            // Planted (row 27): a slot is freed though the unbind failed.
            (Call::Unbind, Outcome::Failed { .. }) if is_planted(27) => (None, None, None),
            // Planted (row 27): the ledger holds the new binding before the host has accepted it.
            (Call::Replace(new), Outcome::Failed { .. }) if is_planted(127) => {
                (Some(new), None, None)
            }
            // Planted (77): what a failed replace has left is not unbound.
            (Call::Replace(_), Outcome::Failed { .. }) if is_planted(77) => (held, None, None),
            (Call::Bind(new) | Call::Replace(new), Outcome::Done) => (Some(new), None, None),
            (Call::Unbind, Outcome::Done) => (None, change.after, None),
            (Call::Bind(_), Outcome::Failed { errno }) => (None, Some(change.failure(errno)), None),
            (Call::Replace(_), Outcome::Failed { errno }) => {
                let failure = change.failure(errno);
                let unbind = Change { call: Call::Unbind, after: Some(failure), ..change.clone() };
                (held, Some(failure), Some(unbind))
            }
            (Call::Unbind, Outcome::Failed { errno }) => {
                (held, Some(change.after.unwrap_or(change.failure(errno))), None)
            }
        };
        let failure = failure.map(|failure| match held {
            // Whatever was tried since, the host's caches are no better than they were.
            Some(_) if stale => Failure { kind: FailureKind::Invalidate, ..failure },
            _ => failure,
        });
        // Planted (row 19): the state of an empty slot is kept.
        let state = (held.is_some() || failure.is_some() || is_planted(19))
            .then(|| SlotState { held, failure: failure.map(Box::new) });
        self.set(change.device, change.slot, state);
        if outcome == Outcome::Done {
            self.renew_shadow(change);
        }
        // What the host still holds was bound under the RID_PASID of then.
        let kept = held.is_some() && outcome != Outcome::Done;
        if change.slot == Slot::Rid
            && !kept
            && let Some(device) = self.devices.get_mut(&change.device)
        {
            device.rid_pasid = change.rid_pasid;
        }
        follow_up
    }

    /// A slot has been given something else to hold, or nothing: a host begins without any mapping.
    fn renew_shadow(&mut self, change: &Change) {
        let (key, slot) = (change.device, change.slot);
        self.drop_shadow(key, slot);
        let lost = self.devices.get_mut(&key).and_then(|device| device.lost.remove(&slot));
        if let Some(Binding::SecondStage(_)) = change.binding() {
            let fill = match lost {
                Some(lost) if change.restores => Fill::Lost(lost),
                _ => Fill::Wanted,
            };
            let shadow = self.new_shadow(fill);
            self.enter_shadow(key, slot, shadow);
            // Planted (row 1): what took the place of something else is not filled.
            if !(is_planted(201) && matches!(change.call, Call::Replace(_))) {
                self.unfilled.insert((key, slot));
            }
        }
    }

    fn new_shadow(&mut self, fill: Fill) -> Shadow {
        self.shadow_numbers += 1;
        Shadow::new(fill, self.shadow_numbers)
    }

    fn enter_shadow(&mut self, key: DeviceKey, slot: Slot, shadow: Shadow) {
        let Some(device) = self.devices.get_mut(&key) else { return };
        device.mapped += shadow.len();
        self.counts.mapped += shadow.len();
        device.shadows.insert(slot, shadow);
        self.shadows += 1;
    }

    fn drop_shadow(&mut self, key: DeviceKey, slot: Slot) {
        self.unfilled.remove(&(key, slot));
        let Some(device) = self.devices.get_mut(&key) else { return };
        if let Some(shadow) = device.shadows.remove(&slot) {
            device.mapped -= shadow.len();
            self.counts.mapped -= shadow.len();
            self.shadows -= 1;
        }
    }

    pub(crate) fn shadow(&self, key: DeviceKey, slot: Slot) -> Option<&Shadow> {
        self.devices.get(&key)?.shadows.get(&slot)
    }

    pub(crate) fn shadow_mut(&mut self, key: DeviceKey, slot: Slot) -> Option<&mut Shadow> {
        self.devices.get_mut(&key)?.shadows.get_mut(&slot)
    }

    /// Counts the ranges of a shadow anew.
    pub(crate) fn count_mappings(&mut self, key: DeviceKey, before: usize, after: usize) {
        let Some(device) = self.devices.get_mut(&key) else { return };
        device.mapped = device.mapped + after - before;
        self.counts.mapped = self.counts.mapped + after - before;
    }

    /// Whether one more range may be mapped for a device.
    pub(crate) fn has_space_to_map(&self, key: DeviceKey) -> Space {
        let own = self.devices.get(&key).map_or(0, |device| device.mapped);
        let left = own < self.quotas.mappings_per_device as usize
            && self.counts.mapped < self.quotas.mappings_per_unit as usize;
        // Planted (row 19): there is always space.
        if left || is_planted(219) { Space::Left } else { Space::Used }
    }

    pub(crate) fn refuse_mapping_for_space(&mut self, key: DeviceKey) {
        self.counts.over_quota += 1;
        self.refused = Some(key);
        if let Some(device) = self.devices.get_mut(&key) {
            device.starved_of_mappings = true;
        }
    }

    /// What the host maps for a slot, for a save.
    #[must_use]
    pub fn save_shadow(&self, device: DeviceKey, slot: Slot) -> Option<SavedShadow> {
        let Some(shadow) = self.shadow(device, slot) else {
            // The slot is not bound anew yet.
            let lost = self.devices.get(&device)?.lost.get(&slot)?;
            let complete = lost.complete;
            return Some(SavedShadow { mapped: Vec::new(), lost: lost.in_order(), complete });
        };
        let (lost, complete) = match &shadow.fill {
            Fill::Lost(lost) => (lost.in_order(), lost.complete),
            fill => (Vec::new(), *fill == Fill::Complete),
        };
        Some(SavedShadow { mapped: shadow.ranges().copied().collect(), lost, complete })
    }

    /// Enters what the host still maps for a slot that [`adopt`](Self::adopt) has entered. Where it does not follow the table,
    /// the next reconciliation of the slot makes it.
    pub fn adopt_shadow(&mut self, device: DeviceKey, slot: Slot, saved: SavedShadow) {
        if self.slot(device, slot).is_none_or(|state| state.held.is_none()) {
            return self.mourn_shadow(device, slot, saved);
        }
        let SavedShadow { mapped, lost, complete } = saved;
        let lost = Lost::new(lost, complete);
        let fill = if lost.ranges.is_empty() { lost.fill() } else { Fill::Lost(lost) };
        let unfilled = matches!(fill, Fill::Lost(_));
        let mut shadow = self.new_shadow(fill);
        for range in mapped {
            shadow.insert(range);
        }
        self.drop_shadow(device, slot);
        self.enter_shadow(device, slot, shadow);
        if unfilled {
            self.has_lost = true;
            self.unfilled.insert((device, slot));
        }
    }

    /// Enters what was mapped for a slot that [`mourn`](Self::mourn) has entered: it is mapped again once the slot is bound.
    /// Nothing is where the slot is not to hold a second-stage table any more.
    pub fn mourn_shadow(&mut self, device: DeviceKey, slot: Slot, saved: SavedShadow) {
        let failure = self.slot(device, slot).and_then(|state| state.failure.as_deref());
        let attempted = failure.and_then(|failure| failure.attempted);
        if !attempted.is_some_and(|held| matches!(held.binding, Binding::SecondStage(_))) {
            return;
        }
        let SavedShadow { mapped, lost, complete } = saved;
        let mut ranges = mapped;
        ranges.extend(lost);
        ranges.sort_unstable_by_key(|range| range.first);
        if let Some(device) = self.devices.get_mut(&device) {
            device.lost.insert(slot, Lost::new(ranges, complete));
            self.has_lost = true;
        }
    }

    /// What is not mapped again yet is read from the tables instead: an invalidation may concern it.
    pub(crate) fn give_up_lost(&mut self) {
        if !core::mem::take(&mut self.has_lost) {
            return;
        }
        for device in self.devices.values_mut() {
            device.lost.clear();
            for shadow in device.shadows.values_mut() {
                if matches!(shadow.fill, Fill::Lost(_)) {
                    shadow.fill = Fill::Wanted;
                }
            }
        }
    }

    /// The unbind that must follow when the host did not carry out a stage-1 invalidation of a slot: its caches cannot be
    /// trusted until then. `None` where nothing is held.
    pub fn distrust(
        &mut self,
        device: DeviceKey,
        slot: Slot,
        errno: Option<i32>,
    ) -> Option<Change> {
        let held = self.slot(device, slot)?.held?;
        let failure = Failure { attempted: Some(held), kind: FailureKind::Invalidate, errno };
        let state = SlotState { held: Some(held), failure: Some(Box::new(failure)) };
        self.set(device, slot, Some(state));
        let rid_pasid = self.devices.get(&device)?.rid_pasid;
        let call = Call::Unbind;
        Some(Change { device, slot, call, rid_pasid, after: Some(failure), restores: false })
    }

    /// The slots of a device, for a save: Rid first, then PASIDs in order.
    #[must_use]
    pub fn save(&self, device: DeviceKey) -> Vec<SavedSlot> {
        let rid_pasid = self.devices.get(&device).and_then(|device| device.rid_pasid);
        self.slots(device)
            .map(|(slot, state)| SavedSlot {
                slot,
                rid_pasid: rid_pasid.filter(|_| slot == Slot::Rid),
                held: state.held,
                failure: state.failure.as_deref().copied(),
            })
            .collect()
    }

    /// Enters a saved slot that the host still holds: no call is needed.
    pub fn adopt(&mut self, device: DeviceKey, saved: &SavedSlot) {
        let state = (saved.held.is_some() || saved.failure.is_some())
            .then(|| SlotState { held: saved.held, failure: saved.failure.map(Box::new) });
        self.enter_saved(device, saved, state);
    }

    /// Enters a saved slot on a host that holds nothing yet. Reconciling with [`Wanted::Restored`](crate::Wanted::Restored)
    /// binds exactly what was held; a slot that had failed stays failed.
    pub fn mourn(&mut self, device: DeviceKey, saved: &SavedSlot) {
        let failure = match (saved.held, saved.failure) {
            (Some(held), None) => {
                Failure { attempted: Some(held), kind: FailureKind::Unrestored, errno: None }
            }
            (None, Some(failure)) if failure.kind == FailureKind::Unrestored => failure,
            // What contradicted the guest's tables is not bound again: the fresh host has the better state.
            (_, Some(failure)) => Failure {
                attempted: failure.attempted,
                kind: FailureKind::Bind,
                errno: failure.errno,
            },
            (None, None) => return,
        };
        let state = failure
            .attempted
            .is_some()
            .then(|| SlotState { held: None, failure: Some(Box::new(failure)) });
        self.enter_saved(device, saved, state);
    }

    fn enter_saved(&mut self, device: DeviceKey, saved: &SavedSlot, state: Option<SlotState>) {
        self.set(device, saved.slot, state);
        if saved.slot == Slot::Rid
            && let Some(device) = self.devices.get_mut(&device)
        {
            device.rid_pasid = saved.rid_pasid;
        }
    }

    /// Whether one more PASID slot of this device may have state.
    pub(crate) fn has_space(&self, device: &DeviceBindings) -> bool {
        self.pasids < self.quotas.per_unit && device.pasids.len() < device.quota as usize
    }

    pub(crate) fn refuse_for_space(&mut self, key: DeviceKey) {
        self.counts.over_quota += 1;
        self.refused = Some(key);
        if let Some(device) = self.devices.get_mut(&key) {
            device.starved = true;
        }
    }

    /// Gives a slot a state, or none, and keeps the figures.
    pub(crate) fn set(&mut self, key: DeviceKey, slot: Slot, state: Option<SlotState>) {
        let Some(device) = self.devices.get_mut(&key) else { return };
        let tally = |state: &SlotState| {
            (
                usize::from(state.held.is_some()),
                usize::from(state.failure.is_some()),
                usize::from(state.contradicts()),
            )
        };
        let new = state.as_ref().map_or((0, 0, 0), tally);
        let old = match (slot, state) {
            (Slot::Rid, state) => core::mem::replace(&mut device.rid, state),
            (Slot::Pasid(pasid), Some(state)) => {
                let old = device.pasids.insert(pasid, state);
                self.pasids += u32::from(old.is_none());
                old
            }
            (Slot::Pasid(pasid), None) => {
                let old = device.pasids.remove(pasid);
                self.pasids -= u32::from(old.is_some());
                old
            }
        };
        let old = old.as_ref().map_or((0, 0, 0), tally);
        self.counts.held = self.counts.held + new.0 - old.0;
        self.counts.failed = self.counts.failed + new.1 - old.1;
        self.counts.contradicting = self.counts.contradicting + new.2 - old.2;
    }
}
