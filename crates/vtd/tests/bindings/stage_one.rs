//! Invalidations of the host's caches of first-stage tables.

use vtd::Effect;

use crate::guest::{IOTLB_GLOBAL, STATUS, first_stage, pasid_iotlb, pass_through};
use crate::machine::Machine;

// feature: 7.bindings: stage-1 invalidations reach the host
#[test]
fn which_descriptors_reach_the_host_caches() {
    let Machine { mut guest, calls, .. } = Machine::new();
    guest.put_context(4, 0);
    guest.put_entry(3, 0, &first_stage(0x10_0000, 4));
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    guest.put_entry(3, 2, &first_stage(0x18_0000, 5));
    guest.put_entry(3, 3, &pass_through(5));
    guest.put_entry(4, 1, &first_stage(0x1c_0000, 5));
    guest.assign(3);
    guest.assign(4);
    calls.take();
    let all = |slots: &[&str]| -> Vec<String> {
        slots.iter().map(|slot| format!("invalidate 00:{slot} 0 all")).collect()
    };
    let one = |slot: &str, range: &str| vec![format!("invalidate 00:{slot} {range}")];
    let both = |range: &str| {
        vec![format!("invalidate 00:03.0 1 {range}"), format!("invalidate 00:04.0 1 {range}")]
    };
    let page = |low: u64, high: u64| [low, high, 0, 0];
    let of_pasid = 0x36 | 5 << 16 | 1 << 32;
    let table = [
        (IOTLB_GLOBAL, all(&["03.0 -", "03.0 1", "03.0 2", "04.0 1"])),
        ([0x22 | 5 << 16, 0, 0, 0], all(&["03.0 1", "03.0 2", "04.0 1"])),
        ([0x22 | 4 << 16, 0, 0, 0], all(&["03.0 -"])),
        ([0x22 | 9 << 16, 0, 0, 0], vec![]),
        // By page it concerns second-stage tables; types 3 and 8 are the kernel's own affair.
        (page(0x32 | 5 << 16, 0x5000), vec![]),
        (page(0x03 | 0x18 << 32, 0x5000), vec![]),
        (page(0x08 | 0x18 << 16 | 1 << 32, 0x5000), vec![]),
        (pasid_iotlb(5, 1), all(&["03.0 1", "04.0 1"])),
        (pasid_iotlb(5, 2), all(&["03.0 2"])),
        (pasid_iotlb(5, 3), vec![]),
        (pasid_iotlb(6, 1), vec![]),
        // RID_PASID is 0.
        (pasid_iotlb(4, 0), all(&["03.0 -"])),
        (page(0x36 | 4 << 16, 0x5000), one("03.0 -", "5000 1")),
        (page(of_pasid, 0x5000), both("5000 1")),
        (page(of_pasid, 0x5000 | 1 << 6), both("5000 1 leaf")),
        (page(of_pasid, 0x5000 | 3), both("0 8")),
        (page(of_pasid, 0xffff_ffff_ffff_f000 | 9), both("ffffffffffe00000 200")),
        (page(of_pasid, 0xffff_ffff_ffff_f000 | 51), both("8000000000000000 8000000000000")),
        (page(of_pasid, 0x5000 | 52), both("0 all")),
        (page(of_pasid, 0x5000 | 63), both("0 all")),
    ];
    for (descriptor, mut expected) in table {
        assert!(guest.invalidate(&[descriptor]));
        let mut made = calls.take();
        made.sort();
        expected.sort();
        assert_eq!(made, expected, "{descriptor:x?}");
    }
}

// feature: 7.bindings: stage-1 invalidations reach the host
#[test]
fn a_stage_one_invalidation_that_fails() {
    // How often the host fails, counting from the invalidation; the calls; whether the wait completes.
    let table: [(u64, &[&str], bool); 4] = [
        (0, &["invalidate 00:03.0 1 0 all"], true),
        (1, &["!invalidate 00:03.0 1 0 all", "invalidate 00:03.0 1 0 all"], true),
        (
            2,
            &["!invalidate 00:03.0 1 0 all", "!invalidate 00:03.0 1 0 all", "unbind 00:03.0 1"],
            true,
        ),
        (
            3,
            &["!invalidate 00:03.0 1 0 all", "!invalidate 00:03.0 1 0 all", "!unbind 00:03.0 1"],
            false,
        ),
    ];
    for (failures, expected, completes) in table {
        let machine = Machine::new();
        machine.guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        let device = machine.guest.assign(3);
        machine.calls.take();
        let mut machine = machine;
        for n in 1..=failures {
            machine.host.fail_nth(n);
        }
        assert_eq!(machine.guest.invalidate(&[pasid_iotlb(5, 1)]), completes);
        assert_eq!(machine.calls.take(), expected);
        let effects = machine.guest.effects();
        let stuck = effects.iter().any(|effect| matches!(effect, Effect::HostStuck(_)));
        assert_eq!(stuck, !completes);
        if failures < 2 {
            assert_eq!(machine.pasids(), ["3 1 fs4 140000"]);
            continue;
        }
        assert_eq!(machine.pasids().len(), usize::from(!completes));
        // The slot is bound anew by the next invalidation or a retry, and by then the wait completes.
        machine.guest.unit.retry(device).unwrap();
        assert!(machine.guest.is_idle());
        let healed = if completes {
            "bind 00:03.0 1 fs4 140000 5"
        } else {
            "replace 00:03.0 1 fs4 140000 5"
        };
        assert_eq!(machine.calls.take(), [healed]);
        assert_eq!(machine.pasids(), ["3 1 fs4 140000"]);
        assert_eq!(machine.guest.get(STATUS), 1);
        assert!(machine.failures().is_empty());
    }
    // Done in part: nothing of a batch of one, so all of it again.
    let Machine { mut guest, host, calls } = Machine::new();
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    guest.assign(3);
    calls.take();
    host.handle_at_most(0);
    assert!(guest.invalidate(&[pasid_iotlb(5, 1)]));
    assert_eq!(calls.take(), ["!invalidate 00:03.0 1 0 all", "invalidate 00:03.0 1 0 all"]);
}
