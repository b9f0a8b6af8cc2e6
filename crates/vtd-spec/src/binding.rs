//! What a host is asked to hold for a device: the canonical part of a PASID-table entry.

use core::fmt;

use crate::table::SecondStage;
use crate::{Gpa, Pasid};

/// One place of a host-backed device that can be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Requests without PASID.
    Rid,
    /// Requests with this PASID.
    Pasid(Pasid),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rid => f.write_str("-"),
            Self::Pasid(pasid) => fmt::Display::fmt(pasid, f),
        }
    }
}

/// How many levels a first-stage table has (FSPM of the PASID-table entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FirstStageLevels {
    /// 48-bit addresses.
    Four,
    /// 57-bit addresses.
    Five,
}

impl FirstStageLevels {
    /// The number of levels, 4 or 5.
    #[must_use]
    pub const fn count(self) -> u8 {
        match self {
            Self::Four => 4,
            Self::Five => 5,
        }
    }

    /// The width of an input address in bits, 48 or 57.
    #[must_use]
    pub const fn address_bits(self) -> u8 {
        match self {
            Self::Four => 48,
            Self::Five => 57,
        }
    }
}

/// A guest's first-stage table, as a PASID-table entry names it (qw2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FirstStage {
    /// The root of the table, 4 KiB aligned.
    pub table: Gpa,
    /// The number of levels.
    pub levels: FirstStageLevels,
    /// Supervisor requests are served (SRE).
    pub supervisor: bool,
    /// Supervisor requests honour write protection (WPE).
    pub write_protect: bool,
    /// The extended accessed bit is set in entries (EAFE).
    pub extended_accessed: bool,
}

/// What a host is asked to hold for a slot. Two values are equal exactly where the host is given the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binding {
    /// Requests reach guest memory untranslated.
    PassThrough,
    /// Requests are translated by the guest's first-stage table.
    FirstStage(FirstStage),
    /// Requests are translated by mappings that shadow the guest's second-stage table. Of the table only its place and levels
    /// count: a shadow sets no accessed and dirty bits.
    SecondStage(SecondStage),
}

impl Binding {
    /// The binding that shadows a second-stage table.
    #[must_use]
    pub const fn shadow(stage: SecondStage) -> Self {
        Self::SecondStage(SecondStage { accessed_dirty: false, ..stage })
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PassThrough => f.write_str("pt 0"),
            Self::SecondStage(stage) => write!(f, "ss{} {:x}", stage.levels.count(), stage.table),
            Self::FirstStage(stage) => {
                write!(f, "fs{} {:x}", stage.levels.count(), stage.table)?;
                let flags = [
                    (stage.supervisor, " sre"),
                    (stage.write_protect, " wpe"),
                    (stage.extended_accessed, " eafe"),
                ];
                flags.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| f.write_str(name))
            }
        }
    }
}
