//! Requests, with and without translation.

use std::time::Duration;

use crate::guest::{
    DATA, EVENT_INDEX, FEATURES, FLUSH, GET_ID, Guest, HEADER, IN, INDIRECT, NEXT, OUT, SECTORS,
    STATUS, Translation, WRITE, bytes_of, pattern,
};

const BOTH: [Translation; 2] = [Translation::Off, Translation::Legacy];
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn what_is_written_is_read_back() {
    for translation in BOTH {
        let mut guest = Guest::new(translation);
        guest.start(FEATURES);
        for (queue, sector, length) in
            [(0, 0, 512), (1, 3, 0x3000), (0, SECTORS - 1, 512), (1, 100, 0x2_0200)]
        {
            let data = pattern(sector + 7, length);
            let length = u32::try_from(length).unwrap();
            guest.store(DATA + 0x800, &data);
            assert_eq!(guest.request(queue, OUT, sector, &[(DATA + 0x800, length)]), 0);
            assert_eq!(guest.last_used(queue), (0, 1));
            assert_eq!(guest.disk_bytes(sector * 512, data.len()), data);
            let into = DATA + 0x4_0000;
            assert_eq!(guest.request(queue, IN, sector, &[(into, length)]), 0);
            assert_eq!(guest.last_used(queue), (0, length + 1));
            assert_eq!(guest.load(into, data.len()), data);
        }
        assert_eq!(guest.faults(), 0);
    }
}

#[test]
fn a_request_may_be_cut_anywhere() {
    for translation in BOTH {
        let mut guest = Guest::new(translation);
        guest.start(FEATURES);
        let data = pattern(5, 1024);
        // Two pieces of a header, the second with the first of the data; data with a hole and an empty buffer; data and status in one.
        guest.put_header(OUT, 9);
        let header = guest.load(HEADER, 16);
        guest.store(0x4_2000, &[&header[5..], &data[..100]].concat());
        guest.store(0x4_3ff0, &data[100..900]);
        guest.store(0x4_5000, &data[900..]);
        guest.describe(
            0,
            20,
            &[
                (HEADER, 5, NEXT, 21),
                (0x4_2000, 111, NEXT, 22),
                (0x4_3ff0, 800, NEXT, 23),
                (0, 0, NEXT, 24),
                (0x4_5000, 124, NEXT, 25),
                (STATUS, 1, WRITE, 0),
            ],
        );
        guest.carry_out(0, 20);
        assert_eq!(guest.load(STATUS, 1), [0]);
        assert_eq!(guest.disk_bytes(9 * 512, 1024), data);
        guest.put_header(IN, 9);
        guest.describe(
            0,
            30,
            &[
                (HEADER, 16, NEXT, 31),
                (DATA + 7, 1, NEXT | WRITE, 32),
                (DATA + 0x2000, 1024, WRITE, 0),
            ],
        );
        guest.carry_out(0, 30);
        assert_eq!(guest.last_used(0), (30, 1025));
        assert_eq!(guest.load(DATA + 7, 1), data[..1]);
        assert_eq!(guest.load(DATA + 0x2000, 1024), [&data[1..], &[0]].concat());
        assert_eq!(guest.faults(), 0);
    }
}

#[test]
fn a_request_may_stand_in_a_table_of_its_own() {
    for translation in BOTH {
        let mut guest = Guest::new(translation);
        guest.start(FEATURES);
        let data = pattern(6, 512);
        guest.store(DATA, &data);
        guest.put_header(OUT, 4);
        // It begins in the middle of a page and ends on the next one.
        let table = 0x4_6ff0;
        for (place, descriptor) in
            [(HEADER, 16, NEXT, 1), (DATA, 512, NEXT, 2), (STATUS, 1, WRITE, 0)]
                .into_iter()
                .enumerate()
        {
            guest.store(table + 16 * place as u64, &bytes_of(descriptor));
        }
        guest.describe(0, 7, &[(table, 48, INDIRECT, 0)]);
        guest.carry_out(0, 7);
        assert_eq!(guest.load(STATUS, 1), [0]);
        assert_eq!(guest.disk_bytes(4 * 512, 512), data);
    }
}

#[test]
fn flush_and_identity() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    assert_eq!(guest.request(0, FLUSH, 0, &[]), 0);
    guest.store(DATA, &[0xee; 40]);
    assert_eq!(guest.request(0, GET_ID, 0, &[(DATA, 3), (DATA + 3, 17)]), 0);
    assert_eq!(guest.last_used(0), (0, 21));
    assert_eq!(guest.load(DATA, 21), [b"vtd-9.0".as_slice(), &[0; 13], &[0xee]].concat());
}

#[test]
fn what_the_disk_has_not_is_refused() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    let before = guest.disk_bytes(0, 1 << 20);
    for (kind, sector, length) in [
        (IN, SECTORS, 512),
        (IN, SECTORS - 1, 1024),
        (OUT, SECTORS - 1, 1024),
        (IN, u64::MAX, 512),
        (OUT, u64::MAX / 512, 512),
        (IN, 0, 511),
        (OUT, 0, 513),
        (OUT, 0, 0xffff_ff00),
        (IN, 0, 0xffff_0000),
    ] {
        assert_eq!(
            guest.request(0, kind, sector, &[(DATA, length)]),
            1,
            "{kind} {sector} {length}"
        );
    }
    for kind in [2, 3, 11, 13, 0x8000_0000] {
        assert_eq!(guest.request(1, kind, 0, &[(DATA, 512)]), 2);
    }
    assert_eq!(guest.disk_bytes(0, 1 << 20), before);
    assert_eq!(guest.faults(), 0);
}

#[test]
fn many_requests_on_both_queues() {
    for features in [FEATURES, FEATURES | EVENT_INDEX] {
        let mut guest = Guest::new(Translation::Legacy);
        guest.start(features);
        let data = pattern(8, 64 * 512);
        guest.store(DATA, &data);
        // More rounds than the ring has places, so that it turns.
        for round in 0..12_u16 {
            for queue in [0, 1] {
                for place in 0..32_u16 {
                    let header = HEADER + 0x800 * u64::from(queue) + 16 * u64::from(place);
                    let sector = 64 * u64::from(round) + 32 * u64::from(queue) + u64::from(place);
                    guest.store(header, &OUT.to_le_bytes());
                    guest.store(header + 8, &sector.to_le_bytes());
                    let head = 3 * place;
                    let source = DATA + 512 * (sector % 64);
                    guest.describe(
                        queue,
                        head,
                        &[
                            (header, 16, NEXT, head + 1),
                            (source, 512, NEXT, head + 2),
                            (STATUS, 1, WRITE, 0),
                        ],
                    );
                    guest.offer(queue, head);
                }
            }
            guest.notify(0);
            guest.notify(1);
            let done = 32 * (round + 1);
            guest.until("both queues are done", |guest| {
                guest.used(0) == done && guest.used(1) == done
            });
            assert_eq!(guest.disk_bytes(64 * 512 * u64::from(round), data.len()), data);
        }
    }
}

#[test]
fn a_used_buffer_interrupts_on_the_vector_of_its_queue() {
    let mut guest = Guest::new(Translation::Legacy);
    let mut vectors = [0, 1, 2].map(|vector| guest.listen(vector));
    guest.start(FEATURES);
    for queue in [0, 1] {
        guest.request(queue, FLUSH, 0, &[]);
        assert!(vectors[usize::from(queue) + 1].arrives(LONG));
    }
    assert_eq!(guest.read(crate::guest::ISR, 1), 1);
    assert_eq!(guest.read(crate::guest::ISR, 1), 0);
    // The driver wants none before the third buffer from here.
    guest.start(FEATURES | EVENT_INDEX);
    let [_, driver_ring, _] = Guest::rings(0);
    guest.store(driver_ring + 4 + 512, &2_u16.to_le_bytes());
    guest.request(0, FLUSH, 0, &[]);
    guest.request(0, FLUSH, 0, &[]);
    assert!(!vectors[1].arrives(SHORT));
    guest.request(0, FLUSH, 0, &[]);
    assert!(vectors[1].arrives(LONG));
    assert!(!vectors[0].arrives(SHORT));
}
