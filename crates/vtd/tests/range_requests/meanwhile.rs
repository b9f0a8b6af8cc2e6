//! What happens between a walk and the turn of the requests that it has served.

use std::sync::Arc;

use vtd::{RemappingUnit, ResetKind, RestoreOnto, Step, UnitConfig};

use crate::guest::calls::held_by;
use crate::guest::{self, STATUS, context_of, first_stage, pasid_domain, pasid_selective, wait};
use crate::machine::Machine;

const OLD: &str = "3 1 fs4 1000000";
const NEW: &str = "3 1 fs4 2000000";

/// PASID 1 of 00:03.0, of domain 6, has another table.
fn change(machine: &Machine) {
    machine.guest.put_entry(3, 1, &first_stage(0x200_0000, 6));
}

// feature: 3.queue: one walk for all range requests that are in it
#[test]
fn what_is_added_while_a_walk_is_under_way_has_one_of_its_own() {
    for added in [pasid_domain(6), context_of(3), guest::PASID_GLOBAL, guest::CONTEXT_GLOBAL] {
        // How much of the first walk is done by then, in steps of one entry.
        for steps in 0..100 {
            let mut machine = Machine::new(12);
            // What begins the walk, and leaves it to a step that may call the host.
            machine.guest.put_entry(3, 0, &first_stage(0x300_0000, 6));
            machine.ring(&[pasid_domain(6), wait(1), pasid_domain(7), wait(2)]);
            for _ in 0..steps {
                let _step = machine.guest.unit.step(1);
            }
            change(&machine);
            machine.ring(&[added, wait(3)]);
            assert!(machine.guest.is_idle());
            assert_eq!(machine.held(3, 1), NEW, "{added:x?} after {steps}");
            let statuses = machine.memory.take_statuses();
            let data: Vec<_> = statuses.iter().map(|(data, _)| *data).collect();
            assert_eq!(data, [1, 2, 3], "{added:x?} after {steps}");
        }
    }
}

/// What the guest or the VMM does while the first of two waits is held up, and the walk is over.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    /// More behind the tail.
    More,
    /// The tail goes back, and over the same descriptors again.
    TailBack,
    TailBackAtOnce,
    /// The request that was served is another one by now.
    Rewritten,
    /// It is none, and then it is one.
    Malformed,
    QueueOffAndOn,
    /// With the tail where it is: all of it is carried out anew.
    QueueOffAndOnAnew,
    Reset,
    Restore,
}

// feature: 3.queue: one walk for all range requests that are in it
#[test]
fn what_a_walk_has_served_is_forgotten_when_the_queue_is_not_what_it_was() {
    for (act, expected) in [
        // Nothing is promised: the tail went past the request before the change.
        (Act::Nothing, OLD),
        (Act::More, NEW),
        (Act::TailBack, NEW),
        (Act::TailBackAtOnce, NEW),
        (Act::Rewritten, NEW),
        (Act::Malformed, NEW),
        (Act::QueueOffAndOn, NEW),
        (Act::QueueOffAndOnAnew, NEW),
        (Act::Reset, NEW),
        (Act::Restore, NEW),
    ] {
        let mut machine = Machine::new(12);
        let device = machine.guest.emulate(7);
        let handle = machine.guest.unit.dma(device, None).unwrap();
        let guard = handle.guard();
        let requests = [pasid_domain(6), wait(2)];
        machine.ring(&[[pasid_domain(5), wait(1)], requests].concat());
        assert_eq!(machine.guest.unit.run(), Step::Waiting);
        assert_eq!(machine.guest.read(0x80, 8), 0x20);
        match act {
            Act::Nothing => change(&machine),
            Act::More => {
                change(&machine);
                machine.ring(&requests);
            }
            Act::TailBack => {
                machine.move_tail(0x40);
                let _step = machine.guest.unit.run();
                change(&machine);
                machine.ring(&requests);
            }
            Act::TailBackAtOnce => {
                change(&machine);
                // Around the end of the queue, which is as if it were full.
                machine.move_tail(0);
                machine.move_tail(0x40);
                machine.ring(&requests);
            }
            Act::Rewritten => {
                change(&machine);
                machine.guest.put(guest::QUEUE + 0x40, &context_of(3));
            }
            Act::Malformed => machine.guest.put(guest::QUEUE + 0x40, &[0; 4]),
            Act::QueueOffAndOn | Act::QueueOffAndOnAnew => {
                machine.guest.write(0x18, 4, 0x8000_0000);
            }
            Act::Reset => machine.guest.unit.reset(ResetKind::Warm),
            Act::Restore => {
                change(&machine);
                let state = machine.guest.unit.save().unwrap();
                machine.guest.unit = restore(&machine, &state);
            }
        }
        drop(guard);
        let _left = machine.guest.unit.run();
        match act {
            Act::Malformed => {
                assert_eq!(machine.guest.read(0x34, 4), 0x10);
                change(&machine);
                machine.guest.put(guest::QUEUE + 0x40, &pasid_domain(6));
                machine.guest.write(0x34, 4, 0x10);
            }
            Act::QueueOffAndOn => {
                assert_eq!(machine.guest.read(0x80, 8), 0);
                machine.guest.enable_queue();
                change(&machine);
                machine.guest.put(guest::QUEUE, &requests.concat());
                machine.guest.write(0x88, 8, 0x40);
            }
            Act::QueueOffAndOnAnew => {
                change(&machine);
                machine.guest.command(0x8400_0000);
            }
            Act::Reset => {
                machine.guest.enable();
                change(&machine);
                machine.guest.put(guest::QUEUE, &requests.concat());
                machine.guest.write(0x88, 8, 0x40);
            }
            _ => {}
        }
        assert!(machine.guest.is_idle());
        assert_eq!(machine.held(3, 1), expected, "{act:?}");
        assert_eq!(machine.guest.get(STATUS), 2, "{act:?}");
        let statuses = machine.memory.take_statuses();
        let data: Vec<_> = statuses.iter().map(|(data, _)| *data).collect();
        let all: &[u32] = match act {
            Act::More => &[1, 2, 2],
            Act::QueueOffAndOnAnew => &[1, 1, 2],
            Act::Reset => &[2],
            _ => &[1, 2],
        };
        assert_eq!(data, all, "{act:?}");
    }
}

fn restore(machine: &Machine, state: &vtd::UnitState) -> RemappingUnit {
    let mut config = UnitConfig::new(guest::caps(), Arc::clone(&machine.memory) as _);
    config.host = Some(Arc::clone(&machine.host) as _);
    RemappingUnit::restore(config, state, RestoreOnto::SameHost).unwrap()
}

fn busy() -> Machine {
    let mut machine = Machine::new(12);
    for device in 3..7 {
        for pasid in [0, 1, 2, 3, 7, 11] {
            let entry = first_stage(0x200_0000, 5 + pasid % 8);
            machine.guest.put_entry(device, pasid, if pasid % 3 == 0 { &entry } else { &[0] });
        }
    }
    machine.ring(&[
        pasid_domain(5),
        wait(1),
        pasid_domain(6),
        context_of(4),
        wait(2),
        pasid_selective(7, 2),
        wait(3),
        pasid_domain(8),
        pasid_domain(0xc),
        wait(4),
    ]);
    machine
}

// feature: 9.after any step and any input
#[test]
fn saved_after_any_step_of_a_walk_for_several_requests() {
    let machine = busy();
    assert!(machine.guest.is_idle());
    let expected = (held_by(&machine.host), machine.guest.get(STATUS));
    assert_eq!(expected.1, 4);
    let mut steps = 0;
    loop {
        let mut machine = busy();
        let mut step = Step::More;
        for _ in 0..steps {
            step = machine.guest.unit.step(1);
        }
        let state = machine.guest.unit.save().unwrap();
        machine.guest.unit = restore(&machine, &state);
        assert!(machine.guest.is_idle());
        let found = (held_by(&machine.host), machine.guest.get(STATUS));
        assert_eq!(found, expected, "after {steps}");
        assert_eq!(machine.guest.read(0x80, 8), 10 * 32);
        if step == Step::Idle {
            break;
        }
        steps += 1;
    }
    assert!(steps > 60, "{steps}");
}

// feature: 3.queue: one walk for all range requests that are in it
#[test]
fn a_reset_in_the_midst_of_a_walk_for_several_requests() {
    for steps in 0..80 {
        let mut machine = busy();
        for _ in 0..steps {
            let _step = machine.guest.unit.step(1);
        }
        machine.memory.take_statuses();
        machine.guest.unit.reset(ResetKind::Warm);
        assert!(machine.guest.is_idle());
        assert_eq!(machine.memory.take_statuses(), []);
        let held = held_by(&machine.host);
        assert_eq!(held, ["3 - pt 0", "4 - pt 0", "5 - pt 0", "6 - pt 0"], "after {steps}");
        machine.guest.enable();
        change(&machine);
        machine.move_tail(0);
        machine.ring(&[pasid_domain(6), wait(9)]);
        assert!(machine.guest.is_idle());
        assert_eq!(machine.held(3, 1), NEW, "after {steps}");
        assert_eq!(machine.guest.get(STATUS), 9);
    }
}
