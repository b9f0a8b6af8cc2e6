//! A thread that steps a unit, for VMMs that have none to spare.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{DEFAULT_BUDGET, RemappingUnit, Step, Wake};

/// How often a unit that waits is looked at again when nobody wakes the worker.
const PATIENCE: Duration = Duration::from_millis(100);

/// A thread that steps a unit whenever it is woken, and calls back when there may be effects to take.
///
/// Give [`Worker::waker`] to the unit's configuration, then start the worker with the unit. Dropping it ends the thread.
#[derive(Debug)]
pub struct Worker {
    signal: SyncSender<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Work,
    Stop,
}

/// What wakes a [`Worker`]. Made before the unit, so that its configuration can hold it.
#[derive(Debug)]
pub struct WorkerWake {
    signal: SyncSender<Signal>,
    inbox: std::sync::Mutex<Option<Receiver<Signal>>>,
}

impl Wake for WorkerWake {
    fn wake(&self) {
        // A full channel holds a signal already, and one is enough.
        match self.signal.try_send(Signal::Work) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

impl Worker {
    /// What the unit's configuration takes as `wake`.
    #[must_use]
    pub fn waker() -> WorkerWake {
        let (signal, inbox) = sync_channel(2);
        WorkerWake { signal, inbox: std::sync::Mutex::new(Some(inbox)) }
    }

    /// Starts the thread. `effects` is called after each round of work; it takes what it finds and must not block for long.
    ///
    /// `None` if this waker has been started before, or the thread could not be made.
    pub fn start(
        waker: &WorkerWake,
        unit: RemappingUnit,
        mut effects: impl FnMut(&RemappingUnit) + Send + 'static,
    ) -> Option<Self> {
        let inbox = waker.inbox.lock().ok()?.take()?;
        let run = move || {
            loop {
                let step = unit.step(DEFAULT_BUDGET);
                effects(&unit);
                let signal = match step {
                    Step::More => inbox.try_recv().unwrap_or(Signal::Work),
                    Step::Waiting => match inbox.recv_timeout(PATIENCE) {
                        Ok(signal) => signal,
                        Err(RecvTimeoutError::Timeout) => Signal::Work,
                        Err(RecvTimeoutError::Disconnected) => Signal::Stop,
                    },
                    Step::Idle => inbox.recv().unwrap_or(Signal::Stop),
                };
                if signal == Signal::Stop {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("vtd".into()).spawn(run).ok()?;
        Some(Self { signal: waker.signal.clone(), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The thread empties the channel, so this ends as soon as its step does.
        if self.signal.send(Signal::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic of the thread was the callback's, and has been printed.
            drop(thread.join());
        }
    }
}
