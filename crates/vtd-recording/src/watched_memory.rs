//! Guest memory whose accesses by the unit are told to somebody.

use std::ops::Deref;

use vtd::memory::{AccessError, GuestMemory};
use vtd::spec::Gpa;

/// Told of what the unit does with guest memory, after it is done. `memory` is the map that was used.
#[allow(unused_variables, reason = "the names say what an implementation is given")]
pub(crate) trait Watch: Send + Sync {
    /// Qwords were read.
    fn loaded(&self, memory: &dyn GuestMemory, gpa: Gpa, qwords: &[u64]) {}
    /// A qword was compared and, if it was `current`, exchanged: `Ok` and `Err` hold what was there.
    fn exchanged(&self, gpa: Gpa, exchanged: Result<u64, u64>, new: u64);
    /// Four bytes were written.
    fn stored_u32(&self, gpa: Gpa, value: u32);
    /// Qwords were written.
    fn stored(&self, gpa: Gpa, values: &[u64]);
    /// An access was refused.
    fn refused(&self, error: &AccessError) {}
}

/// Guest memory, held still or not, and a pointer to who is told.
pub(crate) struct WatchedMemory<M, W> {
    pub(crate) memory: M,
    pub(crate) watch: W,
}

impl<M: GuestMemory, W: Deref<Target: Watch>> WatchedMemory<M, W> {
    fn told<T>(&self, result: Result<T, AccessError>) -> Result<T, AccessError> {
        result.inspect_err(|error| self.watch.refused(error))
    }
}

impl<M: GuestMemory, W: Deref<Target: Watch> + Send + Sync> GuestMemory for WatchedMemory<M, W> {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let value = self.told(self.memory.load_u64(gpa))?;
        self.watch.loaded(&self.memory, gpa, &[value]);
        Ok(value)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.told(self.memory.load_qwords(gpa, out))?;
        self.watch.loaded(&self.memory, gpa, out);
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let exchanged = self.told(self.memory.compare_exchange_u64(gpa, current, new))?;
        self.watch.exchanged(gpa, exchanged, new);
        Ok(exchanged)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.told(self.memory.store_u32_release(gpa, value))?;
        self.watch.stored_u32(gpa, value);
        Ok(())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.told(self.memory.store_qwords_release(gpa, values))?;
        self.watch.stored(gpa, values);
        Ok(())
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        self.memory
            .with_snapshot(&mut |memory| walk(&WatchedMemory { memory, watch: &*self.watch }));
    }
}
