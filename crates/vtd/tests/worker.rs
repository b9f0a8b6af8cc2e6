//! Wakes, and the thread that they drive.
#![cfg(test)]

mod guest;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use guest::calls::{held_by, host};
use guest::{Guest, INVALIDATION_DATA, STATUS, first_stage, pasid_selective, translate};
use vtd::spec::Gpa;
use vtd::{Access, Effect, RemappingUnit, ResetKind, Step, Wake, Worker, WorkerWake};

/// A wake that uses the unit at once, which it may since no lock is held.
#[derive(Default)]
struct Eager {
    unit: OnceLock<RemappingUnit>,
    effects: Mutex<Vec<String>>,
    depth: AtomicU64,
}

impl Wake for Eager {
    fn wake(&self) {
        let Some(unit) = self.unit.get() else { return };
        // It may be woken from within.
        if self.depth.fetch_add(1, Ordering::SeqCst) < 3 {
            let _status = unit.read(0x1c, 4);
            let _step = unit.step(100);
            let _counts = (unit.counts(), unit.devices());
            unit.write(0x34, 4, 0);
            while let Some(effect) = unit.take_effect() {
                self.effects.lock().unwrap().push(format!("{effect:?}"));
            }
        }
        self.depth.fetch_sub(1, Ordering::SeqCst);
    }
}

// feature: 8.a worker thread for VMMs that have none
#[test]
fn a_wake_may_use_the_unit() {
    let machine = host();
    let wake = Arc::new(Eager::default());
    let mut guest = Guest::made(guest::caps(), |config| {
        config.host = Some(Arc::clone(&machine) as _);
        config.wake = Some(Arc::clone(&wake) as _);
    });
    assert!(wake.unit.set(guest.unit.clone()).is_ok());
    guest.enable();
    guest.put_context(3, 0);
    guest.put_context(4, 0);
    guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
    let device = guest.assign(3);
    // A register write with work for the host: the wake has done it by the time it returns.
    guest.put_entry(3, 1, &first_stage(0x18_0000, 5));
    guest.ring(&[pasid_selective(5, 1), [0x35 | 7 << 32, STATUS, 0, 0]]);
    assert_eq!(held_by(&machine), ["3 1 fs4 180000"]);
    assert_eq!(guest.get(STATUS), 7);
    assert_eq!(wake.effects.lock().unwrap().len(), 1, "the interrupt of the wait");
    // A fault on a device's thread, and a guard that something waits for.
    let emulated = guest.emulate(4);
    let handle = guest.unit.dma(emulated, None).unwrap();
    assert!(translate(&handle, 0x1000, Access::READ).is_err());
    assert_eq!(wake.effects.lock().unwrap().len(), 3, "the fault event, and a line for the log");
    let guard = handle.guard();
    guest.ring(&[guest::wait(8)]);
    assert_eq!(guest.get(STATUS), 7);
    drop(guard);
    assert_eq!(guest.get(STATUS), 8);
    // Host failures, release, retry, reset, restore.
    machine.fail_next();
    guest.put_entry(3, 2, &first_stage(0x10_0000, 5));
    guest.ring(&[pasid_selective(5, 2)]);
    guest.unit.retry(device).unwrap();
    assert_eq!(held_by(&machine), ["3 1 fs4 180000", "3 2 fs4 100000"]);
    guest.unit.release(device).unwrap();
    assert_eq!(held_by(&machine), [""; 0]);
    guest.unit.reset(ResetKind::PowerOn);
    let effects = wake.effects.lock().unwrap();
    assert!(effects.iter().any(|effect| effect.starts_with("HostCallFailed")));
    assert!(effects.iter().any(|effect| effect.starts_with("Released")));
}

// feature: 8.a worker thread for VMMs that have none
#[test]
fn nothing_wakes_without_a_reason() {
    #[derive(Default)]
    struct Wakes(AtomicU64);
    impl Wake for Wakes {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let wakes = Arc::new(Wakes::default());
    let mut guest =
        Guest::made(guest::caps(), |config| config.wake = Some(Arc::clone(&wakes) as _));
    guest.enable();
    guest.emulate(3);
    let before = wakes.0.load(Ordering::SeqCst);
    let _status = guest.read(0x34, 4);
    guest.write(0x34, 4, 0xff);
    assert!(guest.invalidate(&[guest::PASID_GLOBAL]));
    assert!(guest.is_idle());
    assert!(guest.unit.take_effect().is_none());
    assert_eq!(wakes.0.load(Ordering::SeqCst), before);
    // An interrupt is one.
    guest.ring(&[[0x15, 0, 0, 0]]);
    assert_eq!(wakes.0.load(Ordering::SeqCst), before + 1);
    assert_eq!(guest.interrupts(), [INVALIDATION_DATA]);
}

#[test]
fn effects_are_bounded_and_the_necessary_ones_are_kept() {
    let machine = host();
    let mut guest = Guest::with_host(Arc::clone(&machine) as _);
    guest.enable();
    guest.put_context(3, 0);
    guest.put_entry(3, 1, &first_stage(0x10_0000, 5));
    machine.fail_calls(|_| true);
    let device = guest.assign(3);
    for _ in 0..3000 {
        guest.unit.retry(device).unwrap();
        assert!(guest.is_idle());
    }
    guest.ring(&[[0x15, 0, 0, 0]]);
    machine.stop_failing();
    guest.unit.release(device).unwrap();
    assert!(guest.is_idle());
    assert!(guest.unit.counts().effects_lost > 2000);
    let effects = guest.effects();
    assert!(effects.len() < 1024);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Interrupt(_))));
    assert!(matches!(effects.last(), Some(Effect::Released(_))));
}

fn working(guest_of: impl FnOnce(Arc<WorkerWake>) -> Guest) -> (Guest, Worker, Receiver<Effect>) {
    let waker = Arc::new(Worker::waker());
    let guest = guest_of(Arc::clone(&waker));
    let (sender, effects) = channel();
    let worker = Worker::start(&waker, guest.unit.clone(), move |unit| {
        while let Some(effect) = unit.take_effect() {
            sender.send(effect).unwrap();
        }
    });
    assert!(Worker::start(&waker, guest.unit.clone(), |_| {}).is_none(), "started once");
    (guest, worker.unwrap(), effects)
}

/// Waits until the worker has brought something about.
fn soon(mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_micros(200));
    }
}

// feature: 8.a worker thread for VMMs that have none
#[test]
fn a_worker_drives_everything_and_stops_when_dropped() {
    let machine = host();
    let (mut guest, worker, effects) = working(|waker| {
        Guest::made(guest::caps(), |config| {
            config.host = Some(Arc::clone(&machine) as _);
            config.wake = Some(waker);
        })
    });
    guest.enable();
    guest.put_context(3, 0);
    for pasid in 0..20 {
        guest.put_entry(3, pasid, &first_stage(0x10_0000 * (pasid + 1), 5));
    }
    let attachment = vtd::Attachment::Assigned(vtd::host::HostDevice(3));
    let device = guest.unit.attach(guest::source_id(3), attachment).unwrap();
    soon(|| held_by(&machine).len() == 20);
    // A wait behind work of the host; its interrupt.
    guest.put_entry(3, 7, &[0]);
    guest.ring(&[pasid_selective(5, 7), [0x35 | 9 << 32, STATUS, 0, 0]]);
    soon(|| guest.get(STATUS) == 9);
    assert_eq!(held_by(&machine).len(), 19);
    let effect = effects.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(effect, Effect::Interrupt(message) if message.data == INVALIDATION_DATA));
    // A wait that a guard holds up goes on when it is dropped.
    let emulated = guest.emulate(4);
    let handle = guest.unit.dma(emulated, None).unwrap();
    let guard = handle.guard();
    guest.ring(&[guest::wait(10)]);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(guest.get(STATUS), 9);
    drop(guard);
    soon(|| guest.get(STATUS) == 10);
    guest.unit.release(device).unwrap();
    soon(|| held_by(&machine).is_empty());
    let effect = effects.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(effect, Effect::Released(released) if released == device));
    guest.unit.reset(ResetKind::PowerOn);
    drop(worker);
    // The thread has ended: its end of the channel is gone.
    let left: Vec<_> = effects.iter().collect();
    assert!(left.is_empty(), "{left:?}");
    // And the unit is the VMM's to step again.
    guest.memory.fill_zero_page(Gpa(STATUS));
    guest.enable();
    guest.ring(&[guest::wait(11)]);
    assert_eq!(guest.unit.run(), Step::Idle);
    assert_eq!(guest.get(STATUS), 11);
}
