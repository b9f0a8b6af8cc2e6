//! What should be bound. docs/architecture.md, "The one idea", and the design's table of what is desired.

use vtd_model::{Desired, Mode, Slot};

use super::guest::{Guest, SOURCE};

fn all(guest: &Guest) -> Vec<(Slot, Option<u16>, Option<Mode>)> {
    let desired = guest.unit.desired(&guest.memory, SOURCE, 0..1 << 20);
    desired.iter().map(|&Desired { slot, domain, mode }| (slot, domain, mode)).collect()
}

const FIRST: Mode = Mode::FirstStage {
    table: 0x2_0000,
    levels: 4,
    supervisor: false,
    write_protect: false,
    extended_accessed: false,
};
const SECOND: Mode = Mode::SecondStage { table: 0x3_0000, levels: 4 };

#[test]
fn scalable_mode() {
    let mut guest = Guest::scalable();
    let entries = [
        (Slot::Pasid(1), Some(5), Some(FIRST)),
        (Slot::Pasid(2), Some(6), Some(SECOND)),
        (Slot::Pasid(3), Some(7), Some(Mode::Nested)),
        (Slot::Pasid(4), Some(8), Some(Mode::PassThrough)),
    ];
    assert_eq!(all(&guest), entries, "RID_PASID 0 is not present");
    // RID_PASID 1 takes the entry of PASID 1.
    guest.set(0x2308, 1);
    let rid = (Slot::Rid, Some(5), Some(FIRST));
    assert_eq!(all(&guest), [&[rid], &entries[1..]].concat());
    // PASIDE=0 leaves slot Rid alone.
    guest.set(0x2300, 0x1_0001);
    assert_eq!(all(&guest), [rid]);
    // Malformed entries are present: their domain counts.
    guest.or(0x1_1078, 1);
    assert_eq!(all(&guest), [(Slot::Rid, Some(5), None)]);
    guest.set(0x1_1040, 0);
    assert_eq!(all(&guest), []);
}

#[test]
fn ranges_and_directories() {
    let mut guest = Guest::scalable();
    // The directory's last entry leads to the same table: PASIDs 2000 - 64 on.
    guest.set(0x1_03f8, 0x1_1001);
    let desired = guest.unit.desired(&guest.memory, SOURCE, 3..0x1fc3);
    let slots: Vec<Slot> = desired.iter().map(|desired| desired.slot).collect();
    assert_eq!(slots, [3, 4, 0x1fc1, 0x1fc2].map(Slot::Pasid));
    guest.or(0x1_03f8, 4);
    assert_eq!(all(&guest).len(), 4, "a malformed directory entry is nothing");
    guest.set(0x1_03f8, 0x100_0000_0001);
    assert_eq!(all(&guest).len(), 4, "nor is one that leads nowhere");
}

#[test]
fn other_modes() {
    let mut guest = Guest::legacy();
    assert_eq!(all(&guest), [(Slot::Rid, Some(9), Some(SECOND))]);
    guest.set(0x2180, 9);
    guest.set(0x2188, 0x903);
    assert_eq!(all(&guest), [(Slot::Rid, Some(9), Some(Mode::PassThrough))]);
    guest.set(0x2188, 0x902);
    assert_eq!(all(&guest), [], "malformed");
    guest.unit.root = 0x1c00;
    assert_eq!(all(&guest), [], "abort mode");
    guest.unit.translation = false;
    assert_eq!(all(&guest), [(Slot::Rid, None, Some(Mode::PassThrough))]);
}
