//! DMA of emulated devices for several threads at once.

use std::sync::{Arc, PoisonError};

use vtd_spec::{Gpa, Iova, Pasid};
use vtd_walk::Access;

use crate::ats::{Completion, TranslationRequest};
use crate::dma::pieces;
use crate::shared::Shared;
use crate::sync::{Mutex, MutexGuard};
use crate::{DeviceId, DmaError, DmaHandle, DmaPiece, GuardedTranslation};

/// A [`DmaHandle`] that threads use in turn, each request under a lock, for where no thread can have its own: device models that take one
/// object for all of their threads.
#[derive(Debug)]
pub struct SharedDma {
    handle: Mutex<DmaHandle>,
    unit: Arc<Shared>,
    device: DeviceId,
    pasid: Option<Pasid>,
}

impl Clone for SharedDma {
    fn clone(&self) -> Self {
        self.handle().clone().into()
    }
}

impl From<DmaHandle> for SharedDma {
    fn from(handle: DmaHandle) -> Self {
        Self {
            unit: Arc::clone(handle.unit()),
            device: handle.device(),
            pasid: handle.pasid(),
            handle: Mutex::new(handle),
        }
    }
}

impl SharedDma {
    fn handle(&self) -> MutexGuard<'_, DmaHandle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The PASID of its requests.
    #[must_use]
    pub fn pasid(&self) -> Option<Pasid> {
        self.pasid
    }

    /// Opens a guard, as [`DmaHandle::guard`] does. Any thread may use it, and close it.
    #[must_use]
    pub fn guard(&self) -> SharedGuard<'_> {
        SharedGuard { dma: self, id: self.handle().enter() }
    }

    /// Runs one transfer inside a guard.
    pub fn with_guard<T>(&self, transfer: impl FnOnce(&SharedGuard<'_>) -> T) -> T {
        transfer(&self.guard())
    }
}

/// An open guard of a [`SharedDma`]. Translations cannot outlive it.
#[derive(Debug)]
pub struct SharedGuard<'d> {
    dma: &'d SharedDma,
    id: u64,
}

impl Drop for SharedGuard<'_> {
    fn drop(&mut self) {
        DmaHandle::leave(&self.dma.unit, self.id);
    }
}

impl SharedGuard<'_> {
    /// Translates one address: [`DmaGuard::translate`](crate::DmaGuard::translate).
    ///
    /// # Errors
    /// As there.
    pub fn translate(
        &self,
        iova: Iova,
        access: Access,
    ) -> Result<GuardedTranslation<'_>, DmaError> {
        Ok(GuardedTranslation::new(iova, self.dma.handle().find(iova, access)?))
    }

    /// Translates a range: [`DmaGuard::translate_range`](crate::DmaGuard::translate_range).
    ///
    /// # Errors
    /// As there.
    pub fn translate_range(
        &self,
        iova: Iova,
        length: u64,
        access: Access,
        piece: impl FnMut(DmaPiece),
    ) -> Result<(), DmaError> {
        pieces(iova, length, |at| self.translate(at, access), piece)
    }

    /// Asks for a translation to keep in a device TLB: [`DmaGuard::translation_request`](crate::DmaGuard::translation_request).
    ///
    /// # Errors
    /// As there.
    pub fn translation_request(
        &self,
        iova: Iova,
        request: TranslationRequest,
    ) -> Result<Completion, DmaError> {
        self.dma.handle().translation_request(iova, request)
    }

    /// Checks a translated request: [`DmaGuard::translated`](crate::DmaGuard::translated).
    ///
    /// # Errors
    /// As there.
    pub fn translated(&self, address: Gpa, access: Access) -> Result<Gpa, DmaError> {
        self.dma.handle().translated(address, access)
    }
}
