//! DMA of a device that is host-backed in a replay: answered from what the model host holds.

use vtd::host::{HostDevice, ModelHost};
use vtd::memory::GuestMemory;
use vtd::spec::{Binding, Capabilities, FaultReason, Gpa, Iova, Pasid, Slot, SourceId};
use vtd::{Access, Granted, RootTable};
use vtd_walk::{
    FirstStageRules, TableUpdates, read_context, read_legacy_context, read_pasid, translate,
    translate_legacy, walk_first_stage,
};

/// What hardware that holds these bindings answers: the address and what is granted, or a reason.
pub(super) fn answer(
    (host, device): (&ModelHost, HostDevice),
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Option<RootTable>,
    (source_id, pasid): (SourceId, Option<Pasid>),
    (iova, access): (Iova, Access),
) -> Result<(Gpa, Granted), FaultReason> {
    let slot = pasid.map_or(Slot::Rid, Slot::Pasid);
    match host.binding(device, slot) {
        Some(Binding::PassThrough) => Ok((Gpa(iova.0), Granted::ALL)),
        Some(Binding::FirstStage(stage)) => {
            let rules =
                FirstStageRules { stage, no_execute: false, prevent_supervisor_execute: false };
            walk_first_stage(memory, caps, &rules, iova, access, TableUpdates::Made)
                .map(|translated| (translated.address, translated.granted))
        }
        Some(Binding::SecondStage(_)) => {
            let granted = host.translate(device, slot, iova).map(|(address, granted)| {
                let (read, write) = (granted.reads(), granted.writes());
                (address, Granted { read, write, execute: read })
            });
            match granted.filter(|(_, granted)| granted.allows(access.under(caps))) {
                Some(found) => Ok(found),
                None => Err(unmapped(memory, caps, root, (source_id, pasid), (iova, access))),
            }
        }
        _ => Err(reason(memory, caps, root, source_id, pasid)),
    }
}

/// Why nothing is mapped in a shadow: what the guest's table says of the access.
fn unmapped(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Option<RootTable>,
    (source_id, pasid): (SourceId, Option<Pasid>),
    (iova, access): (Iova, Access),
) -> FaultReason {
    let updates = TableUpdates::Withheld;
    // Whatever the table says of it.
    let is_interrupt = pasid.is_none() && iova.is_interrupt();
    let walked = match root {
        Some(RootTable::Scalable(_)) if is_interrupt => return FaultReason::InterruptRange,
        Some(RootTable::Legacy(_)) if is_interrupt => return FaultReason::LegacyInterruptRange,
        Some(RootTable::Scalable(root)) => read_context(memory, caps, root, source_id)
            .and_then(|context| {
                read_pasid(memory, caps, &context, pasid.unwrap_or(context.rid_pasid))
            })
            .map(|found| translate(memory, caps, &found.entry, iova, access, updates)),
        Some(RootTable::Legacy(root)) => read_legacy_context(memory, caps, root, source_id)
            .map(|context| translate_legacy(memory, caps, &context, iova, access, updates)),
        Some(RootTable::Abort | RootTable::Unusable) | None => {
            return FaultReason::RootTablePointer;
        }
    };
    match walked {
        Err(fault) => fault.reason,
        Ok(Err(reason)) => reason,
        // The table grants it: the shadow does not follow, or the host refused the mapping.
        Ok(Ok(_)) => FaultReason::SecondStageNotPresent,
    }
}

/// Why nothing is bound, as the guest's tables have it: that is what a VMM would report.
fn reason(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Option<RootTable>,
    source_id: SourceId,
    pasid: Option<Pasid>,
) -> FaultReason {
    let fault = match root {
        Some(RootTable::Scalable(root)) => read_context(memory, caps, root, source_id)
            .and_then(|context| {
                read_pasid(memory, caps, &context, pasid.unwrap_or(context.rid_pasid))
            })
            .err(),
        Some(RootTable::Legacy(root)) => read_legacy_context(memory, caps, root, source_id).err(),
        Some(RootTable::Abort | RootTable::Unusable) | None => None,
    };
    // The tables have an entry, yet nothing is bound: the host refused it.
    fault.map_or(FaultReason::PasidEntryNotPresent, |fault| fault.reason)
}
