//! What device TLBs have been told and have not answered, as a replay will have it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vtd::spec::descriptor::PageGroupResponse;
use vtd::{DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, InvalidationId};

/// The device TLBs of a recorded unit.
#[derive(Debug, Default)]
pub(super) struct DeviceTlbs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The devices that have one.
    devices: BTreeSet<DeviceId>,
    outstanding: VecDeque<Outstanding>,
    /// Devices with something that was never answered and that the unit waits for no more.
    late: BTreeSet<DeviceId>,
    /// Answers that were given at once. They are inputs of their own.
    done: VecDeque<(DeviceId, InvalidationId)>,
    /// The invalidations before this one have been told.
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    device: DeviceId,
    id: InvalidationId,
    since: Instant,
    expired: bool,
}

/// What an answer of a device is in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerLine {
    /// A `device-tlb-done` line.
    Done,
    /// Nothing comes of it.
    Nothing,
    /// It is to something that the device was never told, which no line can say now.
    Unsaid,
}

impl DeviceTlbs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device has a device TLB.
    pub(super) fn enter(&self, device: DeviceId) {
        self.state().devices.insert(device);
    }

    pub(super) fn contains(&self, device: DeviceId) -> bool {
        self.state().devices.contains(&device)
    }

    /// A device is gone. Whether it had a device TLB.
    pub(super) fn remove(&self, device: DeviceId) -> bool {
        let mut state = self.state();
        state.outstanding.retain(|one| one.device != device);
        state.done.retain(|(owner, _)| *owner != device);
        state.late.remove(&device);
        state.devices.remove(&device)
    }

    /// Whether this invalidation was not told before: after a change of endpoints it is told again.
    pub(super) fn is_new(&self, id: InvalidationId) -> bool {
        let mut state = self.state();
        let is_new = id.0 >= state.next;
        state.next = state.next.max(id.0.saturating_add(1));
        is_new
    }

    fn told(&self, device: DeviceId, id: InvalidationId) {
        let mut state = self.state();
        if !state.outstanding.iter().any(|one| one.id == id) {
            let since = Instant::now();
            state.outstanding.push_back(Outstanding { device, id, since, expired: false });
        }
    }

    fn done_at_once(&self, device: DeviceId, id: InvalidationId) {
        self.state().done.push_back((device, id));
    }

    /// The next answer that was given at once.
    pub(super) fn take_done(&self) -> Option<(DeviceId, InvalidationId)> {
        self.state().done.pop_front()
    }

    /// A device answers.
    pub(super) fn answer(&self, device: DeviceId, id: InvalidationId) -> AnswerLine {
        let mut state = self.state();
        let found = state.outstanding.iter().position(|one| one.id == id);
        match found.and_then(|place| Some((place, state.outstanding.get(place)?.device))) {
            Some((place, owner)) if owner == device => {
                state.outstanding.remove(place);
                return AnswerLine::Done;
            }
            None if id.0 < state.next => return AnswerLine::Nothing,
            _ => {}
        }
        let of_device = state.outstanding.iter().any(|one| one.device == device);
        if !state.devices.contains(&device) || of_device || state.late.contains(&device) {
            return AnswerLine::Unsaid;
        }
        AnswerLine::Done
    }

    /// The time of a device's oldest invalidation is up.
    pub(super) fn expire(&self, device: DeviceId) {
        let mut state = self.state();
        let oldest = |one: &&mut Outstanding| one.device == device && !one.expired;
        if let Some(one) = state.outstanding.iter_mut().find(oldest) {
            one.expired = true;
        }
    }

    /// The devices whose time is up, one for each invalidation.
    pub(super) fn take_overdue(&self, patience: Duration) -> Vec<DeviceId> {
        let mut state = self.state();
        let overdue = |one: &&mut Outstanding| !one.expired && one.since.elapsed() > patience;
        let overdue = state.outstanding.iter_mut().filter(overdue);
        overdue
            .map(|one| {
                one.expired = true;
                one.device
            })
            .collect()
    }

    /// The unit waits for this one no more.
    pub(super) fn give_up(&self, id: InvalidationId) {
        let mut state = self.state();
        let State { outstanding, late, .. } = &mut *state;
        late.extend(outstanding.iter().filter(|one| one.id == id).map(|one| one.device));
        outstanding.retain(|one| one.id != id);
    }

    /// The unit waits for none any more.
    pub(super) fn give_up_all(&self) {
        let mut state = self.state();
        let State { outstanding, late, done, .. } = &mut *state;
        late.extend(outstanding.drain(..).map(|one| one.device));
        done.clear();
    }
}

/// An endpoint of the VMM that is recorded.
pub(super) struct RecordedEndpoint {
    endpoint: Arc<dyn Endpoint>,
    device: DeviceId,
    device_tlbs: Arc<DeviceTlbs>,
}

impl RecordedEndpoint {
    pub(super) fn new(
        endpoint: Arc<dyn Endpoint>,
        device: DeviceId,
        device_tlbs: Arc<DeviceTlbs>,
    ) -> Self {
        Self { endpoint, device, device_tlbs }
    }
}

impl Endpoint for RecordedEndpoint {
    /// Whether a device answers at once is not known before it does, so for the unit and a replay none does.
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        self.device_tlbs.told(self.device, invalidation.id);
        match self.endpoint.invalidate_device_tlb(invalidation) {
            DeviceTlbAnswer::Done => self.device_tlbs.done_at_once(self.device, invalidation.id),
            DeviceTlbAnswer::Later => {}
        }
        DeviceTlbAnswer::Later
    }

    fn page_group_response(&self, response: &PageGroupResponse) {
        self.endpoint.page_group_response(response);
    }
}
