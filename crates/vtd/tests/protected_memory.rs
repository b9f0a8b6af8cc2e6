//! PMEN: what no DMA reaches.
#![cfg(test)]

mod guest;

use std::sync::Arc;

use guest::{CAP, ECAP, Guest, first_stage, pasid, pass_through, second_stage, translate};
use vtd::spec::{Capabilities, Gpa, Iova};
use vtd::{
    Access, DmaError, DmaPiece, RemappingUnit, ResetKind, RestoreOnto, UnitConfig, UnitState,
};

const PMEN: u64 = 0x64;
const PLMR: u64 = 1 << 5;
const PHMR: u64 = 1 << 6;
const EPM: u64 = 1 << 31;

fn made(cap: u64) -> Guest {
    Guest::made(Capabilities::new(cap, ECAP).unwrap(), |_| {})
}

/// 4000_0000 to 401F_FFFF low, 1_0000_0000 to 1_003F_FFFF high.
fn set_regions(guest: &Guest) {
    guest.write(0x68, 4, 0x4000_0000);
    guest.write(0x6c, 4, 0x4000_0000);
    guest.write(0x70, 8, 0x1_0000_0000);
    guest.write(0x78, 8, 0x1_0020_0000);
}

fn enable(guest: &Guest) {
    guest.write(PMEN, 4, EPM);
    assert_eq!(guest.read(PMEN, 4), EPM | 1);
}

// feature: 8.protected memory: registers (PMEN, PLMBASE to PHMLIMIT)
#[test]
fn registers() {
    let table = [
        // CAP besides, then what all ones leave: PLMBASE and PLMLIMIT, PHMBASE, PHMLIMIT
        (0, [0_u64, 0, 0]),
        (PLMR, [0xffe0_0000_ffe0_0000, 0, 0]),
        (PHMR, [0, 0xffff_ffe0_0000, 0xffff_ffe0_0000]),
        (PLMR | PHMR, [0xffe0_0000_ffe0_0000, 0xffff_ffe0_0000, 0xffff_ffe0_0000]),
    ];
    for (shown, values) in table {
        let guest = made(CAP | shown);
        for (offset, value) in [0x68, 0x70, 0x78].into_iter().zip(values) {
            // 2 MiB granularity shows when all ones are written.
            guest.write(offset, 8, u64::MAX);
            assert_eq!(guest.read(offset, 8), value, "{shown:x} {offset:x}");
            guest.write(offset, 8, 0);
            guest.write(offset + 4, 4, u64::MAX);
            guest.write(offset, 4, u64::MAX);
            assert_eq!(guest.read(offset, 8), value, "{shown:x} {offset:x}, by halves");
        }
        guest.write(PMEN, 4, u64::MAX);
        let status = if shown == 0 { 0 } else { EPM | 1 };
        assert_eq!(guest.read(PMEN, 4), status);
        // What is protected stays as it is.
        for offset in [0x68, 0x70, 0x78] {
            guest.write(offset, 8, 0x1234_5678_1234_5678);
        }
        assert_eq!([0x68, 0x70, 0x78].map(|offset| guest.read(offset, 8)), values);
        guest.write(PMEN, 4, 0x7fff_ffff);
        assert_eq!(guest.read(PMEN, 4), 0);
        guest.write(0x68, 4, 0);
        assert_eq!(guest.read(0x68, 4), 0);
    }
}

/// First bytes and last bytes of what is protected, and their neighbours.
const PLACES: [(u64, bool); 10] = [
    (0x3fff_ffff, false),
    (0x4000_0000, true),
    (0x401f_ffff, true),
    (0x4020_0000, false),
    (0xffff_ffff, false),
    (0x1_0000_0000, true),
    (0x1_001f_ffff, true),
    (0x1_003f_ffff, true),
    (0x1_0040_0000, false),
    (0x5000, false),
];

// feature: 8.protected memory: DMA blocked without a record, whatever TE is
#[test]
fn no_dma_reaches_a_region() {
    for what in ["off", "pass-through", "first-stage", "second-stage", "pasid"] {
        let mut guest = made(CAP | PLMR | PHMR);
        guest.put_context(3, 0);
        if what != "off" {
            guest.enable();
        }
        for (place, _) in PLACES {
            let page = place & !0xfff;
            guest.map_first_stage(0x20_0000, page & 0x7fff_f000 | 1 << 31, page, 7);
        }
        let number = u64::from(what == "pasid");
        let mut tables = 0x20_0000;
        let id = guest.emulate(3);
        for (place, is_protected) in PLACES {
            // Each address has a table of its own, through which one page leads there.
            tables += 0x1_0000;
            let page = place & !0xfff;
            let iova = match what {
                "off" | "pass-through" => place,
                _ => 0x7000 | place & 0xfff,
            };
            match what {
                "pass-through" => guest.put_entry(3, number, &pass_through(5)),
                "second-stage" => {
                    guest.map_second_stage(tables, 0x7000, page, 3);
                    guest.put_entry(3, number, &second_stage(tables, 5));
                }
                _ => {
                    guest.map_first_stage(tables, 0x7000, page, 7);
                    guest.put_entry(3, number, &first_stage(tables, 5));
                }
            }
            if what != "off" {
                assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
            }
            let slot = (what == "pasid").then(|| pasid(1));
            let handle = guest.unit.dma(id, slot).unwrap();
            let ask = |access| translate(&handle, iova, access);
            // Before, cached then; while it is protected; and after.
            assert_eq!(ask(Access::READ), Ok(place), "{what}");
            set_regions(&guest);
            enable(&guest);
            for access in [Access::READ, Access::WRITE] {
                let expected = if is_protected { Err(DmaError::Blocked) } else { Ok(place) };
                assert_eq!(ask(access), expected, "{what} {place:x}");
            }
            guest.write(PMEN, 4, 0);
            assert_eq!(ask(Access::WRITE), Ok(place), "{what}");
            assert_eq!((guest.read(0x34, 4), guest.read(0x22c, 4)), (0, 0), "nothing is recorded");
        }
    }
}

// feature: 8.protected memory: DMA blocked without a record, whatever TE is
/// Without PLMR or PHMR its region does not exist; a limit below the base protects nothing.
#[test]
fn regions_that_protect_nothing() {
    let table = [
        // CAP, base and limit of both, addresses that are blocked
        (PLMR, [0x4000_0000, 0x4000_0000], [0x1_0000_0000, 0x1_0000_0000], vec![0x4000_0000]),
        (PHMR, [0x4000_0000, 0x4000_0000], [0x1_0000_0000, 0x1_0000_0000], vec![0x1_0000_0000]),
        (PLMR | PHMR, [0x4020_0000, 0x4000_0000], [0x1_0020_0000, 0x1_0000_0000], vec![]),
        // All zero is the first 2 MiB.
        (PLMR | PHMR, [0, 0], [0, 0], vec![0x5000]),
        (PHMR, [0, 0], [0, u64::MAX], vec![0x5000, 0x4000_0000, 0x4010_0000, 0x1_0000_0000]),
    ];
    for (cap, low, high, blocked) in table {
        let guest = made(CAP | cap);
        let handle = guest.unit.dma(guest.emulate(3), None).unwrap();
        guest.write(0x68, 8, low[0] | low[1] << 32);
        guest.write(0x70, 8, high[0]);
        guest.write(0x78, 8, high[1]);
        enable(&guest);
        for place in [0x5000, 0x4000_0000, 0x4010_0000, 0x1_0000_0000] {
            let found = translate(&handle, place, Access::READ);
            let is_blocked = blocked.contains(&place) || blocked.contains(&(place & !0x1f_ffff));
            assert_eq!(found.is_err(), is_blocked, "{cap:x} {low:x?} {place:x}");
        }
    }
}

// feature: 8.protected memory: large pages and ranges
#[test]
fn large_pages_and_ranges() {
    let mut guest = made(CAP | PLMR | PHMR);
    guest.enable();
    guest.put_context(3, 0);
    // A page of 1 GiB at 4000_0000, of which the first 2 MiB are protected, and the page behind 1_0000_0000 for contrast.
    guest.put(0x20_0000, &[0x20_1003]);
    guest.put(0x20_1008, &[0x4000_0083]);
    guest.put_entry(3, 0, &second_stage(0x20_0000, 5));
    assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
    let handle = guest.unit.dma(guest.emulate(3), None).unwrap();
    set_regions(&guest);
    let page = |iova| {
        handle.with_guard(|guard| {
            guard
                .translate(Iova(iova), Access::READ)
                .map(|found| (found.page(), found.contiguous()))
        })
    };
    assert_eq!(page(0x4020_0000), Ok(((Gpa(0x4000_0000), 1 << 30), 0x3fe0_0000)));
    enable(&guest);
    for _ in 0..2 {
        assert_eq!(page(0x401f_f000), Err(DmaError::Blocked));
        // Cut to what certainly lies outside.
        assert_eq!(page(0x4020_0000), Ok(((Gpa(0x4020_0000), 1 << 21), 1 << 21)));
        assert_eq!(page(0x7fff_fff0), Ok(((Gpa(0x7fe0_0000), 1 << 21), 0x10)));
    }
    // A request over several pages is checked page by page.
    let range = |iova, length| {
        let mut pieces = Vec::new();
        let end = handle.with_guard(|guard| {
            guard.translate_range(Iova(iova), length, Access::READ, |piece| pieces.push(piece))
        });
        (pieces, end)
    };
    let piece = |address, length| DmaPiece { address: Gpa(address), length };
    assert_eq!(range(0x4030_0000, 0x30_0000), (vec![piece(0x4030_0000, 0x30_0000)], Ok(())));
    assert_eq!(range(0x401f_fff0, 0x20), (vec![], Err(DmaError::Blocked)));
    guest.write(PMEN, 4, 0);
    // With the region at the end of the range.
    guest.write(0x68, 8, 0x4040_0000_4040_0000);
    enable(&guest);
    let (pieces, end) = range(0x403f_0000, 0x2_0000);
    assert_eq!((pieces, end), (vec![piece(0x403f_0000, 0x1_0000)], Err(DmaError::Blocked)));
}

// feature: 8.protected memory: DMA blocked without a record, whatever TE is
/// The unit reads its own tables, its queue and writes its status wherever they are.
#[test]
fn the_units_own_accesses_are_not_concerned() {
    let mut guest = made(CAP | PHMR);
    // All of memory.
    guest.write(0x78, 8, u64::MAX);
    enable(&guest);
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 0, &first_stage(0x10_0000, 5));
    guest.map_first_stage(0x10_0000, 0x5000, 0x7000, 7);
    assert!(guest.invalidate(&[guest::CONTEXT_GLOBAL]));
    let handle = guest.unit.dma(guest.emulate(3), None).unwrap();
    assert_eq!(translate(&handle, 0x5000, Access::READ), Err(DmaError::Blocked));
    assert_eq!(guest.get(0x10_3028), 0x7027, "the accessed bit is set");
    assert_eq!(guest::fault_of(&handle, 0x6000), 0x71, "and faults are faults");
}

// feature: 8.protected memory: status follows requests under way (EPM, PRS)
#[test]
fn prs_waits_for_guards() {
    let guest = made(CAP | PLMR | PHMR);
    set_regions(&guest);
    let handle = guest.unit.dma(guest.emulate(3), None).unwrap();
    let ask = || translate(&handle, 0x4000_0000, Access::WRITE);
    let guard = handle.guard();
    assert!(guard.translate(Iova(0x4000_0000), Access::WRITE).is_ok());
    guest.write(PMEN, 4, EPM);
    assert_eq!(guest.read(PMEN, 4), EPM);
    assert_eq!(ask(), Err(DmaError::Blocked), "new requests are blocked at once");
    // Saved in between, it follows in the restored unit.
    let state = guest.unit.save().unwrap();
    drop(guard);
    assert!(guest.is_idle());
    assert_eq!(guest.read(PMEN, 4), EPM | 1);
    let guard = handle.guard();
    guest.write(PMEN, 4, 0);
    assert_eq!(guest.read(PMEN, 4), 1);
    assert!(ask().is_ok());
    // Changed again before it is told: the last word counts.
    guest.write(PMEN, 4, EPM);
    assert_eq!(guest.read(PMEN, 4), EPM | 1);
    assert_eq!(ask(), Err(DmaError::Blocked));
    drop(guard);
    assert!(guest.is_idle());
    assert_eq!(guest.read(PMEN, 4), EPM | 1);
    let unit = restored(&guest, &state);
    let _left = unit.run();
    assert_eq!(unit.read(PMEN, 4), EPM | 1);
}

fn restored(guest: &Guest, state: &UnitState) -> RemappingUnit {
    let caps = Capabilities::new(CAP | PLMR | PHMR, ECAP).unwrap();
    let config = UnitConfig::new(caps, Arc::clone(&guest.memory) as _);
    let text = serde_json::to_string(state).unwrap();
    let state: UnitState = serde_json::from_str(&text).unwrap();
    RemappingUnit::restore(config, &state, RestoreOnto::SameHost).unwrap()
}

// feature: 9.protected memory
#[test]
fn save_restore_and_reset() {
    let mut guest = made(CAP | PLMR | PHMR);
    set_regions(&guest);
    enable(&guest);
    let id = guest.emulate(3);
    let registers = |guest: &Guest| [0x60, 0x68, 0x70, 0x78].map(|offset| guest.read(offset, 8));
    let before = registers(&guest);
    assert_eq!(before, [(EPM | 1) << 32, 0x4000_0000_4000_0000, 0x1_0000_0000, 0x1_0020_0000]);
    guest.unit = restored(&guest, &guest.unit.save().unwrap());
    assert_eq!(registers(&guest), before);
    let handle = guest.unit.dma(id, None).unwrap();
    assert_eq!(translate(&handle, 0x4000_0000, Access::READ), Err(DmaError::Blocked));
    for kind in [ResetKind::Warm, ResetKind::PowerOn] {
        set_regions(&guest);
        enable(&guest);
        guest.unit.reset(kind);
        assert!(guest.is_idle());
        assert_eq!(registers(&guest), [0; 4], "{kind:?}");
        assert!(translate(&handle, 0x4000_0000, Access::READ).is_ok());
    }
}

// feature: 8.write-buffer flush (WBF, CAP.RWBF)
#[test]
fn write_buffer_flush() {
    for cap in [CAP, CAP | 1 << 4] {
        let mut guest = made(cap);
        guest.enable();
        for _ in 0..2 {
            // There is no buffer, so the flush is over at once; other commands are not disturbed.
            guest.write(0x18, 4, 0x8c00_0000);
            assert_eq!(guest.read(0x1c, 4), 0xc400_0000, "{cap:x}");
        }
        assert!(guest.invalidate(&[guest::IOTLB_GLOBAL]));
    }
}
