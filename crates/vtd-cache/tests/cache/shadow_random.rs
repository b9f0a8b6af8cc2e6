//! Random second-stage tables, invalidations, budgets, failures and quotas: what is mapped against a naive walk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use vtd_cache::{DeviceKey, Ledger, Quotas, Scope, ShadowScope};
use vtd_spec::{DomainId, Slot};

use crate::guest::{Guest, Numbers};
use crate::shadow_host::{
    Range, ShadowHost, guest, joined, leaves, reachable, second_stage, shadow_ledger, within,
};

/// The indices that tables use; those of level 3 and 2 that lead to FEE0_0000 are 3 and 1f7.
const INDICES: [u64; 6] = [0, 1, 2, 3, 0x1f7, 0x1ff];
const TABLES: u64 = 7;
const PASIDS: [u32; 3] = [0, 1, 62];

/// Changes of the tables, each compared. The first ones find hardly anything bound.
const ROUNDS: u32 = if cfg!(miri) { 10 } else { 40 };

/// Runs of a program.
const SEEDS: u64 = if cfg!(miri) { 1 } else { 4 };

fn table(number: u64) -> u64 {
    0x80_0000 + number * 0x1000
}

/// A random entry of a table: absent, a leaf, or a table of the next level down. Level 1 is tables 0 to 2, level 2 tables 3 and 4,
/// level 3 table 5, level 4 table 6.
fn change_table(guest: &Guest, numbers: &mut Numbers) {
    let number = numbers.below(TABLES);
    let place = table(number) + numbers.of(&INDICES) * 8;
    let granted = numbers.of(&[3, 3, 3, 1, 2, 0]);
    // Close addresses, so that leaves continue each other; some lead to the interrupt range.
    let page = numbers.of(&[0, 0, 0xf_edfe]) + numbers.below(4);
    let raw = match number {
        0..=2 => page << 12 | granted,
        3 | 4 if numbers.below(2) == 0 => numbers.of(&[0, 0x200, 0xf_ee00]) << 12 | 0x80 | granted,
        3 | 4 => table(numbers.below(3)) | granted,
        5 if numbers.below(3) == 0 => numbers.of(&[0, 1, 3]) << 30 | 0x80 | granted,
        5 => table(3 + numbers.below(2)) | granted,
        _ => table(5) | granted,
    };
    guest.write(&[(place, if numbers.below(5) == 0 { 0 } else { raw })]);
}

fn change_entry(guest: &Guest, numbers: &mut Numbers, device: u32, pasid: u32) {
    let domain = numbers.below(3);
    let entry = match numbers.below(7) {
        0 => (0, 0, 0),
        1 => (0x101, domain, 0),
        2 | 3 => second_stage(table(6), 4, domain),
        _ => second_stage(table(5), 3, domain),
    };
    guest.entry(device, pasid, entry);
}

/// What a device may reach through the table that the host was told of.
fn says(guest: &Guest, host: &ShadowHost, place: (u32, Slot)) -> Vec<Range> {
    match host.held.get(&place) {
        Some(Some(stage)) => reachable(&leaves(guest.contents(), *stage, &INDICES)),
        _ => Vec::new(),
    }
}

struct Program {
    cuts: bool,
    fails: bool,
    quotas: Quotas,
    seed: u64,
    rounds: u32,
}

fn run(program: &Program) -> (usize, usize) {
    let Program { cuts, fails, quotas, seed, rounds } = *program;
    let mut numbers = Numbers(seed);
    let guest = guest();
    for number in 0..TABLES {
        guest.write(&[(table(number), 0)]);
    }
    for device in 0..2 {
        guest.context(device, 0, 0);
        PASIDS.iter().for_each(|pasid| guest.entry(device, *pasid, (0, 0, 0)));
    }
    let mut host = ShadowHost::new(cuts);
    let mut ledger = shadow_ledger(2, quotas, cuts);
    let failing = Rc::new(RefCell::new((fails, Numbers(seed ^ 0x5555), 0_u32)));
    let state = Rc::clone(&failing);
    host.fails = Some(Box::new(move |_| {
        let (on, numbers, count) = &mut *state.borrow_mut();
        let fail = *on && numbers.below(25) == 0;
        *count += u32::from(fail);
        fail
    }));
    let limited = quotas != Quotas::default();
    // What each slot must hold as of its last whole comparison, window by window; only while nothing is refused.
    let (mut calls, mut compared) = (0, 0);
    for round in 0..rounds {
        for _ in 0..numbers.below(6) {
            change_table(&guest, &mut numbers);
        }
        let size = numbers.of(&[1, 2, 5, 64, 1_000_000]);
        let before: BTreeMap<(u32, Slot), Vec<Range>> =
            host.held.keys().map(|place| (*place, host.ranges(place.0, place.1))).collect();
        let bound = host.held.clone();
        let failures = (failing.borrow().2, ledger.counts().over_quota);
        let context = format!("seed {seed:x} round {round}");
        if numbers.below(3) == 0 {
            let changed = numbers.below(3);
            for _ in 0..changed {
                let pasid = numbers.of(&PASIDS);
                let device = u32::from(numbers.below(2) == 1);
                change_entry(&guest, &mut numbers, device, pasid);
            }
            let everything = Scope::everything();
            host.reconcile(&mut ledger, &guest, &everything, &guest.wanted(), size);
            let undisturbed = (failing.borrow().2, ledger.counts().over_quota) == failures;
            for place in host.held.keys() {
                let ranges = host.ranges(place.0, place.1);
                let (own, wanted) = (joined(&ranges), joined(&says(&guest, &host, *place)));
                let renewed = bound.get(place) != host.held.get(place);
                if renewed && undisturbed {
                    assert_eq!(own, wanted, "{context} {place:?}");
                    compared += 1;
                    if cuts && size == 1_000_000 {
                        assert_eq!(ranges.len(), wanted.len(), "{context}: as few as can be");
                    }
                }
            }
        } else {
            let domain = numbers.below(3);
            let id = DomainId(u16::try_from(domain).unwrap());
            let window = match numbers.below(4) {
                0 | 1 => {
                    let mask = numbers.of(&[0, 1, 9, 12, 18]);
                    let page = numbers.of(&INDICES)
                        | numbers.of(&INDICES) << 9
                        | numbers.of(&INDICES) << 18;
                    let first = page >> mask << mask;
                    (first, first + (1 << mask))
                }
                _ => (0, u64::MAX),
            };
            let scope = match window {
                (0, u64::MAX) if numbers.below(2) == 0 => ShadowScope::All,
                (0, u64::MAX) => ShadowScope::Domain(id),
                (first, end) => ShadowScope::Pages(id, first, end - 1),
            };
            let in_scope = |place: &(u32, Slot)| {
                scope == ShadowScope::All || u64::from(domain_of(&ledger, *place)) == domain
            };
            let reached: Vec<_> =
                host.held.keys().copied().filter(|place| in_scope(place)).collect();
            let wanted: BTreeMap<_, _> =
                reached.iter().map(|place| (*place, says(&guest, &host, *place))).collect();
            let mut kept_valid = |device: u32, slot: Slot, gone: &[Range]| {
                // What stays as it was is not touched by a host that can leave it.
                if cuts && !limited {
                    for part in gone {
                        for still in within(&wanted[&(device, slot)], (part.0, part.0 + part.1)) {
                            let offset = |range: &Range| range.2.wrapping_sub(range.0 << 12);
                            let same = still.3 == part.3 && offset(&still) == offset(part);
                            assert!(!same, "{still:x?} goes though it is still right");
                        }
                    }
                }
            };
            host.sync_watched(&mut ledger, &guest, scope, size, &mut kept_valid);
            let undisturbed = (failing.borrow().2, ledger.counts().over_quota) == failures;
            for (place, ranges) in &before {
                if !host.held.contains_key(place) {
                    continue;
                }
                let now = host.ranges(place.0, place.1);
                let Some(wanted) = wanted.get(place) else {
                    assert_eq!(now, *ranges, "{context}: out of scope");
                    continue;
                };
                if ledger.slot(DeviceKey(place.0), place.1).is_none_or(|state| state.contradicts())
                {
                    continue;
                }
                let (own, says) = (within(&now, window), within(wanted, window));
                if undisturbed {
                    assert_eq!(joined(&own), joined(&says), "{context} {place:?} {window:x?}");
                    compared += 1;
                }
                // Refused or not: nothing is mapped that the table does not say.
                for part in &own {
                    let there = within(wanted, (part.0, part.0 + part.1));
                    assert_eq!(joined(&there), [*part], "{context} {place:?} is stale");
                }
                // Outside nothing changes, but for leaves that stick out.
                let mut reach = window;
                if !cuts {
                    let Some(stage) = host.held[place] else { continue };
                    let all = leaves(guest.contents(), stage, &INDICES);
                    for range in ranges.iter().chain(&all) {
                        if range.0 < window.1 && range.0 + range.1 > window.0 {
                            reach.0 = reach.0.min(range.0);
                            reach.1 = reach.1.max(range.0 + range.1);
                        }
                    }
                }
                if !limited {
                    for side in [(0, reach.0), (reach.1, u64::MAX)] {
                        let (then, now) = (within(ranges, side), within(&now, side));
                        assert_eq!(now, then, "{context} {place:?} outside {reach:x?}");
                    }
                }
            }
        }
        for device in 0..2 {
            assert!(host.count(device) <= quotas.mappings_per_device as usize, "{context}");
        }
        assert!(ledger.counts().mapped <= quotas.mappings_per_unit as usize);
        calls += host.take_calls().len();
        // Now and then everything is put right: what was refused is tried again.
        if numbers.below(4) == 0 {
            failing.borrow_mut().0 = false;
            let everything = Scope::everything();
            host.reconcile(&mut ledger, &guest, &everything, &guest.wanted(), size);
            host.sync(&mut ledger, &guest, ShadowScope::All, 1_000_000);
            failing.borrow_mut().0 = fails;
            assert_eq!(
                (ledger.counts().failed, ledger.counts().contradicting),
                (0, 0),
                "{context}"
            );
            let mut left_out = 0;
            for place in host.held.keys() {
                let (own, wanted) = (host.ranges(place.0, place.1), says(&guest, &host, *place));
                left_out += usize::from(joined(&own) != joined(&wanted));
            }
            assert!(limited || left_out == 0, "{context}");
            if left_out > 0 {
                assert!(
                    (0..2).any(|device| ledger.is_starved_of_mappings(DeviceKey(device))),
                    "{context}"
                );
            }
        }
    }
    (calls, compared)
}

fn domain_of(ledger: &Ledger, (device, slot): (u32, Slot)) -> u16 {
    let held = ledger.slot(DeviceKey(device), slot).and_then(|state| state.held);
    held.map_or(u16::MAX, |held| held.domain.0)
}

// feature: 7.shadows: in step with second-stage invalidations (type 2, IOTLB)
#[test]
fn what_is_mapped_follows_the_tables() {
    for cuts in [true, false] {
        for seed in 1..=SEEDS {
            let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let quotas = Quotas::default();
            let (calls, compared) =
                run(&Program { cuts, fails: false, quotas, seed, rounds: ROUNDS });
            let rounds = ROUNDS as usize;
            assert!(calls > rounds * 5 / 2 && compared > rounds / 2, "{calls} {compared}");
        }
    }
}

// feature: 7.shadows: host failures are kept, told and tried again
#[test]
fn a_host_that_fails_never_keeps_what_is_stale() {
    let mut all = 0;
    for cuts in [true, false] {
        for seed in 7..7 + SEEDS {
            let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let quotas = Quotas::default();
            all += run(&Program { cuts, fails: true, quotas, seed, rounds: ROUNDS }).0;
        }
    }
    assert!(all as u64 > u64::from(ROUNDS) * SEEDS * 6, "{all}");
}

// feature: 7.shadows: quotas of mapped ranges
#[test]
fn quotas_of_mappings_are_never_exceeded() {
    for (cuts, fails) in [(true, false), (true, true), (false, false), (false, true)] {
        for (seed, (mappings_per_device, mappings_per_unit)) in
            (20_u64..).zip([(5, 1_000), (1_000, 8), (40, 60), (1, 1), (0, 0)])
        {
            let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let quotas = Quotas { mappings_per_device, mappings_per_unit, ..Quotas::default() };
            run(&Program { cuts, fails, quotas, seed, rounds: ROUNDS });
        }
    }
}
