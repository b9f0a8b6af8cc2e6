//! A 4 KiB page of memory that is read and written in qwords.

use core::sync::atomic::AtomicU64;

use crate::qword;

/// A page of 512 qwords.
pub(crate) struct Page([AtomicU64; 512]);

impl Page {
    /// A page of zeros.
    pub(crate) const fn zeroed() -> Self {
        Self([const { AtomicU64::new(0) }; 512])
    }

    /// The qword that holds the byte at `offset`; none at 4096 and above.
    pub(crate) fn qword(&self, offset: usize) -> Option<&AtomicU64> {
        self.0.get(offset / 8)
    }

    /// Reads qwords from `offset`, a multiple of 8, up to the end of `out` or of the page.
    pub(crate) fn load_qwords(&self, offset: usize, out: &mut [u64]) {
        for (value, qword) in out.iter_mut().zip(self.0.iter().skip(offset / 8)) {
            *value = qword::load(qword);
        }
    }

    /// Writes qwords from `offset`, a multiple of 8, up to the end of `values` or of the page.
    pub(crate) fn store_qwords(&self, offset: usize, values: &[u64]) {
        for (value, qword) in values.iter().zip(self.0.iter().skip(offset / 8)) {
            qword::store(qword, *value);
        }
    }

    /// Reads bytes from `offset`, up to the end of `out` or of the page.
    pub(crate) fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        let mut rest = out;
        let mut within = offset % 8;
        for qword in self.0.iter().skip(offset / 8) {
            if rest.is_empty() {
                break;
            }
            let here;
            (here, rest) = rest.split_at_mut(rest.len().min(8 - within));
            let bytes = qword::load(qword).to_le_bytes();
            for (byte, value) in here.iter_mut().zip(bytes.into_iter().skip(within)) {
                *byte = value;
            }
            within = 0;
        }
    }

    /// Writes bytes from `offset`, up to the end of `bytes` or of the page. Each qword changes in one piece.
    pub(crate) fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        let mut rest = bytes;
        let mut within = offset % 8;
        for qword in self.0.iter().skip(offset / 8) {
            if rest.is_empty() {
                break;
            }
            let here;
            (here, rest) = rest.split_at(rest.len().min(8 - within));
            qword::store_bytes(qword, within, here);
            within = 0;
        }
    }

    /// Makes every byte zero.
    pub(crate) fn clear(&self) {
        for qword in &self.0 {
            qword::store(qword, 0);
        }
    }
}
