//! Guest memory behind a memory map that may be swapped.

use vm_memory::{GuestAddressSpace, GuestMemoryBackend};
use vtd_memory::{AccessError, GuestMemory};
use vtd_spec::Gpa;

use crate::map::Map;

/// rust-vmm's guest memory as a remapping unit needs it.
///
/// `S` is what a VMM gives its device models: a [`GuestMemoryAtomic`](https://docs.rs/vm-memory/latest/vm_memory/atomic/struct.GuestMemoryAtomic.html),
/// whose memory map may be swapped at any time, or an [`Arc`](std::sync::Arc) of a map that stays. Each access takes the map as
/// it is then; [`with_snapshot`](GuestMemory::with_snapshot) takes it once for a whole walk. It is the guest's physical memory
/// that the unit reads, so a map that is itself behind an IOMMU is refused by its type.
///
/// Memory is what a map has in whole qwords at aligned guest addresses: a rest of less than 8 bytes at an end of a region, and
/// a region whose guest and host addresses differ in their low three bits, are no memory to the unit
/// ([`NotBacked`](vtd_memory::AccessErrorKind::NotBacked)), since they cannot be accessed in one piece. Of the bytes of a qword
/// nothing but atomic accesses of all eight is ever made. What is written is marked in the regions' dirty bitmaps.
#[derive(Clone, Copy, Debug)]
pub struct VmMemory<S> {
    space: S,
}

impl<S> VmMemory<S>
where
    S: GuestAddressSpace + Send + Sync,
    S::M: GuestMemoryBackend + Send + Sync,
{
    /// The memory of `space`.
    #[must_use]
    pub const fn new(space: S) -> Self {
        Self { space }
    }

    /// What it was made from.
    #[must_use]
    pub const fn space(&self) -> &S {
        &self.space
    }
}

impl<S> GuestMemory for VmMemory<S>
where
    S: GuestAddressSpace + Send + Sync,
    S::M: GuestMemoryBackend + Send + Sync,
{
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        Map(&*self.space.memory()).load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        Map(&*self.space.memory()).load_qwords(gpa, out)
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        Map(&*self.space.memory()).compare_exchange_u64(gpa, current, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        Map(&*self.space.memory()).store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        Map(&*self.space.memory()).store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(&Map(&*self.space.memory()));
    }
}
