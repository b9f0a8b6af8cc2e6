//! The IOTLB: translations of emulated devices.

use vtd_spec::planted::is_planted;
use vtd_spec::table::PageSize;
use vtd_spec::{Gpa, Iova};
use vtd_walk::{Access, Granted, Translated};

use crate::set_cache::{Place, SetCache};

/// What binds translations to the cached entry that they were made through. An entry that is dropped takes its tag with it,
/// and no later entry gets the same one, so its translations are never found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub(crate) u64);

/// A cached translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The first byte of the page in guest memory.
    pub page: Gpa,
    /// Its size.
    pub size: PageSize,
    /// What the path granted.
    pub granted: Granted,
    /// Writes need no walk: the dirty bit is set, or there is none to set.
    pub dirty: bool,
    /// The tables have accesses to the page snoop processor caches.
    pub snoop: bool,
}

impl Translation {
    /// Whether this serves an access without another walk.
    #[must_use]
    pub fn serves(&self, access: Access) -> bool {
        // Planted (row 5): a write hits what a read has filled.
        self.granted.allows(access) && (self.dirty || !access.write || is_planted(5))
    }

    /// The answer for an address within the page.
    #[must_use]
    pub fn at(&self, iova: Iova) -> Translated {
        Translated {
            page: self.page,
            size: self.size,
            address: Gpa(self.page.0 | iova.0 & (self.size.bytes() - 1)),
            granted: self.granted,
            dirty: self.dirty,
            snoop: self.snoop,
        }
    }
}

impl From<Translated> for Translation {
    fn from(walked: Translated) -> Self {
        let Translated { page, size, granted, dirty, snoop, .. } = walked;
        Self { page, size, granted, dirty, snoop }
    }
}

/// Execute requests and privileged ones are granted differently, so they do not share entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    tag: Tag,
    page: u64,
    size: PageSize,
    privileged: bool,
    execute: bool,
}

impl Place for Key {
    fn place(&self) -> u64 {
        self.page ^ self.tag.0 << 40 ^ u64::from(self.size.shift()) << 56
    }
}

const SIZES: [PageSize; 3] = [PageSize::Size4K, PageSize::Size2M, PageSize::Size1G];

/// Translations of bounded number, found by tag and address.
#[derive(Clone, Debug)]
pub(crate) struct Iotlb {
    cache: SetCache<Key, Translation>,
}

impl Iotlb {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { cache: SetCache::new(capacity) }
    }

    pub(crate) fn get(&self, tag: Tag, iova: Iova, access: Access) -> Option<Translation> {
        SIZES.iter().find_map(|size| self.cache.get(&key(tag, iova, *size, access)).copied())
    }

    pub(crate) fn insert(
        &mut self,
        tag: Tag,
        iova: Iova,
        access: Access,
        translation: Translation,
    ) {
        self.cache.insert(key(tag, iova, translation.size, access), translation);
    }

    /// Drops the translations of these tags, which are in order, that overlap the 4 KiB pages `first` to `last`.
    ///
    /// The work is bounded by the lesser of the tags times the range and the capacity: a guest chooses all three.
    pub(crate) fn remove_pages(&mut self, tags: &[Tag], first: u64, last: u64) {
        let pages = |size: PageSize| {
            let shift = size.shift() - 12;
            (first >> shift, last >> shift)
        };
        let looked_up = (last - first).saturating_add(1).saturating_mul(tags.len() as u64);
        if looked_up > (self.cache.capacity() / 16) as u64 {
            self.cache.retain(|key, _| {
                let (first, last) = pages(key.size);
                !(first..=last).contains(&key.page) || tags.binary_search(&key.tag).is_err()
            });
            return;
        }
        for size in SIZES {
            // Planted (58): an invalidation by page leaves large pages.
            if is_planted(58) && size != PageSize::Size4K {
                continue;
            }
            let (first, last) = pages(size);
            for (tag, page) in tags.iter().flat_map(|tag| (first..=last).map(|page| (*tag, page))) {
                for (privileged, execute) in
                    [(false, false), (true, false), (false, true), (true, true)]
                {
                    self.cache.remove(&Key { tag, page, size, privileged, execute });
                }
            }
        }
    }
}

fn key(tag: Tag, iova: Iova, size: PageSize, access: Access) -> Key {
    Key {
        tag,
        page: iova.0 >> size.shift(),
        size,
        privileged: access.privileged,
        execute: access.execute,
    }
}
