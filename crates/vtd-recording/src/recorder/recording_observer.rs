//! Writes down what the unit does.

use std::sync::Arc;

use vtd::spec::descriptor::{Descriptor, PageGroupResponse, Wait};
use vtd::spec::{FaultRecord, PageRequest, SourceId};
use vtd::{
    DeviceTlbInvalidation, Fault, HostCallView, InterruptError, InterruptMessage,
    InvalidatedInterruptEntries, Observer, PageRequestError, RemappedInterrupt,
};

use super::device_tlbs::DeviceTlbs;
use super::tape::Tape;
use crate::format::{Event, FormatVersion};
use crate::observed;

/// Puts what the unit tells an observer on a [`Tape`], and tells the VMM's own observer everything.
pub(super) struct RecordingObserver {
    tape: Arc<Tape>,
    version: FormatVersion,
    device_tlbs: Arc<DeviceTlbs>,
    next: Option<Arc<dyn Observer>>,
}

impl RecordingObserver {
    pub(super) fn new(
        tape: Arc<Tape>,
        version: FormatVersion,
        device_tlbs: Arc<DeviceTlbs>,
        next: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self { tape, version, device_tlbs, next }
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
        self.tape.with(|open| open.draft.output(observed::fault(self.version, record)));
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

    fn wait_aborted(&self, wait: &Wait) {
        self.pass_on(|next| next.wait_aborted(wait));
    }

    fn device_tlb_invalidation(&self, invalidation: &DeviceTlbInvalidation) {
        if self.device_tlbs.is_new(invalidation.id) {
            self.tape.with(|open| open.draft.output(observed::device_tlb(invalidation)));
        }
        self.pass_on(|next| next.device_tlb_invalidation(invalidation));
    }

    fn device_tlb_answered(&self, invalidation: &DeviceTlbInvalidation) {
        self.pass_on(|next| next.device_tlb_answered(invalidation));
    }

    fn device_tlb_timed_out(&self, invalidation: &DeviceTlbInvalidation) {
        self.device_tlbs.give_up(invalidation.id);
        self.pass_on(|next| next.device_tlb_timed_out(invalidation));
    }

    fn page_request_queued(&self, request: &PageRequest) {
        self.pass_on(|next| next.page_request_queued(request));
    }

    fn page_request_dropped(&self, request: &PageRequest, why: &PageRequestError) {
        self.pass_on(|next| next.page_request_dropped(request, why));
    }

    fn page_response(&self, response: &PageGroupResponse) {
        self.tape.with(|open| open.draft.output(observed::page_response(response)));
        self.pass_on(|next| next.page_response(response));
    }

    fn interrupt_remapped(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
        answer: &Result<RemappedInterrupt, InterruptError>,
    ) {
        self.pass_on(|next| next.interrupt_remapped(source_id, address, data, answer));
    }

    fn interrupt_entries_invalidated(&self, entries: InvalidatedInterruptEntries) {
        self.tape.with(|open| open.draft.output(observed::interrupt_entries(entries)));
        self.pass_on(|next| next.interrupt_entries_invalidated(entries));
    }
}
