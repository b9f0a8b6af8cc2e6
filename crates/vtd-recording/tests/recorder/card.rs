//! A device with a device TLB.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, InvalidationId};

/// A device with a device TLB that answers at once, or when it is asked to.
#[derive(Default)]
pub(crate) struct Card {
    pub(crate) later: AtomicBool,
    unanswered: Mutex<VecDeque<InvalidationId>>,
}

impl Card {
    /// The oldest invalidation without an answer, or one that it was never given.
    pub(crate) fn take_oldest(&self) -> InvalidationId {
        self.unanswered.lock().unwrap().pop_front().unwrap_or(InvalidationId(u64::MAX))
    }
}

impl Endpoint for Card {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        let mut unanswered = self.unanswered.lock().unwrap();
        unanswered.retain(|id| *id != invalidation.id);
        if !self.later.load(Ordering::Relaxed) {
            return DeviceTlbAnswer::Done;
        }
        unanswered.push_back(invalidation.id);
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, _: &PageGroupResponse) {}
}
