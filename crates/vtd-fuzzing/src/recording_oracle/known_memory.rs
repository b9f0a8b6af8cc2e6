//! Guest memory as the lines of a recording say.

use std::collections::HashMap;

use vtd_model::{History, Memory, Update};

const WORDS: usize = 512;

/// Guest memory in pages; a page that no line named reads as zero.
#[derive(Default)]
pub(super) struct KnownMemory {
    pages: HashMap<u64, Box<[u64; WORDS]>>,
}

impl Memory for KnownMemory {
    fn qword(&self, address: u64) -> Option<u64> {
        let page = self.pages.get(&(address >> 12));
        Some(page.and_then(|page| page.get(word(address))).copied().unwrap_or(0))
    }
}

impl KnownMemory {
    /// Bytes from an address on, written at once; the history is told of whole qwords.
    pub(super) fn write(&mut self, gpa: u64, bytes: &[u8], history: &mut History) {
        let mut rest = bytes;
        let mut at = gpa;
        let mut updates = Vec::new();
        while !rest.is_empty() {
            let qword = at & !7;
            let offset = usize::try_from(at & 7).unwrap_or(0);
            let (these, behind) = rest.split_at(rest.len().min(8 - offset));
            let old = self.qword(qword).unwrap_or(0);
            let mut image = old.to_le_bytes();
            for (place, byte) in image.iter_mut().skip(offset).zip(these) {
                *place = *byte;
            }
            let new = u64::from_le_bytes(image);
            updates.push(Update { address: qword, old, new });
            self.set(qword, new);
            at = qword.wrapping_add(8);
            rest = behind;
        }
        history.wrote(&updates);
    }

    /// A page of zeros.
    pub(super) fn clear(&mut self, gpa: u64, history: &mut History) {
        self.write(gpa & !0xfff, &[0; 4096], history);
    }

    fn set(&mut self, address: u64, value: u64) {
        let page = self.pages.entry(address >> 12).or_insert_with(|| Box::new([0; WORDS]));
        if let Some(place) = page.get_mut(word(address)) {
            *place = value;
        }
    }
}

fn word(address: u64) -> usize {
    usize::try_from(address >> 3 & 511).unwrap_or(0)
}
