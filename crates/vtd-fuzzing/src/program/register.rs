//! Registers that programs write with values that mean something, where a write of any bits hardly ever would.

use super::operation::{Bits, Operation};
use super::pools::{DOMAINS, MASKS, PAGES, QUEUE, ROOTS, SOURCES, of};

/// A write out of bytes: which register, a granularity or mode, and what it is about.
pub(super) fn write(
    [register, granularity, domain, source, page, mask, flags]: [u8; 7],
) -> Operation {
    let domain = u64::from(of(&DOMAINS, domain));
    let source = u64::from(of(&SOURCES, source));
    let some = 1 + u64::from(granularity % 3);
    let bits = Bits(flags);
    let bit = |bit| u64::from(bits.has(bit));
    let (offset, size, value) = match register % 8 {
        // CCMD, and IVA and IOTLB.
        0 => (0x28, 8, 1 << 63 | some << 61 | (bit(0) | bit(1) << 1) << 32 | source << 16 | domain),
        1 => (0xf0, 8, of(&PAGES, page) << 12 | bit(0) << 6 | u64::from(of(&MASKS, mask))),
        2 | 3 => (0xf8, 8, 1 << 63 | some << 60 | bit(0) << 49 | bit(1) << 48 | domain << 32),
        // GCMD with all on, but for some; with SRTP, or SIRTP.
        4 => {
            let on = (1 - bit(0)) << 31 | (1 - bit(1)) << 26 | bit(2) << 25 | bit(3) << 23;
            (0x18, 4, on | bit(4) << 30 | bit(5) << 24)
        }
        // RTADDR: of scalable mode, of legacy mode, of none, and one that is not defined.
        5 => {
            let mode = of(&[0x400, 0, 0xc00, 0x800], granularity);
            (0x20, 8, of(&ROOTS, page) | mode)
        }
        // IQA while the queue is on or off: of another width or size.
        6 => (0x90, 8, QUEUE | bit(0) << 11 | u64::from(granularity % 8)),
        // IQT where no descriptor can end.
        _ => (0x88, 8, u64::from(mask) << 4 | bit(0) << 12),
    };
    Operation::Write { offset, size, value }
}
