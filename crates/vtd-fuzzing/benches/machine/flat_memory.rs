//! Guest memory as a VMM has it: one mapping, read where it is.

use std::sync::atomic::{AtomicU64, Ordering};

use vtd_memory::{AccessError, GuestMemory};
use vtd_spec::Gpa;

/// Memory from address 0 on, whose pages take space once they are written.
pub(crate) struct FlatMemory(Box<[AtomicU64]>);

impl FlatMemory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(bytemuck::zeroed_slice_box(bytes / 8))
    }

    pub(crate) fn put(&self, place: u64, value: u64) {
        self.word(Gpa(place)).expect("within memory").store(value, Ordering::Relaxed);
    }

    /// The qwords of a stretch of it.
    pub(crate) fn words(&self, place: u64, count: usize) -> &[AtomicU64] {
        let first = usize::try_from(place / 8).expect("64 bits");
        &self.0[first..first + count]
    }

    #[inline]
    fn word(&self, gpa: Gpa) -> Result<&AtomicU64, AccessError> {
        let word = usize::try_from(gpa.0 / 8).ok().and_then(|place| self.0.get(place));
        word.ok_or(AccessError::not_backed(gpa, 8))
    }
}

impl GuestMemory for FlatMemory {
    #[inline]
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        Ok(self.word(gpa)?.load(Ordering::Acquire))
    }

    #[inline]
    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        let error = AccessError::not_backed(gpa, 8 * out.len());
        let first = usize::try_from(gpa.0 / 8).map_err(|_| error)?;
        let words = self.0.get(first..first + out.len()).ok_or(error)?;
        for (out, word) in out.iter_mut().zip(words) {
            *out = word.load(Ordering::Acquire);
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let word = self.word(gpa)?;
        Ok(word.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire))
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        // Statuses are the only values that the unit writes here, and have their qwords to themselves.
        self.word(Gpa(gpa.0 & !7))?.store(value.into(), Ordering::Release);
        Ok(())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        for (place, value) in (gpa.0..).step_by(8).zip(values) {
            self.word(Gpa(place))?.store(*value, Ordering::Release);
        }
        Ok(())
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}
