//! What the host maps for one slot: the shadow of a guest's second-stage table.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use vtd_spec::{Gpa, Iova};

/// A run of pages that a slot's requests reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowRange {
    /// Its first input page, in pages of 4 KiB.
    pub first: u64,
    /// How many pages of 4 KiB: at least 1.
    pub pages: u64,
    /// The guest memory behind it, 4 KiB aligned.
    pub address: Gpa,
    /// Reads are granted.
    pub read: bool,
    /// Writes are granted.
    pub write: bool,
}

impl ShadowRange {
    /// The first input address.
    #[must_use]
    pub const fn iova(&self) -> Iova {
        Iova(self.first << 12)
    }

    /// One past its last input page.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first + self.pages
    }

    /// The part of it that lies in [first, end).
    #[must_use]
    pub(crate) fn within(&self, first: u64, end: u64) -> Option<Self> {
        let start = self.first.max(first);
        let end = self.end().min(end);
        if start >= end {
            return None;
        }
        let address = Gpa(self.address.0 + ((start - self.first) << 12));
        Some(Self { first: start, pages: end - start, address, ..*self })
    }

    /// Whether both lead to the same memory, with the same permissions, wherever both say something.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let offset = |range: &Self| range.address.0.wrapping_sub(range.first << 12);
        self.read == other.read && self.write == other.write && offset(self) == offset(other)
    }

    /// Whether the other goes on where this ends.
    pub(crate) fn continues_with(&self, other: &Self) -> bool {
        self.end() == other.first && self.agrees(other)
    }
}

/// Whether a shadow follows its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// It does: what has changed since is told by invalidations.
    Complete,
    /// All of it is to be compared with the table.
    Wanted,
    /// As `Wanted`, but a host refused a mapping, or a quota was used up: the next reconciliation of the slot tries again.
    Refused,
    /// This is to be mapped: what the host held when the unit was saved.
    Lost(Lost),
}

/// What a saved unit had mapped and a fresh host does not map yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Last first.
    pub(crate) ranges: Vec<ShadowRange>,
    /// All of it together follows the table.
    pub(crate) complete: bool,
}

impl Lost {
    pub(crate) fn new(mut ranges: Vec<ShadowRange>, complete: bool) -> Self {
        ranges.reverse();
        Self { ranges, complete }
    }

    /// How the shadow stands to its table once all of this is mapped.
    pub(crate) fn fill(&self) -> Fill {
        if self.complete { Fill::Complete } else { Fill::Refused }
    }

    pub(crate) fn in_order(&self) -> Vec<ShadowRange> {
        self.ranges.iter().rev().copied().collect()
    }
}

/// A shadow as a save has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedShadow {
    /// What the host maps, in order.
    pub mapped: Vec<ShadowRange>,
    /// What it mapped at an earlier save and does not map again yet, in order.
    pub lost: Vec<ShadowRange>,
    /// All of it together follows the table.
    pub complete: bool,
}

/// What the host maps for one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shadow {
    /// By first page; they do not overlap.
    ranges: BTreeMap<u64, ShadowRange>,
    pub(crate) fill: Fill,
    /// Tells it from the shadows that the slot had before.
    pub(crate) number: u64,
    /// How many mappings the host has refused.
    pub(crate) refusals: u64,
}

impl Shadow {
    /// Nothing is mapped yet.
    pub(crate) fn new(fill: Fill, number: u64) -> Self {
        Self { ranges: BTreeMap::new(), fill, number, refusals: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = &ShadowRange> {
        self.ranges.values()
    }

    /// The first range that has a page in [first, end).
    pub(crate) fn first_in(&self, first: u64, end: u64) -> Option<&ShadowRange> {
        if first >= end {
            return None;
        }
        let before = self.ranges.range(..first).next_back().map(|(_, range)| range);
        before
            .filter(|range| range.end() > first)
            .or_else(|| self.ranges.range(first..).next().map(|(_, range)| range))
            .filter(|range| range.first < end)
    }

    /// Enters what has been mapped.
    pub(crate) fn insert(&mut self, range: ShadowRange) {
        self.ranges.insert(range.first, range);
    }

    /// Takes out what has been unmapped: the pages in [first, end).
    pub(crate) fn remove(&mut self, first: u64, end: u64) {
        while let Some(range) = self.first_in(first, end).copied() {
            self.ranges.remove(&range.first);
            let before = range.within(range.first, first);
            let behind = range.within(end, range.end());
            for part in before.into_iter().chain(behind) {
                self.ranges.insert(part.first, part);
            }
        }
    }
}
