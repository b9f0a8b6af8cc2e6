//! Virtual commands: PASIDs that a guest asks for.
#![cfg(test)]

mod guest;

use std::sync::{Arc, Mutex, OnceLock};

use guest::{CAP, ECAP, Guest};
use vtd::host::{HostError, HostErrorKind, LocalPasidAllocator, PasidAllocator, Reservation};
use vtd::spec::{Capabilities, Pasid};
use vtd::{
    Effect, RemappingUnit, ResetKind, RestoreError, RestoreOnto, Step, UnitConfig, UnitState,
};

/// With VCS.
const ECAP_VCS: u64 = ECAP | 1 << 44;
const VCMD: u64 = 0xe00;
const VCRSP: u64 = 0xe10;
const VCCAP: u64 = 0xe30;
const ALLOCATE: u64 = 1;

fn free(pasid: u64) -> u64 {
    2 | pasid << 16
}

fn made(change: impl FnOnce(&mut UnitConfig)) -> Guest {
    Guest::made(Capabilities::new(CAP, ECAP_VCS).unwrap(), change)
}

fn with(allocator: &Arc<impl PasidAllocator + 'static>) -> Guest {
    made(|config| config.pasid_allocator = Some(Arc::clone(allocator) as _))
}

/// A command and its response, when all steps are done.
fn ask(guest: &Guest, command: u64) -> u64 {
    guest.write(VCMD, 8, command);
    assert!(guest.is_idle());
    guest.read(VCRSP, 8)
}

fn reserved(allocator: &LocalPasidAllocator) -> Vec<u32> {
    allocator.reserved().into_iter().map(Pasid::get).collect()
}

// feature: 5.virtual commands: registers (VCCAP, VCMD, VCRSP)
// feature: 5.virtual commands: PASIDs allocated and freed (VCMD, VCRSP)
#[test]
fn registers_and_responses() {
    // Whatever VER says: Linux takes version 1.0.
    for version in [0x10, 0x30, 0x33, 0x40, 0x60] {
        let guest = made(|config| config.version = version);
        let registers = [(VCMD, 0), (VCRSP, 0), (0xe20, 0), (VCCAP, 1)];
        for (offset, value) in registers {
            assert_eq!(guest.read(offset, 8), value, "{offset:x}");
        }
        let table = [
            // command, response: IP 0, status 7:1, PASID 35:16
            (ALLOCATE, 0x1_0000),
            (ALLOCATE, 0x2_0000),
            (ALLOCATE, 0x3_0000),
            // The operand means nothing to an allocation, nor do other bits.
            (0xffff_ffff_ffff_ff01, 0x4_0000),
            (free(2), 0),
            (free(2), 0x20),
            (ALLOCATE, 0x2_0000),
            (free(0), 0x20),
            (free(5), 0x20),
            (free(0xf_ffff), 0x20),
            (free(4) | 0xfff0_0000_0000_ff00, 0),
            // No such command.
            (0, 2),
            (3, 2),
            (0xff, 2),
            (0x100, 2),
        ];
        for (command, response) in table {
            assert_eq!(ask(&guest, command), response, "{command:x}");
            assert_eq!(guest.read(VCMD, 8), 0, "written only");
        }
    }
    // By halves the lower one starts the command.
    let guest = made(|_| {});
    for _ in 0..3 {
        ask(&guest, ALLOCATE);
    }
    guest.write(0xe04, 4, 0xf);
    assert!(guest.is_idle());
    assert_eq!(guest.read(VCRSP, 8), 0x3_0000);
    guest.write(0xe00, 4, 0x2_0002);
    assert!(guest.is_idle());
    assert_eq!(guest.read(VCRSP, 4), 0x20, "PASID f0002");
    guest.write(0xe04, 4, 0);
    guest.write(0xe00, 4, 0x2_0002);
    assert!(guest.is_idle());
    assert_eq!(guest.read(VCRSP, 8), 0);
}

// feature: 5.virtual commands: not shown without ECAP.VCS
#[test]
fn without_vcs_there_is_nothing() {
    let guest = Guest::new();
    guest.write(VCMD, 8, ALLOCATE);
    assert!(guest.is_idle());
    for offset in [VCMD, VCRSP, 0xe20, VCCAP] {
        assert_eq!(guest.read(offset, 8), 0, "{offset:x}");
    }
}

// feature: 5.virtual commands: one at a time (VCRSP.IP)
#[test]
fn a_command_is_under_way_until_a_step() {
    let guest = made(|_| {});
    guest.write(VCMD, 8, ALLOCATE);
    assert_eq!(guest.read(VCRSP, 8), 1);
    // Ignored.
    guest.write(VCMD, 8, ALLOCATE);
    guest.write(VCMD, 8, 7);
    assert_eq!(guest.read(VCRSP, 8), 1);
    assert_eq!(guest.unit.step(100), Step::Idle);
    assert_eq!(guest.read(VCRSP, 8), 0x1_0000);
    assert!(guest.is_idle());
    assert_eq!(ask(&guest, ALLOCATE), 0x2_0000, "one, not three");
    // What asks nobody is answered at once.
    guest.write(VCMD, 8, free(9));
    assert_eq!(guest.read(VCRSP, 8), 0x20);
    guest.write(VCMD, 8, 9);
    assert_eq!(guest.read(VCRSP, 8), 2);
}

// feature: 5.virtual commands: PASIDs fit ECAP.PSS and the quota
#[test]
fn pasids_fit_pss_and_the_quota() {
    // Three bits of PASID.
    let ecap = ECAP_VCS & !(0x1f << 35) | 2 << 35;
    let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |_| {});
    let given: Vec<_> = (0..9).map(|_| ask(&guest, ALLOCATE)).collect();
    let all = [1_u64, 2, 3, 4, 5, 6, 7].map(|pasid| pasid << 16);
    assert_eq!(given[..7], all);
    assert_eq!(given[7..], [0x20, 0x20]);
    assert_eq!((ask(&guest, free(5)), ask(&guest, ALLOCATE)), (0, 0x5_0000));
    let guest = made(|config| config.pasid_quota = 2);
    let given: Vec<_> = (0..4).map(|_| ask(&guest, ALLOCATE)).collect();
    assert_eq!(given, [0x1_0000, 0x2_0000, 0x20, 0x20]);
    assert_eq!((ask(&guest, free(1)), ask(&guest, ALLOCATE)), (0, 0x1_0000));
}

// feature: 5.virtual commands: several units share an allocator
#[test]
fn units_share_an_allocator() {
    let allocator = Arc::new(LocalPasidAllocator::new());
    let units = [with(&allocator), with(&allocator)];
    let given: Vec<_> =
        [0, 1, 0, 1].iter().map(|unit: &usize| ask(&units[*unit], ALLOCATE) >> 16).collect();
    assert_eq!(given, [1, 2, 3, 4]);
    // A unit frees what was allocated through it.
    assert_eq!(ask(&units[0], free(2)), 0x20);
    assert_eq!(ask(&units[1], free(2)), 0);
    assert_eq!(reserved(&allocator), [1, 3, 4]);
    let [one, other] = units;
    drop(one);
    assert_eq!(reserved(&allocator), [4]);
    drop(other);
    assert_eq!(reserved(&allocator), [0_u32; 0]);
}

// feature: 5.virtual commands: PASIDs given back on reset and drop
#[test]
fn nothing_leaks() {
    for kind in [ResetKind::PowerOn, ResetKind::Warm] {
        let allocator = Arc::new(LocalPasidAllocator::new());
        let guest = with(&allocator);
        for _ in 0..5 {
            ask(&guest, ALLOCATE);
        }
        guest.write(VCMD, 8, ALLOCATE);
        guest.unit.reset(kind);
        assert_eq!(guest.read(VCRSP, 8), 0, "the command is forgotten");
        // A new command waits for what is given back.
        guest.write(VCMD, 8, ALLOCATE);
        assert_eq!(guest.unit.step(1), Step::More);
        assert!(guest.is_idle());
        assert_eq!(guest.read(VCRSP, 8), 0x1_0000);
        assert_eq!(reserved(&allocator), [1]);
        // With what is still to be given back.
        ask(&guest, ALLOCATE);
        guest.unit.reset(kind);
        drop(guest);
        assert_eq!(reserved(&allocator), [0_u32; 0]);
    }
}

/// An allocator that does as it is told, and looks at the unit while it is called.
#[derive(Default)]
struct Told {
    answers: Mutex<Vec<Result<u32, HostErrorKind>>>,
    unit: OnceLock<RemappingUnit>,
    calls: Mutex<Vec<String>>,
    reset: bool,
}

impl Told {
    fn next(&self, call: String) -> Result<Pasid, HostError> {
        // No lock is held: the unit can be read, written and stepped.
        if let Some(unit) = self.unit.get() {
            assert_eq!(unit.step(100), Step::Waiting);
            if unit.read(VCRSP, 8) == 1 {
                unit.write(VCMD, 8, ALLOCATE);
            }
            assert!(unit.save().is_err());
            if self.reset && call == "allocate" {
                unit.reset(ResetKind::Warm);
            }
        }
        self.calls.lock().unwrap().push(call);
        let answer = self.answers.lock().unwrap().pop();
        answer.unwrap_or(Ok(0)).map(|pasid| Pasid::new(pasid).unwrap()).map_err(HostError::new)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl PasidAllocator for Told {
    fn allocate(&self, end: u32) -> Result<Pasid, HostError> {
        assert_eq!(end, 1 << 20);
        self.next("allocate".into())
    }

    fn reserve(&self, pasid: Pasid) -> Result<Reservation, HostError> {
        self.next(format!("reserve {pasid}")).map(|_| Reservation::Made)
    }

    fn free(&self, pasid: Pasid) -> Result<(), HostError> {
        self.next(format!("free {pasid}")).map(|_| ())
    }
}

fn told(answers: &[Result<u32, HostErrorKind>], reset: bool) -> (Guest, Arc<Told>) {
    let answers = Mutex::new(answers.iter().rev().copied().collect());
    let allocator = Arc::new(Told { answers, reset, ..Told::default() });
    let guest = with(&allocator);
    (guest, allocator)
}

// feature: 5.virtual commands: an allocator that fails or misbehaves
#[test]
fn what_the_allocator_says_is_checked() {
    let (guest, allocator) = told(
        &[
            Err(HostErrorKind::NoSpace),
            // PASID 0 is given back.
            Ok(0),
            Ok(0),
            Ok(5),
            // The same once more stays with who has it.
            Ok(5),
            // It keeps what the guest frees.
            Err(HostErrorKind::Other),
            Ok(0),
        ],
        false,
    );
    let table = [
        (ALLOCATE, 0x20, vec!["allocate"]),
        (ALLOCATE, 0x20, vec!["allocate", "free 0"]),
        (ALLOCATE, 0x5_0000, vec!["allocate"]),
        (ALLOCATE, 0x20, vec!["allocate"]),
        (free(5), 0x20, vec!["free 5"]),
        (free(5), 0, vec!["free 5"]),
    ];
    for (command, response, calls) in table {
        assert_eq!((ask(&guest, command), allocator.take()), (response, to_owned(&calls)));
    }
    // Above PSS: four bits.
    let ecap = ECAP_VCS & !(0x1f << 35) | 3 << 35;
    struct Wide;
    impl PasidAllocator for Wide {
        fn allocate(&self, end: u32) -> Result<Pasid, HostError> {
            assert_eq!(end, 16);
            Ok(Pasid::new(16).unwrap())
        }
        fn reserve(&self, _: Pasid) -> Result<Reservation, HostError> {
            Ok(Reservation::Made)
        }
        fn free(&self, pasid: Pasid) -> Result<(), HostError> {
            assert_eq!(pasid.get(), 16);
            Ok(())
        }
    }
    let guest = Guest::made(Capabilities::new(CAP, ecap).unwrap(), |config| {
        config.pasid_allocator = Some(Arc::new(Wide));
    });
    assert_eq!(ask(&guest, ALLOCATE), 0x20);
}

fn to_owned(calls: &[&str]) -> Vec<String> {
    calls.iter().map(ToString::to_string).collect()
}

#[test]
fn the_allocator_is_called_with_no_lock_held() {
    let (guest, allocator) = told(&[Ok(5), Ok(0)], false);
    allocator.unit.set(guest.unit.clone()).unwrap();
    assert_eq!(ask(&guest, ALLOCATE), 0x5_0000);
    assert_eq!(ask(&guest, free(5)), 0);
    assert_eq!(allocator.take(), ["allocate", "free 5"]);
}

// feature: 5.virtual commands: PASIDs given back on reset and drop
/// What comes of a command from before a reset is nobody's, and goes back.
#[test]
fn a_reset_while_the_allocator_is_called() {
    let (guest, allocator) = told(&[Ok(5), Ok(0)], true);
    allocator.unit.set(guest.unit.clone()).unwrap();
    assert_eq!(ask(&guest, ALLOCATE), 0);
    assert_eq!(allocator.take(), ["allocate", "free 5"]);
}

// feature: 5.virtual commands: PASIDs given back on reset and drop
#[test]
fn a_pasid_that_the_allocator_does_not_take_back_is_told() {
    let (guest, allocator) = told(&[Ok(5), Ok(6), Err(HostErrorKind::Other), Ok(0)], false);
    ask(&guest, ALLOCATE);
    ask(&guest, ALLOCATE);
    guest.unit.reset(ResetKind::PowerOn);
    assert!(guest.is_idle());
    assert_eq!(allocator.take(), ["allocate", "allocate", "free 5", "free 6"]);
    let effects = guest.effects();
    assert!(
        matches!(&effects[..], [Effect::PasidNotReturned { pasid, .. }] if pasid.get() == 5),
        "{effects:?}"
    );
    drop(guest);
    assert_eq!(allocator.take(), [""; 0], "the unit has forgotten it");
}

fn saved(guest: &Guest) -> UnitState {
    serde_json::from_value(serde_json::to_value(guest.unit.save().unwrap()).unwrap()).unwrap()
}

fn restore(
    guest: &Guest,
    state: &UnitState,
    allocator: Option<&Arc<LocalPasidAllocator>>,
    onto: RestoreOnto,
) -> Result<RemappingUnit, RestoreError> {
    let caps = Capabilities::new(CAP, ECAP_VCS).unwrap();
    let mut config = UnitConfig::new(caps, Arc::clone(&guest.memory) as _);
    config.pasid_allocator = allocator.map(|allocator| Arc::clone(allocator) as _);
    RemappingUnit::restore(config, state, onto)
}

// feature: 5.virtual commands: PASIDs survive save and restore
// feature: 9.PASIDs of virtual commands
#[test]
fn what_the_guest_has_survives() {
    let allocator = Arc::new(LocalPasidAllocator::new());
    let mut guest = with(&allocator);
    for _ in 0..3 {
        ask(&guest, ALLOCATE);
    }
    ask(&guest, free(2));
    // A command under way is saved too.
    guest.write(VCMD, 8, ALLOCATE);
    let state = saved(&guest);
    // On the same allocator nothing is allocated, and the saved unit gives nothing back.
    guest.unit = restore(&guest, &state, Some(&allocator), RestoreOnto::SameHost).unwrap();
    assert_eq!(reserved(&allocator), [1, 3]);
    assert_eq!(guest.read(VCRSP, 8), 1);
    assert!(guest.is_idle());
    assert_eq!(guest.read(VCRSP, 8), 0x2_0000);
    assert_eq!(ask(&guest, free(3)), 0);
    assert_eq!(ask(&guest, ALLOCATE), 0x3_0000);
    // On fresh ones exactly those are reserved; a unit that has none given reserves them on its own.
    let state = saved(&guest);
    let fresh = Arc::new(LocalPasidAllocator::new());
    let unit = restore(&guest, &state, Some(&fresh), RestoreOnto::FreshHost).unwrap();
    assert_eq!(reserved(&fresh), [1, 2, 3]);
    drop(unit);
    assert_eq!(reserved(&fresh), [0_u32; 0]);
    let unit = restore(&guest, &state, Some(&fresh), RestoreOnto::SameHost).unwrap();
    assert_eq!(reserved(&fresh), [1, 2, 3], "an allocator that has forgotten them");
    drop(unit);
    for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
        let mut guest = made(|_| {});
        guest.unit = restore(&guest, &state, None, onto).unwrap();
        assert_eq!(ask(&guest, ALLOCATE), 0x4_0000);
        assert_eq!(ask(&guest, free(2)), 0);
    }
    // Taken by somebody else: refused, and what was reserved on the way is free again.
    fresh.reserve(Pasid::new(3).unwrap()).unwrap();
    let refused = restore(&guest, &state, Some(&fresh), RestoreOnto::FreshHost).unwrap_err();
    assert!(matches!(refused, RestoreError::PasidTaken(pasid) if pasid.get() == 3), "{refused}");
    assert_eq!(reserved(&fresh), [3]);
    // The saved unit goes on, so it gives back what it has.
    guest.write(0x38, 4, 0);
    assert_eq!(reserved(&allocator), [1, 2, 3]);
    drop(guest);
    assert_eq!(reserved(&allocator), [0_u32; 0]);
}

// feature: 5.virtual commands: PASIDs survive save and restore
// feature: 9.PASIDs of virtual commands
/// What a reset has begun to give back is given back once, by whoever goes on.
#[test]
fn saved_while_pasids_go_back() {
    for onto in [RestoreOnto::SameHost, RestoreOnto::FreshHost] {
        let allocator = Arc::new(LocalPasidAllocator::new());
        let mut guest = with(&allocator);
        for _ in 0..3 {
            ask(&guest, ALLOCATE);
        }
        guest.unit.reset(ResetKind::Warm);
        let _more = guest.unit.step(2);
        assert!(!reserved(&allocator).is_empty());
        let state = saved(&guest);
        let fresh = Arc::new(LocalPasidAllocator::new());
        let next = if onto == RestoreOnto::SameHost { &allocator } else { &fresh };
        guest.unit = restore(&guest, &state, Some(next), onto).unwrap();
        assert!(guest.is_idle());
        assert_eq!(reserved(next), [0_u32; 0]);
        assert!(guest.effects().is_empty());
    }
}

#[test]
fn states_with_pasids_that_nobody_can_have() {
    let guest = made(|_| {});
    let state = serde_json::to_value(guest.unit.save().unwrap()).unwrap();
    for field in ["pasids", "returned_pasids"] {
        for pasid in [0, 1 << 20, u32::MAX] {
            let mut changed = state.clone();
            changed[field] = serde_json::json!([pasid]);
            let changed: UnitState = serde_json::from_value(changed).unwrap();
            let refused = restore(&guest, &changed, None, RestoreOnto::SameHost).unwrap_err();
            assert!(matches!(refused, RestoreError::Field { field: "pasids", .. }));
        }
    }
}
