//! What a reset leaves.

use vtd::spec::Capabilities;

use vtd::{Access, ResetKind};

use crate::fault_recording::{RECORD, faulting};
use crate::guest::{self, CAP, ECAP, Guest, fault_of, translate};
use crate::page::page;

// feature: 8.registers: power-on values and resets
#[test]
fn resets() {
    for kind in [ResetKind::Warm, ResetKind::PowerOn] {
        let capabilities = Capabilities::new(CAP | 7 << 40, ECAP).unwrap();
        let mut guest = Guest::made(capabilities, |_| {});
        let fresh = page(&guest);
        guest.enable();
        let handle = faulting(&guest);
        for n in 1..=3 {
            fault_of(&handle, n << 12);
        }
        guest.write(0x228, 8, 1 << 63);
        guest.write(0x38, 4, 0x8000_0000);
        guest.ring(&[[0x15, 0, 0, 0], [0; 4]]);
        guest.write(0xf0, 8, 0x5000);
        assert_eq!(guest.read(0x34, 4), 0x12);
        guest.unit.reset(kind);
        assert!(guest.is_idle());
        assert!(guest.interrupts().is_empty(), "interrupts of before mean nothing");
        let survives = |offset| offset == 0x34 || (0x220..0x2a0).contains(&offset);
        for (offset, before) in (0..).step_by(4).zip(&fresh) {
            if kind == ResetKind::PowerOn || !survives(offset) {
                assert_eq!(guest.read(offset, 4), *before, "{kind:?} {offset:x}");
            }
        }
        if kind == ResetKind::Warm {
            assert_eq!(guest.read(0x34, 4), 0x12);
            let records: Vec<_> = (0..4).map(|n| guest.read(0x220 + 16 * n, 8)).collect();
            assert_eq!(records, [0, 0x2000, 0x3000, 0]);
            assert_eq!(guest.read(0x238, 8), RECORD);
        }
        // Untranslated again.
        assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x5000));
        // And everything can be set up again.
        guest.write(0x34, 4, 0x10);
        guest.enable();
        assert!(guest.invalidate(&[guest::CONTEXT_GLOBAL]));
        fault_of(&handle, 0x9000);
        let place = if kind == ResetKind::Warm { 0x250 } else { 0x220 };
        assert_eq!(guest.read(place, 8), 0x9000, "the rotation goes on, or begins anew");
    }
}
