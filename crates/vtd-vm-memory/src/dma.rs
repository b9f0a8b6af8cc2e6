//! What opens guards and translates in them.

use std::fmt::Debug;

use vtd::spec::Iova;
use vtd::{Access, DmaError, GuardedTranslation, SharedDma, SharedGuard};

/// The DMA of one device with one PASID or with none, of a unit as it is or one that is recorded.
///
/// It is [`SharedDma`], and with the feature `recording` `vtd_recording::recorder::RecordedDma`. A VMM implements it for what it
/// has put around one of them: to count, say.
pub trait Dma: Debug + Send + Sync {
    /// What is translated in, and what keeps that usable.
    type Guard<'d>: Guard + 'd
    where
        Self: 'd;

    /// Opens a guard: [`SharedDma::guard`].
    fn guard(&self) -> Self::Guard<'_>;
}

/// An open guard: while it lives, whatever was translated in it stays usable.
pub trait Guard: Debug {
    /// Translates one address: [`SharedGuard::translate`].
    ///
    /// # Errors
    /// As there.
    fn translate(&self, iova: Iova, access: Access) -> Result<GuardedTranslation<'_>, DmaError>;
}

impl Dma for SharedDma {
    type Guard<'d> = SharedGuard<'d>;

    fn guard(&self) -> SharedGuard<'_> {
        SharedDma::guard(self)
    }
}

impl Guard for SharedGuard<'_> {
    fn translate(&self, iova: Iova, access: Access) -> Result<GuardedTranslation<'_>, DmaError> {
        SharedGuard::translate(self, iova, access)
    }
}

#[cfg(feature = "recording")]
mod recorded {
    use vtd_recording::recorder::{RecordedDma, RecordedGuard};

    use super::{Access, Dma, DmaError, Guard, GuardedTranslation, Iova};

    impl Dma for RecordedDma {
        type Guard<'d> = RecordedGuard<'d>;

        fn guard(&self) -> RecordedGuard<'_> {
            RecordedDma::guard(self)
        }
    }

    impl Guard for RecordedGuard<'_> {
        fn translate(
            &self,
            iova: Iova,
            access: Access,
        ) -> Result<GuardedTranslation<'_>, DmaError> {
            RecordedGuard::translate(self, iova, access)
        }
    }
}

impl<G: Guard + ?Sized> Guard for &G {
    fn translate(&self, iova: Iova, access: Access) -> Result<GuardedTranslation<'_>, DmaError> {
        (**self).translate(iova, access)
    }
}
