//! Translation requests and translated requests. docs/decisions.md, "Requests with a device TLB".

use vtd_model::{Access, Fault, Grant, Path, Request, TranslatedAnswer, TranslationAnswer};

use super::guest::{CAP, Changes, ECAP, Guest, SOURCE};

const NO_WRITE: Access = Access::READ;

fn ask(guest: &Guest, pasid: Option<u32>, address: u64, access: Access) -> TranslationAnswer {
    let request = Request { source_id: SOURCE, pasid, address, access };
    guest.unit.translation_request(&guest.memory, &request, &mut Path::new())
}

/// Address, size, "rwxpu".
fn granted(answer: TranslationAnswer) -> (u64, u8, String) {
    let TranslationAnswer::Granted(grant) = answer else { return (0, 0, format!("{answer:x?}")) };
    let Grant { address, bits, read, write, execute, privileged, untranslated } = grant;
    let letters =
        [(read, 'r'), (write, 'w'), (execute, 'x'), (privileged, 'p'), (untranslated, 'u')];
    (address, bits, letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect())
}

#[test]
fn what_is_granted() {
    let execute = Access { execute: true, ..Access::WRITE };
    let privileged = Access { privileged: true, ..NO_WRITE };
    type Row = (&'static str, Option<u32>, Changes, u64, Access, (u64, u8, &'static str));
    let rows: &[Row] = &[
        ("read and write", Some(1), &[], 0x5678, Access::WRITE, (0x70_0678, 12, "rw")),
        ("the no-write flag", Some(1), &[], 0x5000, NO_WRITE, (0x70_0000, 12, "r")),
        (
            "what there is",
            Some(1),
            &[(0x2_3028, 0x70_0005)],
            0x5000,
            Access::WRITE,
            (0x70_0000, 12, "r"),
        ),
        (
            "only writes",
            Some(2),
            &[(0x3_3028, 0x80_0002)],
            0x5000,
            Access::WRITE,
            (0x80_0000, 12, "w"),
        ),
        ("execute", Some(1), &[(0x1_1050, 0x2_0002)], 0x5000, execute, (0x70_0000, 12, "rwx")),
        (
            "XD takes execute alone",
            Some(1),
            &[(0x1_1050, 0x2_0022), (0x2_3028, 1 << 63 | 0x70_0007)],
            0x5000,
            execute,
            (0x70_0000, 12, "rw"),
        ),
        ("privileged", Some(1), &[(0x1_1050, 0x2_0001)], 0x5000, privileged, (0x70_0000, 12, "rp")),
        ("2 MiB", Some(2), &[], 0x70_5000, NO_WRITE, (0x70_5000, 21, "r")),
        ("nested: the smaller page", Some(3), &[], 0x5000, NO_WRITE, (0x70_0000, 12, "r")),
        (
            "pass-through: the largest page",
            Some(4),
            &[],
            0x4000_5000,
            Access::WRITE,
            (0x4000_5000, 30, "rw"),
        ),
        (
            "pass-through beside the interrupt range",
            Some(4),
            &[],
            0xfec0_0000,
            Access::WRITE,
            (0xfec0_0000, 21, "rw"),
        ),
        (
            "without PASID to the interrupt range",
            None,
            &[],
            0xfee0_1000,
            Access::WRITE,
            (0xfee0_1000, 12, "wu"),
        ),
    ];
    for &(name, pasid, changes, address, access, (to, bits, letters)) in rows {
        let mut guest = Guest::scalable();
        for &(address, value) in changes {
            guest.set(address, value);
        }
        let answer = granted(ask(&guest, pasid, address, access));
        assert_eq!(answer, (to, bits, letters.to_owned()), "{name}");
    }
}

#[test]
fn recoverable_and_not() {
    let nothing = |code| TranslationAnswer::Nothing(Some(Fault { code, recorded: false }));
    let fault = |code| TranslationAnswer::Fault(Fault { code, recorded: true });
    for (name, pasid, change, expected) in [
        ("44: DTE=0", Some(1), (0x2300, 0x1_0009), fault(0x44)),
        ("41", Some(1), (0x2300, 0), fault(0x41)),
        ("46", Some(1 << 13), (0, 0), fault(0x46)),
        ("51", Some(1), (0x1_0000, 0), nothing(0x51)),
        ("52", Some(1), (0x1_0000, 0x1_1005), fault(0x52)),
        ("59", Some(1), (0x1_1040, 0), nothing(0x59)),
        ("5b", Some(1), (0x1_1040, 1), fault(0x5b)),
        ("71", Some(1), (0x2_3028, 0), nothing(0x71)),
        ("79", Some(2), (0x3_3028, 0), nothing(0x79)),
        ("7a", Some(2), (0x3_1000, 0x3_2803), fault(0x7a)),
        ("81", Some(1), (0x2_3028, 0x70_0003), nothing(0x81)),
        ("87", Some(1), (0x2_3028, 0xfee0_0007), fault(0x87)),
    ] {
        let mut guest = Guest::scalable();
        guest.set(change.0, change.1);
        assert_eq!(ask(&guest, pasid, 0x5000, NO_WRITE), expected, "{name}");
    }
    let guest = Guest::scalable();
    assert_eq!(ask(&guest, Some(4), 0xfee0_0000, NO_WRITE), fault(0x87), "pass-through");
    let refused = ask(&guest, None, 0xfee0_1000, NO_WRITE);
    assert_eq!(refused, TranslationAnswer::Nothing(None), "S.2");
}

/// D is set where W is granted; without ECAP.NWFS the no-write flag means nothing.
#[test]
fn dirty_bits() {
    for (ecap, access, expected) in
        [(ECAP, Access::WRITE, 0x60), (ECAP, NO_WRITE, 0x20), (ECAP & !(1 << 33), NO_WRITE, 0x60)]
    {
        let guest = Guest::with(CAP, ecap);
        let request = Request { source_id: SOURCE, pasid: Some(1), address: 0x5000, access };
        let mut path = Path::new();
        let _ = guest.unit.translation_request(&guest.memory, &request, &mut path);
        let leaf = path.updates.last().unwrap();
        assert_eq!(leaf.new ^ leaf.old, expected, "{ecap:x} {access:?}");
    }
}

#[test]
fn translated_requests() {
    let ask = |guest: &Guest, pasid, address| {
        let request = Request { source_id: SOURCE, pasid, address, access: Access::READ };
        guest.unit.translated_request(&guest.memory, &request, &mut Path::new())
    };
    let fault = |code| TranslatedAnswer::Fault(Fault { code, recorded: true });
    let guest = Guest::scalable();
    assert_eq!(ask(&guest, None, 0x5000), TranslatedAnswer::Memory);
    assert_eq!(ask(&guest, Some(1), 0x5000), TranslatedAnswer::Blocked);
    assert_eq!(ask(&guest, None, 1 << 46), fault(0x83));
    assert_eq!(ask(&guest, None, 0xfee0_0000), fault(0x87));
    let mut guest = Guest::scalable();
    guest.clear(0x2300, 0x14);
    assert_eq!(ask(&guest, None, 0x5000), fault(0x44));
    let mut guest = Guest::legacy();
    assert_eq!(ask(&guest, None, 0x5000), fault(0xd));
    guest.set(0x2180, 0x3_0005);
    assert_eq!(ask(&guest, None, 0x5000), TranslatedAnswer::Memory);
    assert_eq!(ask(&guest, None, 1 << 46), fault(4));
    assert_eq!(ask(&guest, None, 0xfee0_0000), fault(0xe));
    guest.unit.translation = false;
    assert_eq!(ask(&guest, None, 0x5000), TranslatedAnswer::Blocked);
}
