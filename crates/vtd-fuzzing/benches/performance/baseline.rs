//! What ours is compared with.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

/// **table**: a direct-mapped array of {tag, address, permission}.
pub(crate) struct Table(Box<[Line; 1024]>);

#[derive(Clone, Copy)]
struct Line {
    tag: u64,
    address: u64,
    permission: u64,
}

impl Table {
    /// One in which the pages below this one are.
    pub(crate) fn new(pages: u64) -> Self {
        let mut lines = Box::new([Line { tag: u64::MAX, address: 0, permission: 0 }; 1024]);
        for (line, page) in lines.iter_mut().zip(0..pages) {
            *line = Line { tag: page, address: page << 12, permission: 3 };
        }
        Self(lines)
    }

    #[inline]
    pub(crate) fn get(&self, iova: u64) -> Option<u64> {
        let page = iova >> 12;
        let line = self.0[(page & 1023) as usize];
        (line.tag == page && line.permission & 1 == 1).then_some(line.address | iova & 0xfff)
    }
}

/// The design of the best-known emulation: a hash table under a mutex, probed once for each size of page, and emptied when it has 1,024
/// entries.
#[derive(Default)]
pub(crate) struct HashTable(Mutex<HashMap<HashKey, (u64, u64)>>);

/// The page's number, the bits of its size, the source-id.
type HashKey = (u64, u32, u16);

impl HashTable {
    pub(crate) fn insert(&self, iova: u64, address: u64) {
        let mut entries = self.0.lock().expect("nothing panics with it");
        if entries.len() >= 1024 {
            entries.clear();
        }
        entries.insert((iova >> 12, 12, 0x100), (address, 3));
    }

    #[inline]
    pub(crate) fn get(&self, iova: u64) -> Option<u64> {
        let entries = self.0.lock().expect("nothing panics with it");
        [12, 21, 30].into_iter().find_map(|bits| {
            let (address, permission) = *entries.get(&(iova >> bits, bits, 0x100))?;
            (permission & 1 == 1).then_some(address | iova & ((1 << bits) - 1))
        })
    }
}

/// **read**: one pass over the same bytes with relaxed loads.
pub(crate) fn read(words: &[AtomicU64]) -> u64 {
    words.iter().fold(0, |sum, word| sum ^ word.load(Ordering::Relaxed))
}

/// The sum of what `found` gives for each address, so that nothing is left out.
#[inline]
pub(crate) fn sum(stream: &[u64], mut found: impl FnMut(u64) -> u64) -> u64 {
    stream.iter().fold(0, |sum: u64, iova| sum.wrapping_add(found(black_box(*iova))))
}

/// As [`sum`], but each waits for the one before: what is measured is how long one takes, not how many are under way together.
#[inline]
pub(crate) fn in_turn(stream: &[u64], mut found: impl FnMut(u64) -> u64) -> u64 {
    // Bit 63 is clear in all that is found, which the compiler is not to know.
    stream.iter().fold(0, |last, iova| found(*iova | black_box(last) >> 63))
}
