//! The ways to get a fault, one by one.

use std::sync::atomic::Ordering;

use vtd::Access;

use crate::guest::{Dma, Guest, Record, Shape, code};
use crate::path::{LEGACY_CONTEXT, Path};
use crate::raw::*;
use crate::request_cases::{legacy_request_cases, request_cases};

/// Nothing is there.
const NOWHERE: u64 = 0x6666_6000;

pub(crate) const READ: Access = Access::READ;
pub(crate) const WRITE: Access = Access::WRITE;

/// One way to get a fault.
pub(crate) struct Case {
    pub(crate) code: u8,
    pub(crate) what: &'static str,
    /// Bits of ECAP beside those of every unit here.
    pub(crate) ecap: u64,
    /// Bits of ECAP that those of every unit here have, and this one has not.
    pub(crate) without: u64,
    /// It is asked for by a translation request.
    pub(crate) translation: bool,
    /// Requests without PASID can get it too.
    pub(crate) without_pasid: bool,
    /// Breaks a path that was all right.
    pub(crate) break_path: fn(&Guest, &Path),
    pub(crate) address: u64,
    pub(crate) access: Access,
}

pub(crate) const PLAIN: Case = Case {
    code: 0,
    what: "",
    ecap: 0,
    without: 0,
    translation: false,
    without_pasid: true,
    break_path: |_, _| {},
    address: PAGE,
    access: READ,
};

pub(crate) fn set(guest: &Guest, place: u64, bits: u64) {
    guest.ram.put(place, &[guest.ram.at(place) | bits]);
}

pub(crate) fn clear(guest: &Guest, place: u64, bits: u64) {
    guest.ram.put(place, &[guest.ram.at(place) & !bits]);
}

/// Latches RTADDR while translation is on.
fn change_root(guest: &Guest, root: u64) {
    guest.write64(RTADDR, root);
    guest.command(QIE | TE | SRTP);
}

/// The last entry of a four-level table on the way of `PAGE`.
pub(crate) const fn leaf(table: u64) -> u64 {
    table + 0x3000 + (PAGE >> 12) * 8
}

/// The codes of scalable mode that requests of an emulated device can get, but for that of a PASID past its directory.
pub(crate) fn scalable_cases() -> Vec<Case> {
    let mut cases = untranslated_cases();
    cases.extend(request_cases());
    cases
}

/// Those of untranslated requests on a unit with few capabilities.
fn untranslated_cases() -> Vec<Case> {
    vec![
        Case {
            code: 0x30,
            what: "TTM=10",
            break_path: |guest, _| change_root(guest, ROOT | 0x800),
            ..PLAIN
        },
        Case {
            code: 0x30,
            what: "TTM=11 without ADMS",
            break_path: |guest, _| change_root(guest, ROOT | 0xc00),
            ..PLAIN
        },
        Case {
            code: 0x31,
            what: "a request with PASID under a legacy table",
            without_pasid: false,
            break_path: |guest, _| change_root(guest, ROOT),
            ..PLAIN
        },
        Case {
            code: 0x38,
            what: "an unreadable root table",
            break_path: |guest, _| change_root(guest, NOWHERE | 0x400),
            ..PLAIN
        },
        Case {
            code: 0x39,
            what: "an absent root entry",
            break_path: |guest, path| clear(guest, path.root, 1),
            ..PLAIN
        },
        Case {
            code: 0x3a,
            what: "a reserved bit of the root entry",
            break_path: |guest, path| set(guest, path.root, 2),
            ..PLAIN
        },
        Case {
            code: 0x40,
            what: "an unreadable context table",
            break_path: |guest, path| guest.ram.put(path.root, &[NOWHERE | 1]),
            ..PLAIN
        },
        Case {
            code: 0x41,
            what: "an absent context entry",
            break_path: |guest, path| clear(guest, path.context, 1),
            ..PLAIN
        },
        Case {
            code: 0x42,
            what: "a reserved bit of the context entry",
            break_path: |guest, path| set(guest, path.context, 1 << 5),
            ..PLAIN
        },
        Case {
            code: 0x45,
            what: "PASIDE=0",
            without_pasid: false,
            break_path: |guest, path| clear(guest, path.context, 8),
            ..PLAIN
        },
        Case {
            code: 0x50,
            what: "an unreadable PASID directory",
            break_path: |guest, path| guest.ram.put(path.context, &[NOWHERE | 0xe09]),
            ..PLAIN
        },
        Case {
            code: 0x51,
            what: "an absent directory entry",
            break_path: |guest, path| guest.ram.put(path.directory, &[0]),
            ..PLAIN
        },
        Case {
            code: 0x52,
            what: "a reserved bit of the directory entry",
            break_path: |guest, path| set(guest, path.directory, 4),
            ..PLAIN
        },
        Case {
            code: 0x58,
            what: "an unreadable PASID table",
            break_path: |guest, path| guest.ram.put(path.directory, &[NOWHERE | 1]),
            ..PLAIN
        },
        Case {
            code: 0x59,
            what: "a PASID entry of zeros",
            break_path: |guest, path| guest.ram.put(path.entry, &ABSENT),
            ..PLAIN
        },
        Case {
            code: 0x59,
            what: "a PASID entry with P=0 alone",
            break_path: |guest, path| clear(guest, path.entry, 1),
            ..PLAIN
        },
        Case {
            code: 0x5a,
            what: "a reserved bit of the PASID entry",
            break_path: |guest, path| set(guest, path.entry, 1 << 5),
            ..PLAIN
        },
        Case {
            code: 0x5b,
            what: "PGTT=0",
            break_path: |guest, path| clear(guest, path.entry, 7 << 6),
            ..PLAIN
        },
        Case {
            code: 0x5b,
            what: "PGTT=3 without NEST",
            break_path: |guest, path| set(guest, path.entry, 3 << 6),
            ..PLAIN
        },
        Case {
            code: 0x5b,
            what: "PGTT=5",
            break_path: |guest, path| set(guest, path.entry, 5 << 6),
            ..PLAIN
        },
        Case {
            code: 0x5b,
            what: "FSPM=1 without FS5LP",
            break_path: |guest, path| set(guest, path.entry + 16, 1 << 2),
            ..PLAIN
        },
        Case {
            code: 0x5b,
            what: "FSPM=2",
            break_path: |guest, path| set(guest, path.entry + 16, 2 << 2),
            ..PLAIN
        },
        Case {
            code: 0x5b,
            what: "AW=3, which SAGAW lacks",
            break_path: |guest, path| guest.ram.put(path.entry, &[SECOND | 0x8d, 7, 0]),
            ..PLAIN
        },
        Case { code: 0x5c, what: "ERE=0", access: READ.executing(), ..PLAIN },
        Case {
            code: 0x5d,
            what: "SRE=0",
            ecap: ECAP_SRS | ECAP_RPRIVS,
            // A request without PASID has the privilege of RID_PRIV.
            break_path: |guest, path| set(guest, path.context + 8, 1 << 20),
            access: READ.with_privilege(),
            ..PLAIN
        },
        Case {
            code: 0x70,
            what: "an unreadable first-stage table",
            break_path: |guest, _| guest.ram.put(FIRST_A, &[NOWHERE | 7]),
            ..PLAIN
        },
        Case {
            code: 0x71,
            what: "an absent first-stage entry",
            break_path: |guest, _| clear(guest, FIRST_A, 1),
            ..PLAIN
        },
        Case {
            code: 0x71,
            what: "an absent first-stage leaf",
            break_path: |guest, _| clear(guest, leaf(FIRST_A), 1),
            ..PLAIN
        },
        Case {
            code: 0x72,
            what: "PS at level 4",
            break_path: |guest, _| set(guest, FIRST_A, 0x80),
            ..PLAIN
        },
        Case {
            code: 0x73,
            what: "an unreadable first-stage root",
            break_path: |guest, path| guest.ram.put(path.entry, &first_stage(NOWHERE, 7)),
            ..PLAIN
        },
        Case {
            code: 0x78,
            what: "an unreadable second-stage table",
            break_path: |guest, path| {
                guest.ram.put(path.entry, &second_stage(SECOND, 7));
                guest.ram.put(SECOND, &[NOWHERE | 3]);
            },
            ..PLAIN
        },
        Case {
            code: 0x79,
            what: "a second-stage entry that grants nothing",
            break_path: |guest, path| {
                guest.ram.put(path.entry, &second_stage(SECOND, 7));
                clear(guest, leaf(SECOND), 3);
            },
            ..PLAIN
        },
        Case {
            code: 0x7a,
            what: "PS of a second-stage entry at level 4",
            break_path: |guest, path| {
                guest.ram.put(path.entry, &second_stage(SECOND, 7));
                set(guest, SECOND, 0x80);
            },
            ..PLAIN
        },
        Case {
            code: 0x7b,
            what: "an unreadable second-stage root",
            break_path: |guest, path| guest.ram.put(path.entry, &second_stage(NOWHERE, 7)),
            ..PLAIN
        },
        Case {
            code: 0x7d,
            what: "a second-stage table that cannot be written, with SSADE",
            ecap: ECAP_SSADS,
            break_path: |guest, path| {
                guest.ram.put(path.entry, &second_stage(SECOND | 1 << 9, 7));
                guest.ram.read_only.store(true, Ordering::Relaxed);
            },
            ..PLAIN
        },
        Case { code: 0x80, what: "an address that is not canonical", address: 1 << 47, ..PLAIN },
        Case {
            code: 0x81,
            what: "a user's request to a supervisor page",
            break_path: |guest, _| clear(guest, leaf(FIRST_A), 4),
            ..PLAIN
        },
        Case {
            code: 0x82,
            what: "XD with NXE",
            ecap: ECAP_ERS,
            break_path: |guest, path| {
                set(guest, path.entry + 16, 1 << 1 | 1 << 5);
                set(guest, leaf(FIRST_A), 1 << 63);
            },
            access: READ.executing(),
            ..PLAIN
        },
        Case {
            code: 0x83,
            what: "a pass-through address beyond the width",
            break_path: |guest, path| guest.ram.put(path.entry, &pass_through(7)),
            address: 1 << 48,
            ..PLAIN
        },
        Case {
            code: 0x84,
            what: "a second-stage address beyond 48 bits",
            break_path: |guest, path| guest.ram.put(path.entry, &second_stage(SECOND, 7)),
            address: 1 << 48,
            ..PLAIN
        },
        Case {
            code: 0x84,
            what: "a second-stage address beyond 39 bits",
            break_path: |guest, path| guest.ram.put(path.entry, &[SECOND + 0x1000 | 0x85, 7, 0]),
            address: 1 << 39,
            ..PLAIN
        },
        Case {
            code: 0x85,
            what: "a write without first-stage permission",
            break_path: |guest, _| clear(guest, FIRST_A + 0x1000, 2),
            access: WRITE,
            ..PLAIN
        },
        Case {
            code: 0x85,
            what: "a write without second-stage permission",
            break_path: |guest, path| {
                guest.ram.put(path.entry, &second_stage(SECOND, 7));
                clear(guest, leaf(SECOND), 2);
            },
            access: WRITE,
            ..PLAIN
        },
        Case {
            code: 0x86,
            what: "a read without second-stage permission",
            break_path: |guest, path| {
                guest.ram.put(path.entry, &second_stage(SECOND, 7));
                clear(guest, leaf(SECOND), 1);
            },
            ..PLAIN
        },
        Case {
            code: 0x87,
            what: "a first-stage page in the interrupt range",
            break_path: |guest, _| guest.ram.put(leaf(FIRST_A), &[0xfee0_0007]),
            ..PLAIN
        },
        Case {
            code: 0x87,
            what: "a second-stage page in the interrupt range",
            break_path: |guest, path| {
                guest.ram.put(path.entry, &second_stage(SECOND, 7));
                guest.ram.put(leaf(SECOND), &[0xfeef_f003]);
            },
            ..PLAIN
        },
        Case {
            code: 0x87,
            what: "pass-through to the interrupt range",
            without_pasid: false,
            break_path: |guest, path| guest.ram.put(path.entry, &pass_through(7)),
            address: 0xfee0_1000,
            access: WRITE,
            ..PLAIN
        },
        Case {
            code: 0x91,
            what: "a first-stage table that cannot be written",
            break_path: |guest, _| guest.ram.read_only.store(true, Ordering::Relaxed),
            // A write, since the read before has set A.
            access: WRITE,
            ..PLAIN
        },
    ]
}

/// The code of a PASID at or past the end of its directory; it is not for every PASID.
pub(crate) const BEYOND_DIRECTORY: Case = Case {
    code: 0x46,
    what: "a PASID past the directory",
    break_path: |guest, path| clear(guest, path.context, 0xe00),
    ..PLAIN
};

pub(crate) fn legacy_cases() -> Vec<Case> {
    let mut cases = untranslated_legacy_cases();
    cases.extend(legacy_request_cases());
    cases
}

fn untranslated_legacy_cases() -> Vec<Case> {
    vec![
        Case {
            code: 1,
            what: "an absent root entry",
            break_path: |guest, _| clear(guest, ROOT, 1),
            ..PLAIN
        },
        Case {
            code: 2,
            what: "an absent context entry",
            break_path: |guest, _| clear(guest, LEGACY_CONTEXT, 1),
            ..PLAIN
        },
        Case {
            code: 3,
            what: "AW=3, which SAGAW lacks",
            break_path: |guest, _| set(guest, LEGACY_CONTEXT + 8, 3),
            ..PLAIN
        },
        Case {
            code: 3,
            what: "TT=3",
            break_path: |guest, _| set(guest, LEGACY_CONTEXT, 3 << 2),
            ..PLAIN
        },
        Case {
            code: 3,
            what: "TT=2 with an AW that is not the largest",
            break_path: |guest, _| guest.ram.put(LEGACY_CONTEXT, &[SECOND | 9, 7 << 8 | 1]),
            ..PLAIN
        },
        Case { code: 4, what: "an address beyond 48 bits", address: 1 << 48, ..PLAIN },
        Case {
            code: 5,
            what: "a write without permission",
            break_path: |guest, _| clear(guest, leaf(SECOND), 2),
            access: WRITE,
            ..PLAIN
        },
        Case {
            code: 6,
            what: "a read without permission",
            break_path: |guest, _| clear(guest, leaf(SECOND), 1),
            ..PLAIN
        },
        Case {
            code: 7,
            what: "an unreadable next table",
            break_path: |guest, _| guest.ram.put(SECOND, &[NOWHERE | 3]),
            ..PLAIN
        },
        Case {
            code: 8,
            what: "an unreadable root table",
            break_path: |guest, _| {
                guest.write64(RTADDR, NOWHERE);
                guest.command(TE | SRTP);
            },
            ..PLAIN
        },
        Case {
            code: 9,
            what: "an unreadable context table",
            break_path: |guest, _| guest.ram.put(ROOT, &[NOWHERE | 1]),
            ..PLAIN
        },
        Case {
            code: 0xa,
            what: "a reserved bit of the root entry",
            break_path: |guest, _| set(guest, ROOT, 2),
            ..PLAIN
        },
        Case {
            code: 0xb,
            what: "a reserved bit of the context entry",
            break_path: |guest, _| set(guest, LEGACY_CONTEXT, 1 << 4),
            ..PLAIN
        },
        Case {
            code: 0xc,
            what: "PS at level 4",
            break_path: |guest, _| set(guest, SECOND, 0x80),
            ..PLAIN
        },
        Case {
            code: 0xe,
            what: "a page in the interrupt range",
            break_path: |guest, _| guest.ram.put(leaf(SECOND), &[0xfee0_0003]),
            ..PLAIN
        },
        Case { code: 0xe, what: "a read of the interrupt range", address: 0xfee0_0000, ..PLAIN },
    ]
}

pub(crate) fn scalable(case: &Case) -> (Guest, Dma) {
    let shape = Shape::uncached();
    let guest = Guest::of(Shape { ecap: (shape.ecap | case.ecap) & !case.without, ..shape });
    let dma = guest.emulated();
    if case.without & ECAP_SMPWCS != 0 {
        // Nothing sets A and D there.
        for place in [FIRST_A, FIRST_A + 0x1000, FIRST_A + 0x2000, leaf(FIRST_A)] {
            set(&guest, place, 0x60);
        }
    }
    (guest, dma)
}

/// Makes the request of a case and checks its code.
pub(crate) fn expect_code(dma: &Dma, case: &Case, pasid: Option<u64>) {
    let found = match case.translation {
        true => dma.ask(pasid, case.address).map(|found| found.page.0),
        false => dma.access(pasid, case.address, case.access),
    };
    let found = found.map_err(code);
    assert_eq!(
        found,
        Err(case.code),
        "{}, PASID {pasid:x?}: the code (left is what came)",
        case.what
    );
}

pub(crate) fn record_of(case: &Case, pasid: Option<u64>) -> Record {
    Record {
        address: case.address,
        source: u64::from(DEVICE),
        pasid,
        code: u64::from(case.code),
        read: !case.access.write,
        address_type: u64::from(case.translation),
    }
}
