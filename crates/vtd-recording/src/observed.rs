//! What a unit tells an observer, as lines of a recording.

use vtd::host::{StageOneInvalidation, StageOneRange};
use vtd::spec::descriptor::PageGroupResponse;
use vtd::spec::{AddressType, FaultRecord, Iova, RequestKind};
use vtd::{
    DeviceTlbInvalidation, DeviceTlbPasids, Granted, HostCallView, InvalidatedInterruptEntries,
};

use crate::format::{
    Direction, Event, FaultedRequest, FormatVersion, HostCall, HostCallKind, HostMode,
    InterruptEntries, PageRange, PasidScope, RequestAccess,
};
use crate::requests;

/// The line of a fault, as this version of the format has it.
pub(crate) fn fault(version: FormatVersion, record: &FaultRecord) -> Event {
    let direction = match record.kind {
        RequestKind::Read | RequestKind::PageRequest => Direction::Read,
        RequestKind::Write | RequestKind::AtomicOp => Direction::Write,
    };
    let (access, request) = match version {
        // It says no more of a request than its direction.
        FormatVersion::One => (direction.into(), FaultedRequest::Untranslated),
        _ => {
            let (execute, privileged) = (record.execute, record.privileged);
            let access = RequestAccess { direction, execute, privileged, zero_length: false };
            (access, faulted_request(record))
        }
    };
    let address = match request {
        // The index is where an address has its highest bits.
        FaultedRequest::Interrupt => record.address >> 48,
        _ => record.address,
    };
    Event::Fault {
        source_id: record.source_id,
        pasid: record.pasid,
        access,
        address: Iova(address),
        reason: record.reason.code(),
        request,
    }
}

fn faulted_request(record: &FaultRecord) -> FaultedRequest {
    let is_interrupt = matches!(record.reason.code(), 0x20..=0x29);
    match (record.kind, record.address_type) {
        _ if is_interrupt => FaultedRequest::Interrupt,
        (RequestKind::PageRequest, _) => FaultedRequest::PageRequest,
        (_, AddressType::TranslationRequest) => FaultedRequest::Translation,
        (_, AddressType::Translated) => FaultedRequest::Translated,
        (_, AddressType::Untranslated | AddressType::Reserved) => FaultedRequest::Untranslated,
    }
}

/// The lines of a host call, one for each entry of a batch, and whether the host did it.
pub(crate) fn host_call(call: &HostCallView<'_>) -> (Vec<HostCall>, bool) {
    let (source_id, slot, kinds, done) = match *call {
        HostCallView::Bind { source_id, slot, held, done } => {
            let mode = HostMode::from_binding(held.binding);
            let kind = mode.map(|mode| HostCallKind::Bind { mode, domain: held.domain });
            (source_id, slot, kind.into_iter().collect(), done)
        }
        HostCallView::Replace { source_id, slot, held, done } => {
            let mode = HostMode::from_binding(held.binding);
            let kind = mode.map(|mode| HostCallKind::Replace { mode, domain: held.domain });
            (source_id, slot, kind.into_iter().collect(), done)
        }
        HostCallView::Unbind { source_id, slot, done } => {
            (source_id, slot, vec![HostCallKind::Unbind], done)
        }
        HostCallView::Invalidate { source_id, slot, batch, done } => {
            (source_id, slot, batch.iter().map(invalidation).collect(), done)
        }
        HostCallView::Map { source_id, slot, range, done } => {
            let granted = Granted { read: range.read, write: range.write, execute: false };
            let kind = requests::permissions(granted).map(|permissions| HostCallKind::Map {
                iova: range.iova(),
                gpa: range.address,
                pages: range.pages,
                permissions,
            });
            (source_id, slot, kind.into_iter().collect(), done)
        }
        HostCallView::Unmap { source_id, slot, first, pages, done } => {
            (source_id, slot, vec![HostCallKind::Unmap { iova: first, pages }], done)
        }
        // A call of a later version of the unit, which this version of the format has no line for.
        _ => return (Vec::new(), true),
    };
    (kinds.into_iter().map(|kind| HostCall { source_id, slot, kind }).collect(), done)
}

fn invalidation(invalidation: &StageOneInvalidation) -> HostCallKind {
    HostCallKind::Invalidate(match invalidation.range {
        StageOneRange::Everything => PageRange::Everything,
        StageOneRange::Pages { first, count } => PageRange::Pages { address: first, pages: count },
    })
}

/// The line of a device-TLB invalidation.
pub(crate) fn device_tlb(invalidation: &DeviceTlbInvalidation) -> Event {
    let DeviceTlbInvalidation { source_id, pasids, pages, .. } = *invalidation;
    Event::DeviceTlb {
        source_id,
        pasids: match pasids {
            DeviceTlbPasids::WithoutPasid => PasidScope::WithoutPasid,
            DeviceTlbPasids::One(pasid) => PasidScope::Pasid(pasid),
            DeviceTlbPasids::All => PasidScope::EveryPasid,
        },
        range: match pages.is_everything() {
            true => PageRange::Everything,
            false => PageRange::Pages { address: pages.address(), pages: pages.pages() },
        },
    }
}

/// The line of interrupt remapping entries that are invalidated.
pub(crate) fn interrupt_entries(entries: InvalidatedInterruptEntries) -> Event {
    Event::InterruptEntries(match entries {
        InvalidatedInterruptEntries::All => InterruptEntries::Everything,
        InvalidatedInterruptEntries::Range { first, count } => {
            InterruptEntries::Range { index: first, count }
        }
    })
}

/// The line of a page group response.
pub(crate) fn page_response(response: &PageGroupResponse) -> Event {
    let PageGroupResponse { source_id, pasid, code, group_index, .. } = *response;
    Event::PageResponse { source_id, pasid, group: group_index & 0x1ff, code }
}
