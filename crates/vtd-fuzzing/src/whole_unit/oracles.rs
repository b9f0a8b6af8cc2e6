//! What has to hold.

use std::fmt::Debug;

use vtd::spec::descriptor::ResponseCode;
use vtd::spec::{PageRequest, SourceId};
use vtd::{Completion, DmaError, Granted, InterruptError, PageRequestError, RemappedInterrupt};
use vtd_model::{
    Allowed, Answer, Due, Fault, InterruptAnswer, InterruptRequest, Moment, PageRequestFate,
    Refused, Request, TranslatedAnswer, TranslationAnswer,
};

use vtd_recording::format::Event;
use vtd_recording::recorder::Requester;

use super::eyes::SeenFault;
use super::mirror::Mirror;
use super::world::{Device, Kind, World};
use crate::program::pools::SOURCES;

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
/// A qword in which accessed or dirty bits have been set: its address, and what it holds now.
type Mark = (u64, u64);

impl World {
    /// Looks whether all is as it should be after an operation.
    pub(super) fn look(&mut self) {
        self.check_host_calls();
        let found = self.mirror().wrong.take();
        if let Some((oracle, found)) = found {
            wrong(oracle, &found);
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

    pub(super) fn judge_untranslated(
        &mut self,
        request: &Request,
        since: Moment,
        seen: Seen,
        trapped: bool,
    ) {
        let fault = self.fault_seen();
        expect_record(request, fault);
        let marks = self.marks(&(request, seen), seen.is_ok(), trapped);
        let judge = |mirror: &Mirror, marks: Option<&[Mark]>| {
            let unit = &mirror.registers.unit;
            let before = mirror.before();
            mirror.history.judge(unit, &before, request, since, |answer, dues| {
                match (answer, &seen) {
                    (Answer::Memory(found), Ok((address, granted))) => {
                        found.address == *address
                            && granted.read == found.read
                            && granted.write == found.write
                            && marks.is_none_or(|marks| Due::are(dues, marks))
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
        self.judge_with_marks(&(request, seen, fault), marks.as_deref(), judge);
    }

    pub(super) fn judge_translation(
        &mut self,
        request: &Request,
        since: Moment,
        seen: Result<Completion, DmaError>,
        trapped: bool,
    ) {
        let fault = self.fault_seen();
        let marks = self.marks(&(request, seen), seen.is_ok(), trapped);
        let judge = |mirror: &Mirror, marks: Option<&[Mark]>| {
            let unit = &mirror.registers.unit;
            let before = mirror.before();
            mirror.history.judge_translation(unit, &before, request, since, |answer, dues| {
                match (answer, &seen) {
                    (TranslationAnswer::Granted(grant), Ok(found)) => {
                        let within = request.address & (found.size - 1);
                        found.grants_any()
                            && fault.is_none()
                            && grant.address == found.page.0 + within
                            && 1 << grant.bits == found.size
                            && grant.read == found.granted.read
                            && grant.write == found.granted.write
                            && grant.execute == found.granted.execute
                            && grant.privileged == found.privileged
                            && grant.untranslated == found.untranslated_only
                            && !found.global
                            && marks.is_none_or(|marks| Due::are(dues, marks))
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
        self.judge_with_marks(&(request, seen, fault), marks.as_deref(), judge);
    }

    /// Accessed and dirty bits that a request has set, as address and new value, in their order. `None` where others have changed memory
    /// meanwhile: what the unit set cannot be told from that, and is part of the history by now.
    fn marks(&self, request: &dyn Debug, is_served: bool, trapped: bool) -> Option<Vec<Mark>> {
        let mut mirror = self.mirror();
        mirror.look();
        if trapped {
            mirror.remember();
            mirror.changes.clear();
            return None;
        }
        if !is_served && let Some(change) = mirror.changes.first() {
            wrong("marks: a request that faults changes memory", &(request, change));
        }
        Some(mirror.changes.iter().map(|change| (change.place, change.value)).collect())
    }

    /// Judges a request by the tables as they were when it came, and by the bits that it has set.
    fn judge_with_marks(
        &mut self,
        request: &dyn Debug,
        marks: Option<&[Mark]>,
        judge: impl Fn(&Mirror, Option<&[Mark]>) -> Result<Allowed, Refused>,
    ) {
        let judged = {
            let mut mirror = self.mirror();
            let judged = judge(&mirror, marks);
            if let Err(refused) = &judged
                && marks.is_some()
                && judge(&mirror, None).is_ok()
            {
                wrong(&format!("marks: not those that are due: {refused}"), &(request, marks));
            }
            mirror.remember();
            judged
        };
        self.count(request, judged);
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
        let requester = Requester { source_id: SourceId(source_id), pasid: None };
        let line = |seen: &_| requester.interrupt(address.into(), data, seen);
        self.record(|recording| {
            let (source_id, address) = (requester.source_id, address.into());
            let answer = vtd_recording::format::InterruptAnswer::Blocked;
            recording.begin(Event::Interrupt { source_id, address, data, answer });
        });
        let seen = self.unit.remap_interrupt(SourceId(source_id), address.into(), data);
        self.record(|recording| recording.end(line(&seen)));
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
        self.disturb();
        let since = {
            let mut mirror = self.mirror();
            mirror.catch_up();
            mirror.history.moment()
        };
        self.record(|recording| {
            // It is the device's own, whatever it says.
            let mut devices = self.unit.devices().into_iter();
            if let Some(view) = devices.find(|view| view.id == device.id) {
                let requester = Requester { source_id: view.source_id, pasid: request.pasid };
                recording.begin(requester.page_request(request));
            }
        });
        let answer = self.unit.page_request(device.id, *request);
        let asked = vtd_model::PageRequest {
            source_id: request.source_id.0,
            pasid: request.pasid.map(vtd::spec::Pasid::get),
            address: request.address.0,
            read: request.read,
            write: request.write,
            execute: request.execute,
            privileged: request.privileged,
            last: request.last_in_group,
            group: request.group_index,
        };
        if matches!(
            answer,
            Err(PageRequestError::NotShown
                | PageRequestError::Busy
                | PageRequestError::UnknownDevice(_))
        ) {
            self.record(|recording| recording.end(None));
            return;
        }
        let mut found = None;
        {
            let mut mirror = self.mirror();
            mirror.catch_up();
            let mirror = &mut *mirror;
            let unit = &mirror.registers.unit;
            let mut pasid = None;
            let judged = mirror.history.judge_page_request(
                unit,
                &*mirror.memory,
                &asked,
                since,
                |expected| match (expected, &answer) {
                    (
                        Ok(expected),
                        Ok(())
                        | Err(PageRequestError::QueueFull | PageRequestError::QueueNotWritable),
                    ) => {
                        pasid = Some(*expected);
                        true
                    }
                    (Err(None), Err(PageRequestError::Blocked)) => true,
                    (Err(Some(expected)), Err(PageRequestError::Fault(fault))) => {
                        expected.code == fault.reason.code()
                            && expected.recorded == fault.is_recorded()
                    }
                    _ => false,
                },
            );
            if let Err(refused) = judged {
                wrong(&format!("page requests: {refused}"), &(asked, answer));
            }
            if let Some(pasid) = pasid {
                let fate = mirror.registers.unit.enqueue(&*mirror.memory, &asked, pasid);
                if let PageRequestFate::Queued { address, qwords, dropped, .. } = fate {
                    mirror.history.invalidated(dropped);
                    let places = (address..).step_by(8);
                    let written =
                        places.zip(qwords).all(|(place, qword)| mirror.memory.get(place) == qword);
                    if !written {
                        found = Some(("page requests: not written as it is", fate));
                    }
                }
                if matches!(fate, PageRequestFate::Queued { .. }) != answer.is_ok() {
                    found = Some(("page requests: queued or not", fate));
                }
            }
            let awaits = asked.last && (asked.read || asked.write);
            if answer.is_err() && awaits && device.kind == Kind::WithTlb {
                mirror.responses.push(vtd_model::PageGroupResponse {
                    source_id: asked.source_id,
                    pasid: asked.pasid,
                    group: asked.group,
                    code: 0xf,
                });
            }
        }
        if let Some((what, fate)) = found {
            wrong(what, &(asked, fate, answer));
        }
        // Their answers to the device are later, with whatever else is under way.
        if request.group_index % 2 == 1 || request.last_in_group {
            self.settle();
        }
    }

    /// Registers that say how far the unit has come, while it is at rest.
    pub(super) fn check_registers(&self) {
        let mirror = self.mirror();
        let queue = &mirror.registers.queue;
        let wide_or_not = queue.enabled.then(|| (self.unit.read(0x80, 8), queue.head));
        if let Some((head, expected)) = wide_or_not
            && head != expected
        {
            wrong("registers: IQH", &(head, expected));
        }
        let faults = &mirror.registers.faults;
        let expected = u64::from(queue.timeout) << 6
            | u64::from(queue.error) << 4
            | u64::from(faults.is_pending()) << 1
            | u64::from(faults.overflow);
        let status = self.unit.read(0x34, 4);
        if status & 0x53 != expected {
            wrong("registers: FSTS", &(status, expected));
        }
        let unit = &mirror.registers.unit;
        let expected = u64::from(unit.translation) << 31
            | u64::from(queue.enabled) << 26
            | u64::from(unit.interrupts.enabled) << 25
            | u64::from(unit.interrupts.compatibility) << 23;
        let status = self.unit.read(0x1c, 4);
        if status & 0x8680_0000 != expected {
            wrong("registers: GSTS", &(status, expected));
        }
        if queue.error && self.unit.read(0xb0, 8) & 0xf != u64::from(queue.code) {
            wrong("registers: IQEI", &(self.unit.read(0xb0, 8), queue.code));
        }
        let requests = &mirror.registers.unit.page_requests;
        let status = u64::from(requests.pending) | u64::from(requests.overflow) << 1;
        if self.page_requests
            && (self.unit.read(0xc8, 8), self.unit.read(0xdc, 4)) != (requests.tail, status)
        {
            let found = (self.unit.read(0xc8, 8), self.unit.read(0xdc, 4));
            wrong("registers: PQT and PRS", &(found, requests));
        }
    }

    /// The answers to page requests that devices have been given, and those that they should have been.
    pub(super) fn check_answers(&mut self) {
        let mut given: Vec<_> = Vec::new();
        for (_, card) in &self.cards {
            given.extend(card.take_responses().into_iter().map(|response| {
                let code = match response.code {
                    ResponseCode::Success => 0,
                    ResponseCode::Invalid => 1,
                    ResponseCode::Failure => 0xf,
                };
                let pasid = response.pasid.map(vtd::spec::Pasid::get);
                (response.source_id.0, pasid, response.group_index, code)
            }));
        }
        let has_tlb = |source_id: u16| {
            let mut devices = self.devices.iter().zip(SOURCES);
            devices.any(|(device, source)| {
                source == source_id && device.is_some_and(|device| device.kind == Kind::WithTlb)
            })
        };
        let expected = std::mem::take(&mut self.mirror().responses);
        if std::mem::take(&mut self.answers_unknown) || (given.is_empty() && expected.is_empty()) {
            return;
        }
        let mut expected: Vec<_> = expected
            .into_iter()
            .filter(|response| has_tlb(response.source_id))
            .map(|response| (response.source_id, response.pasid, response.group, response.code))
            .collect();
        given.sort_unstable();
        expected.sort_unstable();
        if given != expected {
            wrong("answers to page requests", &(given, expected));
        }
    }
}

/// The record of a fault names its request.
fn expect_record(request: &Request, fault: Option<SeenFault>) {
    if let Some(asked) = fault.and_then(|fault| fault.asked)
        && asked != (request.pasid, request.address & !0xfff)
    {
        wrong("fault records: of another request", &(request, fault));
    }
}

/// Whether a fault is the expected one, and was recorded (or lost for want of a record) or suppressed as it should be.
fn is_fault(expected: &Fault, code: u8, seen: Option<SeenFault>) -> bool {
    expected.code == code
        && seen.is_none_or(|seen| seen.code == code && expected.recorded == seen.recorded)
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
