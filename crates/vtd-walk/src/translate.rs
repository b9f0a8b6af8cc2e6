//! From an entry to an answer: one request translated.

use smallvec::SmallVec;
use vtd_memory::GuestMemory;
use vtd_spec::planted::is_planted;
use vtd_spec::table::{LegacyContextEntry, LegacyTranslation, PageSize, PasidEntry, Translation};
use vtd_spec::{Capabilities, FaultReason, Gpa, Iova};

use crate::{
    Access, FirstStageRules, Granted, SecondStageCodes, TableUpdates, walk_first_stage,
    walk_nested, walk_second_stage,
};

/// How often a walk starts again because an entry changed before its accessed or dirty bit was set.
const UPDATE_ATTEMPTS: u32 = 16;

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The first byte of the page in guest memory.
    pub page: Gpa,
    /// The size of the page.
    pub size: PageSize,
    /// The byte that the request's address leads to.
    pub address: Gpa,
    /// What the path grants.
    pub granted: Granted,
    /// Writes need no further walk: the dirty bit is set, or there is none to set. A write whose walk only looked sets none.
    pub dirty: bool,
}

impl Translated {
    pub(crate) fn new(
        page: Gpa,
        size: PageSize,
        iova: Iova,
        granted: Granted,
        dirty: bool,
    ) -> Self {
        let address = Gpa(page.0 | iova.0 & (size.bytes() - 1));
        Self { page, size, address, granted, dirty }
    }
}

/// Translates a request through a PASID-table entry.
///
/// # Errors
/// 5C, 5D, 70 to 87 and 91 of the reference's table.
pub fn translate(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    entry: &PasidEntry,
    iova: Iova,
    access: Access,
    updates: TableUpdates,
) -> Result<Translated, FaultReason> {
    if access.execute && !entry.execute {
        return Err(FaultReason::ExecuteDisabled);
    }
    if access.privileged && !entry.supervisor {
        return Err(FaultReason::SupervisorDisabled);
    }
    match &entry.translation {
        Translation::FirstStage(stage) => {
            let rules = FirstStageRules { stage: *stage, no_execute: entry.no_execute };
            walk_first_stage(memory, caps, &rules, iova, access, updates)
        }
        Translation::SecondStage(stage) => walk_second_stage(
            memory,
            caps,
            stage,
            // Planted (row 9): legacy codes in scalable mode.
            if is_planted(109) { SecondStageCodes::Legacy } else { SecondStageCodes::Scalable },
            iova,
            access,
            updates,
        ),
        Translation::Nested(first, second) => {
            let rules = FirstStageRules { stage: *first, no_execute: entry.no_execute };
            walk_nested(memory, caps, &rules, second, iova, access, updates)
        }
        Translation::PassThrough => pass_through(caps.host_address_width(), iova)
            .ok_or(FaultReason::BeyondWidth)
            .and_then(|translated| outside_interrupts(translated, FaultReason::InterruptRange)),
    }
}

/// Translates an untranslated request through a legacy-mode context entry.
///
/// # Errors
/// 4 to 7, C and E of the reference's table.
pub fn translate_legacy(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    entry: &LegacyContextEntry,
    iova: Iova,
    access: Access,
    updates: TableUpdates,
) -> Result<Translated, FaultReason> {
    match &entry.translation {
        LegacyTranslation::SecondStage(stage)
        | LegacyTranslation::SecondStageWithDeviceTlb(stage) => {
            if beyond(iova, caps.maximum_guest_address_width()) {
                return Err(FaultReason::LegacyBeyondWidth);
            }
            walk_second_stage(memory, caps, stage, SecondStageCodes::Legacy, iova, access, updates)
        }
        LegacyTranslation::PassThrough { levels } => {
            pass_through(levels.address_bits().min(caps.host_address_width()), iova)
                .ok_or(FaultReason::LegacyBeyondWidth)
                .and_then(|page| outside_interrupts(page, FaultReason::LegacyInterruptRange))
        }
    }
}

fn pass_through(width: u8, iova: Iova) -> Option<Translated> {
    if beyond(iova, width) {
        return None;
    }
    let page = Gpa(iova.0 & !0xfff);
    Some(Translated::new(page, PageSize::Size4K, iova, Granted::ALL, true))
}

fn beyond(iova: Iova, width: u8) -> bool {
    iova.0.checked_shr(u32::from(width)).unwrap_or(0) != 0
}

/// Blocks what leads to the interrupt range. A walk tests this before it sets accessed and dirty bits: one that faults sets none.
pub(crate) fn outside_interrupts(
    translated: Translated,
    fault: FaultReason,
) -> Result<Translated, FaultReason> {
    if translated.address.is_interrupt() { Err(fault) } else { Ok(translated) }
}

/// One entry on the path of a walk, to be marked once the walk has succeeded.
pub(crate) struct Visited {
    pub(crate) place: Gpa,
    pub(crate) raw: u64,
    pub(crate) wanted: u64,
}

/// The entries of a walk, root first.
#[derive(Default)]
pub(crate) struct Path(pub(crate) SmallVec<[Visited; 5]>);

enum Update {
    Made,
    EntryChanged,
    Failed,
}

/// Walks down and then marks the entries on the way; starts again where one has changed meanwhile. `failed` is the fault where
/// that does not come to an end or an entry cannot be written.
pub(crate) fn walk_and_mark(
    memory: &dyn GuestMemory,
    access: Access,
    updates: TableUpdates,
    failed: FaultReason,
    mut descend: impl FnMut() -> Result<(Path, Translated), FaultReason>,
) -> Result<Translated, FaultReason> {
    for _ in 0..UPDATE_ATTEMPTS {
        let (path, translated) = descend()?;
        if updates == TableUpdates::Withheld {
            return Ok(translated);
        }
        match path.update(memory) {
            Update::Made => {
                return Ok(Translated { dirty: translated.dirty || access.write, ..translated });
            }
            Update::EntryChanged => {}
            Update::Failed => break,
        }
    }
    Err(failed)
}

impl Path {
    /// Sets accessed and dirty bits, root first, each only if the entry still has the value that the walk saw.
    fn update(&self, memory: &dyn GuestMemory) -> Update {
        for visited in self.0.iter().filter(|visited| visited.raw != visited.wanted) {
            // Planted (row 5): a plain write, whatever the entry has become.
            if is_planted(105) {
                let _ = memory.store_qwords_release(visited.place, &[visited.wanted]);
                continue;
            }
            match memory.compare_exchange_u64(visited.place, visited.raw, visited.wanted) {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Update::EntryChanged,
                Err(_) => return Update::Failed,
            }
        }
        Update::Made
    }
}
