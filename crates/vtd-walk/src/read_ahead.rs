//! Entries of a table that are read together: eight, since a call through a trait object costs more than reading one.

use vtd_memory::GuestMemory;
use vtd_spec::Gpa;

/// How many entries are read together, a power of two.
const TOGETHER: u32 = 8;

/// Entries of so many qwords that have been read and not looked at, numbered as their table numbers them. P is bit 0 of the first qword.
pub(crate) struct ReadAhead<const QWORDS: usize> {
    /// By the lower three bits of their number.
    entries: [[u64; QWORDS]; TOGETHER as usize],
    /// Which of them have P=1, by the same bits.
    present: u8,
    /// The first that has not been read.
    end: u32,
}

impl<const QWORDS: usize> ReadAhead<QWORDS> {
    pub(crate) const fn new() -> Self {
        Self { entries: [[0; QWORDS]; TOGETHER as usize], present: 0, end: 0 }
    }

    /// How many entries from this one on are absent, and the entry that follows them. Both as far as is known, and not beyond `until`.
    ///
    /// Reads what has not been read, up to `reach`. What cannot be read is absent.
    pub(crate) fn look(
        &mut self,
        memory: &dyn GuestMemory,
        from: u32,
        (until, reach): (u32, u32),
        place: impl Fn(u32) -> Gpa,
    ) -> (u32, Option<&[u64; QWORDS]>) {
        if from >= self.end {
            self.read(memory, from, reach, place);
        }
        let known = until.min(self.end) - from;
        let absent = (self.present >> (from % TOGETHER)).trailing_zeros().min(known);
        let entry = self.entries.get(((from + absent) % TOGETHER) as usize);
        (absent, entry.filter(|_| absent < known))
    }

    fn read(
        &mut self,
        memory: &dyn GuestMemory,
        from: u32,
        reach: u32,
        place: impl Fn(u32) -> Gpa,
    ) {
        self.end = ((from | (TOGETHER - 1)) + 1).min(reach);
        self.present = 0;
        let first = (from % TOGETHER) as usize;
        let count = (self.end - from) as usize;
        let rest = self.entries.get_mut(first..first + count).unwrap_or_default();
        if memory.load_qwords(place(from), rest.as_flattened_mut()).is_err() {
            // Some of them may be readable.
            for (number, entry) in (from..).zip(rest.iter_mut()) {
                if memory.load_qwords(place(number), entry).is_err() {
                    *entry = [0; QWORDS];
                }
            }
        }
        for (number, entry) in (from..).zip(rest.iter()) {
            let present = entry.first().is_some_and(|first| first & 1 == 1);
            self.present |= u8::from(present) << (number % TOGETHER);
        }
    }
}
