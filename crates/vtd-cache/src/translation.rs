//! What the IOTLB holds of a page, and how it is packed into a quadword.

use vtd_spec::planted::is_planted;
use vtd_spec::table::PageSize;
use vtd_spec::{Gpa, Iova};
use vtd_walk::{Access, Granted, Translated};

/// What binds translations to the cached entry that they were made through. An entry that is dropped takes its tag with it,
/// and no later entry gets the same one, so its translations are never found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub(crate) u64);

/// A cached translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The first byte of the page in guest memory.
    pub page: Gpa,
    /// Its size.
    pub size: PageSize,
    /// What the path granted.
    pub granted: Granted,
    /// Writes need no walk: the dirty bit is set, or there is none to set.
    pub dirty: bool,
    /// The tables have accesses to the page snoop processor caches.
    pub snoop: bool,
}

impl Translation {
    /// Whether this serves an access without another walk.
    #[must_use]
    pub fn serves(&self, access: Access) -> bool {
        // Planted (row 5): a write hits what a read has filled.
        self.granted.allows(access) && (self.dirty || !access.write || is_planted(5))
    }

    /// As [`serves`](Self::serves), for an address: a large page may hold the interrupt range beside it, and then a walk says
    /// which fault that is.
    pub(crate) fn serves_at(&self, iova: Iova, access: Access) -> bool {
        self.serves(access) && !self.at(iova).address.is_interrupt()
    }

    /// The answer for an address within the page.
    #[must_use]
    pub fn at(&self, iova: Iova) -> Translated {
        Translated {
            page: self.page,
            size: self.size,
            address: Gpa(self.page.0 | iova.0 & (self.size.bytes() - 1)),
            granted: self.granted,
            dirty: self.dirty,
            snoop: self.snoop,
        }
    }
}

impl From<Translated> for Translation {
    fn from(walked: Translated) -> Self {
        let Translated { page, size, granted, dirty, snoop, .. } = walked;
        Self { page, size, granted, dirty, snoop }
    }
}

/// A [`Translation`] in one quadword: the page in bits 63:12, its size in bits 6:5, and what it serves below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedTranslation(pub(crate) u64);

const READ: u64 = 1;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const DIRTY: u64 = 1 << 3;
const SNOOP: u64 = 1 << 4;
const SIZE: u32 = 5;

/// The sizes of pages, by their code in a packed translation.
pub(crate) const SIZES: [PageSize; 3] = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];

pub(crate) const fn size_code(size: PageSize) -> u64 {
    match size {
        PageSize::Size4K => 0,
        PageSize::Size2M => 1,
        PageSize::Size1G => 2,
    }
}

impl PackedTranslation {
    /// Packs a translation.
    #[must_use]
    pub const fn new(translation: &Translation) -> Self {
        let Granted { read, write, execute } = translation.granted;
        let mut bits = translation.page.0 & !0xfff | size_code(translation.size) << SIZE;
        if read {
            bits |= READ;
        }
        if write {
            bits |= WRITE;
        }
        if execute {
            bits |= EXECUTE;
        }
        if translation.dirty {
            bits |= DIRTY;
        }
        if translation.snoop {
            bits |= SNOOP;
        }
        Self(bits)
    }

    const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// The first byte of the page.
    #[inline]
    #[must_use]
    pub const fn page(self) -> Gpa {
        Gpa(self.0 & !0xfff)
    }

    /// The size of the page.
    #[inline]
    #[must_use]
    pub const fn size(self) -> PageSize {
        match self.0 >> SIZE & 3 {
            0 => PageSize::Size4K,
            1 => PageSize::Size2M,
            _ => PageSize::Size1G,
        }
    }

    /// Where an address within the page leads.
    #[must_use]
    pub const fn at(self, iova: Iova) -> Gpa {
        Gpa(self.page().0 | iova.0 & (self.size().bytes() - 1))
    }

    /// What the path grants.
    #[inline]
    #[must_use]
    pub const fn granted(self) -> Granted {
        Granted { read: self.has(READ), write: self.has(WRITE), execute: self.has(EXECUTE) }
    }

    /// All of it.
    #[must_use]
    pub const fn unpack(self) -> Translation {
        Translation {
            page: self.page(),
            size: self.size(),
            granted: self.granted(),
            dirty: self.has(DIRTY),
            snoop: self.has(SNOOP),
        }
    }

    /// Whether it has all of these.
    #[inline]
    pub(crate) const fn has_all(self, needs: u64) -> bool {
        self.0 & needs == needs
    }
}

/// What a packed translation has to have for an access. A read of no bytes is taken for one of some: with less the full check
/// decides.
#[inline]
pub(crate) fn needs(access: Access) -> u64 {
    let data = if access.write { WRITE | DIRTY } else { READ };
    // Planted (row 5): a write hits what a read has filled.
    let data = if is_planted(5) { data & !DIRTY } else { data };
    if access.execute { data | EXECUTE } else { data }
}
