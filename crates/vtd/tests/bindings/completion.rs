//! Completions that wait for the host, and what the VMM is told of it.

use vtd::host::{HostCall, HostDevice};

use vtd::{Effect, Step};

use crate::guest::calls::held_by;
use crate::guest::{Guest, STATUS, first_stage, pasid_selective};
use crate::machine::Machine;

// feature: 8.global commands and their status (GCMD, GSTS)
#[test]
fn rtps_waits_for_the_last_of_two_commands() {
    let Machine { mut guest, host, .. } = Machine::new();
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    guest.assign(3);
    let emulated = guest.emulate(4);
    let handle = guest.unit.dma(emulated, None).unwrap();
    let guard = handle.guard();
    guest.write(0x18, 4, 0xc400_0000);
    assert_eq!(guest.unit.run(), Step::Waiting);
    // The second one has a host call to make, which a register write does not.
    guest.put_entry(3, 1, &first_stage(0x18_0000, 5));
    guest.write(0x18, 4, 0xc400_0000);
    drop(guard);
    guest.write(0x34, 4, 0);
    assert_eq!(held_by(&host), ["3 1 fs4 140000"]);
    assert_eq!(guest.read(0x1c, 4), 0x8400_0000, "the host still holds the old table");
    assert!(guest.is_idle());
    assert_eq!(held_by(&host), ["3 1 fs4 180000"]);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
    // The same with TE.
    let guard = handle.guard();
    guest.command(0x0400_0000);
    guest.write(0x18, 4, 0x8400_0000);
    drop(guard);
    guest.write(0x34, 4, 0);
    assert_eq!(guest.read(0x1c, 4) >> 31, 1, "TES never left 1");
    assert!(guest.is_idle());
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
    assert!(guest.invalidate(&[]));
}

// feature: 7.bindings: host failures are kept, told and tried again
#[test]
fn each_stuck_device_is_named() {
    let Machine { mut guest, host, .. } = Machine::new();
    for device in [3, 4] {
        guest.put_context(device, 0);
        guest.put_entry(device, 1, &first_stage(0x14_0000, 5));
    }
    let [three, four] = [3, 4].map(|device| guest.assign(device));
    guest.effects();
    let stuck = |guest: &Guest| -> Vec<_> {
        let of = |effect| match effect {
            Effect::HostStuck(device) => Some(device),
            _ => None,
        };
        guest.effects().into_iter().filter_map(of).collect()
    };
    host.fail_calls(|call| matches!(call, HostCall::Unbind { .. }));
    guest.put_entry(3, 1, &[0]);
    assert!(!guest.invalidate(&[pasid_selective(5, 1)]));
    assert_eq!(stuck(&guest), [three]);
    // A second one, by a command that the wait does not hold up.
    guest.put_entry(4, 1, &[0]);
    guest.write(0x18, 4, 0xc400_0000);
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(stuck(&guest), [four]);
    // One heals, the other does not; then both.
    host.fail_calls(|call| matches!(call, HostCall::Unbind { device: HostDevice(4), .. }));
    guest.unit.retry(three).unwrap();
    assert_eq!(guest.unit.run(), Step::Waiting);
    assert_eq!(stuck(&guest), []);
    host.stop_failing();
    guest.unit.retry(four).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.get(STATUS), 1);
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
}
