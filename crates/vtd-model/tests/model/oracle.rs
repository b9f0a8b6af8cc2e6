//! What caches may hold: an entry's value counts as long as it was in memory at some moment since the last invalidation that
//! covered the cache holding it.

use vtd_model::{Access, Allowed, Invalidation as I, Path, Request};

use super::guest::{Guest, SOURCE, address};
use super::machine::Machine;

/// Only values since the last covering invalidation count, and each entry has its own.
#[test]
fn several_values() {
    let mut machine = Machine::new(Guest::scalable());
    for (value, invalidate) in [(0x71_0007, true), (0x72_0007, false), (0x73_0007, false)] {
        machine.write(0x2_3028, value);
        if invalidate {
            machine.history.invalidated(I::PasidIotlb { domain: 5, pasid: 1 });
        }
    }
    for (to, expected) in [
        (0x70_0000, None),
        (0x71_0000, Some(Allowed::Cached)),
        (0x72_0000, Some(Allowed::Cached)),
        (0x73_0000, Some(Allowed::Present)),
    ] {
        assert_eq!(machine.leads(1, to), expected, "{to:x}");
    }
    // Another table with another leaf: the old table with its newer leaf, and the new one.
    machine.write(0x2_6028, 0x76_0007);
    machine.write(0x2_2000, 0x2_6007);
    machine.write(0x2_3028, 0x74_0007);
    for (to, expected) in [
        (0x73_0000, Some(Allowed::Cached)),
        (0x74_0000, Some(Allowed::Cached)),
        (0x76_0000, Some(Allowed::Present)),
        (0x75_0000, None),
    ] {
        assert_eq!(machine.leads(1, to), expected, "{to:x}");
    }
}

/// "Not-present results are not cached", nor malformed ones; present ones above them may be.
#[test]
fn what_is_not_present_is_never_cached() {
    for (at, bad, good, fault) in [
        (0x2_3028, 0x70_0000, 0x70_0007, 0x71),
        (0x2_3028, 0x70_0007 | 1 << 46, 0x70_0007, 0x72),
        (0x1_1040, 0x40, 0x41, 0x59),
        (0x1_1078, 1, 0, 0x5a),
        (0x1_0000, 0, 0x1_1001, 0x51),
        (0x2300, 0x1_001c, 0x1_001d, 0x41),
        (0x2300, 0x1_003d, 0x1_001d, 0x42),
        (0x1000, 0, 0x2001, 0x39),
    ] {
        let mut guest = Guest::scalable();
        guest.set(at, bad);
        let mut machine = Machine::new(guest);
        assert_eq!(machine.faults(1, fault), Some(Allowed::Present), "{fault:x}");
        machine.write(at, good);
        assert_eq!(machine.faults(1, fault), None, "{fault:x} is of the past");
        assert_eq!(machine.leads(1, 0x70_0000), Some(Allowed::Present));
        machine.write(at, bad);
        assert_eq!(machine.leads(1, 0x70_0000), Some(Allowed::Cached), "{fault:x}");
        assert_eq!(machine.faults(1, fault), Some(Allowed::Present), "{fault:x}");
    }
}

/// A permission may be cached, so its fault may be stale too.
#[test]
fn permissions_may_be_cached() {
    let mut machine = Machine::new(Guest::scalable());
    machine.write(0x2_3028, 0x70_0003);
    machine.write(0x2_3028, 0x70_0007);
    assert_eq!(machine.faults(1, 0x81), Some(Allowed::Cached));
    machine.history.invalidated(I::PasidIotlb { domain: 5, pasid: 1 });
    assert_eq!(machine.faults(1, 0x81), None);
}

/// What changed, and what was invalidated, while the request was under way.
#[test]
fn requests_under_way() {
    let mut machine = Machine::new(Guest::scalable());
    let before = machine.history.moment();
    machine.write(0x2_3028, 0);
    machine.write(0x2_3028, 0x70_1007);
    machine.history.invalidated(I::PasidIotlb { domain: 5, pasid: 1 });
    let after = machine.history.moment();
    for (to, of_before, of_after) in
        [(Some(0x70_0000), true, false), (None, true, false), (Some(0x70_1000), true, true)]
    {
        for (since, expected) in [(before, of_before), (after, of_after)] {
            let judged = machine.judge(Some(1), 0x5000, since, |answer| address(*answer) == to);
            assert_eq!(judged.is_some(), expected, "{to:x?}");
        }
    }
}

/// A reason in words: what it could have been, and what is in memory.
#[test]
fn refusal() {
    let mut machine = Machine::new(Guest::scalable());
    machine.write(0x2_3028, 0x70_1007);
    let request =
        Request { source_id: SOURCE, pasid: Some(1), address: 0x5000, access: Access::READ };
    let Machine { guest, history } = &machine;
    let now = history.moment();
    let refused =
        history.judge(&guest.unit, &guest.memory, &request, now, |_, _| false).unwrap_err();
    let text = refused.to_string();
    for part in ["701000", "700000", "first-stage entry of level 1 23028: 701007"] {
        assert!(text.contains(part), "{text}");
    }
}

/// A path may be used again, and history that nothing can hold any more is forgotten.
#[test]
fn bounded() {
    let mut machine = Machine::new(Guest::scalable());
    for round in 0..10_000_u64 {
        machine.write(0x2_3028, 0x70_0007 + (round % 7 << 12));
        machine.write(0x6_0000 + 8 * (round % 5000), round);
        machine.history.invalidated(I::PasidIotlb { domain: 5, pasid: 1 });
        if round % 100 == 0 {
            machine.history.invalidated(I::Everything);
        }
    }
    assert_eq!(machine.leads(1, 0x70_0000 + (9_999 % 7 << 12)), Some(Allowed::Present));
    let mut path = Path::new();
    let request =
        Request { source_id: SOURCE, pasid: Some(1), address: 0x5000, access: Access::READ };
    for _ in 0..3 {
        let _ = machine.guest.unit.translate(&machine.guest.memory, &request, &mut path);
        assert_eq!(path.reads.len(), 18);
    }
}
