//! Something of each slot that programs can fill.

use vtd_cache::DeviceKey;
use vtd_spec::{Pasid, Slot};

use super::{DEVICES, PASIDS};

/// Rid, and the PASIDs of the pool.
const SLOTS: usize = 1 + PASIDS.len();

/// A value for each slot of each device; other slots have none.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfSlots<T>([[Option<T>; SLOTS]; DEVICES as usize]);

impl<T: Copy> Default for OfSlots<T> {
    fn default() -> Self {
        Self([[None; SLOTS]; DEVICES as usize])
    }
}

/// The slots of a device, Rid first.
pub(super) fn slots() -> impl Iterator<Item = Slot> {
    let pasids = PASIDS.iter().filter_map(|pasid| Pasid::new(*pasid)).map(Slot::Pasid);
    std::iter::once(Slot::Rid).chain(pasids)
}

impl<T: Copy> OfSlots<T> {
    pub(super) fn get(&self, device: DeviceKey, slot: Slot) -> Option<T> {
        let of_device = self.0.get(usize::try_from(device.0).ok()?)?;
        of_device.get(place(slot)?).copied().flatten()
    }

    pub(super) fn set(&mut self, device: DeviceKey, slot: Slot, value: Option<T>) {
        let of_device = usize::try_from(device.0).ok().and_then(|device| self.0.get_mut(device));
        if let (Some(of_device), Some(place)) = (of_device, place(slot))
            && let Some(here) = of_device.get_mut(place)
        {
            *here = value;
        }
    }

    /// All that there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (DeviceKey, Slot, T)> {
        (0..).map(DeviceKey).zip(&self.0).flat_map(|(device, of_device)| {
            let there = slots().zip(of_device);
            there.filter_map(move |(slot, value)| Some((device, slot, (*value)?)))
        })
    }
}

fn place(slot: Slot) -> Option<usize> {
    match slot {
        Slot::Rid => Some(0),
        Slot::Pasid(pasid) => {
            PASIDS.iter().position(|of_pool| *of_pool == pasid.get()).map(|at| at + 1)
        }
    }
}
