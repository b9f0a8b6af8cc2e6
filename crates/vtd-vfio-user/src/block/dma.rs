//! The DMA of a block device.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use vm_memory::{GuestAddressSpace, GuestMemoryMmap, IommuMemory};
use vtd::spec::Iova;
use vtd::{Access, DmaError, GuardedTranslation};
use vtd_vm_memory::{Dma, DmaIommu, Guard};

use crate::guest_map::GuestMap;
use crate::machine_unit::{MachineDma, MachineGuard};

/// Guest memory as a block device sees it: every access is a request of the device, inside a guard of its own.
pub(super) type DeviceMemory = IommuMemory<GuestMemoryMmap, DmaIommu<BlockDma>>;

/// Whether a function may make requests. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub(super) struct BusMaster(Arc<RwLock<bool>>);

impl BusMaster {
    /// When it is off, this returns after the last access: none follows.
    pub(super) fn set(&self, on: bool) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = on;
    }

    pub(super) fn is_on(&self) -> bool {
        *self.read()
    }

    fn read(&self) -> RwLockReadGuard<'_, bool> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A DMA handle of the unit, used while the function is bus master.
#[derive(Clone, Debug)]
pub(super) struct BlockDma {
    handle: MachineDma,
    bus_master: BusMaster,
}

impl BlockDma {
    pub(super) fn new(handle: MachineDma, bus_master: BusMaster) -> Self {
        Self { handle, bus_master }
    }

    /// What it reaches of the guest's memory, as that is mapped now.
    pub(super) fn memory(&self, map: &GuestMap) -> DeviceMemory {
        let backend = GuestMemoryMmap::clone(&map.memory().memory());
        IommuMemory::new(backend, DmaIommu::new(self.clone()), true, ())
    }
}

/// An open guard. The function stays bus master, or not, as long as it lives.
#[derive(Debug)]
pub(super) struct BlockGuard<'d> {
    // In this order: what waits for the bus master finds no guard open.
    guard: MachineGuard<'d>,
    bus_master: RwLockReadGuard<'d, bool>,
}

impl Dma for BlockDma {
    type Guard<'d> = BlockGuard<'d>;

    fn guard(&self) -> BlockGuard<'_> {
        let bus_master = self.bus_master.read();
        BlockGuard { guard: self.handle.guard(), bus_master }
    }
}

impl Guard for BlockGuard<'_> {
    fn translate(&self, iova: Iova, access: Access) -> Result<GuardedTranslation<'_>, DmaError> {
        match *self.bus_master {
            true => self.guard.translate(iova, access),
            // No request leaves the function, so the unit has nothing to record.
            false => Err(DmaError::Blocked),
        }
    }
}
