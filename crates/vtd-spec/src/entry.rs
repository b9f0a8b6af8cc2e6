//! What decoding a table entry gives.

use crate::{DomainId, FaultReason};

/// A decoded table entry. Every value of the raw words has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<T> {
    /// P is 0: nothing else in the entry means anything but FPD.
    NotPresent {
        /// Fault processing is disabled.
        fpd: bool,
    },
    /// P is 1, and a reserved field is set or a field has no meaning.
    Malformed(Malformed),
    /// A well-formed entry.
    Present(T),
}

/// Why a present entry cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Fault processing is disabled.
    pub fpd: bool,
    /// The domain field as it stands, for entries that have one.
    pub domain: Option<DomainId>,
    /// The fault that a request through this entry gets.
    pub reason: FaultReason,
    /// The field at fault, by the architecture's name.
    pub field: &'static str,
}

impl<T> Entry<T> {
    /// The same with another present value.
    #[must_use]
    pub fn map<U>(self, present: impl FnOnce(T) -> U) -> Entry<U> {
        match self {
            Self::NotPresent { fpd } => Entry::NotPresent { fpd },
            Self::Malformed(why) => Entry::Malformed(why),
            Self::Present(entry) => Entry::Present(present(entry)),
        }
    }

    /// The entry, where it is present and well formed.
    #[must_use]
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(entry) => Some(entry),
            Self::NotPresent { .. } | Self::Malformed(_) => None,
        }
    }
}
