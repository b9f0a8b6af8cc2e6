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
    /// The tables have accesses to the page snoop processor caches, whatever the request says (PGSNP, or SNP of the leaf).
    pub snoop: bool,
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
        Self { page, size, address, granted, dirty, snoop: false }
    }

    pub(crate) const fn snooping(self, snoop: bool) -> Self {
        Self { snoop: self.snoop || snoop, ..self }
    }
}

/// Translates a request through a PASID-table entry.
///
/// # Errors
/// 5C, 5D, 70 to 87, 90 and 91 of the reference's table.
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
    // Planted (83): SRE is ignored.
    if access.privileged && !entry.supervisor && !is_planted(83) {
        return Err(FaultReason::SupervisorDisabled);
    }
    let translated = match &entry.translation {
        Translation::FirstStage(stage) => {
            let rules = FirstStageRules::new(*stage, entry);
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
            let rules = FirstStageRules::new(*first, entry);
            walk_nested(memory, caps, &rules, second, iova, access, updates)
        }
        Translation::PassThrough => pass_through(caps.host_address_width(), iova)
            .ok_or(FaultReason::BeyondWidth)
            .and_then(|translated| outside_interrupts(translated, FaultReason::InterruptRange)),
    };
    translated.map(|translated| translated.snooping(entry.page_snoop))
}

/// Translates an untranslated request through a legacy-mode context entry.
///
/// # Errors
/// 3 to 7, C and E of the reference's table.
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

/// Whose entry has accessed and dirty bits to be set.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    First,
    Second,
}

impl Stage {
    /// A bit has to be set by an access that does not snoop processor caches.
    fn not_snooped(self) -> FaultReason {
        match self {
            Self::First => FaultReason::FirstStageNotSnooped,
            Self::Second => FaultReason::SecondStageNotSnooped,
        }
    }

    fn update_failed(self) -> FaultReason {
        match self {
            Self::First => FaultReason::FirstStageUpdateFailed,
            Self::Second => FaultReason::SecondStageUpdateFailed,
        }
    }
}

/// One entry on the path of a walk, to be marked once the walk has succeeded.
#[derive(Clone, Copy)]
pub(crate) struct Visited {
    pub(crate) stage: Stage,
    pub(crate) place: Gpa,
    pub(crate) raw: u64,
    pub(crate) wanted: u64,
    /// Nothing but memory itself keeps it from being written.
    pub(crate) writable: bool,
}

impl Visited {
    pub(crate) const fn new(stage: Stage, place: Gpa, raw: u64, wanted: u64) -> Self {
        Self { stage, place, raw, wanted, writable: true }
    }

    /// It lacks a bit.
    pub(crate) const fn is_to_mark(&self) -> bool {
        self.raw != self.wanted
    }
}

/// The entries of a walk, root first.
#[derive(Default)]
pub(crate) struct Path(pub(crate) SmallVec<[Visited; 5]>);

enum Update {
    Made,
    EntryChanged(Stage),
    Failed(Stage),
}

/// Walks down and then marks the entries on the way; starts again where one has changed meanwhile. It faults where that does not
/// come to an end, where an entry cannot be written, and where one would have to be although page walks are not coherent
/// (ECAP.SMPWCS): software sets the bits beforehand then.
pub(crate) fn walk_and_mark(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    access: Access,
    updates: TableUpdates,
    mut descend: impl FnMut() -> Result<(Path, Translated), FaultReason>,
) -> Result<Translated, FaultReason> {
    let mut attempt = 0;
    loop {
        let (path, translated) = descend()?;
        if caps.coherent_page_walk() && path.to_mark().any(|visited| !visited.writable) {
            return Err(FaultReason::NestedEntryNoWrite);
        }
        if updates == TableUpdates::Withheld {
            return Ok(translated);
        }
        if !caps.coherent_page_walk()
            && let Some(visited) = path.to_mark().next()
        {
            return Err(visited.stage.not_snooped());
        }
        match path.update(memory) {
            Update::Made => {
                return Ok(Translated { dirty: translated.dirty || access.write, ..translated });
            }
            Update::Failed(stage) => return Err(stage.update_failed()),
            Update::EntryChanged(stage) => {
                attempt += 1;
                if attempt == UPDATE_ATTEMPTS {
                    return Err(stage.update_failed());
                }
            }
        }
    }
}

impl Path {
    /// An entry as it is when its turn comes: tables may lead to themselves, and one that is on the way twice has by then what it is
    /// given the first time.
    pub(crate) fn in_turn(&self, visited: Visited) -> Visited {
        if !visited.is_to_mark() {
            return visited;
        }
        let is_same = |earlier: &&Visited| earlier.place == visited.place && earlier.is_to_mark();
        let Some(earlier) = self.0.iter().rev().find(is_same) else { return visited };
        let lacks = visited.wanted & !visited.raw;
        Visited { raw: earlier.wanted, wanted: earlier.wanted | lacks, ..visited }
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, visited: Visited) {
        self.0.push(self.in_turn(visited));
    }

    /// Sets accessed and dirty bits, root first, each only if the entry still has the value that the walk saw.
    fn update(&self, memory: &dyn GuestMemory) -> Update {
        for visited in self.to_mark() {
            // Planted (row 5): a plain write, whatever the entry has become.
            if is_planted(105) {
                let _ = memory.store_qwords_release(visited.place, &[visited.wanted]);
                continue;
            }
            match memory.compare_exchange_u64(visited.place, visited.raw, visited.wanted) {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Update::EntryChanged(visited.stage),
                Err(_) => return Update::Failed(visited.stage),
            }
        }
        Update::Made
    }

    /// The entries that lack a bit, root first.
    fn to_mark(&self) -> impl Iterator<Item = &Visited> {
        self.0.iter().filter(|visited| visited.is_to_mark())
    }
}
