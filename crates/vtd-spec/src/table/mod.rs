//! Table entries: from the root table to the pages.
//!
//! Decoding is total: every raw value is not present, malformed or present. An entry is decoded from a copy, so a guest that
//! changes it meanwhile changes nothing.

mod context;
mod first_stage;
mod legacy_context;
mod pasid_directory;
mod pasid_entry;
mod root;
mod second_stage;

pub use context::ContextEntry;
pub use first_stage::{FirstStageEntry, FirstStagePermissions};
pub use legacy_context::{LegacyContextEntry, LegacyTranslation};
pub use pasid_directory::PasidDirectoryEntry;
pub use pasid_entry::{PasidEntry, Translation};
pub use root::{LegacyRootEntry, RootHalf, context_half};
pub use second_stage::{SecondStage, SecondStageEntry, SecondStageLevels, SecondStagePermissions};

use crate::Gpa;

/// Bits 51:12, where every entry keeps the address of a table or page.
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// How large a page is that a leaf entry maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageSize {
    /// 4 KiB, a leaf at level 1.
    Size4K,
    /// 2 MiB, a leaf at level 2.
    Size2M,
    /// 1 GiB, a leaf at level 3.
    Size1G,
}

impl PageSize {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// The address bits below the page: 12, 21 or 30.
    #[must_use]
    pub const fn shift(self) -> u8 {
        match self {
            Self::Size4K => 12,
            Self::Size2M => 21,
            Self::Size1G => 30,
        }
    }

    /// The page size of a leaf at this level of a table.
    pub(crate) const fn of_level(level: u8) -> Option<Self> {
        match level {
            1 => Some(Self::Size4K),
            2 => Some(Self::Size2M),
            3 => Some(Self::Size1G),
            _ => None,
        }
    }
}

/// What a well-formed, present entry of a page table leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The table of the next level.
    Table(Gpa),
    /// A page.
    Page(Gpa, PageSize),
}
