//! What the ledger knows of one slot.

use alloc::boxed::Box;

use vtd_spec::{Binding, DomainId};

/// What the host holds for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What the host was given.
    pub binding: Binding,
    /// The domain of the guest's entry. The host is not told of it.
    pub domain: DomainId,
}

/// A call of the host that did not succeed, kept until the slot is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the slot should have held; `None` for nothing.
    pub attempted: Option<Held>,
    /// What went wrong.
    pub kind: FailureKind,
    /// The host's error number, where there is one.
    pub errno: Option<i32>,
}

/// Which call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// A bind.
    Bind,
    /// A replace.
    Replace,
    /// An unbind: the host holds what it should not.
    Unbind,
    /// A stage-1 invalidation: the host's caches may be stale until the slot is unbound.
    Invalidate,
    /// None yet: the unit was restored onto a host that does not hold the binding.
    Unrestored,
}

/// The state of a slot that the host holds or that has an error. Other slots have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// What the host holds.
    pub held: Option<Held>,
    /// The last failure. Boxed: nearly every slot has none.
    pub failure: Option<Box<Failure>>,
}

impl SlotState {
    /// Whether the host holds what the guest's tables do not say, or caches what it should not.
    #[must_use]
    pub fn contradicts(&self) -> bool {
        self.held.is_some() && self.failure.is_some()
    }

    /// Whether the host's caches for this slot may be stale.
    pub(crate) fn is_stale(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Invalidate)
    }

    /// The domains of what is held and of what was attempted.
    pub(crate) fn domains(&self) -> impl Iterator<Item = DomainId> {
        let attempted = self.failure.as_ref().and_then(|failure| failure.attempted);
        [self.held, attempted].into_iter().flatten().map(|held| held.domain)
    }
}
