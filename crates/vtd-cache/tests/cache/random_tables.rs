//! Random tables, bindings and scopes against what the tables say, worked out naively in raw integers.

use std::collections::{BTreeMap, BTreeSet};

use vtd_cache::{DeviceKey, DeviceScope, Held, Scope, SlotScope};
use vtd_memory::{GuestMemory, SparseMemory};
use vtd_spec::{Binding, DomainId, Gpa, Pasid, Slot};

use crate::guest::{Guest, Numbers};
use crate::host::{Fails, Host, RID, first_stage, ledger, pasid, takes};

const DEVICES: u32 = 3;
/// PASIDs that the tables may have: the ends of groups, aliases of each other, and past the end of the directory.
const INDICES: [u32; 4] = [0, 1, 62, 63];
const GROUPS: [u32; 5] = [0, 1, 2, 127, 128];

/// What an entry says, and its domain even where it says nothing.
type Says = (Option<Binding>, Option<u16>);

fn groups() -> impl Iterator<Item = u32> {
    GROUPS.into_iter().flat_map(|group| INDICES.map(|index| group << 6 | index))
}

fn at(memory: &SparseMemory, place: u64) -> u64 {
    memory.load_u64(Gpa(place)).unwrap_or(0)
}

/// What the tables say of each slot of a device, and its RID_PASID.
fn tables_say(memory: &SparseMemory, device: u32) -> (Option<u32>, BTreeMap<Slot, Says>) {
    let context = 0x2000 + u64::from(device) * 256;
    let (low, rid) = (at(memory, context), at(memory, context + 8));
    if at(memory, 0x1000) != 0x2001 || low & 0x1f1 != low & 0x11 || low & 1 == 0 || rid > 0xf_ffff {
        return (None, BTreeMap::new());
    }
    let rid_pasid = u32::try_from(rid).unwrap();
    let says = |pasid: u32| -> Says {
        let directory = at(memory, (low & !0xfff) + u64::from(pasid >> 6) * 8);
        if pasid >= 0x2000 << (low >> 9 & 7) || directory & 0xffd != 1 {
            return (None, None);
        }
        let place = (directory & !0xfff) + u64::from(pasid & 63) * 64;
        let words: Vec<_> = (0..8).map(|word| at(memory, place + word * 8)).collect();
        if words[0] & 1 == 0 {
            return (None, None);
        }
        let well_formed = words[0] & 0xe20 == 0
            && words[2] & 0xf00 == 0
            && words[3..].iter().all(|word| *word == 0);
        let binding = match words[0] >> 6 & 7 {
            1 if well_formed => Some(first_stage(words[2])),
            4 if well_formed => Some(Binding::PassThrough),
            _ => None,
        };
        (binding, Some(u16::try_from(words[1] & 0xffff).unwrap()))
    };
    let mut slots: BTreeMap<_, _> = groups()
        .filter(|number| low & 8 != 0 && *number != rid_pasid)
        .map(|number| (pasid(number), says(number)))
        .collect();
    slots.insert(RID, says(rid_pasid));
    // What RID_PASID has as an ordinary PASID is to go; its entry's domain leads to it.
    slots.insert(pasid(rid_pasid), (None, says(rid_pasid).1));
    (Some(rid_pasid), slots)
}

/// Changes some of what the tables say.
fn scribble(guest: &Guest, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(12) {
        let device = numbers.of(&[0, 1, 2]);
        let context = 0x2000 + u64::from(device) * 256;
        let directory = 0x10_0000 * u64::from(device + 1);
        match numbers.below(40) {
            // What breaks everything is mended soon, so that most of the time something is bound.
            0 => guest.write(&[(0x1000, numbers.of(&[0, 0x2003]))]),
            1..=3 => guest.write(&[(0x1000, 0x2001)]),
            4 => {
                let flags = numbers.of(&[0x209, 0x00b, 0x001, 0x008, 0x029]);
                guest.write(&[(context, directory | flags)]);
            }
            5..=7 => guest.write(&[(context, directory | 9)]),
            8 => guest
                .write(&[(context + 8, numbers.of(&[0, 0, 0, 1, 1, 63, 64, 0x2000, 0x10_0001]))]),
            9..=12 => {
                let group = u64::from(numbers.of(&GROUPS));
                let table = directory + 0x2_0000 + 0x1000 * u64::from(numbers.of(&GROUPS));
                let flags = numbers.of(&[1, 1, 1, 1, 1, 3, 0, 5]);
                guest.write(&[(directory + group * 8, table | flags)]);
            }
            _ => {
                let number = numbers.of(&GROUPS) << 6 | numbers.of(&INDICES);
                let place = Guest::place(device, number);
                guest.write(&[
                    (place, numbers.of(&[0x41, 0x41, 0x43, 0x101, 0x40, 0, 0x61, 0x8089, 0x1])),
                    (place + 8, numbers.of(&[1, 2, 3])),
                    (place + 16, numbers.of(&[0x9000, 0xa000])),
                    (place + 24, u64::from(numbers.below(20) == 0)),
                ]);
            }
        }
    }
}

fn random_scope(numbers: &mut Numbers) -> Scope {
    let edges = [0, 1, 2, 62, 63, 64, 65, 127, 128, 0x1fc0, 0x1fff, 0x2000, 0x2040, 1 << 20];
    let start = numbers.of(&edges);
    Scope {
        devices: numbers.of(&[DeviceScope::All, DeviceScope::All, DeviceScope::One(DeviceKey(1))]),
        slots: match numbers.below(3) {
            0 => SlotScope::All,
            1 => SlotScope::Pasids(start..start + 1),
            _ => SlotScope::Pasids(start..numbers.of(&edges)),
        },
        domain: numbers.of(&[None, None, Some(DomainId(1)), Some(DomainId(2)), Some(DomainId(3))]),
    }
}

fn in_range(slots: &SlotScope, number: u32) -> bool {
    match slots {
        SlotScope::All => true,
        SlotScope::Pasids(range) => range.contains(&number),
    }
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn a_reconciliation_makes_its_scope_what_the_tables_say_and_nothing_else() {
    let mut numbers = Numbers(0x00c0_ffee);
    let (mut steps, mut changes) = (0, 0);
    let rounds = if cfg!(miri) { 2 } else { 80 };
    for _ in 0..rounds {
        let guest = Guest::new();
        for device in 0..DEVICES {
            guest.context(device, 0, numbers.of(&[0, 1, 64]));
            groups().for_each(|number| {
                guest.entry(device, number, (numbers.of(&[0x41, 0]), 1, 0x9000));
            });
        }
        let memory = guest.contents();
        let (mut ledger, mut host) = (ledger(DEVICES), Host::default());
        for _ in 0..40 {
            scribble(&guest, &mut numbers);
            let scope = random_scope(&mut numbers);
            let fails = numbers.below(4) == 0;
            let odds = numbers.next();
            let mut count = 0;
            host.fails = fails.then(|| -> Fails {
                Box::new(move |_| {
                    count += 1;
                    odds >> (count % 64) & 1 == 1
                })
            });

            let mut expected: BTreeMap<(u32, Slot), Held> = BTreeMap::new();
            let mut touched = BTreeSet::new();
            for device in 0..DEVICES {
                let key = DeviceKey(device);
                let (rid_pasid, says) = tables_say(memory, device);
                let held_rid_pasid =
                    ledger.save(key).first().and_then(|saved| saved.rid_pasid).map(Pasid::get);
                let held: BTreeMap<_, _> =
                    ledger.slots(key).map(|(slot, state)| (slot, state.clone())).collect();
                let all: BTreeSet<Slot> = held.keys().chain(says.keys()).copied().collect();
                for slot in all {
                    let state = held.get(&slot);
                    let (binding, domain) = says.get(&slot).copied().unwrap_or((None, None));
                    let reached = match slot {
                        Slot::Pasid(number) => in_range(&scope.slots, number.get()),
                        Slot::Rid => {
                            let of_rid = [rid_pasid, held_rid_pasid];
                            scope.slots == SlotScope::All
                                || of_rid
                                    .into_iter()
                                    .flatten()
                                    .any(|number| in_range(&scope.slots, number))
                        }
                    };
                    let domains = [
                        state.and_then(|state| state.held).map(|held| held.domain),
                        state
                            .and_then(|state| state.failure.as_ref()?.attempted)
                            .map(|held| held.domain),
                        domain.map(DomainId),
                    ];
                    let reached = reached
                        && matches!(
                            scope.devices,
                            DeviceScope::All | DeviceScope::One(DeviceKey(1))
                        )
                        && (scope.devices == DeviceScope::All || device == 1)
                        && (scope.domain.is_none() || domains.contains(&scope.domain));
                    let now = if reached {
                        touched.insert((device, slot));
                        binding.map(|binding| Held { binding, domain: DomainId(domain.unwrap()) })
                    } else {
                        state.and_then(|state| state.held)
                    };
                    if let Some(now) = now {
                        expected.insert((device, slot), now);
                    }
                }
            }

            let size = numbers.of(&[1, 2, 3, 7, 64, 100_000]);
            let calls = host.run_in_steps(&mut ledger, &scope, &guest.wanted(), size, &takes);
            steps += 1;
            changes += calls.len();
            for (device, slot, _) in &calls {
                assert!(
                    touched.contains(&(*device, *slot)),
                    "{device} {slot:?} is not in {scope:?}"
                );
            }
            if !fails {
                let found: BTreeMap<_, _> = (0..DEVICES)
                    .flat_map(|device| {
                        ledger
                            .slots(DeviceKey(device))
                            .map(move |(slot, state)| ((device, slot), state))
                    })
                    .filter_map(|(slot, state)| Some((slot, state.held?)))
                    .collect();
                assert_eq!(found, expected, "{scope:?}");
                // One call for each slot, and no failure is left in the scope.
                let distinct: BTreeSet<_> =
                    calls.iter().map(|(device, slot, _)| (*device, *slot)).collect();
                assert_eq!(distinct.len(), calls.len());
                for (device, slot) in &touched {
                    let state = ledger.slot(DeviceKey(*device), *slot);
                    assert!(state.is_none_or(|state| state.failure.is_none()));
                }
                // Nor is there anything left to do.
                assert!(
                    host.run_in_steps(&mut ledger, &scope, &guest.wanted(), size, &takes)
                        .is_empty()
                );
            }
        }
    }
    assert!(steps == rounds * 40 && changes > rounds * 60, "{steps} {changes}");
}
