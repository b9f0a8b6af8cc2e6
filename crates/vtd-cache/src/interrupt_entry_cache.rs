//! The interrupt entry cache.

use core::ops::RangeInclusive;

use vtd_spec::InterruptRemappingEntry;
use vtd_spec::planted::is_planted;

use crate::set_cache::{Place, SetCache};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Index(u16);

impl Place for Index {
    fn place(&self) -> u64 {
        u64::from(self.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Filled {
    entry: InterruptRemappingEntry,
    /// The generation at which it was read.
    at: u64,
}

/// A moment. What was read since is inserted only if nothing has been invalidated after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptLookup(u64);

/// Present interrupt remapping entries of bounded number, found by index. Matching entries are dropped, never compared.
#[derive(Clone, Debug)]
pub struct InterruptEntryCache {
    entries: SetCache<Index, Filled>,
    capacity: usize,
    /// Advances with every invalidation of any kind.
    now: u64,
    /// When everything was last invalidated.
    all: u64,
}

impl InterruptEntryCache {
    /// An empty cache of about `capacity` entries; with 0 every request reads its entry.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { entries: SetCache::new(capacity), capacity, now: 0, all: 0 }
    }

    /// The present moment, to be taken before an entry is read that is to be inserted.
    #[must_use]
    pub fn begin(&self) -> InterruptLookup {
        InterruptLookup(self.now)
    }

    /// The entry of an index, if it is cached.
    #[must_use]
    pub fn get(&self, index: u16) -> Option<InterruptRemappingEntry> {
        let found = self.entries.get(&Index(index)).filter(|filled| filled.at >= self.all);
        found.map(|filled| filled.entry)
    }

    /// Enters an entry, unless something was invalidated meanwhile.
    pub fn fill(&mut self, lookup: InterruptLookup, index: u16, entry: InterruptRemappingEntry) {
        // Planted: whatever was invalidated meanwhile.
        let in_time = lookup.0 == self.now || is_planted(1007);
        if in_time && self.capacity != 0 {
            self.entries.insert(Index(index), Filled { entry, at: self.now });
        }
    }

    /// Drops everything.
    pub fn invalidate_all(&mut self) {
        self.now += 1;
        self.all = self.now;
    }

    /// Drops the entries of some indices. The work is bounded by the lesser of their number and the capacity.
    pub fn invalidate(&mut self, indices: RangeInclusive<u16>) {
        self.now += 1;
        if indices.len() > self.entries.capacity() {
            self.entries.retain(|index, _| !indices.contains(&index.0));
        } else {
            indices.for_each(|index| self.entries.remove(&Index(index)));
        }
    }
}
