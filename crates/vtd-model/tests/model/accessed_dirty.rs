//! Accessed and dirty bits. Reference, "Tables" (A, D, EA) and the recordings' README ("in walk order, root first").

use vtd_model::{Access, Path, Request, Update};

use super::guest::{CAP, ECAP, Guest, SOURCE, code};

fn updates(guest: &Guest, pasid: u32, access: Access) -> Vec<(u64, u64, u64)> {
    let request = Request { source_id: SOURCE, pasid: Some(pasid), address: 0x5000, access };
    let mut path = Path::new();
    let answer = guest.unit.translate(&guest.memory, &request, &mut path);
    assert_eq!(code(answer), 0);
    path.updates.iter().map(|&Update { address, old, new }| (address, old, new)).collect()
}

#[test]
fn first_stage() {
    let mut guest = Guest::scalable();
    let tables = [
        (0x2_0000, 0x2_1007, 0x2_1027),
        (0x2_1000, 0x2_2007, 0x2_2027),
        (0x2_2000, 0x2_3007, 0x2_3027),
    ];
    let read = [&tables[..], &[(0x2_3028, 0x70_0007, 0x70_0027)]].concat();
    assert_eq!(updates(&guest, 1, Access::READ), read);
    let write = [&tables[..], &[(0x2_3028, 0x70_0007, 0x70_0067)]].concat();
    assert_eq!(updates(&guest, 1, Access::WRITE), write);
    for (address, _, new) in write {
        guest.set(address, new);
    }
    assert_eq!(updates(&guest, 1, Access::WRITE), [], "they are there");
    // EAFE sets EA (10) in every entry.
    guest.or(0x1_1050, 1 << 7);
    let extended: Vec<u64> = updates(&guest, 1, Access::READ).iter().map(|x| x.1 ^ x.2).collect();
    assert_eq!(extended, [1 << 10; 4]);
}

#[test]
fn second_stage_with_ssade() {
    let mut guest = Guest::scalable();
    assert_eq!(updates(&guest, 2, Access::WRITE), [], "SSADE=0");
    guest.or(0x1_1080, 1 << 9);
    let set: Vec<_> = updates(&guest, 2, Access::WRITE).iter().map(|x| (x.0, x.1 ^ x.2)).collect();
    assert_eq!(set, [(0x3_0000, 0x100), (0x3_1000, 0x100), (0x3_2000, 0x100), (0x3_3028, 0x300)]);
}

/// Nested: each first-stage entry is written through the second stage, whose page gets D where a bit is set.
#[test]
fn nested() {
    let mut guest = Guest::scalable();
    guest.or(0x1_10c0, 1 << 9);
    let set: Vec<_> = updates(&guest, 3, Access::READ).iter().map(|x| (x.0, x.1 ^ x.2)).collect();
    assert_eq!(
        set,
        [
            (0x3_0000, 0x100),
            (0x3_1000, 0x100),
            (0x3_2000, 0x100),
            (0x3_3100, 0x300),
            (0x2_0000, 0x20),
            (0x3_3108, 0x300),
            (0x2_1000, 0x20),
            (0x3_3110, 0x300),
            (0x2_2000, 0x20),
            (0x3_3118, 0x300),
            (0x2_3028, 0x20),
            // 700000 lies in a 2 MiB page.
            (0x3_2018, 0x100),
        ]
    );
}

/// Without ECAP.SMPWCS nothing is written: 90, 7C.
#[test]
fn not_coherent() {
    let mut guest = Guest::with(CAP, ECAP & !(1 << 48));
    assert_eq!(guest.code(1), 0x90);
    for address in [0x2_0000, 0x2_1000, 0x2_2000, 0x2_3028] {
        guest.or(address, 0x20);
    }
    assert_eq!(guest.code(1), 0);
    let write = guest.ask(Some(1), 0x5000, Access::WRITE);
    assert_eq!(code(write), 0x90, "D is missing");
    guest.or(0x1_1080, 1 << 9);
    assert_eq!(guest.code(2), 0x7c);
    guest.or(0x1_10c0, 1 << 9);
    assert_eq!(guest.code(3), 0x7c, "the second stage comes first");
}

/// A walk that faults sets none.
#[test]
fn fault() {
    let mut guest = Guest::scalable();
    guest.set(0x2_3028, 0x70_0005);
    let request =
        Request { source_id: SOURCE, pasid: Some(1), address: 0x5000, access: Access::WRITE };
    let mut path = Path::new();
    assert_eq!(code(guest.unit.translate(&guest.memory, &request, &mut path)), 0x85);
    assert_eq!(path.updates, []);
}

/// 91 and 7D: memory that cannot be written.
#[test]
fn cannot_be_set() {
    struct ReadOnly(Guest);
    impl vtd_model::Memory for ReadOnly {
        fn qword(&self, address: u64) -> Option<u64> {
            self.0.memory.qword(address)
        }
        fn writable(&self, _: u64) -> bool {
            false
        }
    }
    let mut guest = Guest::scalable();
    guest.or(0x1_1080, 1 << 9);
    let memory = ReadOnly(guest.clone());
    for (pasid, expected) in [(1, 0x91), (2, 0x7d)] {
        let request = Request {
            source_id: SOURCE,
            pasid: Some(pasid),
            address: 0x5000,
            access: Access::READ,
        };
        let answer = guest.unit.translate(&memory, &request, &mut Path::new());
        assert_eq!(code(answer), expected);
    }
}
