//! Which guards are open: what a completion has to wait for.
//!
//! # Why a completion misses no guard
//! A guard says that it is open (a store), passes a [fence](crate::fences), and looks into caches and tables. Who invalidates drops
//! what it drops, takes a [`Barrier`], passes the other side of that fence, and looks for guards opened before the barrier. So either it sees
//! the guard, and waits for it, or the guard came to the fence later, and finds nothing of what was dropped. A guard that takes the number of
//! its opening from the clock behind the barrier (an acquire load of what the barrier has stored, release) sees the drop as well,
//! and is rightly passed over.
//!
//! Closing is a release store, and who looks for guards loads it (acquire): what was done inside the guard comes before the
//! completion. And as a closing guard looks whether it is awaited, behind its store and a fence, and who waits says so before its fence and
//! its look: either the look finds the guard closed, or the guard finds that it is awaited and wakes.
//!
//! The first open guard of a handle has the handle's [`GuardSlot`] for this, which no other thread writes. Further ones,
//! and interrupt requests, are in a list under a lock.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use vtd_spec::planted::is_planted;

use crate::DeviceId;
use crate::fences::Fences;
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard};

/// A point in the order of guards: those opened before it may hold what was dropped before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    time: u64,
    since: Instant,
}

/// Where a handle says that its guard is open, in a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct GuardSlot {
    device: DeviceId,
    /// The time of the opening; 0 where none is open.
    open: AtomicU64,
    /// The time of the opening that has been named as overdue. A later guard has another: a barrier has come between.
    named: AtomicU64,
}

/// The open guards of a unit.
#[derive(Debug)]
pub(crate) struct Guards {
    fences: Fences,
    /// Advances with every barrier. Never 0.
    clock: AtomicU64,
    open: Mutex<Open>,
    /// Something waits for guards: closing one is worth a wake.
    awaited: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    slots: Vec<Arc<GuardSlot>>,
    next: u64,
    guards: BTreeMap<u64, OpenGuard>,
}

#[derive(Debug)]
struct OpenGuard {
    time: u64,
    /// None for an interrupt request, which may come from anywhere.
    device: Option<DeviceId>,
    /// Its device has been named as one that holds a guard too long.
    named: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            fences: Fences::new(),
            clock: AtomicU64::new(1),
            open: Mutex::default(),
            awaited: AtomicBool::new(false),
        }
    }
}

impl Guards {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a new handle.
    pub(crate) fn add_slot(&self, device: DeviceId) -> Arc<GuardSlot> {
        let [open, named] = [AtomicU64::new(0), AtomicU64::new(0)];
        let slot = Arc::new(GuardSlot { device, open, named });
        self.lock().slots.push(Arc::clone(&slot));
        slot
    }

    /// A handle is no more, and its guards are closed.
    pub(crate) fn remove_slot(&self, slot: &Arc<GuardSlot>) {
        self.lock().slots.retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// Opens the guard of a slot; whether none was open.
    #[inline]
    pub(crate) fn enter_slot(&self, slot: &GuardSlot) -> bool {
        if slot.open.load(Ordering::Relaxed) != 0 {
            return false;
        }
        slot.open.store(self.clock.load(Ordering::Acquire), Ordering::Relaxed);
        self.fences.light();
        true
    }

    /// Closes the guard of a slot; whether something waits for guards.
    #[inline]
    pub(crate) fn leave_slot(&self, slot: &GuardSlot) -> bool {
        // Planted: asked before the guard is gone.
        let before = is_planted(1001).then(|| self.awaited.load(Ordering::SeqCst));
        slot.open.store(0, Ordering::Release);
        self.fences.light();
        before.unwrap_or_else(|| self.awaited.load(Ordering::Relaxed))
    }

    /// Opens a further guard of a device.
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
        let time = self.clock.load(Ordering::Acquire);
        open.guards.insert(id, OpenGuard { time, device, named: false });
        id
    }

    /// Closes a guard that has no slot; whether something waits for guards.
    pub(crate) fn leave(&self, id: u64) -> bool {
        // Planted: asked before the guard is gone.
        let before = is_planted(1001).then(|| self.awaited.load(Ordering::SeqCst));
        self.lock().guards.remove(&id);
        before.unwrap_or_else(|| self.awaited.load(Ordering::SeqCst))
    }

    /// The point after everything that is open now.
    pub(crate) fn barrier(&self) -> Barrier {
        // Under the lock of those without a slot: one that is opened before this has an earlier time.
        let _open = self.lock();
        let time = self.clock.load(Ordering::Relaxed) + 1;
        self.clock.store(time, Ordering::Release);
        Barrier { time, since: Instant::now() }
    }

    /// Whether every guard before the barrier is closed. Where not, closing one tells so.
    pub(crate) fn passed(&self, barrier: Barrier) -> bool {
        self.await_unless(|open| open.before(barrier, None).next().is_none())
    }

    /// As [`passed`](Self::passed), for guards of one device alone.
    pub(crate) fn passed_by(&self, barrier: Barrier, device: DeviceId) -> bool {
        self.await_unless(|open| open.before(barrier, Some(device)).next().is_none())
    }

    /// Looks at the open guards; they are waited for where that says no. One thread at a time looks: the one that has the engine.
    fn await_unless(&self, passed: impl Fn(&Open) -> bool) -> bool {
        // Planted: set after it.
        let early = is_planted(1002).then(|| self.look(&passed));
        // Set before the look, so that a guard closed after it sees the wish.
        let before = self.awaited.swap(true, Ordering::SeqCst);
        let passed = early.unwrap_or_else(|| self.look(&passed));
        if passed {
            self.awaited.store(before, Ordering::SeqCst);
        }
        passed
    }

    fn look(&self, passed: impl Fn(&Open) -> bool) -> bool {
        let open = self.lock();
        (open.slots.is_empty() || self.fences.heavy()) && passed(&open)
    }

    /// Nothing waits any more, until a look says otherwise.
    pub(crate) fn stop_waiting(&self) {
        // Nobody else sets it, so mostly there is nothing to write.
        if self.awaited.load(Ordering::Relaxed) {
            self.awaited.store(false, Ordering::SeqCst);
        }
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
        let of_slots = open.slots_before(barrier, device).filter_map(|(slot, opening)| {
            let named = slot.named.swap(opening, Ordering::Relaxed);
            (named != opening).then_some(slot.device)
        });
        let mut overdue: Vec<_> = of_slots.collect();
        let others = open.guards.values_mut().filter(|guard| {
            guard.time < barrier.time && (device.is_none() || guard.device == device)
        });
        overdue.extend(others.filter(|guard| !guard.named).filter_map(|guard| {
            guard.named = true;
            guard.device
        }));
        overdue
    }
}

impl Open {
    /// The slots whose guard was opened before a barrier, with the opening.
    fn slots_before(
        &self,
        barrier: Barrier,
        device: Option<DeviceId>,
    ) -> impl Iterator<Item = (&GuardSlot, u64)> {
        let slots = self.slots.iter().map(|slot| (&**slot, slot.open.load(Ordering::Acquire)));
        slots.filter(move |(slot, opening)| {
            *opening != 0
                && *opening < barrier.time
                && device.is_none_or(|device| slot.device == device)
        })
    }

    /// Every guard opened before a barrier: the device, if it has one.
    fn before(
        &self,
        barrier: Barrier,
        device: Option<DeviceId>,
    ) -> impl Iterator<Item = Option<DeviceId>> {
        let others = self.guards.values().filter(move |guard| {
            guard.time < barrier.time && (device.is_none() || guard.device == device)
        });
        let slots = self.slots_before(barrier, device).map(|(slot, _)| Some(slot.device));
        slots.chain(others.map(|guard| guard.device))
    }
}
