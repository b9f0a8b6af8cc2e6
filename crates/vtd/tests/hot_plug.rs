//! Devices that come, go and change their source-ids while everything else is at work.
#![cfg(test)]

mod guest;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guest::calls::{Host, held_by, host};
use guest::{
    CONTEXT_GLOBAL, Guest, Numbers, PASID_GLOBAL, STATUS, first_stage, pasid, pasid_domain,
    pasid_iotlb, pasid_selective, source_id, translate,
};
use vtd::host::{
    HostCapabilities, HostDevice, HostError, HostIommu, InvalidateError, StageOneInvalidation,
};
use vtd::spec::{Binding, Slot};
use vtd::{Access, Attachment, DmaError, Effect, RemappingUnit, RenumberError, Step};

/// Source-ids that assigned devices come and go under, and those of emulated ones.
const ASSIGNED: [u64; 4] = [3, 4, 5, 6];
const EMULATED: [u64; 4] = [7, 8, 9, 10];

fn page_of(source: u64) -> u64 {
    0x4000_0000 + (source << 16)
}

/// Contexts of all source-ids: PASIDs 0 to 3 of each lead 5000 to a page that tells the source-id.
fn crowded(machine: &Host) -> Guest {
    let mut guest = Guest::with_host(Arc::clone(machine) as _);
    guest.enable();
    for source in ASSIGNED.into_iter().chain(EMULATED) {
        guest.put_context(source, 0);
        let table = 0x1000_0000 + (source << 20);
        guest.map_first_stage(table, 0x5000, page_of(source), 7);
        for pasid in 0..4 {
            guest.put_entry(source, pasid, &first_stage(table, 5));
        }
    }
    guest
}

/// DMA through handles of devices as they come, until `done`; counts what was translated.
fn dma(unit: &RemappingUnit, done: &AtomicBool, translated: &AtomicU64, seed: u64) {
    let mut numbers = Numbers(seed);
    while !done.load(Ordering::Relaxed) {
        let views = unit.devices();
        let emulated = views.iter().filter(|view| view.attachment == Attachment::Emulated);
        for view in emulated {
            let number = u32::try_from(numbers.below(4)).unwrap();
            let Ok(handle) = unit.dma(view.id, Some(pasid(number))) else { continue };
            for _ in 0..4 {
                match translate(&handle, 0x5000, Access::READ) {
                    Ok(found) => {
                        assert!(EMULATED.map(page_of).contains(&found), "{found:x}");
                        translated.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(DmaError::Released) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }
}

/// A device of one of `sources` comes, one goes, or one is renumbered: whether one has gone.
fn plug(unit: &RemappingUnit, numbers: &mut Numbers, sources: [u64; 4], is_assigned: bool) -> bool {
    let ours = |view: &&vtd::DeviceView| (view.attachment != Attachment::Emulated) == is_assigned;
    let views = unit.devices();
    let mut devices: Vec<_> = views.iter().filter(ours).collect();
    let source = numbers.of(&sources);
    match (numbers.below(3), devices.is_empty()) {
        (0, false) => {
            let at = usize::try_from(numbers.below(devices.len() as u64)).unwrap();
            unit.release(devices.swap_remove(at).id).is_ok()
        }
        (1, false) => {
            let at = usize::try_from(numbers.below(devices.len() as u64)).unwrap();
            match unit.renumber(devices.swap_remove(at).id, source_id(source)) {
                Ok(())
                | Err(
                    RenumberError::SourceIdTaken(_)
                    | RenumberError::Releasing(_)
                    | RenumberError::UnknownDevice,
                ) => false,
                Err(other) => panic!("{other:?}"),
            }
        }
        _ => {
            // Each device of the host is with us once at most.
            let free = (3..7).map(HostDevice).find(|free| {
                devices.iter().all(|view| view.attachment != Attachment::Assigned(*free))
            });
            let attachment = match (is_assigned, free) {
                (false, _) => Attachment::Emulated,
                (true, Some(free)) => Attachment::Assigned(free),
                (true, None) => return false,
            };
            // Refused where the source-id is taken.
            let _refused = unit.attach(source_id(source), attachment);
            false
        }
    }
}

// feature: 7.devices: hot plug and unplug mid-traffic
#[test]
fn devices_come_and_go_mid_traffic() {
    for failing in [false, true] {
        let machine = host();
        let mut guest = crowded(&machine);
        if failing {
            let calls = AtomicU64::new(0);
            machine.fail_calls(move |_| calls.fetch_add(1, Ordering::Relaxed) % 5 == 4);
        }
        let unit = guest.unit.clone();
        let done = AtomicBool::new(false);
        let [released, translated, invalidated] = [const { AtomicU64::new(0) }; 3];
        let told = std::thread::scope(|scope| {
            let workers = [1, 2].map(|seed| {
                let (unit, done, translated) = (&unit, &done, &translated);
                scope.spawn(move || dma(unit, done, translated, seed))
            });
            let plugging = scope.spawn(|| {
                let mut numbers = Numbers(7);
                // Until everybody has had a turn, be it on a machine with one processor.
                let enough = || {
                    translated.load(Ordering::Relaxed) > 1_000
                        && invalidated.load(Ordering::Relaxed) > 100
                };
                let mut round = 0;
                while round < 3_000 || !enough() {
                    round += 1;
                    let (sources, is_assigned) =
                        if round % 2 == 0 { (ASSIGNED, true) } else { (EMULATED, false) };
                    if plug(&unit, &mut numbers, sources, is_assigned) {
                        released.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let vmm = scope.spawn(|| {
                let mut told = 0;
                while !done.load(Ordering::Relaxed) {
                    let _step = unit.step(100);
                    while let Some(effect) = unit.take_effect() {
                        match effect {
                            Effect::Released(_) => told += 1,
                            Effect::HostStuck(device) => {
                                let _gone = unit.retry(device);
                            }
                            _ => {}
                        }
                    }
                }
                told
            });
            let mut numbers = Numbers(11);
            while !plugging.is_finished() {
                let source = numbers.of(&ASSIGNED);
                let pasid = 1 + numbers.below(3);
                let table = 0x1000_0000 + (source << 20) + (numbers.below(4) << 12);
                let domain = 5 + numbers.below(2);
                guest.put_entry(source, pasid, &first_stage(table, domain));
                let descriptors = [
                    PASID_GLOBAL,
                    CONTEXT_GLOBAL,
                    pasid_selective(domain, pasid),
                    pasid_domain(5),
                    pasid_iotlb(domain, pasid),
                ];
                let descriptor = numbers.of(&descriptors);
                // A queue that stands still because the host fails is not written over.
                if guest.read(0x80, 8) == guest.read(0x88, 8) {
                    guest.ring(&[descriptor, guest::wait(1)]);
                    invalidated.fetch_add(1, Ordering::Relaxed);
                }
            }
            plugging.join().unwrap();
            done.store(true, Ordering::Relaxed);
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            vmm.join().unwrap()
        });

        // What is there now is what the tables say.
        machine.stop_failing();
        for view in unit.devices() {
            let _emulated = unit.retry(view.id);
        }
        assert!(guest.is_idle(), "{failing}");
        guest.put(STATUS, &[0]);
        assert!(guest.invalidate(&[CONTEXT_GLOBAL, PASID_GLOBAL]));
        let assigned = unit.devices();
        let assigned = assigned.iter().filter(|view| view.attachment != Attachment::Emulated);
        assert_eq!(held_by(&machine).len(), assigned.count() * 4, "{failing}");
        for view in unit.devices() {
            unit.release(view.id).unwrap();
            released.fetch_add(1, Ordering::Relaxed);
        }
        assert!(guest.is_idle(), "{failing}");
        let told =
            told + guest.effects().iter().filter(|one| matches!(one, Effect::Released(_))).count();
        assert_eq!(told as u64, released.load(Ordering::Relaxed), "{failing}");
        // Nothing is left.
        assert_eq!((held_by(&machine).len(), unit.devices().len()), (0, 0), "{failing}");
        let ledger = unit.counts().ledger;
        assert_eq!((ledger.held, ledger.failed, ledger.contradicting), (0, 0, 0), "{failing}");
    }
}

/// A host whose calls wait until they are let go, and then fail if they are told to.
struct Gate {
    host: Host,
    is_open: AtomicBool,
    entered: SyncSender<()>,
    go: Mutex<Receiver<()>>,
}

impl Gate {
    fn pass(&self) {
        if !self.is_open.load(Ordering::SeqCst) {
            self.entered.send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
        }
    }
}

impl HostIommu for Gate {
    fn capabilities(&self, device: HostDevice) -> Result<HostCapabilities, HostError> {
        self.host.capabilities(device)
    }

    fn bind(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.pass();
        self.host.bind(device, slot, binding)
    }

    fn replace(&self, device: HostDevice, slot: Slot, binding: &Binding) -> Result<(), HostError> {
        self.pass();
        self.host.replace(device, slot, binding)
    }

    fn unbind(&self, device: HostDevice, slot: Slot) -> Result<(), HostError> {
        self.pass();
        self.host.unbind(device, slot)
    }

    fn invalidate(
        &self,
        device: HostDevice,
        slot: Slot,
        batch: &[StageOneInvalidation],
    ) -> Result<(), InvalidateError> {
        self.pass();
        self.host.invalidate(device, slot, batch)
    }
}

// feature: 7.devices: hot plug and unplug mid-traffic
// feature: 7.devices: renumbered (new source-id)
#[test]
fn gone_or_renumbered_while_the_host_is_called() {
    for call in ["bind", "replace", "unbind", "invalidate"] {
        for what in ["release", "renumber", "renumber and release", "release and reset"] {
            for failures in 0..3 {
                let (entered, has_entered) = sync_channel(1000);
                let (let_go, go) = sync_channel(1000);
                let machine = host();
                let gate = Arc::new(Gate {
                    host: Arc::clone(&machine),
                    is_open: AtomicBool::new(true),
                    entered,
                    go: Mutex::new(go),
                });
                let mut guest = Guest::with_host(Arc::clone(&gate) as _);
                guest.enable();
                guest.put_context(3, 0);
                guest.put_context(4, 0);
                guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
                guest.put_entry(4, 2, &first_stage(0x20_0000, 5));
                let device = guest.assign(3);
                let descriptor = match call {
                    "bind" => {
                        guest.put_entry(3, 3, &first_stage(0x30_0000, 5));
                        pasid_selective(5, 3)
                    }
                    "replace" => {
                        guest.put_entry(3, 1, &first_stage(0x30_0000, 5));
                        pasid_selective(5, 1)
                    }
                    "unbind" => {
                        guest.put_entry(3, 1, &[0]);
                        pasid_selective(5, 1)
                    }
                    _ => pasid_iotlb(5, 1),
                };
                gate.is_open.store(false, Ordering::SeqCst);
                guest.ring(&[descriptor, guest::wait(1)]);
                let name = format!("{call}, {what}, {failures} failures");
                std::thread::scope(|scope| {
                    let unit = guest.unit.clone();
                    let stepper = scope.spawn(move || unit.run());
                    has_entered.recv_timeout(Duration::from_secs(10)).unwrap();
                    for n in 0..failures {
                        machine.fail_nth(n + 1);
                    }
                    if what.starts_with("renumber") {
                        guest.unit.renumber(device, source_id(4)).unwrap();
                    }
                    if what.contains("release") {
                        guest.unit.release(device).unwrap();
                        let refused = guest.unit.renumber(device, source_id(6));
                        assert!(matches!(refused, Err(RenumberError::Releasing(_))), "{name}");
                    }
                    if what.contains("reset") {
                        guest.unit.reset(vtd::ResetKind::PowerOn);
                    }
                    for _ in 0..100 {
                        let_go.send(()).unwrap();
                    }
                    let _stuck_or_idle = stepper.join().unwrap();
                });
                gate.is_open.store(true, Ordering::SeqCst);
                machine.stop_failing();
                // Whatever the host refused is tried again.
                let _gone = guest.unit.retry(device);
                assert_eq!(guest.unit.run(), Step::Idle, "{name}");
                let expected: &[&str] = if what == "renumber" { &["3 2 fs4 200000"] } else { &[] };
                assert_eq!(held_by(&machine), expected, "{name}");
                assert_eq!(guest.unit.counts().ledger.held, expected.len(), "{name}");
                assert_eq!(guest.unit.counts().ledger.failed, 0, "{name}");
                let told = guest.effects();
                let told = told.iter().filter(|one| matches!(one, Effect::Released(_))).count();
                assert_eq!(told, usize::from(what != "renumber"), "{name}");
                let status = u64::from(!what.contains("reset"));
                assert_eq!(guest.get(STATUS), status, "{name}");
            }
        }
    }
}
