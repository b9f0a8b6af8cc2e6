//! The address and mask of a page-selective invalidation.

use core::fmt;

use super::PageRange;
use crate::Iova;

/// Pages as software names them: an address, how many of its low page bits do not count, and a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct AddressMask {
    /// The address as it stands (63:12), 4 KiB aligned and perhaps not aligned to the mask.
    pub address: Iova,
    /// AM (5:0): 2^AM pages are meant; 0 to 63, and from 52 on everything.
    pub mask: u8,
    /// IH (6), invalidation hint: only leaf entries changed.
    pub leaf_only: bool,
}

impl AddressMask {
    /// Address, mask and hint of a quadword; bits 11:7 are left to the caller.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self { address: Iova(raw & !0xfff), mask: (raw & 0x3f) as u8, leaf_only: raw >> 6 & 1 == 1 }
    }

    /// The quadword. A mask above 63 becomes 63, so that it means everything there too.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let mask = if self.mask < 63 { self.mask } else { 63 };
        self.address.page().0 | (self.leaf_only as u64) << 6 | mask as u64
    }

    /// The pages: 2^AM of them from the address, aligned down to their size.
    #[must_use]
    pub const fn range(self) -> PageRange {
        PageRange::around(self.address, self.mask as u32)
    }
}

impl fmt::Display for AddressMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.range().fmt(f)?;
        f.write_str(if self.leaf_only { ", leaf only" } else { "" })
    }
}
