//! Which invalidation covers which entry. Reference, "Order of invalidation" and "Invalidation descriptors".

use vtd_model::{Allowed, History, InterruptAnswer, InterruptRequest, Invalidation as I, Pages};

use super::guest::{Guest, SOURCE, address};
use super::machine::Machine;

fn pages(first: u64, last: u64, leaf_only: bool) -> Pages {
    Pages { first, last, leaf_only }
}

/// A change to what PASID 1, 2 or 3 leads through, an invalidation, and whether the old address may still be reached.
#[test]
fn what_covers_what() {
    let leaf = (1, 0x2_3028, 0x70_1007);
    let table = (1, 0x2_2000, 0x2_4007);
    let large = (1, 0x2_2000, 0x80_0087);
    let pasid_entry = (1, 0x1_1050, 0x2_5000);
    let domain = (1, 0x1_1048, 0x6);
    let directory = (1, 0x1_0000, 0x1_2001);
    let context = (1, 0x2300, 0x1_301d);
    let root = (1, 0x1000, 0x4001);
    let second = (2, 0x3_3028, 0x80_1003);
    let second_table = (2, 0x3_2000, 0x3_4003);
    type Row = (&'static str, (u32, u64, u64), I, bool);
    let rows: &[Row] = &[
        // First-stage leaf: IOTLB.
        (
            "type 6, the page",
            leaf,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x5000, 0x5fff, false) },
            false,
        ),
        (
            "type 6, the page, leaf only",
            leaf,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x5000, 0x5fff, true) },
            false,
        ),
        (
            "type 6, another page",
            leaf,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x6000, 0x6fff, false) },
            true,
        ),
        (
            "type 6, a range",
            leaf,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0, 0x7fff, false) },
            false,
        ),
        (
            "type 6, another PASID",
            leaf,
            I::PasidIotlbPages { domain: 5, pasid: 2, pages: pages(0x5000, 0x5fff, false) },
            true,
        ),
        (
            "type 6, another domain",
            leaf,
            I::PasidIotlbPages { domain: 6, pasid: 1, pages: pages(0x5000, 0x5fff, false) },
            true,
        ),
        ("type 6, all of the PASID", leaf, I::PasidIotlb { domain: 5, pasid: 1 }, false),
        ("type 6, all of another", leaf, I::PasidIotlb { domain: 5, pasid: 0 }, true),
        ("type 2, domain", leaf, I::IotlbDomain { domain: 5 }, false),
        ("type 2, another domain", leaf, I::IotlbDomain { domain: 6 }, true),
        (
            "type 2, page: second-stage addresses",
            leaf,
            I::IotlbPages { domain: 5, pages: pages(0x5000, 0x5fff, false) },
            true,
        ),
        ("type 2, global", leaf, I::IotlbGlobal, false),
        ("type 7 says nothing of the IOTLB", leaf, I::PasidGlobal, true),
        ("type 1 neither", leaf, I::ContextGlobal, true),
        (
            "a page request for the page",
            leaf,
            I::FaultingPage { source_id: SOURCE, pasid: 1, address: 0x5000 },
            false,
        ),
        (
            "a page request for another",
            leaf,
            I::FaultingPage { source_id: SOURCE, pasid: 1, address: 0x6000 },
            true,
        ),
        ("everything", leaf, I::Everything, false),
        ("SRTP", leaf, I::Translations, false),
        // A table above: paging-structure cache.
        (
            "IH=1 says that tables did not change",
            table,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x5000, 0x5fff, true) },
            true,
        ),
        (
            "IH=0",
            table,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x5000, 0x5fff, false) },
            false,
        ),
        (
            "another address of the 2 MiB: not the page in the IOTLB",
            table,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x1f_f000, 0x1f_ffff, false) },
            true,
        ),
        (
            "none of them",
            table,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x20_0000, 0x20_0fff, false) },
            true,
        ),
        (
            "any address of a 2 MiB page",
            large,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x1f_f000, 0x1f_ffff, true) },
            false,
        ),
        (
            "none of a 2 MiB page",
            large,
            I::PasidIotlbPages { domain: 5, pasid: 1, pages: pages(0x20_0000, 0x20_0fff, false) },
            true,
        ),
        // PASID-table entry.
        ("type 7, PASID", pasid_entry, I::Pasid { domain: 5, pasid: 1 }, false),
        ("type 7, another PASID", pasid_entry, I::Pasid { domain: 5, pasid: 2 }, true),
        ("type 7, another domain", pasid_entry, I::Pasid { domain: 6, pasid: 1 }, true),
        ("type 7, domain", pasid_entry, I::PasidDomain { domain: 5 }, false),
        ("type 7, global", pasid_entry, I::PasidGlobal, false),
        (
            "type 1 of the device drops it too",
            pasid_entry,
            I::ContextDevice { domain: 0, source_id: SOURCE, function_mask: 0 },
            false,
        ),
        (
            "type 1 with a function mask",
            pasid_entry,
            I::ContextDevice { domain: 0, source_id: SOURCE | 4, function_mask: 1 },
            false,
        ),
        (
            "type 1 of another device",
            pasid_entry,
            I::ContextDevice { domain: 0, source_id: SOURCE | 1, function_mask: 2 },
            true,
        ),
        (
            "type 1 by domain is global in scalable mode",
            pasid_entry,
            I::ContextDomain { domain: 99 },
            false,
        ),
        ("type 2 says nothing of it", pasid_entry, I::IotlbGlobal, true),
        ("type 6 neither", pasid_entry, I::PasidIotlb { domain: 5, pasid: 1 }, true),
        // Directory entry: it goes with the entry below it.
        ("directory: type 7, PASID", directory, I::Pasid { domain: 5, pasid: 1 }, false),
        ("directory: type 7, another domain", directory, I::PasidDomain { domain: 6 }, true),
        ("directory: type 1", directory, I::ContextGlobal, false),
        // Context and root entry.
        (
            "context: type 1, device",
            context,
            I::ContextDevice { domain: 0, source_id: SOURCE, function_mask: 0 },
            false,
        ),
        (
            "context: type 1, another device",
            context,
            I::ContextDevice { domain: 0, source_id: 0x20, function_mask: 3 },
            true,
        ),
        ("context: type 7", context, I::PasidGlobal, true),
        ("root: type 1, global", root, I::ContextGlobal, false),
        (
            "root: type 1, device",
            root,
            I::ContextDevice { domain: 0, source_id: SOURCE, function_mask: 0 },
            false,
        ),
        ("root: type 7", root, I::PasidGlobal, true),
        // Second stage.
        (
            "second: type 2, page",
            second,
            I::IotlbPages { domain: 6, pages: pages(0x5000, 0x5fff, true) },
            false,
        ),
        (
            "second: type 2, another page",
            second,
            I::IotlbPages { domain: 6, pages: pages(0x6000, 0x6fff, false) },
            true,
        ),
        (
            "second: type 2, another domain",
            second,
            I::IotlbPages { domain: 5, pages: pages(0x5000, 0x5fff, false) },
            true,
        ),
        ("second: type 2, domain", second, I::IotlbDomain { domain: 6 }, false),
        (
            "second: type 6 is not of second stages",
            second,
            I::PasidIotlb { domain: 6, pasid: 2 },
            true,
        ),
        (
            "second: IH=1",
            second_table,
            I::IotlbPages { domain: 6, pages: pages(0x5000, 0x5fff, true) },
            true,
        ),
        (
            "second: IH=0",
            second_table,
            I::IotlbPages { domain: 6, pages: pages(0x5000, 0x5fff, false) },
            false,
        ),
        // The domain alone changes nothing of the answer.
        ("domain", domain, I::PasidGlobal, true),
    ];
    for &(name, (pasid, at, value), invalidation, stale) in rows {
        let mut machine = Machine::new(Guest::scalable());
        let old = if pasid == 2 { 0x80_0000 } else { 0x70_0000 };
        machine.write(at, value);
        if at == large.1 && value == large.2 {
            // Before it was another page of 2 MiB.
            machine = Machine::new(Guest::scalable());
            machine.guest.set(at, 0x60_0087);
            machine.write(at, value);
        }
        let old = if value == large.2 { 0x60_5000 } else { old };
        assert!(machine.leads(pasid, old).is_some(), "{name}: not invalidated yet");
        machine.history.invalidated(invalidation);
        assert_eq!(machine.leads(pasid, old).is_some(), stale, "{name}");
        assert_eq!(machine.leads(pasid, 0xdead_0000), None, "{name}: never there");
    }
}

/// The same, where translations go with what they were made through.
#[test]
fn dependents() {
    for (invalidation, stale) in [
        (I::ContextGlobal, false),
        (I::ContextDevice { domain: 0, source_id: SOURCE, function_mask: 0 }, false),
        (I::ContextDevice { domain: 0, source_id: 0x20, function_mask: 0 }, true),
        (I::PasidGlobal, false),
        (I::Pasid { domain: 5, pasid: 1 }, false),
        (I::Pasid { domain: 5, pasid: 2 }, true),
        (I::PasidDomain { domain: 6 }, true),
    ] {
        let mut machine = Machine::new(Guest::scalable());
        machine.history = History::with_dependents(machine.guest.unit.capabilities);
        machine.write(0x2_3028, 0x70_1007);
        machine.history.invalidated(invalidation);
        assert_eq!(machine.leads(1, 0x70_0000).is_some(), stale, "{invalidation:?}");
        assert_eq!(machine.leads(1, 0x70_1000), Some(Allowed::Present));
    }
}

/// A table above a large page goes with the page.
#[test]
fn tables_above_large_pages() {
    for (first, last, leaf_only, stale) in [
        (0x1f_f000, 0x1f_ffff, false, false),
        (0x1f_f000, 0x1f_ffff, true, true),
        (0x20_0000, 0x20_0fff, false, true),
    ] {
        let mut guest = Guest::scalable();
        guest.set(0x2_2000, 0x60_0087);
        guest.set(0x2_6000, 0x80_0087);
        let mut machine = Machine::new(guest);
        machine.write(0x2_1000, 0x2_6007);
        let pages = pages(first, last, leaf_only);
        machine.history.invalidated(I::PasidIotlbPages { domain: 5, pasid: 1, pages });
        assert_eq!(machine.leads(1, 0x60_5000).is_some(), stale, "{pages:x?}");
        assert_eq!(machine.leads(1, 0x80_5000), Some(Allowed::Present));
    }
}

/// "PASID entry replaced in place": it was cached with the old domain, memory has the new one. "Both domains have to lead to the
/// entry."
#[test]
fn replaced_with_another_domain() {
    for (domain, stale) in [(5, false), (6, false), (7, true)] {
        let mut machine = Machine::new(Guest::scalable());
        machine.write_all(&[(0x1_1048, 6), (0x1_1050, 0x2_5000)]);
        machine.history.invalidated(I::Pasid { domain, pasid: 1 });
        assert_eq!(machine.leads(1, 0x70_0000).is_some(), stale, "domain {domain}");
        assert_eq!(machine.faults(1, 0x71), Some(Allowed::Present));
    }
}

/// Nested: first-stage entries go by type 6, second-stage ones by type 2, each by its own address.
#[test]
fn nested() {
    for (at, value, invalidation, stale) in [
        (0x2_3028, 0x70_1007, I::PasidIotlb { domain: 7, pasid: 3 }, false),
        (0x2_3028, 0x70_1007, I::IotlbDomain { domain: 7 }, false),
        (
            0x2_3028,
            0x70_1007,
            I::IotlbPages { domain: 7, pages: pages(0x70_0000, 0x70_0fff, false) },
            true,
        ),
        (0x3_2018, 0x40_0083, I::PasidIotlb { domain: 7, pasid: 3 }, true),
        (
            0x3_2018,
            0x40_0083,
            I::IotlbPages { domain: 7, pages: pages(0x70_0000, 0x70_0fff, false) },
            false,
        ),
        (
            0x3_2018,
            0x40_0083,
            I::IotlbPages { domain: 7, pages: pages(0x5000, 0x5fff, false) },
            true,
        ),
        // The page of a first-stage table.
        (
            0x3_3118,
            0x2_7003,
            I::IotlbPages { domain: 7, pages: pages(0x2_3000, 0x2_3fff, true) },
            false,
        ),
        (
            0x3_3118,
            0x2_7003,
            I::IotlbPages { domain: 7, pages: pages(0x2_2000, 0x2_2fff, true) },
            true,
        ),
    ] {
        let mut machine = Machine::new(Guest::scalable());
        machine.write(at, value);
        assert!(machine.leads(3, 0x70_0000).is_some());
        machine.history.invalidated(invalidation);
        assert_eq!(machine.leads(3, 0x70_0000).is_some(), stale, "{at:x} {invalidation:x?}");
    }
}

/// Legacy mode: context entries have domains, and the domain with which they were cached counts.
#[test]
fn legacy_mode() {
    for (at, value, invalidation, stale) in [
        (0x2180, 0x3_4001, I::ContextDomain { domain: 9 }, false),
        (0x2180, 0x3_4001, I::ContextDomain { domain: 8 }, true),
        (
            0x2180,
            0x3_4001,
            I::ContextDevice { domain: 9, source_id: SOURCE, function_mask: 0 },
            false,
        ),
        (0x2180, 0x3_4001, I::ContextDevice { domain: 9, source_id: 0, function_mask: 0 }, true),
        (0x2180, 0x3_4001, I::IotlbGlobal, true),
        (
            0x1000,
            0x5001,
            I::ContextDevice { domain: 9, source_id: SOURCE, function_mask: 0 },
            false,
        ),
        (0x3_3028, 0x80_1003, I::IotlbDomain { domain: 9 }, false),
        (0x3_3028, 0x80_1003, I::ContextGlobal, true),
    ] {
        let mut machine = Machine::new(Guest::legacy());
        machine.write(at, value);
        machine.history.invalidated(invalidation);
        let now = machine.history.moment();
        let old = machine.judge(None, 0x5000, now, |answer| address(*answer) == Some(0x80_0000));
        assert_eq!(old.is_some(), stale, "{at:x} {invalidation:x?}");
    }
}

/// Requests without PASID: their entries are cached under RID_PASID.
#[test]
fn rid_pasid() {
    for (pasid, stale) in [(1, false), (0, true)] {
        let mut guest = Guest::scalable();
        guest.set(0x2308, 1);
        let mut machine = Machine::new(guest);
        machine.write(0x2_3028, 0x70_1007);
        machine.history.invalidated(I::PasidIotlb { domain: 5, pasid });
        let now = machine.history.moment();
        let old = machine.judge(None, 0x5000, now, |answer| address(*answer) == Some(0x70_0000));
        assert_eq!(old.is_some(), stale, "PASID {pasid}");
    }
}

#[test]
fn interrupt_entries() {
    for (invalidation, stale) in [
        (I::InterruptGlobal, false),
        (I::InterruptIndex { index: 3, mask: 0 }, false),
        (I::InterruptIndex { index: 0, mask: 2 }, false),
        (I::InterruptIndex { index: 4, mask: 2 }, true),
        (I::InterruptIndex { index: 2, mask: 0 }, true),
        (I::IotlbGlobal, true),
        (I::Translations, true),
    ] {
        let mut guest = Guest::scalable();
        guest.unit.interrupts.enabled = true;
        guest.unit.interrupts.table = Some(0x4_0007);
        guest.set(0x4_0030, 0x41_0001);
        let mut machine = Machine::new(guest);
        machine.write(0x4_0030, 0x42_0001);
        machine.history.invalidated(invalidation);
        let request = InterruptRequest { source_id: SOURCE, address: 0xfee0_0070, data: 0 };
        let judged = |vector| {
            let Machine { guest, history } = &machine;
            let now = history.moment();
            history.judge_interrupt(&guest.unit, &guest.memory, &request, now, |answer| {
                matches!(answer, InterruptAnswer::Remapped(found) if found.vector == vector)
            })
        };
        assert_eq!(judged(0x41).is_ok(), stale, "{invalidation:?}");
        assert_eq!(judged(0x42), Ok(Allowed::Present));
    }
}
