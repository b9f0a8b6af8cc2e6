//! Save and restore, and hostile tables.

use std::sync::Arc;

use vtd::spec::{Capabilities, SourceId};
use vtd::{RemappingUnit, RestoreOnto, Step, UnitConfig, UnitState};

use crate::guest::{self, CAP, Guest, Numbers, STATUS};
use crate::machine::*;

fn restored(guest: &Guest, log: Option<&Arc<Log>>) -> RemappingUnit {
    let text = serde_json::to_string(&guest.unit.save().unwrap()).unwrap();
    let state: UnitState = serde_json::from_str(&text).unwrap();
    let caps = Capabilities::new(CAP, ECAP_IR).unwrap();
    let mut config = UnitConfig::new(caps, Arc::clone(&guest.memory) as _);
    config.interrupt_listener = log.map(|log| Arc::clone(log) as _);
    RemappingUnit::restore(config, &state, RestoreOnto::SameHost).unwrap()
}

// feature: 9.interrupt remapping
#[test]
fn a_restored_unit_remaps_as_before() {
    let mut guest = on(|_| {});
    put_entry(&guest, 3, entry(0x31));
    // IRTA as it is now is not what is in use.
    guest.write(0xb8, 8, 0xb800);
    assert_eq!(vector(&guest, 3), Ok(0x31));
    guest.unit = restored(&guest, None);
    assert_eq!((vector(&guest, 3), guest.read(0xb8, 8)), (Ok(0x31), 0xb800));
    assert_eq!(guest.read(0x1c, 4), 0x0700_0000);
    // The cache is not saved.
    put_entry(&guest, 3, entry(0x32));
    assert_eq!(vector(&guest, 3), Ok(0x31));
    guest.unit = restored(&guest, None);
    assert_eq!(vector(&guest, 3), Ok(0x32));
    // CFI, and IRE off.
    command(&guest, CFI);
    guest.unit = restored(&guest, None);
    assert_eq!(remap(&guest, 0xfee0_1000, 7), Ok((0xfee0_1000, 7)));
    guest.command(0);
    guest.unit = restored(&guest, None);
    assert_eq!((guest.read(0x1c, 4), vector(&guest, 3)), (0x0100_0000, Ok(0)));
}

// feature: 9.interrupt remapping
/// What is under way when the unit is saved is told by the restored one, in the same order, whatever has been told before.
#[test]
fn saved_after_any_step_the_listener_hears_of_everything() {
    type Act = fn(&mut Guest);
    let actions: [(&str, Act, u64); 4] = [
        (
            "queue",
            |guest| {
                guest.ring(&[interrupts(3, 0), guest::wait(7), interrupts(8, 3), guest::wait(8)]);
            },
            8,
        ),
        ("SIRTP", |guest| guest.write(0x18, 4, 0x0700_0000), 0),
        ("all", |guest| guest.write(0x18, 4, 0x0580_0000), 0),
        ("reset", |guest| guest.unit.reset(vtd::ResetKind::PowerOn), 0),
    ];
    for (name, act, status) in actions {
        let (mut guest, log) = heard();
        act(&mut guest);
        assert!(guest.is_idle());
        let told = |lines: Vec<String>| {
            lines.into_iter().filter(|line| line.starts_with("told")).collect::<Vec<_>>()
        };
        let expected = (told(log.take()), guest.read(0x1c, 4), guest.read(0x80, 8));
        for steps in 0.. {
            let (mut guest, log) = heard();
            act(&mut guest);
            let mut step = Step::More;
            for _ in 0..steps {
                step = guest.unit.step(1);
            }
            let before = told(log.take());
            guest.unit = restored(&guest, Some(&log));
            assert!(guest.is_idle());
            let found = (guest.read(0x1c, 4), guest.read(0x80, 8));
            assert_eq!(found, (expected.1, expected.2), "{name} {steps}");
            assert_eq!(guest.get(STATUS), status, "{name} {steps}");
            let after = told(log.take());
            // Once more is allowed, for what was under way; less is not.
            let all = before.len() + after.len();
            let missing =
                expected.0.iter().find(|line| !before.contains(line) && !after.contains(line));
            assert_eq!(missing, None, "{name} {steps}");
            assert!(all >= expected.0.len() && all <= expected.0.len() + 1, "{name} {steps}");
            if step == Step::Idle {
                break;
            }
        }
    }
}

/// Whatever the table, the latched address and the request hold, the answer is one of the codes or a message in the range.
// feature: 6.hostile tables
#[test]
fn hostile_tables() {
    let mut numbers = Numbers(23);
    let guest = on(|_| {});
    for _ in 0..4000 {
        let word = |numbers: &mut Numbers| match numbers.below(4) {
            0 => numbers.next(),
            1 => numbers.next() & numbers.next() & numbers.next() | 1,
            2 => 0x0000_0100_0031_0001 ^ 1 << numbers.below(64),
            _ => 1 << numbers.below(64),
        };
        let raw = [word(&mut numbers), word(&mut numbers) & word(&mut numbers)];
        put_entry(&guest, numbers.below(256), raw);
        if numbers.below(16) == 0 {
            let address = numbers.of(&[TABLE, u64::MAX, 0, 0xffff_ffff_f000, 0x9000]);
            set_table(&guest, address & !0xfff | numbers.next() & 0xfff);
            guest.command(numbers.next() & 0x0280_0000 | 0x0400_0000);
        }
        let address = match numbers.below(3) {
            0 => 0xfee0_0000 | numbers.next() & 0xf_ffff,
            1 => request(numbers.below(256)),
            _ => numbers.next(),
        };
        let data = u32::try_from(numbers.next() >> 32 >> numbers.below(32)).unwrap();
        let source = SourceId(u16::try_from(numbers.next() >> 48).unwrap());
        match guest.unit.remap_interrupt(source, address, data) {
            Ok(interrupt) => assert_eq!(interrupt.message().address >> 20 & 0xfff, 0xfee),
            Err(vtd::InterruptError::Fault(fault)) => {
                assert!((0x20..=0x26).contains(&fault.reason.code()), "{fault}");
            }
            Err(_) => assert_ne!(address >> 20, 0xfee),
        }
        guest.write(0x22c, 4, 0x8000_0000);
        guest.write(0x34, 4, 1);
    }
}
