//! What qwords held before they were overwritten.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// Addresses are no one's to choose so that they collide: a product is enough.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
}

/// As many values are kept before any is forgotten.
const FEW: usize = 4096;

/// The values that qwords held before, each with the moment at which it was overwritten.
///
/// All of them lie in one place, each with a link to the one before it at the same address: writing needs no allocation of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    newest: HashMap<u64, usize, BuildHasherDefault<AddressHasher>>,
    values: Vec<Value>,
    /// How many values there were when all of them had last been looked at.
    kept: usize,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    address: u64,
    value: u64,
    end: u64,
    older: Option<usize>,
}

impl Past {
    /// A qword was overwritten at a moment. What it held until `floor` is forgotten.
    pub(crate) fn push(&mut self, address: u64, value: u64, end: u64, floor: u64) {
        let here = self.values.len();
        let older = match self.newest.entry(address) {
            Entry::Occupied(mut newest) => Some(newest.insert(here)),
            Entry::Vacant(none) => {
                none.insert(here);
                None
            }
        };
        self.values.push(Value { address, value, end, older });
        // Those above the floor come first.
        let mut last = here;
        while let Some(older) = self.values.get(last).and_then(|value| value.older) {
            if self.values.get(older).is_none_or(|value| value.end <= floor) {
                if let Some(value) = self.values.get_mut(last) {
                    value.older = None;
                }
                break;
            }
            last = older;
        }
    }

    /// Whether the qword was ever overwritten, as far as that is remembered.
    pub(crate) fn contains(&self, address: u64) -> bool {
        self.newest.contains_key(&address)
    }

    /// What the qword held, and until when; the newest first.
    pub(crate) fn of(&self, address: u64) -> impl Iterator<Item = (u64, u64)> {
        let newest = self.newest.get(&address).copied();
        let place = |place: Option<usize>| place.and_then(|place| self.values.get(place));
        let values = std::iter::successors(place(newest), move |value| place(value.older));
        values.map(|value| (value.value, value.end))
    }

    pub(crate) fn clear(&mut self) {
        self.newest.clear();
        self.values.clear();
        self.kept = 0;
    }

    /// Whether there are so many that it is worth forgetting some.
    pub(crate) fn is_large(&self) -> bool {
        self.values.len() > FEW.max(2 * self.kept)
    }

    /// Forgets what was held until `floor`.
    pub(crate) fn forget(&mut self, floor: u64) {
        let mut linked = Vec::new();
        for newest in self.newest.values() {
            let mut next = Some(*newest);
            while let Some(value) = next.and_then(|place| self.values.get(place)) {
                if value.end > floor {
                    linked.push(*value);
                }
                next = value.older;
            }
        }
        // In the order in which they were overwritten.
        linked.reverse();
        linked.sort_by_key(|value| value.end);
        self.newest.clear();
        self.values.clear();
        for Value { address, value, end, .. } in linked {
            self.push(address, value, end, floor);
        }
        self.kept = self.values.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_first_and_the_floor_cuts() {
        let mut past = Past::default();
        for (value, end, floor) in [(1, 10, 0), (2, 20, 0), (3, 30, 10)] {
            past.push(0x1000, value, end, floor);
        }
        past.push(0x1008, 7, 15, 0);
        assert_eq!(past.of(0x1000).collect::<Vec<_>>(), [(3, 30), (2, 20)]);
        assert!(past.contains(0x1008) && !past.contains(0x1010));
        past.forget(20);
        assert_eq!(past.of(0x1000).collect::<Vec<_>>(), [(3, 30)]);
        assert!(!past.contains(0x1008));
    }
}
