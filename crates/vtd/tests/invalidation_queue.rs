//! The invalidation queue: descriptors, errors, waits.
#![cfg(test)]

mod guest;

use std::sync::{Arc, Mutex};

use guest::{
    CAP, CONTEXT_GLOBAL, ECAP, FAULT_DATA, Guest, INVALIDATION_DATA, IOTLB_GLOBAL, PASID_GLOBAL,
    QUEUE, STATUS, first_stage, pasid_selective, translate,
};
use vtd::host::{HostDevice, ModelHost};
use vtd::spec::descriptor::{Descriptor, Wait};
use vtd::spec::{Capabilities, Slot};
use vtd::{Access, InterruptMessage, Observer, Step};

/// Interrupt remapping with MHMV 15, page requests and their drain besides.
const ECAP_WIDE: u64 = ECAP | 1 << 3 | 0xf << 20 | 1 << 29 | 1 << 42;
/// Device-TLB invalidation throttle besides.
const ECAP_DIT: u64 = ECAP_WIDE | 1 << 41;

fn with_ecap(ecap: u64) -> Guest {
    let mut guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
    guest.enable();
    guest
}

/// Turns the queue off and on again with this IQA, empty.
fn requeue(guest: &Guest, address: u64) {
    guest.command(0x8000_0000);
    guest.write(0x88, 8, 0);
    guest.write(0x90, 8, address);
    guest.command(0x8400_0000);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
}

// feature: 3.descriptors: all nine types, 128 and 256 bits (IQA.DW)
#[test]
fn all_types_are_carried_out_in_both_widths() {
    let narrow: [[u64; 2]; 15] = [
        [0x11, 0],
        [0x21 | 5 << 16, 0],
        [0x31 | 5 << 16 | 0x18 << 32 | 3 << 48, 0],
        [0x12, 0],
        [0x22 | 5 << 16, 0],
        [0x32 | 5 << 16, 0x5000 | 1 << 6 | 0x12],
        [0xf2 | 5 << 16, 0x5000],
        [0x03 | 0x1f << 16 | 0x18 << 32, 0x5000],
        [0x03 | 0x18 << 32, 0x7fff_ffff_ffff_f001],
        [0x04, 0],
        [0x14 | 15 << 27 | 7 << 32, 0],
        [0x25 | 9 << 32, STATUS],
        [0x45, 0],
        [0x15, 0],
        [0xf5, 0x9ffc],
    ];
    let wide: [[u64; 2]; 11] = [
        [0x26 | 5 << 16 | 1 << 32, 0],
        [0x36 | 5 << 16 | 0xf_ffff << 32, 0x5000 | 1 << 6 | 63],
        [0x07 | 5 << 16, 0],
        [0x17 | 5 << 16 | 1 << 32, 0],
        [0x37, 0],
        [0x08 | 0x1f << 4 | 0x18 << 16 | 1 << 32, 0x5000],
        [0x08 | 0x18 << 16 | 1 << 32, 1],
        [0x08 | 0x18 << 16 | 1 << 32, 0x7fff_ffff_ffff_f800],
        [0x09 | 0x18 << 16, 0x00c],
        [0x19 | 1 << 12 | 0x18 << 16 | 1 << 32, 0xff8],
        [0x19 | 0xf << 12 | 0x18 << 16 | 1 << 32, 4],
    ];
    let guest = with_ecap(ECAP_WIDE);
    for (width, descriptors) in
        [(16, narrow.to_vec()), (32, [narrow.to_vec(), wide.to_vec()].concat())]
    {
        requeue(&guest, QUEUE | if width == 32 { 0x800 } else { 0 });
        let before = guest.unit.counts().descriptors;
        let mut tail = 0;
        for descriptor in &descriptors {
            // The queue's page holds garbage behind a descriptor of 128 bits: the next one.
            guest.put(QUEUE + tail, &[u64::MAX; 4]);
            guest.put(QUEUE + tail, descriptor);
            if width == 32 {
                guest.put(QUEUE + tail + 16, &[0, 0]);
            }
            tail += width;
            guest.write(0x88, 8, tail);
            assert_eq!(guest.read(0x80, 8), tail, "{descriptor:x?}");
            assert_eq!(guest.read(0x34, 4), 0, "{descriptor:x?}");
        }
        let done = guest.unit.counts().descriptors - before;
        assert_eq!(done, descriptors.len() as u64);
    }
    assert_eq!(guest.get(STATUS), 9);
    assert!(guest.is_idle());
}

/// A descriptor that stops the queue with this IQEI, and goes on when the descriptor is mended and IQE cleared.
fn assert_malformed(ecap: u64, wide: bool, raw: [u64; 4], info: u64) {
    let guest = with_ecap(ecap);
    requeue(&guest, QUEUE | u64::from(wide) << 11);
    let width = if wide { 32 } else { 16 };
    let words = if wide { 4 } else { 2 };
    guest.put(QUEUE, &CONTEXT_GLOBAL[..words]);
    guest.put(QUEUE + width, &raw[..words]);
    guest.put(QUEUE + 2 * width, &guest::wait(7)[..words]);
    guest.write(0x88, 8, 3 * width);
    let name = format!("{raw:x?} wide {wide} ecap {ecap:x}");
    assert_eq!(guest.read(0x80, 8), width, "IQH stays: {name}");
    assert_eq!(guest.read(0x34, 4), 0x10, "{name}");
    assert_eq!(guest.read(0xb0, 8), info, "{name}");
    assert_eq!(guest.interrupts(), [FAULT_DATA], "{name}");
    assert_eq!(guest.get(STATUS), 0);
    // Neither a doorbell nor a step gets on.
    guest.write(0x88, 8, 3 * width);
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!(guest.read(0x80, 8), width, "{name}");
    assert_eq!(guest.interrupts(), [0; 0], "{name}");
    // Without a new tail.
    guest.put(QUEUE + width, &IOTLB_GLOBAL[..words]);
    guest.write(0x34, 4, 0x10);
    assert_eq!(guest.read(0x80, 8), 3 * width, "{name}");
    assert_eq!(guest.get(STATUS), 7, "{name}");
    assert_eq!(guest.unit.counts().queue_errors, 1);
}

// feature: 3.descriptors: reserved bits and granularities
// feature: 3.queue: errors stop it (IQE, IQERCD)
#[test]
fn reserved_fields_stop_the_queue() {
    // Type, a good descriptor, reserved bits of both quadwords, the lowest width of the type.
    let all = u64::MAX;
    let table = [
        ([0x11, 0], [0xfffc_0000_0000_f1c0, all], false),
        ([0x12, 0], [0xffff_ffff_0000_f100, 0xf80], false),
        ([0x03, 0], [0xffff_0000_ffe0_fff0 & !0xe00, 0xffe], false),
        ([0x04, 0], [0xffff_0000_07ff_f1e0, all], false),
        ([0x25, STATUS], [0xffff_f100, 3], false),
        ([0x26, 0], [0xfff0_0000_0000_f1c0, 0xf80], true),
        ([0x37, 0], [0xfff0_0000_0000_f1c0, all], true),
        ([0x08, 0], [0xfff0_0000_0000_f000, 0x7fe], true),
        ([0x09, 0], [0xfff0_0000_0000_01e0, 0xffff_ffff_ffff_f003], true),
    ];
    for ([low, high], reserved, needs_wide) in table {
        for bit in 0..64 {
            let one = 1 << bit;
            for wide in [false, true] {
                if needs_wide && !wide {
                    continue;
                }
                if reserved[0] & one != 0 {
                    assert_malformed(ECAP_WIDE, wide, [low | one, high, 0, 0], 4);
                }
                if reserved[1] & one != 0 {
                    assert_malformed(ECAP_WIDE, wide, [low, high | one, 0, 0], 4);
                }
            }
            assert_malformed(ECAP_WIDE, true, [low, high, one, 0], 4);
            assert_malformed(ECAP_WIDE, true, [low, high, 0, one], 4);
        }
    }
}

// feature: 3.queue: errors stop it (IQE, IQERCD)
#[test]
fn malformed_descriptors_say_why() {
    let table = [
        // ECAP, wide, qw0, qw1, IQEI
        // Types that there are not, and types without their capability.
        (ECAP_WIDE, true, 0x0000, 0, 3),
        (ECAP_WIDE, true, 0x000a, 0, 3),
        (ECAP_WIDE, true, 0x000f, 0, 3),
        (ECAP_WIDE, true, 0x0211, 0, 3),
        (ECAP_WIDE, true, 0x0411, 0, 3),
        (ECAP_WIDE, true, 0x0811, 0, 3),
        (ECAP_WIDE, true, u64::MAX, u64::MAX, 3),
        (ECAP & !4, true, 0x0003, 0, 3),
        (ECAP & !4, true, 0x0008, 0, 3),
        (ECAP, true, 0x0004, 0, 3),
        (ECAP, true, 0x0009, 0, 3),
        // Types of the wide queue in a narrow one.
        (ECAP_WIDE, false, 0x26, 0, 5),
        (ECAP_WIDE, false, 0x37, 0, 5),
        (ECAP_WIDE, false, 0x08, 0, 5),
        (ECAP_WIDE, false, 0x09, 0, 5),
        // Granularities that there are not.
        (ECAP_WIDE, true, 0x01, 0, 4),
        (ECAP_WIDE, true, 0x02, 0, 4),
        (ECAP_WIDE, true, 0x06, 0, 4),
        (ECAP_WIDE, true, 0x16, 0, 4),
        (ECAP_WIDE, true, 0x27, 0, 4),
        // AM above MAMV.
        (ECAP_WIDE, true, 0x32, 0x13, 4),
        (ECAP_WIDE, true, 0x32, 0x3f, 4),
        // An empty wait, and one that drains page requests which the unit does not show.
        (ECAP_WIDE, true, 0x05, STATUS, 4),
        (ECAP_WIDE, true, 0x85, STATUS, 4),
        (ECAP, true, 0xa5, STATUS, 4),
    ];
    for (ecap, wide, low, high, info) in table {
        assert_malformed(ecap, wide, [low, high, 0, 0], info);
    }
}

// feature: 10.fields of capabilities that are not shown are reserved
#[test]
fn fields_of_a_shown_capability_are_not_reserved() {
    let guest = with_ecap(ECAP_DIT);
    let table = [
        [0x03 | 0xf << 12 | 0xfff << 52, 0, 0, 0],
        [0x08 | 0xf << 12 | 0xfff << 52, 0, 0, 0],
        [0xa5 | 1 << 32, STATUS, 0, 0],
    ];
    for (n, descriptor) in (1..).zip(table) {
        guest.put(QUEUE + (n - 1) * 32, &descriptor);
        guest.write(0x88, 8, n * 32);
        assert_eq!((guest.read(0x80, 8), guest.read(0x34, 4)), (n * 32, 0), "{descriptor:x?}");
    }
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn bad_tails_and_queues() {
    let table = [
        // IQA, tail, IQEI
        (QUEUE | 0x800, 0x1000, 1),
        (QUEUE | 0x800, 0x7_ffe0, 1),
        (QUEUE, 0x1000, 1),
        (QUEUE, 0x7_fff0, 1),
        (QUEUE | 0x801, 0x2000, 1),
        (QUEUE | 0x800, 0x10, 6),
        (QUEUE | 0x800, 0x30, 6),
        (QUEUE | 0x807, 0x7_fff0, 6),
        // No memory there.
        (0x70_0800, 0x20, 2),
        (0x70_0000, 0x10, 2),
        (0xffff_ffff_ffff_f800, 0x20, 2),
        (0xffff_ffff_ffff_f807, 0x20, 2),
    ];
    for (address, tail, info) in table {
        let guest = with_ecap(ECAP);
        requeue(&guest, address);
        guest.put(QUEUE, &[0; 4]);
        guest.write(0x88, 8, tail);
        let now = (guest.read(0x34, 4), guest.read(0xb0, 8), guest.read(0x80, 8));
        assert_eq!(now, (0x10, info, 0), "{address:x} {tail:x}");
        assert_eq!(guest.interrupts(), [FAULT_DATA]);
        // Clearing IQE alone finds the same again.
        guest.write(0x34, 4, 0x10);
        assert_eq!(guest.read(0x34, 4), 0x10);
        assert_eq!(guest.interrupts(), [FAULT_DATA]);
        // A good tail changes nothing until IQE is cleared.
        guest.write(0x88, 8, 0);
        assert_eq!(guest.read(0x34, 4), 0x10);
        guest.write(0x34, 4, 0x10);
        assert_eq!(guest.read(0x34, 4), 0);
        assert!(guest.is_idle());
    }
}

// feature: 3.descriptors: all nine types, 128 and 256 bits (IQA.DW)
#[test]
fn wide_descriptors_need_scalable_mode() {
    // No SMTS and nothing that is part of it.
    let guest = Guest::made(Capabilities::new(CAP, 0xf46).unwrap(), |_| {});
    guest.unmask_events();
    guest.write(0x90, 8, QUEUE | 0x800);
    guest.command(0x0400_0000);
    guest.write(0x88, 8, 0x20);
    assert_eq!((guest.read(0x34, 4), guest.read(0xb0, 8)), (0x10, 5));
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
}

/// The order in which things come about.
#[derive(Default)]
struct Order(Mutex<Vec<(&'static str, u64)>>);

impl Order {
    fn note(&self, what: &'static str, which: u64) {
        self.0.lock().unwrap().push((what, which));
    }

    fn take(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Order {
    fn descriptor(&self, offset: u64, _: &Descriptor) {
        self.note("descriptor", offset);
    }

    fn wait_completes(&self, wait: &Wait) {
        match wait.status {
            Some(status) => self.note("status", u64::from(status.data)),
            None => self.note("wait", 0),
        }
    }

    fn interrupt(&self, message: InterruptMessage) {
        self.note("interrupt", u64::from(message.data));
    }
}

fn watched() -> (Guest, Arc<Order>) {
    let order = Arc::new(Order::default());
    let watcher = Arc::clone(&order);
    let mut guest = Guest::made(guest::caps(), |config| config.observer = Some(watcher));
    guest.enable();
    (guest, order)
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn the_queue_wraps_at_every_size() {
    const BASE: u64 = 0x10_0000;
    for size in 0..=7 {
        for wide in [false, true] {
            let (guest, order) = watched();
            let width = if wide { 32 } else { 16 };
            let bytes = 0x1000 << size;
            requeue(&guest, BASE | u64::from(wide) << 11 | size);
            // Waits all over, each with its place; there is no memory behind them.
            for place in (0..bytes).step_by(width) {
                guest.put(BASE + place, &[0x25 | (place + 1) << 32, STATUS]);
                if wide {
                    guest.put(BASE + place + 16, &[0, 0]);
                }
            }
            let step = width as u64;
            let last = bytes - step;
            // To the last one, over the end, and once around but for one.
            for (from, tail) in [(0, last), (last, 2 * step), (2 * step, step), (step, 0)] {
                guest.write(0x88, 8, tail);
                assert_eq!(guest.unit.run(), Step::Idle);
                assert_eq!(guest.read(0x80, 8), tail);
                assert_eq!(guest.read(0x34, 4), 0);
                let count = (tail + bytes - from) % bytes / step;
                let expected = (0..count).flat_map(|n| {
                    let place = (from + n * step) % bytes;
                    [("descriptor", place), ("status", place + 1)]
                });
                assert!(order.take().into_iter().eq(expected), "{size} {wide} {from:x} {tail:x}");
            }
        }
    }
}

// feature: 3.descriptors: wait: status, interrupt, fence (type 5)
#[test]
fn waits() {
    let (mut guest, order) = watched();
    let mut place = 0;
    type Row = ([u64; 2], &'static [(&'static str, u64)]);
    let table: [Row; 8] = [
        ([0x25 | 1 << 32, STATUS], &[("status", 1)]),
        ([0x65 | 2 << 32, STATUS], &[("status", 2)]),
        ([0x45, 0], &[("wait", 0)]),
        ([0x35 | 3 << 32, STATUS], &[("status", 3), ("interrupt", 0x22)]),
        ([0x15, STATUS], &[("wait", 0), ("interrupt", 0x22)]),
        // IF alone writes nothing; nothing is written to where no memory is either.
        ([0x15 | 4 << 32, STATUS], &[("wait", 0), ("interrupt", 0x22)]),
        ([0x35 | 5 << 32, 0x70_0000], &[("status", 5), ("interrupt", 0x22)]),
        ([0x25 | 0xffff_ffff << 32, STATUS + 4], &[("status", 0xffff_ffff)]),
    ];
    for ([low, high], effects) in table {
        guest.ring(&[[low, high, 0, 0]]);
        let mut expected = vec![("descriptor", place)];
        expected.extend_from_slice(effects);
        assert_eq!(order.take(), expected, "{low:x}");
        place += 32;
        assert_eq!(guest.read(0x80, 8), place);
        let interrupts = effects.iter().filter(|(what, _)| *what == "interrupt").count();
        assert_eq!(guest.interrupts(), vec![INVALIDATION_DATA; interrupts]);
        guest.write(0x9c, 4, 1);
    }
    assert_eq!(guest.get(STATUS), 0xffff_ffff_0000_0003);
}

// feature: 3.queue: waits follow DMA under way
#[test]
fn a_guard_holds_up_the_wait_and_what_is_behind_it() {
    let mut guest = Guest::new();
    guest.enable();
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    let guard = handle.guard();
    assert!(!guest.invalidate(&[CONTEXT_GLOBAL, PASID_GLOBAL]));
    assert_eq!(guest.read(0x80, 8), 0x40, "at the wait, the others are done");
    guest.ring(&[IOTLB_GLOBAL]);
    assert_eq!(guest.read(0x80, 8), 0x40);
    assert_eq!(guest.unit.run(), Step::Waiting);
    drop(guard);
    assert_eq!(guest.get(STATUS), 0, "dropping a guard does not step");
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!(guest.get(STATUS), 1);
    assert_eq!(guest.read(0x80, 8), 0x80);
}

// feature: 3.queue: every size, head and tail (IQA.QS, IQH, IQT)
#[test]
fn the_head_moves_after_each_descriptor() {
    let host = Arc::new(ModelHost::new());
    host.add_device(HostDevice(3));
    let mut guest = Guest::with_host(Arc::clone(&host) as _);
    guest.enable();
    guest.put_context(3, 0);
    guest.assign(3);
    for number in 1..=5 {
        guest.put_entry(3, number, &first_stage(0x10_0000 * number, 5));
    }
    let descriptors: Vec<_> = (1..=5).map(|number| pasid_selective(5, number)).collect();
    guest.ring(&descriptors);
    assert_eq!(guest.read(0x80, 8), 0, "a register write does not call the host");
    let mut seen = vec![0];
    for _ in 0..1000 {
        let step = guest.unit.step(1);
        let head = guest.read(0x80, 8);
        let bound = host.bindings().len() as u64;
        assert!(head / 32 <= bound && bound <= head / 32 + 1, "{head:x} {bound}");
        if seen.last() != Some(&head) {
            seen.push(head);
        }
        if step == Step::Idle {
            break;
        }
    }
    assert_eq!(seen, [0, 0x20, 0x40, 0x60, 0x80, 0xa0]);
    let slots: Vec<_> = host.bindings().iter().map(|(_, slot, _)| *slot).collect();
    assert_eq!(slots, (1..=5).map(|n| Slot::Pasid(guest::pasid(n))).collect::<Vec<_>>());
}

// feature: 3.queue: disabled and enabled at any moment (QIE, QIES)
#[test]
fn the_queue_goes_off_at_any_moment() {
    let mut guest = Guest::new();
    guest.enable();
    // Idle, after something else than a wait.
    guest.ring(&[CONTEXT_GLOBAL]);
    guest.command(0x8000_0000);
    assert_eq!((guest.read(0x1c, 4), guest.read(0x80, 8)), (0xc000_0000, 0));
    // Stopped by an error.
    guest.enable_queue();
    guest.ring(&[CONTEXT_GLOBAL, [0; 4]]);
    guest.command(0x8000_0000);
    assert_eq!((guest.read(0x1c, 4), guest.read(0x80, 8)), (0xc000_0000, 0));
    guest.write(0x34, 4, 0x10);
    assert_eq!(guest.read(0x34, 4), 0);
    // A tail written while it is off is taken up when it goes on.
    guest.put(QUEUE, &guest::wait(0x99));
    guest.write(0x88, 8, 0x20);
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 0);
    guest.command(0x8400_0000);
    assert_eq!(guest.get(STATUS), 0x99);
    assert_eq!(guest.read(0x80, 8), 0x20);
}

// feature: 3.queue: disabled and enabled at any moment (QIE, QIES)
#[test]
fn the_queue_goes_off_after_a_deferred_wait() {
    let mut guest = Guest::new();
    guest.enable();
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    let guard = handle.guard();
    assert!(!guest.invalidate(&[CONTEXT_GLOBAL]));
    guest.ring(&[guest::wait(0x55)]);
    guest.command(0x8000_0000);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000, "QIES stays while the wait is under way");
    assert_eq!(guest.read(0x80, 8), 0x20);
    drop(guard);
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!((guest.read(0x1c, 4), guest.read(0x80, 8)), (0xc000_0000, 0));
    assert_eq!(guest.get(STATUS), 1, "what had begun is completed, what had not is not begun");

    // Off and on again before the wait is done.
    guest.enable_queue();
    let guard = handle.guard();
    guest.ring(&[guest::wait(2)]);
    guest.command(0x8000_0000);
    guest.write(0x88, 8, 0);
    guest.put(0xa000, &guest::wait(3));
    guest.write(0x90, 8, 0xa800);
    guest.command(0x8400_0000);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
    assert_eq!(guest.get(STATUS), 1);
    drop(guard);
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!(guest.get(STATUS), 2);
    assert_eq!((guest.read(0x1c, 4), guest.read(0x80, 8)), (0xc400_0000, 0));
    guest.write(0x88, 8, 0x20);
    assert_eq!(guest.get(STATUS), 3, "from the new queue");
}

// feature: 3.descriptors: context cache (type 1)
// feature: 3.descriptors: IOTLB (type 2)
// feature: 3.descriptors: PASID-based IOTLB (type 6)
// feature: 3.descriptors: PASID cache (type 7)
#[test]
fn what_each_descriptor_drops() {
    let page = |low: u64, am: u64| [low, 0x5000 | am, 0, 0];
    let table = [
        // Descriptor, whether a change of the page table is seen, of the PASID entry, of the context entry
        ([0x11, 0, 0, 0], true, true, true),
        ([0x21 | 9 << 16, 0, 0, 0], true, true, true),
        (guest::context_of(3), true, true, true),
        // Function masks: 00:03.1 to .7 stand for 00:03.0 as well.
        ([0x31 | 0x1f << 32 | 3 << 48, 0, 0, 0], true, true, true),
        ([0x31 | 0x1c << 32 | 1 << 48, 0, 0, 0], true, true, true),
        ([0x31 | 0x1e << 32 | 2 << 48, 0, 0, 0], true, true, true),
        ([0x31 | 0x1e << 32 | 1 << 48, 0, 0, 0], false, false, false),
        (guest::context_of(4), false, false, false),
        ([0x37, 0, 0, 0], true, true, true),
        (guest::pasid_domain(5), true, true, false),
        (guest::pasid_domain(6), false, false, false),
        (pasid_selective(5, 1), true, true, false),
        (pasid_selective(5, 2), false, false, false),
        ([0x12, 0, 0, 0], true, false, false),
        ([0x22 | 5 << 16, 0, 0, 0], true, false, false),
        ([0x22 | 6 << 16, 0, 0, 0], false, false, false),
        (page(0x32 | 5 << 16, 0), true, false, false),
        (guest::pasid_iotlb(5, 1), true, false, false),
        (guest::pasid_iotlb(5, 2), false, false, false),
        (guest::pasid_iotlb(6, 1), false, false, false),
        (page(0x36 | 5 << 16 | 1 << 32, 0), true, false, false),
        ([0x36 | 5 << 16 | 1 << 32, 0x6000, 0, 0], false, false, false),
        ([0x25, STATUS, 0, 0], false, false, false),
    ];
    for (descriptor, page_table, pasid_entry, context) in table {
        for (what, seen) in [("page", page_table), ("pasid", pasid_entry), ("context", context)] {
            let mut guest = Guest::new();
            guest.enable();
            guest.put_context(3, 0);
            guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
            guest.map_first_stage(0x10_0000, 0x5000, 0x7000, 7);
            guest.map_first_stage(0x20_0000, 0x5000, 0x9000, 7);
            let device = guest.emulate(3);
            let handle = guest.unit.dma(device, Some(guest::pasid(1))).unwrap();
            assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x7000));
            match what {
                "page" => guest.put(0x10_3000 + 5 * 8, &[0x9007]),
                "pasid" => guest.put_entry(3, 1, &first_stage(0x20_0000, 5)),
                _ => {
                    // Another directory, with the other table under the same PASID.
                    guest.put_context(5, 0);
                    guest.put_entry(5, 1, &first_stage(0x20_0000, 5));
                    guest.put(0x2000 + 0x18 * 32, &[Guest::directory(5) | 9]);
                }
            }
            assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x7000), "it is cached");
            guest.ring(&[descriptor]);
            let leads_to = if seen { 0x9000 } else { 0x7000 };
            let found = translate(&handle, 0x5000, Access::READ);
            assert_eq!(found, Ok(leads_to), "{descriptor:x?} {what}");
        }
    }
}

// feature: 3.descriptors: PASID-based IOTLB (type 6)
#[test]
fn every_address_mask_covers_its_range() {
    for am in 0..64_u64 {
        for iova in [0x5000_u64, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000] {
            let mut guest = Guest::new();
            guest.enable();
            guest.put_context(3, 0);
            guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
            guest.map_first_stage(0x10_0000, iova, 0x7000, 7);
            let device = guest.emulate(3);
            let handle = guest.unit.dma(device, Some(guest::pasid(1))).unwrap();
            assert_eq!(translate(&handle, iova, Access::READ), Ok(0x7000));
            guest.map_first_stage(0x10_0000, iova, 0xb000, 7);
            // From the other end of the range of 2^AM pages.
            let far = if am < 52 { iova ^ (1 << am >> 1 << 12) } else { !iova & !0xfff };
            guest.ring(&[[0x36 | 5 << 16 | 1 << 32, far | am, 0, 0]]);
            assert_eq!(guest.read(0x34, 4), 0);
            assert_eq!(translate(&handle, iova, Access::READ), Ok(0xb000), "AM {am} {iova:x}");
        }
    }
}
