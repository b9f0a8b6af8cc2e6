//! Where recorded units depart from the architecture, by name.

use std::fmt;

use serde::{Serialize, Serializer};

/// A known departure of a recorded unit, or of a replay from what was recorded. It explains one field of one line, or a missing
/// line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// A PASID-table entry with P=0 is reported as invalid (5b) rather than not present (59).
    NotPresentAsInvalid,
    /// In scalable mode faults of root, context and second-stage entries are reported with legacy codes.
    LegacyCodes,
    /// Faults of PASID directory and PASID-table entries are reported as requests without PASID.
    PasidMissing,
    /// A fault record shows 16 bits of the PASID.
    PasidCut,
    /// A write that a cached translation does not permit is refused without a fault, a record or an interrupt.
    SilentRefusal,
    /// A fault record whose F is clear still reads as it was; ours reads 0.
    StaleRecord,
    /// The device is host-backed in this replay: its faults are the host's.
    HostFault,
}

impl Departure {
    /// The name that reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotPresentAsInvalid => "not-present-as-invalid",
            Self::LegacyCodes => "legacy-codes",
            Self::PasidMissing => "pasid-missing",
            Self::PasidCut => "pasid-cut",
            Self::SilentRefusal => "silent-refusal",
            Self::StaleRecord => "stale-record",
            Self::HostFault => "host-fault",
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Departure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The departure by which one reason code stands for another.
pub(super) fn of_codes(recorded: u8, ours: u8) -> Option<Departure> {
    let legacy: &[u8] = match recorded {
        0x5b if ours == 0x59 => return Some(Departure::NotPresentAsInvalid),
        0x1 => &[0x39],
        0x2 => &[0x41],
        0x3 => &[0x43],
        0x4 => &[0x83, 0x84],
        0x5 => &[0x79, 0x85],
        0x6 => &[0x79, 0x86],
        0x7 => &[0x78, 0x7b],
        0x8 => &[0x38],
        0x9 => &[0x40],
        0xa => &[0x3a],
        0xb => &[0x42],
        0xc => &[0x7a],
        0xe => &[0x87],
        _ => &[],
    };
    legacy.contains(&ours).then_some(Departure::LegacyCodes)
}

/// The departure by which a fault is reported without its PASID: those of PASID directory and PASID-table entries.
pub(super) fn of_missing_pasid(ours: u8) -> Option<Departure> {
    (0x50..=0x5b).contains(&ours).then_some(Departure::PasidMissing)
}
