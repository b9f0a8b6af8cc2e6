//! Row 4: page-selective invalidations flush the whole range that they name.

use crate::guest::{Dma, Guest, Shape};
use crate::raw::*;
use vtd::Capacities;

/// A table of four levels each of whose pages leads to the next one whatever the address: every address is mapped.
const EVERYWHERE: u64 = 0x30_0000;

fn map_everywhere(guest: &Guest, bits: u64) {
    for level in 0..3 {
        let page = EVERYWHERE + level * 0x1000;
        guest.ram.put(page, &[page + 0x1000 | bits; 512]);
    }
}

fn map_to(guest: &Guest, frame: u64, bits: u64) {
    guest.ram.put(EVERYWHERE + 0x3000, &[frame | bits; 512]);
}

/// The first and the last byte of 2^`mask` pages around an address; a 64-bit address space is everything.
fn range(address: u64, mask: u64) -> (u128, u128) {
    let size = 1_u128 << (mask + 12).min(64);
    let first = u128::from(address) / size * size;
    (first, first + size - 1)
}

/// Pages at the borders of all ranges, in both halves of the canonical addresses.
fn pages(address: u64) -> Vec<u64> {
    let borders = (12..48).flat_map(|bit| [1 << bit, (1 << bit) - 0x1000]);
    let lower = borders.filter(|page| *page < 1 << 47).collect::<Vec<u64>>();
    let upper = lower.iter().map(|page| !page & !0xfff);
    lower.iter().copied().chain(upper).chain([0, address]).collect()
}

const ADDRESSES: [u64; 5] =
    [0, 0x1234_5678_9000, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000];

fn guest(bits: u64) -> (Guest, Dma) {
    let capacities =
        Capacities { contexts: 4, pasids: 64, translations: 16_384, interrupt_entries: 0 };
    let guest = Guest::of(Shape { capacities, ..Shape::default() });
    map_everywhere(&guest, bits);
    map_to(&guest, FRAME_A, bits);
    let dma = guest.emulated();
    (guest, dma)
}

/// Caches every page of the range, flushes the range, and expects no page of it to be found in the cache.
fn check_flushed(
    (guest, dma): (&Guest, &Dma),
    bits: u64,
    address: u64,
    mask: u64,
    descriptor: [u64; 4],
) {
    let (first, last) = range(address, mask);
    let pages =
        pages(address).into_iter().filter(|page| (first..=last).contains(&u128::from(*page)));
    let pages: Vec<_> = pages.filter(|page| bits == 7 || page >> 48 == 0).collect();
    map_to(guest, FRAME_A, bits);
    guest.flush(&[pasid_iotlb(7, 5), iotlb_of_domain(7)]);
    for page in &pages {
        assert_eq!(dma.read_or_code(Some(5), *page), Ok(FRAME_A));
    }
    map_to(guest, FRAME_B, bits);
    guest.flush(&[descriptor]);
    for page in &pages {
        let found = dma.read_or_code(Some(5), *page);
        assert_eq!(found, Ok(FRAME_B), "AM {mask} at {address:x} flushes {page:x}");
    }
}

// feature: 3.descriptors: PASID-based IOTLB (type 6)
#[test]
fn known_failure_04_every_mask_of_a_pasid_descriptor_flushes_its_whole_range() {
    let (guest, dma) = guest(7);
    guest.set_pasid(5, first_stage(EVERYWHERE, 7));
    for mask in 0..64 {
        for address in ADDRESSES {
            let descriptor = pasid_iotlb_of_pages(7, 5, address, mask);
            check_flushed((&guest, &dma), 7, address, mask, descriptor);
        }
    }
}

// feature: 7.bindings: stage-1 invalidations reach the host
#[test]
fn known_failure_04_every_mask_of_a_pasid_descriptor_reaches_the_host_whole() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let _device = guest.assigned();
    for mask in 0..64 {
        for address in ADDRESSES {
            guest.take_tape();
            guest.flush(&[pasid_iotlb_of_pages(7, 5, address, mask)]);
            let expected = if mask >= 52 {
                "invalidate 1 5 0 all".to_string()
            } else {
                let (first, last) = range(address, mask);
                format!("invalidate 1 5 {first:x} {:x}", (last + 1 - first) >> 12)
            };
            let calls = guest.take_tape();
            assert_eq!(calls[..calls.len() - 1], [expected], "AM {mask} at {address:x}");
        }
    }
}

// feature: 3.descriptors: IOTLB (type 2)
/// CAP.MAMV is 18 here.
#[test]
fn known_failure_04_masks_up_to_mamv_of_a_domain_descriptor_flush_their_range() {
    let (guest, dma) = guest(3);
    guest.set_pasid(5, second_stage(EVERYWHERE, 7));
    for mask in 0..=18 {
        for address in [0, 0x1234_5678_9000, 0xffff_ffff_f000] {
            let descriptor = iotlb_of_pages(7, address, mask);
            check_flushed((&guest, &dma), 3, address, mask, descriptor);
        }
    }
}

// feature: 3.descriptors: IOTLB (type 2)
#[test]
fn known_failure_04_masks_above_mamv_of_a_domain_descriptor_are_an_error() {
    for mask in 19..64 {
        let guest = Guest::new();
        assert!(!guest.try_flush(&[iotlb_of_pages(7, 0, mask)]), "AM {mask}");
        assert_eq!(guest.read32(FSTS) & IQE, IQE, "AM {mask} is above MAMV");
        assert_eq!(guest.read64(IQERCD), 4, "AM {mask}: a reserved field");
        assert_eq!(guest.read64(IQH), 0, "IQH stays at it");
    }
}
