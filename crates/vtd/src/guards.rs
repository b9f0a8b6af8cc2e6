//! Which guards are open: what a completion has to wait for.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vtd_spec::planted::is_planted;

use crate::DeviceId;
use crate::sync::{AtomicBool, Mutex, MutexGuard};

/// A point in the order of guards: those opened before it may hold what was dropped before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    next: u64,
    since: Instant,
}

/// The open guards of a unit.
///
/// A guard is entered before it looks into a cache or a table, and an invalidation takes its [`Barrier`] after it has dropped
/// what it drops. Both take the same lock, so a guard opened after the barrier sees the caches as they are after the drop,
/// and one opened before it is waited for.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    open: Mutex<Open>,
    /// Something waits for guards: dropping one is worth a wake.
    awaited: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    guards: BTreeMap<u64, OpenGuard>,
}

#[derive(Debug)]
struct OpenGuard {
    /// None for an interrupt request, which may come from anywhere.
    device: Option<DeviceId>,
    named: bool,
}

impl Guards {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a guard of a device.
    pub(crate) fn enter(&self, device: DeviceId) -> u64 {
        self.open(Some(device))
    }

    /// Opens a guard of an interrupt request.
    pub(crate) fn enter_interrupt(&self) -> u64 {
        self.open(None)
    }

    fn open(&self, device: Option<DeviceId>) -> u64 {
        let mut open = self.lock();
        let id = open.next;
        open.next += 1;
        open.guards.insert(id, OpenGuard { device, named: false });
        id
    }

    /// Closes a guard; whether something waits for guards.
    pub(crate) fn leave(&self, id: u64) -> bool {
        // Planted: asked before the guard is gone.
        let before = is_planted(1001).then(|| self.awaited.load(Ordering::SeqCst));
        self.lock().guards.remove(&id);
        before.unwrap_or_else(|| self.awaited.load(Ordering::SeqCst))
    }

    /// The point after everything that is open now.
    pub(crate) fn barrier(&self) -> Barrier {
        Barrier { next: self.lock().next, since: Instant::now() }
    }

    /// Whether every guard before the barrier is closed. Where not, closing one tells so.
    pub(crate) fn passed(&self, barrier: Barrier) -> bool {
        self.await_unless(|open| {
            open.guards.first_key_value().is_none_or(|(id, _)| *id >= barrier.next)
        })
    }

    /// As [`passed`](Self::passed), for guards of one device alone.
    pub(crate) fn passed_by(&self, barrier: Barrier, device: DeviceId) -> bool {
        let device = Some(device);
        self.await_unless(|open| {
            !open.guards.range(..barrier.next).any(|(_, guard)| guard.device == device)
        })
    }

    /// Looks at the open guards; they are waited for where that says no. One thread at a time looks: the one that has the engine.
    fn await_unless(&self, passed: impl Fn(&Open) -> bool) -> bool {
        // Planted: set after it.
        let early = is_planted(1002).then(|| passed(&self.lock()));
        // Set before the look, so that a guard closed after it sees the wish.
        let before = self.awaited.swap(true, Ordering::SeqCst);
        let passed = early.unwrap_or_else(|| passed(&self.lock()));
        if passed {
            self.awaited.store(before, Ordering::SeqCst);
        }
        passed
    }

    /// Nothing waits any more, until a look says otherwise.
    pub(crate) fn stop_waiting(&self) {
        self.awaited.store(false, Ordering::SeqCst);
    }

    /// Devices whose guards have stood before the barrier for longer than `patience`, each guard named once; of one device
    /// alone, where only its guards count.
    pub(crate) fn name_overdue(
        &self,
        barrier: Barrier,
        device: Option<DeviceId>,
        patience: Duration,
    ) -> Vec<DeviceId> {
        if barrier.since.elapsed() <= patience {
            return Vec::new();
        }
        let mut open = self.lock();
        open.guards
            .range_mut(..barrier.next)
            .map(|(_, guard)| guard)
            .filter(|guard| !guard.named)
            .filter(|guard| device.is_none_or(|device| guard.device == Some(device)))
            .filter_map(|guard| {
                guard.named = true;
                guard.device
            })
            .collect()
    }
}
