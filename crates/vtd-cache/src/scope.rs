//! Over what a reconciliation runs.

use core::ops::Range;

use vtd_spec::{DomainId, Pasid, SourceId};

use crate::DeviceKey;

/// Devices × slots, and a domain that filters the merged pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Which devices.
    pub devices: DeviceScope,
    /// Which of their slots.
    pub slots: SlotScope,
    /// Only pairs whose held, attempted or guest entry's domain is this one.
    pub domain: Option<DomainId>,
}

/// The devices of a [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceScope {
    /// Every device of the unit.
    All,
    /// One device.
    One(DeviceKey),
    /// The devices whose source-id is this one in every bit that the mask does not clear.
    Requesters {
        /// The source-id to compare with.
        source_id: SourceId,
        /// Bits that do not count.
        ignored: u16,
    },
}

/// The slots of a [`Scope`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotScope {
    /// Every slot.
    All,
    /// The slots of these PASIDs; Rid is among them if its held or its current RID_PASID is.
    Pasids(Range<u32>),
}

impl Scope {
    /// Every slot of every device.
    #[must_use]
    pub const fn everything() -> Self {
        Self { devices: DeviceScope::All, slots: SlotScope::All, domain: None }
    }

    /// Every slot of one device.
    #[must_use]
    pub const fn device(device: DeviceKey) -> Self {
        Self { devices: DeviceScope::One(device), slots: SlotScope::All, domain: None }
    }
}

impl DeviceScope {
    /// Whether a device with this key and source-id is meant.
    #[must_use]
    pub fn contains(&self, device: DeviceKey, source: SourceId) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => *one == device,
            Self::Requesters { source_id, ignored } => (source_id.0 ^ source.0) & !ignored == 0,
        }
    }
}

impl SlotScope {
    pub(crate) fn contains(&self, pasid: u32) -> bool {
        match self {
            Self::All => true,
            Self::Pasids(range) => range.contains(&pasid),
        }
    }

    pub(crate) fn bounds(&self) -> Range<u32> {
        match self {
            Self::All => 0..Pasid::END,
            Self::Pasids(range) => range.start..range.end.min(Pasid::END),
        }
    }
}
