//! Guest memory behind one memory map.

use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::bitmap::{Bitmap, MS};
use vm_memory::{GuestMemoryBackend, VolatileMemory};
use vtd_memory::{AccessError, GuestMemory};
use vtd_spec::Gpa;

use crate::span::Span;

/// A memory map that stays as it is while this lives.
pub(crate) struct Map<'m, M>(pub(crate) &'m M);

/// Eight little-endian bytes of guest memory. They are only ever accessed as an `AtomicU64`, four of them too: two atomic
/// accesses of different sizes that race are undefined in Rust's memory model.
struct Qword<'q, B> {
    value: &'q AtomicU64,
    /// The dirty bitmap of the slice in which it lies, and where it lies in that.
    bitmap: &'q B,
    offset: usize,
}

impl<B: Bitmap> Qword<'_, B> {
    fn load(&self) -> u64 {
        u64::from_le(self.value.load(Ordering::Acquire))
    }

    fn store(&self, value: u64) {
        self.value.store(value.to_le(), Ordering::Release);
        self.mark_dirty();
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        let (current, new) = (current.to_le(), new.to_le());
        self.value
            .compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
            .inspect(|_| self.mark_dirty())
            .map(u64::from_le)
            .map_err(u64::from_le)
    }

    /// Writes the bits of `mask`. What others write to the rest at the same time is kept.
    fn store_masked(&self, value: u64, mask: u64) {
        let (value, mask) = ((value & mask).to_le(), mask.to_le());
        let mut seen = self.value.load(Ordering::Relaxed);
        while let Err(newer) = self.value.compare_exchange_weak(
            seen,
            seen & !mask | value,
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            seen = newer;
        }
        self.mark_dirty();
    }

    fn mark_dirty(&self) {
        self.bitmap.mark_dirty(self.offset, 8);
    }
}

impl<M: GuestMemoryBackend> Map<'_, M> {
    /// Calls `act` for the qwords of a span, in ascending order, up to one that is not memory.
    fn visit(
        &self,
        span: Span,
        mut act: impl FnMut(Qword<'_, MS<'_, M>>),
    ) -> Result<(), AccessError> {
        for slice in self.0.get_slices(span.start(), span.size()) {
            let slice = &slice.map_err(|_| span.not_backed())?;
            for offset in (0..slice.len()).step_by(8) {
                // Refused where less than 8 bytes of the region are left, and where the host's address is misaligned.
                let value = slice.get_atomic_ref(offset).map_err(|_| span.not_backed())?;
                act(Qword { value, bitmap: slice.bitmap(), offset });
            }
        }
        Ok(())
    }

    /// The same, if all of them are memory: else `act` is called for none.
    fn visit_all(
        &self,
        span: Span,
        act: impl FnMut(Qword<'_, MS<'_, M>>),
    ) -> Result<(), AccessError> {
        self.visit(span, |_| {})?;
        self.visit(span, act)
    }
}

impl<M: GuestMemoryBackend + Send + Sync> GuestMemory for Map<'_, M> {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let mut value = 0;
        self.visit(Span::of_qwords(gpa, 1)?, |qword| value = qword.load())?;
        Ok(value)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        let span = Span::of_qwords(gpa, out.len())?;
        let mut rest = out.iter_mut();
        self.visit(span, |qword| {
            if let Some(value) = rest.next() {
                *value = qword.load();
            }
        })
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let mut found = Err(0);
        self.visit(Span::of_qwords(gpa, 1)?, |qword| {
            found = qword.compare_exchange(current, new);
        })?;
        Ok(found)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        let span = Span::new(gpa, 4, 4)?;
        let shift = if gpa.0 & 4 == 0 { 0 } else { 32 };
        let (value, mask) = (u64::from(value) << shift, u64::from(u32::MAX) << shift);
        self.visit(span.around(), |qword| qword.store_masked(value, mask))
            .map_err(|_| span.not_backed())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        let span = Span::of_qwords(gpa, values.len())?;
        let mut rest = values.iter();
        self.visit_all(span, |qword| {
            if let Some(value) = rest.next() {
                qword.store(*value);
            }
        })
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}
