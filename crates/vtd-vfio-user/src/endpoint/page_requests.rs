//! Page requests that wait for their responses.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vtd::spec::descriptor::{PageGroupResponse, ResponseCode};

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);
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

    /// Waits for the response of a group and closes it. `None` if there is none in time, or the groups are given up.
    ///
    /// A job that is stopped waits all the same: a driver that has stopped its device relies on it that no page request of it is under way.
    pub(super) fn wait(&self, index: u16) -> Option<ResponseCode> {
        let deadline = Instant::now() + PATIENCE;
        let mut groups = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match groups.open.get(&index).copied() {
                Some(None) if !left.is_zero() => {}
                answered => {
                    groups.open.remove(&index);
                    return answered.flatten();
                }
            }
            let waited = self.answered.wait_timeout(groups, left);
            groups = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives up all groups: nobody waits for a response any more.
    pub(super) fn give_up(&self) {
        self.lock().open.clear();
        self.answered.notify_all();
    }

    /// Closes a group that was not sent.
    pub(super) fn close(&self, index: u16) {
        self.lock().open.remove(&index);
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
