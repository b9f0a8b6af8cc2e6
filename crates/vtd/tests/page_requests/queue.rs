//! The page request queue: what is written where, and when it is full.

use vtd::spec::{Iova, PageRequest};
use vtd::{Access, PageRequestError};

use super::machine::{Machine, PQA, PQH, PQT, PRS, QUEUE};
use crate::guest::card::page_request;
use crate::guest::{first_stage, pasid, translate};

// feature: 4.page requests: queue (PQA, PQH, PQT)
#[test]
fn every_field_has_its_place_and_all_32_bytes_are_written() {
    let plain =
        PageRequest { read: false, write: false, last_in_group: false, ..page_request(None, 0, 0) };
    let with = |change: fn(&mut PageRequest)| {
        let mut request = plain;
        change(&mut request);
        request
    };
    // (request; qw0, qw1). 00:03.0 is 18, 00:04.0 is 20.
    let table: [(PageRequest, u64, u64); 13] = [
        (plain, 0x0000_0000_0018_0001, 0),
        (with(|request| request.pasid = Some(pasid(0))), 0x0000_0000_0018_0101, 0),
        (with(|request| request.pasid = Some(pasid(0x1fff))), 0x0000_1fff_0018_0101, 0),
        (with(|request| request.execute = true), 0x0010_0000_0018_0001, 0),
        (with(|request| request.privileged = true), 0x0020_0000_0018_0001, 0),
        (with(|request| request.read = true), 0x0000_0000_0018_0001, 1),
        (with(|request| request.write = true), 0x0000_0000_0018_0001, 2),
        (with(|request| request.last_in_group = true), 0x0000_0000_0018_0001, 4),
        (with(|request| request.group_index = 1), 0x0000_0000_0018_0001, 8),
        (with(|request| request.group_index = 0x1ff), 0x0000_0000_0018_0001, 0xff8),
        // Bits that a group index does not have, and the place within a page, do not count.
        (with(|request| request.group_index = 0xfe00), 0x0000_0000_0018_0001, 0),
        (
            with(|request| request.address = Iova(0xffff_8000_0000_5fff)),
            0x18_0001,
            0xffff_8000_0000_5000,
        ),
        (with(|request| request.source_id = vtd::spec::SourceId(0x99)), 0x18_0001, 0),
    ];
    for (request, qw0, qw1) in table {
        let machine = Machine::new();
        for index in 0..2 {
            machine.guest.put(QUEUE + index * 32, &[u64::MAX; 4]);
        }
        machine.guest.unit.page_request(machine.device, request).unwrap();
        machine.guest.unit.page_request(machine.assigned, request).unwrap();
        assert_eq!(machine.entry(0), [qw0, qw1, 0, 0], "{request:?}");
        assert_eq!(machine.entry(1), [qw0 + 0x8_0000, qw1, 0, 0], "assigned, {request:?}");
        assert_eq!(machine.guest.read(PQT, 8), 0x40);
        assert_eq!(machine.guest.unit.counts().page_requests, 2);
    }
}

// feature: 4.page requests: queue (PQA, PQH, PQT)
/// For each size: full when one entry is left, and then again from another place, over the end.
#[test]
fn the_queue_wraps_and_fills_at_every_size() {
    for order in 0..4_u64 {
        let machine = Machine::new();
        let entries = 128 << order;
        machine.guest.write(PQA, 8, QUEUE | order);
        let ask = |group: u64| {
            let group = u16::try_from(group & 0x1ff).unwrap();
            machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, group))
        };
        for start in [0, entries / 2, entries - 1] {
            machine.guest.write(PQH, 8, start * 32);
            machine.guest.write(PQT, 8, start * 32);
            for number in 0..entries - 1 {
                assert_eq!(ask(number), Ok(()), "{order} {start} {number}");
                let place = (start + number) % entries;
                assert_eq!(machine.entry(place), [0x18_0001, 0x1007 | (number & 0x1ff) << 3, 0, 0]);
                assert_eq!(machine.guest.read(PQT, 8), (place + 1) % entries * 32);
            }
            let tail = machine.guest.read(PQT, 8);
            assert_eq!(ask(0), Err(PageRequestError::QueueFull), "{order} {start}");
            assert_eq!((machine.guest.read(PQT, 8), machine.guest.read(PRS, 4)), (tail, 3));
            machine.guest.write(PRS, 4, 3);
        }
    }
}

// feature: 4.page requests: overflow (PRS.PRO)
#[test]
fn while_pro_is_set_everything_is_dropped() {
    let machine = Machine::new();
    let ask = || machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 1));
    machine.guest.write(PQH, 8, 0x20);
    assert_eq!(ask(), Err(PageRequestError::QueueFull));
    assert_eq!((machine.guest.read(PQT, 8), machine.guest.read(PRS, 4)), (0, 2));
    // Space alone does not help, nor does clearing PPR.
    machine.guest.write(PQH, 8, 0);
    machine.guest.write(PRS, 4, 1);
    assert_eq!(ask(), Err(PageRequestError::QueueFull));
    assert_eq!((machine.guest.read(PQT, 8), machine.guest.read(PRS, 4)), (0, 2));
    machine.guest.write(PRS, 4, 2);
    assert_eq!(ask(), Ok(()));
    assert_eq!((machine.guest.read(PQT, 8), machine.guest.read(PRS, 4)), (0x20, 1));
    let counts = machine.guest.unit.counts();
    assert_eq!((counts.page_requests, counts.page_requests_dropped), (1, 2));
}

// feature: 4.page requests: queue (PQA, PQH, PQT)
#[test]
fn the_registers_keep_their_bits() {
    let machine = Machine::new();
    // (offset, written, read)
    let table: [(u64, u64, u64); 8] = [
        (PQH, u64::MAX, 0x7_ffe0),
        (PQT, u64::MAX, 0x7_ffe0),
        (PQH, 0x1f, 0),
        (PQT, 0x1f, 0),
        (PQA, u64::MAX, 0xffff_ffff_ffff_f007),
        (PQA, 0xff8, 0),
        (PQA, 7, 7),
        (PQA, 0x1234_5000, 0x1234_5000),
    ];
    for (offset, written, read) in table {
        machine.guest.write(offset, 8, written);
        assert_eq!(machine.guest.read(offset, 8), read, "{offset:x} {written:x}");
    }
    // PRS is cleared, never set.
    machine.guest.write(PRS, 4, 0xffff_ffff);
    assert_eq!(machine.guest.read(PRS, 4), 0);
    machine.guest.write(0xd8, 8, u64::MAX);
    assert_eq!(machine.guest.read(0xd8, 8), 0);
}

#[test]
fn prs_is_the_upper_half_of_its_quadword() {
    let machine = Machine::new();
    machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 1)).unwrap();
    assert_eq!((machine.guest.read(PRS, 4), machine.guest.read(0xd8, 8)), (1, 1 << 32));
    machine.guest.write(0xd8, 8, 1 << 32);
    assert_eq!(machine.guest.read(PRS, 4), 0);
}

// feature: 4.page requests: overflow (PRS.PRO)
/// A queue that cannot be written has lost a request, and says so.
#[test]
fn a_queue_outside_memory_overflows() {
    for address in [0x7fff_f000, 0xffff_ffff_ffff_f007, 0x4000_0000_0000_0000] {
        let machine = Machine::new();
        machine.guest.write(PQA, 8, address);
        let refused =
            machine.guest.unit.page_request(machine.device, page_request(Some(5), 0x1000, 1));
        assert_eq!(refused, Err(PageRequestError::QueueNotWritable), "{address:x}");
        assert_eq!((machine.guest.read(PQT, 8), machine.guest.read(PRS, 4)), (0, 2));
        assert_eq!(machine.card_told(), ["response 5 1 f"]);
    }
}

// feature: 4.page requests: cached translation of the page dropped first
#[test]
fn the_translation_of_the_page_is_dropped() {
    for number in [None, Some(5)] {
        let machine = Machine::new();
        let guest = &machine.guest;
        guest.map_first_stage(0x10_0000, 0x5000, 0xa000, 7);
        guest.put(0x10_3000 + 6 * 8, &[0xb007]);
        guest.put_entry(3, u64::from(number.unwrap_or(0)), &first_stage(0x10_0000, 1));
        let dma = guest.unit.dma(machine.device, number.map(pasid)).unwrap();
        let read = |address| translate(&dma, address, Access::READ);
        assert_eq!((read(0x5000), read(0x6000)), (Ok(0xa000), Ok(0xb000)));
        // The guest unmaps both and invalidates neither.
        guest.put(0x10_3000 + 5 * 8, &[0, 0]);
        assert_eq!((read(0x5000), read(0x6000)), (Ok(0xa000), Ok(0xb000)));
        guest.unit.page_request(machine.device, page_request(number, 0x5123, 1)).unwrap();
        assert!(read(0x5000).is_err(), "{number:?}");
        assert_eq!(read(0x6000), Ok(0xb000), "{number:?}, the next page stays");
    }
}
