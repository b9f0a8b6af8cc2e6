//! Bindings of assigned devices: what the host is asked, and when.
#![cfg(test)]

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guest::calls::{Calls, Host, held_by, host};
use guest::{
    CAP, CONTEXT_GLOBAL, ECAP, Guest, IOTLB_GLOBAL, PASID_GLOBAL, STATUS, context_of, first_stage,
    pasid_domain, pasid_iotlb, pasid_selective, pass_through, second_stage, source_id,
};
use vtd::host::{
    HostCall, HostCapabilities, HostDevice, HostError, HostErrorKind, HostIommu, InvalidateError,
    ModelHost, StageOneInvalidation,
};
use vtd::memory::{AccessError, GuestMemory, SparseMemory};
use vtd::spec::{Binding, Capabilities, Gpa, Slot};
use vtd::{
    AttachError, Attachment, Effect, HostOperation, Quotas, RemappingUnit, ResetKind, RestoreOnto,
    Step, UnitConfig,
};

/// A guest in scalable mode with an assigned device 00:03.0 whose RID_PASID is 0, and its host.
struct Machine {
    guest: Guest,
    host: Host,
    calls: Arc<Calls>,
}

impl Machine {
    fn with_ecap(ecap: u64) -> Self {
        let (host, calls) = (host(), Arc::new(Calls::default()));
        let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |config| {
            config.host = Some(Arc::clone(&host) as _);
            config.observer = Some(Arc::clone(&calls) as _);
        });
        guest.put_context(3, 0);
        Self { guest, host, calls }
    }

    fn new() -> Self {
        let mut machine = Self::with_ecap(ECAP);
        machine.guest.enable();
        machine
    }

    fn pasids(&self) -> Vec<String> {
        let mut held = held_by(&self.host);
        held.retain(|text| !text.starts_with("3 -"));
        held
    }

    fn failures(&self) -> Vec<(HostOperation, Slot)> {
        let failed = |effect| match effect {
            Effect::HostCallFailed { operation, slot, .. } => Some((operation, slot)),
            _ => None,
        };
        self.guest.effects().into_iter().filter_map(failed).collect()
    }
}

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

#[test]
fn translation_off_and_on_and_reset() {
    for off in ["te", "warm", "power"] {
        let Machine { mut guest, host, calls } = Machine::new();
        guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        guest.put_entry(3, 9, &pass_through(5));
        guest.assign(3);
        assert_eq!(
            calls.take(),
            ["bind 00:03.0 - fs4 100000 4", "bind 00:03.0 1 fs4 140000 5", "bind 00:03.0 9 pt 0 5"]
        );
        match off {
            "te" => guest.command(0x0400_0000),
            "warm" => guest.unit.reset(ResetKind::Warm),
            _ => guest.unit.reset(ResetKind::PowerOn),
        }
        assert!(guest.is_idle());
        let expected = ["replace 00:03.0 - pt 0 0", "unbind 00:03.0 1", "unbind 00:03.0 9"];
        assert_eq!(calls.take(), expected, "{off}");
        assert_eq!(held_by(&host), ["3 - pt 0"]);
        if off == "te" {
            guest.command(0x8400_0000);
        } else {
            guest.enable();
        }
        assert_eq!(
            calls.take(),
            [
                "replace 00:03.0 - fs4 100000 4",
                "bind 00:03.0 1 fs4 140000 5",
                "bind 00:03.0 9 pt 0 5"
            ],
            "{off}"
        );
    }
}

#[test]
fn what_is_desired() {
    let adms = ECAP | 1 << 52;
    let both = "3 - fs4 100000, 3 1 fs4 140000";
    let set = |place: u64, value: u64| vec![(place, value)];
    let context = 0x2000 + 0x18 * 32;
    let directory = Guest::directory(3);
    let entry = |pasid| Guest::entry_place(3, pasid);
    // Name, ECAP, RTADDR if translation is on, what is written, what is held.
    type Row = (&'static str, u64, Option<u64>, Vec<(u64, u64)>, &'static str);
    let table: [Row; 28] = [
        ("translation off", ECAP, None, vec![], "3 - pt 0"),
        ("scalable", ECAP, Some(0x1400), vec![], both),
        ("abort", adms, Some(0x1c00), vec![], ""),
        ("abort not shown", ECAP, Some(0x1c00), vec![], ""),
        ("reserved mode", ECAP, Some(0x1800), vec![], ""),
        ("scalable not shown", 0xf46, Some(0x1400), vec![], ""),
        ("no memory for the root table", ECAP, Some(0x7000_0400), vec![], ""),
        ("root absent", ECAP, Some(0x1400), set(0x1000, 0x2000), ""),
        ("root reserved", ECAP, Some(0x1400), set(0x1000, 0x2003), ""),
        ("no memory for the context table", ECAP, Some(0x1400), set(0x1000, 0x7000_0001), ""),
        ("context absent", ECAP, Some(0x1400), set(context, directory | 8), ""),
        ("context reserved", ECAP, Some(0x1400), set(context, directory | 9 | 1 << 5), ""),
        ("context reserved high", ECAP, Some(0x1400), set(context + 16, 1), ""),
        ("PASIDE 0", ECAP, Some(0x1400), set(context, directory | 1), "3 - fs4 100000"),
        ("RID_PASID 1", ECAP, Some(0x1400), set(context + 8, 1), "3 - fs4 140000, 3 0 fs4 100000"),
        (
            "RID_PASID not there",
            ECAP,
            Some(0x1400),
            set(context + 8, 2),
            "3 0 fs4 100000, 3 1 fs4 140000",
        ),
        ("directory absent", ECAP, Some(0x1400), set(directory, directory | 0x1000), ""),
        ("directory reserved", ECAP, Some(0x1400), set(directory, directory | 0x1005), ""),
        ("no memory for the directory", ECAP, Some(0x1400), set(context, 0x7000_0009), ""),
        ("no memory for the table", ECAP, Some(0x1400), set(directory, 0x7000_0001), ""),
        ("entry absent", ECAP, Some(0x1400), set(entry(1), 0x40), "3 - fs4 100000"),
        ("entry reserved", ECAP, Some(0x1400), set(entry(1), 0x61), "3 - fs4 100000"),
        ("entry reserved above", ECAP, Some(0x1400), set(entry(1) + 56, 1), "3 - fs4 100000"),
        (
            "table beyond the width",
            ECAP,
            Some(0x1400),
            set(entry(1) + 16, 1 << 48),
            "3 - fs4 100000",
        ),
        ("second-stage", ECAP, Some(0x1400), set(entry(0), 0x14_0089), "3 1 fs4 140000"),
        ("FPD alone changes nothing", ECAP, Some(0x1400), set(entry(1), 0x43), both),
        // In legacy mode: TT 2, and TT 0.
        (
            "legacy pass-through",
            ECAP,
            Some(0x1000),
            vec![(0x1008, 0), (0x2000 + 0x18 * 16, 9), (0x2008 + 0x18 * 16, 0x502)],
            "3 - pt 0",
        ),
        (
            "legacy second-stage",
            ECAP,
            Some(0x1000),
            vec![(0x1008, 0), (0x2000 + 0x18 * 16, 0x10_0001), (0x2008 + 0x18 * 16, 0x502)],
            "",
        ),
    ];
    for (name, ecap, root, writes, expected) in table {
        let Machine { guest, host, .. } = Machine::with_ecap(ecap);
        guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        for (place, value) in &writes {
            guest.put(*place, &[*value]);
        }
        guest.assign(3);
        assert_eq!(held_by(&host), ["3 - pt 0"], "{name}: translation is off");
        if let Some(root) = root {
            guest.set_root(root);
            guest.command(0x8000_0000);
        }
        assert!(guest.is_idle());
        assert_eq!(held_by(&host).join(", "), expected, "{name}");
        // Attached at the end it is the same.
        let device = guest.unit.devices()[0].id;
        guest.unit.release(device).unwrap();
        assert!(guest.is_idle());
        assert_eq!(held_by(&host), [""; 0], "{name}");
        guest.assign(3);
        assert_eq!(held_by(&host).join(", "), expected, "{name}: attached late");
    }
}

#[test]
fn a_smaller_directory_unbinds_what_lies_behind_it() {
    let Machine { mut guest, host, calls } = Machine::new();
    // 256 directory entries; PASID 2040 is in entry 1FC and has the table of PASIDs 0 to 63 too.
    let directory = Guest::directory(3);
    guest.put(0x2000 + 0x18 * 32, &[directory | 9 | 1 << 9]);
    guest.put(directory + 0x81 * 8, &[directory + 0x1001]);
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    guest.assign(3);
    assert_eq!(held_by(&host), ["3 1 fs4 140000", "3 2041 fs4 140000"]);
    calls.take();
    guest.put(0x2000 + 0x18 * 32, &[directory | 9]);
    assert!(guest.invalidate(&[context_of(3)]));
    assert_eq!(calls.take(), ["unbind 00:03.0 2041"]);
}

#[test]
fn a_new_rid_pasid_moves_in_order() {
    let Machine { mut guest, calls, .. } = Machine::new();
    guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
    guest.put_entry(3, 7, &first_stage(0x14_0000, 5));
    guest.assign(3);
    assert_eq!(calls.take(), ["bind 00:03.0 - fs4 100000 4", "bind 00:03.0 7 fs4 140000 5"]);
    guest.put(0x2008 + 0x18 * 32, &[7]);
    assert!(guest.invalidate(&[context_of(3)]));
    assert_eq!(
        calls.take(),
        ["unbind 00:03.0 7", "replace 00:03.0 - fs4 140000 5", "bind 00:03.0 0 fs4 100000 4"]
    );
}

#[test]
fn attach_is_refused() {
    let attach = |guest: &Guest, device| {
        let attachment = Attachment::Assigned(HostDevice(device));
        guest.unit.attach(source_id(device), attachment)
    };
    // CM=0.
    let machine = host();
    let guest = Guest::made(Capabilities::new(CAP & !(1 << 7), ECAP).unwrap(), |config| {
        config.host = Some(Arc::clone(&machine) as _);
    });
    assert!(matches!(attach(&guest, 3), Err(AttachError::NoCachingMode(id)) if id == source_id(3)));
    // Emulated devices need none of it.
    guest.emulate(3);
    // No host.
    let guest = Guest::new();
    assert!(matches!(attach(&guest, 3), Err(AttachError::NoHost(id)) if id == source_id(3)));
    // A device that the host does not have; taken source-ids, of either kind.
    let guest = Guest::with_host(Arc::clone(&machine) as _);
    assert!(matches!(attach(&guest, 9), Err(AttachError::Host { source, .. })
        if source.kind == HostErrorKind::NoSuchDevice));
    attach(&guest, 3).unwrap();
    guest.emulate(4);
    for device in [3, 4] {
        assert!(matches!(attach(&guest, device), Err(AttachError::SourceIdTaken(_))));
        let emulated = guest.unit.attach(source_id(device), Attachment::Emulated);
        assert!(matches!(emulated, Err(AttachError::SourceIdTaken(_))));
    }
    assert_eq!(guest.unit.devices().len(), 2);
    // An assigned device has no DMA of its own, an emulated one nothing to retry.
    let [assigned, emulated] = [0, 1].map(|n| guest.unit.devices()[n].id);
    assert!(guest.unit.dma(assigned, None).is_err());
    assert!(guest.unit.retry(emulated).is_err());
}

/// Memory that is gone once it is told so: every access panics.
struct Mortal {
    memory: SparseMemory,
    gone: AtomicBool,
}

impl Mortal {
    fn alive(&self) -> &SparseMemory {
        assert!(!self.gone.load(Ordering::SeqCst), "guest memory was used after the reset");
        &self.memory
    }
}

impl GuestMemory for Mortal {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.alive().load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.alive().load_qwords(gpa, out)
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        old: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.alive().compare_exchange_u64(gpa, old, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.alive().store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.alive().store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

#[test]
fn reset_reads_no_memory_and_tells_the_host_of_every_unbind() {
    let memory = Arc::new(Mortal { memory: SparseMemory::new(), gone: AtomicBool::new(false) });
    let (machine, calls) = (host(), Arc::new(Calls::default()));
    let mut guest = Guest::made(guest::caps(), |config| {
        config.memory = Arc::clone(&memory) as _;
        config.host = Some(Arc::clone(&machine) as _);
        config.observer = Some(Arc::clone(&calls) as _);
    });
    // The tables lie in the mortal memory.
    let put = |gpa: u64, qwords: &[u64]| {
        for (place, qword) in (gpa..).step_by(8).zip(qwords) {
            memory.memory.write_u64(Gpa(place), *qword).unwrap();
        }
    };
    put(0x1000, &[0x2001]);
    for device in [3, 4] {
        let directory = Guest::directory(device);
        put(0x2000 + device * 8 * 32, &[directory | 9]);
        put(directory, &[directory + 0x1001]);
        for pasid in 1..=20 {
            put(Guest::entry_place(device, pasid), &[0x41, 5, 0x10_0000 * pasid]);
        }
    }
    for page in [guest::QUEUE, STATUS] {
        memory.memory.fill_zero_page(Gpa(page));
    }
    guest.enable();
    guest.assign(3);
    guest.assign(4);
    let emulated = guest.emulate(5);
    let handle = guest.unit.dma(emulated, None).unwrap();
    assert_eq!(held_by(&machine).len(), 40);
    calls.take();
    // A wait is deferred, a reconciliation half done, a command not begun.
    let guard = handle.guard();
    put(guest::QUEUE, &guest::wait(9));
    guest.write(0x88, 8, 0x20);
    guest.write(0x18, 4, 0xc400_0000);
    let _step = guest.unit.step(3);
    guest.unit.reset(ResetKind::PowerOn);
    memory.gone.store(true, Ordering::SeqCst);
    drop(guard);
    while guest.unit.step(1) != Step::Idle {}
    let mut expected = Vec::new();
    for device in [3, 4] {
        expected.push(format!("bind 00:0{device}.0 - pt 0 0"));
        expected.extend((1..=20).map(|pasid| format!("unbind 00:0{device}.0 {pasid:x}")));
    }
    assert_eq!(calls.take(), expected);
    assert_eq!(guest.read(0x1c, 4), 0);
    let mut status = [0; 4];
    memory.memory.read_bytes(Gpa(STATUS), &mut status).unwrap();
    assert_eq!(status, [0; 4], "the wait was cancelled");
}

#[test]
fn reset_and_release_when_the_host_fails() {
    for release in [false, true] {
        let Machine { mut guest, host, calls } = Machine::new();
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        guest.put_entry(3, 2, &first_stage(0x18_0000, 5));
        if !release {
            guest.put_entry(3, 0, &pass_through(0));
        }
        let device = guest.assign(3);
        calls.take();
        host.fail_calls(|call| matches!(call, HostCall::Unbind { .. }));
        if release {
            guest.unit.release(device).unwrap();
        } else {
            guest.unit.reset(ResetKind::PowerOn);
        }
        let step = guest.unit.run();
        assert_eq!(step, if release { Step::Waiting } else { Step::Idle });
        let unbinds = ["!unbind 00:03.0 1", "!unbind 00:03.0 2"];
        assert_eq!(
            calls.take().iter().filter(|call| call.contains("unbind")).count(),
            unbinds.len()
        );
        let effects = guest.effects();
        let failed =
            effects.iter().filter(|effect| matches!(effect, Effect::HostCallFailed { .. }));
        assert_eq!(failed.count(), 2);
        let told = effects
            .iter()
            .any(|effect| matches!(effect, Effect::HostStuck(stuck) if *stuck == device));
        assert_eq!(told, release);
        assert_eq!(held_by(&host).len(), if release { 2 } else { 3 });
        // The guest can go on; nothing of a device on its way out is bound again by whatever it does meanwhile.
        if !release {
            guest.enable();
        } else {
            guest.set_root(0x1400);
            assert!(!guest.invalidate(&[CONTEXT_GLOBAL]));
            assert_eq!(guest.read(0x1c, 4), 0x8400_0000, "what it promises does not hold");
            assert!(calls.take().iter().all(|call| call.starts_with("!unbind")));
            assert!(guest.effects().iter().all(|effect| !matches!(effect, Effect::Released(_))));
        }
        host.stop_failing();
        guest.unit.retry(device).unwrap();
        guest.unit.retry(device).unwrap();
        assert!(guest.is_idle());
        let released =
            guest.effects().iter().filter(|effect| matches!(effect, Effect::Released(_))).count();
        if release {
            assert_eq!(held_by(&host), [""; 0]);
            assert_eq!(released, 1, "told once");
            assert!(guest.unit.devices().is_empty());
            assert!(guest.unit.retry(device).is_err());
        } else {
            assert_eq!(held_by(&host), ["3 - pt 0", "3 1 fs4 140000", "3 2 fs4 180000"]);
            assert_eq!(released, 0);
        }
        assert_eq!(guest.unit.counts().ledger.contradicting, 0);
    }
}

#[test]
fn release_leaves_nothing() {
    let Machine { mut guest, host, .. } = Machine::new();
    for device in [3, 4] {
        guest.put_context(device, 0);
        for pasid in 0..10 {
            guest.put_entry(device, pasid, &first_stage(0x10_0000 + pasid * 0x1000, 5));
        }
    }
    let [three, four] = [3, 4].map(|device| guest.assign(device));
    let before = guest.unit.counts().ledger.held;
    assert_eq!(before, 20);
    guest.unit.release(three).unwrap();
    assert!(guest.unit.release(three).is_err());
    assert!(guest.is_idle());
    assert_eq!(guest.unit.counts().ledger.held, 10);
    assert!(held_by(&host).iter().all(|held| held.starts_with('4')));
    assert!(guest.unit.slots(three).is_empty());
    assert!(matches!(guest.effects()[..], [Effect::Released(device)] if device == three));
    assert!(guest.invalidate(&[CONTEXT_GLOBAL, PASID_GLOBAL]));
    assert!(held_by(&host).iter().all(|held| held.starts_with('4')));
    assert_eq!(guest.unit.devices().len(), 1);
    guest.assign(3);
    assert_eq!(guest.unit.counts().ledger.held, 20);
    guest.unit.release(four).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.unit.counts().ledger.held, 10);
}

#[test]
fn released_in_the_middle_of_the_queue() {
    // However far the work has come when the device goes, and whatever is asked meanwhile, nothing of it is left.
    for steps in 0..60 {
        for meanwhile in ["nothing", "root", "te", "reset"] {
            let Machine { mut guest, host, calls } = Machine::new();
            for device in [3, 4] {
                guest.put_context(device, 0);
                for pasid in 0..6 {
                    guest.put_entry(device, pasid, &first_stage(0x10_0000 + pasid * 0x1000, 5));
                }
            }
            let [three, _] = [3, 4].map(|device| guest.assign(device));
            for device in [3, 4] {
                for pasid in 0..6 {
                    guest.put_entry(device, pasid, &first_stage(0x20_0000 + pasid * 0x1000, 5));
                }
            }
            calls.take();
            guest.ring(&[CONTEXT_GLOBAL, guest::wait(9)]);
            for _ in 0..steps / 2 {
                let _step = guest.unit.step(1);
            }
            guest.unit.release(three).unwrap();
            for _ in 0..steps / 3 {
                let _step = guest.unit.step(1);
            }
            let begun = calls.take();
            match meanwhile {
                "root" => guest.write(0x18, 4, 0xc400_0000),
                "te" => {
                    guest.write(0x18, 4, 0x0400_0000);
                    let _step = guest.unit.step(5);
                    guest.write(0x18, 4, 0x8400_0000);
                }
                "reset" => guest.unit.reset(ResetKind::PowerOn),
                _ => {}
            }
            assert!(guest.is_idle());
            let name = format!("{steps} {meanwhile} {begun:?}");
            assert!(held_by(&host).iter().all(|held| held.starts_with('4')), "{name}");
            // From the release on it is only unbound.
            let of_three = calls.take().into_iter().filter(|call| call.contains("00:03.0"));
            assert!(of_three.into_iter().all(|call| call.starts_with("unbind")), "{name}");
            assert_eq!(
                guest
                    .effects()
                    .iter()
                    .filter(|effect| matches!(effect, Effect::Released(_)))
                    .count(),
                1
            );
            if meanwhile == "reset" {
                assert_eq!(held_by(&host), ["4 - pt 0"]);
                assert_eq!(guest.get(STATUS), 0);
            } else {
                assert_eq!(held_by(&host).len(), 6, "{name}");
                assert_eq!(guest.get(STATUS), 9);
                assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
            }
        }
    }
}

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

#[test]
fn which_descriptors_reach_the_host_caches() {
    let Machine { mut guest, calls, .. } = Machine::new();
    guest.put_context(4, 0);
    guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    guest.put_entry(3, 2, &first_stage(0x18_0000, 5));
    guest.put_entry(3, 3, &pass_through(5));
    guest.put_entry(4, 1, &first_stage(0x1c_0000, 5));
    guest.assign(3);
    guest.assign(4);
    calls.take();
    let all = |slots: &[&str]| -> Vec<String> {
        slots.iter().map(|slot| format!("invalidate 00:{slot} 0 all")).collect()
    };
    let one = |slot: &str, range: &str| vec![format!("invalidate 00:{slot} {range}")];
    let both = |range: &str| {
        vec![format!("invalidate 00:03.0 1 {range}"), format!("invalidate 00:04.0 1 {range}")]
    };
    let page = |low: u64, high: u64| [low, high, 0, 0];
    let of_pasid = 0x36 | 5 << 16 | 1 << 32;
    let table = [
        (IOTLB_GLOBAL, all(&["03.0 -", "03.0 1", "03.0 2", "04.0 1"])),
        ([0x22 | 5 << 16, 0, 0, 0], all(&["03.0 1", "03.0 2", "04.0 1"])),
        ([0x22 | 4 << 16, 0, 0, 0], all(&["03.0 -"])),
        ([0x22 | 9 << 16, 0, 0, 0], vec![]),
        // By page it concerns second-stage tables; types 3 and 8 are the kernel's own affair.
        (page(0x32 | 5 << 16, 0x5000), vec![]),
        (page(0x03 | 0x18 << 32, 0x5000), vec![]),
        (page(0x08 | 0x18 << 16 | 1 << 32, 0x5000), vec![]),
        (pasid_iotlb(5, 1), all(&["03.0 1", "04.0 1"])),
        (pasid_iotlb(5, 2), all(&["03.0 2"])),
        (pasid_iotlb(5, 3), vec![]),
        (pasid_iotlb(6, 1), vec![]),
        // RID_PASID is 0.
        (pasid_iotlb(4, 0), all(&["03.0 -"])),
        (page(0x36 | 4 << 16, 0x5000), one("03.0 -", "5000 1")),
        (page(of_pasid, 0x5000), both("5000 1")),
        (page(of_pasid, 0x5000 | 1 << 6), both("5000 1 leaf")),
        (page(of_pasid, 0x5000 | 3), both("0 8")),
        (page(of_pasid, 0xffff_ffff_ffff_f000 | 9), both("ffffffffffe00000 200")),
        (page(of_pasid, 0xffff_ffff_ffff_f000 | 51), both("8000000000000000 8000000000000")),
        (page(of_pasid, 0x5000 | 52), both("0 all")),
        (page(of_pasid, 0x5000 | 63), both("0 all")),
    ];
    for (descriptor, mut expected) in table {
        assert!(guest.invalidate(&[descriptor]));
        let mut made = calls.take();
        made.sort();
        expected.sort();
        assert_eq!(made, expected, "{descriptor:x?}");
    }
}

#[test]
fn a_stage_one_invalidation_that_fails() {
    // How often the host fails, counting from the invalidation; the calls; whether the wait completes.
    let table: [(u64, &[&str], bool); 4] = [
        (0, &["invalidate 00:03.0 1 0 all"], true),
        (1, &["!invalidate 00:03.0 1 0 all", "invalidate 00:03.0 1 0 all"], true),
        (
            2,
            &["!invalidate 00:03.0 1 0 all", "!invalidate 00:03.0 1 0 all", "unbind 00:03.0 1"],
            true,
        ),
        (
            3,
            &["!invalidate 00:03.0 1 0 all", "!invalidate 00:03.0 1 0 all", "!unbind 00:03.0 1"],
            false,
        ),
    ];
    for (failures, expected, completes) in table {
        let machine = Machine::new();
        machine.guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        let device = machine.guest.assign(3);
        machine.calls.take();
        let mut machine = machine;
        for n in 1..=failures {
            machine.host.fail_nth(n);
        }
        assert_eq!(machine.guest.invalidate(&[pasid_iotlb(5, 1)]), completes);
        assert_eq!(machine.calls.take(), expected);
        let effects = machine.guest.effects();
        let stuck = effects.iter().any(|effect| matches!(effect, Effect::HostStuck(_)));
        assert_eq!(stuck, !completes);
        if failures < 2 {
            assert_eq!(machine.pasids(), ["3 1 fs4 140000"]);
            continue;
        }
        assert_eq!(machine.pasids().len(), usize::from(!completes));
        // The slot is bound anew by the next invalidation or a retry, and by then the wait completes.
        machine.guest.unit.retry(device).unwrap();
        assert!(machine.guest.is_idle());
        let healed = if completes {
            "bind 00:03.0 1 fs4 140000 5"
        } else {
            "replace 00:03.0 1 fs4 140000 5"
        };
        assert_eq!(machine.calls.take(), [healed]);
        assert_eq!(machine.pasids(), ["3 1 fs4 140000"]);
        assert_eq!(machine.guest.get(STATUS), 1);
        assert!(machine.failures().is_empty());
    }
    // Done in part: nothing of a batch of one, so all of it again.
    let Machine { mut guest, host, calls } = Machine::new();
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    guest.assign(3);
    calls.take();
    host.handle_at_most(0);
    assert!(guest.invalidate(&[pasid_iotlb(5, 1)]));
    assert_eq!(calls.take(), ["!invalidate 00:03.0 1 0 all", "invalidate 00:03.0 1 0 all"]);
}

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

/// A host whose binds wait until they are let go.
struct Gate {
    host: Host,
    entered: SyncSender<()>,
    go: Mutex<Receiver<()>>,
}

impl HostIommu for Gate {
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
        self.host.capabilities(device)
    }

    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.entered.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        self.host.bind(device, slot, binding)
    }

    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.host.replace(device, slot, binding)
    }

    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
        self.host.unbind(device, slot)
    }

    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        self.host.invalidate(device, slot, batch)
    }
}

#[test]
fn nothing_waits_for_a_host_call_under_way() {
    for what in ["nothing", "release", "warm", "power", "root", "attach"] {
        let (entered, has_entered) = sync_channel(100);
        let (let_go, go) = sync_channel(100);
        let machine = host();
        let gate = Gate { host: Arc::clone(&machine), entered, go: Mutex::new(go) };
        let mut guest = Guest::with_host(Arc::new(gate));
        guest.enable();
        guest.put_context(3, 0);
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        guest.put_entry(3, 2, &first_stage(0x18_0000, 5));
        let attachment = Attachment::Assigned(HostDevice(3));
        let device = guest.unit.attach(source_id(3), attachment).unwrap();
        std::thread::scope(|scope| {
            let unit = guest.unit.clone();
            let stepper = scope.spawn(move || unit.run());
            has_entered.recv_timeout(Duration::from_secs(10)).unwrap();
            // The host is at work; registers are read and written all the same.
            assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
            guest.ring(&[guest::wait(1)]);
            assert_eq!(guest.unit.step(10), Step::Waiting);
            assert_eq!(guest.unit.save().unwrap_err(), vtd::SaveError::HostCallUnderWay);
            match what {
                "release" => guest.unit.release(device).unwrap(),
                "warm" => guest.unit.reset(ResetKind::Warm),
                "power" => guest.unit.reset(ResetKind::PowerOn),
                "root" => {
                    // Another root table, with nothing in it.
                    guest.put(0x4000, &[0; 512]);
                    guest.write(0x20, 8, 0x4400);
                    guest.write(0x18, 4, 0xc400_0000);
                    assert_eq!(guest.read(0x1c, 4), 0x8400_0000);
                }
                "attach" => {
                    guest.put_context(4, 0);
                    let attachment = Attachment::Assigned(HostDevice(4));
                    guest.unit.attach(source_id(4), attachment).unwrap();
                }
                _ => {}
            }
            assert_eq!(guest.get(STATUS), 0);
            for _ in 0..100 {
                let_go.send(()).unwrap();
            }
            assert_eq!(stepper.join().unwrap(), Step::Idle);
        });
        assert!(guest.is_idle());
        let expected: &[&str] = match what {
            "release" | "root" => &[],
            "warm" | "power" => &["3 - pt 0"],
            _ => &["3 1 fs4 140000", "3 2 fs4 180000"],
        };
        assert_eq!(held_by(&machine), expected, "{what}");
        let cancelled = matches!(what, "warm" | "power");
        assert_eq!(guest.get(STATUS), u64::from(!cancelled), "{what}");
        let states = guest.unit.slots(device).len();
        assert_eq!(states, expected.len(), "{what}");
    }
}

#[test]
fn quotas() {
    for (per_device, per_unit, host_pasids) in [(4, 100, 100), (100, 4, 100), (100, 100, 4)] {
        let model = Arc::new(ModelHost::new());
        for device in [3, 4] {
            let mut capabilities = HostCapabilities::everything();
            capabilities.pasids = host_pasids;
            model.add_device_with(HostDevice(device), capabilities);
        }
        let mut guest = Guest::made(guest::caps(), |config| {
            config.host = Some(Arc::clone(&model) as _);
            config.quotas = Quotas { per_device, per_unit };
        });
        guest.enable();
        guest.put_context(3, 0);
        for pasid in 0..8 {
            guest.put_entry(3, pasid, &first_stage(0x10_0000 * (pasid + 1), 5));
        }
        let device = guest.assign(3);
        let pasids = || -> Vec<_> {
            let bindings = model.bindings();
            bindings.iter().map(|(_, slot, _)| slot.to_string()).collect()
        };
        // Rid is not counted.
        assert_eq!(pasids(), ["-", "1", "2", "3", "4"]);
        let effects = guest.effects();
        assert!(matches!(effects[..], [Effect::OverQuota(over)] if over == device), "{effects:?}");
        assert_eq!(guest.unit.slots(device).len(), 5, "nothing is stored for what has no place");
        assert_eq!(guest.unit.counts().ledger.over_quota, 1);
        // What is held can still be changed.
        guest.put_entry(3, 4, &first_stage(0x90_0000, 5));
        assert!(guest.invalidate(&[pasid_selective(5, 4)]));
        assert!(guest.effects().iter().all(|effect| !matches!(effect, Effect::OverQuota(_))));
        // Where one goes, another comes, without being asked for.
        guest.put_entry(3, 2, &[0]);
        assert!(guest.invalidate(&[pasid_selective(5, 2)]));
        assert!(guest.is_idle());
        assert_eq!(pasids(), ["-", "1", "3", "4", "5"]);
        let states = guest.unit.slots(device);
        assert!(states.iter().all(|(_, state)| state.failure.is_none()));
    }
}

#[test]
fn host_faults_are_recorded_for_the_guest() {
    use vtd::spec::{FaultReason, Iova};
    use vtd::{Access, HostFault};
    let Machine { guest, .. } = Machine::new();
    let device = guest.assign(3);
    let reason = FaultReason::from_code(0x71).unwrap();
    let table = [
        (Slot::Rid, Access::READ, 1_u64 << 63 | 1 << 62 | 0x71 << 32 | 0x18),
        (
            Slot::Pasid(guest::pasid(0x8_0001)),
            Access::WRITE,
            1 << 63 | 0x8_0001 << 40 | 0x71 << 32 | 1 << 31 | 0x18,
        ),
    ];
    for (slot, access, high) in table {
        guest
            .unit
            .report_host_fault(device, HostFault::new(slot, Iova(0x5123), access, reason))
            .unwrap();
        assert_eq!((guest.read(0x220, 8), guest.read(0x228, 8)), (0x5000, high));
        assert_eq!(guest.interrupts(), [guest::FAULT_DATA]);
        guest.write(0x22c, 4, 0x8000_0000);
    }
    guest.unit.release(device).unwrap();
    assert!(guest.is_idle());
    let fault = HostFault::new(Slot::Rid, Iova(0), Access::READ, reason);
    assert!(guest.unit.report_host_fault(device, fault).is_err());
}
