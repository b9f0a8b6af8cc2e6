//! The VMM's own observer.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use vtd::host::{HostDevice, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::descriptor::{Descriptor, PageGroupResponse, Wait};
use vtd::spec::{
    Capabilities, FaultReason, FaultRecord, Gpa, Iova, PageRequest, Pasid, Slot, SourceId,
};
use vtd::{
    Access, Attachment, DeviceTlbInvalidation, Fault, HostCallView, HostFault, InterruptError,
    InterruptMessage, InvalidatedInterruptEntries, Observer, PageRequestError, RemappedInterrupt,
    UnitConfig,
};
use vtd_recording::recorder::RecordedUnit;

use crate::card::Card;
use crate::vmm::{CAP, DEVICE, ECAP};

/// What an observer of the VMM was told.
#[derive(Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl Heard {
    fn hear(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
}

impl Observer for Heard {
    fn descriptor(&self, _: u64, _: &Descriptor) {
        self.hear("descriptor");
    }
    fn queue_error(&self, _: u64, _: &str) {
        self.hear("queue error");
    }
    fn fault_recorded(&self, _: &FaultRecord) {
        self.hear("fault");
    }
    fn fault_dropped(&self, _: SourceId, _: &Fault) {
        self.hear("fault dropped");
    }
    fn host_call(&self, _: &HostCallView<'_>) {
        self.hear("host call");
    }
    fn wait_completes(&self, _: &Wait) {
        self.hear("wait status");
    }
    fn interrupt(&self, _: InterruptMessage) {
        self.hear("interrupt");
    }
    fn wait_aborted(&self, _: &Wait) {
        self.hear("wait aborted");
    }
    fn device_tlb_invalidation(&self, _: &DeviceTlbInvalidation) {
        self.hear("device TLB");
    }
    fn device_tlb_answered(&self, _: &DeviceTlbInvalidation) {
        self.hear("device TLB answered");
    }
    fn device_tlb_timed_out(&self, _: &DeviceTlbInvalidation) {
        self.hear("time-out");
    }
    fn page_request_queued(&self, _: &PageRequest) {
        self.hear("page request");
    }
    fn page_request_dropped(&self, _: &PageRequest, _: &PageRequestError) {
        self.hear("page request dropped");
    }
    fn page_response(&self, _: &PageGroupResponse) {
        self.hear("page response");
    }
    fn interrupt_remapped(
        &self,
        _: SourceId,
        _: u64,
        _: u32,
        _: &Result<RemappedInterrupt, InterruptError>,
    ) {
        self.hear("interrupt request");
    }
    fn interrupt_entries_invalidated(&self, _: InvalidatedInterruptEntries) {
        self.hear("interrupt entries");
    }
}

#[test]
fn an_observer_of_the_vmm_still_hears_everything() {
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let memory = Arc::new(SparseMemory::zero_filled());
    for (gpa, value) in [(0x8000, 0x1_0000_0025), (0x8008, 0x9000), (0x8020, 0xe)] {
        memory.write_u64(Gpa(gpa), value).unwrap();
    }
    let (host, heard) = (Arc::new(ModelHost::new()), Arc::new(Heard::default()));
    host.add_device(HostDevice(1));
    let mut config = UnitConfig::new(caps, memory);
    config.host = Some(host);
    config.observer = Some(heard.clone());
    let unit = RecordedUnit::new(config, None, io::sink()).unwrap();
    let assigned = unit.attach(DEVICE, Attachment::Assigned(HostDevice(1))).unwrap();
    unit.write(0x38, 4, 0);
    unit.write(0x90, 8, 0x8800);
    unit.write(0x18, 4, 0x400_0000);
    unit.write(0x88, 8, 0x40);
    // Faults are recorded while translation is on. There are no tables, so the device is unbound.
    unit.write(0x20, 8, 0x1400);
    unit.write(0x18, 4, 0x4400_0000);
    unit.write(0x18, 4, 0x8400_0000);
    let slot = Slot::Pasid(Pasid::from_low_bits(1));
    let fault = HostFault::new(slot, Iova(0), Access::READ, FaultReason::FirstStageNotPresent);
    for _ in 0..64 {
        unit.report_host_fault(assigned, fault).unwrap();
    }
    let heard = std::mem::take(&mut *heard.0.lock().unwrap());
    let first = [
        "host call",
        "descriptor",
        "wait status",
        "queue error",
        "interrupt",
        "host call",
        "fault",
    ];
    assert_eq!(heard[..7], first);
    assert_eq!(heard.last(), Some(&"fault dropped"));
}

#[test]
fn an_observer_of_the_vmm_hears_of_devices_too() {
    // ECAP with IR, PRS and PDS. The root table's device 00:03.0 may request pages.
    let caps = Capabilities::new(CAP, ECAP | 0x400_2000_0008).unwrap();
    let memory = Arc::new(SparseMemory::zero_filled());
    for (gpa, value) in [(0x1000, 0x2001), (0x2300, 0x1_001d), (0x8000, 0x18_0000_0003)] {
        memory.write_u64(Gpa(gpa), value).unwrap();
    }
    for (gpa, value) in [(0x8020, 0x1_0000_0025), (0x8028, 0x9000), (0x8040, 0x4)] {
        memory.write_u64(Gpa(gpa), value).unwrap();
    }
    let heard = Arc::new(Heard::default());
    let mut config = UnitConfig::new(caps, memory);
    config.observer = Some(heard.clone());
    let unit = RecordedUnit::new(config, None, io::sink()).unwrap();
    let card = Arc::new(Card::default());
    card.later.store(true, Ordering::Relaxed);
    let device = unit.attach_endpoint(DEVICE, card).unwrap();
    unit.write(0x20, 8, 0x1400);
    unit.write(0x90, 8, 0x8800);
    unit.write(0xd0, 8, 0xa000);
    let mut request = PageRequest {
        source_id: DEVICE,
        pasid: None,
        address: Iova(0x5000),
        read: true,
        write: false,
        execute: false,
        privileged: false,
        last_in_group: false,
        group_index: 0,
    };
    unit.write(0x18, 4, 0x4400_0000);
    assert!(unit.page_request(device, request).is_err());
    unit.write(0x18, 4, 0x8400_0000);
    unit.page_request(device, request).unwrap();
    // The queue is full.
    unit.write(0xc0, 8, 0x40);
    request.last_in_group = true;
    assert!(unit.page_request(device, request).is_err());
    assert!(unit.remap_interrupt(DEVICE, 0xfee0_1000, 0x41).is_ok());
    unit.write(0x88, 8, 0x40);
    unit.expire_device_tlb(device).unwrap();
    unit.write(0x34, 4, 0x40);
    unit.write(0x88, 8, 0x60);
    let heard = std::mem::take(&mut *heard.0.lock().unwrap());
    let expected = [
        "page request dropped",
        "page request",
        "page request dropped",
        "page response",
        "interrupt request",
        "descriptor",
        "device TLB",
        "descriptor",
        "time-out",
        "wait aborted",
        "descriptor",
        "interrupt entries",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn an_observer_of_the_vmm_hears_what_devices_answer() {
    let caps = Capabilities::new(CAP, ECAP).unwrap();
    let memory = Arc::new(SparseMemory::zero_filled());
    for (gpa, value) in [(0x8000, 0x18_0000_0003), (0x8020, 0x1_0000_0025), (0x8028, 0x9000)] {
        memory.write_u64(Gpa(gpa), value).unwrap();
    }
    let heard = Arc::new(Heard::default());
    let mut config = UnitConfig::new(caps, memory);
    config.observer = Some(heard.clone());
    let unit = RecordedUnit::new(config, None, io::sink()).unwrap();
    unit.attach_endpoint(DEVICE, Arc::new(Card::default())).unwrap();
    unit.write(0x90, 8, 0x8800);
    unit.write(0x18, 4, 0x400_0000);
    unit.write(0x88, 8, 0x40);
    let heard = std::mem::take(&mut *heard.0.lock().unwrap());
    let expected = ["descriptor", "device TLB", "descriptor", "device TLB answered", "wait status"];
    assert_eq!(heard, expected);
}
