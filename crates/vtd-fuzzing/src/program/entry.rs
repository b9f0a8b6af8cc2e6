//! What an edit writes.

use super::operation::{Edit, Table, Target};
use super::pools::{DIRECTORIES, DOMAINS, INDICES, PASIDS, SECOND_STAGE, SOURCES, of};

/// Where an entry lies and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The address of its first qword.
    pub place: u64,
    /// Its qwords, of which the first [`length`](Self::length) count.
    pub words: [u64; 8],
    /// How many qwords it has.
    pub length: usize,
}

/// Entries of PASID directories: of PASIDs 0 to 63, 64 to 127, the last of a directory of one page of 128 entries, and the one past it.
const DIRECTORY_INDICES: [u64; 4] = [0, 1, 127, 128];
/// Entries of PASID tables.
const PASID_INDICES: [u64; 4] = [0, 1, 2, 63];

impl Edit {
    /// The entry.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let base = self.table.place();
        let mut entry = match self.table {
            Table::Root(_) => self.root(base),
            Table::Context(source) => match self.bits.has(7) {
                true => self.context(base, of(&SOURCES, source)),
                false => self.legacy_context(of(&SOURCES, source)),
            },
            Table::Directory(_) => {
                let index = of(&DIRECTORY_INDICES, self.index);
                let qw0 = self.target.address() | self.bit(0) | self.unset(1) << 1;
                entry(base + 8 * index, [qw0])
            }
            Table::Pasids(_) => self.pasid_entry(base),
            Table::FirstStage(_) => self.first_stage(base),
            Table::SecondStage(_) => self.second_stage(base),
            Table::Interrupts => self.interrupt(base),
        };
        if self.turned != 255 {
            let word = usize::from(self.turned / 64) % entry.length;
            if let Some(word) = entry.words.get_mut(word) {
                *word ^= 1 << (self.turned % 64);
            }
        }
        entry
    }

    fn bit(&self, bit: u8) -> u64 {
        self.bits.has(bit).into()
    }

    fn unset(&self, bit: u8) -> u64 {
        1 - self.bit(bit)
    }

    fn domain(&self) -> u64 {
        of(&DOMAINS, self.domain).into()
    }

    /// Of bus 0: both halves, or in legacy mode the table of all functions.
    fn root(&self, base: u64) -> Entry {
        let [lower, upper] = super::pools::CONTEXTS;
        let lower = if self.target == Target::Nowhere { self.target.address() } else { lower };
        entry(base, [lower | self.bit(0), upper * self.bit(1) | self.bit(1)])
    }

    fn context(&self, base: u64, source: u16) -> Entry {
        let directory = match self.target {
            Target::Table(Table::Directory(_)) | Target::Nowhere => self.target.address(),
            _ => of(&DIRECTORIES, self.index),
        };
        let flags = self.bit(0) | self.unset(1) << 1 | self.bit(2) << 2 | self.bit(3) << 3;
        let size = u64::from(self.kind.saturating_sub(5));
        let qw0 = directory | flags | self.bit(4) << 4 | size << 9;
        let rid_pasid = if self.bits.has(5) { 0 } else { of(&PASIDS, self.domain) };
        let qw1 = u64::from(rid_pasid) | self.unset(6) << 20;
        entry(base + 32 * u64::from(source & 0x7f), [qw0, qw1, 0, 0])
    }

    fn legacy_context(&self, source: u16) -> Entry {
        let base = super::pools::CONTEXTS[0];
        let table = match self.target {
            Target::Table(Table::SecondStage(_)) | Target::Nowhere => self.target.address(),
            _ => SECOND_STAGE[0],
        };
        let kind = u64::from(self.kind % 4);
        let qw0 = table | self.bit(0) | self.unset(1) << 1 | kind << 2;
        let width = of(&[2, 2, 1, 3], self.index);
        let qw1 = width | self.domain() << 8;
        entry(base + 16 * u64::from(source & 0xff), [qw0, qw1])
    }

    fn pasid_entry(&self, base: u64) -> Entry {
        let index = of(&PASID_INDICES, self.index);
        let kind = of(&[1, 1, 1, 2, 3, 4, 4, 0], self.kind);
        let target = self.target.address();
        let (second, first) = match self.target {
            Target::Table(Table::SecondStage(_)) => (target, of(&super::pools::FIRST_STAGE, 0)),
            _ => (SECOND_STAGE[0], target),
        };
        // 48 bits, or 39 or 57.
        let width = if self.bits.has(6) { 2 } else { 1 + 2 * u64::from(self.index & 1) };
        let mut words = [0; 8];
        words[0] = second | self.bit(0) | self.unset(1) << 1 | width << 2 | kind << 6;
        // Accessed and dirty bits of the second stage, with the extended ones of the first.
        words[0] |= self.unset(5) << 9;
        words[1] = self.domain() | self.unset(7) << 23;
        words[2] = first | self.unset(2) | self.unset(3) << 2 | self.unset(4) << 4;
        words[2] |= self.unset(5) << 7;
        entry(base + 64 * index, words)
    }

    fn first_stage(&self, base: u64) -> Entry {
        let index = u64::from(of(&INDICES, self.index));
        let large = u64::from(self.kind == 7) << 7;
        let marks = self.unset(4) << 5 | self.unset(5) << 6 | self.unset(6) << 10;
        let permits = self.bit(0) | self.bit(1) << 1 | self.bit(2) << 2 | self.unset(3) << 63;
        entry(base + 8 * index, [self.target.address() | permits | marks | large])
    }

    fn second_stage(&self, base: u64) -> Entry {
        let index = u64::from(of(&INDICES, self.index));
        let large = u64::from(self.kind == 7) << 7;
        let marks = self.unset(4) << 8 | self.unset(5) << 9 | self.unset(6) << 11;
        let permits = self.bit(0) | self.bit(1) << 1 | self.unset(2) << 2;
        entry(base + 8 * index, [self.target.address() | permits | marks | large])
    }

    fn interrupt(&self, base: u64) -> Entry {
        let index = u64::from(self.index);
        let source = u64::from(of(&SOURCES, self.domain));
        let qw0 = self.bit(0) | self.unset(1) << 1 | u64::from(self.kind) << 16 | 1 << 40;
        let check = u64::from(self.kind % 4) << 18 | self.unset(2) << 16;
        entry(base + 16 * index, [qw0, source | check])
    }
}

fn entry<const N: usize>(place: u64, from: [u64; N]) -> Entry {
    let mut words = [0; 8];
    for (word, from) in words.iter_mut().zip(from) {
        *word = from;
    }
    Entry { place, words, length: N.clamp(1, 8) }
}

/// The PASID table and the entry in it that a PASID of the pool leads to while the directories are as they were laid out.
#[must_use]
pub fn table_of(pasid: u32) -> (Table, u8) {
    let table = match pasid >> 6 {
        0 => 0,
        1 => 1,
        _ => 2,
    };
    let index = PASID_INDICES.iter().position(|index| *index == u64::from(pasid & 63));
    (Table::Pasids(table), u8::try_from(index.unwrap_or(0)).unwrap_or(0))
}
