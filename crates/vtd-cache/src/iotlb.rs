//! The IOTLB: translations of emulated devices, found without a lock.
//!
//! # Why a reader sees whole entries
//! One thread at a time writes: whoever has [`Caches`](crate::Caches) to itself. It makes the version of a set odd, changes entries, and
//! makes it even again, with a release fence after the first and a release store as the last. A reader loads the version
//! (acquire), the entry, and behind an acquire fence the version again. If both are the same even number, then no change was under way: had
//! one of the loads seen a value of a later change, the fences would have made the second load see the odd version of that
//! change, or a later one. Versions have 64 bits and do not come around. A reader that finds a change under way has found nothing, and
//! goes on to where the lock is.
//!
//! # Which entry gives way
//! Sets have 16 ways, each with a two-bit distance to its next use, as it is guessed. A hit makes it 0. Of a full set an entry at 3
//! goes; if there is none all are moved up until one is. A new entry starts at 3, one in eight at 2. So a working set of twice the capacity, used
//! in turn, does not drive itself out: most of what is resident stays, and is hit once a turn; and what is no longer used
//! ages by the entries that start at 2, or that are hit before they go.

use alloc::boxed::Box;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use vtd_spec::Iova;
use vtd_spec::planted::is_planted;
use vtd_spec::table::PageSize;
use vtd_walk::Access;

use crate::sync::{AtomicU64, fence};
use crate::translation::{PackedTranslation, SIZES, Tag, Translation, size_code};

const WAYS: usize = 16;

/// The version and the distances, 16 keys, 16 tags, 16 packed translations. A tag of 0 is of no entry.
type Set = [[AtomicU64; WAYS]; 4];

/// The distance that an entry begins with, and that of one in so many.
const FAR: u64 = 3;
const LESS_FAR: u64 = 2;
const ONE_IN: u64 = 8;

/// Bit 0 of each of the 16 distances.
const EACH: u64 = 0x5555_5555;

/// Translations of bounded number, found by tag and address.
#[derive(Debug)]
pub(crate) struct Iotlb {
    sets: Box<[Set]>,
    /// Which sizes of pages have been entered, by code.
    sizes: AtomicU64,
    /// How many have taken the place of others.
    replaced: AtomicU64,
}

impl Iotlb {
    /// A cache of at least `capacity` translations: 16 times a power of two, or none at all where that is 0.
    pub(crate) fn new(capacity: usize) -> Self {
        let sets = match capacity {
            0 => 0,
            _ => capacity.div_ceil(WAYS).checked_next_power_of_two().unwrap_or(1 << 30),
        };
        Self { sets: empty(sets), sizes: AtomicU64::new(0), replaced: AtomicU64::new(0) }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// The translation of an address, whatever it serves.
    pub(crate) fn get(&self, tag: Tag, iova: Iova, access: Access) -> Option<Translation> {
        let sizes = self.sizes.load(Relaxed);
        SIZES.into_iter().filter(|size| sizes >> size_code(*size) & 1 == 1).find_map(|size| {
            let key = Key::new(iova.0 >> size.shift(), size);
            self.find(tag, key, key.of(access)).map(PackedTranslation::unpack)
        })
    }

    fn set(&self, tag: Tag, key: Key) -> Option<&Set> {
        // Multiplication by an odd constant spreads neighbours over the upper bits; a second one, with those folded down, keeps
        // tags and pages from following each other into the same sets.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let once = (key.0 ^ tag.0 << 40).wrapping_mul(ODD);
        let mixed = (once ^ once >> 32).wrapping_mul(ODD);
        let mask = self.sets.len().wrapping_sub(1);
        self.sets.get(usize::try_from(mixed >> 32).unwrap_or(0) & mask)
    }

    fn find(&self, tag: Tag, key: Key, full: u64) -> Option<PackedTranslation> {
        let [head, keys, tags, packed] = self.set(tag, key)?;
        let [version, distances, ..] = head;
        let before = version.load(Acquire);
        let found = |(key, tag_of): (&AtomicU64, &AtomicU64)| {
            key.load(Relaxed) == full && tag_of.load(Relaxed) == tag.0
        };
        let way = keys.iter().zip(tags).position(found)?;
        let found = packed.get(way)?.load(Relaxed);
        fence(Acquire);
        if before & 1 == 1 || version.load(Relaxed) != before {
            return None;
        }
        // Another thread's hit in between may be forgotten: a guess for a guess.
        let guessed = distances.load(Relaxed);
        let own = 3 << (2 * way);
        if guessed & own != 0 {
            distances.store(guessed & !own, Relaxed);
        }
        Some(PackedTranslation(found))
    }

    /// Enters a translation. Only for who has the caches to itself.
    pub(crate) fn insert(&self, tag: Tag, iova: Iova, access: Access, translation: &Translation) {
        let key = Key::new(iova.0 >> translation.size.shift(), translation.size);
        let full = key.of(access);
        let Some([head, keys, tags, packed]) = self.set(tag, key) else { return };
        let [version, distances, ..] = head;
        let is_same = |(key, tag_of): (&AtomicU64, &AtomicU64)| {
            tag_of.load(Relaxed) == tag.0 && key.load(Relaxed) == full
        };
        let way = keys.iter().zip(tags).position(is_same);
        let way = way.or_else(|| tags.iter().position(|tag| tag.load(Relaxed) == 0));
        let (way, distance) = match way {
            Some(way) => (way, LESS_FAR),
            None => self.victim(distances),
        };
        let (Some(key), Some(tag_of), Some(packed)) =
            (keys.get(way), tags.get(way), packed.get(way))
        else {
            return;
        };
        let before = version.load(Relaxed);
        version.store(before.wrapping_add(1), Relaxed);
        fence(Release);
        key.store(full, Relaxed);
        tag_of.store(tag.0, Relaxed);
        packed.store(PackedTranslation::new(translation).0, Relaxed);
        version.store(before.wrapping_add(2), Release);
        let others = distances.load(Relaxed) & !(3 << (2 * way));
        distances.store(others | distance << (2 * way), Relaxed);
        let sizes = self.sizes.load(Relaxed) | 1 << size_code(translation.size);
        self.sizes.store(sizes, Relaxed);
    }

    /// Which way of a full set gives way, and where the new entry begins.
    fn victim(&self, distances: &AtomicU64) -> (usize, u64) {
        let mut guessed = distances.load(Relaxed);
        while guessed & guessed >> 1 & EACH == 0 {
            guessed += EACH;
        }
        distances.store(guessed, Relaxed);
        let way = (guessed & guessed >> 1 & EACH).trailing_zeros() / 2;
        let replaced = self.replaced.load(Relaxed).wrapping_add(1);
        self.replaced.store(replaced, Relaxed);
        (way as usize, if replaced.is_multiple_of(ONE_IN) { LESS_FAR } else { FAR })
    }

    /// Drops the translations of these tags that overlap the 4 KiB pages `first` to `last`; whether that would be more work than
    /// is sensible, when nothing has been done and the tags have to go. Only for who has the caches to itself.
    ///
    /// The work is bounded by a part of the capacity: a guest chooses the tags and the range.
    pub(crate) fn remove_pages(&self, tags: &[Tag], first: u64, last: u64) -> bool {
        let looked_up = (last - first).saturating_add(1).saturating_mul(tags.len() as u64);
        if looked_up > (self.capacity() / WAYS) as u64 {
            return false;
        }
        let sizes = self.sizes.load(Relaxed);
        for size in SIZES.into_iter().filter(|size| sizes >> size_code(*size) & 1 == 1) {
            // Planted (58): an invalidation by page leaves large pages.
            if is_planted(58) && size != PageSize::Size4K {
                continue;
            }
            let shift = size.shift() - 12;
            for tag in tags {
                for page in first >> shift..=last >> shift {
                    self.remove(*tag, Key::new(page, size));
                }
            }
        }
        true
    }

    /// Drops a page, for accesses of every kind.
    fn remove(&self, tag: Tag, key: Key) {
        let Some([[version, ..], keys, tags, _]) = self.set(tag, key) else { return };
        for (key_of, tag_of) in keys.iter().zip(tags) {
            if tag_of.load(Relaxed) == tag.0 && key_of.load(Relaxed) & !KINDS == key.0 {
                let before = version.load(Relaxed);
                version.store(before.wrapping_add(1), Relaxed);
                fence(Release);
                tag_of.store(0, Relaxed);
                version.store(before.wrapping_add(2), Release);
            }
        }
    }
}

/// The page's number in bits 63:4, the code of its size in bits 3:2. Execute requests and privileged ones are granted differently, so they do not
/// share entries: bits 1:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u64);

impl Key {
    const fn new(page: u64, size: PageSize) -> Self {
        Self(page << 4 | size_code(size) << 2)
    }

    fn of(self, access: Access) -> u64 {
        self.0 | kind(access)
    }
}

/// What tells entries of one page apart.
pub(crate) const KINDS: u64 = PRIVILEGED | EXECUTE;
pub(crate) const PRIVILEGED: u64 = 1 << 1;
const EXECUTE: u64 = 1;

#[inline]
pub(crate) const fn kind(access: Access) -> u64 {
    let privileged = if access.privileged { PRIVILEGED } else { 0 };
    if access.execute { privileged | EXECUTE } else { privileged }
}

/// Sets that take no memory until they are used.
#[cfg(not(loom))]
fn empty(sets: usize) -> Box<[Set]> {
    bytemuck::zeroed_slice_box(sets)
}

#[cfg(loom)]
fn empty(sets: usize) -> Box<[Set]> {
    let row = || core::array::from_fn(|_| AtomicU64::new(0));
    (0..sets).map(|_| core::array::from_fn(|_| row())).collect()
}
