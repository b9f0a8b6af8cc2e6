//! What tells handles, without a lock, that something of a domain has been invalidated.

use alloc::sync::Arc;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use vtd_spec::DomainId;

use crate::sync::AtomicU64;

/// How many there are: domains share them by their low bits, and then drop more than they must. A model checker has few.
const EPOCHS: usize = if cfg!(loom) { 4 } else { 256 };

/// Two counters for each domain, each pair in a cache line of its own, so that an invalidation of one domain does not slow down
/// the devices of another.
#[derive(Debug)]
pub(crate) struct DomainEpochs([Epoch; EPOCHS]);

#[derive(Debug)]
#[repr(align(64))]
struct Epoch {
    /// Advances with every invalidation that drops translations of the domain.
    pages: AtomicU64,
    /// Advances where the domain's tags are no longer good.
    tags: AtomicU64,
}

/// Where a domain's counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochPlace(usize);

impl From<DomainId> for EpochPlace {
    fn from(domain: DomainId) -> Self {
        Self(usize::from(domain.0) % EPOCHS)
    }
}

impl DomainEpochs {
    pub(crate) fn new() -> Arc<Self> {
        let epoch = |_| Epoch { pages: AtomicU64::new(0), tags: AtomicU64::new(0) };
        Arc::new(Self(core::array::from_fn(epoch)))
    }

    /// What is read after this sees what was dropped before the counter was advanced to what this returns.
    #[inline]
    pub(crate) fn pages(&self, place: EpochPlace) -> u64 {
        self.0.get(place.0 % EPOCHS).map_or(0, |epoch| epoch.pages.load(Acquire))
    }

    pub(crate) fn tags(&self, place: EpochPlace) -> u64 {
        self.0.get(place.0 % EPOCHS).map_or(0, |epoch| epoch.tags.load(Acquire))
    }

    /// Translations of a domain have been dropped. Only for who has the caches to itself, after the drop.
    pub(crate) fn drop_pages(&self, domain: DomainId) {
        if let Some(epoch) = self.0.get(EpochPlace::from(domain).0) {
            advance(&epoch.pages);
        }
    }

    /// As [`drop_pages`](Self::drop_pages), and the tags are no longer good.
    pub(crate) fn drop_tags(&self, domain: DomainId) {
        if let Some(epoch) = self.0.get(EpochPlace::from(domain).0) {
            advance(&epoch.tags);
            advance(&epoch.pages);
        }
    }
}

/// There is one writer at a time, so this needs no exchange.
pub(crate) fn advance(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Release);
}
