//! Where the walk gets its entries from: memory as it is, or as it may have been.

use crate::memory::Memory;
use crate::path::{EntryKind, Read};

/// Whose entry is read, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) kind: EntryKind,
    pub(crate) tag: Tag,
}

/// What a cache finds an entry by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The requester.
    pub(crate) source_id: u16,
    /// Root and context entries in legacy mode: their domain is their own.
    pub(crate) legacy: bool,
    /// The PASID that the tables are indexed by, RID_PASID included; none in legacy mode.
    pub(crate) pasid: Option<u32>,
    /// Page-table entries: the domain of the PASID-table or legacy context entry above them.
    pub(crate) domain: u16,
    /// Page-table entries: the address that is being translated by this stage.
    pub(crate) address: u64,
}

/// Entries of tables.
pub(crate) trait Tables {
    /// Reads one entry as a whole; `false` where a part of it is not there.
    fn read(&mut self, place: Place, qwords: &mut [u64]) -> bool;

    /// Whether accessed and dirty bits can be set there.
    fn writable(&mut self, address: u64) -> bool;
}

/// Memory as it is now, without a path: for what may read all tables of a device.
pub(crate) struct Unrecorded<'a, M: ?Sized>(pub(crate) &'a M);

impl<M: Memory + ?Sized> Tables for Unrecorded<'_, M> {
    fn read(&mut self, place: Place, qwords: &mut [u64]) -> bool {
        (0..).zip(qwords).all(|(index, qword)| {
            let value = self.0.qword(place.address.wrapping_add(8 * index));
            *qword = value.unwrap_or(0);
            value.is_some()
        })
    }

    fn writable(&mut self, address: u64) -> bool {
        self.0.writable(address)
    }
}

/// Memory as it is now.
pub(crate) struct Present<'a, M: ?Sized> {
    pub(crate) memory: &'a M,
    pub(crate) reads: &'a mut Vec<Read>,
}

impl<M: Memory + ?Sized> Tables for Present<'_, M> {
    fn read(&mut self, place: Place, qwords: &mut [u64]) -> bool {
        let mut address = place.address;
        for qword in qwords {
            let value = self.memory.qword(address);
            self.reads.push(Read { address, value, kind: place.kind });
            let Some(value) = value else { return false };
            *qword = value;
            address = address.wrapping_add(8);
        }
        true
    }

    fn writable(&mut self, address: u64) -> bool {
        self.memory.writable(address)
    }
}
