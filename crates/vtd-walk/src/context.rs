//! From a requester to its context entry.

use vtd_memory::GuestMemory;
use vtd_spec::table::{ContextEntry, LegacyContextEntry, LegacyRootEntry, RootHalf, context_half};
use vtd_spec::{Capabilities, Entry, FaultReason, Gpa, SourceId};

use crate::Fault;

/// Reads the scalable-mode context entry of a requester. Each entry is read once.
///
/// # Errors
/// Faults 38 to 3A of the root entry and 40 to 42 of the context entry.
pub fn read_context(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Gpa,
    source_id: SourceId,
) -> Result<ContextEntry, Fault> {
    let place = Gpa(root.0 | u64::from(source_id.bus()) * 16 | context_half(source_id) * 8);
    let raw = memory.load_u64(place).map_err(|_| Fault::new(FaultReason::RootAccess))?;
    let half = usable(RootHalf::decode(raw, caps), FaultReason::RootNotPresent)?;
    let place = Gpa(half.context_table.0 | u64::from(source_id.devfn() & 0x7f) * 32);
    let mut raw = [0; 4];
    memory.load_qwords(place, &mut raw).map_err(|_| Fault::new(FaultReason::ContextAccess))?;
    usable(ContextEntry::decode(raw, caps), FaultReason::ContextNotPresent)
}

/// Reads the legacy-mode context entry of a requester. Each entry is read once.
///
/// # Errors
/// Faults 1, 8 and A of the root entry and 2, 3, 9 and B of the context entry.
pub fn read_legacy_context(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Gpa,
    source_id: SourceId,
) -> Result<LegacyContextEntry, Fault> {
    let mut raw = [0; 2];
    memory
        .load_qwords(Gpa(root.0 | u64::from(source_id.bus()) * 16), &mut raw)
        .map_err(|_| Fault::new(FaultReason::LegacyRootAccess))?;
    let root = usable(LegacyRootEntry::decode(raw, caps), FaultReason::LegacyRootNotPresent)?;
    let place = Gpa(root.context_table.0 | u64::from(source_id.devfn()) * 16);
    memory
        .load_qwords(place, &mut raw)
        .map_err(|_| Fault::new(FaultReason::LegacyContextAccess))?;
    usable(LegacyContextEntry::decode(raw, caps), FaultReason::LegacyContextNotPresent)
}

fn usable<T>(entry: Entry<T>, not_present: FaultReason) -> Result<T, Fault> {
    match entry {
        Entry::Present(entry) => Ok(entry),
        Entry::NotPresent { fpd } => Err(Fault::under(not_present, fpd)),
        Entry::Malformed(why) => Err(Fault { reason: why.reason, fpd: why.fpd, field: why.field }),
    }
}
