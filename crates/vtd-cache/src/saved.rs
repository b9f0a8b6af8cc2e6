//! A slot as a saved unit carries it.

use vtd_spec::{Pasid, Slot};

use crate::{Failure, Held};

/// The state of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSlot {
    /// Which slot.
    pub slot: Slot,
    /// RID_PASID under which slot Rid was settled.
    pub rid_pasid: Option<Pasid>,
    /// What the host held.
    pub held: Option<Held>,
    /// The last failure.
    pub failure: Option<Failure>,
}
