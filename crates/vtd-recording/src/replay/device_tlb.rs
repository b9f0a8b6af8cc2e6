//! Device TLBs of the emulated devices that `endpoint` lines name.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, InvalidationId};

/// A device TLB without translations: it only answers what it is told, at once or when a line says so.
#[derive(Debug, Default)]
pub(super) struct DeviceTlb(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    later: bool,
    /// What has no answer yet, in order.
    outstanding: VecDeque<InvalidationId>,
    /// What the unit waits for no more, although it was never answered.
    late: VecDeque<InvalidationId>,
}

impl DeviceTlb {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether invalidations are from now on answered by `device-tlb-done` lines.
    pub(super) fn answer_later(&self, later: bool) {
        self.state().later = later;
    }

    /// The invalidation that a `device-tlb-done` line is about: the oldest outstanding one, or else the oldest that comes too
    /// late. Without either the device answers what it was never told.
    pub(super) fn take_oldest(&self) -> InvalidationId {
        let mut state = self.state();
        let oldest = state.outstanding.pop_front().or_else(|| state.late.pop_front());
        oldest.unwrap_or(InvalidationId(u64::MAX))
    }

    /// The unit waits for this one no more.
    pub(super) fn give_up(&self, id: InvalidationId) {
        let mut state = self.state();
        if let Some(place) = state.outstanding.iter().position(|one| *one == id) {
            state.outstanding.remove(place);
            state.late.push_back(id);
        }
    }

    /// The unit waits for none any more.
    pub(super) fn give_up_all(&self) {
        let mut state = self.state();
        let given_up = std::mem::take(&mut state.outstanding);
        state.late.extend(given_up);
    }
}

impl Endpoint for DeviceTlb {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        let mut state = self.state();
        let id = invalidation.id;
        // What is outstanding is told again after a restore.
        let place = state.outstanding.iter().position(|one| *one == id);
        match (state.later, place) {
            (true, Some(_)) => DeviceTlbAnswer::Later,
            (true, None) => {
                state.outstanding.push_back(id);
                DeviceTlbAnswer::Later
            }
            (false, Some(place)) => {
                state.outstanding.remove(place);
                DeviceTlbAnswer::Done
            }
            (false, None) => DeviceTlbAnswer::Done,
        }
    }

    /// The observer has seen it.
    fn page_group_response(&self, _: &PageGroupResponse) {}
}
