//! What becomes of a translation request that meets a fault: each code as the architecture's table of fault conditions has it.

use vtd::TranslationRequest as Ask;
use vtd::{Access, DmaError};

use crate::machine::{
    ALL, CAP, CONTEXT, FIRST, FRAME, LEGACY_CONTEXT, Machine, SECOND, SMPWCS, place,
};

/// Nothing is there.
const NOWHERE: u64 = 0x6666_6000;
const DIRECTORY: u64 = 0x1_0000;
/// The PASID-table entry of PASID 1.
const ENTRY: u64 = 0x1_1040;
const FIRST_ENTRY: [u64; 3] = [0x41, 5, FIRST + 0x1000];
const SECOND_ENTRY: [u64; 3] = [SECOND + 0x1000 | 0x89, 5, 0];
const NESTED_ENTRY: [u64; 3] = [SECOND + 0x1000 | 0xc9, 5, FIRST + 0x1000];

/// What a request comes to: a fault (unsuccessful, recorded), or a success that grants nothing and is not recorded.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Told {
    Unsuccessful,
    Nothing,
}
use Told::{Nothing, Unsuccessful};

struct Case {
    code: u8,
    told: Told,
    ecap: u64,
    entry: [u64; 3],
    /// Words that break a sound path.
    broken: Vec<(u64, u64)>,
    root: u64,
    iova: u64,
    request: Ask,
}

fn case(code: u8, told: Told, entry: [u64; 3], broken: &[(u64, u64)]) -> Case {
    let broken = broken.to_vec();
    let request = Ask::READ_WRITE;
    Case { code, told, ecap: ALL, entry, broken, root: 0x1400, iova: 0x5000, request }
}

/// Each code of scalable mode that a translation request with PASID 1 can meet.
fn scalable_cases() -> Vec<Case> {
    let leaf = |table| place(table, 1, 0x5000);
    let first = |code, told, broken: &[(u64, u64)]| case(code, told, FIRST_ENTRY, broken);
    let second = |code, told, broken: &[(u64, u64)]| case(code, told, SECOND_ENTRY, broken);
    let nested = |code, told, broken: &[(u64, u64)]| case(code, told, NESTED_ENTRY, broken);
    // The second stage of nested entries maps the first-stage tables one to one.
    let under = |page: u64| place(SECOND, 1, FIRST + page * 0x1000);
    vec![
        Case { root: 0x1800, ..first(0x30, Unsuccessful, &[]) },
        Case { root: 0x1000, ..first(0x31, Unsuccessful, &[]) },
        Case { root: NOWHERE | 0x400, ..first(0x38, Unsuccessful, &[]) },
        first(0x39, Unsuccessful, &[(0x1000, 0x2000)]),
        first(0x3a, Unsuccessful, &[(0x1000, 0x2003)]),
        first(0x40, Unsuccessful, &[(0x1000, NOWHERE | 1)]),
        first(0x41, Unsuccessful, &[(CONTEXT, DIRECTORY | 0xc)]),
        first(0x42, Unsuccessful, &[(CONTEXT, DIRECTORY | 0x2d)]),
        Case { ecap: ALL | 1 << 29, ..first(0x43, Unsuccessful, &[(CONTEXT, DIRECTORY | 0x19)]) },
        first(0x44, Unsuccessful, &[(CONTEXT, DIRECTORY | 9)]),
        first(0x45, Unsuccessful, &[(CONTEXT, DIRECTORY | 5)]),
        first(0x50, Unsuccessful, &[(CONTEXT, NOWHERE | 0xd)]),
        first(0x51, Nothing, &[(DIRECTORY, 0)]),
        first(0x52, Unsuccessful, &[(DIRECTORY, 0x1_1005)]),
        first(0x58, Unsuccessful, &[(DIRECTORY, NOWHERE | 1)]),
        first(0x59, Nothing, &[(ENTRY, 0)]),
        first(0x5a, Unsuccessful, &[(ENTRY, 0x61)]),
        first(0x5b, Unsuccessful, &[(ENTRY, 1)]),
        Case { request: Ask::READ.executing(), ..first(0x5c, Nothing, &[]) },
        Case { request: Ask::READ.with_privilege(), ..first(0x5d, Nothing, &[]) },
        first(0x70, Nothing, &[(place(FIRST, 4, 0), NOWHERE | 7)]),
        first(0x71, Nothing, &[(leaf(FIRST), FRAME)]),
        first(0x72, Nothing, &[(place(FIRST, 4, 0), FIRST + 0x2000 | 0x87)]),
        first(0x73, Nothing, &[(ENTRY + 16, NOWHERE)]),
        nested(0x74, Nothing, &[(leaf(FIRST), 1 << 48 | 7)]),
        nested(0x75, Nothing, &[(under(1), FIRST + 0x1000 | 2)]),
        nested(0x76, Nothing, &[(under(2), FIRST + 0x2000 | 2)]),
        nested(0x77, Nothing, &[(under(4), FIRST + 0x4000 | 1)]),
        second(0x78, Unsuccessful, &[(place(SECOND, 4, 0), NOWHERE | 3)]),
        second(0x79, Nothing, &[(leaf(SECOND), FRAME)]),
        // Either permission is lost on the way: nothing is left.
        second(
            0x86,
            Nothing,
            &[(place(SECOND, 2, 0), SECOND + 0x4000 | 1), (leaf(SECOND), FRAME | 2)],
        ),
        second(0x7a, Unsuccessful, &[(place(SECOND, 4, 0), SECOND + 0x2000 | 0x83)]),
        second(0x7b, Unsuccessful, &[(ENTRY, NOWHERE | 0x89)]),
        Case {
            ecap: ALL & !SMPWCS,
            ..second(0x7c, Unsuccessful, &[(ENTRY, SECOND + 0x1000 | 0x289)])
        },
        Case { iova: 1 << 47, ..first(0x80, Nothing, &[]) },
        first(0x81, Nothing, &[(leaf(FIRST), FRAME | 3)]),
        Case { iova: 1 << 52, ..case(0x83, Nothing, [0x101, 5, 0], &[]) },
        Case { iova: 1 << 48, ..second(0x84, Nothing, &[]) },
        Case { request: Ask::READ, ..second(0x86, Nothing, &[(leaf(SECOND), FRAME | 2)]) },
        first(0x87, Unsuccessful, &[(leaf(FIRST), 0xfee0_0007)]),
        second(0x87, Unsuccessful, &[(leaf(SECOND), 0xfeef_f003)]),
        Case { ecap: ALL & !SMPWCS, ..first(0x90, Nothing, &[]) },
    ]
}

fn scalable(case: &Case) -> Machine {
    let machine = Machine::scalable(CAP, case.ecap, &case.entry);
    machine.map(FIRST, 0x5000, 1, FRAME | 7, 7);
    machine.map(SECOND, 0x5000, 1, FRAME | 3, 3);
    machine.map(SECOND, FRAME, 2, FRAME | 0x83, 3);
    for page in 0..5 {
        let table = FIRST + page * 0x1000;
        machine.guest.put(place(SECOND, 1, table), &[table | 3]);
    }
    for (place, value) in &case.broken {
        machine.guest.put(*place, &[*value]);
    }
    machine.guest.set_root(case.root);
    machine
}

/// The upper quadword of a record of a translation request: F, T1, AT 1, PASID and PP, the code, EXE, PRIV, SID.
fn record(code: u8, pasid: Option<u32>, request: Ask) -> u64 {
    let pasid = pasid.map_or(0, |pasid| u64::from(pasid) << 40 | 1 << 31);
    let flags = u64::from(request.execute) << 30 | u64::from(request.privileged) << 29;
    1 << 63 | 1 << 62 | 1 << 60 | pasid | u64::from(code) << 32 | flags | 0x18
}

/// Asks, and checks what it comes to and what is recorded.
fn check(machine: &Machine, case: &Case, pasid: Option<u32>, fpd: bool) {
    let told = format!("{:x}, PASID {pasid:?}, FPD {fpd}", case.code);
    match (case.told, machine.ask(pasid, case.iova, case.request)) {
        (Nothing, Ok(completion)) => {
            assert!(!completion.grants_any(), "{told}");
            let privileged = case.request.privileged && pasid.is_some();
            assert_eq!(completion.privileged, privileged, "{told}");
        }
        (Unsuccessful, Err(DmaError::Fault(fault))) => {
            assert_eq!(fault.reason.code(), case.code, "{told}");
        }
        (_, other) => panic!("{told}: {other:?}"),
    }
    let expected = (case.told == Unsuccessful && !fpd)
        .then_some((case.iova & !0xfff, record(case.code, pasid, case.request)));
    assert_eq!(machine.record(), expected, "{told}");
}

/// Codes that cannot come of a request without PASID.
const WITH_PASID: [u8; 4] = [0x31, 0x45, 0x5c, 0x5d];

// feature: 2.fault codes: translation requests
#[test]
fn each_code_of_scalable_mode() {
    for case in scalable_cases() {
        for pasid in [Some(1), None] {
            if pasid.is_none() && WITH_PASID.contains(&case.code) {
                continue;
            }
            check(&scalable(&case), &case, pasid, false);
            // The untranslated request of the same kind meets this very code, but for that of DTE.
            if case.code == 0x44 {
                continue;
            }
            let untranslated = scalable(&case);
            let mut access = Access::READ;
            access.write = case.told == Unsuccessful && !case.request.no_write;
            access.execute = case.request.execute;
            access.privileged = case.request.privileged;
            assert_eq!(untranslated.access(pasid, case.iova, access), Err(case.code));
        }
    }
}

// feature: 2.fault processing disable (FPD) for translation requests
#[test]
fn fpd_of_each_entry_suppresses_the_record() {
    // Until which code none of context, directory and PASID entry has been read, one, or two.
    let read = |code: u8| match code {
        ..=0x40 => 0,
        0x41..=0x50 => 1,
        0x51..=0x58 => 2,
        _ => 3,
    };
    let always = |code: u8| matches!(code, 0x30..=0x40 | 0x50 | 0x58 | 0x78);
    for case in scalable_cases() {
        for (index, place) in [CONTEXT, DIRECTORY, ENTRY].into_iter().enumerate() {
            let machine = scalable(&case);
            machine.guest.put(place, &[machine.guest.get(place) | 2]);
            check(&machine, &case, Some(1), index < read(case.code) && !always(case.code));
        }
    }
}

// feature: 2.fault codes: translation requests
#[test]
fn each_code_of_legacy_mode() {
    let leaf = place(SECOND, 1, 0x5000);
    let legacy = |code, told, broken: &[(u64, u64)]| case(code, told, [0; 3], broken);
    let sound = SECOND + 0x1000;
    for case in [
        legacy(1, Unsuccessful, &[(0x1000, 0x2000)]),
        legacy(2, Unsuccessful, &[(LEGACY_CONTEXT, sound | 4)]),
        legacy(3, Unsuccessful, &[(LEGACY_CONTEXT, sound | 0xd)]),
        legacy(3, Unsuccessful, &[(LEGACY_CONTEXT, NOWHERE | 5)]),
        Case { iova: 1 << 48, ..legacy(4, Nothing, &[]) },
        legacy(6, Nothing, &[(leaf, FRAME)]),
        Case { request: Ask::READ, ..legacy(6, Nothing, &[(leaf, FRAME | 2)]) },
        legacy(7, Unsuccessful, &[(place(SECOND, 4, 0), NOWHERE | 3)]),
        Case { root: NOWHERE, ..legacy(8, Unsuccessful, &[]) },
        legacy(9, Unsuccessful, &[(0x1000, NOWHERE | 1)]),
        legacy(0xa, Unsuccessful, &[(0x1000, 0x2003)]),
        legacy(0xb, Unsuccessful, &[(LEGACY_CONTEXT, sound | 0x15)]),
        legacy(0xc, Unsuccessful, &[(place(SECOND, 4, 0), SECOND + 0x2000 | 0x83)]),
        legacy(0xd, Unsuccessful, &[(LEGACY_CONTEXT, sound | 1)]),
        legacy(0xd, Unsuccessful, &[(LEGACY_CONTEXT, sound | 9), (LEGACY_CONTEXT + 8, 0x503)]),
        legacy(0xe, Unsuccessful, &[(leaf, 0xfee0_0003)]),
        Case { root: 0x1800, ..legacy(0x30, Unsuccessful, &[]) },
    ] {
        for fpd in [false, true] {
            let machine = Machine::legacy(CAP, ALL, [sound | 5, 0x502]);
            machine.map(SECOND, 0x5000, 1, FRAME | 3, 3);
            for (place, value) in &case.broken {
                machine.guest.put(*place, &[*value]);
            }
            if fpd {
                machine.guest.put(LEGACY_CONTEXT, &[machine.guest.get(LEGACY_CONTEXT) | 2]);
            }
            machine.guest.set_root(if case.root == 0x1400 { 0x1000 } else { case.root });
            let is_qualified = !matches!(case.code, 1 | 8 | 9 | 0xa | 0x30);
            check(&machine, &case, None, fpd && is_qualified);
        }
    }
    // With a PASID legacy mode has no entry at all.
    let machine = Machine::legacy(CAP, ALL, [sound | 5, 0x502]);
    assert_eq!(machine.told(Some(1), 0x5000, Ask::READ), "fault 31");
    assert_eq!(machine.record(), Some((0x5000, record(0x31, Some(1), Ask::READ))));
}

// feature: 2.requests blocked without a record (TE 0, TTM 3)
#[test]
fn translation_off_and_abort_mode_block_without_a_record() {
    let off = Machine::off(CAP, ALL);
    let abort = Machine::scalable(CAP, ALL | 1 << 52, &FIRST_ENTRY);
    abort.guest.set_root(0x1c00);
    for machine in [off, abort] {
        for pasid in [Some(1), None] {
            for iova in [0x5000, 0xfee0_0000] {
                assert_eq!(machine.told(pasid, iova, Ask::READ_WRITE), "blocked");
                assert_eq!(machine.translated(pasid, iova, Access::WRITE), "blocked");
                assert_eq!(machine.record(), None);
            }
        }
    }
}

/// T1 and T2, AT, EXE, PRIV, PP and PASID of each kind of request.
// feature: 2.fault records: kinds of request (T1, T2, AT)
#[test]
fn records_tell_the_kind_of_request() {
    let machine = Machine::scalable(CAP, ALL, &FIRST_ENTRY);
    machine.guest.put(CONTEXT, &[DIRECTORY | 1]);
    let (read, at, pp) = (1 << 62, |at: u64| at << 60, 1 << 31 | 1 << 40);
    let (exe, privileged) = (1 << 30, 1 << 29);
    let high = |code: u64, rest: u64| 1 << 63 | code << 32 | 0x18 | rest;
    let access = Access::READ.executing().with_privilege();
    assert_eq!(machine.access(Some(1), 0x1_2345, Access::WRITE), Err(0x45));
    assert_eq!(machine.record(), Some((0x1_2000, high(0x45, pp))));
    assert_eq!(machine.access(Some(1), 0x1_2345, access), Err(0x45));
    assert_eq!(machine.record(), Some((0x1_2000, high(0x45, pp | read | exe | privileged))));
    // DTE=0. A translation request is a read.
    for (request, flags) in [
        (Ask::READ_WRITE, 0),
        (Ask::READ, 0),
        (Ask::READ.executing(), exe),
        (Ask::READ_WRITE.with_privilege(), privileged),
    ] {
        assert_eq!(machine.told(Some(1), 0x1_2345, request), "fault 44");
        assert_eq!(machine.record(), Some((0x1_2000, high(0x44, pp | read | at(1) | flags))));
    }
    assert_eq!(machine.told(None, 0x1_2345, Ask::READ), "fault 44");
    assert_eq!(machine.record(), Some((0x1_2000, high(0x44, read | at(1)))));
    assert_eq!(machine.translated(None, 0x1_2345, Access::WRITE), "fault 44");
    assert_eq!(machine.record(), Some((0x1_2000, high(0x44, at(2)))));
    assert_eq!(machine.translated(None, 0x1_2345, Access::READ), "fault 44");
    assert_eq!(machine.record(), Some((0x1_2000, high(0x44, read | at(2)))));
}
