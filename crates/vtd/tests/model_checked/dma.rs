//! A DMA against an invalidation of what it goes through.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicBool;
use loom::thread;
use vtd::spec::{Capabilities, Iova};
use vtd::{Access, DmaError, DmaGuard, DmaHandle, Effect, Step};

use crate::guest::{CAP, ECAP, Guest, STATUS, first_stage, pasid, translate, wait};
use crate::machine::{Machine, Watched, check, step_until_idle};

/// Where 5123 leads before and after.
const OLD: u64 = 0x7123;
const NEW: u64 = 0x9123;

/// What a guest changes and invalidates.
#[derive(Clone, Copy)]
struct Change {
    /// A quadword of its tables, before and after.
    place: u64,
    before: u64,
    after: u64,
    descriptor: [u64; 4],
    cached: Cached,
}

/// What the caches hold from before.
#[derive(Clone, Copy, PartialEq)]
enum Cached {
    Nothing,
    /// The entries on the way to the page, since another page was used.
    Entries,
    /// The page too.
    Page,
}

const CHANGES: [(&str, Change); 6] = [
    ("a page", page(0x7067, 0x9067, Cached::Nothing)),
    ("a page whose A is set by the walk", page(0x7007, 0x9007, Cached::Nothing)),
    ("a cached page", page(0x7067, 0x9067, Cached::Page)),
    (
        "a page behind cached entries, by itself",
        Change {
            // Page-selective: what the entries were found by stays.
            descriptor: [0x36 | 5 << 16 | 1 << 32, 0x5000, 0, 0],
            ..page(0x7067, 0x9067, Cached::Entries)
        },
    ),
    (
        "a PASID entry",
        Change {
            place: 0x1_1050,
            before: 0x20_0000,
            after: 0x30_0000,
            descriptor: [0x17 | 5 << 16 | 1 << 32, 0, 0, 0],
            cached: Cached::Nothing,
        },
    ),
    (
        "a context entry",
        Change {
            place: 0x2300,
            before: 0x1_0009,
            after: 0x2_0009,
            descriptor: [0x31 | 0x18 << 32, 0, 0, 0],
            cached: Cached::Nothing,
        },
    ),
];

const fn page(before: u64, after: u64, cached: Cached) -> Change {
    let descriptor = [0x26 | 5 << 16 | 1 << 32, 0, 0, 0];
    Change { place: 0x20_3028, before, after, descriptor, cached }
}

/// Device 00:03.0 with PASID 1: translation is on, and `change` has not been made.
fn machine(change: &Change) -> (Machine, DmaHandle) {
    // PLMR.
    let caps = Capabilities::new(CAP | 1 << 5, ECAP).unwrap();
    let mut machine = Machine::new(caps, (change.place, change.before), |_| {});
    let guest = &mut machine.guest;
    assert_eq!(Guest::entry_place(3, 1) + 16, 0x1_1050);
    guest.put_context(3, 0);
    guest.put_context(4, 0);
    guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
    guest.put_entry(4, 1, &first_stage(0x30_0000, 5));
    guest.map_first_stage(0x20_0000, 0x5000, 0x7000, 0x67);
    guest.map_first_stage(0x20_0000, 0x6000, 0xa000, 0x67);
    guest.map_first_stage(0x30_0000, 0x5000, 0x9000, 0x67);
    guest.enable();
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, Some(pasid(1))).unwrap();
    match change.cached {
        Cached::Nothing => {}
        Cached::Entries => assert_eq!(translate(&handle, 0x6000, Access::READ), Ok(0xa000)),
        Cached::Page => assert_eq!(translate(&handle, 0x5123, Access::READ), Ok(OLD)),
    }
    (machine, handle)
}

/// One transfer. What it uses is not what a wait that is over has invalidated.
fn transfer(handle: &DmaHandle, memory: &Watched) {
    let guard = handle.guard();
    let answer = address(&guard);
    if answer == Ok(OLD) {
        assert_eq!(memory.now(STATUS), 0, "the wait is over and the old page is in use");
    } else {
        assert_eq!(answer, Ok(NEW));
    }
}

fn address(guard: &DmaGuard<'_>) -> Result<u64, DmaError> {
    guard.translate(Iova(0x5123), Access::READ).map(|found| found.address().0)
}

#[test]
fn a_transfer_and_an_invalidation() {
    for (name, change) in CHANGES {
        check(name, 5, move || {
            let (mut machine, handle) = machine(&change);
            machine.begin();
            let (device, memory) = (handle.clone(), Arc::clone(&machine.memory));
            let device = thread::spawn(move || transfer(&device, &memory));
            machine.memory.put(change.place, change.after);
            machine.guest.ring(&[change.descriptor, wait(1)]);
            step_until_idle(&machine.guest.unit, &machine.bell);
            assert_eq!(machine.memory.now(STATUS), 1);
            // Nothing that the transfer read before has come into the caches behind the invalidation.
            device.join().unwrap();
            assert_eq!(translate(&handle, 0x5123, Access::READ), Ok(NEW), "a late fill");
            assert_eq!(machine.guest.unit.run(), Step::Idle);
        });
    }
}

/// A worker steps, the guest sees the status while the unit is at it, and what it then does is right at once.
#[test]
fn a_transfer_an_invalidation_and_a_worker() {
    let (name, change) = CHANGES[0];
    check(name, 3, move || {
        let (mut machine, handle) = machine(&change);
        machine.begin();
        let (device, memory) = (handle.clone(), Arc::clone(&machine.memory));
        let device = thread::spawn(move || transfer(&device, &memory));
        let worker = machine.worker();
        machine.memory.put(change.place, change.after);
        machine.guest.ring(&[change.descriptor, wait(1)]);
        machine.memory.wait_for_status(1);
        assert_eq!(translate(&handle, 0x5123, Access::READ), Ok(NEW));
        device.join().unwrap();
        machine.end(worker);
        assert_eq!(translate(&handle, 0x5123, Access::READ), Ok(NEW), "a late fill");
    });
}

/// What the guest's thread gives the unit to do besides, and what tells it that this is done.
#[derive(Clone, Copy)]
enum Command {
    /// SRTP with another table; RTPS.
    Root,
    /// TE=0; TES=0.
    Off,
    /// EPM over 0 to 1F_FFFF; PRS.
    Protect,
    /// The device is released; the effect that tells so.
    Release,
}

/// The same for what is commanded through registers and by the VMM: once it is done, no transfer goes on that saw what was before.
#[test]
fn a_transfer_and_a_command() {
    let table = [
        ("a root table", Command::Root, Ok(NEW)),
        ("translation off", Command::Off, Err(DmaError::Blocked)),
        ("protected memory", Command::Protect, Err(DmaError::Blocked)),
        ("a release", Command::Release, Err(DmaError::Released)),
    ];
    for (name, command, after) in table {
        check(name, 5, move || {
            let (mut machine, handle) = machine(&CHANGES[0].1);
            let guest = &mut machine.guest;
            // A second root table, whose devices share the other directory.
            guest.put(0x4000, &[0x6001]);
            guest.put(0x6300, &[0x2_0009, 0]);
            guest.write(0x68, 8, 0);
            guest.write(0x20, 8, 0x4400);
            machine.begin();
            let told = Arc::new(AtomicBool::new(false));
            let (device, seen) = (handle.clone(), Arc::clone(&told));
            let device = thread::spawn(move || {
                let guard = device.guard();
                let answer = address(&guard);
                if answer == Ok(OLD) {
                    assert!(!seen.fetch_or(false, Ordering::AcqRel), "it is done, and in use");
                } else {
                    assert_eq!(answer, after);
                }
            });
            let guest = &machine.guest;
            let is_done = || match command {
                Command::Root => guest.read(0x1c, 4) & 1 << 30 != 0,
                Command::Off => guest.read(0x1c, 4) & 1 << 31 == 0,
                Command::Protect => guest.read(0x64, 4) & 1 != 0,
                Command::Release => {
                    guest.effects().iter().any(|effect| matches!(effect, Effect::Released(_)))
                }
            };
            match command {
                Command::Root => guest.write(0x18, 4, 0xc400_0000),
                Command::Off => guest.write(0x18, 4, 0x0400_0000),
                Command::Protect => guest.write(0x64, 4, 1 << 31),
                Command::Release => guest.unit.release(handle.device()).unwrap(),
            }
            loop {
                if is_done() {
                    told.swap(true, Ordering::AcqRel);
                    break;
                }
                if guest.unit.run() == Step::Waiting {
                    machine.bell.wait();
                }
            }
            device.join().unwrap();
            assert_eq!(translate(&handle, 0x5123, Access::READ), after, "a late fill");
        });
    }
}
