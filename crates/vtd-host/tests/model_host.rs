//! What the model host accepts, refuses, and says that it holds.

#![cfg(feature = "std")]

use vtd_host::{
    HostCapabilities, HostDevice, HostErrorKind, HostIommu, ModelHost, StageOneInvalidation,
    StageOneRange,
};
use vtd_spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd_spec::{Binding, FirstStage, FirstStageLevels, Gpa, Iova, Pasid, Slot, SourceId};

const DISK: HostDevice = HostDevice(1);
const CARD: HostDevice = HostDevice(2);
const GONE: HostDevice = HostDevice(3);

fn slot(pasid: u64) -> Slot {
    Slot::Pasid(Pasid::from_low_bits(pasid))
}

fn four_levels(table: u64) -> FirstStage {
    FirstStage {
        table: Gpa(table),
        levels: FirstStageLevels::Four,
        supervisor: false,
        write_protect: false,
        extended_accessed: false,
    }
}

fn two_devices() -> ModelHost {
    let host = ModelHost::new();
    host.add_device(DISK);
    host.add_device(CARD);
    host
}

#[test]
fn it_holds_what_it_accepted() {
    use HostErrorKind::{AlreadyBound, NoSuchDevice, NotBound, Refused};
    #[derive(Debug)]
    enum Call {
        Bind,
        Replace,
        Unbind,
    }
    use Call::{Bind, Replace, Unbind};

    let host = two_devices();
    // (call, device, slot, table; answer; what the slot holds then)
    let table = [
        (Unbind, DISK, slot(5), 0, Some(NotBound), None),
        (Replace, DISK, slot(5), 0x1000, Some(NotBound), None),
        (Bind, DISK, slot(5), 0x1008, Some(Refused), None),
        (Bind, DISK, slot(5), 0x1000, None, Some(0x1000)),
        (Bind, DISK, slot(5), 0x2000, Some(AlreadyBound), Some(0x1000)),
        (Bind, CARD, slot(5), 0x9000, None, Some(0x9000)),
        (Bind, DISK, Slot::Rid, 0x3000, None, Some(0x3000)),
        (Bind, DISK, slot(0), 0x4000, None, Some(0x4000)),
        (Replace, DISK, slot(5), 0x2800, Some(Refused), Some(0x1000)),
        (Replace, DISK, slot(5), 0x2000, None, Some(0x2000)),
        (Replace, DISK, slot(5), 0x2000, None, Some(0x2000)),
        (Bind, GONE, slot(5), 0x1000, Some(NoSuchDevice), None),
        (Replace, GONE, slot(5), 0x1000, Some(NoSuchDevice), None),
        (Unbind, GONE, slot(5), 0, Some(NoSuchDevice), None),
        (Unbind, DISK, slot(0), 0, None, None),
        (Unbind, DISK, slot(0), 0, Some(NotBound), None),
    ];
    for (call, device, slot, address, refusal, held) in table {
        let binding = Binding::FirstStage(four_levels(address));
        let answer = match call {
            Bind => host.bind(device, slot, &binding),
            Replace => host.replace(device, slot, &binding),
            Unbind => host.unbind(device, slot),
        };
        assert_eq!(answer.err().map(|error| error.kind), refusal, "{call:?} {slot}");
        let held = held.map(|address| Binding::FirstStage(four_levels(address)));
        assert_eq!(host.binding(device, slot), held, "{call:?} {slot}");
    }
    let held = |address| Binding::FirstStage(four_levels(address));
    assert_eq!(
        host.bindings(),
        [
            (DISK, Slot::Rid, held(0x3000)),
            (DISK, slot(5), held(0x2000)),
            (CARD, slot(5), held(0x9000))
        ]
    );
    let counts = host.call_counts();
    assert_eq!((counts.bind, counts.replace, counts.unbind), (7, 5, 4));
    assert_eq!((counts.refused, counts.invalidate, counts.invalidations), (9, 0, 0));
}

#[test]
fn an_unplugged_device_takes_its_bindings_along() {
    let host = two_devices();
    for device in [DISK, CARD] {
        host.bind(device, Slot::Rid, &Binding::PassThrough).unwrap();
    }
    assert!(host.remove_device(DISK));
    assert!(!host.remove_device(DISK));
    assert_eq!(host.bindings(), [(CARD, Slot::Rid, Binding::PassThrough)]);
    let error = host.unbind(DISK, Slot::Rid).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NoSuchDevice);
    host.add_device(DISK);
    host.bind(DISK, Slot::Rid, &Binding::PassThrough).unwrap();
    // Adding what is there changes nothing.
    host.add_device_with(DISK, HostCapabilities::none());
    host.replace(DISK, Slot::Rid, &Binding::PassThrough).unwrap();
}

#[test]
fn invalidations_stop_at_the_first_that_is_not_canonical() {
    let host = two_devices();
    host.bind(DISK, slot(1), &Binding::FirstStage(four_levels(0x1000))).unwrap();
    host.bind(DISK, Slot::Rid, &Binding::PassThrough).unwrap();
    let pages = |first, count| StageOneInvalidation {
        range: StageOneRange::Pages { first: Iova(first), count },
        leaf_only: false,
    };
    let all = StageOneInvalidation::EVERYTHING;
    // (slot, batch; entries done and why no more)
    let table = [
        (slot(1), &[][..], None),
        (slot(1), &[all, pages(0, 1), pages(0xffff_ffff_ffff_f000, 1), pages(0, 1 << 52)], None),
        (slot(1), &[all, pages(0x800, 1), all], Some((1, HostErrorKind::Refused))),
        (slot(1), &[all, all, pages(0, 0)], Some((2, HostErrorKind::Refused))),
        (slot(1), &[pages(0x1000, 1 << 52)], Some((0, HostErrorKind::Refused))),
        (slot(1), &[pages(0x1000, u64::MAX)], Some((0, HostErrorKind::Refused))),
        (slot(2), &[], Some((0, HostErrorKind::NotBound))),
        (slot(2), &[all], Some((0, HostErrorKind::NotBound))),
        (Slot::Rid, &[all], Some((0, HostErrorKind::Refused))),
    ];
    for (slot, batch, expected) in table {
        let answer = host.invalidate(DISK, slot, batch);
        let found = answer.err().map(|failed| (failed.handled, failed.error.kind));
        assert_eq!(found, expected, "{batch:?}");
    }
    let counts = host.call_counts();
    assert_eq!((counts.invalidate, counts.refused, counts.invalidations), (9, 7, 7));
}

#[test]
fn capabilities_decide_what_fits() {
    let capable = |change: fn(&mut HostCapabilities)| {
        let mut capabilities = HostCapabilities::none();
        change(&mut capabilities);
        capabilities
    };
    let plain = four_levels(0x1000);
    let five = FirstStage { levels: FirstStageLevels::Five, ..plain };
    let supervisor = FirstStage { supervisor: true, ..plain };
    let protected = FirstStage { write_protect: true, ..supervisor };
    let accessed = FirstStage { extended_accessed: true, ..plain };
    let bindings = [
        Binding::PassThrough,
        Binding::FirstStage(plain),
        Binding::FirstStage(five),
        Binding::FirstStage(supervisor),
        Binding::FirstStage(protected),
        Binding::FirstStage(accessed),
    ];
    // What fits of the bindings above: pt, 4, 5, 4+sre, 4+sre+wpe, 4+eafe.
    let table: [(HostCapabilities, [bool; 6]); 8] = [
        (HostCapabilities::none(), [false; 6]),
        (HostCapabilities::everything(), [true; 6]),
        (capable(|c| c.pass_through = true), [true, false, false, false, false, false]),
        (capable(|c| c.first_stage_four = true), [false, true, false, false, false, false]),
        (capable(|c| c.first_stage_five = true), [false, false, true, false, false, false]),
        (
            capable(|c| {
                c.first_stage_four = true;
                c.supervisor = true;
            }),
            [false, true, false, true, false, false],
        ),
        (
            capable(|c| {
                c.first_stage_four = true;
                c.supervisor = true;
                c.write_protect = true;
            }),
            [false, true, false, true, true, false],
        ),
        (
            capable(|c| {
                c.first_stage_four = true;
                c.extended_accessed = true;
            }),
            [false, true, false, false, false, true],
        ),
    ];
    for (mut capabilities, expected) in table {
        capabilities.pasids = 0;
        assert_eq!(bindings.map(|b| capabilities.supports(&b, Slot::Rid)), expected);
        assert_eq!(bindings.map(|b| capabilities.supports(&b, slot(0))), [false; 6]);
        capabilities.pasids = 1;
        assert_eq!(bindings.map(|b| capabilities.supports(&b, slot(0))), expected);

        let host = ModelHost::with_capabilities(capabilities);
        host.add_device(DISK);
        for (binding, fits) in bindings.iter().zip(expected) {
            for slot in [Slot::Rid, slot(7)] {
                let answer = host.bind(DISK, slot, binding).map_err(|error| error.kind);
                assert_eq!(answer, if fits { Ok(()) } else { Err(HostErrorKind::NotSupported) });
                assert_eq!(host.unbind(DISK, slot).is_ok(), fits);
            }
        }
    }
}

#[test]
fn pasids_have_as_many_bits_as_the_host_says() {
    let mut capabilities = HostCapabilities::everything();
    // Bits, the last PASID that fits, the first that does not.
    let rows = [
        (0, Some(0), Some(1)),
        (8, Some(0xff), Some(0x100)),
        (16, Some(0xffff), Some(0x1_0000)),
        (20, Some(0xf_ffff), None),
        (255, Some(0xf_ffff), None),
    ];
    for (bits, last, beyond) in rows {
        capabilities.pasid_bits = bits;
        let fits = |pasid| capabilities.supports(&Binding::PassThrough, slot(pasid));
        assert_eq!((last.map(fits), beyond.is_some_and(fits)), (Some(true), false), "{bits}");
        assert!(capabilities.supports(&Binding::PassThrough, Slot::Rid));
    }
}

// feature: 7.capabilities: erratum 772415
#[test]
fn the_erratum_forbids_first_stage_tables_over_read_only_memory() {
    let rows =
        [(false, false, true), (false, true, true), (true, false, true), (true, true, false)];
    for (erratum, read_only, binds) in rows {
        let mut capabilities = HostCapabilities::everything();
        capabilities.erratum_772415 = erratum;
        capabilities.read_only_memory = read_only;
        assert_eq!(capabilities.binds_first_stage(), binds);
        let five = FirstStage { levels: FirstStageLevels::Five, ..four_levels(0x1000) };
        for stage in [four_levels(0x1000), five] {
            let found = capabilities.supports(&Binding::FirstStage(stage), Slot::Rid);
            assert_eq!(found, binds, "{erratum} {read_only}");
        }
        assert!(capabilities.supports(&Binding::PassThrough, Slot::Rid));
    }
    let mut five_only = HostCapabilities::none();
    five_only.first_stage_five = true;
    assert!(!five_only.binds_first_stage(), "ECAP.FSTS is four levels at least");
}

#[test]
fn pasids_run_out_for_each_device_alone() {
    let mut capabilities = HostCapabilities::everything();
    capabilities.pasids = 2;
    let host = ModelHost::new();
    host.add_device_with(DISK, capabilities);
    host.add_device_with(CARD, capabilities);
    let bind =
        |device, slot| host.bind(device, slot, &Binding::PassThrough).map_err(|error| error.kind);
    for (device, slot, expected) in [
        (DISK, slot(0xf_ffff), Ok(())),
        (DISK, Slot::Rid, Ok(())),
        (DISK, slot(0), Ok(())),
        (DISK, slot(1), Err(HostErrorKind::NoSpace)),
        (CARD, slot(1), Ok(())),
    ] {
        assert_eq!(bind(device, slot), expected);
    }
    host.replace(DISK, slot(0), &Binding::PassThrough).unwrap();
    host.unbind(DISK, slot(0)).unwrap();
    assert_eq!(bind(DISK, slot(1)), Ok(()));
}

#[test]
fn ranges_are_shown_as_in_recordings() {
    let pages = StageOneRange::Pages { first: Iova(0x7f00_1000), count: 0x200 };
    assert_eq!(pages.to_string(), "7f001000 200");
    assert_eq!(StageOneRange::Everything.to_string(), "0 all");
}

#[test]
fn page_group_responses_are_kept_until_they_are_taken() {
    let host = two_devices();
    let response = |group_index| PageGroupResponse {
        source_id: SourceId(0x18),
        pasid: None,
        code: ResponseCode::Success,
        last_in_group: true,
        group_index,
    };
    host.respond(DISK, &response(1)).unwrap();
    host.respond(CARD, &response(2)).unwrap();
    let refused = host.respond(GONE, &response(3)).unwrap_err();
    assert_eq!(refused.kind, HostErrorKind::NoSuchDevice);
    assert_eq!(host.take_responses(), [(DISK, response(1)), (CARD, response(2))]);
    assert_eq!(host.take_responses(), []);
    assert_eq!((host.call_counts().respond, host.call_counts().refused), (3, 1));
    for number in 0..5_000 {
        host.respond(DISK, &response(number)).unwrap();
    }
    let kept = host.take_responses();
    assert_eq!((kept.len(), kept[0].1.group_index), (4_096, 904));
}
