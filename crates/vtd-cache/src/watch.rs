//! What tells one handle, without a lock, that what it goes through has been dropped.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use vtd_spec::Pasid;

use crate::DeviceKey;
use crate::domain_epochs::advance;
use crate::sync::{AtomicU32, AtomicU64};

/// No PASID-table entry.
const NONE: u32 = u32::MAX;

/// What the caches and one handle share: in cache lines of their own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Watch {
    pub(crate) device: DeviceKey,
    /// Advances whenever what the handle has resolved is no longer good.
    stale: AtomicU64,
    /// The PASID-table entry that it has resolved, if any. Read and written by who has the caches to itself.
    resolved: AtomicU32,
    /// Counted by the handle alone, read by anybody.
    hits: AtomicU64,
}

impl Watch {
    /// What is read after this sees what was dropped before the counter was advanced to what this returns.
    #[inline]
    pub(crate) fn stale(&self) -> u64 {
        self.stale.load(Acquire)
    }

    #[inline]
    pub(crate) fn count_hit(&self) {
        self.hits.store(self.hits.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(crate) fn resolve(&self, pasid: Option<Pasid>) {
        self.resolved.store(pasid.map_or(NONE, Pasid::get), Release);
    }
}

/// The watches of all handles, by device. Changed by who has the caches to itself, always after what is told of has been dropped.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watches: BTreeMap<DeviceKey, Vec<Arc<Watch>>>,
    /// Hits of handles that are no more.
    hits: u64,
}

impl Watches {
    pub(crate) fn add(&mut self, device: DeviceKey) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            device,
            stale: AtomicU64::new(0),
            resolved: AtomicU32::new(NONE),
            hits: AtomicU64::new(0),
        });
        self.watches.entry(device).or_default().push(Arc::clone(&watch));
        watch
    }

    pub(crate) fn remove(&mut self, watch: &Arc<Watch>) {
        let Some(watches) = self.watches.get_mut(&watch.device) else { return };
        watches.retain(|other| !Arc::ptr_eq(other, watch));
        if watches.is_empty() {
            self.watches.remove(&watch.device);
        }
        self.hits += watch.hits.load(Relaxed);
    }

    pub(crate) fn hits(&self) -> u64 {
        let now = self.watches.values().flatten().map(|watch| watch.hits.load(Relaxed));
        self.hits + now.sum::<u64>()
    }

    pub(crate) fn tell_all(&self) {
        self.watches.values().flatten().for_each(|watch| advance(&watch.stale));
    }

    pub(crate) fn tell_device(&self, device: DeviceKey) {
        self.watches.get(&device).into_iter().flatten().for_each(|watch| advance(&watch.stale));
    }

    /// Tells the handles of a device that go through the entry of a PASID.
    pub(crate) fn tell_pasid(&self, device: DeviceKey, pasid: Pasid) {
        for watch in self.watches.get(&device).into_iter().flatten() {
            if watch.resolved.load(Acquire) == pasid.get() {
                advance(&watch.stale);
            }
        }
    }
}
