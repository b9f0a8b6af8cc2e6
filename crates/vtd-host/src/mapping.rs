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
