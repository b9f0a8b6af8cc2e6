//! CCMD, IVA and IOTLB.

use vtd::{Access, DmaHandle, Step};

use crate::guest::{self, Guest, translate};

/// Legacy mode, queue off: device 00:03.0 has a second-stage table at 10000 under domain 5.
fn legacy(version: u32) -> (Guest, DmaHandle) {
    let guest = Guest::made(guest::caps(), |config| config.version = version);
    guest.put(0x1000, &[0x2001, 0]);
    guest.put(0x2000 + 0x18 * 16, &[0x1_0001, 5 << 8 | 2]);
    guest.map_second_stage(0x1_0000, 0x5000, 0x7000, 3);
    guest.set_root(0x1000);
    guest.command(0x8000_0000);
    let device = guest.emulate(3);
    let handle = guest.unit.dma(device, None).unwrap();
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x7000));
    (guest, handle)
}

// feature: 3.register-based invalidation (CCMD, IOTLB)
#[test]
fn register_based_invalidation_in_legacy_mode() {
    let context = |request: u64| (0x28, request);
    let iotlb = |request: u64| (0xf8, request);
    let table = [
        // register, written, read afterwards, whether the cached translation goes
        (context(0xa000_0000_0000_0000_u64), 0x2800_0000_0000_0000_u64, true),
        (context(0xc000_0000_0000_0005), 0x5000_0000_0000_0005, true),
        (context(0xe000_0000_0018_0005), 0x7800_0000_0018_0005, true),
        // Another device, and a reserved granularity.
        (context(0xe000_0000_0020_0005), 0x7800_0000_0020_0005, false),
        (context(0x8000_0000_0000_0000), 0, false),
        (iotlb(0x9000_0000_0000_0000), 0x1200_0000_0000_0000, true),
        (iotlb(0xa000_0005_0000_0000), 0x2400_0005_0000_0000, true),
        (iotlb(0xa000_0006_0000_0000), 0x2400_0006_0000_0000, false),
        (iotlb(0xb000_0005_0000_0000), 0x3600_0005_0000_0000, true),
        (iotlb(0xb000_0006_0000_0000), 0x3600_0006_0000_0000, false),
        (iotlb(0x8000_0000_0000_0000), 0, false),
    ];
    for ((register, written), read, goes) in table {
        let (guest, handle) = legacy(0x10);
        // IVA: the page at 5000, AM 0.
        guest.write(0xf0, 8, 0x5000);
        if register == 0x28 {
            guest.put(0x2000 + 0x18 * 16, &[0x2_0001]);
            guest.map_second_stage(0x2_0000, 0x5000, 0x9000, 3);
        } else {
            guest.map_second_stage(0x1_0000, 0x5000, 0x9000, 3);
        }
        guest.write(register, 8, written);
        assert!(guest.is_idle());
        assert_eq!(guest.read(register, 8), read, "{written:x}");
        let leads_to = if goes { 0x9000 } else { 0x7000 };
        assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(leads_to), "{written:x}");
    }
}

// feature: 3.register-based invalidation (CCMD, IOTLB)
#[test]
fn register_based_page_selective_invalidation() {
    let table = [
        // IVA, whether the page at 5000 goes, IAIG
        (0x5000_u64, true, 3_u64),
        (0x6000, false, 3),
        (0x4001, true, 3),
        (0x0003, true, 3),
        (0x8003, false, 3),
        (0x5040, true, 3),
        (0x12, true, 3),
        // AM above MAMV (12) does nothing and says so.
        (0x13, false, 0),
        (0x3f, false, 0),
    ];
    for (address, goes, actual) in table {
        let (guest, handle) = legacy(0x10);
        guest.map_second_stage(0x1_0000, 0x5000, 0x9000, 3);
        // By halves, the command last.
        guest.write(0xf0, 4, address);
        guest.write(0xf8, 4, 0);
        guest.write(0xfc, 4, 0xb000_0005);
        assert_eq!(guest.read(0xfc, 4) >> 25 & 3, actual, "{address:x}");
        let leads_to = if goes { 0x9000 } else { 0x7000 };
        assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(leads_to), "{address:x}");
    }
}

// feature: 3.register-based invalidation (CCMD, IOTLB)
#[test]
fn register_based_invalidation_waits_for_guards() {
    let (guest, handle) = legacy(0x10);
    for (register, written, read) in [
        (0x28, 0xa000_0000_0000_0000, 0x2800_0000_0000_0000_u64),
        (0xf8, 0x9000_0000_0000_0000, 0x1200_0000_0000_0000),
    ] {
        let guard = handle.guard();
        guest.write(register, 8, written);
        assert_eq!(guest.unit.run(), Step::Waiting);
        assert_eq!(guest.read(register, 8), written);
        drop(guard);
        assert_eq!(guest.unit.run(), Step::Idle);
        assert_eq!(guest.read(register, 8), read);
    }
}

// feature: 3.register-based invalidation (CCMD, IOTLB)
#[test]
fn register_based_invalidation_does_not_exist_elsewhere() {
    let mut scalable = Guest::new();
    scalable.enable();
    let (major_six, handle) = legacy(0x60);
    // In scalable mode the registers are there and do nothing; from major version 6 on they are not.
    for (guest, ccmd, iotlb) in
        [(&scalable, 0x2000_0000_0000_0000, 0x1000_0000_0000_0000), (&major_six, 0, 0)]
    {
        guest.map_second_stage(0x1_0000, 0x5000, 0x9000, 3);
        guest.write(0x28, 8, 0xa000_0000_0000_0000);
        guest.write(0xf8, 8, 0x9000_0000_0000_0000);
        assert!(guest.is_idle());
        // Not left busy, and nothing was done.
        assert_eq!(guest.read(0x28, 8), ccmd);
        assert_eq!(guest.read(0xf8, 8), iotlb);
    }
    assert_eq!(translate(&handle, 0x5000, Access::READ), Ok(0x7000));
}
