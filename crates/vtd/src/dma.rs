//! DMA of emulated devices: handles, guards, and translations that live no longer than their guard.

use std::fmt;
use std::sync::Arc;

use vtd_spec::{AddressType, Gpa, Iova, Pasid};
use vtd_walk::{Access, Fault, Granted, Translated};

use crate::DeviceId;
use crate::ats::{Completion, TranslationRequest};
use crate::device::Device;
use crate::shared::Shared;
use crate::translation::Request;

/// Why a request has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DmaError {
    /// The request faults. The guest has been told, unless an entry on the way says not to.
    #[error("blocked: {0}")]
    Fault(Fault),
    /// The request is blocked without a record: translation is off and it has a PASID or is no untranslated one, the root table
    /// aborts everything, it is a translated request with a PASID, or the address lies in a protected memory region.
    #[error("blocked, without a fault record")]
    Blocked,
    /// The address lies in FEE0_0000 to FEEF_FFFF: the write is an interrupt request, not a DMA. Where it is one of four bytes, go
    /// on with [`RemappingUnit::remap_interrupt`](crate::RemappingUnit::remap_interrupt), with the device's source-id, this address
    /// and the data, and deliver what that gives; drop any other. Requests with PASID are translated there as anywhere. While
    /// translation is off a read of that range gets this too: it is no DMA either, and there is nothing to record.
    #[error("an interrupt request, not a DMA")]
    Interrupt,
    /// The device has been released.
    #[error("the device has been released")]
    Released,
}

impl From<Fault> for DmaError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The DMA of one emulated device with one PASID, or with none. Cheap to clone and to hold on the device's own thread.
#[derive(Clone)]
pub struct DmaHandle {
    shared: Arc<Shared>,
    device: Arc<Device>,
    pasid: Option<Pasid>,
}

impl fmt::Debug for DmaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaHandle({}, {:?})", self.device.source_id(), self.pasid)
    }
}

impl DmaHandle {
    pub(crate) fn new(shared: Arc<Shared>, device: Arc<Device>, pasid: Option<Pasid>) -> Self {
        Self { shared, device, pasid }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device.id
    }

    /// The PASID of its requests.
    #[must_use]
    pub fn pasid(&self) -> Option<Pasid> {
        self.pasid
    }

    /// Opens a guard. While it is open, whatever was translated inside it stays usable: no invalidation wait that removes it
    /// completes. Hold it for one transfer, not longer.
    #[must_use]
    pub fn guard(&self) -> DmaGuard<'_> {
        DmaGuard { handle: self, id: self.shared.guards.enter(self.device.id) }
    }

    /// Runs one transfer inside a guard.
    pub fn with_guard<T>(&self, transfer: impl FnOnce(&DmaGuard<'_>) -> T) -> T {
        transfer(&self.guard())
    }
}

/// An open guard of a [`DmaHandle`]. Translations cannot outlive it.
#[derive(Debug)]
pub struct DmaGuard<'h> {
    handle: &'h DmaHandle,
    id: u64,
}

impl Drop for DmaGuard<'_> {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        if shared.guards.leave(self.id) {
            shared.want_wake();
        }
        shared.wake();
    }
}

/// A translation that is good as long as the guard it was made in.
#[derive(Clone, Copy, Debug)]
pub struct GuardedTranslation<'g> {
    iova: Iova,
    translated: Translated,
    _guard: &'g DmaGuard<'g>,
}

impl GuardedTranslation<'_> {
    /// Where in guest memory the address leads.
    #[must_use]
    pub fn address(&self) -> Gpa {
        self.translated.address
    }

    /// The first byte of the page, and its size in bytes.
    #[must_use]
    pub fn page(&self) -> (Gpa, u64) {
        (self.translated.page, self.translated.size.bytes())
    }

    /// How many bytes from [`address`](Self::address) on the translation is good for: to the end of the page, or to where a large
    /// page reaches into FEE0_0000 to FEEF_FFFF on either side. What lies there is a request of its own.
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        let (page, size) = self.page();
        let address = self.translated.address.0;
        let to_end = size - (address - page.0);
        [self.iova.0, address]
            .into_iter()
            .filter_map(|from| INTERRUPTS.checked_sub(from).filter(|bytes| *bytes > 0))
            .fold(to_end, u64::min)
    }

    /// What the tables grant.
    #[must_use]
    pub fn granted(&self) -> Granted {
        self.translated.granted
    }
}

/// Where the addresses of interrupt requests begin.
const INTERRUPTS: u64 = 0xfee0_0000;

/// A stretch of guest memory that a transfer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaPiece {
    /// Its first byte.
    pub address: Gpa,
    /// Its length in bytes.
    pub length: u64,
}

impl DmaGuard<'_> {
    /// Translates one address.
    ///
    /// # Errors
    /// [`DmaError`] says why there is none; a fault has been recorded for the guest by then.
    pub fn translate(
        &self,
        iova: Iova,
        access: Access,
    ) -> Result<GuardedTranslation<'_>, DmaError> {
        let translated = self.look_up(iova, access)?;
        Ok(GuardedTranslation { iova, translated, _guard: self })
    }

    /// Translates `length` bytes from `iova` and gives each stretch of guest memory, in order; neighbours are joined.
    ///
    /// Every page is a translation: a device model that takes `length` from its guest has to bound it.
    ///
    /// # Errors
    /// The [`DmaError`] of the first page that has none. `piece` has had what comes before it.
    pub fn translate_range(
        &self,
        iova: Iova,
        length: u64,
        access: Access,
        mut piece: impl FnMut(DmaPiece),
    ) -> Result<(), DmaError> {
        let mut open: Option<DmaPiece> = None;
        let mut done = 0;
        while done < length {
            // An address past the end of the 64-bit space wraps, as it does on the bus; its walk then says what it is.
            let at = Iova(iova.0.wrapping_add(done));
            let found = match self.translate(at, access) {
                Ok(found) => found,
                Err(error) => {
                    open.into_iter().for_each(&mut piece);
                    return Err(error);
                }
            };
            let here = found.contiguous().min(length - done);
            open = match open {
                Some(before)
                    if before.address.0.wrapping_add(before.length) == found.address().0 =>
                {
                    Some(DmaPiece { length: before.length + here, ..before })
                }
                before => {
                    before.into_iter().for_each(&mut piece);
                    Some(DmaPiece { address: found.address(), length: here })
                }
            };
            done += here;
        }
        open.into_iter().for_each(piece);
        Ok(())
    }

    /// Asks for a translation to keep in a device TLB (ATS). Accessed and dirty bits are set for what is granted.
    ///
    /// A recoverable fault is a [`Completion`] that grants nothing, and is not recorded: the device may request the page.
    ///
    /// # Errors
    /// An unsuccessful completion: [`DmaError::Fault`] (aborted, or not supported for this device), which has been recorded, or
    /// [`DmaError::Blocked`].
    pub fn translation_request(
        &self,
        iova: Iova,
        request: TranslationRequest,
    ) -> Result<Completion, DmaError> {
        let handle = self.handle;
        handle.shared.translation_request(&handle.device, handle.pasid, iova, request)
    }

    /// Checks a translated request, whose address comes from a [`Completion`]. No table is walked: nothing but the context entry
    /// (TT or DTE), the host address width and the interrupt range decides, so each request has to be checked.
    ///
    /// Translated requests have no PASID, that of the translation included: use the handle of the device without one.
    ///
    /// # Errors
    /// [`DmaError::Fault`], which has been recorded, or [`DmaError::Blocked`].
    pub fn translated(&self, address: Gpa, access: Access) -> Result<Gpa, DmaError> {
        let handle = self.handle;
        handle.shared.translated(&handle.device, handle.pasid, address, access)
    }

    fn look_up(&self, iova: Iova, access: Access) -> Result<Translated, DmaError> {
        let address_type = AddressType::Untranslated;
        let request = Request { pasid: self.handle.pasid, iova, access, address_type };
        self.handle.shared.translate(&self.handle.device, request)
    }
}
