//! Guest memory in files.
//!
//! This module needs `unsafe`: a mapped file changes without Rust's knowledge, so no reference to its bytes may ever exist,
//! and each qword must be reached as an atomic made from a raw pointer. Mapping a file and making that atomic are the only
//! two unsafe steps; everything else goes through `Mapping::qword`.
#![allow(unsafe_code)]

use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

use memmap2::{MmapOptions, MmapRaw};
use vtd_spec::Gpa;

use crate::span::Span;
use crate::{AccessError, FileMemoryError, GuestMemory, Region, qword};

/// Guest memory in raw memory images, such as a VMM's dump of its guest.
///
/// Images are mapped copy-on-write: what the unit writes is seen by its own reads and is gone with this value; the files are
/// never changed, and may be read-only. What other programs write to a file meanwhile may or may not be seen.
///
/// **A file must not be made shorter while it is mapped**: reading what is gone ends the process with `SIGBUS`. No library
/// can prevent that; give it files that nobody else changes.
#[derive(Debug)]
pub struct FileMemory {
    /// In the order of their addresses, none overlapping another.
    mappings: Vec<Mapping>,
}

impl FileMemory {
    /// Maps `regions`, in any order. Between them is no memory; where one ends at the address at which another begins, an
    /// access may cover both.
    ///
    /// # Errors
    /// A region cannot be opened or mapped, is misaligned, empty, not within its file or the address space, or overlaps
    /// another one.
    pub fn open(regions: &[Region]) -> Result<Self, FileMemoryError> {
        let mut mappings = Vec::new();
        for (number, region) in regions.iter().enumerate() {
            mappings.push((number, Mapping::new(number, region)?));
        }
        mappings.sort_by_key(|(_, mapping)| mapping.first);
        for ((first, below), (second, above)) in mappings.iter().zip(mappings.iter().skip(1)) {
            if above.first <= below.last {
                return Err(FileMemoryError::Overlap {
                    first: *first,
                    second: *second,
                    gpa: above.first,
                });
            }
        }
        Ok(Self { mappings: mappings.into_iter().map(|(_, mapping)| mapping).collect() })
    }

    /// The qword at an aligned address, if it is memory.
    fn qword(&self, gpa: Gpa) -> Option<&AtomicU64> {
        let above = self.mappings.partition_point(|mapping| mapping.first <= gpa);
        let mapping = self.mappings.get(above.checked_sub(1)?)?;
        mapping.qword(usize::try_from(gpa.0.checked_sub(mapping.first.0)?).ok()?)
    }
}

impl GuestMemory for FileMemory {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        let span = Span::of_qwords(gpa, 1)?;
        Ok(qword::load(self.qword(gpa).ok_or(span.not_backed())?))
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        let span = Span::of_qwords(gpa, out.len())?;
        for (gpa, value) in span.qwords().zip(out) {
            *value = qword::load(self.qword(gpa).ok_or(span.not_backed())?);
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let span = Span::of_qwords(gpa, 1)?;
        Ok(qword::compare_exchange(self.qword(gpa).ok_or(span.not_backed())?, current, new))
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        let span = Span::new(gpa, 4, 4)?;
        let (aligned, within) = if gpa.0 & 4 == 0 { (gpa, 0) } else { (Gpa(gpa.0 & !7), 4) };
        let qword = self.qword(aligned).ok_or(span.not_backed())?;
        qword::store_bytes(qword, within, &value.to_le_bytes());
        Ok(())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        let span = Span::of_qwords(gpa, values.len())?;
        // Nothing is written unless all of it can be.
        if span.qwords().any(|gpa| self.qword(gpa).is_none()) {
            return Err(span.not_backed());
        }
        for (gpa, value) in span.qwords().zip(values) {
            qword::store(self.qword(gpa).ok_or(span.not_backed())?, *value);
        }
        Ok(())
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

/// One mapped region: a multiple of 8 bytes, at least 8.
#[derive(Debug)]
struct Mapping {
    first: Gpa,
    /// The address of its last byte.
    last: Gpa,
    memory: MmapRaw,
}

impl Mapping {
    fn new(number: usize, region: &Region) -> Result<Self, FileMemoryError> {
        let path = || region.path.clone();
        let opened = File::open(&region.path).and_then(|file| {
            let length = file.metadata()?.len();
            Ok((file, length))
        });
        let (file, file_length) = opened.map_err(|source| FileMemoryError::Open {
            region: number,
            path: path(),
            source,
        })?;

        let beyond_file =
            || FileMemoryError::BeyondFile { region: number, path: path(), file_length };
        let available = file_length.checked_sub(region.file_offset).ok_or_else(beyond_file)?;
        let length = region.length.unwrap_or(available & !7);
        if length > available {
            return Err(beyond_file());
        }
        if [region.gpa.0, region.file_offset, length].iter().any(|value| value % 8 != 0) {
            return Err(FileMemoryError::Misaligned { region: number, path: path() });
        }
        let Some(to_last) = length.checked_sub(1) else {
            return Err(FileMemoryError::Empty { region: number, path: path() });
        };
        let (Some(last), Ok(size)) = (region.gpa.checked_add(to_last), usize::try_from(length))
        else {
            return Err(FileMemoryError::BeyondAddressSpace {
                region: number,
                path: path(),
                gpa: region.gpa,
                length,
            });
        };

        let mut options = MmapOptions::default();
        // Few pages are ever written; reserving swap for all of a large guest could fail for nothing.
        options.offset(region.file_offset).len(size).no_reserve_swap();
        // SAFETY: the danger of a mapping is a reference to bytes that change. None is ever made: the mapping is turned into
        // a `MmapRaw` at once, which gives raw pointers only, and `qword` below makes nothing but atomics from them. Being
        // private, it cannot change memory that other parts of this process see through the file.
        let memory = unsafe { options.map_copy(&file) }.map_err(|source| FileMemoryError::Map {
            region: number,
            path: path(),
            source,
        })?;
        Ok(Self { first: region.gpa, last, memory: MmapRaw::from(memory) })
    }

    /// The qword at an offset, if it is a multiple of 8 and within the mapping.
    fn qword(&self, offset: usize) -> Option<&AtomicU64> {
        let within = offset.checked_add(8).is_some_and(|end| end <= self.memory.len());
        let pointer = self.memory.as_mut_ptr().wrapping_add(offset).cast::<u64>();
        if !within || !pointer.cast::<AtomicU64>().is_aligned() {
            return None;
        }
        // SAFETY: `AtomicU64::from_ptr` asks for four things. The pointer is aligned for an AtomicU64: just checked. It
        // is valid for reads and writes of 8 bytes: the mapping is readable and writable, `offset + 8` lies within its
        // length, and it lives as long as `self`, which the returned reference borrows. No access in this process is
        // non-atomic or of another size: the mapping is private to `self.memory`, whose pointer is used here alone. Any bit
        // pattern is a valid u64. (A file that is made shorter turns an access into SIGBUS: the process ends, and no wrong
        // value is ever read.)
        Some(unsafe { AtomicU64::from_ptr(pointer) })
    }
}
