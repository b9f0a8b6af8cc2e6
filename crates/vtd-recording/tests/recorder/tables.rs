//! The recording says what the tables hold at every request, whatever the unit reads of them.

use vtd::spec::{Gpa, Iova, Pasid};
use vtd::{Access, Attachment, TranslationRequest};
use vtd_recording::format::{FormatVersion, Header};

use crate::vmm::{CAP, DEVICE, ECAP, Vmm};

/// Scalable mode, all of the device tables of [`DEVICE`] in place, with PASID 5 on a first-stage table that leads page 5000 to 777000.
fn scalable() -> Vmm {
    let mut header = Header::new(CAP, ECAP | 4, 0x10);
    header.format_version = FormatVersion::Two;
    let vmm = Vmm::new(&header);
    for (gpa, value) in [
        (0x1000, 0x2001),
        (0x2300, 0x1_000d),
        (0x1_0000, 0x1_1001),
        (0x1_1140, 0x41),
        (0x1_1148, 0x7),
        (0x1_1150, 0x10_0000),
        (0x10_0000, 0x10_1027),
        (0x10_1000, 0x10_2027),
        (0x10_2000, 0x10_3027),
        (0x10_3028, 0x77_7067),
    ] {
        vmm.memory.write_u64(Gpa(gpa), value).unwrap();
    }
    vmm.unit.write(0x20, 8, 0x1400);
    vmm.unit.write(0x18, 4, 0x4000_0000);
    vmm.unit.write(0x18, 4, 0x8000_0000);
    vmm.output.news();
    vmm
}

fn memory(lines: &[String]) -> Vec<String> {
    let memory = lines.iter().filter(|line| line.starts_with("mem ") || line.starts_with("zero "));
    memory.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_change_that_the_unit_does_not_read_is_written_down() {
    let vmm = scalable();
    let device = vmm.unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let dma = vmm.unit.dma(device, Pasid::new(5)).unwrap();
    let read = || {
        dma.with_guard(|guard| {
            let _found = guard.translate(Iova(0x5123), Access::READ);
            let _found = guard.translation_request(Iova(0x5123), TranslationRequest::READ_WRITE);
        });
        vmm.output.news()
    };
    let answers =
        ["dma 00:03.0 5 r 5123 777000 fff rw", "translate 00:03.0 5 w 5123 777000 fff rw"];
    read();
    assert_eq!(read(), answers, "nothing has changed");
    // (what the guest changes, the line of memory that holds it)
    for (gpa, line) in [
        (0x10_3028, "mem 103000"),
        (0x10_2000, "mem 102000"),
        (0x10_1000, "mem 101000"),
        (0x10_0000, "mem 100000"),
        (0x1_1140, "mem 11140"),
        (0x1_0000, "mem 10000"),
        (0x2300, "mem 2300"),
        (0x1000, "mem 1000"),
    ] {
        let mut before = [0; 8];
        vmm.memory.read_bytes(Gpa(gpa), &mut before).unwrap();
        let before = u64::from_le_bytes(before);
        vmm.memory.write_u64(Gpa(gpa), before & !1).unwrap();
        let lines = read();
        assert_eq!(memory(&lines), [line], "{lines:#?}");
        let kept: Vec<_> = lines.iter().filter(|line| !line.starts_with("mem ")).collect();
        assert_eq!(kept, answers.iter().collect::<Vec<_>>(), "the unit answers from its caches");
        assert!(lines[0].starts_with("mem "), "memory stands before the request");
        vmm.memory.write_u64(Gpa(gpa), before).unwrap();
        assert_eq!(memory(&read()), [line]);
    }
}

#[test]
fn a_change_of_the_context_entry_is_written_down_for_a_translated_request() {
    let vmm = scalable();
    let device = vmm.unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let dma = vmm.unit.dma(device, None).unwrap();
    let read = || {
        dma.with_guard(|guard| {
            let _allowed = guard.translated(Gpa(0x77_7123), Access::READ);
        });
        vmm.output.news()
    };
    read();
    let answer = "translated 00:03.0 - r 777123 ok";
    assert_eq!(read(), [answer]);
    vmm.memory.write_u64(Gpa(0x2300), 0x1_0009).unwrap();
    let lines = read();
    assert_eq!((memory(&lines), lines.last().unwrap().as_str()), (vec!["mem 2300".into()], answer));
}

/// What the recorder looks at for itself leaves no note and no write.
#[test]
fn a_look_at_the_tables_sets_nothing_and_says_nothing_of_its_own() {
    let vmm = scalable();
    let device = vmm.unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let dma = vmm.unit.dma(device, Pasid::new(5)).unwrap();
    let read = |access| {
        dma.with_guard(|guard| {
            let _found = guard.translate(Iova(0x5123), access);
        });
        vmm.output.news()
    };
    read(Access::WRITE);
    // The guest takes accessed and dirty bits back; the unit answers from its caches.
    vmm.memory.write_u64(Gpa(0x10_3028), 0x77_7007).unwrap();
    let lines = read(Access::WRITE);
    assert_eq!(memory(&lines), ["mem 103000"]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    // Nothing of an interrupt request.
    let without_pasid = vmm.unit.dma(device, None).unwrap();
    without_pasid.with_guard(|guard| {
        let _found = guard.translate(Iova(0xfee0_0000), Access::WRITE);
    });
    assert_eq!(vmm.output.news(), [""; 0]);
}
