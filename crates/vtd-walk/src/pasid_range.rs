//! The walk over a range of PASIDs of one device.

use vtd_memory::GuestMemory;
use vtd_spec::table::{ContextEntry, PasidDirectoryEntry};
use vtd_spec::{Capabilities, Gpa, Pasid};

use crate::pasid::{directory_place, entry_place};

/// A walk over the PASIDs in [start, end) of one device, in order: it stops at each entry with P=1.
///
/// A directory entry that is absent, malformed or unreadable skips its 64 PASIDs in one step. The end is bounded by PDTS.
/// Every entry is read once, eight of them together.
pub struct PasidRange<'m> {
    memory: &'m dyn GuestMemory,
    caps: &'m Capabilities,
    directory: Gpa,
    /// The PASID table that covers `next`, once its directory entry has been read.
    table: Option<Gpa>,
    next: u32,
    end: u32,
    ahead: Ahead,
}

/// Entries that have been read and not looked at: those from `next` on, below `end`.
struct Ahead {
    /// By the lower three bits of the PASID.
    entries: [[u64; 8]; TOGETHER as usize],
    /// Which of them have P=1, by the same bits.
    present: u8,
    end: u32,
}

/// How many entries are read together, a power of two.
const TOGETHER: u32 = 8;

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
            ahead: Ahead { entries: [[0; 8]; TOGETHER as usize], present: 0, end: 0 },
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
            let table = match self.table {
                Some(table) => table,
                None => match Pasid::new(self.next).and_then(|pasid| self.read_directory(pasid)) {
                    Some(table) => *self.table.insert(table),
                    None => {
                        *budget -= 1;
                        self.next = (self.next | 0x3f) + 1;
                        continue;
                    }
                },
            };
            if self.next >= self.ahead.end {
                self.read_ahead(table);
            }
            let absent = (self.ahead.present >> (self.next % TOGETHER)).trailing_zeros();
            let looked_at = absent.min(end.min(self.ahead.end) - self.next);
            if *budget <= looked_at && looked_at > 0 {
                // No more than the absent ones, and perhaps not all of them.
                self.next += (*budget).min(looked_at);
                *budget = 0;
                self.leave_table();
                continue;
            }
            *budget -= looked_at;
            self.next += looked_at;
            if self.next < end.min(self.ahead.end) {
                let entry = self.ahead.entries.get((self.next % TOGETHER) as usize);
                if let (Some(raw), Some(pasid)) = (entry, Pasid::new(self.next)) {
                    *budget -= 1;
                    let (place, raw) = (entry_place(table, pasid), *raw);
                    self.next += 1;
                    self.leave_table();
                    return RangeStep::Entry { pasid, place, raw };
                }
            }
            self.leave_table();
        }
        RangeStep::End
    }

    /// At the end of a table, the next one is another.
    fn leave_table(&mut self) {
        if self.next & 0x3f == 0 {
            self.table = None;
        }
    }

    /// Reads the entries from `next` on that are read together. One that cannot be read is absent here; a request through it
    /// faults 58.
    fn read_ahead(&mut self, table: Gpa) {
        let Self { memory, next, ref mut ahead, .. } = *self;
        ahead.end = ((next | (TOGETHER - 1)) + 1).min(self.end);
        let [first, count] = [next % TOGETHER, ahead.end - next].map(|number| number as usize);
        let place = |number: u32| entry_place(table, Pasid::from_low_bits(number.into()));
        ahead.present = 0;
        let rest = ahead.entries.get_mut(first..first + count).unwrap_or_default();
        if memory.load_qwords(place(next), rest.as_flattened_mut()).is_err() {
            // Some of them may be readable.
            for (number, entry) in (next..).zip(rest.iter_mut()) {
                if memory.load_qwords(place(number), entry).is_err() {
                    *entry = [0; 8];
                }
            }
        }
        for (number, [first, ..]) in (next..).zip(rest.iter()) {
            ahead.present |= u8::from(first & 1 == 1) << (number % TOGETHER);
        }
    }

    fn read_directory(&self, pasid: Pasid) -> Option<Gpa> {
        let raw = self.memory.load_u64(directory_place(self.directory, pasid)).ok()?;
        PasidDirectoryEntry::decode(raw, self.caps).present().map(|entry| entry.table)
    }
}
