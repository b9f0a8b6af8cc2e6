//! The first-stage page walk.

use smallvec::SmallVec;
use vtd_memory::GuestMemory;
use vtd_spec::planted::is_planted;
use vtd_spec::table::{FirstStageEntry, FirstStagePermissions, PasidEntry, SecondStage, Target};
use vtd_spec::{Capabilities, FaultReason, FirstStage, Gpa, Iova};

use crate::nested::TablePlace;
use crate::translate::{Path, Stage, Visited, outside_interrupts, walk_and_mark};
use crate::{Access, Granted, TableUpdates, Translated};

/// What a PASID-table entry says of a first-stage walk beside the table itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstStageRules {
    /// The table and its flags.
    pub stage: FirstStage,
    /// NXE with ECAP.ERS: XD of the entries counts.
    pub no_execute: bool,
    /// SMEP with ECAP.ERS and ECAP.SRS: supervisor execute requests to pages of the user are refused.
    pub prevent_supervisor_execute: bool,
}

impl FirstStageRules {
    /// The rules of an entry whose first stage this is.
    pub(crate) fn new(stage: FirstStage, entry: &PasidEntry) -> Self {
        Self {
            stage,
            no_execute: entry.no_execute,
            prevent_supervisor_execute: entry.prevent_supervisor_execute,
        }
    }
}

/// Walks a first-stage table. Accessed and dirty bits are set, by compare-and-exchange, only if the walk succeeds.
///
/// # Errors
/// Faults 70 to 73, 80 to 82, 85, 87, 90 and 91.
pub fn walk_first_stage(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    rules: &FirstStageRules,
    iova: Iova,
    access: Access,
    updates: TableUpdates,
) -> Result<Translated, FaultReason> {
    check_canonical(caps, rules, iova)?;
    walk_and_mark(memory, caps, access, updates, || {
        let (path, translated) = descend(memory, caps, rules, None, iova, access)?;
        Ok((path, outside_interrupts(translated, FaultReason::InterruptRange)?))
    })
}

/// Bits above the highest address bit have to repeat it. FSPM alone says which that is.
pub(crate) fn check_canonical(
    caps: &Capabilities,
    rules: &FirstStageRules,
    iova: Iova,
) -> Result<(), FaultReason> {
    let mut bits = rules.stage.levels.address_bits();
    // Planted (row 8): the second-stage width decides.
    if is_planted(8) {
        bits = caps.maximum_guest_address_width();
    }
    if is_canonical(iova, bits) { Ok(()) } else { Err(FaultReason::NotCanonical) }
}

/// Walks down a first-stage table and sets nothing: the entries to be marked, root first, and where they lead. With a second
/// stage every table address goes through it, and its entries are among those to be marked.
pub(crate) fn descend(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    rules: &FirstStageRules,
    second: Option<&SecondStage>,
    iova: Iova,
    access: Access,
) -> Result<(Path, Translated), FaultReason> {
    let levels = rules.stage.levels.count();
    let mut table = rules.stage.table;
    let mut all = FirstStagePermissions { write: true, user: true, execute: true };
    let mut path: Path = Path(SmallVec::new());
    let mark = FirstStageEntry::ACCESSED
        | if rules.stage.extended_accessed { FirstStageEntry::EXTENDED_ACCESSED } else { 0 };
    for level in (1..=levels).rev() {
        let place = Gpa(table.0 | (iova.0 >> (12 + 9 * (level - 1)) & 0x1ff) * 8);
        let (place, under) = match second {
            Some(second) => {
                let found = TablePlace::find(memory, caps, second, place, level == levels)?;
                (found.place, Some(found))
            }
            None => (place, None),
        };
        let raw = memory.load_u64(place).map_err(|_| {
            if level == levels {
                FaultReason::FirstStagePointer
            } else {
                FaultReason::FirstStageAccess
            }
        })?;
        // Planted (51): P of a first-stage entry is ignored.
        let raw = if is_planted(51) && raw != 0 { raw | 1 } else { raw };
        let (permissions, target, dirty) = match FirstStageEntry::decode(raw, level, caps) {
            FirstStageEntry::NotPresent => return Err(FaultReason::FirstStageNotPresent),
            FirstStageEntry::Malformed { .. } => return Err(FaultReason::FirstStageReserved),
            FirstStageEntry::Present { permissions, target, dirty, .. } => {
                (permissions, target, dirty)
            }
        };
        all.write &= permissions.write;
        // Planted (86): U/S of the last entry alone counts.
        all.user = permissions.user && (all.user || is_planted(86));
        all.execute &= permissions.execute;
        match target {
            Target::Table(next) => {
                path.visit(under, Visited::new(Stage::First, place, raw, raw | mark));
                table = next;
            }
            Target::Page(page, size) => {
                check(all, rules, access)?;
                // Planted (53): the dirty bit of the first stage is lost.
                let dirties = access.write && !is_planted(53);
                let written = if dirties { FirstStageEntry::DIRTY } else { 0 };
                let wanted = raw | mark | written;
                path.visit(under, Visited::new(Stage::First, place, raw, wanted));
                let granted = Granted {
                    read: true,
                    write: all.write || (access.privileged && !rules.stage.write_protect),
                    execute: (all.execute || !rules.no_execute)
                        && !refuses_supervisor(all, rules, access),
                };
                let translated = Translated::new(page, size, iova, granted, dirty);
                return Ok((path, translated));
            }
        }
    }
    // Level 1 is always a page, so the loop has returned; a table there would have no next level.
    Err(FaultReason::FirstStageReserved)
}

fn check(
    all: FirstStagePermissions,
    rules: &FirstStageRules,
    access: Access,
) -> Result<(), FaultReason> {
    if !access.privileged && !all.user {
        return Err(FaultReason::UserSupervisor);
    }
    let write_counts = !access.privileged || rules.stage.write_protect;
    if access.write && write_counts && !all.write {
        return Err(FaultReason::NoWrite);
    }
    if access.execute && refuses_supervisor(all, rules, access) {
        return Err(FaultReason::UserSupervisor);
    }
    // Planted (row 7): XD counts without NXE.
    if access.execute && (rules.no_execute || is_planted(107)) && !all.execute {
        return Err(FaultReason::ExecuteRefused);
    }
    Ok(())
}

/// Whether SMEP keeps instruction fetches of this privilege from the page.
fn refuses_supervisor(all: FirstStagePermissions, rules: &FirstStageRules, access: Access) -> bool {
    rules.prevent_supervisor_execute && access.privileged && all.user
}

/// Whether all bits above the highest address bit repeat it.
fn is_canonical(iova: Iova, bits: u8) -> bool {
    let above = iova.0 >> (bits - 1);
    above == 0 || above == u64::MAX >> (bits - 1)
}
