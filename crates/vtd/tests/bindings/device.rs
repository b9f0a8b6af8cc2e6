//! Devices that are attached and released.

use std::sync::Arc;

use vtd::host::{HostDevice, HostErrorKind};
use vtd::spec::Capabilities;
use vtd::{AttachError, Attachment, Effect, ResetKind, Step};

use crate::guest::calls::{held_by, host};
use crate::guest::{
    self, CAP, CONTEXT_GLOBAL, ECAP, Guest, PASID_GLOBAL, STATUS, first_stage, source_id,
};
use crate::machine::Machine;

// feature: 7.devices: attach, release and retry
#[test]
fn attach_is_refused() {
    let attach = |guest: &Guest, device| {
        let attachment = Attachment::Assigned(HostDevice(device));
        guest.unit.attach(source_id(device), attachment)
    };
    // CM=0.
    let machine = host();
    let guest = Guest::made(Capabilities::new(CAP & !(1 << 7), ECAP).unwrap(), |config| {
        config.host = Some(Arc::clone(&machine) as _);
    });
    assert!(matches!(attach(&guest, 3), Err(AttachError::NoCachingMode(id)) if id == source_id(3)));
    // Emulated devices need none of it.
    guest.emulate(3);
    // No host.
    let guest = Guest::new();
    assert!(matches!(attach(&guest, 3), Err(AttachError::NoHost(id)) if id == source_id(3)));
    // A device that the host does not have; taken source-ids, of either kind.
    let guest = Guest::with_host(Arc::clone(&machine) as _);
    assert!(matches!(attach(&guest, 9), Err(AttachError::Host { source, .. })
        if source.kind == HostErrorKind::NoSuchDevice));
    attach(&guest, 3).unwrap();
    guest.emulate(4);
    for device in [3, 4] {
        assert!(matches!(attach(&guest, device), Err(AttachError::SourceIdTaken(_))));
        let emulated = guest.unit.attach(source_id(device), Attachment::Emulated);
        assert!(matches!(emulated, Err(AttachError::SourceIdTaken(_))));
    }
    // A device of the host that another one has, until its release is over.
    let twin = || guest.unit.attach(source_id(5), Attachment::Assigned(HostDevice(3))).map(|_| ());
    let taken = |refused| match refused {
        Err(AttachError::HostDeviceTaken { source_id, holder }) => (source_id.0, holder.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(twin()), (0x28, 0x18));
    assert_eq!(guest.unit.devices().len(), 2);
    // An assigned device has no DMA of its own, an emulated one nothing to retry.
    let [assigned, emulated] = [0, 1].map(|n| guest.unit.devices()[n].id);
    assert!(guest.unit.dma(assigned, None).is_err());
    assert!(guest.unit.retry(emulated).is_err());
    guest.unit.release(assigned).unwrap();
    assert_eq!(taken(twin()), (0x28, 0x18));
    while guest.unit.step(1) != Step::Idle {}
    assert!(twin().is_ok());
}

// feature: 7.devices: attach, release and retry
#[test]
fn release_leaves_nothing() {
    let Machine { mut guest, host, .. } = Machine::new();
    for device in [3, 4] {
        guest.put_context(device, 0);
        for pasid in 0..10 {
            guest.put_entry(device, pasid, &first_stage(0x10_0000 + pasid * 0x1000, 5));
        }
    }
    let [three, four] = [3, 4].map(|device| guest.assign(device));
    let before = guest.unit.counts().ledger.held;
    assert_eq!(before, 20);
    guest.unit.release(three).unwrap();
    assert!(guest.unit.release(three).is_err());
    assert!(guest.is_idle());
    assert_eq!(guest.unit.counts().ledger.held, 10);
    assert!(held_by(&host).iter().all(|held| held.starts_with('4')));
    assert!(guest.unit.slots(three).is_empty());
    assert!(matches!(guest.effects()[..], [Effect::Released(device)] if device == three));
    assert!(guest.invalidate(&[CONTEXT_GLOBAL, PASID_GLOBAL]));
    assert!(held_by(&host).iter().all(|held| held.starts_with('4')));
    assert_eq!(guest.unit.devices().len(), 1);
    guest.assign(3);
    assert_eq!(guest.unit.counts().ledger.held, 20);
    guest.unit.release(four).unwrap();
    assert!(guest.is_idle());
    assert_eq!(guest.unit.counts().ledger.held, 10);
}

// feature: 7.devices: attach, release and retry
#[test]
fn released_in_the_middle_of_the_queue() {
    // However far the work has come when the device goes, and whatever is asked meanwhile, nothing of it is left.
    for steps in 0..60 {
        for meanwhile in ["nothing", "root", "te", "reset"] {
            let Machine { mut guest, host, calls } = Machine::new();
            for device in [3, 4] {
                guest.put_context(device, 0);
                for pasid in 0..6 {
                    guest.put_entry(device, pasid, &first_stage(0x10_0000 + pasid * 0x1000, 5));
                }
            }
            let [three, _] = [3, 4].map(|device| guest.assign(device));
            for device in [3, 4] {
                for pasid in 0..6 {
                    guest.put_entry(device, pasid, &first_stage(0x20_0000 + pasid * 0x1000, 5));
                }
            }
            calls.take();
            guest.ring(&[CONTEXT_GLOBAL, guest::wait(9)]);
            for _ in 0..steps / 2 {
                let _step = guest.unit.step(1);
            }
            guest.unit.release(three).unwrap();
            for _ in 0..steps / 3 {
                let _step = guest.unit.step(1);
            }
            let begun = calls.take();
            match meanwhile {
                "root" => guest.write(0x18, 4, 0xc400_0000),
                "te" => {
                    guest.write(0x18, 4, 0x0400_0000);
                    let _step = guest.unit.step(5);
                    guest.write(0x18, 4, 0x8400_0000);
                }
                "reset" => guest.unit.reset(ResetKind::PowerOn),
                _ => {}
            }
            assert!(guest.is_idle());
            let name = format!("{steps} {meanwhile} {begun:?}");
            assert!(held_by(&host).iter().all(|held| held.starts_with('4')), "{name}");
            // From the release on it is only unbound.
            let of_three = calls.take().into_iter().filter(|call| call.contains("00:03.0"));
            assert!(of_three.into_iter().all(|call| call.starts_with("unbind")), "{name}");
            assert_eq!(
                guest
                    .effects()
                    .iter()
                    .filter(|effect| matches!(effect, Effect::Released(_)))
                    .count(),
                1
            );
            if meanwhile == "reset" {
                assert_eq!(held_by(&host), ["4 - pt 0"]);
                assert_eq!(guest.get(STATUS), 0);
            } else {
                assert_eq!(held_by(&host).len(), 6, "{name}");
                assert_eq!(guest.get(STATUS), 9);
                assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
            }
        }
    }
}

// feature: 7.devices: attach, release and retry
#[test]
fn a_device_that_the_host_has_lost_can_be_released() {
    // Unplugged from the host first; then the guest removes its entries, or the VMM releases the device, or both.
    for guest_first in [false, true] {
        let Machine { mut guest, host, .. } = Machine::new();
        guest.put_context(3, 0);
        for pasid in 0..4 {
            guest.put_entry(3, pasid, &first_stage(0x10_0000 + pasid * 0x1000, 5));
        }
        let device = guest.assign(3);
        assert_eq!(held_by(&host).len(), 4);
        assert!(host.inner().remove_device(HostDevice(3)));
        guest.effects();
        if guest_first {
            guest.put_entry(3, 1, &[0]);
            guest.put_entry(3, 2, &first_stage(0x90_0000, 5));
            assert!(
                guest.invalidate(&[PASID_GLOBAL]),
                "nothing is held, so nothing holds the wait back"
            );
        }
        guest.unit.release(device).unwrap();
        assert!(guest.is_idle());
        let effects = guest.effects();
        assert!(
            effects.iter().any(|effect| matches!(effect, Effect::Released(id) if *id == device))
        );
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::HostStuck(_))));
        assert!(guest.unit.devices().is_empty());
    }
}
