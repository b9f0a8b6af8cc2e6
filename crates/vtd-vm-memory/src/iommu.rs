//! A unit's DMA as rust-vmm's device models use it.

use std::fmt;
use std::ops::Deref;

use vm_memory::iommu::{Error, Iommu, Iotlb, IotlbIterator, IovaRange};
use vm_memory::{GuestAddress, Permissions};
use vtd::spec::Iova;
use vtd::{Access, DmaError, DmaPiece};

use crate::dma::{Dma, Guard};

/// How many bytes one access covers at most, unless the VMM says otherwise: 1 MiB.
const LONGEST: usize = 0x10_0000;

/// The DMA of a device as an [`Iommu`], with a guard for each access.
///
/// An [`IommuMemory`](vm_memory::IommuMemory) over it is guest memory as the device sees it: rust-vmm's `virtio-queue` and device models do all
/// of their DMA through the unit, each page of it a request of the device. An access holds its guard from the translation until
/// its iterator of slices is dropped or at its end, so whatever goes through [`Bytes`](vm_memory::Bytes) happens inside.
///
/// **A slice that is kept longer than its iterator is used outside of the guard**, when the guest may have been told that the page is
/// free. `virtio-queue`'s `Reader` and `Writer` keep theirs. For them, and for any transfer of more than one access, open one
/// guard and use a [`GuardIommu`].
///
/// Over a recorded unit a second guard on the same thread waits for the first one forever: drop an iterator before the next access.
///
/// # What an access comes to
/// | access | requests |
/// | --- | --- |
/// | [`Read`](Permissions::Read) | a read of each page |
/// | [`Write`](Permissions::Write) | a write of each page |
/// | [`ReadWrite`](Permissions::ReadWrite) | a read and a write of each page, both of which have to be permitted |
/// | [`No`](Permissions::No) | a read of no bytes of each page: is it mapped? |
/// | of no bytes | none; it succeeds at any address |
///
/// A request that faults is recorded for the guest, also where rust-vmm only asks
/// ([`check_range`](vm_memory::GuestMemory::check_range)). The first page without a translation ends the access: nothing is read or written.
/// Addresses of interrupt requests (FEE0_0000 to FEEF_FFFF) are refused. So is what is longer than
/// [`with_longest`](Self::with_longest) says, and what runs over the end of the 64-bit address space or up to its very last byte,
/// which `vm-memory` cannot express; both without a request.
///
/// The error is always [`CannotResolve`](Error::CannotResolve); its reason names the request, the address and the fault.
#[derive(Clone, Debug)]
pub struct DmaIommu<D> {
    dma: D,
    longest: usize,
}

impl<D: Dma> DmaIommu<D> {
    /// The DMA of `dma`, up to 1 MiB in one access.
    #[must_use]
    pub const fn new(dma: D) -> Self {
        Self { dma, longest: LONGEST }
    }

    /// The same with another bound for the bytes of one access. A device takes lengths from its guest, and each page is a translation
    /// while a guard is held. A device whose specification lets a guest ask for more in one piece needs more (a virtio block device without
    /// VIRTIO_BLK_F_SIZE_MAX, say).
    #[must_use]
    pub const fn with_longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// What it was made from.
    #[must_use]
    pub const fn dma(&self) -> &D {
        &self.dma
    }
}

impl<D: Dma> Iommu for DmaIommu<D> {
    type IotlbGuard<'a>
        = GuardedIotlb<D::Guard<'a>>
    where
        Self: 'a;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Self::IotlbGuard<'_>>, Error> {
        let transfer = Transfer::new(iova, length, access, self.longest)?;
        transfer.translate(self.dma.guard())
    }
}

/// A transfer as an [`Iommu`]: any number of accesses inside one guard, which its owner holds and drops.
///
/// Slices of guest memory may be kept as long as the guard, so this is what `virtio-queue`'s `Reader` and `Writer` need. The borrow
/// sees to it that nothing outlives the guard:
///
/// ```compile_fail,E0505
/// use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap, IommuMemory, Permissions};
/// use vtd_vm_memory::GuardIommu;
///
/// fn transfer(dma: &vtd::SharedDma, map: GuestMemoryMmap) {
///     let guard = dma.guard();
///     let memory = IommuMemory::new(map, GuardIommu::new(&guard), true, ());
///     let slices: Vec<_> = memory.get_slices(GuestAddress(0), 8, Permissions::Read).unwrap().collect();
///     drop(guard);
///     println!("{}", slices.len());
/// }
/// ```
///
/// What an access comes to is said at [`DmaIommu`]. Hold the guard for one transfer, not longer: the guest's waits stand still.
#[derive(Clone, Copy, Debug)]
pub struct GuardIommu<'g, G> {
    guard: &'g G,
    longest: usize,
}

impl<'g, G: Guard + Sync> GuardIommu<'g, G> {
    /// Accesses inside `guard`, each up to 1 MiB.
    #[must_use]
    pub const fn new(guard: &'g G) -> Self {
        Self { guard, longest: LONGEST }
    }

    /// The same with another bound for the bytes of one access: [`DmaIommu::with_longest`].
    #[must_use]
    pub const fn with_longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }
}

impl<'g, G: Guard + Sync> Iommu for GuardIommu<'g, G> {
    type IotlbGuard<'a>
        = GuardedIotlb<&'g G>
    where
        Self: 'a;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Self::IotlbGuard<'_>>, Error> {
        Transfer::new(iova, length, access, self.longest)?.translate(self.guard)
    }
}

/// The translations of one access, and the guard in which they are good.
#[derive(Debug)]
pub struct GuardedIotlb<G> {
    iotlb: Iotlb,
    _guard: G,
}

impl<G> Deref for GuardedIotlb<G> {
    type Target = Iotlb;

    fn deref(&self) -> &Iotlb {
        &self.iotlb
    }
}

/// An access of which `vm-memory` can say where it ends, and that is not too long.
#[derive(Clone, Copy)]
struct Transfer {
    iova: GuestAddress,
    length: usize,
    access: Permissions,
}

impl Transfer {
    fn new(
        iova: GuestAddress,
        length: usize,
        access: Permissions,
        longest: usize,
    ) -> Result<Self, Error> {
        let transfer = Self { iova, length, access };
        if length > longest {
            let why = format!("more than the {longest} bytes that one access may cover");
            return Err(transfer.error(why));
        }
        // `Iotlb` has the address behind the last byte in 64 bits.
        match transfer.bytes().and_then(|bytes| iova.0.checked_add(bytes)) {
            Some(_) => Ok(transfer),
            None => Err(transfer.error("it leaves the 64-bit address space".into())),
        }
    }

    fn bytes(self) -> Option<u64> {
        u64::try_from(self.length).ok()
    }

    fn error(self, reason: String) -> Error {
        Error::CannotResolve {
            iova_range: IovaRange { base: self.iova, length: self.length },
            reason,
        }
    }

    /// Translates each page inside `guard`, which stays open as long as what is given.
    fn translate<G: Guard>(self, guard: G) -> Result<IotlbIterator<GuardedIotlb<G>>, Error> {
        let mut iotlb = Iotlb::new();
        let mut rest = Rest { at: Iova(self.iova.0), bytes: self.bytes().unwrap_or(0) };
        while rest.bytes > 0 {
            let piece =
                self.page(&guard, rest).map_err(|refused| self.error(refused.to_string()))?;
            let length = usize::try_from(piece.length).unwrap_or(self.length);
            let (iova, address) = (GuestAddress(rest.at.0), GuestAddress(piece.address.0));
            iotlb.set_mapping(iova, address, length, self.access)?;
            rest = rest.behind(piece.length);
        }
        let found = GuardedIotlb { iotlb, _guard: guard };
        Iotlb::lookup(found, self.iova, self.length, self.access)
            .map_err(|_| self.error("the translations have a gap".into()))
    }

    /// The guest memory behind the first of what is left: as much as one translation is good for.
    fn page(self, guard: &impl Guard, rest: Rest) -> Result<DmaPiece, Refused> {
        let request = |access: Access| {
            guard.translate(rest.at, access).map_err(|error| Refused {
                at: rest.at,
                access,
                why: Why::Answer(error),
            })
        };
        let found = match self.access {
            Permissions::No => request(Access::ZERO_LENGTH_READ)?,
            Permissions::Read => request(Access::READ)?,
            Permissions::Write => request(Access::WRITE)?,
            Permissions::ReadWrite => {
                // The read first, so that nothing is marked dirty that cannot be read.
                let _readable = request(Access::READ)?;
                let found = request(Access::WRITE)?;
                if !found.granted().read {
                    return Err(Refused { at: rest.at, access: Access::READ, why: Why::Changed });
                }
                found
            }
        };
        Ok(DmaPiece { address: found.address(), length: found.contiguous().min(rest.bytes) })
    }
}

/// What is left to translate.
#[derive(Clone, Copy)]
struct Rest {
    at: Iova,
    bytes: u64,
}

impl Rest {
    /// The same without its first bytes.
    fn behind(self, bytes: u64) -> Self {
        // Neither wraps: the whole access lies in the address space.
        Self { at: Iova(self.at.0.wrapping_add(bytes)), bytes: self.bytes.saturating_sub(bytes) }
    }
}

/// A request without a translation.
struct Refused {
    at: Iova,
    access: Access,
    why: Why,
}

enum Why {
    Answer(DmaError),
    /// Two requests of a page had different answers.
    Changed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = match self.access {
            Access { write: true, .. } => "write",
            Access { zero_length: true, .. } => "read of no bytes",
            _ => "read",
        };
        write!(f, "{request} at {}: ", self.at)?;
        match self.why {
            Why::Answer(error) => write!(f, "{error}"),
            Why::Changed => f.write_str("no longer permitted"),
        }
    }
}
