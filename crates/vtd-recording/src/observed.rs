//! What a unit tells an observer, as lines of a recording.

use vtd::HostCallView;
use vtd::host::{StageOneInvalidation, StageOneRange};
use vtd::spec::{FaultRecord, Iova, RequestKind};

use crate::format::{Direction, Event, HostCall, HostCallKind, HostRange};

/// The line of a fault.
pub(crate) fn fault(record: &FaultRecord) -> Event {
    Event::Fault {
        source_id: record.source_id,
        pasid: record.pasid,
        direction: match record.kind {
            RequestKind::Read | RequestKind::PageRequest => Direction::Read,
            RequestKind::Write | RequestKind::AtomicOp => Direction::Write,
        },
        address: Iova(record.address),
        reason: record.reason.code(),
    }
}

/// The lines of a host call, one for each entry of a batch, and whether the host did it.
pub(crate) fn host_call(call: &HostCallView<'_>) -> (Vec<HostCall>, bool) {
    let (source_id, slot, kinds, done) = match *call {
        HostCallView::Bind { source_id, slot, held, done } => {
            let kind = HostCallKind::Bind { binding: held.binding, domain: held.domain };
            (source_id, slot, vec![kind], done)
        }
        HostCallView::Replace { source_id, slot, held, done } => {
            let kind = HostCallKind::Replace { binding: held.binding, domain: held.domain };
            (source_id, slot, vec![kind], done)
        }
        HostCallView::Unbind { source_id, slot, done } => {
            (source_id, slot, vec![HostCallKind::Unbind], done)
        }
        HostCallView::Invalidate { source_id, slot, batch, done } => {
            (source_id, slot, batch.iter().map(invalidation).collect(), done)
        }
        // A call of a later version of the unit, which this version of the format has no line for.
        _ => return (Vec::new(), true),
    };
    (kinds.into_iter().map(|kind| HostCall { source_id, slot, kind }).collect(), done)
}

fn invalidation(invalidation: &StageOneInvalidation) -> HostCallKind {
    HostCallKind::Invalidate(match invalidation.range {
        StageOneRange::Everything => HostRange::Everything,
        StageOneRange::Pages { first, count } => HostRange::Pages { address: first, pages: count },
    })
}
