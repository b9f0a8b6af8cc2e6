//! The state of a unit, to be saved and restored. Everything is kept in raw integers: the format outlives our types.

use serde::{Deserialize, Serialize};
use vtd_cache::{Failure, FailureKind, Held, SavedShadow, SavedSlot, ShadowRange};
use vtd_spec::table::{SecondStage, SecondStageLevels};
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
    /// PASIDs that the guest has by virtual commands.
    #[serde(default)]
    pub(crate) pasids: Vec<u32>,
    /// PASIDs that a reset took from the guest and the allocator is to take back.
    #[serde(default)]
    pub(crate) returned_pasids: Vec<u32>,
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
    /// As `starved`, for a mapping of a shadowed second-stage table. Since version 2.
    #[serde(default)]
    pub(crate) starved_of_mappings: bool,
    /// It has an endpoint, which is not part of the state.
    #[serde(default)]
    pub(crate) endpoint: bool,
}

/// One slot of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotRecord {
    /// None for slot Rid.
    pasid: Option<u32>,
    rid_pasid: Option<u32>,
    held: Option<BindingRecord>,
    failure: Option<FailureRecord>,
    /// What is mapped, for a shadowed second-stage table. Since version 2.
    #[serde(default)]
    shadow: Option<ShadowRecord>,
}

/// What the host maps for a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ShadowRecord {
    /// It follows the guest's table, once what is lost is mapped again.
    complete: bool,
    /// First input page, pages, guest address, and what is granted: bit 0 reads, bit 1 writes.
    ranges: Vec<[u64; 4]>,
    /// The same of what was mapped at an earlier save and is not mapped again yet.
    #[serde(default)]
    lost: Vec<[u64; 4]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BindingRecord {
    /// The table; none for pass-through.
    table: Option<u64>,
    levels: u8,
    supervisor: bool,
    write_protect: bool,
    extended_accessed: bool,
    domain: u16,
    /// The table is a second-stage one. Since version 2.
    #[serde(default)]
    second_stage: bool,
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
            shadow: None,
        }
    }
}

impl SlotRecord {
    pub(crate) fn with_shadow(self, shadow: Option<SavedShadow>) -> Self {
        let record = |range: &ShadowRange| {
            let granted = u64::from(range.read) | u64::from(range.write) << 1;
            [range.first, range.pages, range.address.0, granted]
        };
        let shadow = shadow.map(|SavedShadow { mapped, lost, complete }| ShadowRecord {
            complete,
            ranges: mapped.iter().map(record).collect(),
            lost: lost.iter().map(record).collect(),
        });
        Self { shadow, ..self }
    }

    /// What is mapped for the slot.
    pub(crate) fn shadow(&self) -> Result<Option<SavedShadow>, RestoreError> {
        let Some(shadow) = &self.shadow else { return Ok(None) };
        let attempted = self.failure.and_then(|failure| failure.attempted);
        if !self.held.or(attempted).is_some_and(|held| held.second_stage) {
            let why = "mappings of a slot that holds no second-stage table";
            return Err(RestoreError::Field { field: "shadow", why });
        }
        let (mapped, lost) = (ranges(&shadow.ranges)?, ranges(&shadow.lost)?);
        let mut all: Vec<_> = mapped.iter().chain(&lost).collect();
        all.sort_unstable_by_key(|range| range.first);
        let overlap = all.windows(2).any(|pair| match pair {
            [first, second] => first.end() > second.first,
            _ => false,
        });
        if overlap {
            let why = "pages that are both mapped and lost";
            return Err(RestoreError::Field { field: "lost", why });
        }
        Ok(Some(SavedShadow { mapped, lost, complete: shadow.complete }))
    }
}

/// Ranges as they were saved: in order, without overlap.
fn ranges(records: &[[u64; 4]]) -> Result<Vec<ShadowRange>, RestoreError> {
    let mut ranges = Vec::new();
    let mut reached = 0;
    for &[first, pages, address, granted] in records {
        let end = first.checked_add(pages).filter(|end| *end <= 1 << 45);
        let memory_end = pages.checked_mul(0x1000).and_then(|bytes| address.checked_add(bytes));
        let fits = memory_end.is_some_and(|end| end <= 1 << 52) && address & 0xfff == 0;
        let Some(end) = end.filter(|_| fits && pages != 0 && first >= reached) else {
            let why = "a range that is empty, out of order, unaligned or beyond the address space";
            return Err(RestoreError::Field { field: "ranges", why });
        };
        if !(1..=3).contains(&granted) {
            let why = "neither reads nor writes";
            return Err(RestoreError::Field { field: "ranges", why });
        }
        reached = end;
        let (read, write) = (granted & 1 == 1, granted >> 1 & 1 == 1);
        ranges.push(ShadowRange { first, pages, address: Gpa(address), read, write });
    }
    Ok(ranges)
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
                second_stage: false,
            },
            Binding::SecondStage(stage) => Self {
                table: Some(stage.table.0),
                levels: stage.levels.count(),
                supervisor: false,
                write_protect: false,
                extended_accessed: false,
                domain,
                second_stage: true,
            },
            _ => Self {
                table: None,
                levels: 0,
                supervisor: false,
                write_protect: false,
                extended_accessed: false,
                domain,
                second_stage: false,
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
        let second_stage = |levels| {
            let levels = match levels {
                3 => Some(SecondStageLevels::Three),
                4 => Some(SecondStageLevels::Four),
                5 => Some(SecondStageLevels::Five),
                _ => None,
            };
            levels.ok_or(RestoreError::Field { field: "levels", why: "none of 3, 4 and 5" })
        };
        let binding = match (record.table, record.levels) {
            (Some(table), levels) if record.second_stage => {
                let levels = second_stage(levels)?;
                let stage = SecondStage { table: Gpa(table), levels, accessed_dirty: false };
                Binding::SecondStage(stage)
            }
            (None, _) if record.second_stage => {
                let why = "none, of a second-stage binding";
                return Err(RestoreError::Field { field: "table", why });
            }
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
