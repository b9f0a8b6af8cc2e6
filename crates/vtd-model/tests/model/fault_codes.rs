//! Reference, "Fault reason codes": each row from raw integers.

use vtd_model::{Access, Answer, Fault};

use super::guest::{CAP, Changes, ECAP, Guest, address, code};

/// What is changed in a good guest, and the code that a read of 5000 with a PASID then gives.
type Row = (&'static str, u32, Changes, u8);

const SCALABLE: &[Row] = &[
    ("39: root entry not present", 1, &[(0x1000, 0)], 0x39),
    ("3a: root entry reserved", 1, &[(0x1000, 0x2003)], 0x3a),
    ("40: context entry access failed", 1, &[(0x1000, 0x100_0000_0001)], 0x40),
    ("41: context entry not present", 1, &[(0x2300, 0)], 0x41),
    ("42: context entry reserved", 1, &[(0x2308, 1 << 21)], 0x42),
    ("43: PRE without DTE", 1, &[(0x2300, 0x1_0019)], 0x43),
    ("45: PASIDE=0", 1, &[(0x2300, 0x1_0005)], 0x45),
    ("46: beyond the directory", 1 << 13, &[], 0x46),
    ("46: within a larger directory", 1 << 13, &[(0x2300, 0x1_021d)], 0x51),
    ("50: directory entry access failed", 1, &[(0x2300, 0x100_0000_001d)], 0x50),
    ("51: directory entry not present", 1, &[(0x1_0000, 0)], 0x51),
    ("52: directory entry reserved", 1, &[(0x1_0000, 0x1_1005)], 0x52),
    ("58: PASID-table entry access failed", 1, &[(0x1_0000, 0x100_0000_0001)], 0x58),
    ("59: PASID-table entry not present", 1, &[(0x1_1040, 0)], 0x59),
    ("59: with stale fields", 1, &[(0x1_1040, 0x40)], 0x59),
    ("5a: PASID-table entry reserved", 1, &[(0x1_1078, 1)], 0x5a),
    ("5b: PGTT 0", 1, &[(0x1_1040, 1)], 0x5b),
    ("5b: PGTT 5", 1, &[(0x1_1040, 0x141)], 0x5b),
    ("5b: FSPM 2", 1, &[(0x1_1050, 0x2_0008)], 0x5b),
    ("5b: AW 0 of a second stage", 2, &[(0x1_1080, 0x3_0081)], 0x5b),
    ("AW means nothing to a first stage", 1, &[(0x1_1040, 0x5d)], 0),
    ("73: first-stage table pointer", 1, &[(0x1_1050, 0x100_0000_0000)], 0x73),
    ("70: first-stage entry access failed", 1, &[(0x2_0000, 0x100_0000_0007)], 0x70),
    ("71: first-stage entry not present", 1, &[(0x2_3028, 0)], 0x71),
    ("72: PS at level 4", 1, &[(0x2_0000, 0x2_1087)], 0x72),
    ("72: bit 13 of a 2 MiB page", 1, &[(0x2_2000, 0x20_2087)], 0x72),
    ("bit 12 of a 2 MiB page is PAT", 1, &[(0x2_2000, 0x20_1087)], 0),
    ("81: US=0 anywhere", 1, &[(0x2_1000, 0x2_2003)], 0x81),
    ("87: leads to an interrupt address", 1, &[(0x2_3028, 0xfee0_0007)], 0x87),
    ("7b: second-stage table pointer", 2, &[(0x1_1080, 0x100_0000_0089)], 0x7b),
    ("78: second-stage entry access failed", 2, &[(0x3_0000, 0x100_0000_0003)], 0x78),
    ("79: grants nothing", 2, &[(0x3_3028, 0x80_0000)], 0x79),
    ("86: present, and no read permission", 2, &[(0x3_3028, 0x80_0002)], 0x86),
    ("86: accumulated", 2, &[(0x3_1000, 0x3_2002)], 0x86),
    ("7a: bit 11 above the leaf", 2, &[(0x3_1000, 0x3_2803)], 0x7a),
    ("permission is tested before reserved bits", 2, &[(0x3_1000, 0x3_2802)], 0x86),
    ("87: leads to an interrupt address", 2, &[(0x3_3028, 0xfeef_f003)], 0x87),
    ("79: a first-stage table that is not mapped", 3, &[(0x3_3100, 0)], 0x79),
    ("75: the root of the first stage without read", 3, &[(0x3_3100, 0x2_0002)], 0x75),
    ("76: a table below it without read", 3, &[(0x3_3110, 0x2_2002)], 0x76),
    ("77: accessed bits need write", 3, &[(0x3_3118, 0x2_3001)], 0x77),
    (
        "74: a page beyond the second stage, 39 bits",
        3,
        &[(0x1_10c0, 0x3_10c5), (0x2_3028, 0x80_0000_0007)],
        0x74,
    ),
    ("74: a table beyond it", 3, &[(0x1_10c0, 0x3_10c5), (0x2_1000, 0x80_0000_0007)], 0x74),
    ("71: first-stage faults stay what they are", 3, &[(0x2_3028, 0)], 0x71),
    ("79: the page of a first-stage leaf is not mapped", 3, &[(0x2_3028, 0x40_0007)], 0x79),
];

#[test]
fn scalable_mode() {
    for &(name, pasid, changes, expected) in SCALABLE {
        let mut guest = Guest::scalable();
        for &(address, value) in changes {
            guest.set(address, value);
        }
        assert_eq!(guest.code(pasid), expected, "{name}");
    }
}

#[test]
fn every_pasid_of_a_good_guest() {
    let guest = Guest::scalable();
    for (pasid, expected) in [(1, 0x70_0010), (2, 0x80_0010), (3, 0x70_0010), (4, 0x5010)] {
        let answer = guest.ask(Some(pasid), 0x5010, Access::WRITE);
        assert_eq!(address(answer), Some(expected), "PASID {pasid}: {answer:x?}");
    }
}

/// The root table's address: 30 (table mode), 38 (not there).
#[test]
fn root_table() {
    for (root, cap_off, expected) in [
        (0x1400, 0, 0),
        (0x1800, 0, 0x30),
        (0x100_0000_0400, 0, 0x38),
        (0x1400, 1 << 43, 0x30),
        (0x1c00, 1 << 52, 0x30),
        // A request with PASID in legacy mode.
        (0x1000, 0, 0x31),
    ] {
        let mut guest = Guest::with(CAP, ECAP & !cap_off);
        guest.unit.root = root;
        assert_eq!(guest.code(1), expected, "{root:x} without {cap_off:x}");
    }
    let mut guest = Guest::scalable();
    guest.unit.root = 0x1c00;
    assert_eq!(guest.ask(Some(1), 0x5000, Access::READ), Answer::Blocked, "abort mode");
}

/// Legacy mode: 1 to c.
#[test]
fn legacy_mode() {
    type Row = (&'static str, Changes, Access, u64, u8);
    let rows: &[Row] = &[
        ("good", &[], Access::WRITE, 0x5000, 0),
        ("1: root not present", &[(0x1000, 0)], Access::READ, 0x5000, 1),
        ("a: root reserved", &[(0x1008, 1)], Access::READ, 0x5000, 0xa),
        ("9: context access failed", &[(0x1000, 0x100_0000_0001)], Access::READ, 0x5000, 9),
        ("2: context not present", &[(0x2180, 0)], Access::READ, 0x5000, 2),
        ("b: context reserved", &[(0x2188, 0x982)], Access::READ, 0x5000, 0xb),
        ("bits 6:3 of qw1 are ignored", &[(0x2188, 0x97a)], Access::READ, 0x5000, 0),
        ("3: TT 3", &[(0x2180, 0x3_000d)], Access::READ, 0x5000, 3),
        ("3: AW 0", &[(0x2188, 0x900)], Access::READ, 0x5000, 3),
        ("3: AW of pass-through is not the largest", &[(0x2180, 9)], Access::READ, 0x5000, 3),
        ("pass-through", &[(0x2180, 9), (0x2188, 0x903)], Access::READ, 0x5000, 0),
        (
            "pass-through: the table means nothing",
            &[(0x2180, 9 | 1 << 63), (0x2188, 0x903)],
            Access::READ,
            0x5000,
            0,
        ),
        ("b: table beyond the width", &[(0x2180, 1 | 1 << 63)], Access::READ, 0x5000, 0xb),
        ("4: beyond AW", &[], Access::READ, 1 << 48, 4),
        ("5: no write permission", &[(0x3_3028, 0x80_0001)], Access::WRITE, 0x5000, 5),
        ("6: no read permission", &[(0x3_3028, 0x80_0002)], Access::READ, 0x5000, 6),
        ("5: a write where nothing is granted", &[(0x3_3028, 0)], Access::WRITE, 0x5000, 5),
        ("3: table pointer", &[(0x2180, 0x100_0000_0001)], Access::READ, 0x5000, 3),
        ("7: next table pointer", &[(0x3_1000, 0x100_0000_0003)], Access::READ, 0x5000, 7),
        ("c: reserved", &[(0x3_0000, 0x3_1083)], Access::READ, 0x5000, 0xc),
        ("e: interrupt range", &[], Access::READ, 0xfee0_0000, 0xe),
        ("e: leads to it", &[(0x3_3028, 0xfee1_0003)], Access::READ, 0x5000, 0xe),
    ];
    for &(name, changes, access, at, expected) in rows {
        let mut guest = Guest::legacy();
        for &(address, value) in changes {
            guest.set(address, value);
        }
        assert_eq!(code(guest.ask(None, at, access)), expected, "{name}");
    }
    let guest = Guest::legacy();
    assert_eq!(guest.ask(None, 0xfee0_1000, Access::WRITE), Answer::Interrupt);
}

/// 80 to 86: what the address and the access decide.
#[test]
fn addresses_and_permissions() {
    let supervisor = Access { privileged: true, ..Access::READ };
    let supervisor_write = Access { privileged: true, ..Access::WRITE };
    let execute = Access { execute: true, ..Access::READ };
    type Row = (&'static str, u32, Changes, u64, Access, u8);
    let rows: &[Row] = &[
        ("80: not canonical", 1, &[], 1 << 47, Access::READ, 0x80),
        ("canonical", 1, &[], 0xffff_8000_0000_5000, Access::READ, 0x71),
        ("80: by FSPM alone, not by AW", 3, &[], 1 << 47, Access::READ, 0x80),
        ("83: pass-through beyond the host address width", 4, &[], 1 << 46, Access::READ, 0x83),
        ("84: beyond the second stage's width", 2, &[], 1 << 48, Access::READ, 0x84),
        ("85: RW=0", 1, &[(0x2_3028, 0x70_0005)], 0x5000, Access::WRITE, 0x85),
        ("85: W=0", 2, &[(0x3_3028, 0x80_0001)], 0x5000, Access::WRITE, 0x85),
        ("87: pass-through to an interrupt address", 4, &[], 0xfee0_0000, Access::WRITE, 0x87),
        (
            "an interrupt address is an ordinary input with PASID",
            1,
            &[],
            0xfee0_0000,
            Access::WRITE,
            0x71,
        ),
        ("5d: SRE=0", 1, &[], 0x5000, supervisor, 0x5d),
        ("5c: ERE=0", 1, &[], 0x5000, execute, 0x5c),
        (
            "a supervisor writes where RW=0, without WPE",
            1,
            &[(0x1_1050, 0x2_0001), (0x2_3028, 0x70_0005)],
            0x5000,
            supervisor_write,
            0,
        ),
        (
            "85: with WPE",
            1,
            &[(0x1_1050, 0x2_0011), (0x2_3028, 0x70_0005)],
            0x5000,
            supervisor_write,
            0x85,
        ),
        ("execute", 1, &[(0x1_1050, 0x2_0002)], 0x5000, execute, 0),
        (
            "82: XD with NXE",
            1,
            &[(0x1_1050, 0x2_0022), (0x2_3028, 1 << 63 | 0x70_0007)],
            0x5000,
            execute,
            0x82,
        ),
        (
            "XD without NXE",
            1,
            &[(0x1_1050, 0x2_0002), (0x2_3028, 1 << 63 | 0x70_0007)],
            0x5000,
            execute,
            0,
        ),
        (
            "81: SMEP",
            1,
            &[(0x1_1050, 0x2_0043)],
            0x5000,
            Access { privileged: true, ..execute },
            0x81,
        ),
    ];
    for &(name, pasid, changes, at, access, expected) in rows {
        let mut guest = Guest::scalable();
        for &(address, value) in changes {
            guest.set(address, value);
        }
        let pasid = Some(pasid);
        assert_eq!(code(guest.ask(pasid, at, access)), expected, "{name}");
    }
}

/// "FPD … that was read on the way suppresses, whether or not the entry is present", but not what is not qualified.
#[test]
fn fault_processing_disable() {
    let fpd = 2;
    for (name, entry, changes, expected) in [
        ("context", 0x2300, vec![(0x1_1040, 0)], (0x59, false)),
        ("context not present", 0x2300, vec![(0x2300, fpd)], (0x41, false)),
        ("directory", 0x1_0000, vec![(0x1_1040, 0)], (0x59, false)),
        ("directory not present", 0x1_0000, vec![(0x1_0000, fpd)], (0x51, false)),
        ("PASID-table entry", 0x1_1040, vec![(0x2_3028, 0)], (0x71, false)),
        ("PASID-table entry not present", 0x1_1040, vec![(0x1_1040, fpd)], (0x59, false)),
        ("58 is not qualified", 0x2300, vec![(0x1_0000, 0x100_0000_0001)], (0x58, true)),
        ("an entry that is not read", 0x1_1080, vec![(0x2_3028, 0)], (0x71, true)),
    ] {
        let mut guest = Guest::scalable();
        guest.or(entry, fpd);
        for (address, value) in changes {
            guest.set(address, value);
        }
        let (code, recorded) = expected;
        let answer = guest.ask(Some(1), 0x5000, Access::READ);
        assert_eq!(answer, Answer::Fault(Fault { code, recorded }), "{name}");
    }
}

/// "Requests while translation is off": those without PASID pass, all others are blocked without a record.
#[test]
fn translation_off() {
    let mut guest = Guest::scalable();
    guest.unit.translation = false;
    assert_eq!(address(guest.ask(None, 0x5678, Access::WRITE)), Some(0x5678));
    assert_eq!(guest.ask(Some(1), 0x5678, Access::READ), Answer::Blocked);
    assert_eq!(guest.ask(None, 0xfeef_fffc, Access::WRITE), Answer::Interrupt);
}

/// Requests without PASID: RID_PASID with ECAP.RPS, else 0; RID_PRIV.
#[test]
fn rid_pasid() {
    let mut guest = Guest::scalable();
    guest.set(0x2308, 1);
    assert_eq!(address(guest.ask(None, 0x5000, Access::READ)), Some(0x70_0000));
    guest.set(0x2308, 1 << 20 | 1);
    assert_eq!(code(guest.ask(None, 0x5000, Access::READ)), 0x5d, "RID_PRIV, SRE=0");
    let mut guest = Guest::with(CAP, ECAP & !(1 << 49));
    guest.set(0x2308, 1);
    assert_eq!(code(guest.ask(None, 0x5000, Access::READ)), 0x59, "RID_PASID is taken as 0");
    guest.set(0x2300, 0x1_0015);
    guest.set(0x1_1000, 0x101);
    assert_eq!(address(guest.ask(None, 0x5000, Access::READ)), Some(0x5000), "PASIDE=0");
}

/// CAP.ZLR: a read of no bytes is served by write permission alone.
#[test]
fn zero_length() {
    let access = Access { zero_length: true, ..Access::READ };
    for (cap, expected) in [(CAP, 0), (CAP & !(1 << 22), 0x86)] {
        let mut guest = Guest::with(cap, ECAP);
        guest.set(0x3_3028, 0x80_0002);
        assert_eq!(code(guest.ask(Some(2), 0x5000, access)), expected, "{cap:x}");
    }
}

/// Five levels of first stage, three and five of second.
#[test]
fn levels() {
    let mut guest = Guest::scalable();
    guest.set(0x1_1050, 0x2_4004);
    guest.set(0x2_4000, 0x2_0007);
    assert_eq!(address(guest.ask(Some(1), 0x5000, Access::READ)), Some(0x70_0000));
    assert_eq!(code(guest.ask(Some(1), 1 << 56, Access::READ)), 0x80);
    assert_eq!(code(guest.ask(Some(1), 1 << 55, Access::READ)), 0x71);
    guest.set(0x1_1080, 0x3_1085);
    assert_eq!(address(guest.ask(Some(2), 0x5000, Access::READ)), Some(0x80_0000));
    assert_eq!(code(guest.ask(Some(2), 1 << 39, Access::READ)), 0x84);
    guest.set(0x1_1080, 0x3_408d);
    guest.set(0x3_4000, 0x3_0003);
    assert_eq!(address(guest.ask(Some(2), 0x5000, Access::READ)), Some(0x80_0000));
    let without = Guest {
        unit: vtd_model::Unit {
            capabilities: vtd_model::Capabilities::new(CAP & !(1 << 60), ECAP),
            ..guest.unit
        },
        ..guest
    };
    assert_eq!(without.code(1), 0x5b, "FSPM 1 without FS5LP");
}

/// Protected memory blocks what leads there, without a record.
#[test]
fn protected_memory() {
    let mut guest = Guest::scalable();
    guest.unit.protected.enabled = true;
    guest.unit.protected.low_base = 0x60_0000;
    guest.unit.protected.low_limit = 0x60_0000;
    assert_eq!(guest.ask(Some(1), 0x5000, Access::READ), Answer::Blocked, "its 2 MiB");
    assert_eq!(address(guest.ask(Some(2), 0x5000, Access::READ)), Some(0x80_0000));
}
