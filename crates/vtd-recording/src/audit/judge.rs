//! The audit itself: line by line.

use std::collections::BTreeSet;

use vtd::RootTable;
use vtd::memory::{GuestMemory, SparseMemory};
use vtd::spec::register::offset;
use vtd::spec::{Capabilities, CapabilityError, Gpa, Iova, Pasid, SourceId};

use super::device_tlbs::{DeviceTlbs, Given, Knowledge};
use super::queue::{Queue, Sign};
use super::registers::{Access, Begun, Registers};
use super::report::{AuditReport, UseAfterInvalidation};
use super::tables::{Look, SeenTables, Walked, Way, Ways};
use super::told::{Invalidation, Told};
use super::versions::Revoked;
use crate::format::{
    Direction, DmaAnswer, Event, Grant, Header, Permissions, RequestAccess, TranslatedAnswer,
    TranslationAnswer,
};
use crate::plain_walk::{PlainWalk, Request};
use crate::requests;

/// An audit of a recording, which is given its lines in their order.
///
/// A [replay](crate::replay::replay) has one. It can also be had alone, for recordings of units that a replay would not agree with.
#[derive(Debug)]
pub struct Audit {
    caps: Capabilities,
    memory: SparseMemory,
    registers: Registers,
    queue: Option<Queue>,
    tables: SeenTables,
    device_tlbs: DeviceTlbs,
    /// Host-backed devices: their requests are the host's to answer.
    assigned: BTreeSet<SourceId>,
    keep: usize,
    report: AuditReport,
}

/// An answer that is to be judged.
struct Answer<'e> {
    line: u64,
    event: &'e Event,
    request: Request,
    /// Where it led.
    address: Gpa,
}

impl Audit {
    /// An audit of a recording with this header. The report keeps so many violations in words.
    ///
    /// # Errors
    /// The header's capabilities do not fit together.
    pub fn new(header: &Header, keep: usize) -> Result<Self, CapabilityError> {
        let mut caps = Capabilities::new(header.cap, header.ecap)?;
        if let Some(bits) = header.host_address_width {
            caps = caps.with_host_address_width(bits)?;
        }
        Ok(Self {
            caps,
            memory: SparseMemory::zero_filled(),
            registers: Registers::default(),
            queue: None,
            tables: SeenTables::default(),
            device_tlbs: DeviceTlbs::default(),
            assigned: BTreeSet::new(),
            keep,
            report: AuditReport::default(),
        })
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> &AuditReport {
        &self.report
    }

    /// What was found.
    #[must_use]
    pub fn into_report(self) -> AuditReport {
        self.report
    }

    /// Takes the next line, which is this event.
    pub fn take(&mut self, line: u64, event: &Event) {
        match event {
            Event::Mem { gpa, bytes } => {
                // What lies past the end of the address space is no memory.
                let _written = self.memory.write_bytes(*gpa, bytes);
            }
            Event::Zero { gpa } => self.memory.fill_zero_page(*gpa),
            Event::IommuWrite { gpa, bytes } => self.unit_wrote(line, *gpa, bytes),
            Event::Write { offset, size, value } => self.write(line, (*offset, *size, *value)),
            Event::Read { offset, size, value } => self.read(line, (*offset, *size, *value)),
            Event::Reset => {
                self.registers = Registers::default();
                self.queue = None;
                self.tables = SeenTables::default();
                self.device_tlbs = DeviceTlbs::default();
            }
            Event::Assign { source_id } => {
                self.assigned.insert(*source_id);
            }
            Event::Release { source_id } => {
                self.assigned.remove(source_id);
            }
            Event::Renumber { source_id, new } if self.assigned.remove(source_id) => {
                self.assigned.insert(*new);
            }
            Event::DeviceTlbTimeout { source_id } => self.device_tlbs.time_out(*source_id),
            Event::Dma { source_id, pasid, access, iova, answer } => {
                self.dma(line, event, ((*source_id, *pasid), *access, *iova), answer);
            }
            Event::Translate { source_id, pasid, access, iova, answer } => {
                self.translate(line, event, ((*source_id, *pasid), *access, *iova), answer);
            }
            Event::Translated { source_id, pasid, access, address, answer } => {
                let is_done = *answer == TranslatedAnswer::Done;
                let request = ((*source_id, *pasid), *access, Iova(address.0));
                self.translated(line, event, request, is_done);
            }
            _ => {}
        }
    }

    /// Accessed and dirty bits, or the status of a wait.
    fn unit_wrote(&mut self, line: u64, gpa: Gpa, bytes: &[u8]) {
        let last = Gpa(gpa.0.saturating_add(bytes.len() as u64).saturating_sub(1));
        // What no line names holds nothing that anybody reads.
        if self.memory.contains_page(gpa) && self.memory.contains_page(last) {
            let _written = self.memory.write_bytes(gpa, bytes);
        }
        if let Ok(data) = bytes.try_into() {
            self.wait_is_done(line, Sign::Status(gpa, u32::from_le_bytes(data)));
        }
    }

    fn wait_is_done(&mut self, line: u64, sign: Sign) {
        let Some(queue) = &mut self.queue else { return };
        let Some(done) = queue.done(&self.memory, &self.caps, sign) else { return };
        for (descriptor, asked) in done {
            self.forget(&Told { what: Invalidation::Descriptor(descriptor), asked, done: line });
        }
        self.device_tlbs.wait_is_done();
    }

    fn forget(&mut self, told: &Told) {
        self.report.invalidations += u64::from(told.what.is_of_translation());
        self.tables.forget(told);
        self.device_tlbs.forget(told);
    }

    fn write(&mut self, line: u64, access: (u64, u8, u64)) {
        let tail = |registers: &Registers| registers.queue_tail;
        match self.registers.write(line, &self.caps, access) {
            Some(Begun::Queue(address)) => {
                self.queue = Some(Queue::new(address, tail(&self.registers), line));
            }
            Some(Begun::Tail) => {
                let tail = tail(&self.registers);
                self.queue.iter_mut().for_each(|queue| queue.ring(tail, line));
            }
            Some(Begun::WaitCleared) => self.queue.iter_mut().for_each(Queue::clear_interrupt),
            None => {}
        }
    }

    fn read(&mut self, line: u64, (place, size, value): (u64, u8, u64)) {
        if let Some(told) = self.registers.read(line, &self.caps, (place, size, value)) {
            self.forget(&told);
        }
        let status = Access { place, size, value }.half(offset::ICS);
        if status.is_some_and(|status| status & 1 == 1) {
            self.wait_is_done(line, Sign::Interrupt);
        }
    }

    fn dma(
        &mut self,
        line: u64,
        event: &Event,
        (requester, asked, iova): (Requester, RequestAccess, Iova),
        answer: &DmaAnswer,
    ) {
        let (source_id, pasid) = requester;
        let request = Request { source_id, pasid, iova, access: requests::access(asked) };
        let served = match answer {
            DmaAnswer::Translated { gpa, mask, permissions } if permissions.serve(asked) => {
                Some((Gpa(gpa.0 | iova.0 & mask), *permissions))
            }
            _ => None,
        };
        if self.assigned.contains(&source_id) {
            self.report.unjudged += u64::from(served.is_some());
            return;
        }
        // No DMA, so no table is looked at.
        if pasid.is_none() && iova.is_interrupt() && served.is_none() {
            return;
        }
        let ways = self.look(line, request, |tables, look, registers| {
            tables.ways(look, registers, Walked::Untranslated)
        });
        if let Some((address, permissions)) = served {
            let answer = Answer { line, event, request, address };
            self.judge(&answer, &ways, |way| {
                // Of a read of no bytes PERM need not say what was granted.
                let permitted = asked.zero_length || grants(way, permissions);
                permitted && (!asked.execute || way.granted.execute)
            });
        }
    }

    fn translate(
        &mut self,
        line: u64,
        event: &Event,
        (requester, asked, iova): (Requester, RequestAccess, Iova),
        answer: &TranslationAnswer,
    ) {
        let (source_id, pasid) = requester;
        let mut access = requests::access(asked);
        if let TranslationAnswer::Granted { grant, .. } = answer {
            // No more than was granted was looked up in the end.
            access.write = grant.permissions.grant(Direction::Write);
            access.execute = grant.execute;
        }
        let request = Request { source_id, pasid, iova, access };
        let ways = self.look(line, request, |tables, look, registers| {
            tables.ways(look, registers, Walked::Translation)
        });
        let TranslationAnswer::Granted { gpa, mask, grant, untranslated_only: false, .. } = answer
        else {
            return;
        };
        let address = Gpa(gpa.0 | iova.0 & mask);
        let Grant { permissions, execute, .. } = *grant;
        let answer = Answer { line, event, request, address };
        self.judge(&answer, &ways, |way| {
            grants(way, permissions) && (!execute || way.granted.execute)
        });
        let given = Given { pasid, from: iova, permissions };
        self.device_tlbs.give(source_id, given, (*gpa, *mask), line);
    }

    /// A translated request is let through for what the context entry says; where it leads is what the device was given before.
    fn translated(
        &mut self,
        line: u64,
        event: &Event,
        (requester, asked, address): (Requester, RequestAccess, Iova),
        is_done: bool,
    ) {
        let (source_id, pasid) = requester;
        let request = Request { source_id, pasid, iova: address, access: requests::access(asked) };
        let ways = self.look(line, request, SeenTables::ways_of_translated);
        if !is_done {
            return;
        }
        let answer = Answer { line, event, request, address: Gpa(address.0) };
        if ways.allowed.is_empty() {
            match ways.is_crowded {
                true => self.report.unjudged += 1,
                false => {
                    let revoked = self.tables.revoked_device_tlb(source_id);
                    self.violation(&answer, self.said_now(&ways), revoked);
                }
            }
            return;
        }
        match self.device_tlbs.knows(source_id, Gpa(address.0), asked) {
            Knowledge::Held => {
                self.report.requests += 1;
                self.report.stale += u64::from(ways.now.is_err());
            }
            Knowledge::Revoked(revoked) => {
                let tables = "the device was told to drop it".into();
                self.violation(&answer, tables, Some(revoked));
            }
            Knowledge::Unknown => self.report.unjudged += 1,
        }
    }

    /// Looks at the tables with the memory held still.
    fn look(
        &mut self,
        line: u64,
        request: Request,
        look: impl Fn(&mut SeenTables, Look<'_>, &Registers) -> Ways,
    ) -> Ways {
        let Self { caps, memory, tables, registers, .. } = self;
        let mut ways = Ways::default();
        memory.with_snapshot(&mut |memory| {
            let walk = PlainWalk { memory, caps };
            ways = look(tables, Look { walk, request, line }, registers);
        });
        ways
    }

    /// Judges an answer; `permits` says whether a way to its address grants as much as it does.
    fn judge(&mut self, answer: &Answer<'_>, ways: &Ways, permits: impl Fn(&Way) -> bool) {
        let leads = |way: &Way| way.address == answer.address && permits(way);
        if ways.now.as_ref().is_ok_and(leads) {
            self.report.requests += 1;
        } else if ways.allowed.iter().any(leads) {
            self.report.requests += 1;
            self.report.stale += 1;
        } else if ways.is_crowded {
            self.report.unjudged += 1;
        } else {
            let tables = self.said_now(ways);
            let revoked = self.tables.revoked_way(answer.request, answer.address);
            self.violation(answer, tables, revoked);
        }
    }

    fn said_now(&self, ways: &Ways) -> String {
        match (self.registers.mode(), &ways.now) {
            (None, _) => "requests are not translated".into(),
            (Some(RootTable::Abort), _) => "every request is blocked".into(),
            (Some(_), Ok(way)) => {
                let granted = requests::served(way.granted);
                format!("{:x} {granted}", way.address)
            }
            (Some(_), Err(reason)) => reason.to_string(),
        }
    }

    fn violation(&mut self, answer: &Answer<'_>, tables: String, revoked: Option<Revoked>) {
        self.report.requests += 1;
        self.report.violation(self.keep, || UseAfterInvalidation {
            line: answer.line,
            request: answer.event.to_string(),
            tables,
            valid_until: revoked.map(|revoked| revoked.seen),
            invalidation: revoked.map(|revoked| revoked.told.what.to_string()),
            asked: revoked.map(|revoked| revoked.told.asked),
            done: revoked.map(|revoked| revoked.told.done),
        });
    }
}

/// A device, and the PASID of its request.
type Requester = (SourceId, Option<Pasid>);

/// Whether a way grants as much as an answer does.
fn grants(way: &Way, permissions: Permissions) -> bool {
    (!permissions.grant(Direction::Read) || way.granted.read)
        && (!permissions.grant(Direction::Write) || way.granted.write)
}
