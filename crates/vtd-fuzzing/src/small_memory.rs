//! Guest memory for fuzzing: a few pages, quick to set back, that can change while it is read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vtd_memory::{AccessError, GuestMemory};
use vtd_spec::Gpa;

/// How many pages of 4 KiB there are, from address 0 on; everything above is not backed.
pub const PAGES: u64 = 32;
const QWORDS_OF_A_PAGE: usize = 512;
const QWORDS: usize = 32 * QWORDS_OF_A_PAGE;
/// Of a line: what is set back at once.
const QWORDS_OF_A_LINE: usize = 8;

/// A change that happens between two reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// How many qwords are read before it.
    pub reads: u32,
    /// Where: the address of a qword.
    pub place: u64,
    /// What it holds then.
    pub value: u64,
}

/// A change of memory, in the order in which they happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The address of the qword.
    pub place: u64,
    /// What it held.
    pub old: u64,
    /// What it holds now.
    pub value: u64,
}

/// [`PAGES`] pages of memory.
///
/// It remembers which lines have been written, so that setting it back costs what was written. Every change is noted, whoever made it.
pub struct SmallMemory {
    qwords: Box<[AtomicU64]>,
    /// By page: a bit for each line of 64 bytes.
    written: [AtomicU64; 32],
    armed: AtomicBool,
    trap: Mutex<Option<Trap>>,
    changes: Mutex<Vec<Change>>,
    meanwhile: Mutex<Option<Meanwhile>>,
}

/// What others do while a walk reads memory.
type Meanwhile = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for SmallMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmallMemory").finish_non_exhaustive()
    }
}

impl Default for SmallMemory {
    fn default() -> Self {
        Self {
            qwords: (0..QWORDS).map(|_| AtomicU64::new(0)).collect(),
            written: [const { AtomicU64::new(0) }; 32],
            armed: AtomicBool::new(false),
            trap: Mutex::default(),
            changes: Mutex::default(),
            meanwhile: Mutex::default(),
        }
    }
}

impl SmallMemory {
    /// Everything holds zeros again, nothing is noted and no trap is set.
    pub fn clear(&self) {
        self.clear_to(&[]);
    }

    /// The same, but for the qwords at some places.
    pub fn clear_to(&self, filled: &[(u64, u64)]) {
        for (page, written) in self.qwords.chunks_exact(QWORDS_OF_A_PAGE).zip(&self.written) {
            let mut lines = written.load(Ordering::Relaxed);
            written.store(0, Ordering::Relaxed);
            while lines != 0 {
                let first = lines.trailing_zeros() as usize * QWORDS_OF_A_LINE;
                lines &= lines - 1;
                let line = page.iter().skip(first).take(QWORDS_OF_A_LINE);
                line.for_each(|qword| qword.store(0, Ordering::Relaxed));
            }
        }
        for (place, value) in filled {
            if let Some(qword) = self.qword(*place) {
                qword.store(*value, Ordering::Relaxed);
                self.mark(*place);
            }
        }
        self.armed.store(false, Ordering::Relaxed);
        *self.trap() = None;
        self.nothing_meanwhile();
        self.changes().clear();
    }

    /// The places that do not hold 0, and what they hold.
    #[must_use]
    pub fn qwords(&self) -> Vec<(u64, u64)> {
        let all = (0..).step_by(8).zip(&self.qwords);
        let all = all.map(|(place, qword)| (place, qword.load(Ordering::Relaxed)));
        all.filter(|(_, value)| *value != 0).collect()
    }

    /// The qword at `place`; 0 where there is none.
    #[must_use]
    pub fn get(&self, place: u64) -> u64 {
        self.qword(place).map_or(0, |qword| qword.load(Ordering::Relaxed))
    }

    /// Whether there is a qword at `place`.
    #[must_use]
    pub fn is_backed(&self, place: u64) -> bool {
        self.qword(place).is_some()
    }

    /// The addresses of the 64-byte lines that have been written since the last [`SmallMemory::clear`].
    pub fn written_lines(&self) -> impl Iterator<Item = u64> {
        (0..).step_by(0x1000).zip(&self.written).flat_map(|(page, written)| {
            let lines = written.load(Ordering::Relaxed);
            let written = (0..64).filter(move |line| lines >> line & 1 == 1);
            written.map(move |line: u64| page + (line << 6))
        })
    }

    /// The guest writes a qword, where there is one.
    pub fn put(&self, place: u64, value: u64) {
        if let Some(qword) = self.qword(place) {
            let old = qword.swap(value, Ordering::AcqRel);
            self.note(place, old, value);
        }
    }

    /// Has the memory change after some more reads. The last trap that was set counts.
    pub fn set_trap(&self, trap: Trap) {
        *self.trap() = Some(trap);
        self.armed.store(true, Ordering::Relaxed);
    }

    /// Has something done just after the trap has sprung, if it springs before [`SmallMemory::nothing_meanwhile`].
    pub fn set_meanwhile(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.meanwhile() = Some(Box::new(meanwhile));
    }

    /// Nothing is done any more when the trap springs.
    pub fn nothing_meanwhile(&self) {
        *self.meanwhile() = None;
    }

    fn meanwhile(&self) -> MutexGuard<'_, Option<Meanwhile>> {
        self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a trap is set that has not sprung.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Takes the trap away, sprung or not.
    pub fn disarm(&self) {
        *self.trap() = None;
        self.armed.store(false, Ordering::Relaxed);
    }

    /// Hands over the changes since the last time.
    pub fn take_changes(&self, into: &mut Vec<Change>) {
        into.clear();
        std::mem::swap(into, &mut self.changes());
    }

    fn qword(&self, place: u64) -> Option<&AtomicU64> {
        if !place.is_multiple_of(8) {
            return None;
        }
        self.qwords.get(usize::try_from(place / 8).ok()?)
    }

    fn qwords_at(&self, gpa: Gpa, count: usize) -> Option<&[AtomicU64]> {
        let first = usize::try_from(gpa.0 / 8).ok().filter(|_| gpa.0.is_multiple_of(8))?;
        self.qwords.get(first..first.checked_add(count)?)
    }

    /// The line of a place has been written.
    fn mark(&self, place: u64) {
        let page = usize::try_from(place >> 12).unwrap_or(0);
        let line = 1 << (place >> 6 & 63);
        // Mostly it has been written before, and a look costs less than an exchange.
        if let Some(written) = self.written.get(page)
            && written.load(Ordering::Relaxed) & line == 0
        {
            written.fetch_or(line, Ordering::Relaxed);
        }
    }

    fn note(&self, place: u64, old: u64, value: u64) {
        if old == value {
            return;
        }
        self.mark(place);
        self.changes().push(Change { place, old, value });
    }

    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Vec<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spring(&self) {
        let sprung = {
            let mut trap = self.trap();
            match trap.as_mut() {
                Some(Trap { reads, .. }) if *reads > 0 => {
                    *reads -= 1;
                    None
                }
                _ => trap.take(),
            }
        };
        if let Some(Trap { place, value, .. }) = sprung {
            self.armed.store(false, Ordering::Relaxed);
            self.put(place, value);
            let meanwhile = self.meanwhile().take();
            if let Some(meanwhile) = meanwhile {
                meanwhile();
            }
        }
    }

    /// The qword of an access to `size` bytes, which is aligned to them.
    fn at(&self, gpa: Gpa, size: usize) -> Result<&AtomicU64, AccessError> {
        if !gpa.0.is_multiple_of(size as u64) {
            return Err(AccessError::misaligned(gpa, size));
        }
        self.qword(gpa.0 & !7).ok_or(AccessError::not_backed(gpa, size))
    }
}

impl GuestMemory for SmallMemory {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let qword = self.at(gpa, 8)?;
        if self.armed.load(Ordering::Relaxed) {
            self.spring();
        }
        Ok(qword.load(Ordering::Acquire))
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        // Most reads are of entries of a table that nothing changes meanwhile.
        if !self.armed.load(Ordering::Relaxed)
            && let Some(qwords) = self.qwords_at(gpa, out.len())
        {
            for (out, qword) in out.iter_mut().zip(qwords) {
                *out = qword.load(Ordering::Acquire);
            }
            return Ok(());
        }
        for (place, out) in (gpa.0..).step_by(8).zip(out) {
            *out = self.load_u64(Gpa(place))?;
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let qword = self.at(gpa, 8)?;
        let done = qword.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
        if done.is_ok() {
            self.note(gpa.0, current, new);
        }
        Ok(done)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        let qword = self.at(gpa, 4)?;
        let shift = (gpa.0 & 4) * 8;
        let mask = 0xffff_ffff << shift;
        let old = qword.load(Ordering::Relaxed);
        let new = old & !mask | u64::from(value) << shift;
        qword.store(new, Ordering::Release);
        self.note(gpa.0 & !7, old, new);
        Ok(())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        for place in (gpa.0..).step_by(8).take(values.len()) {
            self.at(Gpa(place), 8)?;
        }
        for (place, value) in (gpa.0..).step_by(8).zip(values) {
            self.put(place, *value);
        }
        Ok(())
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}
