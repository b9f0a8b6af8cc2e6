//! A device with a device TLB.

use std::sync::atomic::{AtomicU32, Ordering};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint};

/// Counts what it is told, and has done it at once.
#[derive(Debug, Default)]
pub(super) struct Card {
    pub(super) invalidations: AtomicU32,
    pub(super) responses: AtomicU32,
}

impl Endpoint for Card {
    fn invalidate_device_tlb(&self, _invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
        DeviceTlbAnswer::Done
    }

    fn page_group_response(&self, _response: &PageGroupResponse) {
        self.responses.fetch_add(1, Ordering::Relaxed);
    }
}
