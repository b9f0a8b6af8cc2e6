//! What the guest is shown never exceeds what the hosts of its devices have.
#![cfg(test)]

mod guest;

use std::sync::Arc;

use guest::{Guest, STATUS, fault_of, first_stage, pasid, source_id};
use vtd::host::{HostCapabilities, HostDevice, ModelHost};
use vtd::spec::{Capabilities, FaultReason, Iova, Slot};
use vtd::{
    Access, AttachError, Attachment, DeviceId, HostFault, RemappingUnit, RestoreError, RestoreOnto,
    Step, UnitConfig, UnitState,
};

/// All that an assigned device may narrow, and more: SAGAW 39 to 57 bits, FS5LP, FS1GP, CM.
const CAP: u64 = 0x91d2_008c_2238_0ee6;
/// QI, DT, PT, SC, NEST, PRS, ERS, SRS, EAFS, PASID of 20 bits, SMTS, SSADS, SSTS, FSTS, SMPWCS, RPS.
const ECAP: u64 = 0x0003_e99c_e400_0fc6;

type Change = fn(&mut HostCapabilities);

/// A host whose device 3 has what `change` leaves of everything, shadowing included; device 4 has everything.
fn host(change: impl FnOnce(&mut HostCapabilities)) -> Arc<ModelHost> {
    let host = ModelHost::new();
    let mut capabilities = HostCapabilities::everything();
    change(&mut capabilities);
    host.add_device_with(HostDevice(3), capabilities);
    host.add_device(HostDevice(4));
    Arc::new(host)
}

fn guest_with(host: &Arc<ModelHost>) -> Guest {
    Guest::made(Capabilities::new(CAP, ECAP).unwrap(), |config| {
        config.host = Some(Arc::clone(host) as _);
    })
}

fn attach(unit: &RemappingUnit, device: u64) -> Result<DeviceId, AttachError> {
    unit.attach(source_id(device), Attachment::Assigned(HostDevice(device)))
}

/// What the guest of `unit` reads.
fn registers(unit: &RemappingUnit) -> (u64, u64) {
    (unit.read(8, 8), unit.read(0x10, 8))
}

/// What a host lacks, the bits of CAP and ECAP that the guest is then not shown, and the first of them by name.
const TABLE: [(&str, Change, u64, u64, &str); 17] = [
    ("five levels", |h| h.first_stage_five = false, 1 << 60, 0, "CAP.FS5LP"),
    ("first-stage pages of 1 GiB", |h| h.first_stage_1g = false, 1 << 56, 0, "CAP.FS1GP"),
    ("supervisor requests", |h| h.supervisor = false, 0, 1 << 31, "ECAP.SRS"),
    ("extended accessed", |h| h.extended_accessed = false, 0, 1 << 34, "ECAP.EAFS"),
    ("coherent walks", |h| h.coherent_page_walk = false, 0, 1 << 48, "ECAP.SMPWCS"),
    ("pass-through", |h| h.pass_through = false, 0, 1 << 6, "ECAP.PT"),
    ("snoop control", |h| h.snoop_control = false, 0, 1 << 7, "ECAP.SC"),
    ("nested", |h| h.nested = false, 0, 1 << 26, "ECAP.NEST"),
    ("accessed and dirty", |h| h.second_stage_accessed_dirty = false, 0, 1 << 45, "ECAP.SSADS"),
    ("execute requests", |h| h.execute_requests = false, 0, 1 << 30, "ECAP.ERS"),
    ("protected memory", |h| h.protected_memory = false, 0x60, 0, "CAP.PLMR"),
    (
        "second stage",
        |h| {
            h.shadowing = false;
            h.second_stage = false;
        },
        0,
        1 << 46 | 1 << 45 | 1 << 26,
        "ECAP.SSTS",
    ),
    (
        "first stage",
        |h| h.first_stage_four = false,
        1 << 60 | 1 << 56,
        1 << 47 | 1 << 34 | 1 << 26,
        "ECAP.FSTS",
    ),
    (
        "first stage, by the erratum",
        |h| {
            h.erratum_772415 = true;
            h.read_only_memory = true;
        },
        1 << 60 | 1 << 56,
        1 << 47 | 1 << 34 | 1 << 26,
        "ECAP.FSTS",
    ),
    // PSS 13 becomes f, and 0.
    ("PASIDs of 16 bits", |h| h.pasid_bits = 16, 0, 0x13 << 35 ^ 0xf << 35, "ECAP.PSS"),
    ("PASIDs of no bits", |h| h.pasid_bits = 0, 0, 0x13 << 35, "ECAP.PSS"),
    (
        "all that real hardware lacks",
        |h| {
            h.nested = false;
            h.shadowing = false;
            h.second_stage = false;
            h.second_stage_accessed_dirty = false;
            h.execute_requests = false;
        },
        0,
        1 << 46 | 1 << 45 | 1 << 30 | 1 << 26,
        "ECAP.SSTS",
    ),
];

// feature: 7.capabilities: never more than the hosts have
// feature: 7.capabilities: erratum 772415
#[test]
fn what_a_host_lacks_is_not_shown() {
    for (name, change, cap, ecap, _) in TABLE {
        let host = host(change);
        let guest = guest_with(&host);
        assert_eq!(guest.unit.capabilities().cap(), CAP, "{name}");
        attach(&guest.unit, 4).unwrap();
        assert_eq!(guest.unit.capabilities().ecap(), ECAP, "{name}");
        attach(&guest.unit, 3).unwrap();
        let expected = (CAP & !cap, ECAP ^ ecap);
        let shown = guest.unit.capabilities();
        assert_eq!((shown.cap(), shown.ecap()), expected, "{name}");
        assert_eq!(registers(&guest.unit), expected, "{name}");
        assert_eq!(shown.host_address_width(), 57 - 5, "{name}");
        // A narrowing stays though its device goes.
        guest.unit.release(guest.unit.devices()[1].id).unwrap();
        assert!(guest.is_idle());
        assert_eq!(registers(&guest.unit), expected, "{name}");
        attach(&guest.unit, 3).unwrap();
    }
}

// feature: 7.capabilities: frozen when the guest starts
#[test]
fn a_guest_that_has_started_sees_no_change() {
    for (name, change, _, _, feature) in TABLE {
        let host = host(change);
        let guest = guest_with(&host);
        attach(&guest.unit, 4).unwrap();
        assert_eq!(registers(&guest.unit), (CAP, ECAP));
        match attach(&guest.unit, 3) {
            Err(AttachError::HostLacks { source_id: refused, feature: found }) => {
                assert_eq!(refused, source_id(3), "{name}");
                assert!(found.starts_with(feature), "{name}: {found}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(registers(&guest.unit), (CAP, ECAP), "{name}");
        assert_eq!(guest.unit.devices().len(), 1, "{name}");
        // Neither does it follow a reset.
        guest.unit.reset(vtd::ResetKind::PowerOn);
        assert!(guest.is_idle());
        assert!(attach(&guest.unit, 3).is_err(), "{name}");
        // An emulated device is no matter of the host's.
        guest.emulate(5);
    }
}

// feature: 7.capabilities: frozen when the guest starts
#[test]
fn how_a_guest_starts() {
    type Start = fn(&Guest);
    let starts: [(&str, Start); 6] = [
        ("a read", |guest| assert_eq!(guest.read(0, 4), 0x10)),
        ("a read of nothing", |guest| assert_eq!(guest.read(0x18, 1), 0)),
        ("a write", |guest| guest.write(0x40, 4, 0)),
        ("freeze", |guest| guest.unit.freeze()),
        ("DMA", |guest| {
            let handle = guest.unit.dma(guest.emulate(5), None).unwrap();
            assert_eq!(guest::translate(&handle, 0x1000, Access::READ), Ok(0x1000));
        }),
        ("a fault of the host", |guest| {
            let device = attach(&guest.unit, 4).unwrap();
            let fault = HostFault::new(Slot::Rid, Iova(0x1000), Access::READ, FaultReason::NoRead);
            guest.unit.report_host_fault(device, fault).unwrap();
        }),
    ];
    let lacking = host(|host| host.supervisor = false);
    for (name, start) in starts {
        let guest = guest_with(&lacking);
        start(&guest);
        assert!(matches!(attach(&guest.unit, 3), Err(AttachError::HostLacks { .. })), "{name}");
        assert_eq!(guest.unit.capabilities().ecap(), ECAP, "{name}");
    }
    // What the VMM alone does, starts no guest.
    let guest = guest_with(&lacking);
    let _sizes = (guest.unit.register_page_size(), guest.unit.counts(), guest.unit.save().unwrap());
    guest.unit.reset(vtd::ResetKind::PowerOn);
    let handle = guest.unit.dma(guest.emulate(5), None).unwrap();
    drop(handle.guard());
    assert_eq!(guest.unit.run(), Step::Idle);
    attach(&guest.unit, 3).unwrap();
    assert_eq!(registers(&guest.unit), (CAP, ECAP & !(1 << 31)));
}

// feature: 7.capabilities: never more than the hosts have
#[test]
fn hosts_narrow_one_after_the_other() {
    let model = host(|host| host.supervisor = false);
    let mut other = HostCapabilities::everything();
    other.pasid_bits = 8;
    other.first_stage_five = false;
    model.add_device_with(HostDevice(5), other);
    // No PASIDs at all: its configuration space says so, and the others keep theirs.
    let mut without = HostCapabilities::everything();
    without.pasids = 0;
    without.pasid_bits = 0;
    model.add_device_with(HostDevice(6), without);
    let guest = guest_with(&model);
    for device in [3, 5, 6] {
        attach(&guest.unit, device).unwrap();
    }
    let ecap = ECAP & !(1 << 31) & !(0x1f << 35) | 7 << 35;
    assert_eq!(registers(&guest.unit), (CAP & !(1 << 60), ecap));
}

/// A host that shadows second-stage tables whose addresses have so many bits.
fn shadowing(bits: u8) -> Arc<ModelHost> {
    host(|host| {
        host.second_stage = false;
        host.shadowing = true;
        host.second_stage_bits = bits;
    })
}

// feature: 7.capabilities: never more than the hosts have
#[test]
fn widths_of_shadowed_tables() {
    // Bits, SAGAW that is left, and what goes from ECAP: with no width at all SSTS, SSADS and NEST.
    let none = 1 << 46 | 1 << 45 | 1 << 26;
    for (bits, widths, ecap) in
        [(57, 0xe, 0), (56, 6, 0), (48, 6, 0), (39, 2, 0), (38, 0, none), (0, 0, none)]
    {
        let guest = guest_with(&shadowing(bits));
        attach(&guest.unit, 3).unwrap();
        let cap = CAP & !(0x1f << 8) | widths << 8;
        assert_eq!(registers(&guest.unit), (cap, ECAP & !ecap), "{bits}");
        // Too late: refused, unless nothing is lacking.
        let late = guest_with(&shadowing(bits));
        late.unit.freeze();
        match attach(&late.unit, 3) {
            Ok(_) => assert_eq!(bits, 57),
            Err(AttachError::HostLacks { feature, .. }) => {
                let expected = if ecap == 0 { "CAP.SAGAW" } else { "ECAP.SSTS" };
                assert!(feature.starts_with(expected), "{feature}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

// feature: 7.capabilities: never more than the hosts have
#[test]
fn a_host_with_nothing_in_common_is_refused() {
    let model = host(|host| *host = HostCapabilities::none());
    let guest = guest_with(&model);
    assert!(
        matches!(attach(&guest.unit, 3), Err(AttachError::NothingInCommon(id)) if id == source_id(3))
    );
    assert_eq!(registers(&guest.unit), (CAP, ECAP));
    // A unit of legacy mode alone loses pass-through: its guest's tables may be shadowed, or are blocked.
    let guest = Guest::made(Capabilities::new(CAP & !(1 << 60), 0xf46).unwrap(), |config| {
        config.host = Some(Arc::clone(&model) as _);
    });
    attach(&guest.unit, 3).unwrap();
    assert_eq!(registers(&guest.unit), (CAP & !(1 << 60 | 1 << 56 | 0x60), 0xf06));
}

// feature: 10.fields of capabilities that are not shown are reserved
#[test]
fn what_is_not_shown_is_reserved() {
    // EAFE (qw2 bit 7) and five levels (bit 2), for an emulated device beside an assigned one.
    for (change, bit, code) in [
        ((|host| host.extended_accessed = false) as Change, 7, 0x5a),
        (|host| host.first_stage_five = false, 2, 0x5b),
        (|_| {}, 7, 0x72),
    ] {
        let model = host(change);
        let mut guest = guest_with(&model);
        attach(&guest.unit, 3).unwrap();
        guest.enable();
        guest.put_context(5, 0);
        guest.put_entry(5, 1, &first_stage(0x10_0000 | 1 << bit, 5));
        guest.put(0x10_0000, &[0x10_1087]);
        let device = guest.emulate(5);
        let handle = guest.unit.dma(device, Some(pasid(1))).unwrap();
        assert_eq!(fault_of(&handle, 0x1000), code);
    }
}

// feature: 10.features out of scope are never shown
#[test]
fn what_is_not_implemented_is_not_shown() {
    // AFL, PI, ECMDS and reserved bits of CAP; DIS, MTS, PMS and reserved bits of ECAP.
    let (cap, ecap) = (CAP | 0x2800_0070_0080_e008 & !(3 << 36), ECAP | 0xffc8_0001_1b0c_0020);
    let caps = Capabilities::new(cap, ecap).unwrap();
    assert_eq!((caps.cap(), caps.ecap()), (cap, ecap));
    let guest = Guest::made(caps, |_| {});
    assert_eq!(registers(&guest.unit), (CAP, ECAP));
    let shown = guest.unit.capabilities();
    assert_eq!((shown.cap(), shown.ecap()), (CAP, ECAP));
}

// feature: 9.capabilities that the guest was shown
#[test]
fn a_restored_guest_is_shown_what_it_was_shown() {
    let narrow = (CAP & !(1 << 60), ECAP & !(1 << 31 | 0x1f << 35) | 0xf << 35);
    let lacking = || {
        host(|host| {
            host.supervisor = false;
            host.first_stage_five = false;
            host.pasid_bits = 16;
        })
    };
    let (model, everything) = (lacking(), host(|_| {}));
    let mut guest = guest_with(&model);
    attach(&guest.unit, 3).unwrap();
    guest.enable();
    assert_eq!(registers(&guest.unit), narrow);
    let state = guest.unit.save().unwrap();
    let restore = |state: &UnitState, (cap, ecap), host: &Arc<ModelHost>| {
        let caps = Capabilities::new(cap, ecap).unwrap();
        let mut config = UnitConfig::new(caps, Arc::clone(&guest.memory) as _);
        config.host = Some(Arc::clone(host) as _);
        RemappingUnit::restore(config, state, RestoreOnto::FreshHost)
    };
    // Configured as before, or as narrow as that already; on a host as narrow, or a better one.
    for configured in [(CAP, ECAP), narrow] {
        for host in [&lacking(), &everything] {
            let unit = restore(&state, configured, host).unwrap();
            assert_eq!(registers(&unit), narrow);
            assert_eq!(unit.run(), Step::Idle);
        }
    }
    // Configured with less than the guest has seen, or with what no agreement makes of it.
    for configured in [
        (narrow.0 & !(1 << 56), narrow.1),
        (narrow.0, narrow.1 & !(1 << 34)),
        (narrow.0, narrow.1 & !(0x1f << 35) | 0xe << 35),
        (narrow.0 | 1 << 22, narrow.1),
        (narrow.0, narrow.1 & !(1 << 49)),
    ] {
        let restored = restore(&state, configured, &everything);
        assert!(matches!(restored, Err(RestoreError::OtherUnit { .. })), "{configured:x?}");
    }
    // A host with less than the guest has seen.
    for (name, change, _, _, feature) in TABLE {
        let missing = match feature {
            // The state is without them already, but for fewer bits yet.
            "CAP.FS5LP" | "ECAP.SRS" => continue,
            "ECAP.PSS" if name.contains("16") => continue,
            feature => feature,
        };
        match restore(&state, (CAP, ECAP), &host(change)) {
            Err(RestoreError::Attach(AttachError::HostLacks { feature: found, .. })) => {
                assert!(found.starts_with(missing), "{name}: {found}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    // Before the guest started, too: the state is what it may have been told of.
    let model = lacking();
    let young = guest_with(&model);
    attach(&young.unit, 3).unwrap();
    let state = young.unit.save().unwrap();
    let unit = restore(&state, (CAP, ECAP), &everything).unwrap();
    assert_eq!((unit.capabilities().cap(), unit.capabilities().ecap()), narrow);
    assert_eq!(young.get(STATUS), 0);
}

#[test]
fn agreement_and_the_first_access_race() {
    // Whoever is first: the guest never sees a change.
    for _ in 0..200 {
        let model = host(|host| host.supervisor = false);
        let guest = guest_with(&model);
        let (attached, (first, second)) = std::thread::scope(|scope| {
            let attach = scope.spawn(|| attach(&guest.unit, 3).is_ok());
            let reads = scope.spawn(|| {
                let first = guest.read(0x10, 8);
                (first, guest.read(0x10, 8))
            });
            (attach.join().unwrap(), reads.join().unwrap())
        });
        assert_eq!(first, second);
        assert_eq!(first, if attached { ECAP & !(1 << 31) } else { ECAP });
        assert_eq!(guest.read(0x10, 8), first);
    }
}
