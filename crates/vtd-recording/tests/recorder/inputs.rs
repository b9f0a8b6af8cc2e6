//! Inputs with a line, with a note, and with neither.

use vtd::spec::{FaultReason, Iova, Pasid, Slot, SourceId};
use vtd::{Access, HostFault, ResetKind, Step};
use vtd_recording::format::Event;

use crate::vmm::{DEVICE, Vmm, corpus, events, with_queue};

#[test]
fn accesses_of_odd_sizes() {
    let vmm = with_queue();
    for (size, value, lines) in [
        // The size cannot be written down, and the unit ignores it.
        (0, 1, &[][..]),
        (9, 1, &[]),
        // What the access does not move is not written down.
        (4, 0xff_fee0_0000, &["write 40 4 fee00000"]),
        (1, 0x123, &["write 40 1 23"]),
        (8, 0xff_fee0_1000, &["write 40 8 fffee01000"]),
    ] {
        vmm.unit.write(0x40, size, value);
        assert_eq!(vmm.output.news(), lines);
    }
    assert_eq!((vmm.unit.read(0x40, 3), vmm.unit.read(0x40, 8)), (0, 0xff_fee0_1000));
    assert_eq!(vmm.output.news(), ["read 40 3 0", "read 40 8 fffee01000"]);
}

/// Three devices are assigned, with tables. Of the events to come the first binds one PASID of each, and later ones
/// invalidate what is bound.
pub(crate) fn before_three_binds() -> (Vmm, Vec<Event>) {
    let files = corpus("vectors");
    let (_, text) = files.iter().find(|(name, _)| name.contains("host-iotlb")).unwrap();
    let (header, mut events) = events(text);
    let mut vmm = Vmm::new(&header);
    let binding = Event::Write { offset: 0x88, size: 8, value: 0x80 };
    let to_come = events.split_off(events.iter().position(|event| *event == binding).unwrap());
    for event in &events {
        vmm.perform(event);
    }
    vmm.output.news();
    (vmm, to_come)
}

#[test]
fn calls_that_fail_first_are_said_before_the_input() {
    // (calls that fail, lines before the input)
    let later = "# note: of the host calls of the next input one fa";
    let cases: [(&[u64], &[&str]); 5] = [
        (&[1], &["host-fail"]),
        (&[1, 2], &["host-fail", "host-fail"]),
        (&[1, 2, 3], &["host-fail", "host-fail", "host-fail"]),
        (&[2], &[later]),
        (&[1, 3], &[later, "host-fail"]),
    ];
    for (failing, expected) in cases {
        let (mut vmm, to_come) = before_three_binds();
        failing.iter().for_each(|call| vmm.host.fail_nth(*call));
        vmm.perform(&to_come[0]);
        let mut lines = vmm.output.news();
        assert!(lines.iter().any(|line| line.starts_with("mem ")));
        lines.retain(|line| !line.starts_with("mem ") && !line.starts_with("zero "));
        let (before, after) = lines.split_at(expected.len());
        assert_eq!(before, expected);
        let rest = [
            "write 88 8 80",
            "host bind 00:03.0 1 fs4 100000 5",
            "host bind 00:04.0 1 fs4 200000 6",
            "host bind 00:05.0 1 fs4 300000 5",
            "iommu-write 9000 02000000",
        ];
        assert_eq!(after, rest);
    }
}

#[test]
fn what_has_no_line_leaves_a_note() {
    let (mut vmm, to_come) = before_three_binds();
    vmm.host.fail_nth(1);
    vmm.perform(&to_come[0]);
    vmm.output.news();
    let (assigned, _) = vmm.devices[&DEVICE];

    // The host refuses once more.
    for failing in [true, false] {
        if failing {
            vmm.host.fail_next();
        }
        vmm.unit.retry(assigned).unwrap();
        let retried = [
            "# note: the VMM had 00:03.0 tried again",
            "# note: one of the next host calls failed",
        ];
        let mut lines: Vec<&str> = retried[..1 + usize::from(failing)].to_vec();
        lines.push("host bind 00:03.0 1 fs4 100000 5");
        assert_eq!(vmm.output.news(), lines);
    }

    let slot = Slot::Pasid(Pasid::from_low_bits(1));
    let fault =
        HostFault::new(slot, Iova(0x7123), Access::WRITE, FaultReason::FirstStageNotPresent);
    vmm.unit.report_host_fault(assigned, fault).unwrap();
    assert_eq!(
        vmm.output.news(),
        [
            "# note: the VMM reported a fault of 00:03.0",
            "fault 00:03.0 1 w 7000 reason 71",
            "msi fee00000 21"
        ]
    );

    vmm.unit.reset(ResetKind::Warm);
    assert_eq!(
        vmm.output.news()[..2],
        ["# note: the next reset is a warm one: FSTS and FRC", "reset"]
    );

    // Past the recorder.
    let (other, _) = vmm.devices[&SourceId(0x20)];
    vmm.unit.unit().release(other).unwrap();
    assert_eq!(vmm.unit.unit().run(), Step::Idle);
    assert_eq!(vmm.unit.run(), Step::Idle);
    assert_eq!(
        vmm.output.news(),
        ["# note: the unit was stepped past the recorder", "host unbind 00:04.0 -"]
    );

    vmm.unit.release(assigned).unwrap();
    assert_eq!(vmm.output.news(), ["release 00:03.0", "host unbind 00:03.0 -"]);
    assert!(vmm.unit.release(assigned).is_err() && vmm.unit.retry(assigned).is_err());
    assert!(vmm.unit.report_host_fault(assigned, fault).is_err());
    assert_eq!(vmm.output.news(), [""; 0]);
    assert_eq!(vmm.unit.finish().unwrap().notes, 6);
}
