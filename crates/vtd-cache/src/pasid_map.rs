//! A map from PASIDs whose lookup costs the same however many there are.

use alloc::boxed::Box;
use alloc::vec::Vec;

use vtd_spec::Pasid;

/// An ordered map from PASIDs: a radix tree of three levels (7, 7 and 6 bits), so a lookup is three dependent loads.
///
/// It takes memory for the 64-PASID groups that hold something: 8 bytes of pointer, a bitmap and the values side by side.
#[derive(Clone, Debug)]
pub struct PasidMap<T> {
    middles: Nodes<Nodes<Leaf<T>>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Nodes<T> {
    /// Empty, or 128 places.
    places: Vec<Option<Box<T>>>,
    used: u8,
}

#[derive(Clone, Debug)]
struct Leaf<T> {
    present: u64,
    /// In the order of the bits of `present`.
    values: Vec<T>,
}

const PLACES: usize = 128;

impl<T> Nodes<T> {
    const EMPTY: Self = Self { places: Vec::new(), used: 0 };

    fn get(&self, index: usize) -> Option<&T> {
        self.places.get(index)?.as_deref()
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.places.get_mut(index)?.as_deref_mut()
    }

    fn get_or_insert(&mut self, index: usize, new: T) -> Option<&mut T> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let place = self.places.get_mut(index)?;
        if place.is_none() {
            self.used += 1;
        }
        Some(place.get_or_insert_with(|| Box::new(new)))
    }

    fn remove(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index)
            && place.take().is_some()
        {
            self.used -= 1;
            if self.used == 0 {
                self.places = Vec::new();
            }
        }
    }

    /// The first used place at or after `index`.
    fn next(&self, index: usize) -> Option<(usize, &T)> {
        let rest = self.places.get(index..)?;
        rest.iter()
            .zip(index..)
            .find_map(|(place, index)| place.as_deref().map(|node| (index, node)))
    }
}

impl<T> Leaf<T> {
    const EMPTY: Self = Self { present: 0, values: Vec::new() };

    fn rank(&self, bit: u32) -> usize {
        (self.present & ((1 << bit) - 1)).count_ones() as usize
    }

    fn has(&self, bit: u32) -> bool {
        self.present >> bit & 1 == 1
    }
}

/// Where a PASID lies: the places in the two upper levels and the bit in the leaf.
fn split(pasid: u32) -> (usize, usize, u32) {
    ((pasid >> 13) as usize, (pasid >> 6 & 0x7f) as usize, pasid & 0x3f)
}

impl<T> Default for PasidMap<T> {
    fn default() -> Self {
        Self { middles: Nodes::EMPTY, len: 0 }
    }
}

impl<T> PasidMap<T> {
    /// How many PASIDs have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no PASID has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a PASID.
    #[must_use]
    pub fn get(&self, pasid: Pasid) -> Option<&T> {
        let (upper, lower, bit) = split(pasid.get());
        let leaf = self.middles.get(upper)?.get(lower)?;
        if leaf.has(bit) { leaf.values.get(leaf.rank(bit)) } else { None }
    }

    /// The value of a PASID, to be changed.
    pub fn get_mut(&mut self, pasid: Pasid) -> Option<&mut T> {
        let (upper, lower, bit) = split(pasid.get());
        let leaf = self.middles.get_mut(upper)?.get_mut(lower)?;
        if leaf.has(bit) {
            let rank = leaf.rank(bit);
            leaf.values.get_mut(rank)
        } else {
            None
        }
    }

    /// Gives a PASID a value and returns the one that it had.
    pub fn insert(&mut self, pasid: Pasid, value: T) -> Option<T> {
        let (upper, lower, bit) = split(pasid.get());
        let leaf =
            self.middles.get_or_insert(upper, Nodes::EMPTY)?.get_or_insert(lower, Leaf::EMPTY)?;
        let rank = leaf.rank(bit);
        if leaf.has(bit) {
            return leaf.values.get_mut(rank).map(|old| core::mem::replace(old, value));
        }
        leaf.present |= 1 << bit;
        // A group of one is the common case in a sparse table: no room for more until there are more.
        if leaf.values.capacity() == 0 {
            leaf.values.reserve_exact(1);
        }
        leaf.values.insert(rank, value);
        self.len += 1;
        None
    }

    /// Takes a PASID's value away, with the memory that only it needed.
    pub fn remove(&mut self, pasid: Pasid) -> Option<T> {
        let (upper, lower, bit) = split(pasid.get());
        let middle = self.middles.get_mut(upper)?;
        let leaf = middle.get_mut(lower)?;
        if !leaf.has(bit) {
            return None;
        }
        let rank = leaf.rank(bit);
        leaf.present &= !(1 << bit);
        let value = leaf.values.remove(rank);
        self.len -= 1;
        if leaf.present == 0 {
            middle.remove(lower);
            if middle.used == 0 {
                self.middles.remove(upper);
            }
        }
        Some(value)
    }

    /// The first PASID with a value, at or after `start`.
    #[must_use]
    pub fn next(&self, start: u32) -> Option<(Pasid, &T)> {
        let mut from = start;
        while from < Pasid::END {
            let (upper, lower, bit) = split(from);
            let (found_upper, middle) = self.middles.next(upper)?;
            let (lower, bit) = if found_upper == upper { (lower, bit) } else { (0, 0) };
            if let Some((found_lower, leaf)) = middle.next(lower) {
                let bit = if found_lower == lower { bit } else { 0 };
                let rest = leaf.present >> bit << bit;
                let base = u32::try_from(found_upper << 13 | found_lower << 6).ok()?;
                if rest != 0 {
                    let bit = rest.trailing_zeros();
                    let value = leaf.values.get(leaf.rank(bit))?;
                    return Some((Pasid::new(base | bit)?, value));
                }
                from = base + 64;
            } else {
                from = u32::try_from((found_upper + 1) << 13).ok()?;
            }
        }
        None
    }

    /// All PASIDs with a value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Pasid, &T)> {
        let mut start = 0;
        core::iter::from_fn(move || {
            let (pasid, value) = self.next(start)?;
            start = pasid.get() + 1;
            Some((pasid, value))
        })
    }
}
