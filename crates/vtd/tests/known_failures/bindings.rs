//! Rows 1, 2, 6, 12, 19, 26 and 28: what is bound follows the guest's tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vtd::{Effect, Quotas, Step};

use crate::guest::{Guest, Shape, context_place};
use crate::ram::Moment;
use crate::raw::*;

/// What an entry of the guest is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Absent,
    FirstA,
    FirstB,
    Second,
    PassThrough,
}

const KINDS: [Kind; 5] =
    [Kind::Absent, Kind::FirstA, Kind::FirstB, Kind::Second, Kind::PassThrough];

impl Kind {
    fn entry(self, domain: u64) -> [u64; 8] {
        match self {
            Self::Absent => ABSENT,
            Self::FirstA => first_stage(FIRST_A, domain),
            Self::FirstB => first_stage(FIRST_B, domain),
            Self::Second => second_stage(SECOND, domain),
            Self::PassThrough => pass_through(domain),
        }
    }

    /// What a host is to hold; a second-stage table is shadowed.
    fn bound(self) -> Option<&'static str> {
        match self {
            Self::Absent => None,
            Self::Second => Some("ss4 120000"),
            Self::FirstA => Some("fs4 100000"),
            Self::FirstB => Some("fs4 110000"),
            Self::PassThrough => Some("pt 0"),
        }
    }

    /// Where `PAGE` is to lead, or the code of the fault.
    fn leads_to(self) -> Result<u64, u8> {
        match self {
            Self::Absent => Err(0x59),
            Self::FirstA => Ok(FRAME_A),
            Self::FirstB => Ok(FRAME_B),
            Self::Second => Ok(FRAME_SECOND),
            Self::PassThrough => Ok(PAGE),
        }
    }
}

/// An entry of a sequence, and the domain by which it is announced.
#[derive(Clone, Copy, Debug)]
struct Announced {
    kind: Kind,
    domain: u64,
    announced_by: u64,
}

/// Every sequence of three entries, in the same or different domains, each announced by the old or the new domain where the
/// old one is `known`.
fn sequences(known: fn(Kind) -> bool) -> impl Iterator<Item = [Announced; 3]> {
    let kinds = KINDS
        .iter()
        .flat_map(|a| KINDS.iter().flat_map(move |b| KINDS.iter().map(move |c| [*a, *b, *c])));
    kinds.flat_map(move |kinds| {
        let domains = [[7, 7, 7], [7, 9, 9], [7, 7, 9], [7, 9, 7]];
        domains.into_iter().flat_map(move |domains: [u64; 3]| {
            (0..4_u32).map(move |by_old| {
                let mut before = (Kind::Absent, domains[0]);
                [0, 1, 2].map(|at| {
                    let (kind, domain) = (kinds[at], domains[at]);
                    let by_old = at > 0 && by_old >> (at - 1) & 1 == 1;
                    let old = kind == Kind::Absent || known(before.0) && by_old;
                    let announced_by = if old { before.1 } else { domain };
                    before = (kind, domain);
                    Announced { kind, domain, announced_by }
                })
            })
        })
    })
}

fn check_host_sequences(pasid: u64, announce: impl Fn(u64) -> [u64; 4]) {
    let guest = Guest::new();
    let device = guest.assigned();
    for sequence in sequences(|kind| kind.bound().is_some()) {
        for (at, step) in sequence.iter().enumerate() {
            guest.set_pasid(pasid, step.kind.entry(step.domain));
            guest.flush(&[announce(step.announced_by)]);
            // PASID 0 is RID_PASID here: it stands for requests without PASID.
            let bound = if pasid == 0 { device.rid_bound() } else { device.bound(pasid) };
            assert_eq!(
                bound.as_deref(),
                step.kind.bound(),
                "the host holds what the guest's entry says after entry {at} of {sequence:x?}"
            );
        }
        guest.set_pasid(pasid, ABSENT);
        guest.flush(&[PASID_CACHE]);
    }
    assert_eq!(guest.host.inner().call_counts().refused, 0, "no call was illegal");
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn known_failure_01_a_host_binding_follows_every_sequence_announced_by_pasid() {
    check_host_sequences(5, |domain| pasid_cache_of_pasid(domain, 5));
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn known_failure_01_a_host_binding_follows_every_sequence_announced_by_domain() {
    check_host_sequences(5, pasid_cache_of_domain);
}

// feature: 7.bindings: RID_PASID of any value, changed while bound
#[test]
fn known_failure_01_a_host_binding_without_pasid_follows_every_sequence() {
    check_host_sequences(0, |domain| pasid_cache_of_pasid(domain, 0));
}

#[test]
fn known_failure_01_emulated_dma_follows_every_sequence() {
    for pasid in [Some(5), None] {
        let guest = Guest::new();
        let dma = guest.emulated();
        let place = pasid.unwrap_or(0);
        for sequence in sequences(|kind| kind != Kind::Absent) {
            for (at, step) in sequence.iter().enumerate() {
                guest.set_pasid(place, step.kind.entry(step.domain));
                let by = step.announced_by;
                guest.flush(&[
                    pasid_cache_of_pasid(by, place),
                    pasid_iotlb(by, place),
                    iotlb_of_domain(by),
                ]);
                let told = format!("after entry {at} of {sequence:x?}, PASID {pasid:x?}");
                // Twice: from the tables, then from the caches.
                for _ in 0..2 {
                    assert_eq!(dma.read_or_code(pasid, PAGE), step.kind.leads_to(), "read {told}");
                    assert_eq!(
                        dma.write_or_code(pasid, PAGE),
                        step.kind.leads_to(),
                        "write {told}"
                    );
                }
            }
            guest.set_pasid(place, ABSENT);
            guest.flush(&[PASID_CACHE, IOTLB]);
        }
    }
}

// feature: 3.descriptors: context cache (type 1)
/// Linux tears a device down with the context-cache and device-TLB descriptors alone.
#[test]
fn known_failure_01_a_context_cache_invalidation_alone_drops_pasid_state() {
    for kind in KINDS {
        let guest = Guest::new();
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        let assigned = guest.assigned();
        assert_eq!(assigned.bound(5).as_deref(), Some("fs4 100000"));
        guest.set_pasid(5, kind.entry(9));
        guest.flush(&[context_cache_of_device(DEVICE)]);
        assert_eq!(assigned.bound(5).as_deref(), kind.bound());

        let guest = Guest::new();
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        let emulated = guest.emulated();
        assert_eq!(emulated.read_or_code(Some(5), PAGE), Ok(FRAME_A));
        guest.set_pasid(5, kind.entry(9));
        guest.flush(&[context_cache_of_device(DEVICE)]);
        assert_eq!(emulated.read_or_code(Some(5), PAGE), kind.leads_to());
    }
}

#[test]
fn known_failure_02_an_entry_with_stale_fields_and_p_clear_does_not_translate() {
    for kind in KINDS.into_iter().filter(|kind| *kind != Kind::Absent) {
        let guest = Guest::new();
        let dma = guest.emulated();
        let mut entry = kind.entry(7);
        guest.set_pasid(5, entry);
        guest.flush(&[pasid_cache_of_pasid(7, 5)]);
        assert_eq!(dma.read_or_code(Some(5), PAGE), kind.leads_to());
        // Linux clears P first and the rest after the flush; the context entry stays cached.
        entry[0] &= !1;
        guest.set_pasid(5, entry);
        guest.flush(&[pasid_cache_of_pasid(7, 5), pasid_iotlb(7, 5), iotlb_of_domain(7)]);
        assert_eq!(dma.read_or_code(Some(5), PAGE), Err(0x59), "{kind:?} with P=0 is absent");
        assert_eq!(dma.write_or_code(Some(5), PAGE), Err(0x59), "{kind:?} with P=0 is absent");
    }
}

// feature: 7.bindings: tables that name nothing bind nothing
#[test]
fn known_failure_02_p_is_checked_for_host_bindings_too() {
    for kind in [Kind::FirstA, Kind::FirstB, Kind::PassThrough] {
        for pasid in [0, 5] {
            let guest = Guest::new();
            let mut entry = kind.entry(7);
            guest.set_pasid(pasid, entry);
            let device = guest.assigned();
            let bound = || if pasid == 0 { device.rid_bound() } else { device.bound(pasid) };
            assert_eq!(bound().as_deref(), kind.bound());
            entry[0] &= !1;
            guest.set_pasid(pasid, entry);
            guest.flush(&[pasid_cache_of_pasid(7, pasid), pasid_iotlb(7, pasid)]);
            assert_eq!(bound(), None, "{kind:?} with P=0 is unbound, PASID {pasid}");
        }
    }
}

#[test]
fn known_failure_06_a_host_binds_no_pasid_past_the_directory() {
    let guest = Guest::new();
    // The directory of PDTS 1 has a second page, which leads to the same PASID table.
    guest.ram.put(DIRECTORY + 128 * 8, &[PASIDS | 1]);
    guest.set_pasid(0, first_stage(FIRST_A, 7));
    guest.set_pasid(5, first_stage(FIRST_B, 7));
    guest.set_context(DEVICE, [DIRECTORY | 1 << 9 | 9, 0x3f, 0, 0]);
    let device = guest.assigned();
    assert_eq!(device.bound(128 * 64 + 5).as_deref(), Some("fs4 110000"));

    guest.set_context(DEVICE, [DIRECTORY | 9, 0x3f, 0, 0]);
    guest.flush(&[context_cache_of_device(DEVICE)]);
    assert_eq!(device.bound(128 * 64 + 5), None, "past a directory that has shrunk");
    assert_eq!(device.bound(5).as_deref(), Some("fs4 110000"), "within the directory");

    // PASIDE=0: no PASID at all, and requests without one as before.
    guest.set_context(DEVICE, [DIRECTORY | 1, 5, 0, 0]);
    guest.flush(&[context_cache_of_device(DEVICE)]);
    assert_eq!(device.bound_pasids(), 0, "PASIDE is 0");
    assert_eq!(device.rid_bound().as_deref(), Some("fs4 110000"), "RID_PASID is 5");
}

// feature: 8.abort mode (TTM 3, ECAP.ADMS)
#[test]
fn known_failure_12_abort_mode_unbinds_everything() {
    let guest = Guest::of(Shape { ecap: ECAP | ECAP_ADMS, ..Shape::default() });
    guest.set_pasid(0, pass_through(7));
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let device = guest.assigned();
    assert_eq!(device.bound(5).as_deref(), Some("fs4 100000"));
    guest.write64(RTADDR, ROOT | 0xc00);
    guest.command(TE | QIE | SRTP);
    assert_eq!(guest.read32(GSTS) & SRTP, SRTP);
    assert_eq!((device.rid_bound(), device.bound(5)), (None, None), "TTM=11 blocks");
    // An invalidation in abort mode brings nothing back.
    guest.flush(&[PASID_CACHE, context_cache_of_device(DEVICE)]);
    assert_eq!((device.rid_bound(), device.bound(5)), (None, None), "TTM=11 blocks");
    guest.write64(RTADDR, ROOT | 0x400);
    guest.command(TE | QIE | SRTP);
    assert_eq!(device.bound(5).as_deref(), Some("fs4 100000"));
}

#[test]
fn known_failure_19_a_slot_that_is_free_has_no_state() {
    let guest = Guest::new();
    let device = guest.assigned();
    for pasid in 1..64 {
        guest.set_pasid(pasid, first_stage(FIRST_A, 7));
    }
    guest.flush(&[PASID_CACHE]);
    assert_eq!(guest.unit.slots(device.id).len(), 63);
    for pasid in 1..64 {
        guest.set_pasid(pasid, ABSENT);
    }
    guest.flush(&[PASID_CACHE]);
    assert_eq!(guest.unit.slots(device.id), [], "nothing is held, so nothing is kept");
    assert_eq!(guest.unit.counts().ledger.held, 0);
}

/// A guest that uses one PASID after the other never uses up a quota.
#[test]
fn known_failure_19_pasids_used_one_after_the_other_need_the_space_of_one() {
    let quotas = Quotas { per_device: 2, per_unit: 2, ..Quotas::default() };
    let guest = Guest::of(Shape { quotas, ..Shape::default() });
    let device = guest.assigned();
    for pasid in 1..64 {
        guest.set_pasid(pasid, first_stage(FIRST_A, 7));
        guest.flush(&[pasid_cache_of_pasid(7, pasid)]);
        assert_eq!(device.bound(pasid).as_deref(), Some("fs4 100000"), "PASID {pasid}");
        guest.set_pasid(pasid, ABSENT);
        guest.flush(&[pasid_cache_of_pasid(7, pasid)]);
    }
    assert_eq!(guest.unit.counts().ledger.over_quota, 0);
}

// feature: 7.bindings: quotas
/// 2^20 PASIDs from three pages: every directory entry leads to the same table.
#[test]
fn known_failure_19_aliased_tables_bind_no_more_than_the_quota() {
    let guest = Guest::new();
    for index in 0..0x4000 {
        guest.ram.put(DIRECTORY + 0x10_0000 * 16 + index * 8, &[PASIDS | 1]);
    }
    for pasid in 0..64 {
        guest.set_pasid(pasid, first_stage(FIRST_A, 7));
    }
    guest.set_context(DEVICE, [DIRECTORY + 0x10_0000 * 16 | 0xe00 | 9, 0, 0, 0]);
    let device = guest.assigned();
    assert_eq!(device.bound_pasids(), 4096, "the default quota of a device");
    assert_eq!(guest.unit.slots(device.id).len(), 4097, "with slot Rid");
    let told = guest.effects();
    assert_eq!(told.len(), 1, "one event: {told:?}");
    assert!(matches!(told[0], Effect::OverQuota(id) if id == device.id));

    guest.set_context(DEVICE, [0; 4]);
    guest.flush(&[context_cache_of_device(DEVICE)]);
    assert_eq!(guest.unit.slots(device.id), [], "all of it is given back");
}

/// How much budget and how many reads an invalidation of one PASID takes.
fn cost_of_one(guest: &Guest) -> (u32, usize) {
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    guest.ram.take_reads();
    guest.set_pasid(5, first_stage(FIRST_B, 7));
    guest.ring(&[pasid_cache_of_pasid(7, 5)]);
    let mut steps = 0;
    while guest.unit.step(1) == Step::More {
        steps += 1;
    }
    (steps, guest.ram.take_reads().len())
}

#[test]
fn known_failure_19_the_cost_of_one_pasid_does_not_depend_on_the_others() {
    let guest = Guest::new();
    let _device = guest.assigned();
    let alone = cost_of_one(&guest);
    let table = 0x20_0000;
    for index in 0..64 {
        guest.ram.put(table + index * 64, &first_stage(FIRST_A, 7));
    }
    for index in 1..61 {
        guest.ram.put(DIRECTORY + index * 8, &[table | 1]);
    }
    guest.flush(&[PASID_CACHE]);
    assert!(guest.unit.counts().ledger.held > 3800);
    assert_eq!(cost_of_one(&guest), alone, "(budget, reads) with thousands of others bound");
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn known_failure_26_the_old_domain_leads_to_a_replaced_entry() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let device = guest.assigned();
    for (announce, kind) in
        [(pasid_cache_of_pasid(7, 5), "by PASID"), (pasid_cache_of_domain(7), "by domain")]
    {
        guest.set_pasid(5, first_stage(FIRST_A, 7));
        guest.flush(&[PASID_CACHE]);
        guest.set_pasid(5, first_stage(FIRST_B, 9));
        guest.take_tape();
        guest.flush(&[announce]);
        assert_eq!(device.bound(5).as_deref(), Some("fs4 110000"), "{kind}, with the old domain");
        let calls = guest.take_tape();
        assert_eq!(calls[..calls.len() - 1], ["replace 1 5 fs4 110000"], "{kind}: one call");
    }
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
#[test]
fn known_failure_26_the_old_domain_leads_to_an_entry_that_is_gone() {
    let guest = Guest::new();
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let device = guest.assigned();
    // The whole entry is cleared before the flush, as older Linux does: only the host side knows the domain.
    guest.set_pasid(5, ABSENT);
    guest.flush(&[pasid_cache_of_pasid(8, 5)]);
    assert_eq!(device.bound(5).as_deref(), Some("fs4 100000"), "another domain says nothing of it");
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(device.bound(5), None);
}

/// Entries A and B differ in several qwords; no mixture of them may be bound.
const TORN: ([u64; 8], [u64; 8]) =
    ([0x41, 7, FIRST_A, 0, 0, 0, 0, 0], [0x101, 9, 0x33_3000, 0, 0, 0, 0, 0]);

// feature: 7.bindings: an entry that changes while it is read
#[test]
fn known_failure_28_an_entry_replaced_while_it_is_read_does_not_tear() {
    // One of the reads sees the first `seam` qwords of one entry and the others of the next.
    for (seam, torn) in [1, 2].into_iter().flat_map(|seam| (0..4).map(move |torn| (seam, torn))) {
        let guest = Guest::new();
        let device = guest.assigned();
        let place = PASIDS + 5 * 64;
        guest.set_pasid(5, TORN.0);
        let reads = AtomicU64::new(0);
        guest.ram.interfere(move |pages, moment| {
            if let Moment::Read(at, copy) = moment
                && at == place
                && reads.fetch_add(1, Ordering::Relaxed) == torn
            {
                for (index, value) in TORN.1.iter().enumerate() {
                    pages.write_u64(vtd::spec::Gpa(place + index as u64 * 8), *value).unwrap();
                }
                copy[seam..].copy_from_slice(&TORN.1[seam..]);
            }
        });
        guest.take_tape();
        guest.flush(&[PASID_CACHE]);
        assert_eq!(device.bound(5).as_deref(), Some("pt 0"), "seam {seam}, read {torn}");
        let calls = guest.take_tape();
        let told = format!("seam {seam}, read {torn}: no mixture before");
        assert_eq!(calls[..calls.len() - 1], ["bind 1 5 pt 0"], "{told}");
        let [(_, state)] = &guest.unit.slots(device.id)[..] else { panic!("one slot") };
        assert_eq!(state.held.unwrap().domain.0, 9, "seam {seam}: the domain is the new one's too");
    }
}

// feature: 7.bindings: an entry that changes while it is read
#[test]
fn known_failure_28_an_entry_that_never_holds_still_is_absent_for_now() {
    let guest = Guest::new();
    let device = guest.assigned();
    let place = PASIDS + 5 * 64;
    guest.set_pasid(5, TORN.0);
    let reads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reads);
    guest.ram.interfere(move |pages, moment| {
        if let Moment::Read(at, _) = moment
            && at == place
        {
            let read = counted.fetch_add(1, Ordering::Relaxed);
            let table = FIRST_A + (read + 1) * 0x1000;
            pages.write_u64(vtd::spec::Gpa(place + 16), table).unwrap();
        }
    });
    guest.flush(&[PASID_CACHE]);
    assert_eq!(device.bound(5), None);
    let tried = reads.load(Ordering::Relaxed);
    assert!((2..=5).contains(&tried), "read once and again at most four times, not {tried} times");

    guest.ram.leave_alone();
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert!(device.bound(5).is_some(), "bound by the next invalidation once it holds still");
    reads.store(0, Ordering::Relaxed);
    guest.ram.take_reads();
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    let again = guest.ram.take_reads().into_iter().filter(|at| *at == place).count();
    assert_eq!(again, 1, "an unchanged entry costs one read");
}

// feature: 7.bindings: equal to the guest's tables after every invalidation
/// The entry of one device never decides what becomes of another's.
#[test]
fn known_failure_01_the_bindings_of_other_devices_stay() {
    let guest = Guest::new();
    let other = 0x20;
    guest.ram.put(context_place(other), &[DIRECTORY + 0x4000 | 9, 0, 0, 0]);
    guest.ram.put(DIRECTORY + 0x4000, &[DIRECTORY + 0x5000 | 1]);
    guest.ram.put(DIRECTORY + 0x5000 + 5 * 64, &first_stage(FIRST_B, 7));
    guest.set_pasid(5, first_stage(FIRST_A, 7));
    let (one, two) = (guest.assigned(), guest.assigned_at(other));
    guest.take_tape();
    guest.set_pasid(5, pass_through(7));
    guest.flush(&[pasid_cache_of_pasid(7, 5)]);
    assert_eq!(one.bound(5).as_deref(), Some("pt 0"));
    assert_eq!(two.bound(5).as_deref(), Some("fs4 110000"));
    let calls = guest.take_tape();
    assert_eq!(calls[..calls.len() - 1], ["replace 1 5 pt 0"], "and no call for the other");
}
