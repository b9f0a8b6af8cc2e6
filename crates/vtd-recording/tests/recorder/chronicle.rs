//! A unit that somebody else drives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vtd::memory::SparseMemory;
use vtd::spec::descriptor::Wait;
use vtd::spec::{Capabilities, Gpa, Iova};
use vtd::{Access, Attachment, DmaError, Observer, RemappingUnit, Step, UnitConfig};
use vtd_recording::recorder::{Chronicle, Requester};
use vtd_recording::replay::{Options, replay};

use crate::output::Output;
use crate::vmm::{CAP, DEVICE, ECAP};

/// A wait with status 1 to 9000, of 32 bytes, at the queue's beginning.
fn config() -> UnitConfig {
    let memory = SparseMemory::zero_filled();
    for (gpa, value) in [(0x8000, 0x1_0000_0025), (0x8008, 0x9000)] {
        memory.write_u64(Gpa(gpa), value).unwrap();
    }
    UnitConfig::new(Capabilities::new(CAP, ECAP).unwrap(), Arc::new(memory))
}

fn write(unit: &RemappingUnit, chronicle: &Chronicle, offset: u64, size: u8, value: u64) {
    chronicle.write(offset, size, value);
    unit.write(offset, size, value);
}

/// The queue is on, and its tail behind the wait.
fn ring(unit: &RemappingUnit, chronicle: &Chronicle) {
    for (offset, size, value) in [(0x90, 8, 0x8800), (0x18, 4, 0x400_0000), (0x88, 8, 0x20)] {
        write(unit, chronicle, offset, size, value);
        while offset != 0x88 && unit.step(1) == Step::More {}
    }
}

#[test]
fn what_comes_of_an_input_in_later_steps_is_its_own() {
    let output = Output::default();
    let mut config = config();
    let chronicle = Chronicle::new(&mut config, Some("a test"), output.clone()).unwrap();
    let unit = RemappingUnit::new(config);
    assert_eq!(output.news().len(), 5);
    ring(&unit, &chronicle);
    // Nobody has stepped the unit yet.
    assert_eq!(output.news(), ["write 90 8 8800", "write 18 4 4000000"]);
    while unit.step(1) == Step::More {}
    let device = unit.attach(DEVICE, Attachment::Emulated).unwrap();
    let (asked, page) = (Requester { source_id: DEVICE, pasid: None }, Iova(0x5000));
    chronicle.begin(asked.dma(page, Access::READ, &Err(DmaError::Blocked)).unwrap());
    assert_eq!(
        output.news(),
        [
            "zero 9000",
            "mem 8000 25000000010000000090000000000000000000000",
            "write 88 8 20",
            "iommu-write 9000 01000000"
        ]
        .map(|line| line.chars().take(50).collect::<String>())
    );
    unit.dma(device, None).unwrap().with_guard(|guard| {
        let found = guard.translate(page, Access::READ);
        chronicle.end(asked.dma(page, Access::READ, &found));
    });
    chronicle.note("the end\nof it");
    // No access has such a size.
    chronicle.write(0x34, 9, 1);
    let summary = chronicle.finish().unwrap();
    assert_eq!(output.news(), ["dma 00:03.0 - r 5000 5000 fff rw", "# note: the end"]);
    assert_eq!((summary.events, summary.notes), (7, 1));
    let report = replay(output.text().as_bytes(), &Options::default(), None).unwrap();
    assert_eq!((report.total().agree, report.total().differ), (2, 0));
}

/// An oracle, of a kind.
struct Objector;

impl Observer for Objector {
    fn wait_completes(&self, _: &Wait) {
        panic!("a wait completes");
    }
}

#[test]
fn a_recording_is_whole_up_to_a_panic() {
    let output = Output::default();
    let mut config = config();
    config.observer = Some(Arc::new(Objector));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let chronicle = Chronicle::new(&mut config, None, output.clone()).unwrap();
        let unit = RemappingUnit::new(config);
        ring(&unit, &chronicle);
        let _never = unit.run();
    }));
    assert!(ended.is_err());
    let text = output.text();
    assert_eq!(text.lines().last(), Some("write 88 8 20"));
    // So the replay does what the panic kept from being done.
    let report = replay(text.as_bytes(), &Options::default(), None).unwrap();
    assert_eq!((report.total().agree, report.total().differ), (0, 1));
}

#[test]
fn requests_that_have_no_line() {
    let asked = Requester { source_id: DEVICE, pasid: None };
    for error in [DmaError::Interrupt, DmaError::Released] {
        assert_eq!(asked.dma(Iova(0xfee0_0000), Access::WRITE, &Err(error)), None);
    }
    let released: Result<Gpa, _> = Err(DmaError::Released);
    assert_eq!(asked.translated(Gpa(0x5000), Access::READ, &released), None);
}
