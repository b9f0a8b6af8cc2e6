//! A guest whose threads the model checker switches between: quadwords of its memory that are watched, and a bell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Figure, Ordering};
use std::time::{Duration, Instant};

use loom::sync::atomic::{AtomicBool, AtomicU64};
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};
use vtd::memory::{AccessError, GuestMemory};
use vtd::spec::{Capabilities, Gpa};
use vtd::{Capacities, RemappingUnit, Step, UnitConfig, Wake};

use crate::guest::{Guest, STATUS};

/// Runs a scenario under every order of what its threads do with at most `preemptions` switches that nothing forces, and every
/// value that a load may give. A thread that waits for ever fails it.
pub(crate) fn check(name: &str, preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Deeper, for who has the time.
    let asked = std::env::var("LOOM_MAX_PREEMPTIONS").ok().and_then(|text| text.parse().ok());
    builder.preemption_bound = Some(asked.unwrap_or(preemptions));
    builder.max_branches = 100_000;
    // What comes before the threads has one order.
    builder.expect_explicit_explore = true;
    let orders = Arc::new(Figure::new(0));
    let counted = Arc::clone(&orders);
    let start = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        scenario();
    });
    let (orders, took) = (orders.load(Ordering::Relaxed), start.elapsed());
    println!("{name}: {orders} orders in {took:.1?}");
}

/// Rings once for any number of pulls, as the channel of a worker does.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    pulled: Condvar,
}

impl Bell {
    /// Waits until it is pulled, unless it has been since the last time.
    pub(crate) fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.pulled.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock().unwrap() = true;
        self.pulled.notify_one();
    }
}

/// Guest memory of which some quadwords are atomics of the model checker: those that change while threads run.
pub(crate) struct Watched {
    memory: Arc<dyn GuestMemory>,
    cells: BTreeMap<u64, AtomicU64>,
    /// A status has been written.
    stored: Bell,
}

impl Watched {
    /// The guest writes a watched quadword. An exchange, as loom may put a plain store between another's comparison and exchange.
    pub(crate) fn put(&self, gpa: u64, value: u64) {
        self.cells[&gpa].swap(value, Ordering::AcqRel);
    }

    /// What a watched quadword holds now, and not at some moment before.
    pub(crate) fn now(&self, gpa: u64) -> u64 {
        self.cells[&gpa].fetch_add(0, Ordering::AcqRel)
    }

    /// Waits for the status of a wait.
    pub(crate) fn wait_for_status(&self, data: u64) {
        while self.now(STATUS) != data {
            self.stored.wait();
        }
    }
}

impl GuestMemory for Watched {
    fn load_u64(&self, gpa: Gpa) -> Result<u64, AccessError> {
        match self.cells.get(&gpa.0) {
            Some(cell) => Ok(cell.load(Ordering::Acquire)),
            None => self.memory.load_u64(gpa),
        }
    }

    fn load_qwords(&self, gpa: Gpa, out: &mut [u64]) -> Result<(), AccessError> {
        self.memory.load_qwords(gpa, out)?;
        for (place, qword) in (gpa.0..).step_by(8).zip(out) {
            if let Some(cell) = self.cells.get(&place) {
                *qword = cell.load(Ordering::Acquire);
            }
        }
        Ok(())
    }

    fn compare_exchange_u64(
        &self,
        gpa: Gpa,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        match self.cells.get(&gpa.0) {
            Some(cell) => {
                Ok(cell.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire))
            }
            None => self.memory.compare_exchange_u64(gpa, current, new),
        }
    }

    fn store_u32_release(&self, gpa: Gpa, value: u32) -> Result<(), AccessError> {
        assert_eq!(gpa.0, STATUS, "nothing else is stored");
        self.put(STATUS, u64::from(value));
        self.stored.wake();
        Ok(())
    }

    fn store_qwords_release(&self, gpa: Gpa, values: &[u64]) -> Result<(), AccessError> {
        self.memory.store_qwords_release(gpa, values)
    }

    fn with_snapshot(&self, walk: &mut dyn FnMut(&dyn GuestMemory)) {
        walk(self);
    }
}

/// A guest, what of its memory is watched, and what its unit wakes.
pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) memory: Arc<Watched>,
    pub(crate) bell: Arc<Bell>,
    over: Arc<AtomicBool>,
}

impl Machine {
    /// A unit that is off. The status of waits is watched, and this quadword, which holds this.
    pub(crate) fn new(
        caps: Capabilities,
        (gpa, value): (u64, u64),
        change: impl FnOnce(&mut UnitConfig),
    ) -> Self {
        let bell = Arc::new(Bell::default());
        let mut made = None;
        let guest = Guest::made(caps, |config| {
            let cells = [(gpa, AtomicU64::new(value)), (STATUS, AtomicU64::new(0))];
            let memory = Arc::clone(&config.memory);
            let stored = Bell::default();
            let watched = Arc::new(Watched { memory, cells: cells.into(), stored });
            made = Some(Arc::clone(&watched));
            config.memory = watched;
            config.wake = Some(Arc::clone(&bell) as _);
            // Made anew for each order.
            config.capacities =
                Capacities { contexts: 4, pasids: 4, translations: 4, interrupt_entries: 4 };
            // The clock decides nothing.
            config.guard_patience = Duration::MAX;
            change(config);
        });
        Self { guest, memory: made.unwrap(), bell, over: Arc::default() }
    }

    /// From here on every order is tried.
    pub(crate) fn begin(&self) {
        assert_eq!(self.guest.unit.run(), Step::Idle);
        loom::explore();
    }

    /// A thread that steps whenever it is woken.
    pub(crate) fn worker(&self) -> JoinHandle<()> {
        let (unit, bell) = (self.guest.unit.clone(), Arc::clone(&self.bell));
        let over = Arc::clone(&self.over);
        thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                let _step = unit.run();
                bell.wait();
            }
        })
    }

    /// Ends a worker; nothing is left then.
    pub(crate) fn end(&self, worker: JoinHandle<()>) {
        self.over.swap(true, Ordering::AcqRel);
        self.bell.wake();
        worker.join().unwrap();
        assert_eq!(self.guest.unit.run(), Step::Idle);
    }
}

/// Steps until nothing is left, waiting for the bell where something stands in the way.
pub(crate) fn step_until_idle(unit: &RemappingUnit, bell: &Bell) {
    loop {
        match unit.run() {
            Step::Waiting => bell.wait(),
            _ => return,
        }
    }
}
