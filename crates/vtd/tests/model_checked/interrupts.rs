//! An interrupt that is being delivered against an invalidation of its entry.

use std::sync::Arc;

use loom::thread;
use vtd::spec::{Capabilities, SourceId};

use crate::guest::{CAP, ECAP, STATUS, wait};
use crate::machine::{Machine, check, step_until_idle};

/// The remapping table has 256 entries at A000. Of index 3: its first quadword, this vector to APIC 1.
const ENTRY: u64 = 0xa030;
const OLD: u64 = 0x31;
const NEW: u64 = 0x32;

const fn entry(vector: u64) -> u64 {
    1 | vector << 16 | 1 << 40
}

#[test]
fn an_interrupt_and_an_invalidation() {
    for (name, cached) in [("an interrupt", false), ("a cached interrupt", true)] {
        check(name, 5, move || {
            // IR, EIM, MHMV 15.
            let caps = Capabilities::new(CAP, ECAP | 1 << 3 | 1 << 4 | 0xf << 20).unwrap();
            let mut machine = Machine::new(caps, (ENTRY, entry(OLD)), |_| {});
            let guest = &mut machine.guest;
            guest.put(0xa000, &[0; 512]);
            guest.enable_queue();
            guest.write(0xb8, 8, 0xa007);
            // QIE with SIRTP, then with IRE.
            guest.command(0x0500_0000);
            guest.command(0x0600_0000);
            let deliver = |unit: &vtd::RemappingUnit, during: &dyn Fn(u64)| {
                let request = 0xfee0_0010 | 3 << 5;
                unit.deliver_interrupt(SourceId(0x18), request, 0, |found| {
                    during(u64::from(found.vector));
                    u64::from(found.vector)
                })
            };
            if cached {
                assert_eq!(deliver(&guest.unit, &|_| {}), Ok(OLD));
            }
            machine.begin();
            let (unit, memory) = (machine.guest.unit.clone(), Arc::clone(&machine.memory));
            let device = thread::spawn(move || {
                let delivered = deliver(&unit, &|vector| {
                    let over = memory.now(STATUS) == 1;
                    assert!(!(vector == OLD && over), "the wait is over, and the old one comes");
                });
                assert!(matches!(delivered, Ok(OLD | NEW)), "{delivered:?}");
            });
            machine.memory.put(ENTRY, entry(NEW));
            // Type 4, this index.
            machine.guest.ring(&[[0x14 | 3 << 32, 0, 0, 0], wait(1)]);
            step_until_idle(&machine.guest.unit, &machine.bell);
            assert_eq!(machine.memory.now(STATUS), 1);
            device.join().unwrap();
            assert_eq!(deliver(&machine.guest.unit, &|_| {}), Ok(NEW), "a late fill");
        });
    }
}
