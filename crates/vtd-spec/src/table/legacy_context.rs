//! Context entries of legacy mode: 16 bytes for each device and function.

use super::{ADDRESS, SecondStage, SecondStageLevels};
use crate::{Capabilities, DomainId, Entry, FaultReason, Gpa, Malformed};

/// A present legacy-mode context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyContextEntry {
    /// FPD: qualified faults of this device are not recorded.
    pub fpd: bool,
    /// The domain (DID).
    pub domain: DomainId,
    /// What becomes of the device's requests (TT).
    pub translation: LegacyTranslation,
}

/// TT of a legacy-mode context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyTranslation {
    /// TT 0: untranslated requests go through the second-stage table, others are blocked.
    SecondStage(SecondStage),
    /// TT 1: the same, and the device may hold a device TLB.
    SecondStageWithDeviceTlb(SecondStage),
    /// TT 2: untranslated requests reach memory as they are. AW bounds their width.
    PassThrough {
        /// The width of AW.
        levels: SecondStageLevels,
    },
}

impl LegacyContextEntry {
    /// Decodes the 16 bytes of an entry.
    #[must_use]
    pub fn decode(raw: [u64; 2], caps: &Capabilities) -> Entry<Self> {
        let [low, high] = raw;
        let fpd = low & 2 != 0;
        if low & 1 == 0 {
            return Entry::NotPresent { fpd };
        }
        let domain = DomainId((high >> 8 & 0xffff) as u16);
        let malformed = |reason, field| {
            Entry::Malformed(Malformed { fpd, domain: Some(domain), reason, field })
        };
        let reserved = |field| malformed(FaultReason::LegacyContextReserved, field);
        let invalid = |field| malformed(FaultReason::LegacyContextInvalid, field);
        let translation_type = low >> 2 & 3;
        if low & 0xff0 != 0 {
            return reserved("reserved 11:4");
        }
        if high & 0xffff_ffff_ff00_0080 != 0 {
            return reserved("reserved 127:88 and 71");
        }
        let beyond = caps.reserved_pointer_bits();
        if translation_type != 2 && low & beyond != 0 {
            return reserved("second-stage table beyond the host address width");
        }
        let Some(levels) = SecondStageLevels::from_address_width(high & 7) else {
            return invalid("AW");
        };
        if !levels.is_supported(caps) {
            return invalid("AW");
        }
        let stage = SecondStage { table: Gpa(low & ADDRESS), levels, accessed_dirty: false };
        let translation = match translation_type {
            0 => LegacyTranslation::SecondStage(stage),
            1 if caps.device_tlbs() => LegacyTranslation::SecondStageWithDeviceTlb(stage),
            2 if caps.pass_through() && levels.is_largest(caps) => {
                LegacyTranslation::PassThrough { levels }
            }
            2 if caps.pass_through() => return invalid("AW"),
            _ => return invalid("TT"),
        };
        Entry::Present(Self { fpd, domain, translation })
    }

    /// The 16 bytes of this entry.
    #[must_use]
    pub const fn encode(&self) -> [u64; 2] {
        let (translation_type, table, levels) = match self.translation {
            LegacyTranslation::SecondStage(stage) => (0, stage.table, stage.levels),
            LegacyTranslation::SecondStageWithDeviceTlb(stage) => (1, stage.table, stage.levels),
            LegacyTranslation::PassThrough { levels } => (2, Gpa(0), levels),
        };
        [
            1 | (self.fpd as u64) << 1 | translation_type << 2 | table.0 & ADDRESS,
            levels.address_width() | (self.domain.0 as u64) << 8,
        ]
    }
}
