//! Tables that make sense, as a driver would have made them.

use std::sync::LazyLock;

use super::entry::Entry;
use super::operation::{Bits, Edit, Table, Target};
use super::pools::{CONTEXTS, DATA, DIRECTORIES, FIRST_STAGE, PASID_TABLES, ROOTS, SECOND_STAGE};
use crate::small_memory::SmallMemory;

/// What [`lay_out`] writes.
static LAID_OUT: LazyLock<Vec<(u64, u64)>> = LazyLock::new(|| {
    let memory = SmallMemory::default();
    lay_out(&memory);
    let mut changes = Vec::new();
    memory.take_changes(&mut changes);
    changes.iter().map(|change| (change.place, change.value)).collect()
});

/// Sets a memory back to what [`lay_out`] makes of one that holds zeros, with nothing noted.
pub fn set_back(memory: &SmallMemory) {
    memory.clear_to(&LAID_OUT);
}

/// The pages of second-stage addresses that are those of memory: first-stage tables and all that follows.
const IDENTICAL: std::ops::Range<u64> = FIRST_STAGE[0] >> 12..crate::small_memory::PAGES;

/// Fills a memory that holds zeros: two root tables, a scalable-mode context entry for each device, two full PASID directories, and
/// a page table of four levels for each stage that maps the pages of data. PASID tables are empty.
pub fn lay_out(memory: &SmallMemory) {
    for root in ROOTS {
        memory.put(root, CONTEXTS[0] | 1);
        memory.put(root + 8, CONTEXTS[1] | 1);
    }
    for source in 0..3 {
        let table = Table::Context(source);
        write_entry(memory, &Edit { index: source & 1, ..Edit::usual(table) });
    }
    for directory in DIRECTORIES {
        for (index, table) in [0, 1, 127].into_iter().zip(PASID_TABLES) {
            memory.put(directory + 8 * index, table | 1);
        }
    }
    for levels in [&FIRST_STAGE[..4], &SECOND_STAGE[..4]] {
        for pair in levels.windows(2) {
            if let [upper, lower] = pair {
                memory.put(*upper, lower | 7);
            }
        }
        if let Some(last) = levels.last() {
            for (page, data) in (0..).zip(DATA) {
                memory.put(last + 8 * page, data | 7);
            }
        }
    }
    // A nested walk finds the other tables and the data where they are.
    for page in IDENTICAL {
        memory.put(SECOND_STAGE[3] + 8 * page, page << 12 | 7);
    }
    // The second address space of each stage has the same tables below its root.
    memory.put(FIRST_STAGE[5], FIRST_STAGE[1] | 7);
    memory.put(SECOND_STAGE[4], SECOND_STAGE[1] | 7);
    memory.put(FIRST_STAGE[6], FIRST_STAGE[0] | 7);
    memory.put(SECOND_STAGE[5], SECOND_STAGE[0] | 7);
}

/// Makes an edit.
pub fn write_entry(memory: &SmallMemory, edit: &Edit) {
    let entry = edit.entry();
    write_entry_at(memory, entry.place, &entry);
}

/// Writes an entry where another lies. The quadword that says that it is present comes last, as drivers do it.
pub fn write_entry_at(memory: &SmallMemory, place: u64, entry: &Entry) {
    for (number, word) in (0_u32..8).zip(entry.words).take(entry.length).rev() {
        memory.put(place + 8 * u64::from(number), word);
    }
}

impl Edit {
    /// An edit of the first entry of a table, as drivers make it.
    #[must_use]
    pub const fn usual(table: Table) -> Self {
        Self {
            table,
            index: 0,
            target: Target::Nothing,
            kind: 0,
            domain: 1,
            bits: Bits(0xff),
            turned: 255,
        }
    }
}
