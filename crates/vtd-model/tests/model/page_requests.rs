//! Page requests. Reference, "Page requests" and "page request (32 B)"; codes 30, 32, 38 to 48.

use vtd_model::{Fault, PageRequest, PageRequestFate, PageRequestOutcome};

use super::guest::{CAP, Changes, ECAP, Guest, SOURCE};

const REQUEST: PageRequest = PageRequest {
    source_id: SOURCE,
    pasid: Some(1),
    address: 0x5000,
    read: true,
    write: false,
    execute: false,
    privileged: false,
    last: true,
    group: 0x1ff,
};

fn ask(guest: &mut Guest, request: &PageRequest) -> PageRequestOutcome {
    let memory = guest.memory.clone();
    guest.unit.page_request(&memory, request)
}

#[test]
fn queued() {
    let mut guest = Guest::scalable();
    guest.unit.page_requests.address = 0x5_0000;
    guest.unit.page_requests.tail = 0x20;
    let PageRequestOutcome { fate, failure } = ask(&mut guest, &REQUEST);
    let PageRequestFate::Queued { address, qwords, event, .. } = fate else { panic!("{fate:?}") };
    assert_eq!((address, qwords), (0x5_0020, [0x1_0018_0101, 0x5ffd, 0, 0]));
    assert!(event && !failure);
    assert_eq!(guest.unit.page_requests.tail, 0x40);
    let privileged = PageRequest {
        pasid: None,
        execute: true,
        privileged: true,
        write: true,
        last: false,
        group: 1,
        ..REQUEST
    };
    let PageRequestFate::Queued { qwords, event, .. } = ask(&mut guest, &privileged).fate else {
        panic!()
    };
    assert_eq!(qwords, [0x30_0000_0018_0001, 0x500b, 0, 0]);
    assert!(!event, "PPR is set already");
}

/// "The queue is full when the next tail equals the head"; dropped ones with LPIG=1 are answered, stop markers are not.
#[test]
fn full() {
    let mut guest = Guest::scalable();
    guest.unit.page_requests.address = 0x5_0000;
    guest.unit.page_requests.head = 0x20;
    assert_eq!(
        ask(&mut guest, &REQUEST),
        PageRequestOutcome { fate: PageRequestFate::Overflow { event: true }, failure: true }
    );
    guest.unit.page_requests.head = 0;
    assert_eq!(
        ask(&mut guest, &REQUEST),
        PageRequestOutcome { fate: PageRequestFate::Dropped, failure: true }
    );
    let marker = PageRequest { read: false, ..REQUEST };
    assert!(!ask(&mut guest, &marker).failure, "a stop marker");
    assert!(!ask(&mut guest, &PageRequest { last: false, ..REQUEST }).failure);
    // The last of 128 entries.
    guest.unit.page_requests.overflow = false;
    guest.unit.page_requests.tail = 0xfe0;
    guest.unit.page_requests.head = 0x20;
    assert!(matches!(
        ask(&mut guest, &REQUEST).fate,
        PageRequestFate::Queued { address: 0x5_0fe0, .. }
    ));
    assert_eq!(guest.unit.page_requests.tail, 0);
}

#[test]
fn codes() {
    type Row = (&'static str, u64, Option<u32>, Changes, u8);
    let rows: &[Row] = &[
        ("30", 0x1800, Some(1), &[], 0x30),
        ("32: legacy mode", 0x1000, Some(1), &[], 0x32),
        ("39", 0x1400, Some(1), &[(0x1000, 0)], 0x39),
        ("41", 0x1400, Some(1), &[(0x2300, 0)], 0x41),
        ("47: PRE=0", 0x1400, Some(1), &[(0x2300, 0x1_000d)], 0x47),
        ("47 before 45", 0x1400, Some(1), &[(0x2300, 0x1_0005)], 0x47),
        ("45: PASIDE=0", 0x1400, Some(1), &[(0x2300, 0x1_0015)], 0x45),
        ("46", 0x1400, Some(1 << 13), &[], 0x46),
        ("48", 0x1400, None, &[(0x2308, 1 << 13)], 0x48),
        ("the PASID-table entry does not matter", 0x1400, Some(9), &[], 0),
    ];
    for &(name, root, pasid, changes, expected) in rows {
        let mut guest = Guest::with(CAP, ECAP);
        guest.unit.root = root;
        for &(address, value) in changes {
            guest.set(address, value);
        }
        let fate = ask(&mut guest, &PageRequest { pasid, ..REQUEST }).fate;
        let code = match fate {
            PageRequestFate::Fault(Fault { code, recorded: true }) => code,
            _ => 0,
        };
        assert_eq!(code, expected, "{name}: {fate:?}");
    }
    let mut guest = Guest::scalable();
    guest.unit.translation = false;
    let blocked = PageRequestOutcome { fate: PageRequestFate::Blocked, failure: true };
    assert_eq!(ask(&mut guest, &REQUEST), blocked);
    guest.unit.translation = true;
    guest.unit.root = 0x1c00;
    assert_eq!(ask(&mut guest, &REQUEST), blocked, "abort mode");
}
