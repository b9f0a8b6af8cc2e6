//! The page request queue: PQH, PQT, PQA and PRS.

use vtd_memory::GuestMemory;
use vtd_spec::planted::is_planted;
use vtd_spec::register::{PageRequestQueueAddress, PageRequestStatus};
use vtd_spec::{Gpa, PageRequest};

/// The size of an entry in bytes.
const ENTRY: u64 = 32;

/// The registers of the queue. None of them is latched: they count as they are when a request arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageRequestQueue {
    pub(crate) head: u64,
    pub(crate) tail: u64,
    pub(crate) address: u64,
    pub(crate) status: PageRequestStatus,
}

/// What became of a page request at the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    Entered,
    /// PRO is set: it was before, or the queue is full.
    Full,
    /// The entry could not be written; PRO is set, since a request was lost.
    NotWritable,
}

impl PageRequestQueue {
    /// Whether a cause of the page request event is set.
    pub(crate) fn has_cause(&self) -> bool {
        self.status.pending || self.status.overflow
    }

    /// Enters a request, whole before the tail moves. Bits of PQH and PQT beyond the size of the queue do not count.
    pub(crate) fn enter(&mut self, memory: &dyn GuestMemory, request: &PageRequest) -> Queued {
        // Planted (row 21): PRO is not honoured.
        if self.status.overflow && !is_planted(221) {
            return Queued::Full;
        }
        let queue = PageRequestQueueAddress::from_bits(self.address);
        let within = queue.bytes() - 1;
        let tail = self.tail & within;
        // Planted (67): the tail does not wrap.
        let next = if is_planted(67) { tail + ENTRY } else { (tail + ENTRY) & within };
        if next == self.head & within {
            self.status.overflow = true;
            return Queued::Full;
        }
        let entry = request.encode();
        // Planted (row 21): only half of the entry is written.
        let written = if is_planted(121) { entry.get(..2).unwrap_or(&entry) } else { &entry };
        if memory.store_qwords_release(Gpa(queue.base.0.saturating_add(tail)), written).is_err() {
            self.status.overflow = true;
            return Queued::NotWritable;
        }
        self.tail = next;
        // Planted (66): PPR is not set.
        self.status.pending |= !is_planted(66);
        Queued::Entered
    }

    /// Software writes PRS: PPR and PRO are cleared where a 1 is written.
    pub(crate) fn write_status(&mut self, value: u32) {
        let cleared = PageRequestStatus::from_bits(value);
        self.status.pending &= !cleared.pending;
        self.status.overflow &= !cleared.overflow;
    }
}
