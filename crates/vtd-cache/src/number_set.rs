//! Sets of domains and of source-ids.

use alloc::sync::Arc;

/// A set of numbers of 16 bits, in 8 KiB. One without numbers takes no memory, and a copy shares it until one of them changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NumberSet {
    bits: Option<Arc<[u64; 1024]>>,
}

impl NumberSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.bits.is_none()
    }

    pub(crate) fn contains(&self, number: u16) -> bool {
        let word = self.bits.as_ref().and_then(|bits| bits.get(usize::from(number >> 6)));
        word.is_some_and(|word| word >> (number & 0x3f) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, number: u16) {
        let bits = self.bits.get_or_insert_with(|| Arc::new([0; 1024]));
        if let Some(word) = Arc::make_mut(bits).get_mut(usize::from(number >> 6)) {
            *word |= 1 << (number & 0x3f);
        }
    }
}
