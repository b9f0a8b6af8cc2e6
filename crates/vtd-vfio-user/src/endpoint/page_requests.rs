//! Page requests that wait for their responses.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vtd::spec::descriptor::{PageGroupResponse, ResponseCode};

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a request that waits looks whether it has been stopped.
const GLANCE: Duration = Duration::from_millis(50);
/// PRGI has 9 bits.
const GROUPS: u16 = 1 << 9;

/// The groups under way, by PRGI.
#[derive(Debug, Default)]
pub(super) struct PageGroups {
    groups: Mutex<Groups>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Groups {
    next: u16,
    open: BTreeMap<u16, Option<ResponseCode>>,
}

impl PageGroups {
    /// Opens a group: its index. `None` while as many are open as there are indices.
    pub(super) fn open(&self) -> Option<u16> {
        let mut groups = self.lock();
        // One after the other, so that a late response does not meet another request soon.
        let free = (0..GROUPS)
            .map(|ahead| (groups.next + ahead) % GROUPS)
            .find(|index| !groups.open.contains_key(index))?;
        groups.next = (free + 1) % GROUPS;
        groups.open.insert(free, None);
        Some(free)
    }

    /// Enters a response. `false` if nobody waits for it.
    pub(super) fn answer(&self, response: &PageGroupResponse) -> bool {
        let mut groups = self.lock();
        let Some(answer) = groups.open.get_mut(&response.group_index) else { return false };
        *answer = Some(response.code);
        self.answered.notify_all();
        true
    }

    /// Waits for the response of a group and closes it. `None` if there is none in time, or `stopped` says so first.
    pub(super) fn wait(&self, index: u16, stopped: impl Fn() -> bool) -> Option<ResponseCode> {
        let deadline = Instant::now() + PATIENCE;
        let mut groups = self.lock();
        loop {
            if let Some(Some(code)) = groups.open.get(&index).copied() {
                groups.open.remove(&index);
                return Some(code);
            }
            if stopped() || Instant::now() >= deadline {
                groups.open.remove(&index);
                return None;
            }
            let waited = self.answered.wait_timeout(groups, GLANCE);
            groups = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes a group that was not sent.
    pub(super) fn close(&self, index: u16) {
        self.lock().open.remove(&index);
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
