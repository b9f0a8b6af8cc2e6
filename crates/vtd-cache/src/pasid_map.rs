//! A map from PASIDs whose lookup costs the same however many there are.

use alloc::boxed::Box;
use alloc::vec::Vec;

use vtd_spec::Pasid;

/// An ordered map from PASIDs: a radix tree of three levels (7, 7 and 6 bits), so a lookup is three dependent loads: of the middle
/// node's place, of the leaf's bits and of the value.
///
/// A middle node takes 4 KiB for its 8,192 PASIDs; a leaf, of 64 PASIDs, holds its values side by side.
#[derive(Clone, Debug)]
pub struct PasidMap<T> {
    /// Empty, or 128 places.
    middles: Vec<Option<Box<Middle<T>>>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Middle<T> {
    leaves: [Leaf<T>; PLACES],
    /// How many leaves have values.
    used: u8,
}

#[derive(Clone, Debug)]
struct Leaf<T> {
    present: u64,
    /// In the order of the bits of `present`.
    values: Vec<T>,
}

const PLACES: usize = 128;

impl<T> Middle<T> {
    fn new() -> Self {
        Self { leaves: [const { Leaf::EMPTY }; PLACES], used: 0 }
    }
}

impl<T> Leaf<T> {
    const EMPTY: Self = Self { present: 0, values: Vec::new() };

    /// How many values lie before that of a bit.
    fn rank(&self, bit: u32) -> usize {
        let before = (1 << bit) - 1;
        let present = self.present & before;
        // Tables are filled from the front, and counting bits takes a dozen instructions where a processor is not asked for its own.
        if present == before { bit as usize } else { present.count_ones() as usize }
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
        Self { middles: Vec::new(), len: 0 }
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

    fn leaf(&self, upper: usize, lower: usize) -> Option<&Leaf<T>> {
        self.middles.get(upper)?.as_ref()?.leaves.get(lower)
    }

    /// The value of a PASID.
    #[must_use]
    pub fn get(&self, pasid: Pasid) -> Option<&T> {
        let (upper, lower, bit) = split(pasid.get());
        let leaf = self.leaf(upper, lower)?;
        if leaf.has(bit) { leaf.values.get(leaf.rank(bit)) } else { None }
    }

    /// Gives a PASID a value and returns the one that it had.
    pub fn insert(&mut self, pasid: Pasid, value: T) -> Option<T> {
        let (upper, lower, bit) = split(pasid.get());
        if self.middles.is_empty() {
            self.middles.resize_with(PLACES, || None);
        }
        let middle = self.middles.get_mut(upper)?.get_or_insert_with(|| Box::new(Middle::new()));
        let leaf = middle.leaves.get_mut(lower)?;
        let rank = leaf.rank(bit);
        if leaf.has(bit) {
            return leaf.values.get_mut(rank).map(|old| core::mem::replace(old, value));
        }
        if leaf.present == 0 {
            middle.used += 1;
            // A leaf of one is the common case in a sparse table: no room for more until there are more.
            leaf.values.reserve_exact(1);
        }
        leaf.present |= 1 << bit;
        leaf.values.insert(rank, value);
        self.len += 1;
        None
    }

    /// Takes a PASID's value away, with the memory that only it needed.
    pub fn remove(&mut self, pasid: Pasid) -> Option<T> {
        let (upper, lower, bit) = split(pasid.get());
        let place = self.middles.get_mut(upper)?;
        let middle = place.as_mut()?;
        let leaf = middle.leaves.get_mut(lower)?;
        if !leaf.has(bit) {
            return None;
        }
        let rank = leaf.rank(bit);
        leaf.present &= !(1 << bit);
        let value = leaf.values.remove(rank);
        self.len -= 1;
        if leaf.present == 0 {
            leaf.values = Vec::new();
            middle.used -= 1;
            if middle.used == 0 {
                *place = None;
            }
        }
        if self.len == 0 {
            self.middles = Vec::new();
        }
        Some(value)
    }

    /// The first PASID with a value, at or after `start`.
    #[must_use]
    pub fn next(&self, start: u32) -> Option<(Pasid, &T)> {
        let (first_upper, first_lower, first_bit) = split(start);
        let uppers = self.middles.get(first_upper..)?;
        for (upper, middle) in (first_upper..).zip(uppers) {
            let Some(middle) = middle else { continue };
            let from = if upper == first_upper { first_lower } else { 0 };
            for (lower, leaf) in (from..).zip(middle.leaves.get(from..)?) {
                let is_first = (upper, lower) == (first_upper, first_lower);
                let rest = leaf.present & if is_first { !0 << first_bit } else { !0 };
                if rest != 0 {
                    let bit = rest.trailing_zeros();
                    let base = u32::try_from(upper << 13 | lower << 6).ok()?;
                    return Some((Pasid::new(base | bit)?, leaf.values.get(leaf.rank(bit))?));
                }
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
