//! Addresses that the device cannot reach, and chains that no driver makes.

use std::time::Duration;

use vtd_vfio_user::function::Function;

use crate::guest::{
    DATA, Descriptor, FEATURES, FLUSH, Guest, HEADER, IN, INDIRECT, NEXT, OUT, STATUS, Translation,
    WRITE, bytes_of,
};

#[test]
fn data_that_faults_is_an_error_of_the_request() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    guest.store(DATA, &[7; 0x4000]);
    guest.map(DATA / 4096 + 1, 0);
    // Behind the second page of the first piece; beyond all tables; where interrupts are; at the end of the address space.
    for (kind, address) in [
        (OUT, DATA),
        (IN, DATA),
        (IN, 1 << 40),
        (OUT, 0xfee0_0000),
        (IN, u64::MAX - 100),
        (OUT, u64::MAX - 0x1fff),
    ] {
        assert_eq!(guest.request(0, kind, 0, &[(address, 0x2000)]), 1, "{kind} {address:#x}");
    }
    assert_eq!(guest.faults(), 4);
    assert_eq!(guest.request(0, IN, 0, &[(DATA + 0x2000, 0x1000)]), 0);
    // Written data ends where the fault is, and the length that is told of too.
    assert_eq!(guest.request(0, IN, 0, &[(DATA + 0x2000, 0x1000), (DATA + 0x1000, 0x1000)]), 1);
    assert_eq!(guest.last_used(0), (0, 0x1000));
    assert_eq!(guest.status(), 0xf);
    assert_eq!(guest.disk_bytes(0, 0x2000), [0; 0x2000]);
}

#[test]
fn rights_are_those_of_the_tables() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    guest.map(DATA / 4096, 1);
    guest.map(DATA / 4096 + 1, 2);
    assert_eq!(guest.request(0, OUT, 0, &[(DATA, 512)]), 0);
    assert_eq!(guest.request(0, IN, 0, &[(DATA, 512)]), 1);
    assert_eq!(guest.request(0, IN, 0, &[(DATA + 0x1000, 512)]), 0);
    assert_eq!(guest.request(0, OUT, 0, &[(DATA + 0x1000, 512)]), 1);
}

#[test]
fn a_page_that_is_unmapped_is_reached_no_more() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    assert_eq!(guest.request(0, IN, 0, &[(DATA, 512)]), 0);
    guest.map(DATA / 4096, 0);
    guest.invalidate();
    guest.store(DATA, &[0xaa; 512]);
    assert_eq!(guest.request(0, IN, 0, &[(DATA, 512)]), 1);
    assert_eq!(guest.load(DATA, 512), [0xaa; 512]);
}

#[test]
fn memory_that_is_not_there_is_an_error_of_the_request() {
    let mut guest = Guest::new(Translation::Off);
    guest.start(FEATURES);
    for address in [5 << 20, (4 << 20) - 256, 1 << 50, 0xfee0_0000] {
        assert_eq!(guest.request(0, IN, 0, &[(address, 512)]), 1);
        assert_eq!(guest.request(0, OUT, 0, &[(address, 512)]), 1);
    }
}

#[test]
fn a_header_that_faults_is_an_error_and_a_status_that_faults_breaks_the_queue() {
    let mut guest = Guest::new(Translation::Legacy);
    let mut vector = guest.listen(0);
    guest.start(FEATURES);
    guest.put_header(FLUSH, 0);
    guest.describe(0, 0, &[(1 << 40, 16, NEXT, 1), (STATUS, 1, WRITE, 0)]);
    guest.carry_out(0, 0);
    assert_eq!(guest.load(STATUS, 1), [1]);
    guest.describe(0, 0, &[(HEADER, 16, NEXT, 1), (1 << 40, 1, WRITE, 0)]);
    guest.offer(0, 0);
    guest.notify(0);
    guest.until_broken();
    assert!(vector.arrives(Duration::from_secs(20)));
    assert_eq!(guest.read(crate::guest::ISR, 1) & 2, 2);
    assert_eq!(guest.used(0), 1);
    // The other queue goes on, and a reset heals this one.
    assert_eq!(guest.request(1, FLUSH, 0, &[]), 0);
    guest.start(FEATURES);
    assert_eq!(guest.request(0, FLUSH, 0, &[]), 0);
}

#[test]
fn rings_that_fault_break_their_queue() {
    for ring in Guest::rings(0) {
        let mut guest = Guest::new(Translation::Legacy);
        guest.start(FEATURES);
        assert_eq!(guest.request(0, FLUSH, 0, &[]), 0);
        guest.map(ring / 4096, 0);
        guest.invalidate();
        let before = guest.faults();
        guest.put_header(FLUSH, 0);
        guest.offer(0, 0);
        guest.notify(0);
        guest.until_broken();
        assert!(guest.faults() > before);
        guest.map(ring / 4096, 3);
        guest.start(FEATURES);
        assert_eq!(guest.request(0, FLUSH, 0, &[]), 0);
    }
}

/// A whole request, were it not for what stands in its place.
const HEAD: Descriptor = (HEADER, 16, NEXT, 1);
const TAIL: Descriptor = (STATUS, 1, WRITE, 0);

#[test]
fn chains_that_no_driver_makes_break_their_queue() {
    let chains: &[&[Descriptor]] = &[
        // A loop, of one and of two.
        &[(HEADER, 16, NEXT, 0)],
        &[HEAD, (DATA, 512, NEXT, 0)],
        // The next one is not in the table.
        &[HEAD, (DATA, 512, NEXT, 256)],
        // No header, half a header, no status, an empty one.
        &[TAIL],
        &[(HEADER, 15, NEXT, 1), TAIL],
        &[HEAD, (DATA, 512, 0, 0)],
        &[HEAD, (STATUS, 0, WRITE, 0)],
        // What is read stands behind what is written.
        &[(STATUS, 1, WRITE | NEXT, 1), (HEADER, 16, 0, 0)],
        // More than 4 GiB.
        &[HEAD, (DATA, u32::MAX, NEXT, 2), TAIL],
        // Tables: empty, not whole, out of reach, in a table.
        &[(0x4_8000, 0, INDIRECT, 0)],
        &[(0x4_8000, 17, INDIRECT, 0)],
        &[(1 << 40, 32, INDIRECT, 0)],
        &[(u64::MAX - 15, 32, INDIRECT, 0)],
        &[(0x4_8000, 32, INDIRECT, 0)],
        &[(0x4_8000, 0x10_0000, INDIRECT, 0)],
        // A loop in a large table.
        &[(0x4_9000, 0xf_fff0, INDIRECT, 0)],
    ];
    let mut guest = Guest::new(Translation::Legacy);
    guest.store(0x4_8000, &bytes_of((0x4_8000, 32, INDIRECT, 0)));
    guest.store(0x4_9000, &bytes_of((HEADER, 16, NEXT, 0)));
    for chain in chains {
        guest.start(FEATURES);
        guest.put_header(FLUSH, 0);
        guest.describe(0, 0, chain);
        guest.offer(0, 0);
        guest.notify(0);
        guest.until_broken();
        assert_eq!(guest.used(0), 0, "{chain:x?}");
    }
}

#[test]
fn indices_that_no_driver_writes_break_their_queue() {
    // A head that is not in the table; more chains than there are places.
    for (head, index) in [(256, 1_u16), (0xffff, 1), (0, 257), (0, 0xffff)] {
        let mut guest = Guest::new(Translation::Legacy);
        guest.start(FEATURES);
        guest.put_header(FLUSH, 0);
        guest.describe(0, 0, &[HEAD, TAIL]);
        guest.offer(0, head);
        guest.store(Guest::rings(0)[1] + 2, &index.to_le_bytes());
        guest.notify(0);
        guest.until_broken();
    }
}

#[test]
fn without_bus_master_there_is_no_access() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    assert_eq!(guest.request(0, FLUSH, 0, &[]), 0);
    guest.device.write_config(4, &[2, 0]);
    guest.put_header(FLUSH, 0);
    guest.offer(0, 0);
    guest.notify(0);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(guest.used(0), 1);
    assert_eq!(guest.status(), 0xf);
    guest.device.write_config(4, &[6, 0]);
    guest.until("the queue goes on", |guest| guest.used(0) == 2);
    assert_eq!(guest.load(STATUS, 1), [0]);
}
