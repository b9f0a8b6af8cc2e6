//! A device with a device TLB.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, InvalidationId};
use vtd_recording::format::Event;

use super::recording::Recording;

/// Answers every other invalidation at once, and the others when it is asked to.
pub(super) struct Card {
    recording: Option<Arc<Recording>>,
    later: Mutex<Vec<InvalidationId>>,
    responses: Mutex<Vec<PageGroupResponse>>,
}

impl Card {
    pub(super) fn new(recording: Option<Arc<Recording>>) -> Self {
        Self { recording, later: Mutex::default(), responses: Mutex::default() }
    }

    /// What it has not answered.
    pub(super) fn take_later(&self) -> Vec<InvalidationId> {
        std::mem::take(&mut locked(&self.later))
    }

    /// The answers to page requests that it was given.
    pub(super) fn take_responses(&self) -> Vec<PageGroupResponse> {
        std::mem::take(&mut locked(&self.responses))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint for Card {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        if invalidation.id.0.is_multiple_of(2) {
            if let Some(recording) = &self.recording {
                let source_id = invalidation.source_id;
                recording.begin(Event::DeviceTlbDone { source_id });
            }
            return DeviceTlbAnswer::Done;
        }
        locked(&self.later).push(invalidation.id);
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, response: &PageGroupResponse) {
        locked(&self.responses).push(*response);
    }
}
