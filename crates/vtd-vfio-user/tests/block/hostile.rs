//! A driver that does anything: no panic, no hang, and a device that works after a reset.

use std::time::Duration;

use vtd_vfio_user::function::Function;

use crate::guest::{
    DATA, EVENT_INDEX, FEATURES, Guest, HEADER, IN, NEXT, OUT, Random, STATUS, Translation, WRITE,
    bytes_of, pattern,
};

const ADDRESSES: [u64; 8] = [0, HEADER, STATUS, DATA, 0xfee0_0000, 1 << 40, u64::MAX - 7, 0x1_1000];
const LENGTHS: [u64; 8] = [0, 1, 15, 16, 512, 0x1_0000, 0x10_0000, 0xffff_ffff];

fn descriptor(random: &mut Random) -> Vec<u8> {
    let address = random.one_of(&ADDRESSES).wrapping_add(random.below(3));
    let length = u32::try_from(random.one_of(&LENGTHS)).unwrap();
    let flags = u16::try_from(random.below(8)).unwrap();
    let next = u16::try_from(random.one_of(&[0, 1, 2, 3, 4, 5, 255, 256])).unwrap();
    bytes_of((address, length, flags, next))
}

fn act(guest: &mut Guest, random: &mut Random) {
    let queue = u16::try_from(random.below(2)).unwrap();
    let [table, driver_ring, device_ring] = Guest::rings(queue);
    match random.below(40) {
        0..3 => guest.store(table + 16 * random.below(6), &descriptor(random)),
        3..6 => std::thread::sleep(Duration::from_micros(random.below(200))),
        6..9 => {
            let head = u16::try_from(random.one_of(&[0, 1, 2, 3, 255, 256])).unwrap();
            guest.offer(queue, head);
            guest.notify(queue);
        }
        9 => guest.store(driver_ring + random.below(8), &random.next().to_le_bytes()),
        10 => guest.store(device_ring + random.below(8), &random.next().to_le_bytes()),
        11 => guest.put_header(random.one_of(&[0, 1, 4, 8, 9]), random.below(4096)),
        12 => {
            let ring = random.one_of(&[table, driver_ring, device_ring, HEADER, STATUS, DATA]);
            guest.map(ring / 4096, random.below(4));
        }
        13 => guest.invalidate(),
        14 => guest.device.write_config(4, &[random.one_of(&[2, 6, 6, 6]), 0]),
        15 => {
            let mut bytes = vec![0; usize::try_from(random.below(9)).unwrap()];
            guest.device.read_bar(0, random.below(0x4000), &mut bytes);
            guest.device.write_bar(0, random.below(0x4000), &random.next().to_le_bytes());
        }
        16 => {
            let at = 0x88 + random.below(0x58);
            guest.device.write_config(at, &random.next().to_le_bytes()[..4]);
            guest.device.read_config(at, &mut [0; 4]);
        }
        17..20 => {
            let size = random.one_of(&[1, 2, 4, 8]);
            let value = random.one_of(&[0, 1, 2, 3, 0xf, 256, table, random.0]);
            guest.write(random.below(0x40), size, value);
        }
        20 => guest.write(0x3a, 2, 1),
        21 => guest.enable_queue(queue, random.one_of(&[1, 16, 256])),
        22 => guest.write(0x14, 1, random.one_of(&[0, 0xf, 0x4f, 0x80])),
        23 => {
            for page in 0..0x100 {
                guest.map(page, 3);
            }
            if guest.negotiate(random.one_of(&[FEATURES, FEATURES | EVENT_INDEX, 3 << 32])) {
                guest.enable_queue(0, random.one_of(&[2, 256]));
                guest.enable_queue(1, 256);
                guest.write(0x14, 1, 0xf);
            }
        }
        _ => request(guest, random, queue),
    }
}

/// What a driver would ask for, with data anywhere.
fn request(guest: &mut Guest, random: &mut Random, queue: u16) {
    guest.put_header(random.one_of(&[IN, OUT]), random.below(64));
    let address = random.one_of(&ADDRESSES).wrapping_add(random.below(0x2000));
    let length = u32::try_from(512 * random.below(64)).unwrap();
    let flags = random.one_of(&[NEXT, NEXT | WRITE]);
    let chain = [(HEADER, 16, NEXT, 1), (address, length, flags, 2), (STATUS, 1, WRITE, 0)];
    guest.describe(queue, 0, &chain);
    guest.offer(queue, 0);
    guest.notify(queue);
}

pub(crate) fn storm(guest: &mut Guest, seed: u64, steps: u32) {
    let mut random = Random(seed);
    guest.start(FEATURES);
    for _ in 0..steps {
        act(guest, &mut random);
    }
    guest.device.config().reset();
    guest.device.reset();
    for page in 0..0x100 {
        guest.map(page, 3);
    }
    guest.invalidate();
    guest.device.write_config(4, &[6, 0]);
    guest.start(FEATURES);
    let data = pattern(seed, 0x2000);
    guest.store(DATA, &data);
    assert_eq!(guest.request(1, OUT, 8, &[(DATA, 0x2000)]), 0, "seed {seed:#x}");
    assert_eq!(guest.request(0, IN, 8, &[(DATA + 0x8000, 0x2000)]), 0, "seed {seed:#x}");
    assert_eq!(guest.load(DATA + 0x8000, 0x2000), data, "seed {seed:#x}");
}

#[test]
fn a_driver_that_does_anything() {
    for seed in 1..=24 {
        storm(
            &mut Guest::new(Translation::Legacy),
            0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed),
            800,
        );
    }
}
