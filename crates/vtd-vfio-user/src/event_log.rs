//! What a unit did, as text.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vtd::spec::descriptor::{Descriptor, PageGroupResponse, Wait};
use vtd::spec::{FaultRecord, PageRequest, SourceId};
use vtd::{DeviceTlbInvalidation, Fault, InterruptMessage, Observer, PageRequestError};

/// Writes a line for each thing that the unit does: seconds since the start, then what it was. Lines that say the same are counted.
pub(crate) struct EventLog {
    start: Instant,
    page: Mutex<Page>,
}

/// What has been written.
struct Page {
    /// `None` once writing has failed: the log ends there and the machine goes on.
    output: Option<Box<dyn Write + Send>>,
    last: String,
    /// How often the last line came again.
    again: u64,
}

impl Page {
    fn write(&mut self, text: fmt::Arguments<'_>) {
        if let Some(open) = self.output.as_mut()
            && open.write_fmt(text).is_err()
        {
            self.output = None;
        }
    }

    fn write_count(&mut self) {
        let again = std::mem::take(&mut self.again);
        if again > 0 {
            self.write(format_args!("           … {again} times more\n"));
        }
    }
}

impl EventLog {
    pub(crate) fn new(output: Box<dyn Write + Send>) -> Self {
        let page = Page { output: Some(output), last: String::new(), again: 0 };
        Self { start: Instant::now(), page: Mutex::new(page) }
    }

    pub(crate) fn line(&self, text: fmt::Arguments<'_>) {
        let text = text.to_string();
        let mut page = self.page();
        if page.last == text {
            page.again += 1;
            return;
        }
        page.write_count();
        let seconds = self.start.elapsed().as_secs_f64();
        page.write(format_args!("{seconds:10.6} {text}\n"));
        page.last = text;
    }

    /// Everything so far is where a person can read it.
    pub(crate) fn flush(&self) {
        let mut page = self.page();
        page.write_count();
        page.last.clear();
        if page.output.as_mut().is_some_and(|open| open.flush().is_err()) {
            page.output = None;
        }
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
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
