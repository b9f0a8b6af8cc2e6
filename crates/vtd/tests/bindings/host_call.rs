//! A call of the host that takes its time.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vtd::host::{
    HostCapabilities, HostDevice, HostError, HostIommu, InvalidateError, StageOneInvalidation,
};
use vtd::spec::{Binding, Slot};
use vtd::{Attachment, ResetKind, Step};

use crate::guest::calls::{Host, held_by, host};
use crate::guest::{self, Guest, STATUS, first_stage, source_id};

/// A host whose binds wait until they are let go.
struct Gate {
    host: Host,
    entered: SyncSender<()>,
    go: Mutex<Receiver<()>>,
}

impl HostIommu for Gate {
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
        self.host.capabilities(device)
    }

    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.entered.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        self.host.bind(device, slot, binding)
    }

    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.host.replace(device, slot, binding)
    }

    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
        self.host.unbind(device, slot)
    }

    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        self.host.invalidate(device, slot, batch)
    }
}

// feature: 7.bindings: waits follow the calls of the host
#[test]
fn nothing_waits_for_a_host_call_under_way() {
    for what in ["nothing", "release", "warm", "power", "root", "attach"] {
        let (entered, has_entered) = sync_channel(100);
        let (let_go, go) = sync_channel(100);
        let machine = host();
        let gate = Gate { host: Arc::clone(&machine), entered, go: Mutex::new(go) };
        let mut guest = Guest::with_host(Arc::new(gate));
        guest.enable();
        guest.put_context(3, 0);
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        guest.put_entry(3, 2, &first_stage(0x18_0000, 5));
        let attachment = Attachment::Assigned(HostDevice(3));
        let device = guest.unit.attach(source_id(3), attachment).unwrap();
        std::thread::scope(|scope| {
            let unit = guest.unit.clone();
            let stepper = scope.spawn(move || unit.run());
            has_entered.recv_timeout(Duration::from_secs(10)).unwrap();
            // The host is at work; registers are read and written all the same.
            assert_eq!(guest.read(0x1c, 4), 0xc400_0000);
            guest.ring(&[guest::wait(1)]);
            assert_eq!(guest.unit.step(10), Step::Waiting);
            assert_eq!(guest.unit.save().unwrap_err(), vtd::SaveError::HostCallUnderWay);
            match what {
                "release" => guest.unit.release(device).unwrap(),
                "warm" => guest.unit.reset(ResetKind::Warm),
                "power" => guest.unit.reset(ResetKind::PowerOn),
                "root" => {
                    // Another root table, with nothing in it.
                    guest.put(0x4000, &[0; 512]);
                    guest.write(0x20, 8, 0x4400);
                    guest.write(0x18, 4, 0xc400_0000);
                    assert_eq!(guest.read(0x1c, 4), 0x8400_0000);
                }
                "attach" => {
                    guest.put_context(4, 0);
                    let attachment = Attachment::Assigned(HostDevice(4));
                    guest.unit.attach(source_id(4), attachment).unwrap();
                }
                _ => {}
            }
            assert_eq!(guest.get(STATUS), 0);
            for _ in 0..100 {
                let_go.send(()).unwrap();
            }
            assert_eq!(stepper.join().unwrap(), Step::Idle);
        });
        assert!(guest.is_idle());
        let expected: &[&str] = match what {
            "release" | "root" => &[],
            "warm" | "power" => &["3 - pt 0"],
            _ => &["3 1 fs4 140000", "3 2 fs4 180000"],
        };
        assert_eq!(held_by(&machine), expected, "{what}");
        let cancelled = matches!(what, "warm" | "power");
        assert_eq!(guest.get(STATUS), u64::from(!cancelled), "{what}");
        let states = guest.unit.slots(device).len();
        assert_eq!(states, expected.len(), "{what}");
    }
}

// feature: 7.bindings: host failures are kept, told and tried again
#[test]
fn a_host_that_panics_is_not_waited_for() {
    let (entered, _has_entered) = sync_channel(100);
    // Nobody will ever let it go: waiting for that panics.
    let (let_go, go) = sync_channel(1);
    let gate = Arc::new(Gate { host: host(), entered, go: Mutex::new(go) });
    let mut guest = Guest::with_host(Arc::clone(&gate) as _);
    guest.enable();
    guest.put_context(3, 0);
    let device = guest.unit.attach(source_id(3), Attachment::Assigned(HostDevice(3))).unwrap();
    guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
    drop(let_go);
    let unit = guest.unit.clone();
    assert!(std::thread::spawn(move || unit.run()).join().is_err());
    assert!(guest.unit.save().is_ok(), "no call is under way any more");

    let (let_go, go) = sync_channel(1);
    let mut gone = gate.go.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *gone = go;
    drop(gone);
    gate.go.clear_poison();
    let_go.send(()).unwrap();
    guest.unit.retry(device).unwrap();
    assert!(guest.is_idle());
    assert_eq!(held_by(&gate.host), ["3 1 fs4 100000"]);
}
