//! A piece of guest memory that a device is shown.

use vtd_spec::{Gpa, Iova};

/// A run of pages that a slot's requests are to reach; what shadowing makes of the leaves of a guest's second-stage table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The first input address, 4 KiB aligned.
    pub iova: Iova,
    /// The guest memory behind it, 4 KiB aligned.
    pub gpa: Gpa,
    /// How many pages of 4 KiB: at least 1.
    pub pages: u64,
    /// What requests may do there.
    pub permission: Permission,
}

/// What requests may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read only.
    Read,
    /// Write only.
    Write,
    /// Read and write.
    ReadWrite,
}

impl Mapping {
    /// One past its last input page, in pages of 4 KiB.
    #[must_use]
    pub const fn end_page(&self) -> u64 {
        (self.iova.0 >> 12).saturating_add(self.pages)
    }
}

impl Permission {
    /// What a second-stage entry with these two bits grants; `None` where it grants nothing.
    #[must_use]
    pub const fn new(read: bool, write: bool) -> Option<Self> {
        match (read, write) {
            (true, true) => Some(Self::ReadWrite),
            (true, false) => Some(Self::Read),
            (false, true) => Some(Self::Write),
            (false, false) => None,
        }
    }

    /// Whether reads are granted.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether writes are granted.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}
