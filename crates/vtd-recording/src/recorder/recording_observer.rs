//! Writes down what the unit does.

use std::sync::Arc;

use vtd::host::{StageOneInvalidation, StageOneRange};
use vtd::spec::descriptor::Descriptor;
use vtd::spec::{FaultRecord, Gpa, Iova, RequestKind, SourceId};
use vtd::{Fault, HostCallView, InterruptMessage, Observer};

use super::tape::Tape;
use crate::format::{Direction, Event, HostCall, HostCallKind, HostRange};

/// Puts what the unit tells an observer on a [`Tape`], and tells the VMM's own observer everything.
pub(super) struct RecordingObserver {
    tape: Arc<Tape>,
    next: Option<Arc<dyn Observer>>,
}

impl RecordingObserver {
    pub(super) fn new(tape: Arc<Tape>, next: Option<Arc<dyn Observer>>) -> Self {
        Self { tape, next }
    }

    fn pass_on(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(next) = &self.next {
            tell(&**next);
        }
    }
}

impl Observer for RecordingObserver {
    fn descriptor(&self, offset: u64, descriptor: &Descriptor) {
        self.pass_on(|next| next.descriptor(offset, descriptor));
    }

    fn queue_error(&self, offset: u64, why: &str) {
        self.pass_on(|next| next.queue_error(offset, why));
    }

    fn fault_recorded(&self, record: &FaultRecord) {
        let event = Event::Fault {
            source_id: record.source_id,
            pasid: record.pasid,
            direction: match record.kind {
                RequestKind::Read | RequestKind::PageRequest => Direction::Read,
                RequestKind::Write | RequestKind::AtomicOp => Direction::Write,
            },
            address: Iova(record.address),
            reason: record.reason.code(),
        };
        self.tape.with(|open| open.draft.output(event));
        self.pass_on(|next| next.fault_recorded(record));
    }

    fn fault_dropped(&self, source_id: SourceId, fault: &Fault) {
        self.pass_on(|next| next.fault_dropped(source_id, fault));
    }

    fn host_call(&self, call: &HostCallView<'_>) {
        self.tape.with(|open| match *call {
            HostCallView::Bind { source_id, slot, held, done } => {
                let kind = HostCallKind::Bind { binding: held.binding, domain: held.domain };
                open.draft.host_call(one(HostCall { source_id, slot, kind }), done);
            }
            HostCallView::Replace { source_id, slot, held, done } => {
                let kind = HostCallKind::Replace { binding: held.binding, domain: held.domain };
                open.draft.host_call(one(HostCall { source_id, slot, kind }), done);
            }
            HostCallView::Unbind { source_id, slot, done } => {
                open.draft
                    .host_call(one(HostCall { source_id, slot, kind: HostCallKind::Unbind }), done);
            }
            HostCallView::Invalidate { source_id, slot, batch, done } => {
                let line = |invalidation: &StageOneInvalidation| {
                    let kind = HostCallKind::Invalidate(range(invalidation.range));
                    Event::Host(HostCall { source_id, slot, kind })
                };
                open.draft.host_call(batch.iter().map(line), done);
            }
            // A call of a later version of the unit, which this version of the format has no line for.
            _ => {}
        });
        self.pass_on(|next| next.host_call(call));
    }

    fn wait_status(&self, address: Gpa, data: u32) {
        // The memory sees whether it is really written.
        self.pass_on(|next| next.wait_status(address, data));
    }

    fn interrupt(&self, message: InterruptMessage) {
        let InterruptMessage { address, data } = message;
        self.tape.with(|open| open.draft.output(Event::Msi { address, data }));
        self.pass_on(|next| next.interrupt(message));
    }
}

fn one(call: HostCall) -> impl Iterator<Item = Event> {
    std::iter::once(Event::Host(call))
}

fn range(range: StageOneRange) -> HostRange {
    match range {
        StageOneRange::Everything => HostRange::Everything,
        StageOneRange::Pages { first, count } => HostRange::Pages { address: first, pages: count },
    }
}
