//! What operations choose from.

pub(super) const INTERRUPTS: u64 = 0xb000;
pub(super) const DEVICES: [u16; 8] = [0x18, 0x19, 0x20, 0x98, 0x18, 0x18, 0x18, 0x18];
pub(super) const PASIDS: [Option<u32>; 8] =
    [None, Some(0), Some(1), Some(2), Some(3), Some(1), Some(64), Some(0x2000)];
pub(super) const INDEXES: [u64; 4] = [0, 1, 5, 511];

/// One of a pool.
#[allow(clippy::indexing_slicing, reason = "any number is taken modulo the size of the pool")]
pub(super) fn pick<T: Copy, const N: usize>(pool: [T; N], at: u8) -> T {
    pool[usize::from(at) % N]
}

/// An address whose tables have entries of the pool, seldom another.
pub(super) fn input_address(indexes: [u8; 4]) -> u64 {
    let index = |at: u8| pick(INDEXES, at);
    let [a, b, c, d] = indexes;
    let address = index(a) << 39 | index(b) << 30 | index(c) << 21 | index(d) << 12;
    let offset = u64::from(d >> 2) * 8;
    match a >> 4 {
        14 => 0xfee0_0000 | offset,
        13 => 1 << (a & 63),
        0..6 => index(d) << 12 | offset,
        6..10 => index(b) << 30 | index(c) << 21 | index(d) << 12 | offset,
        // Canonical.
        _ if index(a) == 511 && a & 8 == 0 => address | offset | 0xffff_0000_0000_0000,
        _ => address | offset,
    }
}
