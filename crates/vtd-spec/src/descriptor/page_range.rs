//! Aligned ranges of pages.

use core::fmt;

use crate::Iova;

/// 2^n pages of 4 KiB, n from 0 to 52, aligned to their size: what every ranged invalidation covers.
///
/// Pages are counted from 0 to 2^52 − 1, so that no range overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRange {
    first: u64,
    order: u32,
}

impl PageRange {
    /// Every page that a 64-bit address can name.
    pub const EVERYTHING: Self = Self { first: 0, order: 52 };

    /// The aligned range of 2^`order` pages that holds `address`; from order 52 on it is everything.
    #[must_use]
    pub const fn around(address: Iova, order: u32) -> Self {
        if order >= 52 {
            return Self::EVERYTHING;
        }
        Self { first: (address.0 >> 12) & !((1 << order) - 1), order }
    }

    /// The number of the first page: its address divided by 4,096.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The number of the last page, which belongs to the range.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.first | (self.pages() - 1)
    }

    /// How many pages: 2 to the power of [`order`](Self::order), at most 2^52.
    #[must_use]
    pub const fn pages(self) -> u64 {
        1 << self.order
    }

    /// The binary logarithm of the number of pages, 0 to 52.
    #[must_use]
    pub const fn order(self) -> u32 {
        self.order
    }

    /// The first address.
    #[must_use]
    pub const fn address(self) -> Iova {
        Iova(self.first << 12)
    }

    /// Whether the range is every page.
    #[must_use]
    pub const fn is_everything(self) -> bool {
        self.order == 52
    }

    /// Whether the page of this address belongs to the range.
    #[must_use]
    pub const fn contains(self, address: Iova) -> bool {
        let page = address.0 >> 12;
        self.first() <= page && page <= self.last()
    }

    /// Whether the two ranges have a page in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }

    /// The range in the form of a device-TLB invalidation: an address (63:12) and S.
    ///
    /// S=0 is one page. With S=1 the trailing ones of the page number give the size: t of them mean 2^(t+1) pages, and 51 or
    /// more everything.
    pub(super) const fn from_device_tlb(address: u64, sized: bool) -> Self {
        let order = if sized { (address >> 12).trailing_ones() + 1 } else { 0 };
        Self::around(Iova(address), order)
    }

    /// The address and S of [`from_device_tlb`](Self::from_device_tlb).
    pub(super) const fn to_device_tlb(self) -> (u64, bool) {
        match self.order {
            0 => (self.address().0, false),
            order => (self.address().0 | ((1 << (order - 1)) - 1) << 12, true),
        }
    }
}

impl fmt::Display for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            f.write_str("every page")
        } else if self.order == 0 {
            write!(f, "page {}", self.address())
        } else {
            write!(f, "pages {} to {:#x}", self.address(), self.last() << 12 | 0xfff)
        }
    }
}
