//! The IOTLB: translations of emulated devices.

use vtd_spec::planted::is_planted;
use vtd_spec::table::PageSize;
use vtd_spec::{Gpa, Iova};
use vtd_walk::{Access, Granted, Translated};

use crate::set_cache::{Place, SetCache};

/// What binds translations to the cached entry that they were made through. An entry that is dropped takes its tag with it,
/// and no later entry gets the same one, so its translations are never found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        }
    }
}

impl From<Translated> for Translation {
    fn from(walked: Translated) -> Self {
        Self { page: walked.page, size: walked.size, granted: walked.granted, dirty: walked.dirty }
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

    /// Drops the translations of a tag that overlap the 4 KiB pages `first` to `last`.
    ///
    /// The work is bounded by the lesser of the range and the capacity.
    pub(crate) fn remove_pages(&mut self, tag: Tag, first: u64, last: u64) {
        for size in SIZES {
            let shift = size.shift() - 12;
            let (first, last) = (first >> shift, last >> shift);
            if last - first < (self.cache.capacity() / 16) as u64 {
                for page in first..=last {
                    for (privileged, execute) in
                        [(false, false), (true, false), (false, true), (true, true)]
                    {
                        self.cache.remove(&Key { tag, page, size, privileged, execute });
                    }
                }
            } else {
                self.cache.retain(|key, _| {
                    key.tag != tag || key.size != size || key.page < first || key.page > last
                });
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
