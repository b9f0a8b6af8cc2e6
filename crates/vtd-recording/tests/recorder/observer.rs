//! The VMM's own observer.

use std::io;
use std::sync::{Arc, Mutex};

use vtd::host::{HostDevice, ModelHost};
use vtd::memory::SparseMemory;
use vtd::spec::descriptor::{Descriptor, Wait};
use vtd::spec::{Capabilities, FaultReason, FaultRecord, Gpa, Iova, Pasid, Slot, SourceId};
use vtd::{
    Access, Attachment, Fault, HostCallView, HostFault, InterruptMessage, Observer, UnitConfig,
};
use vtd_recording::recorder::RecordedUnit;

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
    let slot = Slot::Pasid(Pasid::from_low_bits(1));
    let fault = HostFault::new(slot, Iova(0), Access::READ, FaultReason::FirstStageNotPresent);
    for _ in 0..64 {
        unit.report_host_fault(assigned, fault).unwrap();
    }
    let heard = std::mem::take(&mut *heard.0.lock().unwrap());
    let first = ["host call", "descriptor", "wait status", "queue error", "interrupt", "fault"];
    assert_eq!(heard[..6], first);
    assert_eq!(heard.last(), Some(&"fault dropped"));
}
