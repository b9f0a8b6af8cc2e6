//! Who keeps remapped interrupts, and has to hear when they change.

use std::fmt;

use vtd_spec::descriptor::InterruptEntryCacheInvalidation;

/// Told when interrupt remapping entries may have changed, for VMMs that keep what
/// [`route_interrupt`](crate::RemappingUnit::route_interrupt) gave them: routes of KVM's irqfds, say.
///
/// It is told of each type 4 descriptor before the wait behind it completes, and of everything when the table pointer is set
/// (SIRTP), when IRE or CFI changes, and by a reset; in the order in which these take effect. A VMM asks anew for what it keeps
/// before it returns.
pub trait InterruptListener: Send + Sync {
    /// What came through these entries means nothing any more; messages that passed unchanged count as
    /// [`All`](InvalidatedInterruptEntries::All).
    ///
    /// Called within [`RemappingUnit::step`](crate::RemappingUnit::step), with no lock of the unit held, so it may call the unit;
    /// but it must not step it, and completions wait until it returns.
    fn entries_invalidated(&self, entries: InvalidatedInterruptEntries);
}

/// Which interrupt remapping entries are invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvalidatedInterruptEntries {
    /// All of them, and whether messages are remapped at all.
    All,
    /// Those of a range of indices.
    Range {
        /// The first index.
        first: u16,
        /// How many, 1 to 65,536.
        count: u32,
    },
}

impl InvalidatedInterruptEntries {
    /// Whether what came through the entry of this index, or passed unchanged where it is `None`, is meant.
    #[must_use]
    pub fn contains(&self, index: Option<u16>) -> bool {
        match (*self, index) {
            (Self::All, _) => true,
            (Self::Range { first, count }, Some(index)) => {
                index.checked_sub(first).is_some_and(|behind| u32::from(behind) < count)
            }
            (Self::Range { .. }, None) => false,
        }
    }
}

impl From<InterruptEntryCacheInvalidation> for InvalidatedInterruptEntries {
    fn from(invalidation: InterruptEntryCacheInvalidation) -> Self {
        match invalidation {
            InterruptEntryCacheInvalidation::Global => Self::All,
            InterruptEntryCacheInvalidation::Indices { .. } => {
                let indices = invalidation.indices();
                let count = u32::from(indices.end() - indices.start()) + 1;
                Self::Range { first: *indices.start(), count }
            }
        }
    }
}

impl fmt::Display for InvalidatedInterruptEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Range { first, count } => write!(f, "{first:x} {count:x}"),
        }
    }
}
