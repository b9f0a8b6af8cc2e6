//! A full queue costs the walks of the guest's tables that it has to, and waits complete behind them.

use crate::guest::calls::held_by;
use crate::guest::{CONTEXT_GLOBAL, PASID_GLOBAL, context_of, first_stage, pasid_domain, wait};
use crate::machine::{Machine, PASIDS};

/// As many descriptors as a queue of so many places holds: range requests in turn, with a wait behind each but the first.
fn descriptors(places: u32, requests: &[[u64; 4]]) -> Vec<[u64; 4]> {
    let request = |n: u32| requests[n as usize % requests.len()];
    let pairs = (1..places / 2).flat_map(|n| [request(n), wait(n.into())]);
    std::iter::once(request(0)).chain(pairs).collect()
}

/// Some entries of each device change: some hundred calls of the host.
fn change(machine: &Machine) {
    for device in 3..7 {
        for pasid in (5..PASIDS).step_by(31) {
            let entry = first_stage(0x200_0000, 5 + pasid % 7);
            machine.guest.put_entry(device, pasid, if pasid % 2 == 0 { &entry } else { &[0] });
        }
    }
}

// feature: 3.queue: one walk for all range requests that are in it
#[test]
fn a_full_queue_costs_less_than_two_walks() {
    // What one walk over everything reads, changes and all.
    let mut alone = Machine::new(PASIDS);
    assert_eq!(alone.guest.unit.counts().ledger.held, 4 * 960);
    change(&alone);
    let before = alone.memory.entries();
    assert!(alone.guest.invalidate(&[PASID_GLOBAL]));
    let walk = alone.memory.entries() - before;
    assert!((3_840 - 70..3 * 3_840).contains(&walk), "{walk}");
    let expected = (alone.calls.take(), held_by(&alone.host));
    assert!(expected.0.len() > 100);

    let domains: Vec<_> = (5..13).map(pasid_domain).collect();
    let devices: Vec<_> = (3..7).map(context_of).collect();
    // 00:00.0 to 00:07.7 by function masks, one source-id at a time.
    let masks: Vec<_> = (0..64).map(|id| [0x31 | id << 32 | (id & 3) << 48, 0, 0, 0]).collect();
    let mixed = [&domains[..4], &devices[..2], &domains[4..], &devices[2..]].concat();
    let globals = [PASID_GLOBAL, CONTEXT_GLOBAL, [0x21 | 5 << 16, 0, 0, 0]].to_vec();
    let late_global = [&domains[..], &[PASID_GLOBAL]].concat();
    for (order, places) in [(1, 256), (5, 4096)] {
        for requests in [&domains, &devices, &masks, &mixed, &globals, &late_global] {
            let mut machine = Machine::new(PASIDS);
            machine.requeue(order, 32);
            change(&machine);
            let all = descriptors(places, requests);
            assert_eq!(all.len(), places as usize - 1);
            let before = machine.memory.entries();
            machine.ring(&all);
            assert!(machine.guest.is_idle());
            let read = machine.memory.entries() - before;
            assert!(read < walk + 100, "{read} entries for a walk of {walk}: {requests:x?}");
            // Every wait, in order, and none before the last entry was read.
            let expected_statuses: Vec<_> =
                (1..places / 2).map(|data| (data, before + read)).collect();
            let statuses = machine.memory.take_statuses();
            assert!(statuses == expected_statuses, "{requests:x?}");
            let mut calls = machine.calls.take();
            calls.sort();
            let mut expected_calls = expected.0.clone();
            expected_calls.sort();
            assert!(calls == expected_calls, "{requests:x?}");
            assert!(held_by(&machine.host) == expected.1, "{requests:x?}");
        }
    }
}

// feature: 3.queue: one walk for all range requests that are in it
/// The queue is filled again and again while it is worked at: each time at most one walk more.
#[test]
fn a_queue_that_is_kept_full_costs_a_walk_for_each_time() {
    let mut machine = Machine::new(PASIDS);
    machine.requeue(1, 32);
    let domains: Vec<_> = (5..13).map(pasid_domain).collect();
    machine.ring(&descriptors(256, &domains));
    let mut walks = 1;
    let walk = machine.memory.entries();
    for _ in 0..300 {
        let _step = machine.guest.unit.step(500);
        let (head, tail) = (machine.guest.read(0x80, 8) / 32, machine.guest.read(0x88, 8) / 32);
        let room = (head + 256 - tail - 1) % 256;
        if room > 200 {
            let more = descriptors(256, &domains);
            machine.ring(&more[..usize::try_from(room).unwrap()]);
            walks += 1;
        }
    }
    let read = machine.memory.entries() - walk;
    assert!(walks > 5 && read < (walks + 1) * 4_000, "{read} entries in {walks} walks");
}
