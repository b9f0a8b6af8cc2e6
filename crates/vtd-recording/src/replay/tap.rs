//! What a unit under replay does, as it does it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::memory::SparseMemory;
use vtd::spec::descriptor::{
    ContextCacheInvalidation, Descriptor, IotlbScope, PageGroupResponse, PasidCacheInvalidation,
    Wait,
};
use vtd::spec::{FaultRecord, Gpa, PageRequest, SourceId};
use vtd::{
    DeviceTlbInvalidation, Fault, HostCallView, InterruptMessage, InvalidatedInterruptEntries,
    InvalidationId, Observer, PageRequestError,
};

use super::host_state::{CallHistory, Compared, HostState, Invalidated};
use crate::format::{Event, FormatVersion, HostCallKind};
use crate::observed;
use crate::watched_memory::Watch;

/// What a unit under replay has done since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Outputs, as lines of the recording's version.
    pub(super) outputs: Vec<Event>,
    /// The same for people, with descriptors and what else has no line.
    pub(super) notes: Vec<String>,
    pub(super) keep_notes: bool,
    /// What has been invalidated since the last wait.
    invalidated: Vec<Invalidated>,
    /// What is known of the host's slots.
    history: CallHistory,
    /// What the model host holds against what the tables say: agreements and differences.
    pub(super) states: Vec<Compared>,
    /// Device-TLB invalidations that have timed out since.
    pub(super) timed_out: Vec<InvalidationId>,
    /// The device-TLB invalidations before this one have been told.
    next_device_tlb: u64,
}

impl Log {
    /// A device that was host-backed by wish is so no longer: what its host was asked goes unsaid.
    pub(super) fn forget_host_calls(&mut self, source_id: SourceId) {
        let of_device =
            |event: &Event| matches!(event, Event::Host(call) if call.source_id == source_id);
        self.outputs.retain(|event| !of_device(event));
    }
}

/// Listens to a unit: its writes of memory and everything that an observer is told.
#[derive(Debug)]
pub(super) struct Tap {
    log: Mutex<Log>,
    version: FormatVersion,
    memory: Arc<SparseMemory>,
    pub(super) host_state: HostState,
}

impl Tap {
    pub(super) fn new(
        version: FormatVersion,
        memory: Arc<SparseMemory>,
        host_state: HostState,
        keep_notes: bool,
    ) -> Self {
        let log = Log { keep_notes, ..Log::default() };
        Self { log: Mutex::new(log), version, memory, host_state }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Translation, the root table or a whole device changes: bindings may follow a domain without a call.
    pub(super) fn forget_domains(&self) {
        self.log().history.domains.clear();
    }

    /// A register-based invalidation is done: CCMD, and IOTLB with the address register before it.
    pub(super) fn invalidated_by_register(&self, invalidated: Invalidated) {
        let mut log = self.log();
        let states = self.host_state.check(&self.memory, &[invalidated], &mut log.history);
        log.states.extend(states);
    }

    /// A device has another source-id. Its slots are reconciled, which may follow a domain without a call.
    pub(super) fn renumber(&self, source_id: SourceId, new: SourceId) {
        self.host_state.renumber(source_id, new);
        let mut log = self.log();
        log.history.domains.clear();
        let failed = std::mem::take(&mut log.history.failed).into_iter();
        let renumbered = |owner| if owner == source_id { new } else { owner };
        log.history.failed = failed.map(|(owner, slot)| (renumbered(owner), slot)).collect();
    }

    /// What the recording's version has no line for is no output.
    fn output(&self, event: Event) {
        if event.since() > self.version {
            return;
        }
        let mut log = self.log();
        if log.keep_notes {
            log.notes.push(event.to_string());
        }
        log.outputs.push(event);
    }

    fn note(&self, text: impl FnOnce() -> String) {
        let mut log = self.log();
        if log.keep_notes {
            log.notes.push(text());
        }
    }
}

impl Observer for Tap {
    fn descriptor(&self, offset: u64, descriptor: &Descriptor) {
        self.note(|| format!("at {offset:x}: {descriptor}"));
        let invalidated = match descriptor {
            Descriptor::ContextCache(
                ContextCacheInvalidation::Global | ContextCacheInvalidation::Domain(_),
            )
            | Descriptor::PasidCache(PasidCacheInvalidation::Global) => Invalidated::Everything,
            Descriptor::ContextCache(ContextCacheInvalidation::Device {
                source_id,
                function_mask,
                ..
            }) => Invalidated::Device(*source_id, *function_mask),
            Descriptor::PasidCache(PasidCacheInvalidation::Domain(domain)) => {
                Invalidated::Domain(*domain)
            }
            Descriptor::PasidCache(PasidCacheInvalidation::Pasid { domain, pasid }) => {
                Invalidated::Pasid(*domain, *pasid)
            }
            Descriptor::Iotlb(invalidation) => match invalidation.scope {
                IotlbScope::Global => Invalidated::Translations(None, 0, u64::MAX),
                IotlbScope::Domain(domain) => Invalidated::Translations(Some(domain), 0, u64::MAX),
                IotlbScope::Pages { domain, pages } => {
                    let range = pages.range();
                    Invalidated::Translations(Some(domain), range.first(), range.last())
                }
            },
            _ => return,
        };
        self.log().invalidated.push(invalidated);
    }

    fn queue_error(&self, offset: u64, why: &str) {
        self.note(|| format!("at {offset:x}: the queue stops: {why}"));
    }

    fn fault_recorded(&self, record: &FaultRecord) {
        self.output(observed::fault(self.version, record));
    }

    fn fault_dropped(&self, source_id: SourceId, fault: &Fault) {
        self.note(|| format!("{source_id}: fault not recorded: {fault}"));
    }

    fn host_call(&self, call: &HostCallView<'_>) {
        let (calls, done) = observed::host_call(call);
        let mut log = self.log();
        // These have no line in version 1 of the format.
        if let HostCallView::Map { source_id, slot, done: false, .. }
        | HostCallView::Unmap { source_id, slot, done: false, .. } = call
        {
            log.history.failed.insert((*source_id, *slot));
        }
        for call in &calls {
            let key = (call.source_id, call.slot);
            match (call.kind, done) {
                (_, false) => {
                    log.history.failed.insert(key);
                    // What is tried again after a failure may follow a domain without a call.
                    log.history.domains.clear();
                }
                // An unbind does not settle a failure: it also follows a replace that failed.
                (HostCallKind::Bind { domain, .. } | HostCallKind::Replace { domain, .. }, _) => {
                    log.history.domains.insert(key, domain);
                    log.history.failed.remove(&key);
                }
                (HostCallKind::Unbind, _) => {
                    log.history.domains.remove(&key);
                }
                _ => {}
            }
        }
        if !done && log.keep_notes {
            log.notes.push("the host refuses:".into());
        }
        drop(log);
        for call in calls {
            self.output(Event::Host(call));
        }
    }

    fn wait_completes(&self, _: &Wait) {
        let mut log = self.log();
        let invalidated = std::mem::take(&mut log.invalidated);
        let states = self.host_state.check(&self.memory, &invalidated, &mut log.history);
        log.states.extend(states);
    }

    fn interrupt(&self, message: InterruptMessage) {
        self.output(Event::Msi { address: message.address, data: message.data });
    }

    fn wait_aborted(&self, wait: &Wait) {
        self.note(|| format!("aborted: {wait}"));
    }

    fn device_tlb_invalidation(&self, invalidation: &DeviceTlbInvalidation) {
        let id = invalidation.id.0;
        let mut log = self.log();
        // What is outstanding is told again after a restore, and to a device TLB in another's place.
        let is_new = id >= log.next_device_tlb;
        log.next_device_tlb = log.next_device_tlb.max(id.saturating_add(1));
        drop(log);
        if is_new {
            self.output(observed::device_tlb(invalidation));
        }
    }

    fn device_tlb_timed_out(&self, invalidation: &DeviceTlbInvalidation) {
        self.note(|| format!("{}: a device-TLB invalidation timed out", invalidation.source_id));
        self.log().timed_out.push(invalidation.id);
    }

    fn page_request_queued(&self, request: &PageRequest) {
        self.note(|| format!("page request: {request}"));
    }

    fn page_request_dropped(&self, request: &PageRequest, why: &PageRequestError) {
        self.note(|| format!("page request: {request}: {why}"));
    }

    fn interrupt_entries_invalidated(&self, entries: InvalidatedInterruptEntries) {
        self.output(observed::interrupt_entries(entries));
    }

    fn page_response(&self, response: &PageGroupResponse) {
        self.output(observed::page_response(response));
    }
}

/// The unit's writes are outputs.
impl Watch for Tap {
    fn exchanged(&self, gpa: Gpa, exchanged: Result<u64, u64>, new: u64) {
        if exchanged.is_ok() {
            self.output(Event::IommuWrite { gpa, bytes: new.to_le_bytes().to_vec() });
        }
    }

    fn stored_u32(&self, gpa: Gpa, value: u32) {
        self.output(Event::IommuWrite { gpa, bytes: value.to_le_bytes().to_vec() });
    }

    fn stored(&self, gpa: Gpa, values: &[u64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.output(Event::IommuWrite { gpa, bytes });
    }
}
