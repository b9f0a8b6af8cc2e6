//! The seam behind the virtual command registers: where PASIDs of a guest come from.

use alloc::boxed::Box;
use alloc::sync::Arc;

use vtd_spec::Pasid;

use crate::HostError;

/// Who hands out PASIDs to guests that ask for them with virtual commands.
///
/// A PASID is reserved or free. Several units, of one guest or of many, may share an allocator: what it has handed out to one it
/// hands to no other before it is given back. Called with no lock of the unit held. PASID 0 is never handed out, as requests
/// without PASID use it.
pub trait PasidAllocator: Send + Sync {
    /// Reserves some free PASID from 1 to `end - 1`; `end` is at most 2^20.
    ///
    /// # Errors
    /// Nothing is reserved: [`NoSpace`](crate::HostErrorKind::NoSpace) where all are.
    fn allocate(&self, end: u32) -> Result<Pasid, HostError>;

    /// Reserves this PASID, which a saved unit has.
    ///
    /// # Errors
    /// It is not reserved, or not known to be.
    fn reserve(&self, pasid: Pasid) -> Result<Reservation, HostError>;

    /// Gives back a PASID.
    ///
    /// # Errors
    /// It still is reserved, or never was ([`Refused`](crate::HostErrorKind::Refused)).
    fn free(&self, pasid: Pasid) -> Result<(), HostError>;
}

/// What came of [`PasidAllocator::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It was free, and is reserved now.
    Made,
    /// It had been reserved before, by the saved unit or by somebody else.
    HeldAlready,
}

macro_rules! forward_to_target {
    ($pointer:ty) => {
        impl<T: PasidAllocator + ?Sized> PasidAllocator for $pointer {
            fn allocate(&self, end: u32) -> Result<Pasid, HostError> {
                (**self).allocate(end)
            }

            fn reserve(&self, pasid: Pasid) -> Result<Reservation, HostError> {
                (**self).reserve(pasid)
            }

            fn free(&self, pasid: Pasid) -> Result<(), HostError> {
                (**self).free(pasid)
            }
        }
    };
}

forward_to_target!(&T);
forward_to_target!(Box<T>);
forward_to_target!(Arc<T>);
