//! The way of a request through the tables: each qword that was read, and each that a successful walk writes.

use std::fmt;

/// What an entry is, and so which cache may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Root entry: context cache.
    Root,
    /// Context entry: context cache.
    Context,
    /// PASID directory entry: PASID cache.
    Directory,
    /// PASID-table entry: PASID cache.
    PasidEntry,
    /// First-stage entry: paging-structure cache, or IOTLB where it is a leaf.
    FirstStage {
        /// 1 is the table of 4 KiB pages.
        level: u8,
    },
    /// Interrupt remapping entry: interrupt entry cache.
    Interrupt,
    /// Second-stage entry: paging-structure cache, or IOTLB where it is a leaf.
    SecondStage {
        /// 1 is the table of 4 KiB pages.
        level: u8,
    },
}

impl EntryKind {
    pub(crate) const fn is_first_stage(self) -> bool {
        matches!(self, Self::FirstStage { .. })
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root entry"),
            Self::Context => f.write_str("context entry"),
            Self::Directory => f.write_str("PASID directory entry"),
            Self::PasidEntry => f.write_str("PASID-table entry"),
            Self::Interrupt => f.write_str("interrupt remapping entry"),
            Self::FirstStage { level } => write!(f, "first-stage entry of level {level}"),
            Self::SecondStage { level } => write!(f, "second-stage entry of level {level}"),
        }
    }
}

/// One qword that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    /// Where it lies.
    pub address: u64,
    /// What it held; `None` where there was no memory.
    pub value: Option<u64>,
    /// The entry that it is part of.
    pub kind: EntryKind,
}

/// One qword that a successful walk changes: accessed and dirty bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    /// Where it lies.
    pub address: u64,
    /// What it held.
    pub old: u64,
    /// What it holds afterwards.
    pub new: u64,
}

/// The way of one request. One that is used again needs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Each qword that was read, in order.
    pub reads: Vec<Read>,
    /// Each qword that the walk changes, in order: root first, the leaf last.
    pub updates: Vec<Update>,
    /// The page-table entries of the walk under way.
    pub(crate) steps: Vec<Step>,
}

impl Path {
    /// A path of no steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn clear(&mut self) {
        self.reads.clear();
        self.updates.clear();
        self.steps.clear();
    }
}

/// A page-table entry on the way, as the accessed and dirty bits need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) address: u64,
    pub(crate) value: u64,
    pub(crate) role: Role,
}

/// What a page-table entry did for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It led to another table.
    Table(Stage),
    /// It is the leaf that the request goes through.
    Leaf(Stage),
    /// Second stage: the leaf under a first-stage table, and whether writes are granted through it.
    UnderTable { writes: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    First,
    Second,
}
