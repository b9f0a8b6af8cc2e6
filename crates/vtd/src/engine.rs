//! The engine: what a unit does step by step, in bounded amounts.

use std::collections::VecDeque;
use std::sync::Arc;

use vtd_cache::{
    DeviceKey, DeviceScope, Ledger, Next, NextStageOne, Outcome, Quotas, Reconciliation,
    Scope, SlotScope, StageOneScope, StageOneWalk, Tables, Wanted,
};
use vtd_host::{StageOneInvalidation, StageOneRange};
use vtd_spec::descriptor::{
    AddressMask, ContextCacheInvalidation, Descriptor, IotlbScope, PasidCacheInvalidation,
    PasidIotlbInvalidation, Wait,
};
use vtd_spec::register::{InvalidateAddress, RootTableAddress};
use vtd_spec::{Binding, Slot};
use vtd_walk::RootTable;

use crate::device::Device;
use crate::guards::Barrier;
use crate::host_calls::{HostAnswer, HostRequest, InvalidateRequest, perform};
use crate::invalidation_queue::InvalidationQueue;
use crate::shared::{Shared, count};
use crate::translation::Mode;
use crate::{DeviceId, Effect};

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
    /// Some, but not now: a guard is open, a host call is under way on another thread, or the host did not give up a binding.
    /// The unit wakes the VMM when it can go on.
    Waiting,
}

/// Whether a step may call the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostCalls {
    Made,
    /// The step is part of a register write, which never waits for the host.
    LeftToStep,
}

/// Work that takes more than one step, and what it is for.
#[derive(Clone, Debug)]
struct Task {
    purpose: Purpose,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    Reconcile(Reconciliation, Source),
    /// Stage-1 invalidations of the bindings that a walk finds.
    StageOne(StageOneWalk, StageOneInvalidation),
}

/// Where the desired side of a reconciliation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The guest's tables, or what stands in for them while translation is off.
    Guest,
    Nothing,
    Restored,
}

/// What a task is for: what becomes true when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Reset,
    Restore,
    /// SRTP: GSTS.RTPS.
    Root,
    /// TE: GSTS.TES.
    Translation(bool),
    /// The descriptor at the head of the queue.
    Descriptor,
    /// CCMD.ICC.
    ContextCommand,
    /// IOTLB.IVT.
    IotlbCommand,
    /// All slots of a device: attach or retry.
    Device(DeviceId),
    /// The end of a device.
    Release(DeviceId),
}

/// A completion that waits until what it promises holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    purpose: Purpose,
    barrier: Barrier,
}

/// Something that the VMM asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceJob {
    Reconcile(DeviceId),
    Release(DeviceId),
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) ledger: Ledger,
    queue: Option<InvalidationQueue>,
    /// QIE was cleared; GSTS.QIES follows once nothing of the queue is left.
    queue_closing: bool,
    /// The innermost task is the last. Each purpose occurs at most once.
    tasks: Vec<Task>,
    due: Vec<Due>,
    device_jobs: VecDeque<DeviceJob>,
    /// The wait at the head of the queue.
    wait: Option<(Wait, Barrier)>,
    /// A call that must follow the one before: an unbind after a failed replace, the rest of a batch.
    follow_up: Option<HostRequest>,
    host_call_under_way: bool,
    /// The VMM has been told that the host does not give up a binding.
    told_stuck: bool,
}

/// What the engine comes to within a step.
enum Advance {
    Call(Arc<Device>, HostRequest),
    Pause(Step),
}

/// What came of working at a task.
enum Worked {
    Done,
    More,
    Call(HostRequest),
}

/// What the engine is asked to carry over to a new unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingWork {
    /// IQA as latched, while the queue is enabled.
    pub(crate) queue: Option<u64>,
    pub(crate) queue_closing: bool,
    pub(crate) reset: bool,
    pub(crate) restore: bool,
    pub(crate) root: bool,
    pub(crate) translation: Option<bool>,
    pub(crate) context_command: bool,
    pub(crate) iotlb_command: bool,
    pub(crate) reconcile: Vec<DeviceId>,
}

/// Steps a unit: `budget` bounds the work, and the host is called with no lock held.
pub(crate) fn step(shared: &Shared, budget: u32, calls: HostCalls) -> Step {
    let mut budget = budget;
    let mut engine = shared.engine();
    if engine.host_call_under_way {
        return Step::Waiting;
    }
    loop {
        match engine.advance(shared, &mut budget, calls) {
            Advance::Pause(step) => return step,
            Advance::Call(device, request) => {
                engine.host_call_under_way = true;
                drop(engine);
                let answer = perform(shared, &device, &request);
                engine = shared.engine();
                engine.host_call_under_way = false;
                engine.take_answer(shared, &device, request, answer);
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
            tasks: Vec::new(),
            due: Vec::new(),
            device_jobs: VecDeque::new(),
            wait: None,
            follow_up: None,
            host_call_under_way: false,
            told_stuck: false,
        }
    }

    pub(crate) fn is_calling_host(&self) -> bool {
        self.host_call_under_way
    }

    /// Reconciles all slots of a device, at its attach or because the VMM asks for it.
    pub(crate) fn reconcile_device(&mut self, device: DeviceId) {
        let job = DeviceJob::Reconcile(device);
        if !self.device_jobs.contains(&job) {
            self.device_jobs.push_back(job);
        }
    }

    pub(crate) fn release_device(&mut self, device: DeviceId) {
        self.device_jobs.push_back(DeviceJob::Release(device));
    }

    /// Forgets everything that was under way, waits among it: nothing is written for them any more. Bindings are reconciled
    /// with what holds after a reset, which takes no guest memory.
    pub(crate) fn reset(&mut self) {
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
        self.wait = None;
        self.follow_up = None;
        self.told_stuck = false;
        self.begin(Purpose::Reset, Scope::everything(), Source::Guest);
    }

    /// Binds what a saved unit held on a host that does not hold it.
    pub(crate) fn begin_restore(&mut self) {
        self.begin(Purpose::Restore, Scope::everything(), Source::Restored);
    }

    fn begin(&mut self, purpose: Purpose, scope: Scope, source: Source) {
        let work = Work::Reconcile(Reconciliation::new(scope), source);
        self.tasks.push(Task { purpose, work });
    }

    /// Works until the budget is used up, a host call is needed or nothing can be done.
    fn advance(&mut self, shared: &Shared, budget: &mut u32, calls: HostCalls) -> Advance {
        loop {
            if *budget == 0 {
                shared.want_wake();
                return Advance::Pause(Step::More);
            }
            if let Some(request) = &self.follow_up {
                if calls == HostCalls::LeftToStep {
                    shared.want_wake();
                    return Advance::Pause(Step::More);
                }
                let device = shared.devices().get(DeviceId(request.device().0)).cloned();
                match (device, self.follow_up.take()) {
                    (Some(device), Some(request)) => return Advance::Call(device, request),
                    _ => continue,
                }
            }
            self.take_commands(shared);
            self.take_device_job(shared);
            self.complete_due(shared);
            let Some(mut task) = self.tasks.pop() else {
                *budget -= 1;
                if self.serve_queue(shared) {
                    continue;
                }
                return Advance::Pause(self.rest(shared));
            };
            // A task that would call the host in a step that does not is left as it was.
            let before = (calls == HostCalls::LeftToStep).then(|| task.clone());
            let worked = self.work(shared, &mut task.work, budget);
            match (worked, before) {
                (Worked::Done, _) => self.finish(shared, task.purpose),
                (Worked::More, _) => self.tasks.push(task),
                (Worked::Call(_), Some(before)) => {
                    self.tasks.push(before);
                    shared.want_wake();
                    return Advance::Pause(Step::More);
                }
                (Worked::Call(request), None) => {
                    self.tasks.push(task);
                    let device = shared.devices().get(DeviceId(request.device().0)).cloned();
                    if let Some(device) = device {
                        return Advance::Call(device, request);
                    }
                }
            }
        }
    }

    /// Nothing can be done now: whether something is left all the same.
    fn rest(&mut self, shared: &Shared) -> Step {
        if self.wait.is_none() && self.due.is_empty() && !self.queue_closing {
            shared.guards.stop_waiting();
            return Step::Idle;
        }
        for device in shared.guards.name_overdue(shared.config.guard_patience) {
            shared.push(Effect::GuardHeldLong(device));
        }
        Step::Waiting
    }

    /// Takes up what software has commanded through the registers, one command at a time.
    fn take_commands(&mut self, shared: &Shared) {
        let busy = |purpose: Purpose| {
            matches!(purpose, Purpose::Root | Purpose::Translation(_) | Purpose::Reset)
        };
        let mut registers = shared.registers();
        if std::mem::take(&mut registers.doorbell) {
            self.retry_contradictions();
        }
        if self.tasks.iter().any(|task| busy(task.purpose)) {
            return;
        }
        if let Some(root) = registers.commands.root.take() {
            drop(registers);
            self.set_root(shared, root);
        } else if let Some(on) = registers.commands.translation.take() {
            let root = registers.latched_root;
            drop(registers);
            self.set_translation(shared, on, root);
        } else if std::mem::take(&mut registers.commands.queue_off) {
            self.queue_closing = self.queue.is_some();
        } else if registers.commands.queue_on && !self.queue_closing {
            registers.commands.queue_on = false;
            self.queue = Some(InvalidationQueue::new(registers.queue_address()));
            registers.queue_head = 0;
            registers.status.qies = true;
        } else if registers.commands.context && !self.is_at(Purpose::ContextCommand) {
            registers.commands.context = false;
            let command = registers.context_command();
            drop(registers);
            self.run_context_command(shared, command.invalidation());
        } else if registers.commands.iotlb && !self.is_at(Purpose::IotlbCommand) {
            registers.commands.iotlb = false;
            let (command, address) = registers.iotlb_command();
            drop(registers);
            let address = InvalidateAddress::from_bits(address);
            let largest = shared.config.capabilities.maximum_address_mask();
            let wanted = command.invalidation(address).map(|invalidation| invalidation.scope);
            let refused = matches!(
                wanted,
                Some(IotlbScope::Pages { pages, .. }) if pages.mask > largest
            );
            self.run_iotlb_command(shared, wanted.filter(|_| !refused));
        }
    }

    fn is_at(&self, purpose: Purpose) -> bool {
        self.tasks.iter().any(|task| task.purpose == purpose)
    }

    /// Software rings the doorbell while the host holds what it should not: one more try, since nothing else may come.
    fn retry_contradictions(&mut self) {
        if !self.ledger.contradicts() || (self.wait.is_none() && self.due.is_empty()) {
            return;
        }
        let stuck: Vec<_> = self.stuck_devices().collect();
        for device in stuck {
            self.reconcile_device(device);
        }
    }

    fn stuck_devices(&self) -> impl Iterator<Item = DeviceId> {
        let devices = self.ledger.devices();
        devices.filter(|(key, _)| self.ledger.device_contradicts(*key)).map(|(key, _)| DeviceId(key.0))
    }

    fn set_root(&mut self, shared: &Shared, root: u64) {
        shared.registers().latched_root = root;
        {
            let mut translator = shared.translator();
            if let Mode::On(_) = translator.mode {
                translator.mode = Mode::On(root_table(shared, root));
            }
            translator.caches.invalidate_all();
        }
        self.begin(Purpose::Root, Scope::everything(), Source::Guest);
    }

    fn set_translation(&mut self, shared: &Shared, on: bool, root: u64) {
        {
            let mut translator = shared.translator();
            translator.mode = if on { Mode::On(root_table(shared, root)) } else { Mode::Off };
            translator.caches.invalidate_all();
        }
        self.begin(Purpose::Translation(on), Scope::everything(), Source::Guest);
    }

    /// Takes up what the VMM has asked for, and devices for whose bindings there is space now.
    fn take_device_job(&mut self, shared: &Shared) {
        let busy = |purpose: Purpose| {
            matches!(purpose, Purpose::Device(_) | Purpose::Release(_) | Purpose::Reset)
        };
        if self.tasks.iter().any(|task| busy(task.purpose)) {
            return;
        }
        if self.device_jobs.is_empty()
            && let Some(key) = self.ledger.take_starved()
        {
            self.device_jobs.push_back(DeviceJob::Reconcile(DeviceId(key.0)));
        }
        match self.device_jobs.pop_front() {
            Some(DeviceJob::Reconcile(device)) => {
                self.begin(Purpose::Device(device), Scope::device(device.key()), Source::Guest);
            }
            Some(DeviceJob::Release(device)) => {
                shared.translator().caches.invalidate_devices(std::iter::once(device.key()));
                self.begin(Purpose::Release(device), Scope::device(device.key()), Source::Nothing);
            }
            None => {}
        }
    }

    /// Works at a task until it is done, needs the host or has used up the budget.
    fn work(&mut self, shared: &Shared, work: &mut Work, budget: &mut u32) -> Worked {
        match work {
            Work::Reconcile(cursor, source) => {
                match self.next_change(shared, cursor, *source, budget) {
                    Next::Change(change) => Worked::Call(HostRequest::Change(change)),
                    Next::More => Worked::More,
                    Next::Done => Worked::Done,
                }
            }
            Work::StageOne(walk, invalidation) => match self.ledger.next_stage_one(walk, budget) {
                NextStageOne::Slot(device, slot) => {
                    let batch = vec![*invalidation];
                    let request = InvalidateRequest { device, slot, batch, again: false };
                    Worked::Call(HostRequest::Invalidate(request))
                }
                NextStageOne::More => Worked::More,
                NextStageOne::Done => Worked::Done,
            },
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
        let takes = |key: DeviceKey, slot: Slot, binding: &Binding| {
            let host = devices.get(DeviceId(key.0)).and_then(|device| device.host);
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
                let caps = &shared.config.capabilities;
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
        if let Some(key) = self.ledger.take_refused() {
            shared.push(Effect::OverQuota(DeviceId(key.0)));
        }
        next
    }

    /// A task is done: what it promised follows, at once or when nothing stands in the way any more.
    fn finish(&mut self, shared: &Shared, purpose: Purpose) {
        match purpose {
            Purpose::Reset | Purpose::Restore | Purpose::Device(_) => {}
            Purpose::Descriptor => self.advance_head(shared),
            _ => {
                let barrier = shared.guards.barrier();
                // A later command of the same kind takes the place of an earlier one.
                self.due.retain(|due| {
                    std::mem::discriminant(&due.purpose) != std::mem::discriminant(&purpose)
                        || matches!(purpose, Purpose::Release(_))
                });
                self.due.push(Due { purpose, barrier });
            }
        }
    }

    /// Completes what nothing stands in the way of.
    fn complete_due(&mut self, shared: &Shared) {
        if self.due.is_empty() && self.wait.is_none() && !self.queue_closing {
            return;
        }
        let due = std::mem::take(&mut self.due);
        for due in due {
            let holds = match due.purpose {
                Purpose::Release(device) => {
                    shared.guards.passed_by(due.barrier, device)
                        && !self.ledger.device_contradicts(device.key())
                }
                _ => self.holds(shared, due.barrier),
            };
            if holds {
                self.complete(shared, due.purpose);
            } else {
                self.due.push(due);
            }
        }
        if let Some((wait, barrier)) = self.wait
            && self.holds(shared, barrier)
        {
            self.wait = None;
            self.complete_wait(shared, &wait);
        }
        let queue_busy = self.wait.is_some() || self.is_at(Purpose::Descriptor);
        if self.queue_closing && !queue_busy {
            self.queue_closing = false;
            self.queue = None;
            let mut registers = shared.registers();
            registers.queue_head = 0;
            registers.status.qies = false;
        }
        self.tell_stuck(shared);
    }

    /// Whether a completion's promise holds: no guard from before, and nothing with the host that contradicts it.
    fn holds(&self, shared: &Shared, barrier: Barrier) -> bool {
        !self.ledger.contradicts() && shared.guards.passed(barrier)
    }

    fn tell_stuck(&mut self, shared: &Shared) {
        let stuck = self.ledger.contradicts();
        if stuck && !self.told_stuck && !(self.due.is_empty() && self.wait.is_none()) {
            self.told_stuck = true;
            for device in self.stuck_devices() {
                shared.push(Effect::HostStuck(device));
            }
        }
        self.told_stuck &= stuck;
    }

    fn complete(&mut self, shared: &Shared, purpose: Purpose) {
        let mut registers = shared.registers();
        match purpose {
            Purpose::Root => registers.status.rtps = true,
            Purpose::Translation(on) => registers.status.tes = on,
            Purpose::ContextCommand => registers.finish_context_command(true),
            Purpose::IotlbCommand => registers.finish_iotlb_command(true),
            Purpose::Release(device) => {
                drop(registers);
                self.ledger.remove_device(device.key());
                shared.devices_mut().remove(device);
                shared.push(Effect::Released(device));
            }
            Purpose::Reset | Purpose::Restore | Purpose::Descriptor | Purpose::Device(_) => {}
        }
    }

    /// Everything before the wait is done and seen: its status is written, then its interrupt sent.
    fn complete_wait(&mut self, shared: &Shared, wait: &Wait) {
        if let Some(status) = &wait.status {
            if let Some(observer) = &shared.config.observer {
                observer.wait_status(status.address, status.data);
            }
            // A posted write to where there is no memory is lost, as it is on the bus.
            let _lost = shared.config.memory.store_u32_release(status.address, status.data);
        }
        if wait.interrupt {
            let message = shared.registers().complete_wait();
            if let Some(message) = message {
                shared.send(message);
            }
        }
        self.advance_head(shared);
    }

    fn advance_head(&self, shared: &Shared) {
        count(&shared.figures.descriptors);
        if let Some(queue) = &self.queue {
            let mut registers = shared.registers();
            registers.queue_head = queue.next(registers.queue_head);
        }
    }

    /// Fetches the next descriptor and carries it out, or begins to; whether there was one.
    fn serve_queue(&mut self, shared: &Shared) -> bool {
        let Some(queue) = self.queue else { return false };
        if self.queue_closing || self.wait.is_some() {
            return false;
        }
        let (head, tail) = {
            let registers = shared.registers();
            if registers.faults.stops_queue() {
                return false;
            }
            (registers.queue_head, registers.queue_tail())
        };
        let mut fetched = Ok(None);
        shared.config.memory.with_snapshot(&mut |memory| {
            fetched = queue.fetch(memory, &shared.config.capabilities, head, tail);
        });
        match fetched {
            Ok(None) => false,
            Ok(Some(descriptor)) => {
                if let Some(observer) = &shared.config.observer {
                    observer.descriptor(head, &descriptor);
                }
                self.carry_out(shared, &descriptor);
                true
            }
            Err(stop) => {
                count(&shared.figures.queue_errors);
                if let Some(observer) = &shared.config.observer {
                    observer.queue_error(head, &stop.why);
                }
                let message = shared.registers().stop_queue(stop.info);
                if let Some(message) = message {
                    shared.send(message);
                }
                false
            }
        }
    }

    fn carry_out(&mut self, shared: &Shared, descriptor: &Descriptor) {
        match descriptor {
            Descriptor::ContextCache(invalidation) => {
                self.invalidate_contexts(shared, invalidation, Purpose::Descriptor);
            }
            Descriptor::PasidCache(invalidation) => self.invalidate_pasids(shared, *invalidation),
            Descriptor::Iotlb(invalidation) => {
                self.invalidate_iotlb(shared, invalidation.scope, Purpose::Descriptor);
            }
            Descriptor::PasidIotlb(invalidation) => {
                self.invalidate_pasid_iotlb(shared, invalidation);
            }
            Descriptor::Wait(wait) => {
                self.wait = Some((*wait, shared.guards.barrier()));
            }
            // No emulated device holds a device TLB or asks for pages, no interrupt entry is cached, and a host flushes the
            // device TLBs of assigned devices itself: there is nothing to drop and nobody to answer.
            Descriptor::DeviceTlb(_)
            | Descriptor::PasidDeviceTlb(_)
            | Descriptor::InterruptEntryCache(_)
            | Descriptor::PageGroupResponse(_) => self.advance_head(shared),
        }
    }

    /// A context-cache invalidation: PASID state of the devices goes with it, and their bindings are reconciled.
    fn invalidate_contexts(
        &mut self,
        shared: &Shared,
        invalidation: &ContextCacheInvalidation,
        purpose: Purpose,
    ) {
        let devices = match invalidation {
            // By domain it is global: a context entry of scalable mode has no domain, and more may always go.
            ContextCacheInvalidation::Global | ContextCacheInvalidation::Domain(_) => {
                shared.translator().caches.invalidate_all();
                DeviceScope::All
            }
            ContextCacheInvalidation::Device { source_id, function_mask, .. } => {
                let ignored = function_mask.ignored_bits();
                let scope = DeviceScope::Requesters { source_id: *source_id, ignored };
                let keys: Vec<_> = shared
                    .devices()
                    .iter()
                    .filter(|device| scope.contains(device.id.key(), device.source_id))
                    .map(|device| device.id.key())
                    .collect();
                shared.translator().caches.invalidate_devices(keys.into_iter());
                scope
            }
        };
        let scope = Scope { devices, slots: SlotScope::All, domain: None };
        self.begin(purpose, scope, Source::Guest);
    }

    fn invalidate_pasids(&mut self, shared: &Shared, invalidation: PasidCacheInvalidation) {
        let (slots, domain) = match invalidation {
            PasidCacheInvalidation::Global => {
                shared.translator().caches.invalidate_all();
                (SlotScope::All, None)
            }
            PasidCacheInvalidation::Domain(domain) => {
                shared.translator().caches.invalidate_pasid_domain(domain);
                (SlotScope::All, Some(domain))
            }
            PasidCacheInvalidation::Pasid { domain, pasid } => {
                let devices = emulated(shared);
                shared.translator().caches.invalidate_pasid(pasid, devices.into_iter());
                (SlotScope::Pasids(pasid.get()..pasid.get() + 1), Some(domain))
            }
        };
        let scope = Scope { devices: DeviceScope::All, slots, domain };
        self.begin(Purpose::Descriptor, scope, Source::Guest);
    }

    fn invalidate_iotlb(&mut self, shared: &Shared, scope: IotlbScope, purpose: Purpose) {
        let mut translator = shared.translator();
        let caches = &mut translator.caches;
        let reached = match scope {
            IotlbScope::Global => {
                caches.invalidate_translations();
                Some(StageOneScope::All)
            }
            IotlbScope::Domain(domain) => {
                caches.invalidate_translation_domain(domain);
                Some(StageOneScope::Domain(domain))
            }
            IotlbScope::Pages { domain, pages } => {
                let range = pages.range();
                caches.invalidate_domain_pages(domain, range.first(), range.last());
                // By page it concerns second-stage tables, which the host does not hold.
                None
            }
        };
        drop(translator);
        match reached {
            Some(scope) => self.begin_stage_one(scope, StageOneInvalidation::EVERYTHING, purpose),
            None => self.finish(shared, purpose),
        }
    }

    fn invalidate_pasid_iotlb(&mut self, shared: &Shared, invalidation: &PasidIotlbInvalidation) {
        let PasidIotlbInvalidation { domain, pasid, pages } = *invalidation;
        let range = pages.map(AddressMask::range);
        let devices = emulated(shared);
        shared.translator().caches.invalidate_pasid_translations(
            domain,
            pasid,
            range.map(|range| (range.first(), range.last())),
            devices.into_iter(),
        );
        let stage_one = match (pages, range) {
            (Some(pages), Some(range)) if !range.is_everything() => StageOneInvalidation {
                range: StageOneRange::Pages { first: range.address(), count: range.pages() },
                leaf_only: pages.leaf_only,
            },
            _ => StageOneInvalidation::EVERYTHING,
        };
        let scope = StageOneScope::Pasid(domain, pasid);
        self.begin_stage_one(scope, stage_one, Purpose::Descriptor);
    }

    fn begin_stage_one(
        &mut self,
        scope: StageOneScope,
        invalidation: StageOneInvalidation,
        purpose: Purpose,
    ) {
        let work = Work::StageOne(StageOneWalk::new(scope), invalidation);
        self.tasks.push(Task { purpose, work });
    }

    fn run_context_command(
        &mut self,
        shared: &Shared,
        invalidation: Option<ContextCacheInvalidation>,
    ) {
        match invalidation {
            Some(invalidation) if !shared.registers().names_scalable_mode() => {
                self.invalidate_contexts(shared, &invalidation, Purpose::ContextCommand);
            }
            _ => shared.registers().finish_context_command(false),
        }
    }

    fn run_iotlb_command(&mut self, shared: &Shared, scope: Option<IotlbScope>) {
        match scope {
            Some(scope) if !shared.registers().names_scalable_mode() => {
                self.invalidate_iotlb(shared, scope, Purpose::IotlbCommand);
            }
            _ => shared.registers().finish_iotlb_command(false),
        }
    }

    /// Enters what the host answered, and what has to follow.
    fn take_answer(
        &mut self,
        shared: &Shared,
        device: &Device,
        request: HostRequest,
        answer: HostAnswer,
    ) {
        let errno = answer.error.as_ref().and_then(|error| error.errno);
        let (slot, operation) = (request.slot(), request.operation());
        self.follow_up = match (request, &answer.error) {
            (HostRequest::Change(change), error) => {
                let outcome =
                    if error.is_some() { Outcome::Failed { errno } } else { Outcome::Done };
                self.ledger.settle(&change, outcome).map(HostRequest::Change)
            }
            (HostRequest::Invalidate(_), None) => None,
            (HostRequest::Invalidate(request), Some(_)) => {
                self.after_failed_invalidation(&request, answer.handled, errno)
            }
        };
        if let Some(error) = answer.error {
            shared.push(Effect::HostCallFailed { device: device.id, slot, operation, error });
        }
    }

    /// What the host did not drop is tried once more; after that the binding goes.
    fn after_failed_invalidation(
        &mut self,
        request: &InvalidateRequest,
        handled: usize,
        errno: Option<i32>,
    ) -> Option<HostRequest> {
        if request.again {
            let unbind = self.ledger.distrust(request.device, request.slot, errno);
            return unbind.map(HostRequest::Change);
        }
        let batch = request.batch.get(handled..).unwrap_or(&request.batch).to_vec();
        let InvalidateRequest { device, slot, .. } = *request;
        Some(HostRequest::Invalidate(InvalidateRequest { device, slot, batch, again: true }))
    }

    /// What a saved unit has to carry over. Unfinished work begins anew: a descriptor is still at the head of the queue, and
    /// everything else is a reconciliation, which repeats nothing that is done.
    pub(crate) fn pending_work(&self) -> PendingWork {
        let mut pending = PendingWork {
            queue: self.queue.map(|queue| queue.bits()),
            queue_closing: self.queue_closing,
            ..PendingWork::default()
        };
        let under_way = self.tasks.iter().map(|task| task.purpose);
        for purpose in under_way.chain(self.due.iter().map(|due| due.purpose)) {
            match purpose {
                Purpose::Reset => pending.reset = true,
                Purpose::Restore => pending.restore = true,
                Purpose::Root => pending.root = true,
                Purpose::Translation(on) => pending.translation = Some(on),
                Purpose::ContextCommand => pending.context_command = true,
                Purpose::IotlbCommand => pending.iotlb_command = true,
                Purpose::Device(device) => pending.reconcile.push(device),
                // The device itself says that it is being released; a descriptor is fetched again.
                Purpose::Release(_) | Purpose::Descriptor => {}
            }
        }
        pending.reconcile.extend(self.device_jobs.iter().filter_map(|job| match job {
            DeviceJob::Reconcile(device) => Some(*device),
            DeviceJob::Release(_) => None,
        }));
        pending
    }

    /// Takes up what a saved unit carried over, but for commands, which the registers hold.
    pub(crate) fn resume(&mut self, pending: &PendingWork) {
        self.queue = pending.queue.map(InvalidationQueue::new);
        self.queue_closing = pending.queue_closing;
        for device in &pending.reconcile {
            self.reconcile_device(*device);
        }
        if pending.reset {
            self.begin(Purpose::Reset, Scope::everything(), Source::Guest);
        }
        if pending.restore {
            self.begin_restore();
        }
    }
}

fn root_table(shared: &Shared, root: u64) -> RootTable {
    RootTable::new(RootTableAddress::from_bits(root), &shared.config.capabilities)
}

/// The devices that may have something in the caches.
fn emulated(shared: &Shared) -> Vec<DeviceKey> {
    let devices = shared.devices();
    devices.iter().filter(|device| device.is_emulated()).map(|device| device.id.key()).collect()
}
