//! Device TLBs: when they answer, and what is recorded of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vtd::memory::SparseMemory;
use vtd::spec::{Capabilities, Gpa, Iova};
use vtd::{Access, Attachment, DeviceId, InvalidationId, Step, TranslationRequest, UnitConfig};
use vtd_recording::recorder::RecordedUnit;

use crate::card::Card;
use crate::output::Output;
use crate::replays::replay_strictly;
use crate::vmm::{CAP, DEVICE, ECAP};

struct Machine {
    unit: RecordedUnit,
    card: Arc<Card>,
    device: DeviceId,
    output: Output,
}

/// A unit with a queue at 8000: three times a device-TLB invalidation of device 00:03.0 and a wait that writes 1, 2, 3 to 9000.
/// What that took is no longer in the output.
fn machine(patience: Duration) -> Machine {
    let memory = Arc::new(SparseMemory::zero_filled());
    for n in 0..3 {
        memory.write_u64(Gpa(0x8000 + 0x40 * n), 0x18_0000_0003).unwrap();
        memory.write_u64(Gpa(0x8008 + 0x40 * n), 0x5000).unwrap();
        memory.write_u64(Gpa(0x8020 + 0x40 * n), (n + 1) << 32 | 0x25).unwrap();
        memory.write_u64(Gpa(0x8028 + 0x40 * n), 0x9000).unwrap();
    }
    let mut config = UnitConfig::new(Capabilities::new(CAP, ECAP).unwrap(), memory);
    config.device_tlb_patience = patience;
    let output = Output::default();
    let unit = RecordedUnit::new(config, None, output.clone()).unwrap();
    assert_eq!(output.news()[0], "# vtd-recording 2");
    unit.write(0x90, 8, 0x8800);
    unit.write(0x18, 4, 0x400_0000);
    let card = Arc::new(Card::default());
    let device = unit.attach_endpoint(DEVICE, card.clone()).unwrap();
    assert_eq!(output.news()[2..], ["endpoint 00:03.0 later"]);
    Machine { unit, card, device, output }
}

impl Machine {
    /// The lines since this was last called, without memory.
    fn news(&self) -> Vec<String> {
        let mut news = self.output.news();
        news.retain(|line| !line.starts_with("mem ") && !line.starts_with("zero "));
        news
    }

    /// The recording is replayed without a difference; so many notes are in it.
    fn finish(self, notes: u64) {
        assert_eq!(self.unit.finish().unwrap().notes, notes);
        replay_strictly("a recording", &self.output.text());
    }
}

const TOLD: &str = "device-tlb 00:03.0 - 5000 1";
const DONE: &str = "device-tlb-done 00:03.0";

#[test]
fn an_answer_given_at_once_is_an_input_of_its_own() {
    let machine = machine(Duration::MAX);
    machine.unit.write(0x88, 8, 0x40);
    let lines = ["write 88 8 40", TOLD, DONE, "iommu-write 9000 01000000"];
    assert_eq!(machine.news(), lines);
    machine.finish(0);
}

#[test]
fn an_answer_given_later() {
    let machine = machine(Duration::MAX);
    machine.card.later.store(true, Ordering::Relaxed);
    machine.unit.write(0x88, 8, 0x40);
    assert_eq!(machine.news(), ["write 88 8 40", TOLD]);
    assert_ne!(machine.unit.run(), Step::Idle);
    let id = machine.card.take_oldest();
    machine.unit.device_tlb_invalidated(machine.device, id).unwrap();
    assert_eq!(machine.news(), [DONE, "iommu-write 9000 01000000"]);
    // An answer that is given again is nothing.
    machine.unit.device_tlb_invalidated(machine.device, id).unwrap();
    assert_eq!(machine.news(), [""; 0]);
    machine.finish(0);
}

#[test]
fn an_answer_to_what_was_never_told() {
    let machine = machine(Duration::MAX);
    let never = InvalidationId(u64::MAX);
    machine.unit.device_tlb_invalidated(machine.device, never).unwrap();
    assert_eq!(machine.news(), [DONE]);
    // FSTS.ICE.
    assert_eq!(machine.unit.read(0x34, 4), 0x20);
    machine.unit.write(0x34, 4, 0x20);
    machine.news();
    // While another answer is outstanding the line would be about that one.
    machine.card.later.store(true, Ordering::Relaxed);
    machine.unit.write(0x88, 8, 0x40);
    machine.news();
    machine.unit.device_tlb_invalidated(machine.device, never).unwrap();
    assert_eq!(machine.news(), ["# note: 00:03.0 answered an invalidation that it w"]);
    machine.unit.device_tlb_invalidated(machine.device, machine.card.take_oldest()).unwrap();
    assert_eq!(machine.news(), [DONE, "iommu-write 9000 01000000"]);
    machine.finish(1);
}

#[test]
fn what_is_overdue_is_told_at_the_next_input() {
    let machine = machine(Duration::from_millis(1));
    machine.card.later.store(true, Ordering::Relaxed);
    machine.unit.write(0x88, 8, 0x40);
    assert_eq!(machine.news(), ["write 88 8 40", TOLD]);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(machine.unit.run(), Step::Idle);
    assert_eq!(machine.news(), ["device-tlb-timeout 00:03.0"]);
    // FSTS.ITE. The wait was aborted, and the answer comes too late.
    assert_eq!(machine.unit.read(0x34, 4), 0x40);
    machine.unit.write(0x34, 4, 0x40);
    machine.unit.device_tlb_invalidated(machine.device, machine.card.take_oldest()).unwrap();
    assert_eq!(machine.news(), ["read 34 4 40", "write 34 4 40"]);
    machine.card.later.store(false, Ordering::Relaxed);
    machine.unit.write(0x88, 8, 0x80);
    assert_eq!(machine.news(), ["write 88 8 80", TOLD, DONE, "iommu-write 9000 02000000"]);
    machine.finish(0);
}

#[test]
fn another_endpoint_is_told_again_and_the_recording_once() {
    let machine = machine(Duration::MAX);
    machine.card.later.store(true, Ordering::Relaxed);
    machine.unit.write(0x88, 8, 0x40);
    machine.news();
    machine.unit.set_endpoint(machine.device, Arc::new(Card::default())).unwrap();
    assert_eq!(machine.news(), ["endpoint 00:03.0 later", DONE, "iommu-write 9000 01000000"]);
    machine.finish(0);
}

#[test]
fn a_device_that_leaves_and_a_reset() {
    let machine = machine(Duration::MAX);
    machine.card.later.store(true, Ordering::Relaxed);
    machine.unit.write(0x88, 8, 0x40);
    machine.news();
    machine.unit.reset(vtd::ResetKind::PowerOn);
    // It was outstanding at the reset.
    machine.unit.device_tlb_invalidated(machine.device, machine.card.take_oldest()).unwrap();
    assert_eq!(machine.news(), ["reset"]);
    machine.unit.write(0x90, 8, 0x8800);
    machine.unit.write(0x18, 4, 0x400_0000);
    machine.unit.write(0x88, 8, 0x40);
    machine.news();
    machine.unit.release(machine.device).unwrap();
    assert_eq!(machine.news(), ["release 00:03.0", "iommu-write 9000 01000000"]);
    let gone = machine.unit.device_tlb_invalidated(machine.device, machine.card.take_oldest());
    assert!(gone.is_err());
    assert!(machine.unit.expire_device_tlb(machine.device).is_err());
    assert_eq!(machine.news(), [""; 0]);
    machine.finish(0);
}

#[test]
fn requests_of_a_device_that_is_renumbered_and_released() {
    let machine = machine(Duration::MAX);
    let dma = machine.unit.dma(machine.device, None).unwrap();
    let ask = || {
        dma.with_guard(|guard| {
            let _answer = guard.translation_request(Iova(0x5000), TranslationRequest::READ);
        });
    };
    ask();
    machine.unit.renumber(machine.device, vtd::spec::SourceId(0x28)).unwrap();
    ask();
    let lines = [
        "translate 00:03.0 - r 5000 fault",
        "renumber 00:03.0 00:05.0",
        "translate 00:05.0 - r 5000 fault",
    ];
    assert_eq!(machine.news(), lines);
    machine.unit.renumber(machine.device, vtd::spec::SourceId(0x28)).unwrap();
    machine.unit.release(machine.device).unwrap();
    ask();
    assert_eq!(machine.news(), ["release 00:05.0"]);
    machine.finish(0);
}

#[test]
fn what_is_nothing_to_a_replay_has_no_line() {
    let machine = machine(Duration::MAX);
    let request = vtd::spec::PageRequest {
        source_id: DEVICE,
        pasid: None,
        address: Iova(0x5000),
        read: true,
        write: false,
        execute: false,
        privileged: false,
        last_in_group: true,
        group_index: 0,
    };
    // ECAP.PRS is 0; the address is no interrupt's; the device has no device TLB.
    assert!(machine.unit.page_request(machine.device, request).is_err());
    assert!(machine.unit.remap_interrupt(DEVICE, 0xfed0_0000, 0).is_err());
    let other = machine.unit.attach(vtd::spec::SourceId(0x20), Attachment::Emulated).unwrap();
    machine.unit.expire_device_tlb(other).unwrap();
    assert_eq!(machine.news(), [""; 0]);
    // A write that asks to execute is recorded as a write.
    machine.unit.dma(other, None).unwrap().with_guard(|guard| {
        let _found = guard.translate(Iova(0x5000), Access::WRITE.executing());
    });
    let note = "# note: the next request asked to write and to exe";
    assert_eq!(machine.news(), [note, "dma 00:04.0 - w 5000 5000 fff rw"]);
    machine.finish(1);
}
