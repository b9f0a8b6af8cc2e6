//! A change of root table: what SRTP drops, and abort mode.
#![cfg(test)]

mod guest;

use std::sync::Arc;

use guest::calls::{held_by, host};
use guest::{CAP, ECAP, Guest, first_stage, pass_through, translate};
use vtd::host::HostIommu;
use vtd::memory::GuestMemory;
use vtd::spec::Capabilities;
use vtd::{Access, DmaError, DmaHandle, RemappingUnit, RestoreOnto, UnitConfig};

/// CAP.ESRTPS.
const ESRTPS: u64 = 1 << 63;
/// ECAP.ADMS.
const ADMS: u64 = 1 << 52;

/// SRTP with translation and the queue on.
fn set_root(guest: &Guest, root: u64) {
    guest.write(0x20, 8, root);
    guest.command(0xc400_0000);
}

fn leads_to(handle: &DmaHandle) -> Result<u64, DmaError> {
    translate(handle, 0x5000, Access::READ)
}

// feature: 8.caches dropped by SRTP (CAP.ESRTPS)
/// What SRTP makes the unit forget without an invalidation: with ESRTPS it has to, without it may.
#[test]
fn srtp_drops_what_every_entry_led_to() {
    // Where the change is, and what it is.
    let changes: [(&str, u64, &[u64]); 5] = [
        ("root entry", 0x1000, &[0x4001]),
        ("context entry", 0x2000 + 3 * 8 * 32, &[0x5_0009]),
        ("directory entry", Guest::directory(3), &[0x6_0001]),
        ("PASID-table entry", Guest::entry_place(3, 5), &[0x109, 5, 0]),
        ("leaf", 0x10_3000 + 5 * 8, &[0x5007]),
    ];
    for cap in [CAP | ESRTPS, CAP & !ESRTPS] {
        for (what, place, entry) in changes {
            let mut guest = Guest::made(Capabilities::new(cap, ECAP).unwrap(), |_| {});
            guest.put_context(3, 0);
            guest.put_entry(3, 5, &first_stage(0x10_0000, 5));
            guest.map_first_stage(0x10_0000, 0x5000, 0x77_7000, 7);
            // Wherever a change leads, PASID 5 passes through there.
            guest.put(0x4000 + 3 * 8 * 32, &[0x5_0009, 0, 0, 0]);
            guest.put(0x5_0000, &[0x6_0001]);
            guest.put(0x6_0000 + 5 * 64, &[0x109, 5, 0, 0, 0, 0, 0, 0]);
            guest.enable();
            let device = guest.emulate(3);
            let handle = guest.unit.dma(device, Some(guest::pasid(5))).unwrap();
            assert_eq!(leads_to(&handle), Ok(0x77_7000), "{what}");
            guest.put(place, entry);
            assert_eq!(leads_to(&handle), Ok(0x77_7000), "{what}: cached");
            set_root(&guest, 0x1400);
            assert_eq!(leads_to(&handle), Ok(0x5000), "{what}: dropped");
        }
    }
}

// feature: 8.abort mode (TTM 3, ECAP.ADMS)
#[test]
fn abort_mode_blocks_everything_and_translation_off_nothing() {
    // Over scalable and over legacy tables, from which the unit comes.
    for root in [0x1400, 0x1000] {
        let mut guest = Guest::made(Capabilities::new(CAP, ECAP | ADMS).unwrap(), |_| {});
        guest.enable();
        set_root(&guest, root);
        let device = guest.emulate(3);
        set_root(&guest, 0x1c00);
        assert_eq!(guest.read(0x1c, 4), 0xc400_0000, "RTPS and TES");
        for pasid in [None, Some(guest::pasid(0)), Some(guest::pasid(0xf_ffff))] {
            let handle = guest.unit.dma(device, pasid).unwrap();
            for access in [
                Access::READ,
                Access::WRITE,
                Access::READ.executing(),
                Access::WRITE.with_privilege(),
            ] {
                for address in [0, 0x5000, 0xfee0_0000, u64::MAX] {
                    let found = translate(&handle, address, access);
                    // An interrupt request is no DMA.
                    let expected = match (pasid, access.write, address) {
                        (None, true, 0xfee0_0000) => DmaError::Interrupt,
                        _ => DmaError::Blocked,
                    };
                    assert_eq!(found, Err(expected), "{pasid:?} {access:?} {address:x}");
                }
            }
        }
        assert_eq!((guest.read(0x34, 4), guest.read(0x228, 8)), (0, 0), "nothing is recorded");
        assert_eq!(guest.unit.counts().faults_recorded, 0);
        assert_eq!(guest.unit.counts().faults_suppressed, 0);
        // The queue is served all the same.
        assert!(guest.invalidate(&[guest::CONTEXT_GLOBAL, guest::PASID_GLOBAL]));
        // TE=0: requests without PASID pass.
        guest.command(0x0400_0000);
        let handle = guest.unit.dma(device, None).unwrap();
        assert_eq!(leads_to(&handle), Ok(0x5000));
    }
}

// feature: 8.abort mode (TTM 3, ECAP.ADMS)
#[test]
fn abort_mode_waits_for_transfers_and_is_saved() {
    let machine = host();
    let caps = Capabilities::new(CAP, ECAP | ADMS).unwrap();
    let mut guest =
        Guest::made(caps, |config| config.host = Some(Arc::clone(&machine) as Arc<dyn HostIommu>));
    guest.enable();
    for device in [3, 4] {
        guest.put_context(device, 0);
        guest.put_entry(device, 0, &pass_through(5));
        guest.put_entry(device, 5, &first_stage(0x10_0000, 5));
    }
    guest.assign(3);
    assert_eq!(held_by(&machine), ["3 - pt 0", "3 5 fs4 100000"]);
    let emulated = guest.emulate(4);
    let handle = guest.unit.dma(emulated, None).unwrap();
    let guard = handle.guard();
    set_root(&guest, 0x1c00);
    assert_eq!(held_by(&machine), [""; 0], "blocked at once");
    assert_eq!(guest.read(0x1c, 4), 0x8400_0000, "RTPS waits for the transfer");
    drop(guard);
    let _left = guest.unit.run();
    assert_eq!(guest.read(0x1c, 4), 0xc400_0000);

    let state = guest.unit.save().unwrap();
    let mut config = UnitConfig::new(caps, Arc::clone(&guest.memory) as Arc<dyn GuestMemory>);
    config.host = Some(Arc::clone(&machine) as Arc<dyn HostIommu>);
    let restored = RemappingUnit::restore(config, &state, RestoreOnto::SameHost).unwrap();
    let _left = restored.run();
    assert_eq!(held_by(&machine), [""; 0]);
    let handle = restored.dma(emulated, None).unwrap();
    assert_eq!(leads_to(&handle), Err(DmaError::Blocked));
    // And out of it again.
    restored.write(0x20, 8, 0x1400);
    restored.write(0x18, 4, 0xc400_0000);
    let _left = restored.run();
    assert_eq!(leads_to(&handle), Ok(0x5000));
    assert_eq!(held_by(&machine), ["3 - pt 0", "3 5 fs4 100000"]);
}
