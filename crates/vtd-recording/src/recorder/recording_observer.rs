//! Writes down what the unit does.

use std::sync::Arc;

use vtd::spec::descriptor::{Descriptor, Wait};
use vtd::spec::{FaultRecord, SourceId};
use vtd::{Fault, HostCallView, InterruptMessage, Observer};

use super::tape::Tape;
use crate::format::{Event, FormatVersion};
use crate::observed;

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
        self.tape.with(|open| open.draft.output(observed::fault(FormatVersion::One, record)));
        self.pass_on(|next| next.fault_recorded(record));
    }

    fn fault_dropped(&self, source_id: SourceId, fault: &Fault) {
        self.pass_on(|next| next.fault_dropped(source_id, fault));
    }

    fn host_call(&self, call: &HostCallView<'_>) {
        let (calls, done) = observed::host_call(call);
        let lines = calls.into_iter().map(Event::Host);
        self.tape.with(|open| open.draft.host_call(lines, done));
        self.pass_on(|next| next.host_call(call));
    }

    fn wait_completes(&self, wait: &Wait) {
        // The memory sees whether its status is really written.
        self.pass_on(|next| next.wait_completes(wait));
    }

    fn interrupt(&self, message: InterruptMessage) {
        let InterruptMessage { address, data } = message;
        self.tape.with(|open| open.draft.output(Event::Msi { address, data }));
        self.pass_on(|next| next.interrupt(message));
    }
}
