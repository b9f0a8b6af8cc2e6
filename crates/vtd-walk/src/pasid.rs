//! From a context entry to the PASID-table entry of one PASID.

use vtd_memory::{AccessError, GuestMemory};
use vtd_spec::planted::is_planted;
use vtd_spec::table::{ContextEntry, PasidDirectoryEntry, PasidEntry};
use vtd_spec::{Capabilities, Entry, FaultReason, Gpa, Pasid};

use crate::Fault;

/// How often an entry that differs from what is held is read again.
const STABLE_READS: u32 = 4;

/// A PASID-table entry, and FPD of all three entries on the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasidLookup {
    /// The entry.
    pub entry: PasidEntry,
    /// FPD of the context entry, the PASID directory entry or this entry.
    pub fpd: bool,
}

/// Reads the PASID directory entry that covers a PASID.
///
/// # Errors
/// Faults 46 and 50 to 52.
pub fn read_pasid_directory(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    context: &ContextEntry,
    pasid: Pasid,
) -> Result<PasidDirectoryEntry, Fault> {
    // Planted (row 6): PDTS is ignored.
    if pasid.get() >= context.pasid_end() && !is_planted(6) {
        return Err(Fault::under(FaultReason::PasidBeyondDirectory, context.fpd));
    }
    let raw = memory
        .load_u64(directory_place(context.directory, pasid))
        .map_err(|_| Fault::under(FaultReason::PasidDirectoryAccess, context.fpd))?;
    match PasidDirectoryEntry::decode(raw, caps) {
        Entry::Present(entry) => Ok(entry),
        Entry::NotPresent { fpd } => {
            Err(Fault::under(FaultReason::PasidDirectoryNotPresent, context.fpd | fpd))
        }
        Entry::Malformed(why) => {
            Err(Fault { reason: why.reason, fpd: context.fpd | why.fpd, field: why.field })
        }
    }
}

/// Reads the PASID-table entry of a PASID. Each entry on the way is read once.
///
/// PASIDE is not looked at: it concerns requests with PASID only.
///
/// # Errors
/// Faults 46, 50 to 52 and 58 to 5B.
pub fn read_pasid(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    context: &ContextEntry,
    pasid: Pasid,
) -> Result<PasidLookup, Fault> {
    let directory = read_pasid_directory(memory, caps, context, pasid)?;
    // Planted (row 11): FPD of the directory entry is ignored.
    let fpd = context.fpd | (directory.fpd && !is_planted(11));
    let (place, raw) = read_pasid_entry(memory, directory.table, pasid)
        .map_err(|_| Fault::under(FaultReason::PasidTableAccess, fpd))?;
    // Planted (row 17): the entry is read once more, and may have changed in between.
    let raw = match is_planted(17) {
        true => read_entry(memory, place).unwrap_or(raw),
        false => raw,
    };
    match PasidEntry::decode(&raw, caps) {
        Entry::Present(entry) => Ok(PasidLookup { entry, fpd: fpd | entry.fpd }),
        // Planted (row 9): a zeroed entry is invalid rather than not present.
        Entry::NotPresent { .. } if is_planted(9) => {
            Err(Fault::under(FaultReason::PasidEntryInvalid, fpd))
        }
        // Planted (row 11): FPD of an entry that is not present is ignored.
        Entry::NotPresent { .. } if is_planted(111) => {
            Err(Fault::under(FaultReason::PasidEntryNotPresent, fpd))
        }
        Entry::NotPresent { fpd: own } => {
            Err(Fault::under(FaultReason::PasidEntryNotPresent, fpd | own))
        }
        Entry::Malformed(why) => {
            Err(Fault { reason: why.reason, fpd: fpd | why.fpd, field: why.field })
        }
    }
}

/// Reads the 64 bytes at `place` until two copies in a row agree, the first of them being `copy`.
///
/// `None` after four more reads that all differ, or where the memory cannot be read: the entry counts as absent for now.
#[must_use]
pub fn read_stable_entry(memory: &dyn GuestMemory, place: Gpa, copy: [u64; 8]) -> Option<[u64; 8]> {
    let mut copy = copy;
    for _ in 0..STABLE_READS {
        let again = read_entry(memory, place).ok()?;
        if again == copy {
            return Some(again);
        }
        copy = again;
    }
    None
}

/// Reads the entry of a PASID in a PASID table, once: where it is, and its 64 bytes as they stand.
///
/// # Errors
/// It is not in memory.
pub fn read_pasid_entry(
    memory: &dyn GuestMemory,
    table: Gpa,
    pasid: Pasid,
) -> Result<(Gpa, [u64; 8]), AccessError> {
    let place = entry_place(table, pasid);
    read_entry(memory, place).map(|raw| (place, raw))
}

pub(crate) fn entry_place(table: Gpa, pasid: Pasid) -> Gpa {
    Gpa(table.0 | u64::from(pasid.table_index()) * 64)
}

fn read_entry(memory: &dyn GuestMemory, place: Gpa) -> Result<[u64; 8], AccessError> {
    let mut raw = [0; 8];
    memory.load_qwords(place, &mut raw).map(|()| raw)
}

pub(crate) fn directory_place(directory: Gpa, pasid: Pasid) -> Gpa {
    // A directory of more than one page need not be aligned to its size, so this adds.
    Gpa(directory.0 + u64::from(pasid.directory_index()) * 8)
}
