//! Every bit of the register page: what it is after power-on, and whether software can change it.

use vtd::spec::Capabilities;

use crate::guest::{CAP, ECAP, Guest};

/// A 4-byte register, or half of one of 8: its offset, what it reads after power-on, and the bits that keep what is written.
type Word = (u64, u64, u64);

const ALL: u64 = 0xffff_ffff;

/// Words of a unit without interrupt remapping, page requests, virtual commands and protected memory. Whatever is not here reads
/// 0 and keeps nothing; ICC and IVT are not written, since they clear themselves.
const WORDS: &[Word] = &[
    (0x000, 0x10, 0),
    (0x008, CAP & ALL, 0),
    (0x00c, CAP >> 32, 0),
    (0x010, ECAP & ALL, 0),
    (0x014, ECAP >> 32, 0),
    // RTADDR: TTM and the table.
    (0x020, 0, 0xffff_fc00),
    (0x024, 0, ALL),
    // CCMD: SID and DID; CIRG and FM.
    (0x028, 0, ALL),
    (0x02c, 0, 0x6000_0003),
    (0x038, 0x8000_0000, 0x8000_0000),
    (0x03c, 0, ALL),
    (0x040, 0, 0xffff_fffc),
    (0x044, 0, ALL),
];

/// The registers of the invalidation queue.
const QUEUE: &[Word] = &[
    (0x088, 0, 0x7_fff0),
    (0x090, 0, 0xffff_f807),
    (0x094, 0, ALL),
    (0x0a0, 0x8000_0000, 0x8000_0000),
    (0x0a4, 0, ALL),
    (0x0a8, 0, 0xffff_fffc),
    (0x0ac, 0, ALL),
];

/// The upper half of IOTLB: IIRG, DR, DW and DID. The lower half is reserved, and IVA reads 0.
const IOTLB: &[Word] = &[(0x0fc, 0, 0x3003_ffff)];

/// Bits that are not written: GCMD, and what starts an invalidation.
fn spared(offset: u64) -> u64 {
    match offset {
        0x018 => ALL,
        0x02c | 0x0fc => 0x8000_0000,
        _ => 0,
    }
}

fn check(guest: &Guest, words: &[Word], what: &str) {
    for offset in (0..0x1000).step_by(4) {
        let found = words.iter().find(|(place, ..)| *place == offset);
        let (reset, writable) = found.map_or((0, 0), |(_, reset, writable)| (*reset, *writable));
        let told = |when: &str| format!("{what}: {offset:x} {when}");
        assert_eq!(guest.read(offset, 4), reset, "{}", told("after power-on"));
        for written in [ALL, 0, 0x5555_5555, 0xaaaa_aaaa, ALL, 0] {
            let written = written & !spared(offset);
            guest.write(offset, 4, written);
            let expected = reset & !writable | written & writable;
            assert_eq!(guest.read(offset, 4), expected, "{}", told("after a write"));
        }
        for bit in (0..32).map(|bit| 1 << bit).filter(|bit| spared(offset) & bit == 0) {
            guest.write(offset, 4, bit);
            let expected = reset & !writable | bit & writable;
            assert_eq!(guest.read(offset, 4), expected, "{}", told("after a write of one bit"));
        }
        guest.write(offset, 4, reset);
    }
}

// feature: 8.registers: power-on values and resets
// feature: 8.registers: writable and reserved bits of every one
#[test]
fn every_word_of_the_page() {
    let words = [WORDS, QUEUE, IOTLB].concat();
    check(&Guest::new(), &words, "with a queue");
}

// feature: 8.registers: power-on values and resets
// feature: 8.registers: writable and reserved bits of every one
#[test]
fn registers_of_a_queue_that_is_not_shown() {
    // ECAP without QI, and so without PASID, SMTS, SSTS and FSTS.
    let ecap = ECAP & !(1 << 1 | 1 << 40 | 1 << 43 | 3 << 46);
    let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
    let mut words = [WORDS, IOTLB].concat();
    words.retain(|(offset, ..)| !matches!(offset, 0x10 | 0x14));
    words.extend([(0x10, ecap & ALL, 0), (0x14, ecap >> 32, 0)]);
    check(&guest, &words, "without a queue");
}

// feature: 8.registers: power-on values and resets
// feature: 8.registers: writable and reserved bits of every one
#[test]
fn registers_that_version_6_does_not_have() {
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let guest = Guest::made(caps, |config| config.version = 0x60);
    let mut words = [WORDS, QUEUE].concat();
    words.retain(|(offset, ..)| !matches!(offset, 0 | 0x28 | 0x2c));
    words.push((0, 0x60, 0));
    check(&guest, &words, "version 6.0");
}
