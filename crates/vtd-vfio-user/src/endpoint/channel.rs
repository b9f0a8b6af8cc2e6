//! A channel: registers, and a thread that does one job at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::command::{Job, JobRegisters, Kind};
use super::dma::Requester;
use super::outcome::{Failure, Round};
use super::register_half;
use crate::interrupts::Interrupts;

const RUNNING: u32 = 1;
const DONE: u32 = 2;

/// A channel of an endpoint. Dropping it ends its job and its thread.
#[derive(Debug)]
pub(super) struct Channel {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    number: u16,
    requester: Arc<Requester>,
    interrupts: Interrupts,
    state: Mutex<State>,
    /// There is a job, or the end.
    wanted: Condvar,
    /// The thread has done its job.
    idle: Condvar,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    registers: JobRegisters,
    status: u32,
    figures: Figures,
    job: Option<Job>,
    /// The thread has taken a job and not done it yet.
    busy: bool,
    ended: bool,
    /// Counts resets, so that a job from before one does not write its end into registers from after it.
    resets: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    value: u64,
    moved: u64,
    rounds: u64,
    failed: u64,
    retries: u64,
    fault_address: u64,
}

impl Channel {
    pub(super) fn start(number: u16, requester: Arc<Requester>, interrupts: Interrupts) -> Self {
        let shared = Arc::new(Shared {
            number,
            requester,
            interrupts,
            state: Mutex::default(),
            wanted: Condvar::new(),
            idle: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let worker = Arc::clone(&shared);
        let name = format!("channel-{number}");
        // Without a thread the channel's jobs stay running, which a guest sees.
        let thread = std::thread::Builder::new().name(name).spawn(move || worker.work()).ok();
        Self { shared, thread }
    }

    /// What the guest reads at `offset`, a multiple of 4.
    pub(super) fn register(&self, offset: u64) -> u32 {
        let state = self.shared.state();
        let figures = &state.figures;
        let (low, value) = match offset {
            0x04 => return state.status,
            0x08 => return state.registers.pasid,
            0x18 => return state.registers.length,
            0x10 | 0x14 => (0x10, state.registers.address),
            0x20 | 0x24 => (0x20, state.registers.pattern),
            0x28 | 0x2c => (0x28, figures.value),
            0x30 | 0x34 => (0x30, figures.moved),
            0x38 | 0x3c => (0x38, figures.rounds),
            0x40 | 0x44 => (0x40, figures.failed),
            0x48 | 0x4c => (0x48, figures.retries),
            0x50 | 0x54 => (0x50, figures.fault_address),
            _ => return 0,
        };
        register_half(value, offset == low)
    }

    /// The guest writes at `offset`, a multiple of 4.
    pub(super) fn set_register(&self, offset: u64, value: u32) {
        let mut state = self.shared.state();
        let registers = &mut state.registers;
        let low = |old: u64| old & !0xffff_ffff | u64::from(value);
        let high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match offset {
            0x00 => self.start_job(&mut state, value),
            0x08 => registers.pasid = value & 0xf_ffff,
            0x0c if value & 1 != 0 => self.shared.stop.store(true, Ordering::Release),
            0x10 => registers.address = low(registers.address),
            0x14 => registers.address = high(registers.address),
            0x18 => registers.length = value,
            0x20 => registers.pattern = low(registers.pattern),
            0x24 => registers.pattern = high(registers.pattern),
            _ => {}
        }
    }

    fn start_job(&self, state: &mut State, command: u32) {
        if state.status & 0xff == RUNNING {
            return;
        }
        state.figures = Figures::default();
        match Job::decode(command, state.registers) {
            Some(job) => {
                self.shared.stop.store(false, Ordering::Release);
                state.status = RUNNING;
                state.job = Some(job);
                self.shared.wanted.notify_one();
            }
            None => state.status = DONE | Failure::NoJob.status(),
        }
    }

    /// Ends the job and clears the registers. What the job is doing is done when this returns.
    pub(super) fn reset(&self) {
        let mut state = self.shared.state();
        self.shared.stop.store(true, Ordering::Release);
        *state = State { resets: state.resets + 1, busy: state.busy, ..State::default() };
        self.shared.requester.give_up_page_requests();
        while state.busy {
            state = self.shared.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.ended = true;
            self.shared.stop.store(true, Ordering::Release);
            self.shared.requester.give_up_page_requests();
            self.shared.wanted.notify_one();
        }
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked on anything that a guest does; if it has, that has been printed.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let (job, resets) = {
                let mut state = self.state();
                loop {
                    if state.ended {
                        return;
                    }
                    if let Some(job) = state.job.take() {
                        state.busy = true;
                        break (job, state.resets);
                    }
                    state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            self.carry_out(&job, resets);
            self.state().busy = false;
            self.idle.notify_all();
        }
    }

    fn carry_out(&self, job: &Job, resets: u64) {
        let stopped = || self.stop.load(Ordering::Acquire);
        let mut number = 0;
        let last = loop {
            let mut round = Round::default();
            let done = self.requester.round(job, number, &stopped, &mut round);
            let mut state = self.state();
            if state.resets != resets {
                return;
            }
            let figures = &mut state.figures;
            figures.value = round.value;
            figures.moved = round.moved;
            figures.retries += round.retries;
            match done {
                Ok(()) => figures.rounds += 1,
                Err(_) => {
                    figures.failed += 1;
                    figures.fault_address = round.at;
                }
            }
            number += 1;
            let goes_on = job.repeat && job.kind != Kind::DropTranslations && !stopped();
            if !goes_on || done.is_err() && job.stop_on_failure {
                break done;
            }
        };
        let result = match last {
            _ if job.repeat && stopped() => Failure::Stopped.status(),
            Ok(()) => 0,
            Err(failure) => failure.status(),
        };
        {
            let mut state = self.state();
            if state.resets != resets {
                return;
            }
            state.status = DONE | result;
        }
        if job.interrupt {
            self.interrupts.trigger(self.number);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
