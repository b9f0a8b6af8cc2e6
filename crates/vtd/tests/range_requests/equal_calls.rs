//! One walk makes the host calls that one walk for each request would.

use crate::guest::calls::held_by;
use crate::guest::{
    CONTEXT_GLOBAL, Numbers, PASID_GLOBAL, context_of, first_stage, pasid_domain, pasid_selective,
    pass_through, wait,
};
use crate::machine::Machine;

/// Changes of entries and contexts: nothing, another table, another domain, something that means nothing.
fn scribble(machines: &[Machine; 2], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(20) {
        let (device, pasid) = (3 + numbers.below(4), numbers.below(12));
        let domain = 5 + numbers.below(6);
        let malformed = [0x141, domain, 0x100_0000];
        let entry = numbers.of(&[
            [0; 3],
            first_stage(0x100_0000, domain),
            first_stage(0x200_0000, domain),
            pass_through(domain),
            malformed,
        ]);
        let context =
            (numbers.below(12) == 0).then(|| numbers.of(&[[9, 0], [9, 1], [1, 0], [0, 0]]));
        for machine in machines {
            machine.guest.put_entry(device, pasid, &entry);
            if let Some([flags, rid_pasid]) = context {
                let directory = crate::guest::Guest::directory(device);
                machine.guest.put(0x2000 + device * 256, &[directory | flags, rid_pasid]);
            }
        }
    }
}

fn random_descriptor(numbers: &mut Numbers) -> [u64; 4] {
    let (domain, device) = (5 + numbers.below(6), 3 + numbers.below(4));
    match numbers.below(20) {
        0..8 => pasid_domain(domain),
        8..12 => context_of(device),
        // Functions 4 to 7 of another device, none of which is there.
        12 => [0x31 | (device << 3 | 4) << 32 | 1 << 48, 0, 0, 0],
        13 => [0x31 | (device << 3 | 4) << 32 | 2 << 48, 0, 0, 0],
        14..18 => pasid_selective(domain, numbers.below(12)),
        _ if numbers.below(4) == 0 => numbers.of(&[PASID_GLOBAL, CONTEXT_GLOBAL]),
        _ => wait(1),
    }
}

// feature: 3.queue: one walk for all range requests that are in it
#[test]
fn as_one_walk_for_each() {
    let mut numbers = Numbers(0x5eed);
    let (mut made, mut fewer) = (0, 0);
    for _ in 0..40 {
        let mut machines = [Machine::new(12), Machine::new(12)];
        for _ in 0..20 {
            scribble(&machines, &mut numbers);
            let count = 1 + numbers.below(10);
            let descriptors: Vec<_> = (0..count).map(|_| random_descriptor(&mut numbers)).collect();
            let [together, each] = &mut machines;
            let before = [together.memory.entries(), each.memory.entries()];
            together.ring(&descriptors);
            assert!(together.guest.is_idle());
            for descriptor in &descriptors {
                each.ring(&[*descriptor]);
                assert!(each.guest.is_idle());
            }
            let [mut calls, mut expected] = machines.each_ref().map(|machine| machine.calls.take());
            calls.sort();
            expected.sort();
            assert_eq!(calls, expected, "{descriptors:x?}");
            let held = machines.each_ref().map(|machine| held_by(&machine.host));
            assert_eq!(held[0], held[1], "{descriptors:x?}");
            let counts = machines.each_ref().map(|machine| machine.guest.unit.counts());
            assert_eq!(counts[0].ledger, counts[1].ledger);
            assert_eq!(counts[0].descriptors, counts[1].descriptors);
            let [together, each] = &machines;
            made += calls.len();
            fewer += u32::from(
                together.memory.entries() - before[0] < each.memory.entries() - before[1],
            );
        }
    }
    assert!(made > 2_000 && fewer > 500, "{made} calls, {fewer} times fewer reads");
}
