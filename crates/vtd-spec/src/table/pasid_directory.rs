//! PASID directory entries: 8 bytes for each 64 PASIDs.

use super::ADDRESS;
use crate::{Capabilities, Entry, FaultReason, Gpa, Malformed};

/// A present PASID directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasidDirectoryEntry {
    /// FPD: qualified faults of these PASIDs are not recorded.
    pub fpd: bool,
    /// The PASID table: 64 entries of 64 bytes.
    pub table: Gpa,
}

impl PasidDirectoryEntry {
    /// Decodes an entry.
    #[must_use]
    pub const fn decode(raw: u64, caps: &Capabilities) -> Entry<Self> {
        let fpd = raw & 2 != 0;
        if raw & 1 == 0 {
            return Entry::NotPresent { fpd };
        }
        let field = if raw & 0xffc != 0 {
            "reserved 11:2"
        } else if raw & caps.reserved_pointer_bits() != 0 {
            "PASID table beyond the host address width"
        } else {
            return Entry::Present(Self { fpd, table: Gpa(raw & ADDRESS) });
        };
        let reason = FaultReason::PasidDirectoryReserved;
        Entry::Malformed(Malformed { fpd, domain: None, reason, field })
    }

    /// The 8 bytes of this entry.
    #[must_use]
    pub const fn encode(&self) -> u64 {
        1 | (self.fpd as u64) << 1 | self.table.0 & ADDRESS
    }
}
