//! Row 29 as it was seen: interrupts that a VMM keeps are translated again before the wait behind the invalidation completes.

use std::sync::{Arc, OnceLock};

use vtd::spec::{Capabilities, Gpa, SourceId};
use vtd::{InterruptListener, InvalidatedInterruptEntries, RemappingUnit, UnitConfig};

use crate::ram::{Ram, Tape};
use crate::raw::*;

const TABLE: u64 = 0xa000;

/// Keeps the interrupt of index 3, and notes each time that it asks for it anew.
struct Route {
    unit: OnceLock<RemappingUnit>,
    tape: Tape,
}

impl InterruptListener for Route {
    fn entries_invalidated(&self, entries: InvalidatedInterruptEntries) {
        let Some(unit) = self.unit.get().filter(|_| entries.contains(Some(3))) else { return };
        let found = unit.route_interrupt(SourceId(DEVICE), 0xfee0_0070, 0);
        let vector = found.map_or(0, |interrupt| interrupt.vector);
        self.tape.lock().unwrap().push(format!("vector {vector:x}"));
    }
}

fn interrupt_entry(vector: u64) -> [u64; 2] {
    [1 | vector << 16 | 1 << 40, 0]
}

// feature: 6.listener: told before the wait behind an invalidation completes
#[test]
fn known_failure_29_interrupts_are_translated_again_before_the_wait_behind() {
    let tape = Tape::default();
    let ram = Arc::new(Ram::new(Arc::clone(&tape)));
    for page in [QUEUE, STATUS, TABLE] {
        ram.pages.fill_zero_page(Gpa(page));
    }
    let route = Arc::new(Route { unit: OnceLock::new(), tape: Arc::clone(&tape) });
    let caps = Capabilities::new(CAP, ECAP | ECAP_IR | 0xf << 20).unwrap();
    let mut config = UnitConfig::new(caps, Arc::clone(&ram) as _);
    config.interrupt_listener = Some(Arc::clone(&route) as _);
    let unit = RemappingUnit::new(config);
    let run = || {
        let _left = unit.run();
        std::mem::take(&mut *tape.lock().unwrap())
    };
    ram.put(TABLE + 48, &interrupt_entry(0x31));
    unit.write(IQA, 8, QUEUE | 0x800);
    unit.write(0xb8, 8, TABLE | 7);
    unit.write(GCMD, 4, QIE | 1 << 24);
    run();
    unit.write(GCMD, 4, QIE | 1 << 25);
    run();
    assert!(route.unit.set(unit.clone()).is_ok());

    let invalidations = [[0x14 | 3 << 32, 0, 0, 0], [0x14 | 2 << 27, 0, 0, 0], [0x04, 0, 0, 0]];
    let mut tail = 0;
    for (vector, invalidation) in (0x32..).zip(invalidations) {
        ram.put(TABLE + 48, &interrupt_entry(vector));
        ram.put(QUEUE + tail, &invalidation);
        ram.put(QUEUE + tail + 32, &wait(u32::try_from(vector).unwrap()));
        tail += 64;
        unit.write(IQT, 8, tail);
        let [translated, status] = [format!("vector {vector:x}"), format!("status {vector:x}")];
        assert_eq!(run(), [translated, status], "the wait comes last: {invalidation:x?}");
    }
}
