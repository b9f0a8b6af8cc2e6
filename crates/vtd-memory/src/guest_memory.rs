//! The seam between a remapping unit and the memory of its guest.

use vtd_spec::Gpa;

use crate::AccessError;

/// Guest memory as a remapping unit needs it.
///
/// Values are what the little-endian bytes in guest memory mean; an implementation on a big-endian host swaps them. The
/// guest may change memory at any time, so every qword is read and written in one piece (single-copy atomic), and nothing
/// is promised about two qwords together.
///
/// # Errors
/// Every method gives [`AccessErrorKind::Misaligned`](crate::AccessErrorKind::Misaligned) for an address that is not
/// aligned as it says, even where no memory is, and [`AccessErrorKind::NotBacked`](crate::AccessErrorKind::NotBacked) where
/// some of what it asks for is not memory or lies past the end of the 64-bit address space. A write that gives an error has
/// written nothing. Any address is allowed: guests choose them.
pub trait GuestMemory: Send + Sync {
    /// Reads the qword at `gpa`, a multiple of 8, with acquire ordering.
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError>;

    /// Reads as many qwords as `out` holds from `gpa` upwards, a multiple of 8; each in one piece with acquire ordering.
    ///
    /// They may lie in different pages and regions. After an error the contents of `out` mean nothing. One call for a whole
    /// table entry, since a call through a trait object costs more than the read itself.
    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError>;

    /// Writes `new` to the qword at `gpa`, a multiple of 8, if it holds `current`: `Ok(current)` if so, else `Err` with
    /// what it holds, unchanged.
    ///
    /// Sets accessed and dirty bits of page-table entries. It orders as acquire and release, and does not fail spuriously.
    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError>;

    /// Writes the four bytes at `gpa`, a multiple of 4, after everything that was read or written before (release ordering).
    ///
    /// Writes the status of an invalidation wait descriptor.
    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError>;

    /// Writes `values` from `gpa` upwards, a multiple of 8; each in one piece, in ascending order, with release ordering.
    ///
    /// Writes an entry of the page-request queue.
    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError>;

    /// Calls `walk` exactly once with a view of this memory whose map stays as it is until `walk` returns.
    ///
    /// For a VMM that swaps its memory map: a walk that began in one map does not end in another. The view's contents are
    /// the live ones. Where the map never changes, this is `walk(self)`.
    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory));
}

macro_rules! forward_to_target {
    () => {
        fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
            (**self).load_u64(gpa)
        }

        fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
            (**self).load_qwords(gpa, out)
        }

        fn compare_exchange_u64(
            &self,
            gpa: Gpa,
            current: u64,
            new: u64,
        ) -> Result<Result<u64, u64>, AccessError> {
            (**self).compare_exchange_u64(gpa, current, new)
        }

        fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
            (**self).store_u32_release(gpa, value)
        }

        fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
            (**self).store_qwords_release(gpa, values)
        }

        fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
            (**self).with_snapshot(walk);
        }
    };
}

impl<T: GuestMemory + ?Sized> GuestMemory for &T {
    forward_to_target!();
}

#[cfg(feature = "std")]
impl<T: GuestMemory + ?Sized> GuestMemory for std::sync::Arc<T> {
    forward_to_target!();
}
