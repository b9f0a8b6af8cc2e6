//! The few identifiers that programs use, and where their tables lie.
//!
//! Memory of [32 pages](crate::small_memory::PAGES): wait status 0, root tables 1 and 2, lower and upper context table 3 and 4, PASID directories 5 and 6, PASID tables 7
//! to 9, first-stage tables 10 to 16, second-stage tables 17 to 22, invalidation queue 23 and 24, page request queue 25, interrupt
//! remapping table 26, data 27 to 31.

/// The devices: two of the lower context table, one of the upper.
pub const SOURCES: [u16; 3] = [0x18, 0x20, 0x98];
/// Both sides of a table's end, and of the directory's.
pub const PASIDS: [u32; 8] = [0, 1, 2, 63, 64, 65, 8191, 8192];
/// Domains. 0 is that of entries that were not present.
pub const DOMAINS: [u16; 4] = [0, 1, 2, 3];
/// Pages that are asked for, by their number: the first ones, both sides of what a table of the last level covers, of what one of the third
/// does, the interrupt range, the end of 39 and 48 bits, and addresses that are not canonical.
pub const PAGES: [u64; 16] = [
    0,
    1,
    2,
    3,
    0x1ff,
    0x200,
    0x201,
    0x3_ffff,
    0x4_0000,
    0xfee00,
    0xfeeff,
    0x7ff_ffff,
    0x7_ffff_ffff,
    0x8_0000_0000,
    0xf_ffff_ffff_ffff,
    0x0ff_ffff_ffff,
];
/// Indices of entries that those pages lead through, and their neighbours.
pub const INDICES: [u16; 8] = [0, 1, 2, 3, 255, 256, 510, 511];
/// Address masks of invalidations.
pub const MASKS: [u8; 8] = [0, 1, 2, 9, 18, 32, 51, 63];

/// Bits of a qword that change: another page or table, presence and reading, writing, execution or user, another large page, kinds and
/// domains, the page size, the last bit.
pub const CHANGES: [u64; 16] = [
    0x1000,
    1,
    2,
    0x3000,
    0x2000,
    4,
    3,
    0x20_0000,
    0x4000,
    1 << 8,
    1 << 6,
    1 << 16,
    1 << 7,
    0x7000,
    1 << 63,
    1 << 40,
];

/// Where the wait status goes.
pub const STATUS: u64 = 0;
/// Root tables.
pub const ROOTS: [u64; 2] = [0x1000, 0x2000];
/// Context tables of devices 0 to f and 10 to 1f.
pub const CONTEXTS: [u64; 2] = [0x3000, 0x4000];
/// PASID directories.
pub const DIRECTORIES: [u64; 2] = [0x5000, 0x6000];
/// PASID tables.
pub const PASID_TABLES: [u64; 3] = [0x7000, 0x8000, 0x9000];
/// First-stage tables: of levels 4, 3, 2, 1, another of level 1, another of level 4, one of level 5.
pub const FIRST_STAGE: [u64; 7] = [0xa000, 0xb000, 0xc000, 0xd000, 0xe000, 0xf000, 0x1_0000];
/// Second-stage tables: of levels 4, 3, 2, 1, another of level 4, one of level 5.
pub const SECOND_STAGE: [u64; 6] = [0x1_1000, 0x1_2000, 0x1_3000, 0x1_4000, 0x1_5000, 0x1_6000];
/// The invalidation queue, of one page or two.
pub const QUEUE: u64 = 0x1_7000;
/// The page request queue.
pub const PAGE_REQUESTS: u64 = 0x1_9000;
/// The interrupt remapping table.
pub const INTERRUPTS: u64 = 0x1_a000;
/// Pages of data.
pub const DATA: [u64; 5] = [0x1_b000, 0x1_c000, 0x1_d000, 0x1_e000, 0x1_f000];

/// The element that a number names. Pools are not empty.
pub(crate) fn of<T: Copy + Default>(pool: &[T], number: u8) -> T {
    pool.get(usize::from(number) % pool.len().max(1)).copied().unwrap_or_default()
}

/// How many elements a pool has, as a byte.
pub(super) const fn count<T, const N: usize>(_pool: &[T; N]) -> u8 {
    // Pools have fewer than 256 elements.
    N.to_le_bytes()[0]
}

/// A number of a pool whose first `usual` elements are what most programs are about.
pub(super) const fn mostly(byte: u8, usual: u8, all: u8) -> u8 {
    if byte < 160 { byte % usual } else { (byte - 160) % all }
}

/// The byte that [`mostly`] makes this number of.
pub(super) const fn unusual(number: u8, usual: u8) -> u8 {
    if number < usual { number } else { number + 160 }
}
