//! What a host is told to forget of a guest's first-stage tables.

use core::fmt;

use vtd_spec::Iova;

/// One invalidation of what the host's hardware has cached of a slot's first-stage table.
///
/// A PASID-based IOTLB descriptor (type 6) and IOTLB descriptors of type 2 become these. The host drops at least what is
/// named; more is always allowed. The kernel behind iommufd flushes the device's own TLB with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StageOneInvalidation {
    /// Which translations.
    pub range: StageOneRange,
    /// Only leaf entries of the table changed (IH of the descriptor), so that caches of the entries above may be kept.
    pub leaf_only: bool,
}

/// The input addresses of a first-stage table whose translations are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageOneRange {
    /// All of the address space (iommufd: address 0, 2^64 − 1 pages).
    Everything,
    /// A number of pages.
    Pages {
        /// The first, 4 KiB aligned.
        first: Iova,
        /// How many pages of 4 KiB: at least 1, and not past the end of the 64-bit address space, so at most 2^52.
        count: u64,
    },
}

impl StageOneInvalidation {
    /// Everything cached of the table.
    pub const EVERYTHING: Self = Self { range: StageOneRange::Everything, leaf_only: false };
}

impl StageOneRange {
    /// Whether the range is canonical: aligned, not empty, and within the address space. The unit asks for no other.
    #[must_use]
    pub const fn is_canonical(&self) -> bool {
        match *self {
            Self::Everything => true,
            Self::Pages { first, count } => {
                // Both are below 2^52 where this is looked at, so the sum cannot overflow.
                first.0 % 0x1000 == 0
                    && count != 0
                    && count <= 1 << 52
                    && (first.0 >> 12) + count <= 1 << 52
            }
        }
    }
}

/// Shown as in recordings: address and number of pages in hexadecimal, or `0 all`.
impl fmt::Display for StageOneRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("0 all"),
            Self::Pages { first, count } => write!(f, "{first:x} {count:x}"),
        }
    }
}
