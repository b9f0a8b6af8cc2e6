//! PASID directory and PASID-table entries.

use crate::bits::{bit, field, low16, mask};
use crate::capabilities::Capabilities;
use crate::context::ScalableContext;
use crate::path::EntryKind;
use crate::tables::{Place, Tables, Tag};
use crate::walker::Walker;

/// A PASID-table entry that is present and well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PasidEntry {
    pub(crate) kind: PasidKind,
    pub(crate) domain: u16,
    pub(crate) first_table: u64,
    pub(crate) first_levels: u8,
    pub(crate) second_table: u64,
    /// AW.
    pub(crate) second_width: u64,
    pub(crate) second_accessed_dirty: bool,
    /// SRE.
    pub(crate) supervisor: bool,
    /// ERE.
    pub(crate) execute: bool,
    /// WPE.
    pub(crate) write_protect: bool,
    /// NXE.
    pub(crate) no_execute: bool,
    /// SMEP.
    pub(crate) smep: bool,
    /// EAFE.
    pub(crate) extended_accessed: bool,
}

/// PGTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasidKind {
    First,
    Second,
    Nested,
    PassThrough,
}

impl<T: Tables> Walker<'_, T> {
    /// The PASID-table entry of a PASID: codes 46, 50 to 52, 58 to 5B.
    pub(crate) fn pasid_entry(
        &mut self,
        source_id: u16,
        context: &ScalableContext,
        pasid: u32,
    ) -> Result<PasidEntry, u8> {
        let tag = Tag { source_id, pasid: Some(pasid), ..Tag::default() };
        let index = u64::from(pasid) >> 6;
        if index >= context.directory_entries {
            return Err(0x46);
        }
        let mut directory = [0];
        let place = Place {
            address: context.directory.wrapping_add(index * 8),
            kind: EntryKind::Directory,
            tag,
        };
        if !self.tables.read(place, &mut directory) {
            return Err(0x50);
        }
        let [directory] = directory;
        self.fpd |= bit(directory, 1);
        if !bit(directory, 0) {
            return Err(0x51);
        }
        if directory & (mask(11, 2) | self.unit.capabilities.beyond()) != 0 {
            return Err(0x52);
        }
        let address = (directory & mask(63, 12)).wrapping_add(u64::from(pasid & 0x3f) * 64);
        let mut entry = [0; 8];
        if !self.tables.read(Place { address, kind: EntryKind::PasidEntry, tag }, &mut entry) {
            return Err(0x58);
        }
        let [low, ..] = entry;
        self.fpd |= bit(low, 1);
        decode(self.unit.capabilities, entry)
    }
}

/// Decodes a PASID-table entry: 59, 5A, 5B.
pub(crate) fn decode(caps: Capabilities, entry: [u64; 8]) -> Result<PasidEntry, u8> {
    let [zeroth, first, second, rest @ ..] = entry;
    if !bit(zeroth, 0) {
        return Err(0x59);
    }
    let pgtt = field(zeroth, 8, 6);
    let has_first = matches!(pgtt, 1 | 3);
    let has_second = matches!(pgtt, 2 | 3);

    let mut reserved = [1 << 5 | mask(11, 10), mask(22, 16), mask(11, 8)];
    let [zeroth_reserved, first_reserved, second_reserved] = &mut reserved;
    if !caps.ssads() {
        *zeroth_reserved |= 1 << 9;
    }
    if has_second {
        *zeroth_reserved |= caps.beyond();
    }
    if !caps.smpwcs() {
        *first_reserved |= 1 << 23;
    }
    if !caps.sc() {
        *first_reserved |= 1 << 24;
    }
    if !caps.srs() {
        *second_reserved |= 1;
    }
    if !caps.eafs() {
        *second_reserved |= 1 << 7;
    }
    if has_first {
        *second_reserved |= caps.beyond();
    }
    if zeroth & *zeroth_reserved != 0
        || first & *first_reserved != 0
        || second & *second_reserved != 0
        || rest.iter().any(|qword| *qword != 0)
    {
        return Err(0x5a);
    }

    let kind = match pgtt {
        1 if caps.fsts() => PasidKind::First,
        2 if caps.ssts() => PasidKind::Second,
        3 if caps.nest() => PasidKind::Nested,
        4 if caps.pt() => PasidKind::PassThrough,
        _ => return Err(0x5b),
    };
    let second_width = field(zeroth, 4, 2);
    if has_second && !caps.has_width(second_width) {
        return Err(0x5b);
    }
    let first_levels = match field(second, 3, 2) {
        0 => 4,
        1 if caps.fs5lp() => 5,
        _ if has_first => return Err(0x5b),
        _ => 4,
    };
    Ok(PasidEntry {
        kind,
        domain: low16(first),
        first_table: second & mask(63, 12),
        first_levels,
        second_table: zeroth & mask(63, 12),
        second_width,
        second_accessed_dirty: bit(zeroth, 9),
        supervisor: bit(second, 0),
        execute: bit(second, 1),
        write_protect: bit(second, 4),
        no_execute: bit(second, 5),
        smep: bit(second, 6),
        extended_accessed: bit(second, 7),
    })
}
