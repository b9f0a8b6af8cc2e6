//! Ranges of pages.

use std::fmt;

use vtd_spec::Iova;

/// Which cached translations are to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageRange {
    /// `0 all`: every one.
    Everything,
    /// Those of a range of pages that ends within the address space.
    Pages {
        /// The first page, 4 KiB aligned.
        address: Iova,
        /// The number of 4 KiB pages, not 0.
        pages: u64,
    },
}

impl fmt::Display for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("0 all"),
            Self::Pages { address, pages } => write!(f, "{address:x} {pages:x}"),
        }
    }
}
