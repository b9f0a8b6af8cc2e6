//! What the threads of a unit share.
//!
//! Locks, in the order in which they may be taken together: engine, registers, devices, then any one of the others, among them
//! the place of a device's endpoint. No lock is held while the host or an endpoint is called or while the VMM is woken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Instant;

use vtd_cache::Caches;
use vtd_host::LocalPasidAllocator;
use vtd_spec::planted::is_planted;
use vtd_spec::{Capabilities, FaultRecord};
use vtd_walk::Fault;

use crate::agreement;
use crate::device::Devices;
use crate::diagnostics::{Limiter, Subject};
use crate::effect::EffectQueue;
use crate::engine::Engine;
use crate::fault_recording::Recording;
use crate::guards::Guards;
use crate::interrupt_remapping::InterruptRemapping;
use crate::protected_memory::ProtectedRegions;
use crate::register_page::RegisterPage;
use crate::responses::Responses;
use crate::sync::{AtomicBool, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::translation::{Mode, Translator};
use crate::{DiagnosticEvent, Effect, InterruptMessage, UnitConfig, UnitCounts};

/// Figures that any thread may add to.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) descriptors: AtomicU64,
    pub(crate) queue_errors: AtomicU64,
    pub(crate) faults_recorded: AtomicU64,
    pub(crate) faults_lost: AtomicU64,
    pub(crate) faults_suppressed: AtomicU64,
    pub(crate) host_calls: AtomicU64,
    pub(crate) host_failures: AtomicU64,
    pub(crate) page_requests: AtomicU64,
    pub(crate) page_requests_dropped: AtomicU64,
    pub(crate) page_responses: AtomicU64,
    pub(crate) page_responses_dropped: AtomicU64,
    pub(crate) device_tlb_invalidations: AtomicU64,
    pub(crate) device_tlb_time_outs: AtomicU64,
}

/// Adds one to a figure. Figures order nothing.
pub(crate) fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Ordering::Relaxed);
}

/// What software has asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// It has rung the doorbell.
    pub(crate) rang: bool,
    /// There are commands in the registers.
    pub(crate) commanded: bool,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: UnitConfig,
    engine: Mutex<Engine>,
    registers: Mutex<RegisterPage>,
    /// False where the registers hold nothing for the engine to take up. Changed under their lock.
    asked: AtomicBool,
    translator: Mutex<Translator>,
    devices: RwLock<Devices>,
    effects: Mutex<EffectQueue>,
    pub(crate) responses: Responses,
    pub(crate) guards: Guards,
    pub(crate) figures: Figures,
    wake_wanted: AtomicBool,
    limiter: Mutex<Limiter>,
    /// What the guest is shown, from its first look on; until then the register page has it. Set under the registers' lock.
    shown: OnceLock<Capabilities>,
    interrupts: Mutex<InterruptRemapping>,
    /// The unit has been saved and nothing has happened since: what the guest has is the state's.
    handed_over: AtomicBool,
}

impl Shared {
    pub(crate) fn new(mut config: UnitConfig) -> Self {
        config.capabilities = agreement::implemented(&config.capabilities);
        if config.capabilities.virtual_commands() && config.pasid_allocator.is_none() {
            config.pasid_allocator = Some(Arc::new(LocalPasidAllocator::new()));
        }
        Self {
            engine: Mutex::new(Engine::new(config.quotas)),
            registers: Mutex::new(RegisterPage::new(config.capabilities, config.version)),
            asked: AtomicBool::new(false),
            translator: Mutex::new(Translator {
                mode: Mode::Off,
                caches: Caches::new(config.capacities),
                protected: ProtectedRegions::default(),
            }),
            devices: RwLock::new(Devices::default()),
            effects: Mutex::new(EffectQueue::default()),
            responses: Responses::default(),
            guards: Guards::default(),
            figures: Figures::default(),
            wake_wanted: AtomicBool::new(false),
            limiter: Mutex::new(Limiter::new(config.diagnostic_limits, Instant::now())),
            shown: OnceLock::new(),
            interrupts: Mutex::new(InterruptRemapping::new(config.capacities.interrupt_entries)),
            handed_over: AtomicBool::new(false),
            config,
        }
    }

    /// What the guest is shown. Whoever asks acts for the guest, so from now on it does not change.
    ///
    /// The first to ask holds no lock that comes after that of the registers.
    pub(crate) fn caps(&self) -> &Capabilities {
        self.shown.get().unwrap_or_else(|| {
            let registers = self.registers();
            self.shown.get_or_init(|| *registers.capabilities())
        })
    }

    /// As [`caps`](Self::caps), if the guest has started.
    pub(crate) fn frozen_caps(&self) -> Option<&Capabilities> {
        self.shown.get()
    }

    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registers(&self) -> MutexGuard<'_, RegisterPage> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Software may have asked for something through these registers.
    pub(crate) fn note_asked(&self, registers: &RegisterPage) {
        if registers.is_asked() {
            self.asked.store(true, Ordering::Release);
        }
    }

    /// What software has asked for since the last look. Mostly nothing, which takes no lock to see.
    pub(crate) fn take_asked(&self) -> Asked {
        if !self.asked.load(Ordering::Acquire) {
            return Asked::default();
        }
        let mut registers = self.registers();
        let rang = std::mem::take(&mut registers.doorbell);
        let commanded = registers.is_asked();
        self.asked.store(commanded, Ordering::Release);
        Asked { rang, commanded }
    }

    /// Whether a virtual command has not been answered.
    pub(crate) fn has_virtual_command(&self) -> bool {
        self.asked.load(Ordering::Acquire) && self.registers().commands.virtual_command.is_some()
    }

    pub(crate) fn translator(&self) -> MutexGuard<'_, Translator> {
        self.translator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn devices(&self) -> RwLockReadGuard<'_, Devices> {
        self.devices.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn devices_mut(&self) -> RwLockWriteGuard<'_, Devices> {
        self.devices.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn interrupts(&self) -> MutexGuard<'_, InterruptRemapping> {
        self.interrupts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn effects(&self) -> MutexGuard<'_, EffectQueue> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, effect: Effect) {
        self.effects().push(effect);
        self.want_wake();
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the VMM's log, as far as the limits let it.
    pub(crate) fn diagnose(&self, event: DiagnosticEvent) {
        let admitted = self.limiter().admit(event, Instant::now());
        if let Some(diagnostic) = admitted {
            self.push(Effect::Diagnostic(diagnostic));
        }
    }

    /// Pushes an effect that a guest can provoke at will, as far as the limits let it.
    pub(crate) fn push_limited(&self, subject: Subject, effect: Effect) {
        if self.limiter().admit_subject(subject, Instant::now()).is_some() {
            self.push(effect);
        }
    }

    /// Lets one more effect of this kind through.
    pub(crate) fn grant(&self, subject: Subject) {
        self.limiter().grant(subject, Instant::now());
    }

    /// The unit has been saved: dropped now, it gives nothing back that the state holds.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    /// The unit goes on: what has been saved of it is no longer what it is.
    pub(crate) fn carry_on(&self) {
        self.handed_over.store(false, Ordering::Release);
    }

    /// There is something to take or to step through.
    pub(crate) fn want_wake(&self) {
        // Not a store: exchanges alone have one order that every reading of them has to fit, for a model checker too.
        self.wake_wanted.swap(true, Ordering::AcqRel);
    }

    /// A guard has been closed: wakes for what waits for guards, and for what came up inside it.
    #[inline]
    pub(crate) fn after_guard(&self, is_awaited: bool) {
        if is_awaited {
            self.want_wake();
        }
        // What this thread wants it sees; other threads wake for themselves.
        if self.wake_wanted.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes the VMM if something has come up. To be called with no lock held.
    pub(crate) fn wake(&self) {
        // Planted: looked at, then taken.
        let early = is_planted(1005).then(|| self.wake_wanted.load(Ordering::Acquire));
        let taken = self.wake_wanted.swap(false, Ordering::AcqRel);
        if early.unwrap_or(taken)
            && let Some(wake) = &self.config.wake
        {
            wake.wake();
        }
    }

    /// Sends an interrupt.
    pub(crate) fn send(&self, message: InterruptMessage) {
        if let Some(observer) = &self.config.observer {
            observer.interrupt(message);
        }
        self.push(Effect::Interrupt(message));
    }

    /// Records a fault for the guest, unless FPD suppresses it.
    pub(crate) fn record_fault(&self, record: &FaultRecord, fault: &Fault) {
        let observer = self.config.observer.as_ref();
        if !fault.is_recorded() {
            count(&self.figures.faults_suppressed);
            if let Some(observer) = observer {
                observer.fault_dropped(record.source_id, fault);
            }
            return;
        }
        // The event is sent under the lock of the registers, so that events of two threads keep their order.
        let mut registers = self.registers();
        let (recording, message) = registers.with_fault_cause(|faults| faults.record(record));
        match recording {
            Recording::Recorded => {
                count(&self.figures.faults_recorded);
                if let Some(observer) = observer {
                    observer.fault_recorded(record);
                }
            }
            Recording::Overflowed => {
                count(&self.figures.faults_lost);
                if let Some(observer) = observer {
                    observer.fault_dropped(record.source_id, fault);
                }
            }
        }
        if let Some(message) = message {
            self.send(message);
        }
        drop(registers);
        let FaultRecord { source_id, pasid, reason, .. } = *record;
        self.diagnose(match recording {
            Recording::Recorded => DiagnosticEvent::Fault { source_id, pasid, reason },
            Recording::Overflowed => DiagnosticEvent::FaultLost { source_id, pasid, reason },
        });
    }

    pub(crate) fn counts(&self) -> UnitCounts {
        // One lock after the other: in one expression all of them would be held to its end.
        let ledger = self.engine().ledger.counts();
        let caches = self.translator().caches.counts();
        let effects_lost = self.effects().lost();
        let effects_suppressed = self.limiter().suppressed();
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        UnitCounts {
            caches,
            ledger,
            descriptors: figure(&self.figures.descriptors),
            queue_errors: figure(&self.figures.queue_errors),
            faults_recorded: figure(&self.figures.faults_recorded),
            faults_lost: figure(&self.figures.faults_lost),
            faults_suppressed: figure(&self.figures.faults_suppressed),
            host_calls: figure(&self.figures.host_calls),
            host_failures: figure(&self.figures.host_failures),
            effects_lost,
            effects_suppressed,
            page_requests: figure(&self.figures.page_requests),
            page_requests_dropped: figure(&self.figures.page_requests_dropped),
            page_responses: figure(&self.figures.page_responses),
            page_responses_dropped: figure(&self.figures.page_responses_dropped),
            device_tlb_invalidations: figure(&self.figures.device_tlb_invalidations),
            device_tlb_time_outs: figure(&self.figures.device_tlb_time_outs),
        }
    }
}

impl Drop for Shared {
    /// What the guest has of PASIDs goes back, unless a saved state has taken it over.
    fn drop(&mut self) {
        if self.handed_over.load(Ordering::Acquire) {
            return;
        }
        let (held, returned) = self.engine().guest_pasids();
        if let Some(allocator) = &self.config.pasid_allocator {
            for pasid in held.into_iter().chain(returned) {
                // Nobody is left to be told of a refusal.
                let _refused = allocator.free(pasid);
            }
        }
    }
}
