//! Requests of emulated devices.

use std::thread;
use std::time::Duration;

use vtd::spec::{Gpa, Iova, Pasid};
use vtd::{Access, Attachment, DmaError};
use vtd_recording::format::Header;

use crate::vmm::{DEVICE, Vmm, with_queue};

#[test]
fn requests_that_are_more_than_a_line_says_or_none_at_all() {
    let vmm = with_queue();
    let device = vmm.unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let pasid = Some(Pasid::from_low_bits(7));
    let note = "# note: the next request had supervisor privilege";
    let privileged = Access::READ.with_privilege();
    // (PASID, address, access, note, line)
    for (pasid, iova, access, noted, line) in [
        (None, 0x5123, Access::WRITE, false, "dma 00:03.0 - w 5123 5000 fff rw"),
        (None, 0x5123, privileged, false, "dma 00:03.0 - r 5123 5000 fff rw"),
        (None, 0x5123, Access::READ.executing(), true, "dma 00:03.0 - r 5123 5000 fff rw"),
        (pasid, 0x5123, Access::READ, false, "dma 00:03.0 7 r 5123 fault"),
        (pasid, 0x5123, privileged, true, "dma 00:03.0 7 r 5123 fault"),
        (None, 0xfee0_0000, Access::WRITE, false, ""),
    ] {
        let dma = vmm.unit.dma(device, pasid).unwrap();
        dma.with_guard(|guard| {
            let _answer = guard.translate(Iova(iova), access);
            // The line is there before the transfer is over.
            let mut lines = vmm.output.news();
            if noted {
                assert!(lines.remove(0).starts_with(note));
            }
            assert_eq!(lines.join(""), line);
        });
        assert_eq!(vmm.output.news(), [""; 0]);
    }
    let dma = vmm.unit.dma(device, None).unwrap();
    vmm.unit.release(device).unwrap();
    dma.with_guard(|guard| {
        assert_eq!(guard.translate(Iova(0), Access::READ).unwrap_err(), DmaError::Released);
    });
    assert!(vmm.unit.dma(device, None).is_err());
    assert_eq!(vmm.output.news(), [""; 0]);
}

#[test]
fn other_inputs_wait_for_a_transfer() {
    let vmm = with_queue();
    let status = || {
        let mut status = [0];
        vmm.memory.read_bytes(Gpa(0x9000), &mut status).unwrap();
        status[0]
    };
    let device = vmm.unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let dma = vmm.unit.dma(device, None).unwrap();
    thread::scope(|scope| {
        dma.with_guard(|guard| {
            let _found = guard.translate(Iova(0x5000), Access::READ).unwrap();
            scope.spawn(|| vmm.unit.write(0x88, 8, 0x20));
            thread::sleep(Duration::from_millis(20));
            assert_eq!(status(), 0);
        });
    });
    assert_eq!(status(), 1);
    let lines = vmm.output.news();
    assert_eq!(lines.first().unwrap(), "dma 00:03.0 - r 5000 5000 fff rw");
    assert_eq!(lines[lines.len() - 2..], ["write 88 8 20", "iommu-write 9000 01000000"]);
}

#[test]
fn a_guard_that_is_held_keeps_other_inputs_out_until_it_is_dropped() {
    let vmm = with_queue();
    let status = || {
        let mut status = [0];
        vmm.memory.read_bytes(Gpa(0x9000), &mut status).unwrap();
        status[0]
    };
    let device = vmm.unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let dma = vmm.unit.dma(device, None).unwrap();
    let other = vmm.unit.dma(device, None).unwrap();
    thread::scope(|scope| {
        let guard = dma.guard();
        let found = guard.translate(Iova(0x5000), Access::READ).unwrap();
        assert_eq!(found.address(), Gpa(0x5000));
        scope.spawn(|| vmm.unit.write(0x88, 8, 0x20));
        thread::sleep(Duration::from_millis(20));
        assert_eq!(status(), 0);
        // What the holder does goes on, and comes first in the recording.
        let _found = guard.translate(Iova(0x6000), Access::WRITE).unwrap();
        drop(guard);
    });
    // The wait found no guard open, so it completed within its own input.
    assert_eq!(status(), 1);
    drop(other.guard());
    other.with_guard(|guard| guard.translate(Iova(0x7000), Access::READ).map(drop)).unwrap();
    let lines = vmm.output.news();
    assert_eq!(
        lines[..2],
        ["dma 00:03.0 - r 5000 5000 fff rw", "dma 00:03.0 - w 6000 6000 fff rw"]
    );
    assert_eq!(
        lines[lines.len() - 3..],
        ["write 88 8 20", "iommu-write 9000 01000000", "dma 00:03.0 - r 7000 7000 fff rw"]
    );
}

#[test]
fn permissions_are_what_the_tables_grant() {
    // Legacy mode. Root, context (second-stage, 48 bits, domain 1), and a table whose leaves differ.
    let vmm = Vmm::new(&Header::new(0x80d2_008c_222f_0606, 0xf42, 0x10));
    for (gpa, value) in [
        (0x1000, 0x2001),
        (0x2180, 0x3001),
        (0x2188, 0x102),
        (0x3000, 0x4003),
        (0x4000, 0x5003),
        (0x5000, 0x6003),
        (0x6000, 0x7001),
        (0x6008, 0x8002),
        (0x6010, 0x9003),
        // A page of 2 MiB.
        (0x5008, 0x20_0083),
    ] {
        vmm.memory.write_u64(Gpa(gpa), value).unwrap();
    }
    vmm.unit.write(0x20, 8, 0x1000);
    vmm.unit.write(0x18, 4, 0x4000_0000);
    vmm.unit.write(0x18, 4, 0x8000_0000);
    let device = vmm.unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let dma = vmm.unit.dma(device, None).unwrap();
    for (iova, access, line) in [
        (0x123, Access::READ, "dma 00:03.0 - r 123 7000 fff r"),
        (0x123, Access::WRITE, "dma 00:03.0 - w 123 fault"),
        (0x1000, Access::WRITE, "dma 00:03.0 - w 1000 8000 fff w"),
        (0x1000, Access::READ, "dma 00:03.0 - r 1000 fault"),
        (0x2000, Access::READ, "dma 00:03.0 - r 2000 9000 fff rw"),
        (0x20_5678, Access::WRITE, "dma 00:03.0 - w 205678 200000 1fffff rw"),
    ] {
        dma.with_guard(|guard| {
            let _answer = guard.translate(Iova(iova), access);
        });
        assert_eq!(vmm.output.news().last().unwrap(), line);
    }
}
