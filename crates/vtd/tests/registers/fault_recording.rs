//! FSTS, the fault records and the fault event.

use vtd::spec::Capabilities;

use vtd::{Access, DmaHandle};

use crate::guest::{self, CAP, ECAP, FAULT_DATA, Guest, fault_of, translate};

/// An emulated device with no context entry: every request faults 41.
pub(crate) fn faulting(guest: &Guest) -> DmaHandle {
    let device = guest.emulate(3);
    guest.unit.dma(device, None).unwrap()
}

pub(crate) const RECORD: u64 = 1 << 63 | 1 << 62 | 0x41 << 32 | 0x18;

// feature: 2.fault event, one for a pending set (FECTL.IM, IP)
#[test]
fn fault_event_rules() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    let clear_record = |guest: &Guest| guest.write(0x22c, 4, 0x8000_0000);
    // Unmasked: sent when the first cause comes up, IP stays 0.
    fault_of(&handle, 0x1000);
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
    assert_eq!(guest.read(0x38, 4), 0);
    assert_eq!(guest.read(0x34, 4), 2);
    // A second cause (PFO) sends nothing while the first is there.
    fault_of(&handle, 0x2000);
    assert_eq!(guest.interrupts(), [0; 0]);
    assert_eq!(guest.read(0x34, 4), 3);
    // Nor does a new fault while PFO is left, all records being free.
    clear_record(&guest);
    assert_eq!(guest.read(0x34, 4), 1);
    fault_of(&handle, 0x3000);
    assert_eq!(guest.interrupts(), [0; 0]);
    assert_eq!(guest.read(0x34, 4), 1);
    guest.write(0x34, 4, 1);
    assert_eq!(guest.read(0x34, 4), 0);
    // Masked: IP holds it.
    guest.write(0x38, 4, 0x8000_0000);
    fault_of(&handle, 0x4000);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    assert_eq!(guest.interrupts(), [0; 0]);
    // IP is read-only, and cleared by sending.
    guest.write(0x38, 4, 0x8000_0000);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    guest.write(0x38, 4, 0x4000_0000);
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
    assert_eq!(guest.read(0x38, 4), 0);
    clear_record(&guest);
    // Held, then its cause goes: nothing is sent.
    guest.write(0x38, 4, 0x8000_0000);
    fault_of(&handle, 0x5000);
    clear_record(&guest);
    assert_eq!(guest.read(0x38, 4), 0x8000_0000);
    guest.write(0x38, 4, 0);
    assert_eq!(guest.interrupts(), [0; 0]);
    // Held with two causes: the last one to go clears IP.
    guest.write(0x38, 4, 0x8000_0000);
    fault_of(&handle, 0x6000);
    fault_of(&handle, 0x7000);
    clear_record(&guest);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    guest.write(0x34, 4, 1);
    assert_eq!(guest.read(0x38, 4), 0x8000_0000);
    // IQE is a cause as well: type 0 is no descriptor.
    guest.ring(&[[0; 4]]);
    assert_eq!(guest.read(0x34, 4), 0x10);
    assert_eq!(guest.read(0x38, 4), 0xc000_0000);
    guest.write(0x38, 4, 0);
    assert_eq!(guest.interrupts(), [FAULT_DATA]);
    // A record beside IQE is no new event.
    fault_of(&handle, 0x8000);
    assert_eq!(guest.interrupts(), [0; 0]);
    assert_eq!(guest.read(0x34, 4), 0x12);
}

// feature: 2.fault event, one for a pending set (FECTL.IM, IP)
#[test]
fn fault_status_is_written_with_ones() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    fault_of(&handle, 0x1000);
    fault_of(&handle, 0x2000);
    guest.ring(&[[0; 4]]);
    assert_eq!(guest.read(0x34, 4), 0x13);
    for (written, left) in [(0, 0x13), (0x02, 0x13), (0xff00, 0x13), (0xec, 0x13), (0x01, 0x12)] {
        guest.write(0x34, 4, written);
        assert_eq!(guest.read(0x34, 4), left, "{written:x}");
    }
    // The descriptor is still there, so clearing IQE sets it again.
    guest.write(0x34, 4, 0x10);
    assert_eq!(guest.read(0x34, 4), 0x12);
    guest.put(guest::QUEUE, &[0x11]);
    guest.write(0x34, 4, 0x10);
    assert_eq!(guest.read(0x34, 4), 0x02);
}

// feature: 2.fault records: 1 to 256 in rotation, overflow (CAP.NFR, FSTS.PFO, FRI)
#[test]
fn records_are_used_in_rotation() {
    for nfr in [0_u64, 1, 2, 3, 4, 7, 8, 31, 63, 127, 128, 254, 255] {
        let records = nfr + 1;
        let capabilities = Capabilities::new(CAP | nfr << 40, ECAP).unwrap();
        let mut guest = Guest::made(capabilities, |_| {});
        guest.enable();
        let handle = faulting(&guest);
        let place = |n: u64| 0x220 + 16 * (n % records);
        let clear = |guest: &Guest, n| guest.write(place(n) + 8, 8, 1 << 63);
        for n in 0..records {
            fault_of(&handle, (n + 1) << 12);
        }
        for n in 0..records {
            assert_eq!(guest.read(place(n), 8), (n + 1) << 12);
            assert_eq!(guest.read(place(n) + 8, 8), RECORD);
            assert_eq!(guest.read(place(n) + 12, 4), RECORD >> 32);
        }
        assert_eq!(guest.read(0x34, 4), 2, "FRI names the first record");
        assert_eq!(guest.unit.register_page_size(), if nfr >= 222 { 0x2000 } else { 0x1000 });
        assert_eq!(guest.read(place(records - 1) + 16, 8), 0, "behind the last record");
        // The next one in turn is occupied: lost, with PFO.
        fault_of(&handle, 0xf_f000);
        assert_eq!(guest.read(0x34, 4), 3);
        assert_eq!(guest.read(place(0), 8), 1 << 12);
        // While PFO is set all is lost, free records or not.
        clear(&guest, 0);
        fault_of(&handle, 0xf_e000);
        assert_eq!((guest.read(place(0), 8), guest.read(place(0) + 8, 8)), (0, 0));
        guest.write(0x34, 4, 1);
        fault_of(&handle, 0xf_d000);
        assert_eq!(guest.read(place(0), 8), 0xf_d000);
        // In rotation: the one after it is the next, even if others are free.
        if records > 2 {
            clear(&guest, 0);
            clear(&guest, 2);
            fault_of(&handle, 0xf_c000);
            assert_eq!(guest.read(0x34, 4) & 1, 1, "record 1 was occupied");
            guest.write(0x34, 4, 1);
        }
        for n in 0..records {
            clear(&guest, n);
        }
        assert_eq!(guest.read(0x34, 4) & 0xff, 0);
        // FRI is latched anew when a record becomes pending while none was.
        if records > 2 {
            for first in [1, 2, 3] {
                fault_of(&handle, 0x1000);
                fault_of(&handle, 0x2000);
                let pending = guest.read(0x34, 4);
                assert_eq!(pending >> 8, (2 * first - 1) % records, "{pending:x}");
                clear(&guest, 2 * first - 1);
                assert_eq!(guest.read(0x34, 4), pending, "PPF is still 1");
                clear(&guest, 2 * first);
            }
        }
    }
}

// feature: 2.fault records: source-id, PASID, address and reason (FRCD)
#[test]
fn records_are_read_only_but_for_f() {
    let mut guest = Guest::new();
    guest.enable();
    let handle = faulting(&guest);
    fault_of(&handle, 0x1000);
    for (offset, size, value) in [
        (0x220, 4, u64::MAX),
        (0x224, 4, u64::MAX),
        (0x228, 4, u64::MAX),
        (0x22c, 4, 0x7fff_ffff),
        (0x220, 8, u64::MAX),
        (0x228, 8, !(1 << 63)),
    ] {
        guest.write(offset, size, value);
        assert_eq!((guest.read(0x220, 8), guest.read(0x228, 8)), (0x1000, RECORD), "{offset:x}");
    }
    guest.write(0x22c, 4, 0x8000_0000);
    assert_eq!(guest.read(0x22c, 4) >> 31, 0);
}

// feature: 2.fault records: source-id, PASID, address and reason (FRCD)
#[test]
fn a_record_holds_pasid_and_access() {
    let mut guest = Guest::new();
    guest.enable();
    guest.put_context(3, 0);
    let device = guest.emulate(3);
    let table = [
        // PASID, access, address, qw0, qw1
        (None, Access::WRITE, 0xfff, 0, 1_u64 << 63 | 0x59 << 32 | 0x18),
        (
            Some(9),
            Access::READ,
            0x7_f123,
            0x7_f000,
            3 << 62 | 9 << 40 | 0x59 << 32 | 1 << 31 | 0x18,
        ),
        // Beyond the directory entry that is there, with all 20 bits.
        (
            Some(0x1fff),
            Access::WRITE,
            0x1000,
            0x1000,
            2 << 62 | 0x1fff << 40 | 0x51 << 32 | 1 << 31 | 0x18,
        ),
        (
            Some(0xf_ffff),
            Access::READ.executing().with_privilege(),
            0x1000,
            0x1000,
            3 << 62 | 0xf_ffff << 40 | 0x46 << 32 | 7 << 29 | 0x18,
        ),
    ];
    for (pasid, access, address, low, high) in table {
        let handle = guest.unit.dma(device, pasid.map(guest::pasid)).unwrap();
        assert!(translate(&handle, address, access).is_err());
        assert_eq!(guest.read(0x220, 8), low);
        assert_eq!(guest.read(0x228, 8), high, "{pasid:x?} {:x}", guest.read(0x228, 8));
        guest.write(0x228, 8, 1 << 63);
    }
}
