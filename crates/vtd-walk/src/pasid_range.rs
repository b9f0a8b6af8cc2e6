//! The walk over a range of PASIDs of one device.

use vtd_memory::GuestMemory;
use vtd_spec::table::{ContextEntry, PasidDirectoryEntry};
use vtd_spec::{Capabilities, Gpa, Pasid};

use crate::pasid::{directory_place, entry_place};
use crate::read_ahead::ReadAhead;

/// A walk over the PASIDs in [start, end) of one device, in order: it stops at each entry with P=1.
///
/// A directory entry that is absent, malformed or unreadable skips its 64 PASIDs in one step. The end is bounded by PDTS.
/// Every entry is read once, with those that lie in the same eighth of a table or the same 64 bytes of the directory.
pub struct PasidRange<'m> {
    memory: &'m dyn GuestMemory,
    caps: &'m Capabilities,
    directory: Gpa,
    /// The PASID table that covers `next`, once its directory entry has been read.
    table: Option<Gpa>,
    next: u32,
    end: u32,
    tables: ReadAhead<1>,
    entries: ReadAhead<8>,
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
            tables: ReadAhead::new(),
            entries: ReadAhead::new(),
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
            if *budget == 0 {
                return RangeStep::Pause;
            }
            let Some(table) = self.table.or_else(|| self.find_table(end, budget)) else { continue };
            let place = |number: u32| entry_place(table, Pasid::from_low_bits(number.into()));
            let table_end = (self.next | 0x3f) + 1;
            let ends = (end.min(table_end), self.end.min(table_end));
            let (absent, entry) = self.entries.look(self.memory, self.next, ends, place);
            let passed = absent.min(*budget);
            self.next += passed;
            *budget -= passed;
            let found = match (entry, Pasid::new(self.next)) {
                (Some(raw), Some(pasid)) if passed == absent && *budget > 0 => {
                    *budget -= 1;
                    self.next += 1;
                    Some(RangeStep::Entry { pasid, place: place(pasid.get()), raw: *raw })
                }
                _ => None,
            };
            // At the end of a table, the next one is another.
            self.table = Some(table).filter(|_| self.next & 0x3f != 0);
            if let Some(found) = found {
                return found;
            }
        }
        RangeStep::End
    }

    /// The table that covers `next`; where there is none, `next` moves on over what has none.
    fn find_table(&mut self, end: u32, budget: &mut u32) -> Option<Gpa> {
        let index = self.next >> 6;
        let place = |number: u32| {
            directory_place(self.directory, Pasid::from_low_bits(u64::from(number) << 6))
        };
        let (absent, entry) =
            self.tables.look(self.memory, index, (end.div_ceil(64), self.end.div_ceil(64)), place);
        let passed = absent.min(*budget);
        let found = entry.filter(|_| absent == 0).and_then(|[raw]| {
            PasidDirectoryEntry::decode(*raw, self.caps).present().map(|entry| entry.table)
        });
        // One that is present and malformed leads nowhere either.
        let passed = if found.is_none() && absent == 0 { 1 } else { passed };
        if passed > 0 {
            *budget -= passed;
            self.next = (index + passed) << 6;
        }
        found
    }
}
