//! Reads of no bytes, SMEP, and walks that are not coherent, through PASID-table and context entries.

use vtd_spec::table::{LegacyContextEntry, PasidEntry};
use vtd_spec::{Capabilities, Entry, Iova};
use vtd_walk::{Access, TableUpdates, translate, translate_legacy};

use crate::guest::{FEWEST_CAP, Guest, MOST_CAP, MOST_ECAP, caps, most};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const ZERO: Access = Access::ZERO_LENGTH_READ;
const ZLR: u64 = 1 << 22;

/// The code of a request for address 0 through an entry, 0 where it is served.
fn code(guest: &Guest, caps: &Capabilities, [low, first]: [u64; 2], access: Access) -> u8 {
    let Entry::Present(entry) = PasidEntry::decode(&[low, 5, first, 0, 0, 0, 0, 0], caps) else {
        panic!("{low:x} {first:x} is no good entry")
    };
    let found = translate(guest, caps, &entry, Iova(0), access, TableUpdates::Made);
    found.map_or_else(|reason| reason.code(), |_| 0)
}

/// Tables of four levels for address 0: first-stage at 14000, second-stage at 24000, with these leaves.
fn tables(first: u64, second: u64) -> Guest {
    let mut words = vec![(0x1_1000, first), (0x2_1000, second)];
    for level in [4, 3, 2] {
        let place = 0x1_0000 + level * 0x1000;
        words.push((place, place - 0x1000 | 7 | first & 0x20));
        words.push((place + 0x1_0000, place + 0xf000 | 3 | second & 0x100));
    }
    Guest::new(&words)
}

// feature: 1.zero-length reads (CAP.ZLR)
#[test]
fn zero_length_reads_take_either_permission_of_a_second_stage_with_zlr() {
    let with = caps(MOST_CAP | ZLR, MOST_ECAP, 52);
    for (leaf, caps, expected, legacy) in [
        (2, with, 0, 0),
        (1, with, 0, 0),
        (0, with, 0x79, 6),
        (2, most(), 0x86, 6),
        (1, most(), 0, 0),
    ] {
        let guest = tables(0, 0x7_0000 | leaf);
        assert_eq!(code(&guest, &caps, [0x2_4089, 0], ZERO), expected, "{leaf}");
        let Entry::Present(entry) = LegacyContextEntry::decode([0x2_4001, 0x502], &caps) else {
            panic!("a good entry")
        };
        let found = translate_legacy(&guest, &caps, &entry, Iova(0), ZERO, TableUpdates::Made);
        assert_eq!(found.map_or_else(|reason| reason.code(), |_| 0), legacy, "{leaf}");
    }
    // It reads and does not write.
    let guest = tables(0, 0x7_0002);
    assert_eq!(code(&guest, &with, [0x2_4289, 0], ZERO), 0);
    assert_eq!(guest.at(0x2_1000), 0x7_0102);
    assert_eq!(code(&guest, &with, [0x2_4089, 0], READ), 0x86);
}

// feature: 1.supervisor requests to execute what users may reach (SMEP)
#[test]
fn smep_refuses_supervisors_to_execute_pages_of_users() {
    let fetch = READ.executing().with_privilege();
    for (leaf, first, access, expected) in [
        (0x7_0007, 0x1_4043, fetch, 0x81),
        (0x7_0003, 0x1_4043, fetch, 0),
        (0x7_0007, 0x1_4003, fetch, 0),
        (0x7_0007, 0x1_4043, READ.executing(), 0),
        (0x7_0007, 0x1_4043, WRITE.with_privilege(), 0),
        // XD is tested after it.
        (0x8000_0000_0007_0007, 0x1_4063, fetch, 0x81),
        (0x8000_0000_0007_0003, 0x1_4063, fetch, 0x82),
    ] {
        assert_eq!(code(&tables(leaf, 0), &most(), [0x41, first], access), expected, "{leaf:x}");
    }
}

// feature: 1.walks: not coherent (ECAP.SMPWCS absent)
#[test]
fn without_smpwcs_nothing_is_marked() {
    // SSADS, and no SMPWCS.
    let caps = caps(FEWEST_CAP, 0x0000_e898_0000_0f42, 48);
    for (first, second, entry, access, expected) in [
        (0x7_0007, 0, [0x41, 0x1_4000], READ, 0x90),
        (0x7_0027, 0, [0x41, 0x1_4000], READ, 0),
        (0x7_0027, 0, [0x41, 0x1_4000], WRITE, 0x90),
        (0x7_0067, 0, [0x41, 0x1_4000], WRITE, 0),
        (0, 0x7_0003, [0x2_4289, 0], READ, 0x7c),
        (0, 0x7_0103, [0x2_4289, 0], READ, 0),
        (0, 0x7_0103, [0x2_4289, 0], WRITE, 0x7c),
        (0, 0x7_0303, [0x2_4289, 0], WRITE, 0),
        (0, 0x7_0003, [0x2_4089, 0], WRITE, 0),
    ] {
        let guest = tables(first, second);
        assert_eq!(code(&guest, &caps, entry, access), expected, "{first:x} {second:x}");
        assert!(guest.take_exchanges().is_empty());
    }
    // A walk that only looks does not need them.
    let Entry::Present(entry) = PasidEntry::decode(&[0x41, 5, 0x1_4000, 0, 0, 0, 0, 0], &caps)
    else {
        panic!("a good entry")
    };
    let guest = tables(0x7_0007, 0);
    assert!(translate(&guest, &caps, &entry, Iova(0), WRITE, TableUpdates::Withheld).is_ok());
}

#[test]
fn privilege_is_given_and_taken() {
    let fetch = Access::READ.executing();
    for access in [Access::READ, Access::WRITE, Access::ZERO_LENGTH_READ, fetch] {
        let supervisor = access.with_privilege();
        assert!(supervisor.privileged && !access.privileged);
        assert_eq!(supervisor.without_privilege(), access);
        assert_eq!(access.without_privilege(), access);
    }
}
