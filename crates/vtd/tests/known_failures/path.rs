//! The entries on the way of a request, all of them sound.

use crate::guest::{Dma, Guest, Shape, context_place};
use crate::raw::*;

/// A directory of 2^14 entries, for PASIDs of 20 bits.
pub(crate) const WIDE_DIRECTORY: u64 = 0x100_0000;
/// The table that every entry of it leads to.
pub(crate) const WIDE_TABLE: u64 = 0x200_0000;
/// RID_PASID of the context entry.
const RID_PASID: u64 = 0x3_0005;

/// Where the entries on the way of a request lie.
pub(crate) struct Path {
    pub(crate) root: u64,
    pub(crate) context: u64,
    pub(crate) directory: u64,
    pub(crate) entry: u64,
}

/// Builds a path for a request, all of it present: a first-stage table maps `PAGE` to `FRAME_A`.
pub(crate) fn build_path(guest: &Guest, pasid: Option<u64>) -> Path {
    let number = pasid.unwrap_or(RID_PASID);
    let path = Path {
        root: ROOT,
        context: context_place(DEVICE),
        directory: WIDE_DIRECTORY + (number >> 6) * 8,
        entry: WIDE_TABLE + (number & 0x3f) * 64,
    };
    guest.ram.put(path.context, &[WIDE_DIRECTORY | 0xe09, RID_PASID, 0, 0]);
    guest.ram.put(path.directory, &[WIDE_TABLE | 1]);
    guest.ram.put(path.entry, &first_stage(FIRST_A, 7));
    path
}

impl Path {
    /// For tables of legacy mode, which are always in the same places.
    pub(crate) const NONE: Self = Self { root: 0, context: 0, directory: 0, entry: 0 };
}

/// Where the first stage of [`nested`] leads.
pub(crate) const NESTED: u64 = 0x6000;

/// Where the second stage maps a page of the first 2 MiB.
pub(crate) fn second_stage_leaf(address: u64) -> u64 {
    SECOND + 0x3000 + (address >> 12) * 8
}

/// The tables of [`nested`]: `PAGE` is `NESTED` to the first stage, whose tables lie where they are, and `FRAME_SECOND` in the end.
pub(crate) fn map_nested(guest: &Guest) {
    guest.ram.put(FIRST_A + 0x3000 + (PAGE >> 12) * 8, &[NESTED | 7]);
    guest.ram.put(second_stage_leaf(NESTED), &[FRAME_SECOND | 3]);
    for level in 0..4 {
        let table = FIRST_A + level * 0x1000;
        guest.ram.put(second_stage_leaf(table), &[table | 3]);
    }
}

/// A legacy-mode guest whose device has a second-stage table of four levels.
pub(crate) fn legacy_guest() -> (Guest, Dma) {
    let guest = Guest::off(Shape::uncached());
    guest.ram.put(ROOT, &[LOWER_CONTEXTS | 1, 0]);
    guest.ram.put(LEGACY_CONTEXT, &[SECOND | 1, 7 << 8 | 2]);
    guest.write64(RTADDR, ROOT);
    guest.command(SRTP);
    guest.command(TE);
    let dma = guest.emulated();
    (guest, dma)
}

/// 16 bytes for each device.
pub(crate) const LEGACY_CONTEXT: u64 = LOWER_CONTEXTS + DEVICE as u64 * 16;
