//! DMA of emulated devices: handles, guards, and translations that live no longer than their guard.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use vtd_cache::{HandleCache, PackedTranslation};
use vtd_spec::{AddressType, Gpa, Iova, Pasid};
use vtd_walk::{Access, Fault, Granted, Translated};

use crate::DeviceId;
use crate::ats::{Completion, TranslationRequest, overlaps_interrupts};
use crate::device::Device;
use crate::guards::GuardSlot;
use crate::protected_memory::ProtectedRegions;
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

/// The DMA of one emulated device with one PASID, or with none, for one thread at a time.
///
/// It is cheap to hold: some hundred bytes, and 16 KiB once it has translated something twice. What it has translated it finds
/// again without a lock and without memory that other threads write, until the guest invalidates something of the same domain. Another
/// thread takes a clone; where several have to use one, there is [`SharedDma`](crate::SharedDma).
pub struct DmaHandle {
    shared: Arc<Shared>,
    device: Arc<Device>,
    cache: HandleCache,
    /// As they were when the cache was resolved.
    pub(crate) protected: Cell<ProtectedRegions>,
    slot: Arc<GuardSlot>,
}

impl fmt::Debug for DmaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaHandle({}, {:?})", self.device.source_id(), self.pasid())
    }
}

impl Clone for DmaHandle {
    /// A handle for the same requests, with nothing found yet and no guard open.
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared), Arc::clone(&self.device), self.pasid())
    }
}

impl Drop for DmaHandle {
    fn drop(&mut self) {
        self.shared.guards.remove_slot(&self.slot);
        self.shared.translator().caches.close_handle(&self.cache);
    }
}

impl DmaHandle {
    pub(crate) fn new(shared: Arc<Shared>, device: Arc<Device>, pasid: Option<Pasid>) -> Self {
        let cache = shared.translator().caches.open_handle(device.id.key(), pasid);
        let slot = shared.guards.add_slot(device.id);
        Self { shared, device, cache, protected: Cell::default(), slot }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device.id
    }

    /// The PASID of its requests.
    #[must_use]
    pub fn pasid(&self) -> Option<Pasid> {
        self.cache.pasid()
    }

    /// Opens a guard. While it is open, whatever was translated inside it stays usable: no invalidation wait that removes it
    /// completes. Hold it for one transfer, not longer.
    ///
    /// Another guard of the same handle may be open; it costs more than the first.
    #[inline]
    #[must_use]
    pub fn guard(&self) -> DmaGuard<'_> {
        match self.shared.guards.enter_slot(&self.slot) {
            true => DmaGuard { handle: self, further: None },
            false => self.further_guard(),
        }
    }

    #[cold]
    fn further_guard(&self) -> DmaGuard<'_> {
        DmaGuard { handle: self, further: Some(self.shared.guards.enter(self.device.id)) }
    }

    /// Runs one transfer inside a guard.
    #[inline]
    pub fn with_guard<T>(&self, transfer: impl FnOnce(&DmaGuard<'_>) -> T) -> T {
        transfer(&self.guard())
    }
}

/// An open guard of a [`DmaHandle`]. Translations cannot outlive it.
#[derive(Debug)]
pub struct DmaGuard<'h> {
    handle: &'h DmaHandle,
    /// It is not the one that the handle's slot is for.
    further: Option<u64>,
}

impl Drop for DmaGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        let is_awaited = match self.further {
            None => shared.guards.leave_slot(&self.handle.slot),
            Some(id) => shared.guards.leave(id),
        };
        shared.after_guard(is_awaited);
    }
}

/// A translation that is good as long as the guard it was made in.
#[derive(Clone, Copy, Debug)]
pub struct GuardedTranslation<'g> {
    iova: Iova,
    address: Gpa,
    found: PackedTranslation,
    guard: PhantomData<&'g ()>,
}

impl GuardedTranslation<'_> {
    #[inline]
    pub(crate) fn new(iova: Iova, (address, found): (Gpa, PackedTranslation)) -> Self {
        Self { iova, address, found, guard: PhantomData }
    }

    /// Where in guest memory the address leads.
    #[inline]
    #[must_use]
    pub fn address(&self) -> Gpa {
        self.address
    }

    /// The first byte of the page, and its size in bytes.
    #[inline]
    #[must_use]
    pub fn page(&self) -> (Gpa, u64) {
        (self.found.page(), self.found.size().bytes())
    }

    /// How many bytes from [`address`](Self::address) on the translation is good for: to the end of the page, or to where a large
    /// page reaches into FEE0_0000 to FEEF_FFFF on either side. What lies there is a request of its own.
    #[inline]
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        let (page, size) = self.page();
        let address = self.address.0;
        let to_end = size - (address - page.0);
        [self.iova.0, address]
            .into_iter()
            .filter_map(|from| INTERRUPTS.checked_sub(from).filter(|bytes| *bytes > 0))
            .fold(to_end, u64::min)
    }

    /// What the tables grant.
    #[inline]
    #[must_use]
    pub fn granted(&self) -> Granted {
        self.found.granted()
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
    #[inline]
    pub fn translate(
        &self,
        iova: Iova,
        access: Access,
    ) -> Result<GuardedTranslation<'_>, DmaError> {
        Ok(GuardedTranslation::new(iova, self.handle.find(iova, access)?))
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
        piece: impl FnMut(DmaPiece),
    ) -> Result<(), DmaError> {
        pieces(iova, length, |at| self.translate(at, access), piece)
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
        self.handle.translation_request(iova, request)
    }

    /// Checks a translated request, whose address comes from a [`Completion`]. No table is walked: nothing but the context entry
    /// (TT or DTE), the host address width and the interrupt range decides, so each request has to be checked.
    ///
    /// Translated requests have no PASID, that of the translation included: use the handle of the device without one.
    ///
    /// # Errors
    /// [`DmaError::Fault`], which has been recorded, or [`DmaError::Blocked`].
    pub fn translated(&self, address: Gpa, access: Access) -> Result<Gpa, DmaError> {
        self.handle.translated(address, access)
    }
}

/// Requests, each of which has to be made inside a guard.
impl DmaHandle {
    /// Opens a guard that any thread may close.
    pub(crate) fn enter(&self) -> u64 {
        self.shared.guards.enter(self.device.id)
    }

    /// Closes such a guard.
    pub(crate) fn leave(shared: &Shared, id: u64) {
        shared.after_guard(shared.guards.leave(id));
    }

    pub(crate) fn unit(&self) -> &Arc<Shared> {
        &self.shared
    }

    #[inline]
    pub(crate) fn find(
        &self,
        iova: Iova,
        access: Access,
    ) -> Result<(Gpa, PackedTranslation), DmaError> {
        match self.cache.get(iova, access) {
            Some(found) => Ok(found),
            None => self.look_up(iova, access).map(|found| (found.at(iova), found)),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_up(&self, iova: Iova, access: Access) -> Result<PackedTranslation, DmaError> {
        let Self { shared, device, cache, protected, .. } = self;
        // The guest has started, even if this needs no table.
        let access = access.under(shared.caps());
        let address_type = AddressType::Untranslated;
        let request = Request { pasid: cache.pasid(), iova, access, address_type };
        let is_resolved = cache.is_resolved() || shared.resolve(device, cache, protected);
        let shared_one = match is_resolved && !request.is_to_interrupts() {
            true => cache.shared(iova, access),
            false => None,
        };
        let translated = match shared_one.map(|found| found.at(iova)) {
            Some(found) => protected.get().admit(found).ok_or(DmaError::Blocked)?,
            None => shared.translate(device, request)?,
        };
        let found = PackedTranslation::new(&translated.into());
        if is_resolved && is_clear_of_interrupts(iova, &translated) {
            cache.keep(iova, access, found);
        }
        Ok(found)
    }

    pub(crate) fn translation_request(
        &self,
        iova: Iova,
        request: TranslationRequest,
    ) -> Result<Completion, DmaError> {
        self.shared.translation_request(&self.device, self.pasid(), iova, request)
    }

    pub(crate) fn translated(&self, address: Gpa, access: Access) -> Result<Gpa, DmaError> {
        self.shared.translated(&self.device, self.pasid(), address, access)
    }
}

/// Whether no address of a page, before or after, is in the interrupt range: then all of them are answered alike.
fn is_clear_of_interrupts(iova: Iova, translated: &Translated) -> bool {
    let size = translated.size.bytes();
    !overlaps_interrupts(Gpa(iova.0 & !(size - 1)), size)
        && !overlaps_interrupts(translated.page, size)
}

/// The stretches of guest memory that `length` bytes from `iova` lead to.
pub(crate) fn pieces<'g>(
    iova: Iova,
    length: u64,
    mut translate: impl FnMut(Iova) -> Result<GuardedTranslation<'g>, DmaError>,
    mut piece: impl FnMut(DmaPiece),
) -> Result<(), DmaError> {
    let mut open: Option<DmaPiece> = None;
    let mut done = 0;
    while done < length {
        // An address past the end of the 64-bit space wraps, as it does on the bus; its walk then says what it is.
        let found = match translate(Iova(iova.0.wrapping_add(done))) {
            Ok(found) => found,
            Err(error) => {
                open.into_iter().for_each(&mut piece);
                return Err(error);
            }
        };
        let here = found.contiguous().min(length - done);
        open = match open {
            Some(before) if before.address.0.wrapping_add(before.length) == found.address().0 => {
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
