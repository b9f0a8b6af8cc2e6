//! The state of a unit, to be saved and restored. Everything is kept in raw integers: the format outlives our types.

use serde::{Deserialize, Serialize};
use vtd_cache::{Failure, FailureKind, Held, SavedSlot};
use vtd_spec::{Binding, DomainId, FirstStage, FirstStageLevels, Gpa, Pasid, Slot};

use crate::RestoreError;
use crate::engine::PendingWork;
use crate::register_page::SavedRegisters;

/// The version of the state format that this crate writes.
///
/// Versions 1 up to this one are read: a later version only adds fields, and a field that an older state lacks is as it is
/// after power-on. The format that the VMM keeps the state in has to name its fields, as JSON and CBOR do. A state of a newer
/// version is refused, since what it adds would be lost.
pub const STATE_VERSION: u32 = 2;

/// The state of a unit: registers, what they latched, pending work, devices and the ledger; no cache and no guest memory.
///
/// It is serialised with `serde` into whatever format the VMM keeps its own state in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    pub(crate) version: u32,
    pub(crate) cap: u64,
    pub(crate) ecap: u64,
    pub(crate) host_address_width: u8,
    pub(crate) unit_version: u32,
    pub(crate) registers: SavedRegisters,
    /// Requests are translated: TE as it was last taken up.
    pub(crate) translation: bool,
    pub(crate) pending: PendingWork,
    pub(crate) devices: Vec<SavedDevice>,
    pub(crate) next_handle: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedDevice {
    pub(crate) handle: u32,
    pub(crate) source_id: u16,
    /// The host device of an assigned device.
    pub(crate) assigned: Option<u64>,
    pub(crate) releasing: bool,
    /// A binding was refused for want of space: the device is reconciled when there is some.
    pub(crate) starved: bool,
    pub(crate) slots: Vec<SlotRecord>,
}

/// One slot of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotRecord {
    /// None for slot Rid.
    pasid: Option<u32>,
    rid_pasid: Option<u32>,
    held: Option<BindingRecord>,
    failure: Option<FailureRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BindingRecord {
    /// The first-stage table; none for pass-through.
    table: Option<u64>,
    levels: u8,
    supervisor: bool,
    write_protect: bool,
    extended_accessed: bool,
    domain: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FailureRecord {
    attempted: Option<BindingRecord>,
    kind: u8,
    errno: Option<i32>,
}

const KINDS: [FailureKind; 5] = [
    FailureKind::Bind,
    FailureKind::Replace,
    FailureKind::Unbind,
    FailureKind::Invalidate,
    FailureKind::Unrestored,
];

impl From<&SavedSlot> for SlotRecord {
    fn from(slot: &SavedSlot) -> Self {
        let number = |pasid: Pasid| pasid.get();
        Self {
            pasid: match slot.slot {
                Slot::Rid => None,
                Slot::Pasid(pasid) => Some(number(pasid)),
            },
            rid_pasid: slot.rid_pasid.map(number),
            held: slot.held.map(BindingRecord::from),
            failure: slot.failure.map(|failure| FailureRecord {
                attempted: failure.attempted.map(BindingRecord::from),
                kind: KINDS
                    .iter()
                    .zip(0..)
                    .find(|(kind, _)| **kind == failure.kind)
                    .map_or(0, |(_, n)| n),
                errno: failure.errno,
            }),
        }
    }
}

impl TryFrom<&SlotRecord> for SavedSlot {
    type Error = RestoreError;

    fn try_from(record: &SlotRecord) -> Result<Self, RestoreError> {
        let pasid = |field, number| {
            Pasid::new(number).ok_or(RestoreError::Field { field, why: "a PASID above 20 bits" })
        };
        Ok(Self {
            slot: match record.pasid {
                None => Slot::Rid,
                Some(number) => Slot::Pasid(pasid("pasid", number)?),
            },
            rid_pasid: record.rid_pasid.map(|number| pasid("rid_pasid", number)).transpose()?,
            held: record.held.map(Held::try_from).transpose()?,
            failure: record.failure.map(Failure::try_from).transpose()?,
        })
    }
}

impl From<Held> for BindingRecord {
    fn from(held: Held) -> Self {
        let domain = held.domain.0;
        match held.binding {
            Binding::FirstStage(stage) => Self {
                table: Some(stage.table.0),
                levels: stage.levels.count(),
                supervisor: stage.supervisor,
                write_protect: stage.write_protect,
                extended_accessed: stage.extended_accessed,
                domain,
            },
            _ => Self {
                table: None,
                levels: 0,
                supervisor: false,
                write_protect: false,
                extended_accessed: false,
                domain,
            },
        }
    }
}

impl TryFrom<BindingRecord> for Held {
    type Error = RestoreError;

    fn try_from(record: BindingRecord) -> Result<Self, RestoreError> {
        if record.table.is_some_and(|table| table & 0xfff != 0 || table >> 52 != 0) {
            let why = "not 4 KiB aligned, or above 52 bits";
            return Err(RestoreError::Field { field: "table", why });
        }
        let binding = match (record.table, record.levels) {
            (None, _) => Binding::PassThrough,
            (Some(table), levels @ (4 | 5)) => Binding::FirstStage(FirstStage {
                table: Gpa(table),
                levels: if levels == 4 { FirstStageLevels::Four } else { FirstStageLevels::Five },
                supervisor: record.supervisor,
                write_protect: record.write_protect,
                extended_accessed: record.extended_accessed,
            }),
            (Some(_), _) => {
                return Err(RestoreError::Field { field: "levels", why: "neither 4 nor 5" });
            }
        };
        Ok(Self { binding, domain: DomainId(record.domain) })
    }
}

impl TryFrom<FailureRecord> for Failure {
    type Error = RestoreError;

    fn try_from(record: FailureRecord) -> Result<Self, RestoreError> {
        let kind = KINDS.get(usize::from(record.kind)).copied();
        Ok(Self {
            attempted: record.attempted.map(Held::try_from).transpose()?,
            kind: kind.ok_or(RestoreError::Field { field: "kind", why: "no kind of failure" })?,
            errno: record.errno,
        })
    }
}
