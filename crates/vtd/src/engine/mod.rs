//! The engine: what a unit does step by step, in bounded amounts.

mod answers;
mod commands;
mod completions;
mod deliveries;
mod descriptors;
mod device_tlbs;
mod interrupts;
mod outgoing;
mod range_requests;
mod task;
mod virtual_commands;

use std::collections::VecDeque;

use vtd_cache::{
    DeviceKey, Ledger, Next, NextMapping, NextStageOne, Quotas, Reconciliation, Scope, ShadowScope,
    ShadowWalk, SlotScope, StageOneWalk, Tables, Wanted,
};
use vtd_host::StageOneInvalidation;
use vtd_spec::descriptor::Wait;
use vtd_spec::planted::is_planted;
use vtd_spec::{Binding, Slot};
use vtd_walk::RootTable;

use crate::diagnostics::Subject;
use crate::guards::Barrier;
use crate::host_calls::{HostRequest, InvalidateRequest};
use crate::invalidation_queue::InvalidationQueue;
use crate::shared::Shared;
use crate::translation::Mode;
use crate::{DeviceId, Effect};
use deliveries::drop_undeliverable;
use device_tlbs::DeviceTlbs;
use outgoing::OutgoingCall;
use range_requests::Served;
use task::{DeviceJob, Due, PendingCommands, Purpose, Source, Task, Work, Worked};
use virtual_commands::GuestPasids;

pub(crate) use task::PendingWork;

/// How much work a register write does at most, in entries read, slots looked at and descriptors.
pub const DEFAULT_BUDGET: u32 = 4_096;

/// What [`RemappingUnit::step`](crate::RemappingUnit::step) says of the work that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// None.
    Idle,
    /// Some: call again.
    More,
    /// Some, but not now: a guard is open, a call is under way on another thread, the host did not give up a binding, or a device
    /// has not answered an invalidation. The unit wakes the VMM when it can go on; time-outs are noticed by a step alone, so
    /// one has to follow now and then.
    Waiting,
}

/// Whether a step may call the host and the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostCalls {
    Made,
    /// The step is part of a register write, which never waits for the host.
    LeftToStep,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) ledger: Ledger,
    queue: Option<InvalidationQueue>,
    /// QIE was cleared; GSTS.QIES follows once nothing of the queue is left.
    queue_closing: bool,
    /// The saved unit had begun the descriptor at the head: it is carried out even if the queue is closing.
    descriptor_begun: bool,
    /// The innermost task is the last. Each purpose occurs at most once.
    tasks: Vec<Task>,
    due: Vec<Due>,
    device_jobs: VecDeque<DeviceJob>,
    /// The wait at the head of the queue.
    wait: Option<(Wait, Barrier)>,
    /// The part of the queue that was read ahead.
    served: Option<Served>,
    /// A call that must follow the one before: an unbind after a failed replace, the rest of a batch.
    follow_up: Option<HostRequest>,
    call_under_way: bool,
    /// The devices of which the VMM has been told that the host does not give up a binding.
    told_stuck: Vec<DeviceId>,
    device_tlbs: DeviceTlbs,
    guest_pasids: GuestPasids,
}

/// What the engine comes to within a step.
enum Advance {
    Call(OutgoingCall),
    Pause(Step),
}

/// A call that has not returned. Dropped only if what was called panics: the unit is not to wait for it for ever. A slot is left
/// to the next reconciliation, an invalidation to its time-out.
struct Unfinished<'s>(&'s Shared);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.engine().call_under_way = false;
        // Whatever came up meanwhile was left to the step that does not return.
        self.0.want_wake();
    }
}

/// Steps a unit: `budget` bounds the work, and whatever it calls is called with no lock held.
pub(crate) fn step(shared: &Shared, budget: u32, calls: HostCalls) -> Step {
    let mut budget = budget;
    let mut engine = shared.engine();
    if engine.call_under_way {
        return Step::Waiting;
    }
    loop {
        match engine.advance(shared, &mut budget, calls) {
            Advance::Pause(step) => return step,
            Advance::Call(call) => {
                engine.call_under_way = true;
                drop(engine);
                let unfinished = Unfinished(shared);
                let returned = call.make(shared);
                std::mem::forget(unfinished);
                engine = shared.engine();
                engine.call_under_way = false;
                engine.take_returned(shared, returned);
                budget = budget.saturating_sub(1);
            }
        }
    }
}

impl Engine {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            ledger: Ledger::new(quotas),
            queue: None,
            queue_closing: false,
            descriptor_begun: false,
            tasks: Vec::new(),
            due: Vec::new(),
            device_jobs: VecDeque::new(),
            wait: None,
            served: None,
            follow_up: None,
            call_under_way: false,
            told_stuck: Vec::new(),
            device_tlbs: DeviceTlbs::default(),
            guest_pasids: GuestPasids::default(),
        }
    }

    pub(crate) fn is_calling(&self) -> bool {
        self.call_under_way
    }

    /// Reconciles all slots of a device, at its attach or because the VMM asks for it.
    pub(crate) fn reconcile_device(&mut self, device: DeviceId) {
        self.ask(DeviceJob::Reconcile(device));
    }

    pub(crate) fn release_device(&mut self, device: DeviceId) {
        self.ask(DeviceJob::Release(device));
    }

    fn ask(&mut self, job: DeviceJob) {
        if !self.device_jobs.contains(&job) {
            self.device_jobs.push_back(job);
        }
    }

    /// Forgets everything that was under way, waits among it: nothing is written for them any more. Bindings are reconciled
    /// with what holds after a reset, which takes no guest memory.
    pub(crate) fn reset(&mut self) {
        // Planted (59): a cursor survives a reset.
        let survivor = is_planted(59).then(|| self.tasks.iter().rev().find_map(Task::cursor));
        for task in std::mem::take(&mut self.tasks) {
            match task.purpose {
                Purpose::Device(device) => self.reconcile_device(device),
                Purpose::Release(device) => self.release_device(device),
                _ => {}
            }
        }
        self.due.retain(|due| matches!(due.purpose, Purpose::Release(_)));
        self.queue = None;
        self.queue_closing = false;
        self.descriptor_begun = false;
        self.served = None;
        // Planted (55): a wait survives a reset.
        if !is_planted(55) {
            self.wait = None;
        }
        self.follow_up = None;
        self.told_stuck.clear();
        self.device_tlbs.clear();
        let mut scope = Scope::everything();
        // Planted (54): a reset forgets to unbind all but the first PASIDs.
        if is_planted(54) {
            scope.slots = SlotScope::Pasids(0..1);
        }
        self.begin(Purpose::Reset, scope, Source::Guest);
        if let Some(cursor) = survivor.flatten()
            && let Some(task) = self.tasks.last_mut()
        {
            task.work = Work::Reconcile(cursor, Source::Guest);
        }
    }

    /// Binds what a saved unit held on a host that does not hold it.
    pub(crate) fn begin_restore(&mut self) {
        self.begin(Purpose::Restore, Scope::everything(), Source::Restored);
    }

    fn begin(&mut self, purpose: Purpose, scope: Scope, source: Source) {
        self.supersede(purpose);
        let work = Work::Reconcile(Reconciliation::new(scope), source);
        self.tasks.push(Task { purpose, work });
    }

    fn is_at(&self, purpose: Purpose) -> bool {
        self.tasks.iter().any(|task| task.purpose == purpose)
    }

    /// Whether the descriptor at the head of the queue has begun and is not done.
    fn is_at_descriptor(&self) -> bool {
        self.wait.is_some() || self.descriptor_begun || self.is_at(Purpose::Descriptor)
    }

    /// Works until the budget is used up, a host call is needed or nothing can be done.
    fn advance(&mut self, shared: &Shared, budget: &mut u32, calls: HostCalls) -> Advance {
        loop {
            if *budget == 0 {
                shared.want_wake();
                return Advance::Pause(Step::More);
            }
            if calls == HostCalls::LeftToStep && self.follow_up.is_some() {
                shared.want_wake();
                return Advance::Pause(Step::More);
            }
            if let Some(request) = self.follow_up.take() {
                match OutgoingCall::to_host(shared, request) {
                    Some(call) => return Advance::Call(call),
                    None => continue,
                }
            }
            let asked = shared.take_asked();
            if asked.rang {
                self.retry_contradictions();
            }
            if asked.commanded {
                self.take_commands(shared);
                self.take_interrupt_commands(shared);
                self.take_protected_memory(shared);
            }
            if (asked.commanded || self.has_pasids_to_return())
                && let Some(call) = self.next_allocator_call(shared, calls)
            {
                return Advance::Call(OutgoingCall::Allocator(call));
            }
            self.take_device_job(shared);
            drop_undeliverable(shared);
            if self.complete_due(shared) {
                // It may have been asked to go on again meanwhile.
                continue;
            }
            if self.tell_time_outs(shared) {
                continue;
            }
            if self.has_delivery(shared) {
                if calls == HostCalls::LeftToStep {
                    shared.want_wake();
                    return Advance::Pause(Step::More);
                }
                if let Some(call) = self.take_delivery(shared) {
                    return Advance::Call(call);
                }
            }
            let Some(mut task) = self.tasks.pop() else {
                if let Some(cost) = self.serve_queue(shared) {
                    *budget = budget.saturating_sub(cost);
                    continue;
                }
                return Advance::Pause(self.rest(shared));
            };
            // A task that would call the host in a step that does not is left as it was.
            let before = (calls == HostCalls::LeftToStep).then(|| task.clone());
            let worked = self.work(shared, &mut task, budget);
            match (worked, before) {
                (Worked::Done, _) => self.finish(shared, task.purpose),
                (Worked::More, _) => self.tasks.push(task),
                (Worked::Call(_) | Worked::Tell(_), Some(before)) => {
                    self.tasks.push(before);
                    shared.want_wake();
                    return Advance::Pause(Step::More);
                }
                (Worked::Call(request), None) => {
                    self.tasks.push(task);
                    if let Some(call) = OutgoingCall::to_host(shared, request) {
                        return Advance::Call(call);
                    }
                }
                (Worked::Tell(entries), None) => {
                    self.tasks.push(task);
                    return Advance::Call(OutgoingCall::InterruptListener(entries));
                }
            }
        }
    }

    /// Nothing can be done now: whether something is left all the same.
    fn rest(&mut self, shared: &Shared) -> Step {
        self.tell_stuck(shared);
        if self.awaits_allocator(shared) {
            return Step::More;
        }
        if self.wait.is_none() && self.due.is_empty() && !self.queue_closing {
            return if self.is_settled(shared) { Step::Idle } else { Step::Waiting };
        }
        let waits = self.wait.iter().map(|(_, barrier)| (*barrier, None));
        let due = self.due.iter().map(|due| match due.purpose {
            Purpose::Release(device) => (due.barrier, Some(device)),
            _ => (due.barrier, None),
        });
        for (barrier, device) in waits.chain(due) {
            let patience = shared.config.guard_patience;
            for device in shared.guards.name_overdue(barrier, device, patience) {
                shared.push(Effect::GuardHeldLong(device));
            }
        }
        Step::Waiting
    }

    /// Works at a task until it is done, needs the host or has used up the budget.
    fn work(&mut self, shared: &Shared, task: &mut Task, budget: &mut u32) -> Worked {
        let Task { purpose, work } = task;
        match work {
            Work::LookAhead(_) => {
                self.look_ahead(shared, work, budget);
                Worked::More
            }
            Work::Reconcile(cursor, source) => {
                match self.next_change(shared, cursor, *source, budget) {
                    Next::Change(change) => Worked::Call(HostRequest::Change(change)),
                    Next::More => Worked::More,
                    Next::Done => match self.fill_scope(*purpose, *source) {
                        Some(scope) => {
                            *work = Work::Shadow(ShadowWalk::new(scope), None);
                            Worked::More
                        }
                        None => Worked::Done,
                    },
                }
            }
            Work::Shadow(walk, then) => match self.next_mapping(shared, walk, budget) {
                NextMapping::Call(change) => Worked::Call(HostRequest::Mapping(change)),
                NextMapping::More => Worked::More,
                NextMapping::Done => match then.take() {
                    Some(scope) => {
                        let everything = StageOneInvalidation::EVERYTHING;
                        *work = Work::StageOne(StageOneWalk::new(scope), everything);
                        Worked::More
                    }
                    None => Worked::Done,
                },
            },
            Work::StageOne(walk, invalidation) => match self.ledger.next_stage_one(walk, budget) {
                NextStageOne::Slot(device, slot) => {
                    let batch = vec![*invalidation];
                    let request = InvalidateRequest { device, slot, batch, again: false };
                    Worked::Call(HostRequest::Invalidate(request))
                }
                NextStageOne::More => Worked::More,
                NextStageOne::Done => Worked::Done,
            },
            Work::TellOfInterrupts { told: true, .. } => Worked::Done,
            Work::TellOfInterrupts { entries, told } => {
                // A listener that panics is not told again, as nobody would be there to do it for ever.
                *told = true;
                Worked::Tell(*entries)
            }
        }
    }

    /// The shadows that are compared with their tables before a reconciliation counts as done.
    fn fill_scope(&self, purpose: Purpose, source: Source) -> Option<ShadowScope> {
        match (purpose, source) {
            // What has been bound by others is not this one's to fill, and a release must not wait for a guest's tables.
            (_, Source::Nothing) => None,
            // A new root table invalidates every translation, those of bindings that stay among them.
            (Purpose::Root, _) if self.ledger.has_shadows() => Some(ShadowScope::All),
            // What has been bound with nothing mapped is filled.
            _ if self.ledger.has_unfilled() => Some(ShadowScope::Unfilled),
            _ => None,
        }
    }

    fn next_mapping(
        &mut self,
        shared: &Shared,
        walk: &mut ShadowWalk,
        budget: &mut u32,
    ) -> NextMapping {
        let caps = shared.caps();
        let mut next = NextMapping::More;
        shared.config.memory.with_snapshot(&mut |memory| {
            next = self.ledger.next_mapping(walk, memory, caps, budget);
        });
        self.tell_refused(shared);
        next
    }

    /// Tells the VMM of a device that has used up its quota.
    fn tell_refused(&mut self, shared: &Shared) {
        if let Some(key) = self.ledger.take_refused() {
            let device = DeviceId(key.0);
            shared.push_limited(Subject::OverQuota(device), Effect::OverQuota(device));
        }
    }

    fn next_change(
        &mut self,
        shared: &Shared,
        cursor: &mut Reconciliation,
        source: Source,
        budget: &mut u32,
    ) -> Next {
        let devices = shared.devices();
        // A device that is being released takes nothing, whatever reconciles it meanwhile.
        let takes = |key: DeviceKey, slot: Slot, binding: &Binding| {
            let device = devices.get(DeviceId(key.0)).filter(|device| !device.is_released());
            let host = device.and_then(|device| device.host);
            host.is_some_and(|host| host.supports(binding, slot))
        };
        let mode = shared.translator().mode;
        let fixed = match (source, mode) {
            (Source::Nothing, _) | (_, Mode::On(RootTable::Abort | RootTable::Unusable)) => {
                Some(Wanted::Nothing)
            }
            (Source::Restored, _) => Some(Wanted::Restored),
            (Source::Guest, Mode::Off) => Some(Wanted::PassThrough),
            (Source::Guest, Mode::On(_)) => None,
        };
        let next = match fixed {
            Some(wanted) => self.ledger.next_change(cursor, &wanted, &takes, budget),
            None => {
                let mut next = Next::More;
                let caps = shared.caps();
                shared.config.memory.with_snapshot(&mut |memory| {
                    let wanted = match mode {
                        Mode::On(RootTable::Legacy(root)) => {
                            Wanted::Legacy(Tables { memory, caps, root })
                        }
                        Mode::On(RootTable::Scalable(root)) => {
                            Wanted::Scalable(Tables { memory, caps, root })
                        }
                        Mode::Off | Mode::On(RootTable::Abort | RootTable::Unusable) => {
                            Wanted::Nothing
                        }
                    };
                    next = self.ledger.next_change(cursor, &wanted, &takes, budget);
                });
                next
            }
        };
        self.tell_refused(shared);
        next
    }

    /// Takes up what the VMM has asked for, and devices for whose bindings there is space now.
    fn take_device_job(&mut self, shared: &Shared) {
        let busy = |task: &Task| {
            matches!(
                task.purpose,
                Purpose::Device(_) | Purpose::Release(_) | Purpose::Reset | Purpose::Restore
            )
        };
        if self.tasks.iter().any(busy) {
            self.overtake_fills(shared);
            return;
        }
        if self.device_jobs.is_empty()
            && let Some(key) = self.ledger.take_starved()
        {
            self.reconcile_device(DeviceId(key.0));
        }
        match self.device_jobs.pop_front() {
            Some(DeviceJob::Reconcile(device)) => {
                self.begin(Purpose::Device(device), Scope::device(device.key()), Source::Guest);
            }
            Some(DeviceJob::Release(device)) => self.begin_release(shared, device),
            None => {}
        }
    }

    fn begin_release(&mut self, shared: &Shared, device: DeviceId) {
        shared.translator().caches.invalidate_devices(std::iter::once(device.key()));
        let mut scope = Scope::device(device.key());
        // Planted (70): a release forgets to unbind all but the first PASIDs.
        if is_planted(70) {
            scope.slots = SlotScope::Pasids(0..1);
        }
        self.begin(Purpose::Release(device), scope, Source::Nothing);
    }

    /// How long a shadow takes to fill is up to the guest, so a release does not wait for it. Everything is bound by then.
    fn overtake_fills(&mut self, shared: &Shared) {
        let busy = |task: &Task| !matches!(task.work, Work::Shadow(..));
        if self.tasks.iter().any(busy) {
            return;
        }
        let release = |job: &DeviceJob| match job {
            DeviceJob::Release(device) => Some(*device),
            DeviceJob::Reconcile(_) => None,
        };
        let next = self.device_jobs.iter().zip(0..).find_map(|(job, at)| Some((at, release(job)?)));
        if let Some((at, device)) = next {
            self.device_jobs.remove(at);
            self.begin_release(shared, device);
        }
    }

    /// What a saved unit has to carry over. Unfinished work begins anew: a descriptor is still at the head of the queue, and
    /// everything else is a reconciliation, which repeats nothing that is done.
    pub(crate) fn pending_work(&self, shared: &Shared) -> PendingWork {
        let mut pending = PendingWork {
            queue: self.queue.map(|queue| queue.bits()),
            queue_closing: self.queue_closing,
            descriptor_begun: self.is_at_descriptor(),
            device_tlbs: self.device_tlbs.save(),
            responses: shared.responses.change(|responses| responses.save()),
            ..PendingWork::default()
        };
        let under_way = || self.tasks.iter().map(|task| task.purpose);
        pending.begun = PendingCommands::of(under_way());
        pending.due = PendingCommands::of(self.due.iter().map(|due| due.purpose));
        pending.reset = under_way().any(|purpose| purpose == Purpose::Reset);
        pending.restore = under_way().any(|purpose| purpose == Purpose::Restore);
        pending.interrupt_reset = under_way().any(|purpose| purpose == Purpose::InterruptReset);
        // The device itself says that it is being released; a descriptor is fetched again.
        pending.reconcile.extend(under_way().filter_map(|purpose| match purpose {
            Purpose::Device(device) => Some(device.0),
            _ => None,
        }));
        pending.due_releases.extend(self.due.iter().filter_map(|due| match due.purpose {
            Purpose::Release(device) => Some(device.0),
            _ => None,
        }));
        pending.reconcile.extend(self.device_jobs.iter().filter_map(|job| match job {
            DeviceJob::Reconcile(device) => Some(device.0),
            DeviceJob::Release(_) => None,
        }));
        pending
    }

    /// Takes up what a saved unit carried over, but for commands, which the registers hold.
    pub(crate) fn resume(&mut self, shared: &Shared, pending: &PendingWork, barrier: Barrier) {
        self.queue = pending.queue.map(InvalidationQueue::new);
        self.queue_closing = pending.queue_closing;
        self.descriptor_begun = pending.descriptor_begun && self.queue.is_some();
        self.device_tlbs.restore(&pending.device_tlbs, barrier);
        let releases =
            pending.due_releases.iter().map(|handle| Purpose::Release(DeviceId(*handle)));
        let due = pending.due.purposes().chain(releases);
        self.due.extend(due.map(|purpose| Due { purpose, barrier }));
        for handle in &pending.reconcile {
            self.reconcile_device(DeviceId(*handle));
        }
        if pending.reset {
            self.begin(Purpose::Reset, Scope::everything(), Source::Guest);
        }
        if pending.restore {
            self.begin_restore();
        }
        if pending.interrupt_reset {
            self.reset_interrupts(shared);
        }
    }
}
