//! The interrupt remapping table address register.

use super::BASE;
use crate::Gpa;

/// IRTA (0B8). The write changes nothing until SIRTP latches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct InterruptTableAddress {
    /// The table, 4 KiB aligned (63:12).
    pub base: Gpa,
    /// EIME (11): destinations have 32 bits; needs ECAP.EIM.
    pub extended_mode: bool,
    /// S (3:0): the table has 2^(S+1) entries; 0 to 15, higher bits are cut off.
    pub size_order: u8,
}

impl InterruptTableAddress {
    /// The table of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        Self {
            base: Gpa(raw & BASE),
            extended_mode: raw >> 11 & 1 == 1,
            size_order: (raw & 0xf) as u8,
        }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.base.0 & BASE | (self.extended_mode as u64) << 11 | self.size_order as u64 & 0xf
    }

    /// How many entries of 16 bytes the table has: 2 to 65,536.
    #[must_use]
    pub const fn entry_count(self) -> u32 {
        2 << (self.size_order & 0xf)
    }
}
