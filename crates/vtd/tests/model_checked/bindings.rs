//! Several threads that step: what a wait promises of the host, whoever makes its calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicU64;
use loom::thread;
use vtd::{HostCallView, Observer};

use crate::guest::calls::{held_by, host};
use crate::guest::{Guest, first_stage, pasid_selective, wait};
use crate::machine::{Machine, check};

/// A host call takes a while: other threads run meanwhile.
struct Slow(AtomicU64);

impl Observer for Slow {
    fn host_call(&self, _call: &HostCallView<'_>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn a_replace_and_two_that_step() {
    check("a replace and two that step", 3, || {
        let host = host();
        let config_host = Arc::clone(&host);
        let slow = Arc::new(Slow(AtomicU64::new(0)));
        let place = Guest::entry_place(3, 1) + 16;
        let mut machine = Machine::new(crate::guest::caps(), (place, 0x20_0000), |config| {
            config.host = Some(config_host);
            config.observer = Some(slow);
        });
        machine.guest.enable();
        machine.guest.put_context(3, 0);
        machine.guest.put_entry(3, 1, &first_stage(0x20_0000, 5));
        let _device = machine.guest.assign(3);
        assert_eq!(held_by(&host), ["3 1 fs4 200000"]);
        machine.begin();
        let worker = machine.worker();
        let unit = machine.guest.unit.clone();
        let other = thread::spawn(move || {
            let _step = unit.run();
        });
        machine.memory.put(place, 0x30_0000);
        machine.guest.ring(&[pasid_selective(5, 1), wait(1)]);
        machine.memory.wait_for_status(1);
        assert_eq!(held_by(&host), ["3 1 fs4 300000"]);
        other.join().unwrap();
        machine.end(worker);
    });
}
