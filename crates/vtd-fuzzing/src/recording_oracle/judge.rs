//! Requests with an answer, held against the model.

use std::cell::Cell;

use vtd_model::{
    Access, Allowed, Answer, Due, Fault, InterruptAnswer, InterruptRequest, Refused, Request,
    TranslatedAnswer, TranslationAnswer,
};
use vtd_recording::format::{self, Direction, DmaAnswer, Event, FaultedRequest, RequestAccess};
use vtd_spec::{Pasid, SourceId};

use super::departures;
use super::machine::Machine;

/// What the lines say of the fault of a request.
#[derive(Clone, Debug)]
struct FaultSeen {
    code: Option<u8>,
    /// The index of an interrupt request.
    index: u64,
    /// A recording, not a vector: departures are explained, and a missing fault line says nothing.
    lenient: bool,
    /// Fault lines are not compared.
    ignored: bool,
    /// The fault recording registers have room for a fault.
    room: bool,
    /// A fault was lost for want of room.
    lost: Cell<bool>,
    /// The departure that explains the code.
    departure: Cell<Option<&'static str>>,
}

impl FaultSeen {
    /// Whether a fault of the model is what the lines say.
    fn is(&self, Fault { code, recorded }: Fault) -> bool {
        self.lost.set(false);
        self.departure.set(None);
        match self.code {
            Some(seen) if recorded && self.lenient && seen != code => {
                let departure = departures::explains(seen, code);
                self.departure.set(departure);
                departure.is_some()
            }
            Some(seen) => recorded && seen == code,
            None if self.lenient => {
                let lost = recorded && !self.room;
                self.lost.set(lost);
                let silent = Some("fault missing by silent-refusal");
                self.departure.set(silent.filter(|_| recorded && !lost));
                self.ignored || !recorded || lost || matches!(code, 0x05 | 0x85)
            }
            None => {
                self.lost.set(recorded && !self.room);
                !recorded || !self.room
            }
        }
    }
}

impl Machine {
    /// Judges a line with a request and its answer.
    pub(super) fn judge(&mut self, line: u64, event: &Event) {
        let faults = std::mem::take(&mut self.faults);
        let updates = std::mem::take(&mut self.updates);
        let fault = self.fault_seen(line, event, &faults);
        let outcome = match event {
            Event::Dma { source_id, pasid, access, iova, answer } => {
                let request = request(*source_id, *pasid, *access, iova.0);
                self.dma(&request, *answer, &fault, &updates)
            }
            Event::Translate { source_id, pasid, access, iova, answer } => {
                let request = request(*source_id, *pasid, *access, iova.0);
                self.translate(&request, *answer, &fault, &updates)
            }
            Event::Translated { source_id, pasid, access, address, answer } => {
                let request = request(*source_id, *pasid, *access, address.0);
                self.translated(&request, *answer, &fault)
            }
            Event::Interrupt { source_id, address, data, answer } => {
                let address = u32::try_from(*address).unwrap_or(0);
                let request = InterruptRequest { source_id: source_id.0, address, data: *data };
                self.interrupt(&request, *answer, &fault)
            }
            _ => return,
        };
        if fault.code.is_some() || fault.lost.get() {
            self.registers.faults.record();
        }
        if fault.code.is_some() || fault.departure.get().is_some() {
            self.report.count(fault.departure.get().unwrap_or("fault"));
        }
        let name = event.kind().name();
        match outcome {
            None => {}
            Some(Ok(Allowed::Present)) => {
                self.report.count(name);
                if self.strict {
                    updates.iter().for_each(|_| self.report.count("accessed and dirty bits"));
                }
            }
            Some(Ok(Allowed::Cached)) => self.report.count(cached(name)),
            Some(Ok(Allowed::Unsettled)) => self.report.count("unsettled"),
            Some(Err(refused)) => {
                let seen = fault.code.map_or(String::new(), |code| format!(" with fault {code:x}"));
                let bits = if updates.is_empty() {
                    String::new()
                } else {
                    format!(", accessed and dirty bits {updates:x?}")
                };
                self.report.difference(line, format!("{event}{seen}{bits}: {refused}"));
            }
        }
        for (gpa, value) in updates {
            self.memory.write(gpa, &value.to_le_bytes(), &mut self.history);
        }
    }

    /// The fault line that belongs to a request.
    fn fault_seen(&mut self, line: u64, event: &Event, faults: &[Event]) -> FaultSeen {
        let (mut code, mut index) = (None, 0);
        for fault in faults {
            if code.is_none()
                && let Some((reason, found)) = belonging(event, fault, self.strict)
            {
                (code, index) = (Some(reason), found);
            } else {
                self.report.difference(line, format!("{fault} is not of {event}"));
            }
        }
        FaultSeen {
            code,
            index,
            lenient: !self.strict || self.ignores_faults,
            ignored: self.ignores_faults,
            room: self.registers.faults.has_room(),
            lost: Cell::new(false),
            departure: Cell::new(None),
        }
    }

    fn dma(
        &mut self,
        request: &Request,
        seen: DmaAnswer,
        fault: &FaultSeen,
        updates: &[(u64, u64)],
    ) -> Option<Result<Allowed, Refused>> {
        let unit = &self.registers.unit;
        let assigned = self.devices.is_assigned(request.source_id);
        if assigned && (seen == DmaAnswer::Fault || self.host_failed) {
            // A host may block what it was not yet told of, and does not report faults here.
            self.report.count("dma of assigned devices, not judged");
            return None;
        }
        let strict = self.strict;
        let zero_length = request.access.zero_length;
        let write = request.access.write;
        let bits = |dues: &[Due]| !strict || assigned || Due::are(dues, updates);
        let is_seen = |answer: &Answer, dues: &[Due]| match (answer, seen) {
            (Answer::Memory(found), DmaAnswer::Translated { gpa, mask, permissions }) => {
                let permitted =
                    (permissions.grant(Direction::Read), permissions.grant(Direction::Write));
                let granted = if write { permitted.1 } else { permitted.0 || zero_length };
                let address = gpa.0 & !mask | request.address & mask;
                granted
                    && bits(dues)
                    && address == found.address
                    // Where nothing is granted, zero bytes are read with `r`.
                    && (!strict
                        || assigned
                        || permitted == (found.read || !found.write, found.write))
            }
            // The access itself was refused.
            (Answer::Fault(found), DmaAnswer::Translated { permissions, .. }) => {
                !strict
                    && !permissions.grant(if write { Direction::Write } else { Direction::Read })
                    && fault.is(*found)
            }
            (Answer::Fault(found), DmaAnswer::Fault) => fault.is(*found),
            (Answer::Blocked, DmaAnswer::Fault) => fault.code.is_none(),
            // A refused write to the interrupt range.
            (Answer::Interrupt, DmaAnswer::Fault) => fault.code.is_none(),
            _ => false,
        };
        let since = self.history.moment();
        let outcome = self.history.judge(unit, &self.memory, request, since, is_seen);
        Some(outcome)
    }

    fn translate(
        &self,
        request: &Request,
        seen: format::TranslationAnswer,
        fault: &FaultSeen,
        updates: &[(u64, u64)],
    ) -> Option<Result<Allowed, Refused>> {
        let unit = &self.registers.unit;
        let strict = self.strict;
        let bits = |dues: &[Due]| !strict || Due::are(dues, updates);
        let is_seen = |answer: &TranslationAnswer, dues: &[Due]| match (answer, seen) {
            (
                TranslationAnswer::Granted(found),
                format::TranslationAnswer::Granted { gpa, mask, grant, untranslated_only, global },
            ) => {
                let within = (1 << found.bits) - 1;
                let permissions = grant.permissions;
                bits(dues)
                    && found.address & !within == gpa.0
                    && within == mask
                    && found.read == permissions.grant(Direction::Read)
                    && found.write == permissions.grant(Direction::Write)
                    && found.execute == grant.execute
                    && found.privileged == grant.privileged
                    && found.untranslated == untranslated_only
                    && !global
                    && fault.code.is_none()
            }
            (TranslationAnswer::Nothing(found), format::TranslationAnswer::Nothing) => {
                found.map_or(fault.code.is_none(), |found| fault.is(found))
            }
            (TranslationAnswer::Fault(found), format::TranslationAnswer::Fault) => fault.is(*found),
            (TranslationAnswer::Blocked, format::TranslationAnswer::Fault) => fault.code.is_none(),
            _ => false,
        };
        let since = self.history.moment();
        let outcome = self.history.judge_translation(unit, &self.memory, request, since, is_seen);
        Some(outcome)
    }

    fn translated(
        &self,
        request: &Request,
        seen: format::TranslatedAnswer,
        fault: &FaultSeen,
    ) -> Option<Result<Allowed, Refused>> {
        let is_seen = |answer: &TranslatedAnswer| match (answer, seen) {
            (TranslatedAnswer::Memory, format::TranslatedAnswer::Done) => true,
            (TranslatedAnswer::Fault(found), format::TranslatedAnswer::Fault) => fault.is(*found),
            (TranslatedAnswer::Blocked, format::TranslatedAnswer::Fault) => fault.code.is_none(),
            _ => false,
        };
        let (unit, since) = (&self.registers.unit, self.history.moment());
        Some(self.history.judge_translated(unit, &self.memory, request, since, is_seen))
    }

    fn interrupt(
        &self,
        request: &InterruptRequest,
        seen: format::InterruptAnswer,
        fault: &FaultSeen,
    ) -> Option<Result<Allowed, Refused>> {
        let unchanged = (u64::from(request.address), request.data);
        let is_seen = |answer: &InterruptAnswer| match (answer, seen) {
            (InterruptAnswer::Unchanged, format::InterruptAnswer::Message { address, data }) => {
                (address, data) == unchanged
            }
            (
                InterruptAnswer::Remapped(found),
                format::InterruptAnswer::Message { address, data },
            ) => (address, data) == found.message(),
            (
                &InterruptAnswer::Fault { code, recorded, index },
                format::InterruptAnswer::Blocked,
            ) => {
                fault.is(Fault { code, recorded })
                    && (fault.code.is_none() || fault.index == u64::from(index))
            }
            _ => false,
        };
        let (unit, since) = (&self.registers.unit, self.history.moment());
        Some(self.history.judge_interrupt(unit, &self.memory, request, since, is_seen))
    }
}

fn request(
    source_id: SourceId,
    pasid: Option<Pasid>,
    access: RequestAccess,
    address: u64,
) -> Request {
    Request {
        source_id: source_id.0,
        pasid: pasid.map(Pasid::get),
        address,
        access: Access {
            write: access.direction == Direction::Write,
            execute: access.execute,
            privileged: access.privileged,
            zero_length: access.zero_length,
        },
    }
}

/// The code of a fault, if it is one of this request. Recordings leave out PASIDs.
fn belonging(event: &Event, fault: &Event, strict: bool) -> Option<(u8, u64)> {
    let Event::Fault { source_id, pasid, access, address, reason, request } = fault else {
        return None;
    };
    let (asked_id, asked_pasid, asked_access, asked_address, kind) = match event {
        Event::Dma { source_id, pasid, access, iova, .. } => {
            (source_id, pasid, Some(access), iova.0, FaultedRequest::Untranslated)
        }
        Event::Translate { source_id, pasid, access, iova, .. } => {
            (source_id, pasid, Some(access), iova.0, FaultedRequest::Translation)
        }
        Event::Translated { source_id, pasid, access, address, .. } => {
            (source_id, pasid, Some(access), address.0, FaultedRequest::Translated)
        }
        Event::Interrupt { source_id, .. } => {
            (source_id, &None, None, 0, FaultedRequest::Interrupt)
        }
        _ => return None,
    };
    let same_access = match asked_access {
        // A translation request is a read on the bus.
        Some(asked) if kind == FaultedRequest::Translation => {
            (access.execute, access.privileged) == (asked.execute, asked.privileged)
        }
        Some(asked) => access.direction == asked.direction,
        None => true,
    };
    let same = source_id == asked_id
        && (!strict || pasid == asked_pasid)
        && (kind == FaultedRequest::Interrupt || address.0 & !0xfff == asked_address & !0xfff)
        && same_access
        && *request == kind;
    same.then_some((*reason, address.0))
}

fn cached(name: &str) -> &'static str {
    match name {
        "dma" => "dma from a cache",
        "translate" => "translate from a cache",
        "translated" => "translated from a cache",
        _ => "interrupt from a cache",
    }
}
