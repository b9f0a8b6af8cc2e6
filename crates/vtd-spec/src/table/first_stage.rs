//! First-stage page-table entries: 8 bytes each, 512 to a table, in the processor's format.

use super::{ADDRESS, PageSize, Target};
use crate::{Capabilities, Gpa};

/// What a first-stage entry grants; what a walk grants is what all entries on its path do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstStagePermissions {
    /// RW: writes are granted.
    pub write: bool,
    /// US: user requests are granted.
    pub user: bool,
    /// XD is clear: execute requests are granted. It counts only with NXE.
    pub execute: bool,
}

/// A decoded first-stage entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStageEntry {
    /// P is 0.
    NotPresent,
    /// A reserved field is set.
    Malformed {
        /// The field at fault, by the architecture's name.
        field: &'static str,
    },
    /// A well-formed entry.
    Present {
        /// What the entry grants.
        permissions: FirstStagePermissions,
        /// Where it leads.
        target: Target,
        /// A.
        accessed: bool,
        /// D, which counts in a leaf.
        dirty: bool,
        /// EA, which counts with EAFE.
        extended_accessed: bool,
    },
}

impl FirstStageEntry {
    /// A in a raw entry.
    pub const ACCESSED: u64 = 1 << 5;
    /// D in a raw leaf entry.
    pub const DIRTY: u64 = 1 << 6;
    /// EA in a raw entry.
    pub const EXTENDED_ACCESSED: u64 = 1 << 10;

    /// Decodes an entry of a table at `level`, 1 (the last) to 5.
    #[must_use]
    pub const fn decode(raw: u64, level: u8, caps: &Capabilities) -> Self {
        if raw & 1 == 0 {
            return Self::NotPresent;
        }
        let page_bit = raw & 0x80 != 0;
        let size = match PageSize::of_level(level) {
            Some(size) if page_bit || level == 1 => Some(size),
            _ => None,
        };
        let field = match size {
            None if page_bit => Some("PS"),
            Some(PageSize::Size1G) if !caps.first_stage_1g() => Some("PS"),
            // Bit 12 of a large page is its PAT bit.
            Some(size) if raw & ADDRESS & (size.bytes() - 1) & !0x1000 != 0 => {
                Some("page address below its size")
            }
            _ if raw & caps.reserved_address_bits() != 0 => {
                Some("address beyond the host address width")
            }
            _ => None,
        };
        if let Some(field) = field {
            return Self::Malformed { field };
        }
        Self::Present {
            permissions: FirstStagePermissions {
                write: raw & 2 != 0,
                user: raw & 4 != 0,
                execute: raw >> 63 == 0,
            },
            target: match size {
                Some(size) => Target::Page(Gpa(raw & ADDRESS & !(size.bytes() - 1)), size),
                None => Target::Table(Gpa(raw & ADDRESS)),
            },
            accessed: raw & Self::ACCESSED != 0,
            dirty: raw & Self::DIRTY != 0,
            extended_accessed: raw & Self::EXTENDED_ACCESSED != 0,
        }
    }

    /// The raw entry of a well-formed one; `None` for the others, which have no single raw value.
    #[must_use]
    pub const fn encode(&self) -> Option<u64> {
        match *self {
            Self::Present { permissions, target, accessed, dirty, extended_accessed } => {
                let target = match target {
                    Target::Table(address) | Target::Page(address, PageSize::Size4K) => address.0,
                    Target::Page(address, _) => address.0 | 0x80,
                };
                Some(
                    target
                        | 1
                        | (permissions.write as u64) << 1
                        | (permissions.user as u64) << 2
                        | (!permissions.execute as u64) << 63
                        | if accessed { Self::ACCESSED } else { 0 }
                        | if dirty { Self::DIRTY } else { 0 }
                        | if extended_accessed { Self::EXTENDED_ACCESSED } else { 0 },
                )
            }
            Self::NotPresent | Self::Malformed { .. } => None,
        }
    }
}
