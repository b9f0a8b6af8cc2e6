//! The root table address register.

use super::BASE;
use crate::Gpa;

/// How the tables behind the root table address are read (TTM).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TableMode {
    /// TTM 0: legacy root and context entries.
    #[default]
    Legacy,
    /// TTM 1: scalable mode; needs ECAP.SMTS.
    Scalable,
    /// TTM 2: no mode; every request faults.
    Reserved,
    /// TTM 3: every request is blocked; needs ECAP.ADMS.
    Abort,
}

/// RTADDR (020). The write changes nothing until SRTP latches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RootTableAddress {
    /// TTM (11:10).
    pub mode: TableMode,
    /// The root table, 4 KiB aligned (63:12).
    pub base: Gpa,
}

impl RootTableAddress {
    /// Mode and table of a register value.
    #[must_use]
    pub const fn from_bits(raw: u64) -> Self {
        let mode = match raw >> 10 & 3 {
            0 => TableMode::Legacy,
            1 => TableMode::Scalable,
            2 => TableMode::Reserved,
            _ => TableMode::Abort,
        };
        Self { mode, base: Gpa(raw & BASE) }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let mode = match self.mode {
            TableMode::Legacy => 0,
            TableMode::Scalable => 1,
            TableMode::Reserved => 2,
            TableMode::Abort => 3,
        };
        self.base.0 & BASE | mode << 10
    }
}
