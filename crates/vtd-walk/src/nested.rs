//! The nested walk: a first-stage table whose addresses, and the one it yields, go through a second stage.

use vtd_memory::GuestMemory;
use vtd_spec::table::{SecondStage, SecondStageEntry};
use vtd_spec::{Capabilities, FaultReason, Gpa, Iova};

use crate::first_stage::{check_canonical, descend as descend_first};
use crate::second_stage::descend as descend_second;
use crate::translate::{Path, Visited, outside_interrupts, walk_and_mark};
use crate::{Access, FirstStageRules, Granted, SecondStageCodes, TableUpdates, Translated};

/// Walks both stages. Accessed and dirty bits of both are set, by compare-and-exchange, only if the whole walk succeeds: for each
/// first-stage table those of the second stage that lead to it, then its entry; last those that lead to the page.
///
/// # Errors
/// Faults 70 to 7D, 80 to 82, 85 to 87, 90 and 91.
pub fn walk_nested(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    rules: &FirstStageRules,
    second: &SecondStage,
    iova: Iova,
    access: Access,
    updates: TableUpdates,
) -> Result<Translated, FaultReason> {
    check_canonical(caps, rules, iova)?;
    walk_and_mark(memory, caps, access, updates, || {
        let (mut path, first) = descend_first(memory, caps, rules, Some(second), iova, access)?;
        let (under, page) = descend_under(memory, caps, second, first.address, access)?;
        if second.accessed_dirty {
            path.append(under);
        }
        Ok((path, outside_interrupts(joined(&first, &page), FaultReason::InterruptRange)?))
    })
}

/// What both stages together yield: the smaller page, and what both grant.
fn joined(first: &Translated, second: &Translated) -> Translated {
    let size = first.size.min(second.size);
    Translated {
        page: Gpa(second.address.0 & !(size.bytes() - 1)),
        size,
        address: second.address,
        granted: Granted {
            read: first.granted.read && second.granted.read,
            write: first.granted.write && second.granted.write,
            execute: first.granted.execute && second.granted.execute,
        },
        dirty: first.dirty && second.dirty,
        snoop: first.snoop || second.snoop,
    }
}

/// Walks the second stage for an address that the first stage yields.
fn descend_under(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    second: &SecondStage,
    address: Gpa,
    access: Access,
) -> Result<(Path, Translated), FaultReason> {
    if address.0 >> second.levels.address_bits() != 0 {
        return Err(FaultReason::NestedBeyondWidth);
    }
    let codes = SecondStageCodes::Scalable;
    descend_second(memory, caps, second, codes, Iova(address.0), access)
}

/// Where the second stage puts an entry of a first-stage table.
pub(crate) struct TablePlace {
    pub(crate) place: Gpa,
    /// The second-stage entries on the way, if they are to be marked.
    path: Option<Path>,
    /// The second stage lets the entry be written.
    writable: bool,
}

impl TablePlace {
    /// Takes the address of an entry through the second stage; `at_root` for one of the first table.
    pub(crate) fn find(
        memory: &dyn GuestMemory,
        caps: &Capabilities,
        second: &SecondStage,
        entry: Gpa,
        at_root: bool,
    ) -> Result<Self, FaultReason> {
        let found = descend_under(memory, caps, second, entry, Access::READ);
        let (path, translated) = found.map_err(|reason| match reason {
            FaultReason::NoRead if at_root => FaultReason::NestedTableNoRead,
            FaultReason::NoRead => FaultReason::NestedEntryNoRead,
            other => other,
        })?;
        Ok(Self {
            place: translated.address,
            path: second.accessed_dirty.then_some(path),
            writable: translated.granted.write,
        })
    }
}

impl Path {
    /// Adds an entry of a first-stage table, after the second-stage entries that led to it. Marking it is a write, which the second
    /// stage has to permit once the walk has succeeded, and which makes its page dirty.
    pub(crate) fn visit(&mut self, under: Option<TablePlace>, visited: Visited) {
        let Some(under) = under else { return self.push(visited) };
        let marks = self.in_turn(visited).is_to_mark();
        let mut path = under.path.unwrap_or_default();
        if let Some(leaf) = path.0.last_mut().filter(|_| marks) {
            leaf.wanted |= SecondStageEntry::DIRTY;
        }
        self.append(path);
        self.push(Visited { writable: under.writable, ..visited });
    }

    fn append(&mut self, path: Path) {
        path.0.into_iter().for_each(|visited| self.push(visited));
    }
}
