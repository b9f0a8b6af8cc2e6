//! More ways to get a fault: nested tables, translation requests, and page walks that are not coherent.

use crate::fault_cases::{Case, PLAIN, WRITE, clear, leaf, set};
use crate::guest::Guest;
use crate::path::{LEGACY_CONTEXT, Path};
use crate::raw::*;

/// A second stage of four levels below the first, which maps the tables of `FIRST_A` and its page to themselves.
fn nest(guest: &Guest, path: &Path) {
    guest.ram.put(path.entry, &[SECOND | 0xc9, 7, FIRST_A]);
    for page in 0..4 {
        let table = FIRST_A + page * 0x1000;
        guest.ram.put(under(page), &[table | 3]);
    }
    guest.ram.put(SECOND + 0x2000 + (FRAME_A >> 21) * 8, &[FRAME_A & !0x1f_ffff | 0x83]);
}

/// The second-stage entry of a page of `FIRST_A`.
const fn under(page: u64) -> u64 {
    SECOND + 0x3000 + ((FIRST_A >> 12) + page) * 8
}

/// What requests of an emulated device in scalable mode can get beside [`scalable_cases`](crate::fault_cases::scalable_cases).
pub(crate) fn request_cases() -> Vec<Case> {
    vec![
        Case {
            code: 0x43,
            what: "PRE without DTE",
            ecap: ECAP_PRS,
            break_path: |guest, path| set(guest, path.context, 1 << 4),
            ..PLAIN
        },
        Case { code: 0x44, what: "a translation request with DTE=0", translation: true, ..PLAIN },
        Case {
            code: 0x74,
            what: "a first-stage address beyond the second stage's 39 bits",
            ecap: ECAP_NEST,
            break_path: |guest, path| {
                nest(guest, path);
                guest.ram.put(path.entry, &[SECOND + 0x1000 | 0xc5]);
                guest.ram.put(leaf(FIRST_A), &[1 << 39 | 7]);
            },
            ..PLAIN
        },
        Case {
            code: 0x75,
            what: "a first-stage root that the second stage does not let be read",
            ecap: ECAP_NEST,
            break_path: |guest, path| {
                nest(guest, path);
                clear(guest, under(0), 1);
            },
            ..PLAIN
        },
        Case {
            code: 0x76,
            what: "a first-stage table that the second stage does not let be read",
            ecap: ECAP_NEST,
            break_path: |guest, path| {
                nest(guest, path);
                clear(guest, under(2), 1);
            },
            ..PLAIN
        },
        Case {
            code: 0x77,
            what: "a first-stage table that the second stage does not let be written",
            ecap: ECAP_NEST,
            break_path: |guest, path| {
                nest(guest, path);
                clear(guest, under(3), 2);
                clear(guest, leaf(FIRST_A), 0x60);
            },
            ..PLAIN
        },
        Case {
            code: 0x7c,
            what: "second-stage A to be set by a walk that is not snooped",
            ecap: ECAP_SSADS,
            without: ECAP_SMPWCS,
            break_path: |guest, path| guest.ram.put(path.entry, &second_stage(SECOND | 1 << 9, 7)),
            ..PLAIN
        },
        Case {
            code: 0x90,
            what: "first-stage D to be set by a walk that is not snooped",
            without: ECAP_SMPWCS,
            break_path: |guest, _| clear(guest, leaf(FIRST_A), 0x40),
            access: WRITE,
            ..PLAIN
        },
        Case {
            code: 0x81,
            what: "a supervisor's execute request to a page of users, with SMEP",
            ecap: ECAP_ERS | ECAP_SRS,
            without_pasid: false,
            break_path: |guest, path| set(guest, path.entry + 16, 0x43),
            access: crate::fault_cases::READ.executing().with_privilege(),
            ..PLAIN
        },
    ]
}

/// The same for legacy mode.
pub(crate) fn legacy_request_cases() -> Vec<Case> {
    vec![
        Case {
            code: 3,
            what: "an unreadable second-stage root",
            break_path: |guest, _| guest.ram.put(LEGACY_CONTEXT, &[0x6666_6001]),
            ..PLAIN
        },
        Case { code: 0xd, what: "a translation request with TT=0", translation: true, ..PLAIN },
        Case {
            code: 0xd,
            what: "a translation request with TT=2",
            translation: true,
            break_path: |guest, _| set(guest, LEGACY_CONTEXT, 2 << 2),
            ..PLAIN
        },
    ]
}
