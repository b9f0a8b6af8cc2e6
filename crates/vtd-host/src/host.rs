//! The seam between a remapping unit and the IOMMU of its host.

use alloc::boxed::Box;
use alloc::sync::Arc;

use vtd_spec::descriptor::PageGroupResponse;
use vtd_spec::{Binding, Iova, Slot};

use crate::{
    HostCapabilities, HostDevice, HostError, HostErrorKind, InvalidateError, Mapping,
    StageOneInvalidation,
};

/// The IOMMU of a host, as a remapping unit needs it: it holds at most one binding for each slot of each device, and blocks
/// the requests of slots that have none.
///
/// # State
/// A call that succeeds has taken effect when it returns: hardware uses no more of what was there before. **After a call that
/// fails the host holds what it held before**, and says so in later answers; the unit keeps its ledger by the answers alone
/// and never asks what is held. Illegal calls are refused, never carried out in part:
///
/// | call | slot holds nothing | slot holds a binding |
/// | --- | --- | --- |
/// | [`bind`](Self::bind) | done | [`AlreadyBound`](HostErrorKind::AlreadyBound) |
/// | [`replace`](Self::replace) | [`NotBound`](HostErrorKind::NotBound) | done |
/// | [`unbind`](Self::unbind) | [`NotBound`](HostErrorKind::NotBound) | done |
/// | [`invalidate`](Self::invalidate) | [`NotBound`](HostErrorKind::NotBound) | done |
/// | [`map`](Self::map), [`unmap`](Self::unmap) | [`NotBound`](HostErrorKind::NotBound) | done, for a second-stage binding |
///
/// Every call for a device that the host does not have fails with [`NoSuchDevice`](HostErrorKind::NoSuchDevice), and no call
/// for one device or slot changes another. `Slot::Rid` and the slot of PASID 0 are two slots; a host that has but one of them
/// answers `NotSupported` for PASID 0.
///
/// # Values
/// The unit gives canonical values, never guest bytes: tables are 4 KiB aligned and within the guest's address width, ranges
/// are [canonical](crate::StageOneRange::is_canonical), and a binding names only what [`capabilities`](Self::capabilities)
/// has. A host refuses others all the same. What a table points to is the guest's, and wrong entries in it fault in hardware.
///
/// # Threads
/// Calls come from any thread, with no lock of the unit held, and calls for one slot come one after the other; calls for
/// different slots may overlap. A call may take as long as a system call takes: the unit makes none where a guest's register
/// access or a device's request waits for it. A host may look at the unit from inside a call, but must not wait there for
/// the unit to go on: that would be to wait for itself.
///
/// # iommufd
/// One way to keep this contract on Linux:
///
/// | here | there |
/// | --- | --- |
/// | attach of guest memory | `IOAS_ALLOC`, map, and `HWPT_ALLOC` with `NEST_PARENT` on it: the parent |
/// | `FirstStage` | `HWPT_ALLOC` on the parent, data type `VTD_S1`: flags SRE 1, EAFE 2, WPE 4; `pgtbl_addr`; `addr_width` 48 or 57 |
/// | `PassThrough` | the parent itself |
/// | `SecondStage` | an IOAS of the slot's own, empty: `map` and `unmap` are `IOAS_MAP` and `IOAS_UNMAP` of the memory behind the guest's pages |
/// | `bind`, `replace` | attach the device (or the device and PASID) to it; a second attach replaces, and the old page table is freed |
/// | `unbind` | detach |
/// | `respond` | a write to the fault queue (`FAULT_QUEUE_ALLOC`); its codes are 0 and 1, so a failure is 1 |
/// | `invalidate` | `HWPT_INVALIDATE` with an array of `VTD_S1` entries; `entry_num` comes back as the number handled |
///
/// A second attach succeeds there, so such a host keeps its own record of what is bound, and refuses what must be refused.
pub trait HostIommu: Send + Sync {
    /// What the host can hold for the device. The same for as long as the device is there.
    ///
    /// # Errors
    /// [`NoSuchDevice`](HostErrorKind::NoSuchDevice), or the host cannot find out.
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError>;

    /// Binds a slot that holds nothing.
    ///
    /// # Errors
    /// The slot holds nothing and its requests are blocked. [`AlreadyBound`](HostErrorKind::AlreadyBound) is the exception:
    /// what it held before is untouched. [`NotSupported`](HostErrorKind::NotSupported) for what the capabilities exclude,
    /// [`NoSpace`](HostErrorKind::NoSpace) with as many PASIDs as they allow, [`Refused`](HostErrorKind::Refused) for a table
    /// that is not 4 KiB aligned.
    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError>;

    /// Replaces what a slot holds, by something else or the same. Requests during the call see the old binding, the new one,
    /// or are blocked.
    ///
    /// # Errors
    /// The slot still holds the old binding, which the unit removes next. Requests may be blocked meanwhile (Linux 6.12
    /// blocks the device first); they are never translated by the new one. Reasons are those of [`bind`](Self::bind), and
    /// [`NotBound`](HostErrorKind::NotBound).
    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError>;

    /// Removes what a slot holds. When it returns, requests of the slot are blocked, and none that was let through before is
    /// still on its way.
    ///
    /// # Errors
    /// The slot still holds its binding, and hardware may still use it. [`NotBound`](HostErrorKind::NotBound) if there was
    /// none.
    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError>;

    /// Drops cached translations of the first-stage table that a slot holds, entry by entry in the order of `batch`. An empty
    /// batch is done at once. Never changes what is held. The unit does not call it for a slot that holds something else than
    /// a first-stage table, and a host may refuse that.
    ///
    /// # Errors
    /// [`InvalidateError::handled`] says how many entries were done. The unit tries the rest once more, and then removes the
    /// binding. [`NotBound`](HostErrorKind::NotBound) (also for an empty batch) and
    /// [`NoSuchDevice`](HostErrorKind::NoSuchDevice) come with 0 handled.
    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError>;

    /// Shows a slot that holds a `SecondStage` binding a piece of guest memory, where the host shadows second-stage tables
    /// ([`HostCapabilities::shadowing`]). None of its pages is mapped yet. Such a binding begins with nothing mapped, and a
    /// replace or an unbind of it unmaps everything; the place of the guest's table is of no use to the host.
    ///
    /// Where a page has no memory behind it, nothing is mapped there and the call succeeds: a guest may map what it likes.
    ///
    /// # Errors
    /// Nothing is mapped. [`NotBound`](HostErrorKind::NotBound); [`Refused`](HostErrorKind::Refused) where a page is mapped
    /// already, an address is not 4 KiB aligned or the slot holds another kind of binding;
    /// [`NoSpace`](HostErrorKind::NoSpace). Without an implementation of its own every host says
    /// [`NotSupported`](HostErrorKind::NotSupported).
    fn map(&self, device: HostDevice, slot: Slot, mapping: &Mapping) -> Result<(), HostError> {
        let _ = (device, slot, mapping);
        Err(HostErrorKind::NotSupported.into())
    }

    /// Hides `pages` pages of 4 KiB from `first` upwards, 4 KiB aligned, that [`map`](Self::map) has shown; where nothing is
    /// mapped, nothing happens. When it returns no request reaches them. The range covers what one call has mapped as a whole or
    /// not at all, unless the host [can cut it](HostCapabilities::unmap_cuts).
    ///
    /// # Errors
    /// Some of the pages may still be reached; the unit then removes the binding. [`NotBound`](HostErrorKind::NotBound);
    /// [`Refused`](HostErrorKind::Refused) where a mapping would be cut and the host cannot. Without an implementation of its own
    /// every host says [`NotSupported`](HostErrorKind::NotSupported).
    fn unmap(
        &self,
        device: HostDevice,
        slot: Slot,
        first: Iova,
        pages: u64,
    ) -> Result<(), HostError> {
        let _ = (device, slot, first, pages);
        Err(HostErrorKind::NotSupported.into())
    }

    /// Passes on the guest's answer to a group of page requests of the device, which the host handed to the unit before. The
    /// source-id in it is the guest's, and whether such a group was asked for is the host's to check.
    ///
    /// # Errors
    /// The device gets no answer from this call: [`Refused`](HostErrorKind::Refused) where no such group is waiting. Without
    /// an implementation of its own every host says [`NotSupported`](HostErrorKind::NotSupported).
    fn respond(&self, device: HostDevice, response: &PageGroupResponse) -> Result<(), HostError> {
        let _ = (device, response);
        Err(HostErrorKind::NotSupported.into())
    }
}

macro_rules! forward_to_target {
    ($pointer:ty) => {
        impl<T: HostIommu + ?Sized> HostIommu for $pointer {
            fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
                (**self).capabilities(device)
            }

            fn bind(
                &self,
                device: HostDevice,
                slot: Slot,
                binding: &Binding,
            ) -> Result<(), HostError> {
                (**self).bind(device, slot, binding)
            }

            fn replace(
                &self,
                device: HostDevice,
                slot: Slot,
                binding: &Binding,
            ) -> Result<(), HostError> {
                (**self).replace(device, slot, binding)
            }

            fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
                (**self).unbind(device, slot)
            }

            fn invalidate(
                &self,
                device: HostDevice,
                slot: Slot,
                batch: &[StageOneInvalidation],
            ) -> Result<(), InvalidateError> {
                (**self).invalidate(device, slot, batch)
            }

            fn map(
                &self,
                device: HostDevice,
                slot: Slot,
                mapping: &Mapping,
            ) -> Result<(), HostError> {
                (**self).map(device, slot, mapping)
            }

            fn unmap(
                &self,
                device: HostDevice,
                slot: Slot,
                first: Iova,
                pages: u64,
            ) -> Result<(), HostError> {
                (**self).unmap(device, slot, first, pages)
            }

            fn respond(
                &self,
                device: HostDevice,
                response: &PageGroupResponse,
            ) -> Result<(), HostError> {
                (**self).respond(device, response)
            }
        }
    };
}

forward_to_target!(&T);
forward_to_target!(Box<T>);
forward_to_target!(Arc<T>);
