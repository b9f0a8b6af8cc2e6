//! Faults of assigned devices, which the host reports.

use vtd::spec::Slot;

use crate::guest::{self};
use crate::machine::Machine;

// feature: 2.faults of assigned devices, as the host reports them
#[test]
fn host_faults_are_recorded_for_the_guest() {
    use vtd::spec::{AddressType, FaultReason, Iova};
    use vtd::{Access, HostFault};
    let Machine { guest, .. } = Machine::new();
    let device = guest.assign(3);
    let reason = FaultReason::from_code(0x71).unwrap();
    let table = [
        (Slot::Rid, Access::READ, 1_u64 << 63 | 1 << 62 | 0x71 << 32 | 0x18),
        (
            Slot::Pasid(guest::pasid(0x8_0001)),
            Access::WRITE,
            1 << 63 | 0x8_0001 << 40 | 0x71 << 32 | 1 << 31 | 0x18,
        ),
    ];
    for (slot, access, high) in table {
        guest
            .unit
            .report_host_fault(device, HostFault::new(slot, Iova(0x5123), access, reason))
            .unwrap();
        assert_eq!((guest.read(0x220, 8), guest.read(0x228, 8)), (0x5000, high));
        assert_eq!(guest.interrupts(), [guest::FAULT_DATA]);
        guest.write(0x22c, 4, 0x8000_0000);
    }
    // AT. A translation request is a read.
    let fault = HostFault::new(Slot::Rid, Iova(0x5123), Access::WRITE, reason);
    for (address_type, bits) in [
        (AddressType::Untranslated, 0),
        (AddressType::TranslationRequest, 1 << 62 | 1 << 60),
        (AddressType::Translated, 2 << 60),
    ] {
        guest.unit.report_host_fault(device, fault.with_address_type(address_type)).unwrap();
        assert_eq!(guest.read(0x228, 8), 1 << 63 | bits | 0x71 << 32 | 0x18);
        guest.write(0x22c, 4, 0x8000_0000);
    }
    guest.unit.release(device).unwrap();
    assert!(guest.is_idle());
    let fault = HostFault::new(Slot::Rid, Iova(0), Access::READ, reason);
    assert!(guest.unit.report_host_fault(device, fault).is_err());
}
