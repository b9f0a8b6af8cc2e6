//! Someone who looks on: a recorder, a replay, a person.

use vtd_cache::{Held, ShadowRange};
use vtd_host::StageOneInvalidation;
use vtd_spec::descriptor::{Descriptor, PageGroupResponse, Wait};
use vtd_spec::{FaultRecord, Iova, PageRequest, Slot, SourceId};

use crate::{
    DeviceTlbInvalidation, Fault, InterruptError, InterruptMessage, InvalidatedInterruptEntries,
    PageRequestError, RemappedInterrupt,
};

/// Told of what the unit does, in the order in which it does it.
///
/// Called on whatever thread does the work, with locks of the unit held: it must be quick and must not call the unit.
#[allow(unused_variables, reason = "the names say what an implementation is given")]
pub trait Observer: Send + Sync {
    /// A descriptor was fetched at this byte offset of the queue, and is about to be carried out.
    fn descriptor(&self, offset: u64, descriptor: &Descriptor) {}
    /// The queue stopped: FSTS.IQE is set. `why` is for people.
    fn queue_error(&self, offset: u64, why: &str) {}
    /// A fault was recorded for the guest.
    fn fault_recorded(&self, record: &FaultRecord) {}
    /// A fault was not recorded: FPD suppressed it, or the records overflowed.
    fn fault_dropped(&self, source_id: SourceId, fault: &Fault) {}
    /// The host was asked, and answered.
    fn host_call(&self, call: &HostCallView<'_>) {}
    /// Everything before a wait is done: its status, if it has one, is about to be written, then its interrupt sent.
    fn wait_completes(&self, wait: &Wait) {}
    /// An interrupt is sent.
    fn interrupt(&self, message: InterruptMessage) {}
    /// A time-out has aborted a wait: neither its status nor its interrupt follows.
    fn wait_aborted(&self, wait: &Wait) {}
    /// An endpoint is about to be told to drop translations.
    fn device_tlb_invalidation(&self, invalidation: &DeviceTlbInvalidation) {}
    /// An endpoint has answered an invalidation, at once or later.
    fn device_tlb_answered(&self, invalidation: &DeviceTlbInvalidation) {}
    /// The time of an invalidation is up: FSTS.ITE is set, unless the queue is closing and nobody waits for it any more.
    fn device_tlb_timed_out(&self, invalidation: &DeviceTlbInvalidation) {}
    /// A page request has been entered in the page request queue.
    fn page_request_queued(&self, request: &PageRequest) {}
    /// A page request was refused. A fault of it has been recorded before.
    fn page_request_dropped(&self, request: &PageRequest, why: &PageRequestError) {}
    /// A device, or the host of an assigned one, is about to be given a page group response: the guest's, or the unit's own
    /// for a request that was dropped.
    fn page_response(&self, response: &PageGroupResponse) {}
    /// An interrupt request was answered. Where it is blocked, its fault is told of next.
    fn interrupt_remapped(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
        answer: &Result<RemappedInterrupt, InterruptError>,
    ) {
    }
    /// Interrupt remapping entries are invalidated, and the listener, if there is one, is about to be told.
    fn interrupt_entries_invalidated(&self, entries: InvalidatedInterruptEntries) {}
}

/// A call of the host, as an [`Observer`] sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HostCallView<'a> {
    /// A bind.
    Bind {
        /// Whose slot.
        source_id: SourceId,
        /// Which slot.
        slot: Slot,
        /// What is to be held.
        held: Held,
        /// Whether the host did it.
        done: bool,
    },
    /// A replace.
    Replace {
        /// Whose slot.
        source_id: SourceId,
        /// Which slot.
        slot: Slot,
        /// What is to be held.
        held: Held,
        /// Whether the host did it.
        done: bool,
    },
    /// An unbind.
    Unbind {
        /// Whose slot.
        source_id: SourceId,
        /// Which slot.
        slot: Slot,
        /// Whether the host did it.
        done: bool,
    },
    /// A batch of stage-1 invalidations.
    Invalidate {
        /// Whose slot.
        source_id: SourceId,
        /// Which slot.
        slot: Slot,
        /// What is to be dropped.
        batch: &'a [StageOneInvalidation],
        /// Whether the host did all of it.
        done: bool,
    },
    /// Pages of a shadowed second-stage table are mapped.
    Map {
        /// Whose slot.
        source_id: SourceId,
        /// Which slot.
        slot: Slot,
        /// What is to be mapped.
        range: ShadowRange,
        /// Whether the host did it.
        done: bool,
    },
    /// Pages are unmapped.
    Unmap {
        /// Whose slot.
        source_id: SourceId,
        /// Which slot.
        slot: Slot,
        /// The first page, 4 KiB aligned.
        first: Iova,
        /// How many pages of 4 KiB.
        pages: u64,
        /// Whether the host did it.
        done: bool,
    },
}
