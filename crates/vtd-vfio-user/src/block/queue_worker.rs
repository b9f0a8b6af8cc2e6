//! The thread of a queue.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use virtio_queue::{Queue, QueueOwnedT, QueueT};

use super::QUEUE_SIZE;
use super::device_state::DeviceState;
use super::disk::Disk;
use super::dma::{BlockDma, BusMaster, DeviceMemory};
use super::halt::Halt;
use super::request::{DiskId, Means, Request};
use crate::guest_map::GuestMap;

/// A queue that runs. Dropping it ends what it does and its thread; that takes no longer than moving one piece of a request, or a flush.
#[derive(Debug)]
pub(super) struct QueueWorker {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// A queue, and what its requests are carried out with.
pub(super) struct Work {
    pub(super) number: usize,
    pub(super) queue: Queue,
    pub(super) dma: BlockDma,
    pub(super) bus_master: BusMaster,
    pub(super) map: GuestMap,
    pub(super) disk: Arc<Disk>,
    pub(super) id: DiskId,
    pub(super) state: Arc<DeviceState>,
    pub(super) write_through: bool,
}

#[derive(Debug, Default)]
struct Signal {
    notified: Mutex<bool>,
    changed: Condvar,
    stop: AtomicBool,
}

impl QueueWorker {
    /// Starts a queue, which looks for requests at once.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub(super) fn start(mut work: Work) -> io::Result<Self> {
        let signal = Arc::new(Signal::default());
        signal.notify();
        let waited_for = Arc::clone(&signal);
        let named = std::thread::Builder::new().name(format!("queue-{}", work.number));
        let thread = named.spawn(move || work.run(&waited_for))?;
        Ok(Self { signal, thread: Some(thread) })
    }

    /// There may be requests.
    pub(super) fn notify(&self) {
        self.signal.notify();
    }
}

impl Drop for QueueWorker {
    fn drop(&mut self) {
        self.signal.stop.store(true, Ordering::Release);
        self.signal.notify();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked on anything that a guest does; if it has, that has been printed.
            drop(thread.join());
        }
    }
}

impl Signal {
    fn notify(&self) {
        *self.lock() = true;
        self.changed.notify_one();
    }

    /// Waits for a notification. `false`: the queue ends.
    fn wait(&self) -> bool {
        let mut notified = self.lock();
        while !*notified {
            notified = self.changed.wait(notified).unwrap_or_else(PoisonError::into_inner);
        }
        *notified = false;
        !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.notified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn run(&mut self, signal: &Signal) {
        let mut bytes = Vec::new();
        while signal.wait() {
            match self.serve_available(signal, &mut bytes) {
                Ok(()) => {}
                Err(Halt::Stopped) => return,
                Err(Halt::Broken) => {
                    self.state.needs_reset();
                    return;
                }
            }
        }
    }

    /// Carries out requests until there are none, or the function is no bus master: then it is notified when it is again.
    fn serve_available(&mut self, signal: &Signal, bytes: &mut Vec<u8>) -> Result<(), Halt> {
        let mut found_none = false;
        while self.bus_master.is_on() {
            self.queue.disable_notification(&self.memory())?;
            let mut found = false;
            while self.bus_master.is_on() && self.serve_one(signal, bytes)? {
                found = true;
            }
            if !self.bus_master.is_on() || !self.queue.enable_notification(&self.memory())? {
                return Ok(());
            }
            // A request may have come after the last look, but then the next look finds it, unless the ring cannot be read.
            if !found && found_none {
                return Err(Halt::Broken);
            }
            found_none = !found;
        }
        Ok(())
    }

    /// Carries out the next request. Whether there was one.
    fn serve_one(&mut self, signal: &Signal, bytes: &mut Vec<u8>) -> Result<bool, Halt> {
        if signal.is_stopped() {
            return Err(Halt::Stopped);
        }
        let memory = &self.memory();
        let Some(chain) = self.queue.iter(memory)?.next() else { return Ok(false) };
        let head = chain.head_index();
        let request = Request::read(chain, QUEUE_SIZE.into())?;
        let means = Means {
            memory,
            disk: &self.disk,
            id: &self.id,
            write_through: self.write_through,
            stopped: &|| signal.is_stopped(),
        };
        let written = request.carry_out(&means, bytes)?;
        self.queue.add_used(memory, head, written)?;
        if self.queue.needs_notification(memory)? {
            self.state.used(self.number);
        }
        Ok(true)
    }

    fn memory(&self) -> DeviceMemory {
        self.dma.memory(&self.map)
    }
}
