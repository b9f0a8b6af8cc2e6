//! Memory images: any regions of a file of any bytes are refused or mapped, and what is mapped reads as the file does.

use std::cell::RefCell;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use tempfile::NamedTempFile;
use vtd_memory::{FileMemory, GuestMemory, Region};
use vtd_spec::Gpa;

/// A region, mostly a valid one.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Asked {
    /// In quadwords.
    offset: u8,
    /// In quadwords, or up to the end of the file.
    length: Option<u8>,
    /// In quadwords.
    gpa: u8,
    /// 0 to 15: one of its three numbers is not a multiple of 8, or lies at the end of all addresses.
    unusual: u8,
}

thread_local! {
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

/// Maps up to four regions of the file that the rest of these bytes is, and reads and writes around their ends.
///
/// # Panics
/// Where regions that are as they should be are refused, others are mapped, or memory holds something else than the file.
pub fn check(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(count) = input.int_in_range(0..=4_u8) else { return };
    let asked: Result<Vec<_>, _> = (0..count).map(|_| Asked::arbitrary(&mut input)).collect();
    let Ok(asked) = asked else { return };
    let rest = input.take_rest();
    FILE.with_borrow_mut(|file| {
        if file.is_none() {
            *file = new_file();
        }
        // Where no file can be made nothing is tried.
        let Some(file) = file else { return };
        // Made shorter after that, not before: a page that stays costs nothing.
        let written = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(rest))
            .and_then(|()| file.as_file().set_len(rest.len() as u64));
        if written.is_ok() {
            of_file(file, rest, &asked);
        }
    });
}

/// A file in memory, where there are such.
fn new_file() -> Option<NamedTempFile> {
    let in_memory = Path::new("/dev/shm");
    NamedTempFile::new_in(in_memory).or_else(|_| NamedTempFile::new()).ok()
}

fn of_file(file: &NamedTempFile, bytes: &[u8], asked: &[Asked]) {
    let regions: Vec<_> = asked.iter().map(|asked| asked.region(file)).collect();
    let memory = match (FileMemory::open(&regions), are_good(&regions, bytes.len() as u64)) {
        (Ok(memory), true) => memory,
        (Err(_), false) => return,
        (Ok(_), false) => wrong("memory image: bad regions are mapped", &regions),
        (Err(error), true) => wrong("memory image: good regions are refused", &(regions, error)),
    };
    for region in &regions {
        let length = length(region, bytes.len() as u64);
        let ends = [0, length.wrapping_sub(8), length, 8_u64.wrapping_neg(), 4];
        for gpa in ends.map(|distance| region.gpa.0.wrapping_add(distance)) {
            let found = memory.load_u64(Gpa(gpa)).ok();
            let expected = expected(&regions, bytes, gpa);
            if found != expected {
                wrong("memory image: another value", &(regions, gpa, expected, found));
            }
            let exchanged = memory.compare_exchange_u64(Gpa(gpa), expected.unwrap_or(0), 7);
            if exchanged.ok() != expected.map(Ok)
                || memory.load_u64(Gpa(gpa)).ok() != expected.map(|_| 7)
            {
                wrong("memory image: not written", &(regions, gpa));
            }
            // As it was.
            let restored = memory.store_qwords_release(Gpa(gpa), &[expected.unwrap_or(0)]);
            if restored.is_ok() != expected.is_some() {
                wrong("memory image: not written back", &(regions, gpa));
            }
        }
    }
}

impl Asked {
    fn region(&self, file: &NamedTempFile) -> Region {
        let odd = |bit: u8| u64::from(self.unusual == bit) * 4;
        let high = if self.unusual == 3 { 0xffff_ffff_ffff_f000 } else { 0 };
        let gpa = Gpa((u64::from(self.gpa) * 8 | high) + odd(0));
        let region = Region::new(file.path(), gpa);
        let region = region.from_offset(u64::from(self.offset) * 8 + odd(1));
        match self.length {
            Some(length) => region.with_length(u64::from(length) * 8 + odd(2)),
            None => region,
        }
    }
}

fn length(region: &Region, file: u64) -> u64 {
    region.length.unwrap_or(file.saturating_sub(region.file_offset) & !7)
}

/// Whether the documentation of [`FileMemory::open`] says that these are mapped.
fn are_good(regions: &[Region], file: u64) -> bool {
    let alone = regions.iter().all(|region| {
        let length = length(region, file);
        region.gpa.0.is_multiple_of(8)
            && region.file_offset.is_multiple_of(8)
            && length.is_multiple_of(8)
            && length > 0
            && region.file_offset.checked_add(length).is_some_and(|end| end <= file)
            && region.gpa.0.checked_add(length - 1).is_some()
    });
    let first_last = |region: &Region| (region.gpa.0, region.gpa.0 + (length(region, file) - 1));
    alone
        && regions.iter().enumerate().all(|(number, one)| {
            let (first, last) = first_last(one);
            regions
                .iter()
                .skip(number + 1)
                .map(first_last)
                .all(|(other, end)| end < first || last < other)
        })
}

/// The quadword of the file that lies at an address.
fn expected(regions: &[Region], bytes: &[u8], gpa: u64) -> Option<u64> {
    let region = regions.iter().find(|region| {
        gpa.checked_sub(region.gpa.0)
            .is_some_and(|within| within < length(region, bytes.len() as u64))
    })?;
    let at = usize::try_from(region.file_offset + (gpa - region.gpa.0)).ok()?;
    let qword = bytes.get(at..at + 8)?;
    gpa.is_multiple_of(8).then(|| qword.try_into().map_or(0, u64::from_le_bytes))
}

#[allow(clippy::panic, reason = "an oracle reports by panicking")]
fn wrong(what: &str, details: &dyn std::fmt::Debug) -> ! {
    panic!("{what}: {details:x?}")
}
