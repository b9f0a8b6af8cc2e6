//! Page group responses on their way to devices and hosts.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use vtd_spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd_spec::{Pasid, SourceId};

use crate::DeviceId;
use crate::sync::{AtomicBool, Mutex};

/// How many responses wait at most: of the guest's one, all others are the unit's own.
const CAPACITY: usize = 1024;

/// The responses of a unit, for any of its threads.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    pending: Mutex<PendingResponses>,
    /// There are some. Changed under the lock.
    any: AtomicBool,
}

impl Responses {
    /// Whether there are none, which takes no lock to see.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Looks at them, or changes them.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut PendingResponses) -> R) -> R {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut pending);
        self.any.store(!pending.waiting.is_empty(), Ordering::Release);
        changed
    }
}

/// Responses that are to be delivered, in order.
#[derive(Debug, Default)]
pub(crate) struct PendingResponses {
    waiting: VecDeque<(DeviceId, PageGroupResponse)>,
}

impl PendingResponses {
    /// Whether no further request may be refused that would need a response.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= CAPACITY
    }

    pub(crate) fn push(&mut self, device: DeviceId, response: PageGroupResponse) {
        self.waiting.push_back((device, response));
    }

    /// The devices that responses are for, in order.
    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.waiting.iter().map(|(device, _)| *device)
    }

    /// Takes the first response for a device.
    pub(crate) fn take(&mut self, device: DeviceId) -> Option<PageGroupResponse> {
        let place = self.waiting.iter().position(|(waiting, _)| *waiting == device)?;
        self.waiting.remove(place).map(|(_, response)| response)
    }

    /// Drops the responses for devices that are not to be kept; how many.
    pub(crate) fn retain(&mut self, keep: impl Fn(DeviceId) -> bool) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|(device, _)| keep(*device));
        before - self.waiting.len()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn save(&self) -> Vec<SavedResponse> {
        self.waiting.iter().map(SavedResponse::from).collect()
    }

    pub(crate) fn restore(&mut self, saved: &[SavedResponse]) {
        self.waiting = saved.iter().map(SavedResponse::entry).collect();
    }
}

/// A page group response in raw integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedResponse {
    /// The handle of the device.
    pub(crate) device: u32,
    source_id: u16,
    pasid: Option<u32>,
    /// 0, 1 or f.
    code: u8,
    last_in_group: bool,
    group_index: u16,
}

impl From<&(DeviceId, PageGroupResponse)> for SavedResponse {
    fn from((device, response): &(DeviceId, PageGroupResponse)) -> Self {
        Self {
            device: device.0,
            source_id: response.source_id.0,
            pasid: response.pasid.map(Pasid::get),
            code: match response.code {
                ResponseCode::Success => 0,
                ResponseCode::Invalid => 1,
                ResponseCode::Failure => 0xf,
            },
            last_in_group: response.last_in_group,
            group_index: response.group_index,
        }
    }
}

impl SavedResponse {
    fn entry(&self) -> (DeviceId, PageGroupResponse) {
        let response = PageGroupResponse {
            source_id: SourceId(self.source_id),
            pasid: self.pasid.map(|pasid| Pasid::from_low_bits(pasid.into())),
            code: match self.code {
                0 => ResponseCode::Success,
                1 => ResponseCode::Invalid,
                _ => ResponseCode::Failure,
            },
            last_in_group: self.last_in_group,
            group_index: self.group_index,
        };
        (DeviceId(self.device), response)
    }
}
