//! DMA of a device that is host-backed in a replay: answered from what the model host holds.

use vtd::host::{HostDevice, ModelHost};
use vtd::memory::GuestMemory;
use vtd::spec::{Binding, Capabilities, FaultReason, Gpa, Iova, Pasid, Slot, SourceId};
use vtd::{Access, Granted, RootTable};
use vtd_walk::{
    FirstStageRules, TableUpdates, read_context, read_legacy_context, read_pasid, translate,
    translate_legacy, walk_first_stage,
};

/// What hardware that holds these bindings answers: the address and what is granted; or a reason, where there is one to report.
pub(super) fn answer(
    (host, device): (&ModelHost, HostDevice),
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Option<RootTable>,
    (source_id, pasid): (SourceId, Option<Pasid>),
    (iova, access): (Iova, Access),
) -> Result<(Gpa, Granted), Option<FaultReason>> {
    let slot = pasid.map_or(Slot::Rid, Slot::Pasid);
    let requester = (source_id, pasid);
    let is_legacy = matches!(root, Some(RootTable::Legacy(_)));
    if pasid.is_none() && iova.is_interrupt() && (access.write || root.is_none()) {
        // An interrupt request is no DMA.
        return Err(None);
    }
    match host.binding(device, slot) {
        Some(Binding::PassThrough) if root.is_some() && iova.is_interrupt() => {
            Err(Some(interrupt_range(is_legacy)))
        }
        Some(Binding::PassThrough) if iova.0 >> caps.host_address_width() != 0 => {
            Err(Some(match is_legacy {
                true => FaultReason::LegacyBeyondWidth,
                false => FaultReason::BeyondWidth,
            }))
        }
        Some(Binding::PassThrough) => Ok((Gpa(iova.0), Granted::ALL)),
        Some(Binding::FirstStage(stage)) => {
            let rules =
                FirstStageRules { stage, no_execute: false, prevent_supervisor_execute: false };
            walk_first_stage(memory, caps, &rules, iova, access, TableUpdates::Made)
                .map(|translated| (translated.address, translated.granted))
                .map_err(Some)
        }
        Some(Binding::SecondStage(_)) => {
            let granted = host.translate(device, slot, iova).map(|(address, granted)| {
                let (read, write) = (granted.reads(), granted.writes());
                (address, Granted { read, write, execute: read })
            });
            match granted.filter(|(_, granted)| granted.allows(access.under(caps))) {
                Some(found) => Ok(found),
                None => Err(unmapped(memory, caps, root, requester, (iova, access))),
            }
        }
        _ => Err(unbound(memory, caps, root, requester, access)),
    }
}

fn interrupt_range(is_legacy: bool) -> FaultReason {
    match is_legacy {
        true => FaultReason::LegacyInterruptRange,
        false => FaultReason::InterruptRange,
    }
}

/// What a request gets in legacy mode that the guest's tables would grant and the host does not.
fn refused_in_legacy_mode(access: Access) -> FaultReason {
    match access.write {
        true => FaultReason::LegacyNoWrite,
        false => FaultReason::LegacyNoRead,
    }
}

/// Why nothing is mapped in a shadow: what the guest's table says of the access.
fn unmapped(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Option<RootTable>,
    (source_id, pasid): (SourceId, Option<Pasid>),
    (iova, access): (Iova, Access),
) -> Option<FaultReason> {
    let updates = TableUpdates::Withheld;
    // Whatever the table says of it.
    let is_interrupt = pasid.is_none() && iova.is_interrupt();
    let (walked, refused) = match root? {
        RootTable::Scalable(_) if is_interrupt => return Some(interrupt_range(false)),
        RootTable::Legacy(_) if is_interrupt => return Some(interrupt_range(true)),
        RootTable::Scalable(root) => {
            let walked = read_context(memory, caps, root, source_id)
                .and_then(|context| {
                    read_pasid(memory, caps, &context, pasid.unwrap_or(context.rid_pasid))
                })
                .map(|found| translate(memory, caps, &found.entry, iova, access, updates));
            // The shadow does not follow, or the host refused the mapping.
            (walked, FaultReason::SecondStageNotPresent)
        }
        RootTable::Legacy(root) => {
            let walked = read_legacy_context(memory, caps, root, source_id)
                .map(|context| translate_legacy(memory, caps, &context, iova, access, updates));
            (walked, refused_in_legacy_mode(access))
        }
        RootTable::Abort => return None,
        RootTable::Unusable => return Some(FaultReason::RootTablePointer),
    };
    Some(match walked {
        Err(fault) => fault.reason,
        Ok(Err(reason)) => reason,
        Ok(Ok(_)) => refused,
    })
}

/// Why nothing is bound, as the guest's tables have it: that is what a VMM would report.
fn unbound(
    memory: &dyn GuestMemory,
    caps: &Capabilities,
    root: Option<RootTable>,
    (source_id, pasid): (SourceId, Option<Pasid>),
    access: Access,
) -> Option<FaultReason> {
    let (fault, refused) = match root? {
        RootTable::Abort => return None,
        RootTable::Unusable => return Some(FaultReason::RootTablePointer),
        RootTable::Legacy(_) if pasid.is_some() => return Some(FaultReason::PasidUnderLegacy),
        RootTable::Legacy(root) => {
            let fault = read_legacy_context(memory, caps, root, source_id).err();
            (fault, refused_in_legacy_mode(access))
        }
        RootTable::Scalable(root) => {
            let fault = match read_context(memory, caps, root, source_id) {
                Ok(context) if pasid.is_some() && !context.pasids => {
                    return Some(FaultReason::PasidDisabled);
                }
                Ok(context) => {
                    let pasid = pasid.unwrap_or(context.rid_pasid);
                    read_pasid(memory, caps, &context, pasid).err()
                }
                Err(fault) => Some(fault),
            };
            (fault, FaultReason::PasidEntryNotPresent)
        }
    };
    // The tables have an entry, yet nothing is bound: the host refused it.
    Some(fault.map_or(refused, |fault| fault.reason))
}
