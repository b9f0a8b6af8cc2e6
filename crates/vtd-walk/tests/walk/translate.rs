//! One request through a PASID-table entry or a legacy context entry, both decoded from raw integers.

use vtd_spec::table::{LegacyContextEntry, PasidEntry};
use vtd_spec::{Capabilities, Entry, Iova};
use vtd_walk::{Access, TableUpdates, Translated, translate, translate_legacy};

use crate::guest::{FEWEST_CAP, FEWEST_ECAP, Guest, MOST_CAP, MOST_ECAP, caps, fewest, most};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;

fn scalable(
    guest: &Guest,
    caps: &Capabilities,
    (low, first): (u64, u64),
    iova: u64,
    access: Access,
) -> Result<Translated, u8> {
    let Entry::Present(entry) = PasidEntry::decode(&[low, 5, first, 0, 0, 0, 0, 0], caps) else {
        panic!("{low:x} {first:x} is no good entry")
    };
    translate(guest, caps, &entry, Iova(iova), access, TableUpdates::Made)
        .map_err(|reason| reason.code())
}

fn legacy(
    guest: &Guest,
    caps: &Capabilities,
    (low, high): (u64, u64),
    iova: u64,
    access: Access,
) -> Result<Translated, u8> {
    let Entry::Present(entry) = LegacyContextEntry::decode([low, high], caps) else {
        panic!("{low:x} {high:x} is no good entry")
    };
    translate_legacy(guest, caps, &entry, Iova(iova), access, TableUpdates::Made)
        .map_err(|reason| reason.code())
}

// feature: 1.pass-through (PGTT 4, ECAP.PT)
#[test]
fn pass_through_is_bounded_by_the_host_address_width() {
    let nothing = Guest::new(&[]);
    for width in [36, 48, 52] {
        let caps = caps(MOST_CAP, MOST_ECAP, width);
        for bit in 12..64 {
            let iova = 1_u64 << bit | 0x678;
            let found = scalable(&nothing, &caps, (0x101, 0), iova, WRITE);
            let expected = if bit < width { Ok(iova) } else { Err(0x83) };
            assert_eq!(found.map(|found| found.address.0), expected);
            let found = legacy(&nothing, &caps, (9, 3), iova, WRITE);
            let expected = if bit < width { Ok(iova) } else { Err(4) };
            assert_eq!(found.map(|found| found.address.0), expected);
        }
        let last = (1 << width) - 1;
        let found = scalable(&nothing, &caps, (0x101, 0), last, READ).unwrap();
        assert_eq!((found.page.0, found.address.0), (last & !0xfff, last));
        assert!(found.dirty && found.granted.read && found.granted.write && found.granted.execute);
    }
    // The largest AW bounds legacy pass-through too.
    let narrow = caps(0x2226_0286, FEWEST_ECAP, 52);
    assert_eq!(
        legacy(&nothing, &narrow, (9, 1), 1 << 38, READ).map(|found| found.address.0),
        Ok(1 << 38)
    );
    assert_eq!(legacy(&nothing, &narrow, (9, 1), 1 << 39, READ).unwrap_err(), 4);
    assert!(nothing.take_reads().is_empty());
}

// feature: 1.requests to execute, and execute disable (ERE, NXE, XD)
// feature: 1.supervisor requests and write protection (SRE, WPE)
#[test]
fn execute_and_supervisor_requests_have_to_be_enabled() {
    let nothing = Guest::new(&[]);
    let (execute, privileged) = (READ.executing(), READ.with_privilege());
    // (caps, qw2 of a pass-through entry, access, code)
    let rows = [
        (most(), 0, execute, 0x5c),
        (most(), 2, execute, 0),
        (fewest(), 2, execute, 0x5c), // ERE without ERS
        (most(), 0, privileged, 0x5d),
        (most(), 1, privileged, 0),
        (fewest(), 0, privileged, 0x5d),
        (most(), 1, execute.with_privilege(), 0x5c),
        (most(), 2, execute.with_privilege(), 0x5d),
        (most(), 3, execute.with_privilege(), 0),
        (most(), 0, WRITE, 0),
    ];
    for (caps, first, access, code) in rows {
        let found = scalable(&nothing, &caps, (0x101, first), 0x1234_5678, access);
        assert_eq!(found.err().unwrap_or(0), code, "{first} {access:?}");
    }
}

// feature: 1.requests to execute, and execute disable (ERE, NXE, XD)
#[test]
fn known_failure_07_xd_is_honoured_with_nxe_ere_and_ers() {
    // One 4-level path for address 0; XD in the leaf.
    let guest = Guest::new(&[
        (0x1_4000, 0x1_3007),
        (0x1_3000, 0x1_2007),
        (0x1_2000, 0x1_1007),
        (0x1_1000, 0x8000_0000_0abc_d007),
    ]);
    // (caps, qw2, outcome of a read that executes)
    let rows = [
        (most(), 0x1_4022, Some(0x82)),
        (most(), 0x1_4002, None),
        (most(), 0x1_4020, Some(0x5c)),
        (fewest(), 0x1_4022, Some(0x5c)),
    ];
    for (caps, first, code) in rows {
        assert_eq!(scalable(&guest, &caps, (0x41, first), 0, READ.executing()).err(), code);
        assert_eq!(
            scalable(&guest, &caps, (0x41, first), 0, READ).map(|found| found.page.0),
            Ok(0xabc_d000)
        );
    }
}

// feature: 1.PASID-table entries of every type (PGTT)
#[test]
fn each_type_is_walked_by_its_own_table() {
    // First stage at 14000, second stage (4 levels) at 24000, of address 0.
    let guest = Guest::new(&[
        (0x1_4000, 0x1_3007),
        (0x1_3000, 0x4000_0087),
        (0x2_4000, 0x2_3003),
        (0x2_3000, 0x8000_0083),
    ]);
    let rows = [
        ((0x2_4041, 0x1_4000), 0x4000_0678),
        ((0x2_4089, 0x1_4000), 0x8000_0678),
        ((0x2_4101, 0x1_4000), 0x678),
    ];
    for (entry, address) in rows {
        assert_eq!(
            scalable(&guest, &most(), entry, 0x678, READ).map(|found| found.address.0),
            Ok(address)
        );
    }
    assert_eq!(
        legacy(&guest, &most(), (0x2_4001, 2), 0x678, READ).map(|found| found.address.0),
        Ok(0x8000_0678)
    );
    assert_eq!(
        legacy(&guest, &most(), (0x2_4005, 2), 0x678, READ).map(|found| found.address.0),
        Ok(0x8000_0678)
    );
}

// feature: 1.legacy mode: root, context and second-stage tables (TTM 0)
#[test]
fn legacy_addresses_are_bounded_by_mgaw_and_aw() {
    let guest = Guest::new(&[(0x2_5000, 0), (0x2_4000, 0), (0x2_3000, 0)]);
    // MGAW 48 bits; (AW, first bit beyond)
    for (aw, width) in [(1, 39), (2, 48), (3, 48)] {
        let table = 0x2_2000 + aw * 0x1000;
        for bit in 12..64 {
            let expected = if bit < width { 6 } else { 4 };
            let found =
                legacy(&guest, &caps(FEWEST_CAP, FEWEST_ECAP, 48), (table | 1, aw), 1 << bit, READ);
            assert_eq!(found.unwrap_err(), expected, "{aw} {bit}");
        }
    }
}

// feature: 1.interrupt address range (FEE0_0000 to FEEF_FFFF)
#[test]
fn what_leads_to_the_interrupt_range_is_blocked_and_leaves_no_mark() {
    // (address, blocked)
    let rows = [
        (0xfedf_ffff, false),
        (0xfee0_0000, true),
        (0xfee0_1234, true),
        (0xfeef_ffff, true),
        (0xfef0_0000, false),
        (0x1_fee0_0000, false),
    ];
    for (address, blocked) in rows {
        // One 1 GiB page that holds the range, at its own address, through each kind of entry
        for top in [0xc000_0000, 0x1_c000_0000_u64] {
            let index = (address >> 30) * 8;
            let guest = Guest::new(&[
                (0x1_4000, 0x1_3007),
                (0x1_3000 + index, top | 0x87),
                (0x2_4000, 0x2_3003),
                (0x2_3000 + index, top | 0x83),
            ]);
            let leads_to = top | address & 0x3fff_ffff;
            let expected = leads_to >> 20 == 0xfee;
            // 4 KiB of first stage, second stage with SSADE, legacy
            let found = [
                scalable(&guest, &most(), (0x41, 0x1_4000), address, WRITE),
                scalable(&guest, &most(), (0x2_4289, 0), address, WRITE),
                legacy(&guest, &most(), (0x2_4001, 2), address, WRITE),
            ];
            let codes = found.map(|found| found.err().unwrap_or(0));
            assert_eq!(
                codes,
                if expected { [0x87, 0x87, 0xe] } else { [0; 3] },
                "{address:x} {top:x}"
            );
            assert_eq!(guest.take_exchanges().is_empty(), expected, "a fault sets nothing");
        }
        let nothing = Guest::new(&[]);
        let codes = [
            scalable(&nothing, &most(), (0x101, 0), address, READ),
            legacy(&nothing, &most(), (9, 3), address, READ),
        ]
        .map(|found| found.err().unwrap_or(0));
        assert_eq!(codes, if blocked { [0x87, 0xe] } else { [0; 2] });
    }
}

#[test]
fn granted_serves_what_it_grants() {
    let nothing = Guest::new(&[]);
    let found = scalable(&nothing, &most(), (0x101, 3), 0, READ).unwrap().granted;
    for write in [false, true] {
        for execute in [false, true] {
            for mask in 0..8_u8 {
                let mut granted = found;
                granted.read = mask & 1 != 0;
                granted.write = mask & 2 != 0;
                granted.execute = mask & 4 != 0;
                let mut access = if write { WRITE } else { READ };
                if execute {
                    access = access.executing();
                }
                let needed = if write { 2 } else { 1 } | if execute { 4 } else { 0 };
                assert_eq!(granted.allows(access), mask & needed == needed);
            }
        }
    }
}
