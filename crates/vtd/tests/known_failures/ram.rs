//! Guest memory that keeps account of what the unit does to it, and in which a guest can interfere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use vtd::memory::{AccessError, GuestMemory, SparseMemory};
use vtd::spec::Gpa;

/// What happened, in order: host calls and status writes.
pub(crate) type Tape = Arc<Mutex<Vec<String>>>;

/// What the unit is doing to the memory at the moment when a guest interferes.
pub(crate) enum Moment<'a> {
    /// It has read these qwords from here.
    Read(u64, &'a mut [u64]),
    /// It is about to exchange the qword here.
    Exchange(u64),
    /// It is about to write a status.
    Status,
}

type Interference = Box<dyn FnMut(&SparseMemory, Moment<'_>) + Send>;

/// Memory of which only the pages written exist.
#[derive(Default)]
pub(crate) struct Ram {
    pub(crate) pages: SparseMemory,
    tape: Tape,
    reads: Mutex<Vec<u64>>,
    interference: Mutex<Option<Interference>>,
    /// Nothing can be exchanged.
    pub(crate) read_only: AtomicBool,
    /// The memory is unmapped: whoever touches it is at fault.
    pub(crate) gone: AtomicBool,
}

impl Ram {
    pub(crate) fn new(tape: Tape) -> Self {
        Self { tape, ..Self::default() }
    }

    pub(crate) fn put(&self, place: u64, qwords: &[u64]) {
        for (place, value) in (place..).step_by(8).zip(qwords) {
            self.pages.write_u64(Gpa(place), *value).unwrap();
        }
    }

    pub(crate) fn at(&self, place: u64) -> u64 {
        let mut bytes = [0; 8];
        self.pages.read_bytes(Gpa(place), &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn status(&self, place: u64) -> u32 {
        let mut bytes = [0; 4];
        self.pages.read_bytes(Gpa(place), &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn interfere(
        &self,
        interference: impl FnMut(&SparseMemory, Moment<'_>) + Send + 'static,
    ) {
        *self.interference.lock().unwrap() = Some(Box::new(interference));
    }

    pub(crate) fn leave_alone(&self) {
        *self.interference.lock().unwrap() = None;
    }

    /// Where qwords were read since the last time, in order.
    pub(crate) fn take_reads(&self) -> Vec<u64> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }

    fn touch(&self, moment: Moment<'_>) {
        assert!(!self.gone.load(Ordering::Relaxed), "guest memory is touched after it has gone");
        if let Some(interfere) = self.interference.lock().unwrap().as_mut() {
            interfere(&self.pages, moment);
        }
    }
}

impl GuestMemory for Ram {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let mut out = [0];
        self.load_qwords(gpa, &mut out).map(|()| out[0])
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        let places = (gpa.0..).step_by(8).take(out.len());
        self.reads.lock().unwrap().extend(places);
        self.pages.load_qwords(gpa, out)?;
        // Entry by entry, however many are read together.
        for (place, entry) in (gpa.0..).step_by(64).zip(out.chunks_mut(8)) {
            self.touch(Moment::Read(place, entry));
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.touch(Moment::Exchange(gpa.0));
        if self.read_only.load(Ordering::Relaxed) {
            return Err(AccessError::not_backed(gpa, 8));
        }
        self.pages.compare_exchange_u64(gpa, current, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.touch(Moment::Status);
        self.tape.lock().unwrap().push(format!("status {value:x}"));
        self.pages.store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.touch(Moment::Exchange(gpa.0));
        self.tape.lock().unwrap().push(format!("plain store at {gpa:x}"));
        self.pages.store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}
