//! The second-stage page walk.

use smallvec::SmallVec;
use vtd_memory::GuestMemory;
use vtd_spec::planted::is_planted;
use vtd_spec::table::{SecondStage, SecondStageEntry, SecondStagePermissions, Target};
use vtd_spec::{Capabilities, FaultReason, Gpa, Iova};

use crate::translate::{Path, Stage, Visited, outside_interrupts, walk_and_mark};
use crate::{Access, Granted, TableUpdates, Translated};

/// Which column of the reference's fault codes a second-stage walk reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondStageCodes {
    /// 3 (the root cannot be read) to 7, C and E.
    Legacy,
    /// 78 to 7D and 84 to 87.
    Scalable,
}

impl SecondStageCodes {
    fn beyond_width(self) -> FaultReason {
        match self {
            Self::Legacy => FaultReason::LegacyBeyondWidth,
            Self::Scalable => FaultReason::SecondStageBeyondWidth,
        }
    }

    fn access_failed(self, at_root: bool) -> FaultReason {
        match self {
            Self::Legacy if at_root => FaultReason::LegacyContextInvalid,
            Self::Legacy => FaultReason::LegacyTablePointer,
            Self::Scalable if at_root => FaultReason::SecondStagePointer,
            Self::Scalable => FaultReason::SecondStageAccess,
        }
    }

    fn refused(self, access: Access) -> FaultReason {
        match (self, access.write) {
            (Self::Legacy, true) => FaultReason::LegacyNoWrite,
            (Self::Legacy, false) => FaultReason::LegacyNoRead,
            (Self::Scalable, true) => FaultReason::NoWrite,
            (Self::Scalable, false) => FaultReason::NoRead,
        }
    }

    fn not_present(self, access: Access) -> FaultReason {
        match self {
            Self::Legacy => self.refused(access),
            Self::Scalable => FaultReason::SecondStageNotPresent,
        }
    }

    fn reserved(self) -> FaultReason {
        match self {
            Self::Legacy => FaultReason::LegacyPageReserved,
            Self::Scalable => FaultReason::SecondStageReserved,
        }
    }

    fn interrupt_range(self) -> FaultReason {
        match self {
            Self::Legacy => FaultReason::LegacyInterruptRange,
            Self::Scalable => FaultReason::InterruptRange,
        }
    }
}

/// Walks a second-stage table. With SSADE accessed and dirty bits are set, by compare-and-exchange, only if the walk succeeds.
///
/// At each level permission is tested before reserved bits.
///
/// # Errors
/// The faults of the `codes` column.
pub fn walk_second_stage(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    stage: &SecondStage,
    codes: SecondStageCodes,
    iova: Iova,
    access: Access,
    updates: TableUpdates,
) -> Result<Translated, FaultReason> {
    if iova.0 >> stage.levels.address_bits() != 0 {
        return Err(codes.beyond_width());
    }
    // Without SSADE there is nothing to mark.
    let updates = if stage.accessed_dirty { updates } else { TableUpdates::Withheld };
    walk_and_mark(memory, caps, access, updates, || {
        let (path, translated) = descend(memory, caps, stage, codes, iova, access)?;
        Ok((path, outside_interrupts(translated, codes.interrupt_range())?))
    })
}

/// Walks down a second-stage table and sets nothing: the entries to be marked, root first, and where they lead.
pub(crate) fn descend(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    stage: &SecondStage,
    codes: SecondStageCodes,
    iova: Iova,
    access: Access,
) -> Result<(Path, Translated), FaultReason> {
    let access = access.under(caps);
    let levels = stage.levels.count();
    let mut table = stage.table;
    let mut all = SecondStagePermissions { read: true, write: true };
    let mut path = Path(SmallVec::new());
    for level in (1..=levels).rev() {
        let place = Gpa(table.0 | (iova.0 >> (12 + 9 * (level - 1)) & 0x1ff) * 8);
        let raw = memory.load_u64(place).map_err(|_| codes.access_failed(level == levels))?;
        let entry = SecondStageEntry::decode(raw, level, caps);
        let (SecondStageEntry::Malformed { permissions, .. }
        | SecondStageEntry::Present { permissions, .. }) = entry
        else {
            return Err(codes.not_present(access));
        };
        all.read &= permissions.read;
        // Planted (85): write permission of the last entry alone counts.
        all.write = permissions.write && (all.write || is_planted(85));
        if !access.is_granted(all.read, all.write) {
            return Err(codes.refused(access));
        }
        let SecondStageEntry::Present { target, dirty, snoop, .. } = entry else {
            return Err(codes.reserved());
        };
        let mark = SecondStageEntry::ACCESSED;
        match target {
            Target::Table(next) => {
                path.push(Visited::new(Stage::Second, place, raw, raw | mark));
                table = next;
            }
            Target::Page(page, size) => {
                // Planted (52): the dirty bit of the second stage is lost.
                let dirties = access.write && !is_planted(52);
                let written = if dirties { SecondStageEntry::DIRTY } else { 0 };
                let wanted = raw | mark | written;
                path.push(Visited::new(Stage::Second, place, raw, wanted));
                let granted = Granted { read: all.read, write: all.write, execute: all.read };
                let dirty = dirty || !stage.accessed_dirty;
                let translated = Translated::new(page, size, iova, granted, dirty);
                return Ok((path, translated.snooping(snoop)));
            }
        }
    }
    // Level 1 is always a page, so the loop has returned; a table there would have no next level.
    Err(codes.reserved())
}
