//! What a reset unbinds, with its memory gone and with a host that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vtd::host::{HostCall, HostCapabilities};
use vtd::memory::{AccessError, GuestMemory, SparseMemory};
use vtd::spec::Gpa;
use vtd::{Effect, ResetKind, Step};

use crate::guest::calls::{Calls, held_by, host_with};
use crate::guest::{self, CONTEXT_GLOBAL, Guest, STATUS, first_stage, pass_through};
use crate::machine::Machine;

/// Memory that is gone once it is told so: every access panics.
struct Mortal {
    memory: SparseMemory,
    gone: AtomicBool,
}

impl Mortal {
    fn alive(&self) -> &SparseMemory {
        assert!(!self.gone.load(Ordering::SeqCst), "guest memory was used after the reset");
        &self.memory
    }
}

impl GuestMemory for Mortal {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        self.alive().load_u64(gpa)
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.alive().load_qwords(gpa, out)
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        old: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.alive().compare_exchange_u64(gpa, old, new)
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        self.alive().store_u32_release(gpa, value)
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.alive().store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

// feature: 7.bindings: reset
#[test]
fn reset_reads_no_memory_and_tells_the_host_of_every_unbind() {
    let memory = Arc::new(Mortal { memory: SparseMemory::new(), gone: AtomicBool::new(false) });
    let machine = host_with(HostCapabilities::everything());
    let calls = Arc::new(Calls::default());
    let mut guest = Guest::made(guest::caps(), |config| {
        config.memory = Arc::clone(&memory) as _;
        config.host = Some(Arc::clone(&machine) as _);
        config.observer = Some(Arc::clone(&calls) as _);
    });
    // The tables lie in the mortal memory.
    let put = |gpa: u64, qwords: &[u64]| {
        for (place, qword) in (gpa..).step_by(8).zip(qwords) {
            memory.memory.write_u64(Gpa(place), *qword).unwrap();
        }
    };
    put(0x1000, &[0x2001]);
    for device in [3, 4] {
        let directory = Guest::directory(device);
        put(0x2000 + device * 8 * 32, &[directory | 9]);
        put(directory, &[directory + 0x1001]);
        for pasid in 1..=20 {
            put(Guest::entry_place(device, pasid), &[0x41, 5, 0x10_0000 * pasid]);
        }
        // A second-stage table of three pages' worth of leaves, shadowed.
        put(Guest::entry_place(device, 21), &[0x4_0089, 5]);
    }
    for level in 0..3 {
        put(0x4_0000 + level * 0x1000, &[0x4_1003 + level * 0x1000]);
    }
    put(0x4_3000, &[0x5003, 0, 0x7003, 0, 0x9003]);
    for page in [guest::QUEUE, STATUS] {
        memory.memory.fill_zero_page(Gpa(page));
    }
    guest.enable();
    guest.assign(3);
    guest.assign(4);
    let emulated = guest.emulate(5);
    let handle = guest.unit.dma(emulated, None).unwrap();
    assert_eq!(held_by(&machine).len(), 42);
    assert_eq!(guest.unit.counts().ledger.mapped, 6);
    calls.take();
    // A wait is deferred, a reconciliation half done, a command not begun.
    let guard = handle.guard();
    put(guest::QUEUE, &guest::wait(9));
    guest.write(0x88, 8, 0x20);
    guest.write(0x18, 4, 0xc400_0000);
    let _step = guest.unit.step(3);
    guest.unit.reset(ResetKind::PowerOn);
    memory.gone.store(true, Ordering::SeqCst);
    drop(guard);
    while guest.unit.step(1) != Step::Idle {}
    let mut expected = Vec::new();
    for device in [3, 4] {
        expected.push(format!("bind 00:0{device}.0 - pt 0 0"));
        expected.extend((1..=21).map(|pasid| format!("unbind 00:0{device}.0 {pasid:x}")));
    }
    assert_eq!(calls.take(), expected);
    assert_eq!(guest.read(0x1c, 4), 0);
    let mut status = [0; 4];
    memory.memory.read_bytes(Gpa(STATUS), &mut status).unwrap();
    assert_eq!(status, [0; 4], "the wait was cancelled");
}

// feature: 7.bindings: reset
#[test]
fn reset_and_release_when_the_host_fails() {
    for release in [false, true] {
        let Machine { mut guest, host, calls } = Machine::new();
        guest.put_entry(3, 1, &first_stage(0x14_0000, 5));
        guest.put_entry(3, 2, &first_stage(0x18_0000, 5));
        if !release {
            guest.put_entry(3, 0, &pass_through(0));
        }
        let device = guest.assign(3);
        calls.take();
        host.fail_calls(|call| matches!(call, HostCall::Unbind { .. }));
        if release {
            guest.unit.release(device).unwrap();
        } else {
            guest.unit.reset(ResetKind::PowerOn);
        }
        let step = guest.unit.run();
        assert_eq!(step, if release { Step::Waiting } else { Step::Idle });
        let unbinds = ["!unbind 00:03.0 1", "!unbind 00:03.0 2"];
        assert_eq!(
            calls.take().iter().filter(|call| call.contains("unbind")).count(),
            unbinds.len()
        );
        let effects = guest.effects();
        let failed =
            effects.iter().filter(|effect| matches!(effect, Effect::HostCallFailed { .. }));
        assert_eq!(failed.count(), 2);
        let told = effects
            .iter()
            .any(|effect| matches!(effect, Effect::HostStuck(stuck) if *stuck == device));
        assert_eq!(told, release);
        assert_eq!(held_by(&host).len(), if release { 2 } else { 3 });
        // The guest can go on; nothing of a device on its way out is bound again by whatever it does meanwhile.
        if !release {
            guest.enable();
        } else {
            guest.set_root(0x1400);
            assert!(!guest.invalidate(&[CONTEXT_GLOBAL]));
            assert_eq!(guest.read(0x1c, 4), 0x8400_0000, "what it promises does not hold");
            assert!(calls.take().iter().all(|call| call.starts_with("!unbind")));
            assert!(guest.effects().iter().all(|effect| !matches!(effect, Effect::Released(_))));
        }
        host.stop_failing();
        guest.unit.retry(device).unwrap();
        guest.unit.retry(device).unwrap();
        assert!(guest.is_idle());
        let released =
            guest.effects().iter().filter(|effect| matches!(effect, Effect::Released(_))).count();
        if release {
            assert_eq!(held_by(&host), [""; 0]);
            assert_eq!(released, 1, "told once");
            assert!(guest.unit.devices().is_empty());
            assert!(guest.unit.retry(device).is_err());
        } else {
            assert_eq!(held_by(&host), ["3 - pt 0", "3 1 fs4 140000", "3 2 fs4 180000"]);
            assert_eq!(released, 0);
        }
        assert_eq!(guest.unit.counts().ledger.contradicting, 0);
    }
}
