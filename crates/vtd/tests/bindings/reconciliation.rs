//! Every case of the reconciliation: what is held, what the entry says, which calls fail.

use std::sync::Arc;

use vtd::host::HostCall;
use vtd::{Effect, RemappingUnit, RestoreOnto, Step, UnitConfig};

use crate::guest::calls::{Calls, held_by, host};
use crate::guest::{
    self, CONTEXT_GLOBAL, PASID_GLOBAL, STATUS, context_of, first_stage, pasid_domain,
    pasid_selective, pass_through, second_stage,
};
use crate::machine::Machine;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A bind of X failed.
    Failed,
    /// X: a first-stage table at 100000, domain 5.
    Held,
}

/// Which calls of the host fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    None,
    ButUnbind,
    All,
}

/// One row: what was there, what the entry of PASID 1 says now, the calls where none fails, where all but unbind fail, where all
/// fail, and what is held after each.
struct Row {
    before: Before,
    entry: [u64; 3],
    calls: [&'static [&'static str]; 3],
    held: [&'static str; 3],
}

const X: &str = "3 1 fs4 100000";

fn rows() -> Vec<Row> {
    let y = |domain| first_stage(0x14_0000, domain);
    let same = |calls: &'static [&'static str], held| ([calls; 3], [held; 3]);
    let row = |before, entry, (calls, held)| Row { before, entry, calls, held };
    let absent = [0x40, 5, 0x14_0000];
    // PGTT 5 is none; the domain counts all the same.
    let malformed = [0x141, 6, 0x14_0000];
    let bind = |good: &'static [&'static str], bad: &'static [&'static str], held| {
        ([good, bad, bad], [held, "", ""])
    };
    let unbind =
        ([&["unbind 00:03.0 1"][..], &["unbind 00:03.0 1"], &["!unbind 00:03.0 1"]], ["", "", X]);
    let mut rows = vec![
        row(Before::Nothing, absent, same(&[], "")),
        row(Before::Nothing, malformed, same(&[], "")),
        row(Before::Nothing, second_stage(0x14_0000, 6), same(&[], "")),
        row(Before::Failed, absent, same(&[], "")),
        row(Before::Failed, malformed, same(&[], "")),
        row(Before::Held, first_stage(0x10_0000, 5), same(&[], X)),
        row(Before::Held, first_stage(0x10_0000, 6), same(&[], X)),
        row(Before::Held, absent, unbind),
        row(Before::Held, malformed, unbind),
        row(Before::Held, second_stage(0x14_0000, 6), unbind),
        row(
            Before::Held,
            y(5),
            (
                [
                    &["replace 00:03.0 1 fs4 140000 5"],
                    &["!replace 00:03.0 1 fs4 140000 5", "unbind 00:03.0 1"],
                    &["!replace 00:03.0 1 fs4 140000 5", "!unbind 00:03.0 1"],
                ],
                ["3 1 fs4 140000", "", X],
            ),
        ),
        row(
            Before::Held,
            pass_through(6),
            (
                [
                    &["replace 00:03.0 1 pt 0 6"],
                    &["!replace 00:03.0 1 pt 0 6", "unbind 00:03.0 1"],
                    &["!replace 00:03.0 1 pt 0 6", "!unbind 00:03.0 1"],
                ],
                ["3 1 pt 0", "", X],
            ),
        ),
    ];
    for before in [Before::Nothing, Before::Failed] {
        rows.push(row(
            before,
            y(6),
            bind(
                &["bind 00:03.0 1 fs4 140000 6"],
                &["!bind 00:03.0 1 fs4 140000 6"],
                "3 1 fs4 140000",
            ),
        ));
        rows.push(row(
            before,
            first_stage(0x10_0000, 5),
            bind(&["bind 00:03.0 1 fs4 100000 5"], &["!bind 00:03.0 1 fs4 100000 5"], X),
        ));
        rows.push(row(
            before,
            pass_through(5),
            bind(&["bind 00:03.0 1 pt 0 5"], &["!bind 00:03.0 1 pt 0 5"], "3 1 pt 0"),
        ));
    }
    rows
}

/// What makes the unit look at PASID 1 of 00:03.0 again.
fn triggers(row: &Row) -> Vec<Option<[u64; 4]>> {
    let mut domains = Vec::new();
    if row.before != Before::Nothing {
        domains.push(5);
    }
    if row.entry[0] & 1 == 1 {
        domains.push(row.entry[1]);
    }
    let mut triggers = vec![
        Some(PASID_GLOBAL),
        Some(CONTEXT_GLOBAL),
        Some(context_of(3)),
        // None stands for SRTP.
        None,
    ];
    for domain in domains {
        triggers.push(Some(pasid_selective(domain, 1)));
        triggers.push(Some(pasid_domain(domain)));
    }
    triggers
}

fn prepared(before: Before) -> Machine {
    let machine = Machine::new();
    if before != Before::Nothing {
        machine.guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
    }
    if before == Before::Failed {
        machine.host.fail_calls(|_| true);
    }
    machine.guest.assign(3);
    machine.host.stop_failing();
    machine.calls.take();
    machine.guest.effects();
    machine
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn every_case_of_the_reconciliation_by_every_trigger() {
    for row in rows() {
        for trigger in triggers(&row) {
            for (n, failing) in
                [Failing::None, Failing::ButUnbind, Failing::All].into_iter().enumerate()
            {
                let Machine { mut guest, host, calls } = prepared(row.before);
                let device = guest.unit.devices()[0].id;
                let name = format!("{:?} {:x?} {trigger:x?} {failing:?}", row.before, row.entry);
                guest.put_entry(3, 1, &row.entry);
                // Invalidations of others see nothing of it.
                let others =
                    [pasid_selective(9, 1), pasid_selective(5, 2), pasid_domain(9), context_of(4)];
                assert!(guest.invalidate(&others), "{name}");
                assert_eq!(calls.take(), [""; 0], "{name}");
                match failing {
                    Failing::None => {}
                    Failing::ButUnbind => {
                        host.fail_calls(|call| !matches!(call, HostCall::Unbind { .. }));
                    }
                    Failing::All => host.fail_calls(|_| true),
                }
                let done = match trigger {
                    Some(descriptor) => guest.invalidate(&[descriptor]),
                    None => {
                        guest.set_root(0x1400);
                        guest.read(0x1c, 4) == 0xc400_0000
                    }
                };
                assert_eq!(calls.take(), row.calls[n], "{name}");
                let held = held_by(&host);
                assert_eq!(held.concat(), row.held[n], "{name}");
                // The wait, or RTPS, tells that nothing stale is in use, so it is held up by what the host did not give up.
                let stuck = failing == Failing::All
                    && row.calls[2].iter().any(|call| call.starts_with("!unbind"));
                assert_eq!(done, !stuck, "{name}");
                let effects = guest.effects();
                let told = effects
                    .iter()
                    .any(|effect| matches!(effect, Effect::HostStuck(stuck) if *stuck == device));
                assert_eq!(told, stuck, "{name}");
                let failed = effects
                    .iter()
                    .filter(|effect| matches!(effect, Effect::HostCallFailed { .. }))
                    .count();
                assert_eq!(
                    failed,
                    row.calls[n].iter().filter(|call| call.starts_with('!')).count()
                );
                // State exists for what is held or has an error, and for nothing else.
                let states = guest.unit.slots(device);
                assert_eq!(states.len(), usize::from(failed > 0 || !held.is_empty()), "{name}");
                // The host does as it is told again: a retry leads to what the entry says.
                host.stop_failing();
                guest.unit.retry(device).unwrap();
                assert!(guest.is_idle());
                assert_eq!(held_by(&host).concat(), row.held[0], "{name}");
                let status = if trigger.is_none() { 1 } else { 2 };
                assert_eq!(guest.get(STATUS) & 0xffff_ffff, status, "{name}");
                assert_eq!(guest.read(0x1c, 4), 0xc400_0000, "{name}");
                let states = guest.unit.slots(device);
                assert!(states.iter().all(|(_, state)| state.failure.is_none()), "{name}");
                // The domain has followed the entry, so that the next invalidation by it finds the slot.
                for (_, state) in states {
                    assert_eq!(u64::from(state.held.unwrap().domain.0), row.entry[1], "{name}");
                }
            }
        }
    }
}

// feature: 9.after any step and any input
#[test]
fn restored_units_go_on_from_every_case() {
    for row in rows() {
        for (n, failing) in
            [Failing::None, Failing::ButUnbind, Failing::All].into_iter().enumerate()
        {
            for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
                let Machine { mut guest, host: old_host, .. } = prepared(row.before);
                guest.put_entry(3, 1, &row.entry);
                match failing {
                    Failing::None => {}
                    Failing::ButUnbind => {
                        old_host.fail_calls(|call| !matches!(call, HostCall::Unbind { .. }));
                    }
                    Failing::All => old_host.fail_calls(|_| true),
                }
                let stuck = !guest.invalidate(&[PASID_GLOBAL]);
                old_host.stop_failing();
                let state = guest.unit.save().unwrap();
                let fresh = onto == RestoreOnto::FreshHost;
                let new_host = if fresh { host() } else { Arc::clone(&old_host) };
                let calls = Arc::new(Calls::default());
                let mut config = UnitConfig::new(guest::caps(), Arc::clone(&guest.memory) as _);
                config.host = Some(Arc::clone(&new_host) as _);
                config.observer = Some(Arc::clone(&calls) as _);
                guest.unit = RemappingUnit::restore(config, &state, onto).unwrap();
                let name = format!("{:?} {:x?} {failing:?} {onto:?}", row.before, row.entry);
                let step = guest.unit.run();
                let made = calls.take();
                let held = held_by(&new_host).concat();
                if stuck {
                    // The same host still has what it should not; the fresh one never had it. The wait is still there.
                    assert_eq!(held, if fresh { "" } else { row.held[2] }, "{name}");
                    assert_eq!(step, if fresh { Step::Idle } else { Step::Waiting }, "{name}");
                } else {
                    assert_eq!(
                        made.len(),
                        usize::from(fresh && !row.held[n].is_empty()),
                        "{name} {made:?}"
                    );
                    assert_eq!(held, row.held[n], "{name}");
                    assert_eq!(step, Step::Idle);
                }
                // Tables are read at the next invalidation.
                if stuck && !fresh {
                    guest.unit.retry(guest.unit.devices()[0].id).unwrap();
                }
                assert!(guest.invalidate(&[PASID_GLOBAL]), "{name}");
                assert_eq!(held_by(&new_host).concat(), row.held[0], "{name}");
            }
        }
    }
}
