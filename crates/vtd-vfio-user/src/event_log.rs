//! What a unit did, as text.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use vtd::spec::descriptor::{Descriptor, PageGroupResponse, Wait};
use vtd::spec::{FaultRecord, PageRequest, SourceId};
use vtd::{DeviceTlbInvalidation, Fault, InterruptMessage, Observer, PageRequestError};

/// Writes a line for each thing that the unit does: seconds since the start, then what it was.
pub(crate) struct EventLog {
    start: Instant,
    /// `None` once writing has failed: the log ends there and the machine goes on.
    output: Mutex<Option<Box<dyn Write + Send>>>,
}

impl EventLog {
    pub(crate) fn new(output: Box<dyn Write + Send>) -> Self {
        Self { start: Instant::now(), output: Mutex::new(Some(output)) }
    }

    pub(crate) fn line(&self, text: fmt::Arguments<'_>) {
        let seconds = self.start.elapsed().as_secs_f64();
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = output.as_mut()
            && writeln!(open, "{seconds:10.6} {text}").is_err()
        {
            *output = None;
        }
    }
}

impl Observer for EventLog {
    fn descriptor(&self, offset: u64, descriptor: &Descriptor) {
        self.line(format_args!("descriptor at {offset:#x}: {descriptor}"));
    }

    fn queue_error(&self, offset: u64, why: &str) {
        self.line(format_args!("the queue stopped at {offset:#x}: {why}"));
    }

    fn fault_recorded(&self, record: &FaultRecord) {
        self.line(format_args!("fault: {record}"));
    }

    fn fault_dropped(&self, source_id: SourceId, fault: &Fault) {
        self.line(format_args!("fault of {source_id} not recorded: {fault}"));
    }

    fn wait_completes(&self, wait: &Wait) {
        self.line(format_args!("done: {wait}"));
    }

    fn interrupt(&self, message: InterruptMessage) {
        let InterruptMessage { address, data, .. } = message;
        self.line(format_args!("interrupt: {data:#x} to {address:#x}"));
    }

    fn wait_aborted(&self, wait: &Wait) {
        self.line(format_args!("aborted: {wait}"));
    }

    fn device_tlb_invalidation(&self, invalidation: &DeviceTlbInvalidation) {
        let DeviceTlbInvalidation { source_id, pages, pasids, .. } = invalidation;
        self.line(format_args!("device TLB of {source_id}: {pages} of {pasids:?} dropped"));
    }

    fn device_tlb_timed_out(&self, invalidation: &DeviceTlbInvalidation) {
        self.line(format_args!("device TLB of {} timed out", invalidation.source_id));
    }

    fn page_request_queued(&self, request: &PageRequest) {
        self.line(format_args!("page request: {request}"));
    }

    fn page_request_dropped(&self, request: &PageRequest, why: &PageRequestError) {
        self.line(format_args!("page request dropped: {request}: {why}"));
    }

    fn page_response(&self, response: &PageGroupResponse) {
        self.line(format_args!("page group response: {response}"));
    }
}
