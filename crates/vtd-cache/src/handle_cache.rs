//! What one DMA handle has of the caches for itself: translations that it finds without a lock and without another thread's cache
//! lines, and its way to the translations of all.
//!
//! # Why what it finds is good
//! Everything in it was found after a [`Moment`] that is kept beside it. Whoever drops something from the caches does that
//! first and then advances the counters that a moment is made of (a release store). So if the counters still are what the moment
//! says (acquire loads), nothing that concerns this handle was dropped before them; and what is dropped after them waits for the guard in
//! which this looks. Translations found under a tag are good for the same reason: whatever takes a tag away
//! advances a counter of the moment that it belongs to. What was found just as it was dropped has a moment from before the drop, and is
//! never looked at again.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::{Cell, OnceCell};
use core::fmt;

use vtd_spec::table::PageSize;
use vtd_spec::{DomainId, Gpa, Iova, Pasid};
use vtd_walk::Access;

use crate::domain_epochs::{DomainEpochs, EpochPlace};
use crate::iotlb::{Iotlb, KINDS, PRIVILEGED, kind};
use crate::translation::{PackedTranslation, SIZES, Tag, Translation, needs, size_code};
use crate::watch::Watch;

/// How many translations a handle holds itself, each in the one place that its address has: 16 KiB.
const LINES: usize = if cfg!(loom) { 4 } else { 1024 };

/// Keys have the number of the moment in bits 11:4, where 0 is in no key, the code of the size in bits 3:2, and the kind of the request below.
const NUMBER: u32 = 4;
const LAST_NUMBER: u64 = 0xff;
const SIZE: u32 = 2;

/// What a handle has found once in the caches, and may use until its moment is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub(crate) moment: Moment,
    /// Where translations come from a walk, what they are found by.
    pub(crate) tag: Option<Tag>,
    /// Requests have this privilege, whatever they say.
    pub(crate) privileged: Option<bool>,
}

/// The counters at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    place: EpochPlace,
    pages: u64,
    tags: u64,
    stale: u64,
}

impl Moment {
    pub(crate) fn now(epochs: &DomainEpochs, watch: &Watch, domain: DomainId) -> Self {
        let place = EpochPlace::from(domain);
        let (pages, tags) = (epochs.pages(place), epochs.tags(place));
        Self { place, pages, tags, stale: watch.stale() }
    }
}

#[derive(Debug)]
struct Line {
    key: Cell<u64>,
    packed: Cell<u64>,
}

/// The caches as one handle sees them. For one thread at a time.
pub struct HandleCache {
    pub(crate) watch: Arc<Watch>,
    pasid: Option<Pasid>,
    epochs: Arc<DomainEpochs>,
    iotlb: Arc<Iotlb>,
    lines: OnceCell<Box<[Line; LINES]>>,
    resolution: Cell<Option<Resolution>>,
    /// Those of the resolution; no counter reaches the value that they have without one.
    pages: Cell<u64>,
    stale: Cell<u64>,
    place: Cell<EpochPlace>,
    /// Of a key: the number of the moment, the code of the size that was hit last, and the kind that every request has.
    prefix: Cell<u64>,
    shift: Cell<u8>,
    /// The bits of an address that are the page's, for that size.
    mask: Cell<u64>,
    /// What of a request's own kind counts.
    kinds: Cell<u64>,
}

impl fmt::Debug for HandleCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandleCache({:?}, {:?}, {:?})", self.watch.device, self.pasid, self.resolution)
    }
}

impl HandleCache {
    pub(crate) fn new(
        watch: Arc<Watch>,
        pasid: Option<Pasid>,
        epochs: Arc<DomainEpochs>,
        iotlb: Arc<Iotlb>,
    ) -> Self {
        Self {
            watch,
            pasid,
            epochs,
            iotlb,
            lines: OnceCell::new(),
            resolution: Cell::new(None),
            pages: Cell::new(u64::MAX),
            stale: Cell::new(u64::MAX),
            place: Cell::new(EpochPlace::from(DomainId(0))),
            prefix: Cell::new(1 << NUMBER),
            shift: Cell::new(PageSize::Size4K.shift()),
            mask: Cell::new(!0xfff),
            kinds: Cell::new(KINDS),
        }
    }

    /// The PASID of its requests.
    #[must_use]
    pub fn pasid(&self) -> Option<Pasid> {
        self.pasid
    }

    /// The handle's own translation of an address, if that serves this access, and where it leads.
    #[inline]
    #[must_use]
    pub fn get(&self, iova: Iova, access: Access) -> Option<(Gpa, PackedTranslation)> {
        if self.epochs.pages(self.place.get()) != self.pages.get()
            || self.watch.stale() != self.stale.get()
        {
            return None;
        }
        let found = self.line(iova, access, self.prefix.get());
        let found = found.or_else(|| self.get_of_other_sizes(iova, access))?;
        self.watch.count_hit();
        Some((Gpa(found.page().0 | iova.0 & !self.mask.get()), found))
    }

    #[inline]
    fn line(&self, iova: Iova, access: Access, prefix: u64) -> Option<PackedTranslation> {
        let lines = self.lines.get()?;
        let line = lines.get(place(iova.0 >> self.shift.get()))?;
        let key = iova.0 & self.mask.get() | prefix | kind(access) & self.kinds.get();
        let found = PackedTranslation(line.packed.get());
        (line.key.get() == key && found.has_all(needs(access))).then_some(found)
    }

    #[cold]
    #[inline(never)]
    fn get_of_other_sizes(&self, iova: Iova, access: Access) -> Option<PackedTranslation> {
        let before = self.shift.get();
        let sizes = SIZES.into_iter().filter(|size| size.shift() != before);
        for size in sizes {
            self.expect(size);
            if let Some(found) = self.line(iova, access, self.prefix.get()) {
                return Some(found);
            }
        }
        None
    }

    /// Looks for pages of this size first.
    fn expect(&self, size: PageSize) {
        self.prefix.set(self.prefix.get() & !(3 << SIZE) | size_code(size) << SIZE);
        self.shift.set(size.shift());
        self.mask.set(!(size.bytes() - 1));
    }

    /// Whether what it has resolved is good still. If so, and translations have been dropped, its own are.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        let Some(resolution) = self.resolution.get() else { return false };
        let Moment { place, pages, tags, stale } = resolution.moment;
        // The counter of pages first: who takes tags away advances theirs before it.
        let now = self.epochs.pages(place);
        if self.epochs.tags(place) != tags || self.watch.stale() != stale {
            self.resolution.set(None);
            return false;
        }
        if now != pages {
            self.enter(Resolution {
                moment: Moment { pages: now, ..resolution.moment },
                ..resolution
            });
        }
        true
    }

    /// Takes what the caches have resolved for it; nothing, where they could not.
    pub fn resolve(&self, resolution: Option<Resolution>) {
        match resolution {
            Some(resolution) => self.enter(resolution),
            None => self.resolution.set(None),
        }
    }

    fn enter(&self, resolution: Resolution) {
        let Moment { place, pages, stale, .. } = resolution.moment;
        self.resolution.set(Some(resolution));
        self.place.set(place);
        self.pages.set(pages);
        self.stale.set(stale);
        let (own, common) = match resolution.privileged {
            None => (KINDS, 0),
            Some(privileged) => (KINDS & !PRIVILEGED, if privileged { PRIVILEGED } else { 0 }),
        };
        self.kinds.set(own);
        self.prefix.set(self.prefix.get() & !KINDS | common);
        self.forget();
    }

    /// Nothing in the lines counts any more.
    fn forget(&self) {
        let number = self.prefix.get() >> NUMBER & LAST_NUMBER;
        let next = if number == LAST_NUMBER { 1 } else { number + 1 };
        if next == 1 {
            for line in self.lines.get().into_iter().flat_map(|lines| lines.iter()) {
                line.key.set(0);
            }
        }
        self.prefix.set(self.prefix.get() & !(LAST_NUMBER << NUMBER) | next << NUMBER);
    }

    /// The translation of all, if one is there that serves this access, without a lock. Only where it
    /// [is resolved](Self::is_resolved).
    #[must_use]
    pub fn shared(&self, iova: Iova, access: Access) -> Option<Translation> {
        let tag = self.resolution.get()?.tag?;
        let found = self.iotlb.get(tag, iova, self.effective(access));
        let found = found.filter(|found| found.serves_at(iova, access))?;
        self.watch.count_hit();
        Some(found)
    }

    fn effective(&self, access: Access) -> Access {
        match self.resolution.get().and_then(|resolution| resolution.privileged) {
            Some(true) => access.with_privilege(),
            Some(false) => access.without_privilege(),
            None => access,
        }
    }

    /// Keeps an answer that was found while it [was resolved](Self::is_resolved).
    pub fn keep(&self, iova: Iova, access: Access, found: PackedTranslation) {
        if self.resolution.get().is_none() || self.iotlb.capacity() == 0 {
            return;
        }
        let lines = self.lines.get_or_init(|| {
            let line = |_| Line { key: Cell::new(0), packed: Cell::new(0) };
            Box::new(core::array::from_fn(line))
        });
        self.expect(found.size());
        if let Some(line) = lines.get(place(iova.0 >> self.shift.get())) {
            let kind = kind(access) & self.kinds.get();
            line.key.set(iova.0 & self.mask.get() | self.prefix.get() | kind);
            line.packed.set(found.0);
        }
    }
}

/// Where the translation of a page is.
#[inline]
fn place(page: u64) -> usize {
    usize::try_from(page % LINES as u64).unwrap_or(0)
}
