//! PASID-table entries: 64 bytes for each PASID.

use super::{ADDRESS, SecondStage, SecondStageLevels};
use crate::planted::is_planted;
use crate::{
    Capabilities, DomainId, Entry, FaultReason, FirstStage, FirstStageLevels, Gpa, Malformed,
};

/// A present PASID-table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasidEntry {
    /// FPD: qualified faults of this PASID are not recorded.
    pub fpd: bool,
    /// The domain (DID).
    pub domain: DomainId,
    /// What becomes of the PASID's requests (PGTT).
    pub translation: Translation,
    /// SRE as it stands: supervisor requests are served, whatever PGTT is.
    pub supervisor: bool,
    /// ERE, where ECAP.ERS is shown: execute requests are served.
    pub execute: bool,
    /// NXE, where ECAP.ERS is shown: XD of first-stage entries counts.
    pub no_execute: bool,
    /// SMEP, where ECAP.ERS and ECAP.SRS are shown: supervisor execute requests to first-stage pages of the user are refused.
    pub prevent_supervisor_execute: bool,
    /// PGSNP: accesses to the page snoop processor caches whatever the request says.
    pub page_snoop: bool,
}

/// PGTT of a PASID-table entry, with the tables that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// PGTT 1.
    FirstStage(FirstStage),
    /// PGTT 2.
    SecondStage(SecondStage),
    /// PGTT 3: every first-stage table address and the result go through the second stage.
    Nested(FirstStage, SecondStage),
    /// PGTT 4.
    PassThrough,
}

impl PasidEntry {
    /// The domain field of a raw entry, as it stands; an entry with P=0 has none.
    #[must_use]
    pub const fn raw_domain(raw: &[u64; 8]) -> Option<DomainId> {
        if raw[0] & 1 == 0 { None } else { Some(DomainId((raw[1] & 0xffff) as u16)) }
    }

    /// Decodes the 64 bytes of an entry.
    ///
    /// Fields of another PGTT are ignored; reserved ones, and those whose capability is not shown, never are.
    #[must_use]
    pub fn decode(raw: &[u64; 8], caps: &Capabilities) -> Entry<Self> {
        let [low, tag, first, ref rest @ ..] = *raw;
        let fpd = low & 2 != 0;
        // Planted (row 2): stale fields count although P is 0.
        if low & 1 == 0 && !(is_planted(2) && low >> 6 & 7 != 0) {
            return Entry::NotPresent { fpd };
        }
        let domain = DomainId((tag & 0xffff) as u16);
        let malformed = |reason, field| {
            Entry::Malformed(Malformed { fpd, domain: Some(domain), reason, field })
        };
        let translation_type = low >> 6 & 7;
        let uses_first_stage = matches!(translation_type, 1 | 3);
        let uses_second_stage = matches!(translation_type, 2 | 3);
        let beyond = caps.reserved_pointer_bits();
        let reserved = [
            (low & 0xc20 != 0, "reserved 11:10 and 5"),
            (low >> 9 & 1 == 1 && !caps.second_stage_accessed_dirty(), "SSADE"),
            (
                uses_second_stage && low & beyond != 0,
                "second-stage table beyond the host address width",
            ),
            (tag & 0x7f_0000 != 0, "reserved 86:80"),
            (tag >> 23 & 1 == 1 && !caps.coherent_page_walk(), "PWSNP"),
            (tag >> 24 & 1 == 1 && !caps.snoop_control(), "PGSNP"),
            (first & 1 == 1 && !caps.supervisor_requests(), "SRE"),
            (first >> 7 & 1 == 1 && !caps.extended_accessed(), "EAFE"),
            (first & 0xf00 != 0, "reserved 139:136"),
            (
                uses_first_stage && first & beyond != 0,
                "first-stage table beyond the host address width",
            ),
            (rest.iter().any(|word| *word != 0), "reserved 511:192"),
        ];
        // Planted (row 7): reserved bits are ignored.
        if let Some((_, field)) = reserved.into_iter().find(|(broken, _)| *broken && !is_planted(7))
        {
            return malformed(FaultReason::PasidEntryReserved, field);
        }
        let invalid = |field| malformed(FaultReason::PasidEntryInvalid, field);
        let first_stage = || {
            let levels = match first >> 2 & 3 {
                0 => FirstStageLevels::Four,
                1 if caps.five_level_first_stage() => FirstStageLevels::Five,
                _ => return Err("FSPM"),
            };
            Ok(FirstStage {
                table: Gpa(first & ADDRESS),
                levels,
                supervisor: first & 1 == 1,
                write_protect: first >> 4 & 1 == 1,
                extended_accessed: first >> 7 & 1 == 1,
            })
        };
        let second_stage = || {
            SecondStageLevels::from_address_width(low >> 2 & 7)
                .filter(|levels| levels.is_supported(caps))
                .map(|levels| SecondStage {
                    table: Gpa(low & ADDRESS),
                    levels,
                    accessed_dirty: low >> 9 & 1 == 1,
                })
                .ok_or("AW")
        };
        let translation = match translation_type {
            1 if caps.first_stage() => first_stage().map(Translation::FirstStage),
            2 if caps.scalable_second_stage() => second_stage().map(Translation::SecondStage),
            3 if caps.nested() => first_stage()
                .and_then(|first| second_stage().map(|second| Translation::Nested(first, second))),
            4 if caps.pass_through() => Ok(Translation::PassThrough),
            _ => Err("PGTT"),
        };
        match translation {
            Ok(translation) => Entry::Present(Self {
                fpd,
                domain,
                translation,
                supervisor: first & 1 == 1,
                execute: first >> 1 & 1 == 1 && caps.execute_requests(),
                no_execute: first >> 5 & 1 == 1 && caps.execute_requests(),
                prevent_supervisor_execute: first >> 6 & 1 == 1
                    && caps.execute_requests()
                    && caps.supervisor_requests(),
                page_snoop: tag >> 24 & 1 == 1,
            }),
            Err(field) => invalid(field),
        }
    }

    /// The 64 bytes of this entry.
    #[must_use]
    pub const fn encode(&self) -> [u64; 8] {
        let (translation_type, first, second) = match self.translation {
            Translation::FirstStage(first) => (1, Some(first), None),
            Translation::SecondStage(second) => (2, None, Some(second)),
            Translation::Nested(first, second) => (3, Some(first), Some(second)),
            Translation::PassThrough => (4, None, None),
        };
        let mut low = 1 | (self.fpd as u64) << 1 | translation_type << 6;
        if let Some(second) = second {
            low |= second.levels.address_width() << 2
                | (second.accessed_dirty as u64) << 9
                | second.table.0 & ADDRESS;
        }
        let mut paging =
            self.supervisor as u64 | (self.execute as u64) << 1 | (self.no_execute as u64) << 5;
        paging |= (self.prevent_supervisor_execute as u64) << 6;
        if let Some(first) = first {
            paging |= ((first.levels.count() - 4) as u64) << 2
                | (first.write_protect as u64) << 4
                | (first.extended_accessed as u64) << 7
                | first.table.0 & ADDRESS;
        }
        let tag = self.domain.0 as u64 | (self.page_snoop as u64) << 24;
        [low, tag, paging, 0, 0, 0, 0, 0]
    }
}
