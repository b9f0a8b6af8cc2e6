//! What the recording says of guest memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use vtd::spec::Gpa;

use crate::format::Event;

/// The qwords of 64 bytes of memory.
type Line = [u64; 8];

const LINE_BYTES: u64 = 64;

/// Guest memory as a replay has it: what `mem` and `zero` lines said, and what the unit wrote.
///
/// The lines of one input stand before it, so they tell what memory held before the unit itself wrote to it.
#[derive(Debug, Default)]
pub(super) struct KnownMemory {
    /// The pages that a line named.
    pages: HashSet<Gpa>,
    /// The lines of these pages that are not known to be zero.
    lines: HashMap<Gpa, Line>,
    /// The lines that this input has touched.
    touched: BTreeMap<Gpa, Touched>,
    /// The pages that this input was the first to touch.
    named: BTreeSet<Gpa>,
}

#[derive(Debug)]
struct Touched {
    /// What the line held when the input came.
    before: Line,
    /// That is not what the recording says so far.
    changed: bool,
}

/// A qword that an input touches.
struct Place<'a> {
    now: &'a mut u64,
    before: &'a mut u64,
    changed: &'a mut bool,
}

/// The start of the 64-byte line that holds an address.
pub(super) fn line_of(gpa: Gpa) -> Gpa {
    Gpa(gpa.0 & !(LINE_BYTES - 1))
}

/// The starts of the lines that hold these qwords, which lie within the address space.
pub(super) fn lines_of(gpa: Gpa, qwords: usize) -> impl Iterator<Item = Gpa> {
    let bytes = u64::try_from(qwords).unwrap_or(u64::MAX).saturating_mul(8);
    let last = gpa.0.saturating_add(bytes.saturating_sub(1));
    let count = if bytes == 0 { 0 } else { (last - line_of(gpa).0) / LINE_BYTES + 1 };
    (0..count).map(move |n| Gpa(line_of(gpa).0 + n * LINE_BYTES))
}

impl KnownMemory {
    /// The unit found these qwords from `gpa` upwards.
    pub(super) fn found(&mut self, gpa: Gpa, qwords: &[u64]) {
        for (gpa, value) in addresses(gpa).zip(qwords) {
            let Some(place) = self.touch(gpa) else { return };
            if *place.now != *value {
                *place.now = *value;
                *place.before = *value;
                *place.changed = true;
            }
        }
    }

    /// The unit wrote these qwords from `gpa` upwards.
    pub(super) fn wrote(&mut self, gpa: Gpa, qwords: &[u64]) {
        for (gpa, value) in addresses(gpa).zip(qwords) {
            let Some(place) = self.touch(gpa) else { return };
            *place.now = *value;
        }
    }

    /// The unit wrote four bytes at `gpa`.
    pub(super) fn wrote_u32(&mut self, gpa: Gpa, value: u32) {
        let shift = (gpa.0 & 4) * 8;
        let Some(place) = self.touch(gpa) else { return };
        *place.now = *place.now & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }

    /// The lines that say what memory held when the input came, as far as the recording has not said so yet. The next
    /// input begins.
    pub(super) fn take_lines(&mut self) -> Vec<Event> {
        let mut unsaid = std::mem::take(&mut self.named);
        let mut runs: Vec<(Gpa, Vec<u8>)> = Vec::new();
        for (gpa, touched) in std::mem::take(&mut self.touched) {
            if !touched.changed {
                continue;
            }
            unsaid.remove(&gpa.page());
            let bytes = touched.before.iter().flat_map(|qword| qword.to_le_bytes());
            match runs.last_mut() {
                // Neighbours within a page share a line of the file.
                Some((start, run)) if is_next(*start, run.len(), gpa) => run.extend(bytes),
                _ => runs.push((gpa, bytes.collect())),
            }
        }
        let zeros = unsaid.into_iter().map(|gpa| Event::Zero { gpa });
        zeros.chain(runs.into_iter().map(|(gpa, bytes)| Event::Mem { gpa, bytes })).collect()
    }

    fn touch(&mut self, gpa: Gpa) -> Option<Place<'_>> {
        if self.pages.insert(gpa.page()) {
            self.named.insert(gpa.page());
        }
        let line = line_of(gpa);
        // What a named page holds is zero where nothing else was said.
        let now = self.lines.entry(line).or_default();
        let touched =
            self.touched.entry(line).or_insert_with(|| Touched { before: *now, changed: false });
        let place = usize::try_from((gpa.0 - line.0) / 8).ok()?;
        Some(Place {
            now: now.get_mut(place)?,
            before: touched.before.get_mut(place)?,
            changed: &mut touched.changed,
        })
    }
}

/// The addresses of qwords from `gpa` upwards.
fn addresses(gpa: Gpa) -> impl Iterator<Item = Gpa> {
    (gpa.0..=u64::MAX).step_by(8).map(Gpa)
}

/// Whether `gpa` lies right behind a run of `length` bytes from `start`, in the same page.
fn is_next(start: Gpa, length: usize, gpa: Gpa) -> bool {
    start.page() == gpa.page() && u64::try_from(length) == Ok(gpa.0 - start.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(memory: &mut KnownMemory) -> Vec<String> {
        memory
            .take_lines()
            .iter()
            .map(|line| line.to_string().trim_end_matches('0').into())
            .collect()
    }

    #[test]
    fn lines_tell_what_was_there_before_the_unit_wrote() {
        let mut memory = KnownMemory::default();
        memory.found(Gpa(0x1000), &[0x11, 0x22]);
        memory.wrote(Gpa(0x1000), &[0x33]);
        // The guest changes the neighbour while the same input is carried out.
        memory.found(Gpa(0x1000), &[0x33, 0x44]);
        memory.wrote_u32(Gpa(0x100c), 0x55);
        assert_eq!(lines(&mut memory), ["mem 1000 110000000000000044"]);

        memory.found(Gpa(0x1000), &[0x33, 0x55_0000_0044]);
        assert_eq!(lines(&mut memory), [""; 0]);
        memory.found(Gpa(0x1000), &[0]);
        assert_eq!(lines(&mut memory), ["mem 1000 00000000000000004400000055"]);
    }

    #[test]
    fn neighbours_share_a_line_within_a_page() {
        let mut memory = KnownMemory::default();
        memory.found(Gpa(0x1f80), &[1; 16]);
        memory.found(Gpa(0x2000), &[1]);
        memory.found(Gpa(0x2080), &[1]);
        let starts: Vec<_> = memory
            .take_lines()
            .into_iter()
            .map(|line| match line {
                Event::Mem { gpa, bytes } => (gpa.0, bytes.len()),
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(starts, [(0x1f80, 128), (0x2000, 64), (0x2080, 64)]);
    }

    #[test]
    fn a_page_is_named_once() {
        let mut memory = KnownMemory::default();
        memory.found(Gpa(0x1008), &[0]);
        memory.wrote_u32(Gpa(0x2004), 7);
        memory.found(Gpa(0x3ff8), &[0, 1]);
        assert_eq!(lines(&mut memory), ["zero 1", "zero 2", "zero 3", "mem 4000 01"]);
        memory.found(Gpa(0x1ff8), &[0]);
        memory.found(Gpa(0x2000), &[7 << 32]);
        assert_eq!(lines(&mut memory), [""; 0]);
    }

    #[test]
    fn lines_of_any_span() {
        let lines = |gpa, qwords| lines_of(Gpa(gpa), qwords).map(|gpa| gpa.0).collect::<Vec<_>>();
        for (gpa, qwords, expected) in [
            (0x1000, 0, &[][..]),
            (0x1038, 1, &[0x1000]),
            (0x1038, 2, &[0x1000, 0x1040]),
            (0x1040, 16, &[0x1040, 0x1080]),
            (u64::MAX - 7, 1, &[u64::MAX - 63]),
        ] {
            assert_eq!(lines(gpa, qwords), expected, "{gpa:x}");
        }
    }
}
