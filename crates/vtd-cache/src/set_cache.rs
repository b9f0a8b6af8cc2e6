//! A cache of fixed capacity.

use alloc::vec::Vec;

/// How many entries share a place.
const WAYS: usize = 4;

/// A four-way set-associative cache. A new entry takes the place of another of its set, in turn.
///
/// Its memory is taken at the first insertion, all at once, and never grows.
#[derive(Clone, Debug)]
pub(crate) struct SetCache<K, V> {
    sets: Vec<Set<K, V>>,
    set_count: usize,
}

#[derive(Clone, Debug)]
struct Set<K, V> {
    entries: [Option<(K, V)>; WAYS],
    /// Which entry gives way next.
    oldest: u8,
}

/// A key that a [`SetCache`] can place.
pub(crate) trait Place {
    /// A value that differs in its low bits for keys that are used together.
    fn place(&self) -> u64;
}

impl<K: Copy + Eq + Place, V: Copy> SetCache<K, V> {
    /// A cache of at least `capacity` entries: a power of two, or none at all where that is 0.
    pub(crate) fn new(capacity: usize) -> Self {
        let set_count = match capacity {
            0 => 0,
            _ => capacity.div_ceil(WAYS).checked_next_power_of_two().unwrap_or(1 << 30),
        };
        Self { sets: Vec::new(), set_count }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.set_count * WAYS
    }

    fn index(&self, key: &K) -> usize {
        // Multiplication by an odd constant spreads neighbours over the upper bits; a second one, with those folded down, keeps
        // keys of several parts (tags and pages) from following each other into the same sets.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let once = key.place().wrapping_mul(ODD);
        let mixed = (once ^ once >> 32).wrapping_mul(ODD);
        let index = mixed.rotate_left(self.set_count.trailing_zeros())
            & (self.set_count as u64).saturating_sub(1);
        usize::try_from(index).unwrap_or(0)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let set = self.sets.get(self.index(key))?;
        set.entries.iter().flatten().find_map(|(found, value)| (found == key).then_some(value))
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let index = self.index(key);
        let set = self.sets.get_mut(index)?;
        set.entries.iter_mut().flatten().find_map(|(found, value)| (found == key).then_some(value))
    }

    /// Enters a value; the key of the entry that gave way to it, be it the same.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<K> {
        if self.sets.is_empty() {
            let empty = || Set { entries: [None; WAYS], oldest: 0 };
            self.sets.resize_with(self.set_count, empty);
        }
        let index = self.index(&key);
        let set = self.sets.get_mut(index)?;
        let same = |entry: &Option<(K, V)>| entry.as_ref().is_some_and(|(found, _)| *found == key);
        let way = set
            .entries
            .iter()
            .position(same)
            .or_else(|| set.entries.iter().position(Option::is_none));
        let way = way.unwrap_or_else(|| {
            let way = usize::from(set.oldest);
            set.oldest = if usize::from(set.oldest) + 1 < WAYS { set.oldest + 1 } else { 0 };
            way
        });
        let entry = set.entries.get_mut(way)?;
        entry.replace((key, value)).map(|(replaced, _)| replaced)
    }

    pub(crate) fn remove(&mut self, key: &K) {
        let index = self.index(key);
        if let Some(set) = self.sets.get_mut(index) {
            for entry in &mut set.entries {
                if entry.as_ref().is_some_and(|(found, _)| found == key) {
                    *entry = None;
                }
            }
        }
    }

    /// Keeps what the function accepts; it looks at the whole capacity.
    pub(crate) fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        for entry in self.sets.iter_mut().flat_map(|set| &mut set.entries) {
            if entry.as_ref().is_some_and(|(key, value)| !keep(key, value)) {
                *entry = None;
            }
        }
    }

    /// Changes values in place; it looks at the whole capacity.
    pub(crate) fn for_each_mut(&mut self, mut change: impl FnMut(&mut V)) {
        for (_, value) in self.sets.iter_mut().flat_map(|set| &mut set.entries).flatten() {
            change(value);
        }
    }
}
