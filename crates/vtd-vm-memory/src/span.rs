//! The bytes that an access covers.

use vm_memory::GuestAddress;
use vtd_memory::AccessError;
use vtd_spec::Gpa;

/// The bytes of one access: aligned as it needs, and within the 64-bit address space.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    gpa: Gpa,
    size: usize,
}

impl Span {
    /// `size` bytes from `gpa`, which must be a multiple of `alignment`.
    pub(crate) fn new(gpa: Gpa, size: usize, alignment: u64) -> Result<Self, AccessError> {
        if !gpa.0.is_multiple_of(alignment) {
            return Err(AccessError::misaligned(gpa, size));
        }
        // A map would go on at address 0.
        let to_last = u64::try_from(size).unwrap_or(u64::MAX).saturating_sub(1);
        if gpa.checked_add(to_last).is_none() {
            return Err(AccessError::not_backed(gpa, size));
        }
        Ok(Self { gpa, size })
    }

    /// `count` qwords from `gpa`, a multiple of 8.
    pub(crate) fn of_qwords(gpa: Gpa, count: usize) -> Result<Self, AccessError> {
        Self::new(gpa, count.saturating_mul(8), 8)
    }

    /// The qword that holds its first byte.
    pub(crate) fn around(self) -> Self {
        Self { gpa: Gpa(self.gpa.0 & !7), size: 8 }
    }

    /// Where it begins.
    pub(crate) fn start(self) -> GuestAddress {
        GuestAddress(self.gpa.0)
    }

    /// Its length in bytes.
    pub(crate) fn size(self) -> usize {
        self.size
    }

    /// The error of this access where no memory is.
    pub(crate) fn not_backed(self) -> AccessError {
        AccessError::not_backed(self.gpa, self.size)
    }
}
