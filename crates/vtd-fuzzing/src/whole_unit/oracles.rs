//! What has to hold.

use std::fmt::Debug;

use vtd::host::HostDevice;
use vtd::spec::{Binding, FirstStageLevels, PageRequest, Slot, SourceId};
use vtd::{Completion, DmaError, Granted, InterruptError, RemappedInterrupt};
use vtd_model::{
    Allowed, Answer, Fault, InterruptAnswer, InterruptRequest, Mode, Moment, Refused, Request,
    TranslatedAnswer, TranslationAnswer,
};

use super::eyes::SeenFault;
use super::world::{Device, Kind, World};

/// What a program came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Operations.
    pub operations: u64,
    /// Descriptors that the unit carried out.
    pub descriptors: u64,
    /// Answers that are what the tables say.
    pub present: u64,
    /// Answers that are what a cache may hold.
    pub cached: u64,
    /// Answers about which the model could not decide.
    pub unsettled: u64,
    /// Requests that were served.
    pub served: u64,
    /// Comparisons of bindings with tables.
    pub bindings: u64,
    /// Restores.
    pub restores: u64,
}

/// The answer of an oracle that has found something: the program ends here.
#[allow(clippy::panic, reason = "an oracle reports by panicking")]
pub(super) fn wrong(what: &str, details: &dyn Debug) -> ! {
    panic!("{what}: {details:x?}")
}

type Seen = Result<(u64, Granted), DmaError>;

impl World {
    /// Looks whether all is as it should be after an operation.
    pub(super) fn look(&mut self) {
        self.check_host_calls();
        let found = self.mirror().wrong.take();
        if let Some(found) = found {
            wrong("queue", &found);
        }
        while self.unit.take_effect().is_some() {}
    }

    pub(super) fn check_host_calls(&self) {
        if let Some(call) = self.host.inner().illegal() {
            wrong("host calls: an illegal one", &call);
        }
    }

    /// The fault of the last request, and whether it was recorded or lost for want of a record.
    fn fault_seen(&self) -> Option<SeenFault> {
        let faults = self.eyes.take_faults();
        if faults.len() > 1 {
            wrong("answers: more than one fault of a request", &faults);
        }
        faults.first().copied()
    }

    fn count(&mut self, what: &dyn Debug, judged: Result<Allowed, Refused>) {
        match judged {
            Ok(Allowed::Present) => self.figures.present += 1,
            Ok(Allowed::Cached) => self.figures.cached += 1,
            Ok(Allowed::Unsettled) => self.figures.unsettled += 1,
            Err(refused) => wrong(&format!("answers: {refused}"), what),
        }
    }

    pub(super) fn judge_untranslated(&mut self, request: &Request, since: Moment, seen: Seen) {
        let fault = self.fault_seen();
        let judged = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            let mirror = &*mirror;
            let unit = &mirror.registers.unit;
            mirror.history.judge(unit, &*mirror.memory, request, since, |answer, _| {
                match (answer, &seen) {
                    (Answer::Memory(found), Ok((address, granted))) => {
                        found.address == *address
                            && granted.read == found.read
                            && granted.write == found.write
                    }
                    (Answer::Interrupt, Err(DmaError::Interrupt)) => true,
                    // While translation is off a read of the interrupt range is no DMA either.
                    (Answer::Memory(_), Err(DmaError::Interrupt)) => {
                        !unit.translation && request.address >> 20 == 0xfee
                    }
                    (Answer::Blocked, Err(DmaError::Blocked)) => fault.is_none(),
                    (Answer::Fault(expected), Err(DmaError::Fault(found))) => {
                        is_fault(expected, found.reason.code(), fault)
                    }
                    _ => false,
                }
            })
        };
        self.figures.served += u64::from(seen.is_ok());
        self.count(&(request, seen, fault), judged);
    }

    pub(super) fn judge_translation(
        &mut self,
        request: &Request,
        since: Moment,
        seen: Result<Completion, DmaError>,
    ) {
        let fault = self.fault_seen();
        let judged = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            let mirror = &*mirror;
            let unit = &mirror.registers.unit;
            mirror.history.judge_translation(unit, &*mirror.memory, request, since, |answer, _| {
                match (answer, &seen) {
                    (TranslationAnswer::Granted(grant), Ok(found)) => {
                        let within = request.address & (found.size - 1);
                        found.grants_any()
                            && grant.address == found.page.0 + within
                            && grant.read == found.granted.read
                            && grant.write == found.granted.write
                            && grant.execute == found.granted.execute
                            && grant.untranslated == found.untranslated_only
                    }
                    (TranslationAnswer::Nothing(reported), Ok(found)) => {
                        !found.grants_any()
                            && match (reported, fault) {
                                (Some(expected), Some(seen)) => expected.code == seen.code,
                                (_, None) => true,
                                (None, Some(_)) => false,
                            }
                    }
                    (TranslationAnswer::Blocked, Err(DmaError::Blocked)) => fault.is_none(),
                    (TranslationAnswer::Fault(expected), Err(DmaError::Fault(found))) => {
                        is_fault(expected, found.reason.code(), fault)
                    }
                    _ => false,
                }
            })
        };
        self.figures.served += u64::from(seen.is_ok());
        self.count(&(request, seen, fault), judged);
    }

    pub(super) fn judge_translated(
        &mut self,
        request: &Request,
        since: Moment,
        seen: Result<vtd::spec::Gpa, DmaError>,
    ) {
        let fault = self.fault_seen();
        let judged = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            let mirror = &*mirror;
            let unit = &mirror.registers.unit;
            mirror.history.judge_translated(unit, &*mirror.memory, request, since, |answer| match (
                answer, &seen,
            ) {
                (TranslatedAnswer::Memory, Ok(address)) => address.0 == request.address,
                (TranslatedAnswer::Blocked, Err(DmaError::Blocked)) => fault.is_none(),
                (TranslatedAnswer::Fault(expected), Err(DmaError::Fault(found))) => {
                    is_fault(expected, found.reason.code(), fault)
                }
                _ => false,
            })
        };
        self.figures.served += u64::from(seen.is_ok());
        self.count(&(request, seen, fault), judged);
    }

    pub(super) fn interrupt(&mut self, source_id: u16, address: u32, data: u32) {
        let since = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            mirror.history.moment()
        };
        drop(self.eyes.take_faults());
        let seen = self.unit.remap_interrupt(SourceId(source_id), address.into(), data);
        let fault = self.fault_seen();
        let request = InterruptRequest { source_id, address, data };
        let judged = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            let mirror = &*mirror;
            let unit = &mirror.registers.unit;
            mirror.history.judge_interrupt(unit, &*mirror.memory, &request, since, |answer| match (
                answer, &seen,
            ) {
                (InterruptAnswer::Unchanged, Ok(found)) => found.index.is_none(),
                (InterruptAnswer::Remapped(expected), Ok(found)) => is_interrupt(expected, found),
                (
                    InterruptAnswer::Fault { code, recorded, .. },
                    Err(InterruptError::Fault(found)),
                ) => {
                    let expected = Fault { code: *code, recorded: *recorded };
                    is_fault(&expected, found.reason.code(), fault)
                }
                _ => false,
            })
        };
        self.count(&(request, seen, fault), judged);
    }

    pub(super) fn page_request(&mut self, device: Device, request: &PageRequest) {
        // What becomes of it is held against the tables by the faults that it may have.
        let _refused = self.unit.page_request(device.id, *request);
        self.mirror().catch_up();
        self.settle();
    }

    /// Nothing is held for a device.
    pub(super) fn expect_nothing_held(&self, device: Device) {
        let held = self.host.inner().model.bindings();
        if let Some(held) = held.iter().find(|(holder, ..)| *holder == device.host)
            && device.kind == Kind::Assigned
        {
            wrong("bindings: something is held for a device that has been released", held);
        }
    }

    /// Pass-through of requests without PASID, and nothing else.
    pub(super) fn expect_power_on(&mut self, failures: u64) {
        if self.host.failed_calls() != failures {
            return;
        }
        for device in self.devices.iter().flatten() {
            if device.kind == Kind::Assigned {
                let held = self.held(device.host);
                let expected = [(Slot::Rid, Binding::PassThrough)];
                let starved = self.config_is_starved();
                if held != expected && !starved {
                    wrong("bindings: after a reset", &held);
                }
                self.figures.bindings += 1;
            }
        }
    }

    fn config_is_starved(&self) -> bool {
        self.unit.counts().ledger.over_quota > 0
    }

    fn held(&self, device: HostDevice) -> Vec<(Slot, Binding)> {
        let bindings = self.host.inner().model.bindings();
        let of_device = bindings.into_iter().filter(|(holder, ..)| *holder == device);
        of_device.map(|(_, slot, binding)| (slot, binding)).collect()
    }

    /// What was held before holds again.
    pub(super) fn expect_held(&mut self, held: &[(HostDevice, Slot, Binding)]) {
        let now = self.host.inner().model.bindings();
        if now != held {
            wrong("restore: a fresh host holds something else", &(held, now));
        }
        self.figures.bindings += 1;
    }

    /// The domains of what is held for a PASID, by device.
    pub(super) fn held_domains(&self, pasid: u32) -> [Option<u16>; 3] {
        self.devices.map(|device| {
            let device = device.filter(|device| device.kind == Kind::Assigned)?;
            let slots = self.unit.slots(device.id);
            let of_pasid =
                |slot: &Slot| matches!(slot, Slot::Pasid(number) if number.get() == pasid);
            let (_, state) = slots.into_iter().find(|(slot, _)| of_pasid(slot))?;
            state.held.map(|held| held.domain.0)
        })
    }

    /// An invalidation of a PASID with a domain is done: what it covers is what the tables say.
    pub(super) fn expect_tables_of(
        &mut self,
        pasid: u32,
        domain: u64,
        held_before: &[Option<u16>; 3],
        failures: u64,
    ) {
        let failed = self.host.failed_calls() != failures;
        if failed || !self.is_queue_working() || self.config_is_starved() {
            return;
        }
        for (source, device) in (0..).zip(self.devices) {
            let Some(device) = device.filter(|device| device.kind == Kind::Assigned) else {
                continue;
            };
            let desired = self.desired(source, pasid..pasid + 1);
            let Some((slot, entry, binding)) =
                desired.into_iter().find(|(slot, ..)| matches!(slot, Slot::Pasid(_)))
            else {
                continue;
            };
            let before = held_before.get(usize::from(source)).copied().flatten();
            let named = [entry, before].into_iter().flatten().any(|of| u64::from(of) == domain);
            if !named {
                continue;
            }
            let now = self.held(device.host).into_iter().find(|(of, _)| *of == slot);
            let now = now.map(|(_, binding)| binding);
            if now != binding {
                wrong("bindings: of a PASID that was invalidated", &(slot, now, binding));
            }
            self.figures.bindings += 1;
        }
    }

    /// Invalidates everything, and compares all bindings with the tables.
    pub(super) fn expect_tables_everywhere(&mut self) {
        if !self.is_queue_working() {
            return;
        }
        let failures = self.host.failed_calls();
        let Some(waits) = self.invalidate_everything() else { return };
        if self.host.failed_calls() != failures
            || self.memory.get(0) != u64::from(waits)
            || self.config_is_starved()
        {
            return;
        }
        for (source, device) in (0..).zip(self.devices) {
            let Some(device) = device.filter(|device| device.kind == Kind::Assigned) else {
                continue;
            };
            let desired: Vec<_> = self
                .desired(source, 0..1 << 20)
                .into_iter()
                .filter_map(|(slot, _, binding)| Some((slot, binding?)))
                .collect();
            let held = self.held(device.host);
            if held != desired {
                wrong("bindings: after a global invalidation", &(source, held, desired));
            }
            self.figures.bindings += 1;
        }
    }

    fn is_queue_working(&self) -> bool {
        let mirror = self.mirror();
        let queue = &mirror.registers.queue;
        queue.enabled && !queue.error && !queue.timeout && queue.address >> 11 & 1 == 1
    }

    /// What the tables say of the slots of a device: the entry's domain, and what is to be bound.
    fn desired(
        &self,
        source: u8,
        pasids: std::ops::Range<u32>,
    ) -> Vec<(Slot, Option<u16>, Option<Binding>)> {
        let source_id = crate::program::pools::of(&crate::program::pools::SOURCES, source);
        let mirror = self.mirror();
        let unit = &mirror.registers.unit;
        let desired = unit.desired(&*mirror.memory, source_id, pasids);
        let binding = |mode| match mode {
            Mode::PassThrough => Some(Binding::PassThrough),
            Mode::FirstStage { table, levels, supervisor, write_protect, extended_accessed } => {
                Some(Binding::FirstStage(vtd::spec::FirstStage {
                    table: vtd::spec::Gpa(table),
                    levels: if levels == 5 {
                        FirstStageLevels::Five
                    } else {
                        FirstStageLevels::Four
                    },
                    supervisor,
                    write_protect,
                    extended_accessed,
                }))
            }
            Mode::SecondStage { table, levels } => {
                use vtd::spec::table::SecondStageLevels::{Five, Four, Three};
                let levels = match levels {
                    3 => Three,
                    4 => Four,
                    _ => Five,
                };
                Some(Binding::SecondStage(vtd::spec::table::SecondStage {
                    table: vtd::spec::Gpa(table),
                    levels,
                    accessed_dirty: false,
                }))
            }
            Mode::Nested => None,
        };
        let slot = |slot| match slot {
            vtd_model::Slot::Rid => Some(Slot::Rid),
            vtd_model::Slot::Pasid(number) => vtd::spec::Pasid::new(number).map(Slot::Pasid),
        };
        let entry = |entry: vtd_model::Desired| {
            Some((slot(entry.slot)?, entry.domain, entry.mode.and_then(binding)))
        };
        desired.into_iter().filter_map(entry).collect()
    }
}

/// Whether a fault is the expected one, and was recorded (or lost for want of a record) or suppressed as it should be.
fn is_fault(expected: &Fault, code: u8, seen: Option<SeenFault>) -> bool {
    expected.code == code
        && seen.is_none_or(|seen| seen.code == code && (expected.recorded || !seen.recorded))
}

fn is_interrupt(expected: &vtd_model::Interrupt, found: &RemappedInterrupt) -> bool {
    found.index.is_some()
        && expected.destination == found.destination
        && expected.vector == found.vector
        && expected.delivery_mode == found.delivery_mode
        && expected.logical == found.logical_destination
        && expected.redirection_hint == found.redirection_hint
        && expected.level == found.level_triggered
}
