//! The walk over a range of PASIDs of one device.

use vtd_memory::GuestMemory;
use vtd_spec::table::{ContextEntry, PasidDirectoryEntry};
use vtd_spec::{Capabilities, Gpa, Pasid};

use crate::pasid::{directory_place, read_pasid_entry};

/// A walk over the PASIDs in [start, end) of one device, in order: it stops at each entry with P=1.
///
/// A directory entry that is absent, malformed or unreadable skips its 64 PASIDs in one step. The end is bounded by PDTS.
/// Every entry is read once.
pub struct PasidRange<'m> {
    memory: &'m dyn GuestMemory,
    caps: &'m Capabilities,
    directory: Gpa,
    /// The PASID table that covers `next`, once its directory entry has been read.
    table: Option<Gpa>,
    next: u32,
    end: u32,
}

/// One step of a [`PasidRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeStep {
    /// An entry with P=1, as it stands.
    Entry {
        /// Whose it is.
        pasid: Pasid,
        /// Where it is.
        place: Gpa,
        /// Its 64 bytes.
        raw: [u64; 8],
    },
    /// The budget is used up. The walk can go on with a new one, or a new walk from [`PasidRange::position`].
    Pause,
    /// There are no more before the end or the limit.
    End,
}

impl<'m> PasidRange<'m> {
    /// A walk over the PASIDs from `start` up to, not including, `end`.
    #[must_use]
    pub fn new(
        memory: &'m dyn GuestMemory,
        caps: &'m Capabilities,
        context: &ContextEntry,
        start: u32,
        end: u32,
    ) -> Self {
        Self {
            memory,
            caps,
            directory: context.directory,
            table: None,
            next: start,
            end: end.min(context.pasid_end()),
        }
    }

    /// The next PASID that the walk will look at; past the end once it is done.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.next
    }

    /// Walks to the next entry with P=1.
    ///
    /// Each entry of a table, and each directory entry that leads to none, takes one from the budget, so that any budget but 0
    /// gets on.
    pub fn step(&mut self, budget: &mut u32) -> RangeStep {
        self.step_below(Pasid::END, budget)
    }

    /// [`step`](Self::step) that also ends at `limit`, not including it, and can go on from there.
    pub fn step_below(&mut self, limit: u32, budget: &mut u32) -> RangeStep {
        let end = self.end.min(limit);
        while self.next < end {
            let Some(pasid) = Pasid::new(self.next) else { break };
            let Some(left) = budget.checked_sub(1) else { return RangeStep::Pause };
            *budget = left;
            let table = match self.table {
                Some(table) => table,
                None => match self.read_directory(pasid) {
                    Some(table) => *self.table.insert(table),
                    None => {
                        self.next = (self.next | 0x3f) + 1;
                        continue;
                    }
                },
            };
            self.next += 1;
            if self.next & 0x3f == 0 {
                self.table = None;
            }
            // An entry that cannot be read is absent here; a request through it faults 58.
            if let Ok((place, raw)) = read_pasid_entry(self.memory, table, pasid)
                && raw[0] & 1 == 1
            {
                return RangeStep::Entry { pasid, place, raw };
            }
        }
        RangeStep::End
    }

    fn read_directory(&self, pasid: Pasid) -> Option<Gpa> {
        let raw = self.memory.load_u64(directory_place(self.directory, pasid)).ok()?;
        PasidDirectoryEntry::decode(raw, self.caps).present().map(|entry| entry.table)
    }
}
