//! A full queue of range requests over thousands of bindings is served piece by piece.

use vtd::{DEFAULT_BUDGET, Step};

use crate::guest::{context_of, pasid_domain, wait};
use crate::machine::{Machine, PASIDS};

// feature: 3.bounded work and memory, whatever the guest writes
#[test]
fn each_doorbell_does_a_bounded_amount() {
    let budget = u64::from(DEFAULT_BUDGET);
    let domains: fn(u64) -> [u64; 4] = |n| pasid_domain(n & 0xffff);
    let devices: fn(u64) -> [u64; 4] = |n| context_of(n % 0x20);
    // 2^15 descriptors of 128 bits, 2^14 of 256 bits; with waits between them and without.
    for (width, places, request, every) in [
        (16, 0x8000_u64, devices, 2),
        (16, 0x8000, devices, 40_000),
        (32, 0x4000, domains, 2),
        (32, 0x4000, domains, 40_000),
    ] {
        let mut machine = Machine::new(PASIDS);
        machine.requeue(7, width);
        let all: Vec<_> =
            (1..places).map(|n| if n % every == 0 { wait(n) } else { request(n) }).collect();
        machine.put(&all);
        let tail = (places - 1) * width;
        let (mut writes, before) = (0_u64, machine.memory.entries());
        while machine.guest.read(0x80, 8) != tail {
            let reads = machine.memory.reads();
            machine.move_tail(tail);
            let did = machine.memory.reads() - reads;
            // A descriptor or an entry each, and what leads to the entries of a device.
            assert!(did <= budget + 100, "{did} reads at doorbell {writes}");
            writes += 1;
            assert!(writes < 100, "{:x}", machine.guest.read(0x80, 8));
        }
        // Each descriptor is read ahead and at its turn, each entry once.
        let least = (places + 3_840) / budget;
        let most = (2 * places + 3_840) / budget + 3;
        assert!((least..=most).contains(&writes), "{writes}");
        assert!(machine.memory.entries() - before < 2 * 3_840);
        assert!(machine.guest.is_idle());
    }
}

// feature: 3.bounded work and memory, whatever the guest writes
#[test]
fn any_budget_gets_on() {
    for budget in [1, 2, 3, 100] {
        let mut machine = Machine::new(12);
        machine.requeue(0, 32);
        let all: Vec<_> =
            (1..128).map(|n| if n % 4 == 0 { wait(n) } else { pasid_domain(n % 0xd) }).collect();
        machine.put(&all);
        machine.guest.write(0x18, 4, 0x8400_0000);
        machine.move_tail(127 * 32);
        let mut steps = 0;
        while machine.guest.unit.step(budget) != Step::Idle {
            steps += 1;
            assert!(steps < 1000);
        }
        assert_eq!(machine.memory.take_statuses().len(), 31);
    }
}
