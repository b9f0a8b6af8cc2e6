//! A call that the reconciliation asks for, and what came of it.

use vtd_spec::{Binding, Pasid, Slot};

use crate::{DeviceKey, Failure, FailureKind, Held};

/// A call to be made on the host, then given to [`Ledger::settle`](crate::Ledger::settle).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// Whose slot.
    pub device: DeviceKey,
    /// Which slot.
    pub slot: Slot,
    /// What the host is asked to do.
    pub call: Call,
    /// RID_PASID of the context entry, for slot Rid.
    pub(crate) rid_pasid: Option<Pasid>,
    /// For an unbind that follows a failure: that failure.
    pub(crate) after: Option<Failure>,
    /// The slot is bound anew after a restore: what was mapped then is mapped again.
    pub(crate) restores: bool,
}

/// What the host is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Bind an empty slot.
    Bind(Held),
    /// Replace what a slot holds.
    Replace(Held),
    /// Empty a slot.
    Unbind,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host did it.
    Done,
    /// The host did not, and holds what it held before.
    Failed {
        /// The host's error number, where there is one.
        errno: Option<i32>,
    },
}

impl Change {
    /// The binding that the host is to hold afterwards.
    #[must_use]
    pub fn binding(&self) -> Option<&Binding> {
        match &self.call {
            Call::Bind(held) | Call::Replace(held) => Some(&held.binding),
            Call::Unbind => None,
        }
    }

    pub(crate) fn failure(&self, errno: Option<i32>) -> Failure {
        let (attempted, kind) = match self.call {
            Call::Bind(held) => (Some(held), FailureKind::Bind),
            Call::Replace(held) => (Some(held), FailureKind::Replace),
            Call::Unbind => (None, FailureKind::Unbind),
        };
        Failure { attempted, kind, errno }
    }
}
