//! DMA of emulated devices: handles, guards, translations.
#![cfg(test)]

mod guest;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guest::{
    CAP, CONTEXT_GLOBAL, ECAP, Guest, PASID_GLOBAL, STATUS, fault_of, first_stage, pasid_iotlb,
    pasid_selective, pass_through, second_stage, translate,
};
use vtd::spec::{Capabilities, Gpa, Iova};
use vtd::{Access, DmaError, DmaPiece, Effect, Step, Wake};

/// What a request comes to, in a word.
fn outcome(answer: Result<u64, DmaError>) -> String {
    match answer {
        Ok(address) => format!("{address:x}"),
        Err(DmaError::Fault(fault)) if fault.is_recorded() => {
            format!("fault {:x}", fault.reason.code())
        }
        Err(DmaError::Fault(fault)) => format!("unrecorded {:x}", fault.reason.code()),
        Err(DmaError::Blocked) => "blocked".into(),
        Err(DmaError::Interrupt) => "interrupt".into(),
        Err(DmaError::Released) => "released".into(),
        Err(other) => format!("{other:?}"),
    }
}

// feature: 1.requests with PASID (PASIDE, PDTS)
// feature: 1.translation off (TE)
// feature: 8.abort mode (TTM 3, ECAP.ADMS)
#[test]
fn modes() {
    // Abort mode needs ADMS.
    let adms = ECAP | 1 << 52;
    let unusable = ["fault 30", "fault 30", "fault 30", "fault 30", "interrupt", "fault 30"];
    let table: [(u64, Option<u64>, [&str; 6]); 7] = [
        // ECAP, RTADDR if translation is on, then: read without PASID, write, read with PASID 1, read of PASID 9,
        // interrupt write, read of the interrupt range
        (ECAP, None, ["5123", "5123", "blocked", "blocked", "interrupt", "interrupt"]),
        (
            ECAP,
            Some(0x1000),
            ["fault a", "fault a", "fault 31", "fault 31", "interrupt", "fault e"],
        ),
        (ECAP, Some(0x1400), ["7123", "7123", "9123", "fault 59", "interrupt", "fault 87"]),
        (ECAP, Some(0x1800), unusable),
        (ECAP, Some(0x1c00), unusable),
        // An interrupt request is no DMA, so it is not aborted.
        (adms, Some(0x1c00), ["blocked", "blocked", "blocked", "blocked", "interrupt", "blocked"]),
        // No scalable mode, no mode 1.
        (0xf46, Some(0x1400), unusable),
    ];
    for (ecap, root, expected) in table {
        let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
        guest.put_context(3, 0);
        guest.put_entry(3, 0, &second_stage(0x10_0000, 4));
        guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
        guest.map_second_stage(0x10_0000, 0x5000, 0x7000, 3);
        guest.map_first_stage(0x20_0000, 0x5000, 0x9000, 7);
        if let Some(root) = root {
            guest.set_root(root);
            guest.command(0x8000_0000);
        }
        let device = guest.emulate(3);
        let [none, one, nine] = [None, Some(1), Some(9)]
            .map(|pasid| guest.unit.dma(device, pasid.map(guest::pasid)).unwrap());
        let requests = [
            (&none, 0x5123, Access::READ),
            (&none, 0x5123, Access::WRITE),
            (&one, 0x5123, Access::READ),
            (&nine, 0x5123, Access::READ),
            (&none, 0xfee0_0000, Access::WRITE),
            (&none, 0xfeef_fffc, Access::READ),
        ];
        for ((handle, iova, access), expected) in requests.into_iter().zip(expected) {
            // A second time, when it may be cached.
            for _ in 0..2 {
                let found = outcome(translate(handle, iova, access));
                assert_eq!(found, expected, "{ecap:x} {root:x?} {handle:?} {iova:x} {access:?}");
                let recorded = guest.read(0x22c, 4) >> 31 == 1;
                assert_eq!(recorded, expected.starts_with("fault"), "{root:x?} {handle:?}");
                guest.write(0x22c, 4, 0x8000_0000);
            }
        }
    }
}

// feature: 1.interrupt address range (FEE0_0000 to FEEF_FFFF)
#[test]
fn the_interrupt_range_in_a_request_with_pasid_is_an_address() {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
    guest.put_entry(3, 2, &pass_through(5));
    guest.map_first_stage(0x20_0000, 0xfee0_0000, 0x7000, 7);
    guest.map_first_stage(0x20_0000, 0x5000, 0xfee0_1000, 7);
    let device = guest.emulate(3);
    let dma = |pasid| guest.unit.dma(device, Some(guest::pasid(pasid))).unwrap();
    assert_eq!(translate(&dma(1), 0xfee0_0004, Access::WRITE), Ok(0x7004));
    // What yields an interrupt address is blocked, cached or not.
    for _ in 0..2 {
        assert_eq!(fault_of(&dma(1), 0x5000), 0x87);
        assert_eq!(fault_of(&dma(2), 0xfee0_0000), 0x87);
    }
}

// feature: 2.fault processing disable (FPD) of every entry
#[test]
fn fpd_suppresses_the_record_alone() {
    // Where FPD is set, what is broken, the code, whether it is recorded.
    let table: [(&str, &str, u8, bool); 9] = [
        ("", "entry", 0x59, true),
        ("context", "entry", 0x59, false),
        ("directory", "entry", 0x59, false),
        ("entry", "entry", 0x59, false),
        ("directory", "directory", 0x51, false),
        ("context", "directory", 0x51, false),
        ("context", "context", 0x41, false),
        ("context", "page", 0x71, false),
        ("entry", "page", 0x71, false),
    ];
    for (fpd, broken, code, recorded) in table {
        let mut guest = Guest::new();
        guest.enable();
        guest.put_context(3, 0);
        guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
        guest.put(0x20_0000, &[0; 512]);
        let places = [
            ("context", 0x2000 + 0x18 * 32),
            ("directory", Guest::directory(3)),
            ("entry", Guest::entry_place(3, 1)),
        ];
        for (name, place) in places {
            let clear = u64::from(broken == name);
            let set = u64::from(fpd == name) << 1;
            guest.put(place, &[guest.get(place) & !clear | set]);
        }
        let device = guest.emulate(3);
        let handle = guest.unit.dma(device, Some(guest::pasid(1))).unwrap();
        assert_eq!(fault_of(&handle, 0x5000), code, "{fpd} {broken}");
        assert_eq!(guest.read(0x34, 4) == 2, recorded, "{fpd} {broken}");
        let counts = guest.unit.counts();
        assert_eq!(counts.faults_recorded, u64::from(recorded));
        assert_eq!(counts.faults_suppressed, u64::from(!recorded));
        assert_eq!(guest.interrupts().len(), usize::from(recorded));
    }
}

// feature: 1.requests without PASID (RID_PASID, RID_PRIV)
#[test]
fn rid_pasid_and_rid_priv() {
    // RPRIVS shown, and SRS so that privilege can be asked for.
    let ecap = ECAP | 1 << 53 | 1 << 31;
    for (privileged, entry, page, expected) in [
        // SRE set: a supervisor page is served to a supervisor alone.
        (false, 0x1, 0x3, "fault 81"),
        (true, 0x1, 0x3, "7000"),
        (true, 0x0, 0x7, "fault 5d"),
        (false, 0x0, 0x7, "7000"),
        (true, 0x1, 0x7, "7000"),
    ] {
        let mut guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
        guest.enable();
        guest.put_context(3, 7 | u64::from(privileged) << 20);
        guest.put_entry(3, 7, &[0x41, 5, 0x20_0000 | entry]);
        guest.map_first_stage(0x20_0000, 0x5000, 0x7000, page);
        let device = guest.emulate(3);
        let handle = guest.unit.dma(device, None).unwrap();
        for _ in 0..2 {
            let found = outcome(translate(&handle, 0x5000, Access::READ));
            assert_eq!(found, expected, "{privileged} {entry:x} {page:x}");
        }
        // The record is of a request without PASID.
        if expected.starts_with("fault") {
            assert_eq!(guest.read(0x228, 8) >> 31 & 1, 0);
        }
    }
    // Without RPS RID_PASID is taken as 0.
    let mut guest = Guest::made(Capabilities::new(CAP, ECAP & !(1 << 49)).unwrap(), |_| {});
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 0, &pass_through(5));
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x5000));
}

// feature: 7.devices: attach, release and retry
#[test]
fn handles_end_with_their_device() {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 0, &pass_through(5));
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    let other = guest.emulate(4);
    let other = guest.unit.dma(other, None).unwrap();
    let guard = handle.guard();
    let kept = guard.translate(Iova(0x5000), Access::READ).unwrap();
    let others = other.guard();
    guest.unit.release(device).unwrap();
    assert!(guest.unit.release(device).is_err());
    assert!(guest.unit.dma(device, None).is_err());
    assert_eq!(guest.unit.run(), Step::Waiting, "the guard of the device is open");
    assert!(guest.effects().is_empty());
    assert_eq!(kept.address(), Gpa(0x5000));
    assert!(matches!(guard.translate(Iova(0x5000), Access::READ), Err(DmaError::Released)));
    // Its source-id is taken until it is gone.
    assert!(guest.unit.attach(guest::source_id(3), vtd::Attachment::Emulated).is_err());
    drop(guard);
    assert_eq!(guest.unit.run(), Step::Idle);
    let effects = guest.effects();
    assert!(matches!(effects[..], [Effect::Released(released)] if released == device));
    drop(others);
    let again = guest.emulate(3);
    assert_ne!(again, device);
    let new = guest.unit.dma(again, None).unwrap();
    assert_eq!(translate(&new, 0x5000, Access::READ), Ok(0x5000));
    assert_eq!(translate(&handle, 0x5000, Access::READ), Err(DmaError::Released));
}

// feature: 1.transfers over many pages
#[test]
fn ranges_join_neighbours() {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
    // 5000 and 6000 lead to neighbours, 7000 elsewhere, 8000 behind that, a000 to behind 8000's; 9000 nowhere.
    for (iova, page) in
        [(0x5000, 0x10_0000), (0x6000, 0x10_1000), (0x7000, 0x30_0000), (0x8000, 0x30_1000)]
    {
        guest.map_first_stage(0x20_0000, iova, page, 7);
    }
    guest.map_first_stage(0x20_0000, 0xa000, 0x30_2000, 7);
    // A 2 MiB page at 200000, and the one behind it.
    guest.put(0x20_2000 + 8, &[0x4000_0087, 0x4020_0087]);
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, Some(guest::pasid(1))).unwrap();
    type Row = (u64, u64, &'static [(u64, u64)], &'static str);
    let table: [Row; 9] = [
        (0x5000, 0, &[], ""),
        (0x5ff8, 8, &[(0x10_0ff8, 8)], ""),
        (0x5ff8, 9, &[(0x10_0ff8, 9)], ""),
        (0x5000, 0x2000, &[(0x10_0000, 0x2000)], ""),
        (0x5800, 0x3000, &[(0x10_0800, 0x1800), (0x30_0000, 0x1800)], ""),
        (0x6fff, 2, &[(0x10_1fff, 1), (0x30_0000, 1)], ""),
        (0x8001, 0x2000, &[(0x30_1001, 0xfff)], "fault 71"),
        (0x20_0123, 0x30_0000, &[(0x4000_0123, 0x30_0000)], ""),
        (0x9000, 1, &[], "fault 71"),
    ];
    for (iova, length, expected, error) in table {
        let mut pieces = Vec::new();
        let answer = handle.with_guard(|guard| {
            guard.translate_range(Iova(iova), length, Access::WRITE, |piece| pieces.push(piece))
        });
        let expected: Vec<_> = expected
            .iter()
            .map(|(address, length)| DmaPiece { address: Gpa(*address), length: *length })
            .collect();
        assert_eq!(pieces, expected, "{iova:x} {length:x}");
        let error = Some(error).filter(|error| !error.is_empty()).map(String::from);
        assert_eq!(answer.err().map(|error| outcome(Err(error))), error, "{iova:x} {length:x}");
    }
}

// feature: 1.interrupt address range (FEE0_0000 to FEEF_FFFF)
#[test]
fn a_range_in_a_large_page_stops_at_the_interrupt_range() {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    for (pasid, table) in [(0, 0x20_0000), (1, 0x30_0000), (2, 0x40_0000)] {
        guest.put_entry(3, pasid, &first_stage(table, 5));
        guest.map_first_stage(table, 0x5000, 0x7000, 7);
    }
    // Pages of 1 GiB: two over the interrupt range, and one that leads over it.
    guest.put(0x20_1000 + 3 * 8, &[0x4000_0087]);
    guest.put(0x30_1000 + 3 * 8, &[0x4000_0087]);
    guest.put(0x40_1000 + 8, &[0xc000_0087]);
    let device = guest.emulate(3);
    type Row = (Option<u32>, u64, Access, &'static [(u64, u64)], &'static str);
    let table: [Row; 8] = [
        // 0x2000 bytes from
        (None, 0xfedf_f000, Access::WRITE, &[(0x7edf_f000, 0x1000)], "interrupt"),
        (None, 0xfedf_f000, Access::READ, &[(0x7edf_f000, 0x1000)], "fault 87"),
        (None, 0xfedf_d000, Access::WRITE, &[(0x7edf_d000, 0x2000)], ""),
        (None, 0xfef0_0000, Access::WRITE, &[(0x7ef0_0000, 0x2000)], ""),
        // With PASID they are addresses.
        (Some(1), 0xfedf_f000, Access::WRITE, &[(0x7edf_f000, 0x2000)], ""),
        (Some(2), 0x7edf_f000, Access::WRITE, &[(0xfedf_f000, 0x1000)], "fault 87"),
        (Some(2), 0x7edf_d000, Access::WRITE, &[(0xfedf_d000, 0x2000)], ""),
        (Some(2), 0x7ef0_0000, Access::WRITE, &[(0xfef0_0000, 0x2000)], ""),
    ];
    // Walked first, then from the cache.
    for (pasid, iova, access, expected, error) in table.into_iter().chain(table) {
        let handle = guest.unit.dma(device, pasid.map(guest::pasid)).unwrap();
        let mut pieces = Vec::new();
        let answer = handle.with_guard(|guard| {
            guard.translate_range(Iova(iova), 0x2000, access, |piece| {
                pieces.push((piece.address.0, piece.length));
            })
        });
        assert_eq!(pieces, expected, "{pasid:?} {iova:x} {access:?}");
        let error = Some(error).filter(|error| !error.is_empty()).map(String::from);
        assert_eq!(answer.err().map(|error| outcome(Err(error))), error, "{pasid:?} {iova:x}");
        guest.write(0x22c, 4, 0x8000_0000);
    }
}

// feature: 1.transfers over many pages
#[test]
fn a_range_over_the_end_of_the_address_space_wraps() {
    let guest = Guest::new();
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    let mut pieces = Vec::new();
    let answer = handle.with_guard(|guard| {
        guard.translate_range(Iova(u64::MAX - 7), 16, Access::READ, |piece| {
            pieces.push((piece.address.0, piece.length));
        })
    });
    assert_eq!(answer, Ok(()));
    assert_eq!(pieces.iter().map(|(_, length)| length).sum::<u64>(), 16);
    assert_eq!(pieces[0].0, u64::MAX - 7);
}

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

// feature: 3.queue: waits follow DMA under way
#[test]
fn a_guard_defers_what_follows_its_drop() {
    let wakes = Arc::new(Wakes::default());
    let wake = Arc::clone(&wakes);
    let mut guest = Guest::made(guest::caps(), |config| config.wake = Some(wake));
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
    guest.map_first_stage(0x20_0000, 0x5000, 0x7000, 7);
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, Some(guest::pasid(1))).unwrap();
    let guard = handle.guard();
    let found = guard.translate(Iova(0x5000), Access::READ).unwrap().address();
    assert_eq!(found, Gpa(0x7000));
    guest.map_first_stage(0x20_0000, 0x5000, 0x9000, 7);
    assert!(!guest.invalidate(&[pasid_iotlb(5, 1)]));
    // Within the same guard the new address is seen by now, and so it is in a later one.
    assert_eq!(guard.translate(Iova(0x5000), Access::READ).unwrap().address(), Gpa(0x9000));
    let later = handle.guard();
    assert_eq!(later.translate(Iova(0x5000), Access::READ).unwrap().address(), Gpa(0x9000));
    let before = wakes.0.load(Ordering::SeqCst);
    drop(guard);
    assert_eq!(wakes.0.load(Ordering::SeqCst), before + 1, "dropping it wakes");
    assert_eq!(guest.unit.run(), Step::Idle, "the later guard holds nothing up");
    assert_eq!(guest.get(STATUS), 1);
    let before = wakes.0.load(Ordering::SeqCst);
    drop(later);
    assert_eq!(wakes.0.load(Ordering::SeqCst), before, "nobody waited for this one");
}

// feature: 3.queue: waits follow DMA under way
#[test]
fn a_guard_kept_too_long_is_named_once() {
    let mut guest = Guest::made(guest::caps(), |config| {
        config.guard_patience = Duration::from_millis(5);
    });
    guest.enable();
    let [three, four] = [3, 4].map(|device| guest.emulate(device));
    let handle = guest.unit.dma(three, None).unwrap();
    let other = guest.unit.dma(four, None).unwrap();
    let guard = handle.guard();
    std::thread::sleep(Duration::from_millis(10));
    assert!(guest.is_idle());
    assert!(guest.effects().is_empty(), "nothing waits for it");
    assert!(!guest.invalidate(&[PASID_GLOBAL]));
    let later = other.guard();
    assert!(guest.effects().is_empty(), "it has been open for long, but not in the way");
    std::thread::sleep(Duration::from_millis(10));
    for _ in 0..3 {
        assert_eq!(guest.unit.run(), Step::Waiting);
    }
    let held: Vec<_> = guest.effects().iter().map(|effect| format!("{effect:?}")).collect();
    let expected = format!("{:?}", Effect::GuardHeldLong(three));
    assert_eq!(held, [expected], "the guard in the way, once, and no other");
    drop(guard);
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!(guest.get(STATUS), 1);
    drop(later);
}

/// Two threads translate while the tables change, by way of `change`, which is given the number of the change and returns the
/// descriptor that tells of it. After a wait's status is seen no translation begun later gives what was right before, and no
/// guard from before is open.
fn race(change: impl Fn(&mut Guest, u64) -> [u64; 4], places: [u64; 2]) {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    change(&mut guest, 0);
    let device = guest.emulate(3);
    // The last change that a wait has confirmed, and the last begun.
    let confirmed = AtomicU64::new(0);
    let begun = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    // The change under way when each thread opened its guard; MAX when none is open.
    let open = [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)];
    let translations = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for mine in &open {
            let handle = guest.unit.dma(device, Some(guest::pasid(1))).unwrap();
            let (confirmed, begun, stop, translations) = (&confirmed, &begun, &stop, &translations);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let guard = handle.guard();
                    mine.store(begun.load(Ordering::SeqCst), Ordering::SeqCst);
                    for _ in 0..3 {
                        let least = confirmed.load(Ordering::SeqCst);
                        let found =
                            guard.translate(Iova(0x5000), Access::READ).unwrap().address().0;
                        let most = begun.load(Ordering::SeqCst);
                        let right = (least..=most).any(|n| places[(n % 2) as usize] == found);
                        assert!(right, "{found:x} of {least} to {most}");
                        translations.fetch_add(1, Ordering::Relaxed);
                    }
                    mine.store(u64::MAX, Ordering::SeqCst);
                    drop(guard);
                }
            });
        }
        let until = Instant::now() + Duration::from_millis(300);
        let mut number = 0;
        // On a busy machine it takes longer until there has been a race at all.
        while Instant::now() < until || number < 20 || translations.load(Ordering::Relaxed) < 100 {
            number += 1;
            begun.store(number, Ordering::SeqCst);
            let descriptor = change(&mut guest, number);
            let mut seen = guest.invalidate(&[descriptor]);
            while !seen {
                let _step = guest.unit.run();
                seen = guest.get(STATUS) & 0xffff_ffff == number;
            }
            // A guard that was open before this change began is closed by now.
            for mine in &open {
                let since = mine.load(Ordering::SeqCst);
                assert!(since >= number, "a guard of {since} is open at the status of {number}");
            }
            confirmed.store(number, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    });
}

const PLACES: [u64; 2] = [0x7000, 0x9000];

// feature: 1.walks: while the guest changes its tables
#[test]
fn translations_race_with_changes_of_the_page_table() {
    race(
        |guest, number| {
            guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
            guest.map_first_stage(0x20_0000, 0x5000, PLACES[(number % 2) as usize], 7);
            pasid_iotlb(5, 1)
        },
        PLACES,
    );
}

// feature: 1.walks: while the guest changes its tables
#[test]
fn translations_race_with_changes_of_the_pasid_entry() {
    race(
        |guest, number| {
            guest.map_first_stage(0x20_0000, 0x5000, PLACES[0], 7);
            guest.map_first_stage(0x30_0000, 0x5000, PLACES[1], 7);
            // In one piece: the page table is all that differs.
            let table = [0x20_0000, 0x30_0000][(number % 2) as usize];
            guest.put(Guest::entry_place(3, 1) + 16, &[table]);
            guest.put(Guest::entry_place(3, 1), &[0x41, 5]);
            pasid_selective(5, 1)
        },
        PLACES,
    );
}

/// 00:03.0 and 00:04.0, each with a directory of its own that leads to another place.
fn put_two_devices(guest: &Guest) {
    for (device, table, place) in [(3, 0x20_0000, PLACES[0]), (4, 0x30_0000, PLACES[1])] {
        guest.put_context(device, 0);
        guest.put_entry(device, 1, &first_stage(table, 5));
        guest.map_first_stage(table, 0x5000, place, 7);
    }
}

// feature: 1.walks: while the guest changes its tables
#[test]
fn translations_race_with_changes_of_the_context_entry() {
    race(
        |guest, number| {
            if number == 0 {
                put_two_devices(guest);
            }
            let directory = Guest::directory(3 + number % 2);
            guest.put(0x2000 + 0x18 * 32, &[directory | 9]);
            CONTEXT_GLOBAL
        },
        PLACES,
    );
}

// feature: 1.walks: while the guest changes its tables
#[test]
fn translations_race_with_changes_of_the_root_table() {
    race(
        |guest, number| {
            if number == 0 {
                put_two_devices(guest);
                // A second root table at 4000, with the directory of 00:04.0 for 00:03.0.
                guest.put(0x4000, &[0x5001, 0]);
                guest.put(0x5000, &[0; 512]);
                guest.put(0x5000 + 0x18 * 32, &[Guest::directory(4) | 9, 0, 0, 0]);
            }
            guest.write(0x20, 8, [0x1400, 0x4400][(number % 2) as usize]);
            guest.write(0x18, 4, 0xc400_0000);
            while guest.read(0x1c, 4) != 0xc400_0000 {
                let _step = guest.unit.run();
            }
            guest::wait(0)
        },
        PLACES,
    );
}
