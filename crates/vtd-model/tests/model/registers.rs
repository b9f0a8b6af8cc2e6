//! What register writes change. Reference, "Registers".

use vtd_model::{Capabilities, Invalidation, Pages, Registers};

use super::guest::{CAP, ECAP};

fn registers() -> Registers {
    Registers::new(Capabilities::new(CAP, ECAP))
}

#[test]
fn root_table_is_latched_by_srtp() {
    let mut registers = registers();
    assert_eq!(registers.write(0x20, 8, 0x1400), []);
    assert_eq!(registers.unit.root, 0);
    assert_eq!(registers.write(0x18, 4, 1 << 30), [Invalidation::Translations]);
    assert_eq!(registers.unit.root, 0x1400);
    // By halves.
    registers.write(0x20, 4, 0x2000);
    registers.write(0x24, 4, 1);
    registers.write(0x18, 4, 1 << 31);
    assert_eq!((registers.unit.root, registers.unit.translation), (0x1400, true));
    registers.write(0x18, 4, 1 << 31 | 1 << 30);
    assert_eq!(registers.unit.root, 0x1_0000_2000);
}

#[test]
fn odd_accesses_are_ignored() {
    let mut registers = registers();
    let before = registers.clone();
    for size in 0..=9 {
        for offset in [0x19, 0x1a, 0x1b, 0x21, 0x22, 0x24, u64::MAX, u64::MAX - 3] {
            if (size, offset) != (4, 0x24) {
                registers.write(offset, size, u64::MAX);
            }
        }
    }
    assert_eq!(registers, before);
}

#[test]
fn queue() {
    let mut registers = registers();
    registers.write(0x90, 8, 0x8803);
    registers.write(0x88, 8, 0x40);
    registers.write(0x18, 4, 1 << 26);
    let queue = registers.queue;
    assert_eq!((queue.enabled, queue.address, queue.head, queue.tail), (true, 0x8803, 0, 0x40));
    registers.write(0x90, 8, 0x9000);
    assert_eq!(registers.queue.address, 0x8803, "latched when the queue is enabled");
    registers.queue.head = 0x40;
    registers.queue.error = true;
    registers.write(0x34, 4, 1 << 4);
    assert!(!registers.queue.error);
    registers.write(0x18, 4, 0);
    assert_eq!((registers.queue.enabled, registers.queue.head), (false, 0));
}

/// CCMD and IOTLB: legacy mode alone.
#[test]
fn register_based_invalidation() {
    let mut registers = registers();
    let device = 1 << 63 | 3 << 61 | 1 << 32 | 0x18 << 16 | 5;
    assert_eq!(
        registers.write(0x28, 8, device),
        [Invalidation::ContextDevice { domain: 5, source_id: 0x18, function_mask: 1 }]
    );
    registers.write(0x500, 8, 0x5041);
    let pages = Pages { first: 0x4000, last: 0x5fff, leaf_only: true };
    assert_eq!(
        registers.write(0x508, 8, 1 << 63 | 3 << 60 | 5 << 32),
        [Invalidation::IotlbPages { domain: 5, pages }]
    );
    registers.write(0x500, 8, 0x5000 | 19);
    assert_eq!(registers.write(0x508, 8, 1 << 63 | 3 << 60), [], "AM above MAMV");
    registers.write(0x20, 8, 0x1400);
    registers.write(0x18, 4, 1 << 30);
    assert_eq!(registers.write(0x28, 8, device), [], "scalable mode");
}

#[test]
fn interrupts_and_reset() {
    let mut registers = registers();
    registers.write(0xb8, 8, 0x4_0807);
    assert_eq!(registers.unit.interrupts.table, None);
    assert_eq!(registers.write(0x18, 4, 1 << 24), [Invalidation::InterruptGlobal]);
    assert_eq!(registers.unit.interrupts.table, Some(0x4_0807));
    assert_eq!(registers.write(0x18, 4, 1 << 25 | 1 << 23), [Invalidation::InterruptGlobal]);
    assert!(registers.unit.interrupts.enabled && registers.unit.interrupts.compatibility);
    registers.reset();
    assert_eq!(registers, Registers::new(Capabilities::new(CAP, ECAP)));
}

/// "Records are used in rotation: if the next one still has F=1, set PFO and drop, even if others are free."
#[test]
fn fault_records() {
    let mut registers = Registers::new(Capabilities::new(CAP | 1 << 40, ECAP));
    assert_eq!(registers.faults.record(), Some(0));
    assert_eq!(registers.faults.record(), Some(1));
    // The second one is free; the first one is next.
    registers.write(0x21c, 4, 1 << 31);
    assert!(!registers.faults.has_room());
    assert_eq!(registers.faults.record(), None);
    registers.write(0x20c, 4, 1 << 31);
    assert!(!registers.faults.has_room(), "PFO");
    registers.write(0x34, 4, 1);
    assert_eq!(registers.faults.record(), Some(0));
}

#[test]
fn protected_memory() {
    let mut registers = registers();
    registers.write(0x68, 4, 0x2f_ffff);
    registers.write(0x6c, 4, 0x40_0fff);
    registers.write(0x70, 8, u64::MAX);
    let regions = registers.unit.protected;
    assert_eq!((regions.low_base, regions.low_limit), (0x20_0000, 0x40_0000));
    assert_eq!(regions.high_base, 0x3fff_ffe0_0000);
    registers.write(0x64, 4, 1 << 31);
    registers.write(0x68, 4, 0);
    assert_eq!(registers.unit.protected.low_base, 0x20_0000, "no writes while it is on");
}
