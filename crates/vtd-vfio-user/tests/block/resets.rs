//! Resets of a queue, of the device and of the function, also in the middle of requests.

use vtd_vfio_user::function::Function;

use crate::guest::{
    COMMON, DATA, FEATURES, Guest, HEADER, IN, NEXT, OUT, STATUS, Translation, WRITE,
};

/// Fills a queue with reads that take a while: most of the disk, many times over.
fn keep_busy(guest: &mut Guest, queue: u16) {
    guest.put_header(IN, 0);
    // 120 times the same 512 KiB: one request moves 60 MiB, and all of them take seconds.
    let mut chain = vec![(HEADER, 16, NEXT, 1)];
    chain.extend((2..122).map(|next| (DATA, 0x8_0000, WRITE | NEXT, next)));
    chain.push((STATUS, 1, WRITE, 0));
    guest.describe(queue, 0, &chain);
    for _ in 0..256 {
        guest.offer(queue, 0);
    }
    guest.notify(queue);
    guest.until("the queue has begun", |guest| guest.used(queue) > 0);
}

/// Nothing writes to the memory of the driver any more.
fn is_at_rest(guest: &Guest, queue: u16) {
    let used = guest.used(queue);
    guest.store(DATA, &[0x55; 0x1_0000]);
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(guest.used(queue), used);
    assert!(used < 256, "too fast for this test");
    assert_eq!(guest.load(DATA, 0x1_0000), [0x55; 0x1_0000]);
}

#[test]
fn a_reset_of_the_device_ends_what_is_under_way() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    keep_busy(&mut guest, 0);
    guest.write(COMMON + 0x14, 1, 0);
    is_at_rest(&guest, 0);
    assert_eq!(guest.status(), 0);
    guest.write(COMMON + 0x16, 2, 0);
    for (offset, size, value) in
        [(0x18, 2, 256), (0x1a, 2, 0xffff), (0x1c, 2, 0), (0x20, 8, 0), (0x28, 8, 0), (0x30, 8, 0)]
    {
        assert_eq!(guest.read(COMMON + offset, size), value);
    }
    guest.start(FEATURES);
    assert_eq!(guest.request(0, OUT, 0, &[(DATA, 512)]), 0);
}

#[test]
fn a_reset_of_the_function_ends_what_is_under_way() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    keep_busy(&mut guest, 1);
    guest.device.config().reset();
    guest.device.reset();
    is_at_rest(&guest, 1);
    assert_eq!(guest.status(), 0);
    // It is no bus master now.
    guest.start(FEATURES);
    guest.put_header(IN, 0);
    guest.offer(1, 0);
    guest.notify(1);
    is_at_rest(&guest, 1);
    guest.device.write_config(4, &[6, 0]);
    guest.until("the queue goes on", |guest| guest.used(1) == 1);
}

#[test]
fn a_queue_is_reset_alone() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    keep_busy(&mut guest, 0);
    guest.write(COMMON + 0x16, 2, 0);
    guest.write(COMMON + 0x3a, 2, 1);
    assert_eq!(guest.read(COMMON + 0x3a, 2), 0);
    assert_eq!(guest.read(COMMON + 0x1c, 2), 0);
    is_at_rest(&guest, 0);
    assert_eq!(guest.status(), 0xf);
    assert_eq!(guest.request(1, OUT, 0, &[(DATA, 512)]), 0);
    guest.enable_queue(0, 128);
    assert_eq!(guest.request(0, OUT, 0, &[(DATA, 512)]), 0);
}

#[test]
fn bus_master_off_ends_all_access() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    keep_busy(&mut guest, 0);
    guest.device.write_config(4, &[2, 0]);
    is_at_rest(&guest, 0);
    guest.device.write_config(4, &[6, 0]);
    guest.start(FEATURES);
    assert_eq!(guest.request(0, OUT, 0, &[(DATA, 512)]), 0);
}

#[test]
fn a_device_that_goes_away_ends_what_is_under_way() {
    let mut guest = Guest::new(Translation::Legacy);
    guest.start(FEATURES);
    keep_busy(&mut guest, 0);
    keep_busy(&mut guest, 1);
    drop(guest);
}
