//! Requests that the guest's tables do not admit.

use vtd::spec::{Capabilities, PageRequest};
use vtd::{Attachment, PageRequestError, Step};

use super::machine::{Machine, PQT, PRS};
use crate::guest::card::{ECAP_CARDS, page_request};
use crate::guest::{CAP, ECAP, Guest, STATUS, source_id};

const CONTEXT: u64 = 0x2000 + 3 * 8 * 32;

/// The reason code of a refused request; 0 for one that is blocked without a record.
fn code(refused: Result<(), PageRequestError>) -> u8 {
    match refused {
        Err(PageRequestError::Fault(fault)) => fault.reason.code(),
        Err(PageRequestError::Blocked) => 0,
        other => panic!("{other:?}"),
    }
}

/// The record of the unit, which has one: its two quadwords, cleared.
fn take_record(guest: &Guest) -> Option<[u64; 2]> {
    let record = [guest.read(0x220, 8), guest.read(0x228, 8)];
    guest.write(0x22c, 4, 0x8000_0000);
    (record[1] >> 63 == 1).then_some(record)
}

// feature: 4.page requests: faults (PRE, 45 to 48)
#[test]
fn the_context_entry_decides() {
    // (first two quadwords of the context entry, PASID; code). Directory 10000, PRE 10, PASIDE 8, DTE 4, PDTS 11:9.
    let table: [(u64, u64, Option<u32>, Option<u8>); 22] = [
        (0x1_001d, 0, None, None),
        (0x1_001d, 0, Some(0), None),
        (0x1_001d, 0, Some(0x1fff), None),
        (0x1_0015, 0, None, None),
        // 43: PRE without DTE.
        (0x1_0019, 0, Some(5), Some(0x43)),
        (0x1_0011, 0, None, Some(0x43)),
        // 41: not present. 42: reserved fields.
        (0x1_001c, 0, None, Some(0x41)),
        (0x1_003d, 0, None, Some(0x42)),
        (0x1_001d, 0x20_0000, Some(5), Some(0x42)),
        // 47: PRE=0, before anything else of the entry.
        (0x1_000d, 0, None, Some(0x47)),
        (0x1_000d, 0, Some(5), Some(0x47)),
        (0x1_0005, 0, Some(5), Some(0x47)),
        (0x1_000d, 0, Some(0x2000), Some(0x47)),
        // 45: PASIDE=0, before the width of the directory.
        (0x1_0015, 0, Some(5), Some(0x45)),
        (0x1_0015, 0, Some(0x2000), Some(0x45)),
        // 46: past the directory, for each of its sizes.
        (0x1_001d, 0, Some(0x2000), Some(0x46)),
        (0x1_021d, 0, Some(0x3fff), None),
        (0x1_021d, 0, Some(0x4000), Some(0x46)),
        (0x1_0e1d, 0, Some(0xf_ffff), None),
        // 48: RID_PASID past the directory.
        (0x1_001d, 0x2000, None, Some(0x48)),
        (0x1_001d, 0x1fff, None, None),
        (0x1_001d, 0x2000, Some(5), None),
    ];
    for (low, rid, number, expected) in table {
        let machine = Machine::new();
        let guest = &machine.guest;
        guest.put(CONTEXT, &[low, rid]);
        let asked = guest.unit.page_request(machine.device, page_request(number, 0x5123, 7));
        let name = format!("{low:x} {rid:x} {number:x?}");
        let Some(expected) = expected else {
            assert_eq!((asked, guest.read(PQT, 8)), (Ok(()), 0x20), "{name}");
            assert_eq!(take_record(guest), None);
            continue;
        };
        assert_eq!(code(asked), expected, "{name}");
        assert_eq!((guest.read(PQT, 8), guest.read(PRS, 4)), (0, 0), "{name}");
        // T2 28, PP 31, reason 39:32, PASID 59:40, F 63.
        let pasid = number.map_or(0, |number| 1 << 31 | u64::from(number) << 40);
        let high = 1 << 63 | 1 << 28 | u64::from(expected) << 32 | pasid | 0x18;
        assert_eq!(take_record(guest), Some([0x5000, high]), "{name}");
        let pasid = number.map_or("-".into(), |number| format!("{number:x}"));
        assert_eq!(machine.card_told(), [format!("response {pasid} 7 f")], "{name}");
    }
}

#[test]
fn the_record_says_what_was_asked() {
    // (execute, privileged; EXE 30 and PRIV 29)
    let table = [(false, false, 0), (true, false, 1 << 30), (false, true, 1 << 29)];
    for (execute, privileged, bits) in table {
        let machine = Machine::new();
        machine.guest.put(CONTEXT, &[0x1_000d]);
        let request = PageRequest { execute, privileged, ..page_request(None, 0x5000, 7) };
        assert_eq!(code(machine.guest.unit.page_request(machine.device, request)), 0x47);
        let [_, high] = take_record(&machine.guest).unwrap();
        assert_eq!(high, 1 << 63 | 1 << 28 | 0x47 << 32 | 0x18 | bits);
    }
}

// feature: 4.page requests: faults (PRE, 45 to 48)
#[test]
fn tables_above_the_context_entry_fault_too() {
    // (RTADDR; root entry's lower half; code, and whether FPD could count)
    let table: [(u64, u64, u8); 7] = [
        // 32: legacy mode. 30: a table mode that is none. Abort: blocked.
        (0x1000, 0x2001, 0x32),
        (0x1800, 0x2001, 0x30),
        (0x1400, 0x2000, 0x39),
        (0x1400, 0x2801, 0x3a),
        (0x1400, 0x7fff_f001, 0x40),
        (0x7fff_f400, 0x2001, 0x38),
        (0x1400, 0x2001, 0xff),
    ];
    for (root, half, expected) in table {
        let machine = Machine::new();
        let guest = &machine.guest;
        guest.put(0x1000, &[half]);
        guest.set_root(root);
        let asked = guest.unit.page_request(machine.device, page_request(Some(5), 0x5000, 7));
        if expected == 0xff {
            assert_eq!(asked, Ok(()));
            continue;
        }
        assert_eq!(code(asked), expected, "{root:x} {half:x}");
        let [address, high] = take_record(guest).unwrap();
        assert_eq!((address, high >> 32 & 0xff), (0x5000, u64::from(expected)));
        assert_eq!(machine.card_told(), ["response 5 7 f"]);
    }
}

// feature: 2.requests blocked without a record (TE 0, TTM 3)
#[test]
fn what_is_off_or_aborts_blocks_without_a_record() {
    // ADMS is shown: TTM=11 aborts.
    let caps = Capabilities::new(CAP, ECAP_CARDS | 1 << 52).unwrap();
    let mut guest = Guest::made(caps, |_| {});
    let device = guest.unit.attach(source_id(3), Attachment::Emulated).unwrap();
    guest.put_context(3, 0);
    guest.put(CONTEXT, &[0x1_001d]);
    let ask = |guest: &Guest| guest.unit.page_request(device, page_request(None, 0x5000, 7));
    assert_eq!(ask(&guest), Err(PageRequestError::Blocked), "translation is off");
    guest.enable();
    guest.set_root(0x1c00);
    assert_eq!(ask(&guest), Err(PageRequestError::Blocked), "abort mode");
    assert_eq!((take_record(&guest), guest.read(0x34, 4)), (None, 0));
    assert_eq!((guest.read(PQT, 8), guest.read(PRS, 4)), (0, 0));
}

// feature: 2.fault processing disable (FPD) for page requests
#[test]
fn fpd_suppresses_the_record_and_nothing_else() {
    // (context entry, PASID; code)
    let table: [(u64, Option<u32>, u8); 5] = [
        (0x1_000f, None, 0x47),
        (0x1_0017, Some(5), 0x45),
        (0x1_001f, Some(0x2000), 0x46),
        (0x1_001e, None, 0x41),
        (0x1_003f, None, 0x42),
    ];
    for (low, number, expected) in table {
        let machine = Machine::new();
        machine.guest.put(CONTEXT, &[low]);
        let asked =
            machine.guest.unit.page_request(machine.device, page_request(number, 0x5000, 7));
        assert_eq!(code(asked), expected);
        assert_eq!(take_record(&machine.guest), None, "{low:x}");
        assert_eq!(machine.card_told().len(), 1, "the device is told all the same");
    }
}

// feature: 4.page requests: not shown without ECAP.PRS
/// Page requests that the unit does not show: nothing happens at all.
#[test]
fn a_unit_without_page_requests_takes_none() {
    let mut guest = Guest::made(Capabilities::new(CAP, ECAP).unwrap(), |_| {});
    guest.enable();
    guest.put_context(3, 0);
    let device = guest.unit.attach(source_id(3), Attachment::Emulated).unwrap();
    let asked = guest.unit.page_request(device, page_request(None, 0x5000, 7));
    assert_eq!(asked, Err(PageRequestError::NotShown));
    for offset in [0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8] {
        guest.write(offset, 8, u64::MAX);
        assert_eq!(guest.read(offset, 8), 0, "{offset:x}");
    }
}

#[test]
fn a_device_that_is_gone_asks_for_nothing() {
    let machine = Machine::new();
    machine.guest.unit.release(machine.device).unwrap();
    let ask = || machine.guest.unit.page_request(machine.device, page_request(None, 0x5000, 7));
    assert!(matches!(ask(), Err(PageRequestError::UnknownDevice(_))));
    assert!(machine.guest.is_idle());
    assert!(matches!(ask(), Err(PageRequestError::UnknownDevice(_))));
    assert_eq!(machine.guest.unit.counts().page_requests_dropped, 0);
}

/// A response that nobody takes is nothing that a wait has to wait for, whenever it came up.
#[test]
fn an_unclaimed_response_holds_nothing_up() {
    let mut machine = Machine::new();
    let plain = machine.guest.emulate(5);
    machine.guest.put(0x2000 + 5 * 8 * 32, &[0x3_000d]);
    let handle = machine.guest.unit.dma(plain, None).unwrap();
    let guard = handle.guard();
    assert!(!machine.guest.invalidate(&[]));
    let asked = machine.guest.unit.page_request(plain, page_request(None, 0x5000, 7));
    assert_eq!(code(asked), 0x47);
    drop(guard);
    assert_eq!(machine.guest.unit.run(), Step::Idle);
    assert_eq!(machine.guest.get(STATUS) & 0xffff_ffff, 1);
}
