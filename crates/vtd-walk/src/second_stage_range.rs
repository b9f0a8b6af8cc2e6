//! The walk over a range of a second-stage table.

use vtd_memory::GuestMemory;
use vtd_spec::table::{SecondStage, SecondStageEntry, SecondStagePermissions, Target};
use vtd_spec::{Capabilities, Gpa};

/// The most levels that a second-stage table has.
const LEVELS: usize = 5;

/// A walk over the input pages in [first, end) of a second-stage table, in order: it stops at each leaf that grants something.
///
/// An entry that is absent, malformed or unreadable, or that leaves no permission, skips what it covers in one step. Every entry
/// is read once, and nothing is set in any of them.
pub struct SecondStageRange<'m> {
    memory: &'m dyn GuestMemory,
    caps: &'m Capabilities,
    /// The tables on the way to `next` with what is granted down to each: that of level n at n - 1.
    tables: [(Gpa, SecondStagePermissions); LEVELS],
    levels: u8,
    /// The level of the table that is read next.
    level: u8,
    /// In pages of 4 KiB.
    next: u64,
    end: u64,
}

/// A leaf of a second-stage table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondStageLeaf {
    /// Its first input page, in pages of 4 KiB.
    pub first: u64,
    /// How many pages of 4 KiB it covers.
    pub pages: u64,
    /// What it leads to.
    pub address: Gpa,
    /// What it and the entries above it grant: read, write or both.
    pub permissions: SecondStagePermissions,
}

/// One step of a [`SecondStageRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafStep {
    /// A leaf, as a whole: it may begin before the range or end after it.
    Leaf(SecondStageLeaf),
    /// The budget is used up. The walk can go on with a new one, or a new walk from [`SecondStageRange::position`].
    Pause,
    /// There are no more.
    End,
}

impl<'m> SecondStageRange<'m> {
    /// A walk over the input pages from `first` up to, not including, `end`, both in pages of 4 KiB.
    #[must_use]
    pub fn new(
        memory: &'m dyn GuestMemory,
        caps: &'m Capabilities,
        stage: &SecondStage,
        first: u64,
        end: u64,
    ) -> Self {
        let everything = SecondStagePermissions { read: true, write: true };
        let levels = stage.levels.count();
        Self {
            memory,
            caps,
            tables: [(stage.table, everything); LEVELS],
            levels,
            level: levels,
            next: first,
            end: end.min(1 << (9 * levels)),
        }
    }

    /// The next page that the walk will look at; past the end once it is done.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Walks to the next leaf. Each entry read takes one from the budget, so that any budget but 0 gets on.
    pub fn step(&mut self, budget: &mut u32) -> LeafStep {
        while self.next < self.end {
            let Some(left) = budget.checked_sub(1) else { return LeafStep::Pause };
            *budget = left;
            let shift = 9 * (self.level - 1);
            let Some((table, granted)) = self.tables.get(usize::from(self.level - 1)).copied()
            else {
                return LeafStep::End;
            };
            let place = Gpa(table.0 | (self.next >> shift & 0x1ff) * 8);
            let entry = self.memory.load_u64(place).map_or(SecondStageEntry::NotPresent, |raw| {
                SecondStageEntry::decode(raw, self.level, self.caps)
            });
            let SecondStageEntry::Present { permissions: own, target, .. } = entry else {
                self.advance(shift);
                continue;
            };
            let permissions = SecondStagePermissions {
                read: granted.read && own.read,
                write: granted.write && own.write,
            };
            if !permissions.read && !permissions.write {
                self.advance(shift);
                continue;
            }
            match target {
                Target::Table(next) => {
                    self.level -= 1;
                    if let Some(below) = self.tables.get_mut(usize::from(self.level - 1)) {
                        *below = (next, permissions);
                    }
                }
                Target::Page(address, _) => {
                    let first = self.next >> shift << shift;
                    self.advance(shift);
                    return LeafStep::Leaf(SecondStageLeaf {
                        first,
                        pages: 1 << shift,
                        address,
                        permissions,
                    });
                }
            }
        }
        LeafStep::End
    }

    /// Goes to the next entry of the table at hand; past its last one, to the next entry of the table above.
    fn advance(&mut self, shift: u8) {
        self.next = ((self.next >> shift) + 1) << shift;
        while self.level < self.levels && self.next >> (9 * (self.level - 1)) & 0x1ff == 0 {
            self.level += 1;
        }
    }
}
