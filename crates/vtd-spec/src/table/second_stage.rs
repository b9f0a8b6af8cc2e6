//! Second-stage page-table entries: 8 bytes each, 512 to a table.

use super::{ADDRESS, PageSize, Target};
use crate::{Capabilities, Gpa};

/// A second-stage table, as a context entry or a PASID-table entry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecondStage {
    /// The root of the table, 4 KiB aligned.
    pub table: Gpa,
    /// The number of levels.
    pub levels: SecondStageLevels,
    /// SSADE: accessed and dirty bits are set in entries.
    pub accessed_dirty: bool,
}

/// How many levels a second-stage table has (AW of the entry that names it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecondStageLevels {
    /// 39-bit addresses.
    Three,
    /// 48-bit addresses.
    Four,
    /// 57-bit addresses.
    Five,
}

impl SecondStageLevels {
    /// The levels that a value of AW means.
    #[must_use]
    pub const fn from_address_width(aw: u64) -> Option<Self> {
        match aw {
            1 => Some(Self::Three),
            2 => Some(Self::Four),
            3 => Some(Self::Five),
            _ => None,
        }
    }

    /// The value of AW.
    #[must_use]
    pub const fn address_width(self) -> u64 {
        match self {
            Self::Three => 1,
            Self::Four => 2,
            Self::Five => 3,
        }
    }

    /// The number of levels, 3 to 5.
    #[must_use]
    pub const fn count(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Four => 4,
            Self::Five => 5,
        }
    }

    /// The width of an input address in bits: 39, 48 or 57.
    #[must_use]
    pub const fn address_bits(self) -> u8 {
        12 + 9 * self.count()
    }

    /// Whether CAP.SAGAW shows this width.
    #[must_use]
    pub const fn is_supported(self, caps: &Capabilities) -> bool {
        caps.second_stage_widths() >> self.address_width() & 1 == 1
    }

    /// Whether no wider one is shown in CAP.SAGAW.
    #[must_use]
    pub const fn is_largest(self, caps: &Capabilities) -> bool {
        self.is_supported(caps) && caps.second_stage_widths() >> (self.address_width() + 1) == 0
    }
}

/// What a second-stage entry grants; what a walk grants is what all entries on its path do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondStagePermissions {
    /// R.
    pub read: bool,
    /// W.
    pub write: bool,
}

/// A decoded second-stage entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondStageEntry {
    /// Neither R nor W.
    NotPresent,
    /// A reserved field is set. Its permissions are tested before this.
    Malformed {
        /// What the entry grants.
        permissions: SecondStagePermissions,
        /// The field at fault, by the architecture's name.
        field: &'static str,
    },
    /// A well-formed entry.
    Present {
        /// What the entry grants.
        permissions: SecondStagePermissions,
        /// Where it leads.
        target: Target,
        /// A, which counts with SSADE.
        accessed: bool,
        /// D, which counts in a leaf with SSADE.
        dirty: bool,
        /// SNP of a leaf: accesses to the page snoop processor caches whatever the request says.
        snoop: bool,
    },
}

impl SecondStageEntry {
    /// A in a raw entry.
    pub const ACCESSED: u64 = 1 << 8;
    /// D in a raw leaf entry.
    pub const DIRTY: u64 = 1 << 9;

    /// Decodes an entry of a table at `level`, 1 (the last) to 5.
    #[must_use]
    pub const fn decode(raw: u64, level: u8, caps: &Capabilities) -> Self {
        let permissions = SecondStagePermissions { read: raw & 1 != 0, write: raw & 2 != 0 };
        if !permissions.read && !permissions.write {
            return Self::NotPresent;
        }
        let page_bit = raw & 0x80 != 0;
        let size = match PageSize::of_level(level) {
            Some(size) if page_bit || level == 1 => Some(size),
            _ => None,
        };
        let field = match size {
            None if page_bit => Some("PS"),
            Some(PageSize::Size2M) if !caps.second_stage_2m() => Some("PS"),
            Some(PageSize::Size1G) if !caps.second_stage_1g() => Some("PS"),
            None if raw & 0x800 != 0 => Some("reserved 11"),
            Some(_) if raw & 0x800 != 0 && !caps.snoop_control() => Some("SNP"),
            Some(size) if raw & ADDRESS & (size.bytes() - 1) != 0 => {
                Some("page address below its size")
            }
            _ if raw & caps.reserved_address_bits() != 0 => {
                Some("address beyond the host address width")
            }
            _ => None,
        };
        if let Some(field) = field {
            return Self::Malformed { permissions, field };
        }
        let address = Gpa(raw & ADDRESS);
        Self::Present {
            permissions,
            target: match size {
                Some(size) => Target::Page(address, size),
                None => Target::Table(address),
            },
            accessed: raw & Self::ACCESSED != 0,
            dirty: raw & Self::DIRTY != 0,
            snoop: raw & 0x800 != 0,
        }
    }

    /// The raw entry of a well-formed one; `None` for the others, which have no single raw value.
    #[must_use]
    pub const fn encode(&self) -> Option<u64> {
        match *self {
            Self::Present { permissions, target, accessed, dirty, snoop } => {
                let target = match target {
                    Target::Table(address) | Target::Page(address, PageSize::Size4K) => address.0,
                    Target::Page(address, _) => address.0 | 0x80,
                };
                Some(
                    target
                        | permissions.read as u64
                        | (permissions.write as u64) << 1
                        | if accessed { Self::ACCESSED } else { 0 }
                        | if dirty { Self::DIRTY } else { 0 }
                        | (snoop as u64) << 11,
                )
            }
            Self::NotPresent | Self::Malformed { .. } => None,
        }
    }
}
