//! How an interrupt request is answered.

use vtd_cache::InterruptEntryCache;
use vtd_spec::planted::is_planted;
use vtd_spec::register::InterruptTableAddress;
use vtd_spec::{
    AddressType, FaultReason, FaultRecord, InterruptRemappingEntry, InterruptRequest, RequestKind,
    SourceId,
};
use vtd_walk::{Fault, read_interrupt_entry};

use crate::shared::Shared;
use crate::{InterruptError, RemappedInterrupt, RemappingUnit};

/// Whether and through what interrupt requests are remapped.
#[derive(Debug)]
pub(crate) struct InterruptRemapping {
    /// IRE as it was last taken up.
    pub(crate) enabled: bool,
    /// CFI as it was last taken up.
    pub(crate) compatibility: bool,
    /// IRTA as SIRTP latched it; without one nothing is remapped, so everything is blocked.
    pub(crate) table: Option<InterruptTableAddress>,
    pub(crate) entries: InterruptEntryCache,
}

/// What is done with the fault of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFault {
    Recorded,
    /// The request is none yet: the VMM asks what it would come to.
    Told,
}

impl RemappingUnit {
    /// Answers an interrupt request: a write of `data`, four bytes without PASID, to an address in FEE0_0000 to FEEF_FFFF, by a
    /// device or an I/O APIC. Its fault, if there is one, is recorded for the guest.
    ///
    /// What comes out is to be delivered at once: it may be out of date after the next step. Use
    /// [`deliver_interrupt`](Self::deliver_interrupt) where an invalidation has to wait for the delivery, and
    /// [`route_interrupt`](Self::route_interrupt) where the answer is kept.
    ///
    /// # Errors
    /// [`InterruptError`]: nothing may be delivered.
    pub fn remap_interrupt(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
    ) -> Result<RemappedInterrupt, InterruptError> {
        self.deliver_interrupt(source_id, address, data, |interrupt| *interrupt)
    }

    /// As [`remap_interrupt`](Self::remap_interrupt), and delivers the interrupt: no wait completes that promises otherwise before
    /// `deliver` has returned.
    ///
    /// # Errors
    /// [`InterruptError`]: nothing may be delivered, and `deliver` is not called.
    pub fn deliver_interrupt<T>(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
        deliver: impl FnOnce(&RemappedInterrupt) -> T,
    ) -> Result<T, InterruptError> {
        self.shared.remap_interrupt(source_id, (address, data), OnFault::Recorded, deliver)
    }

    /// What an interrupt request would come to, for VMMs that keep the answer and so need an
    /// [`InterruptListener`](crate::InterruptListener). No fault is recorded, as there is no request yet: have the device's write come
    /// to [`remap_interrupt`](Self::remap_interrupt) where this gives an error.
    ///
    /// # Errors
    /// [`InterruptError`]: nothing would be delivered.
    pub fn route_interrupt(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
    ) -> Result<RemappedInterrupt, InterruptError> {
        let request = (address, data);
        self.shared.remap_interrupt(source_id, request, OnFault::Told, |interrupt| *interrupt)
    }
}

/// Keeps completions waiting while a request is on its way.
struct InFlight<'s> {
    shared: &'s Shared,
    id: u64,
}

impl<'s> InFlight<'s> {
    fn new(shared: &'s Shared) -> Self {
        Self { shared, id: shared.guards.enter_interrupt() }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.shared.guards.leave(self.id) {
            self.shared.want_wake();
        }
        self.shared.wake();
    }
}

impl InterruptRemapping {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            enabled: false,
            compatibility: false,
            table: None,
            entries: InterruptEntryCache::new(capacity),
        }
    }

    /// As after power-on.
    pub(crate) fn reset(&mut self) {
        self.enabled = false;
        self.compatibility = false;
        self.table = None;
        self.entries.invalidate_all();
    }
}

impl Shared {
    /// Answers an interrupt request and hands the answer on; no completion that contradicts the answer comes in between.
    fn remap_interrupt<T>(
        &self,
        source_id: SourceId,
        (address, data): (u64, u32),
        on_fault: OnFault,
        deliver: impl FnOnce(&RemappedInterrupt) -> T,
    ) -> Result<T, InterruptError> {
        let in_flight = (!is_planted(1006)).then(|| InFlight::new(self));
        let answer = self.answer_interrupt(source_id, address, data);
        // Planted: it counts as under way from its answer on.
        let _in_flight = in_flight.unwrap_or_else(|| InFlight::new(self));
        if on_fault == OnFault::Recorded {
            if let Some(observer) = &self.config.observer {
                observer.interrupt_remapped(source_id, address, data, &answer);
            }
            if let Err(InterruptError::Fault(fault)) = &answer {
                let index = match InterruptRequest::decode(address, data) {
                    Some(InterruptRequest::Remappable { index, .. }) => u64::from(index),
                    Some(InterruptRequest::Compatibility) | None => 0,
                };
                let record = FaultRecord {
                    address: index << 48,
                    source_id,
                    pasid: None,
                    reason: fault.reason,
                    kind: RequestKind::Write,
                    execute: false,
                    privileged: false,
                    address_type: AddressType::Untranslated,
                };
                self.record_fault(&record, fault);
            }
        }
        answer.map(|interrupt| deliver(&interrupt))
    }

    fn answer_interrupt(
        &self,
        source_id: SourceId,
        address: u64,
        data: u32,
    ) -> Result<RemappedInterrupt, InterruptError> {
        let request = InterruptRequest::decode(address, data);
        let request = request.ok_or(InterruptError::NotAnInterrupt)?;
        let fault = |reason| InterruptError::Fault(Fault::new(reason));
        // Taken together: what is read under this table must not be entered once there is another.
        let (table, index, cached, lookup) = {
            let interrupts = self.interrupts();
            if !interrupts.enabled {
                return Ok(RemappedInterrupt::unchanged(address, data));
            }
            let extended = interrupts.table.is_some_and(|table| table.extended_mode);
            let index = match request {
                InterruptRequest::Compatibility if interrupts.compatibility && !extended => {
                    return Ok(RemappedInterrupt::unchanged(address, data));
                }
                InterruptRequest::Compatibility => {
                    return Err(fault(FaultReason::CompatibilityBlocked));
                }
                InterruptRequest::Remappable { reserved: true, .. } => {
                    return Err(fault(FaultReason::InterruptRequestReserved));
                }
                InterruptRequest::Remappable { index, .. } => index,
            };
            let table = interrupts.table.ok_or(fault(FaultReason::InterruptTableAccess))?;
            let index = u16::try_from(index).ok().filter(|_| index < table.entry_count());
            let index = index.ok_or(fault(FaultReason::InterruptIndexBeyondTable))?;
            (table, index, interrupts.entries.get(index), interrupts.entries.begin())
        };
        let entry = match cached {
            Some(entry) => entry,
            None => {
                let entry = self.read_interrupt_entry(table, index)?;
                self.interrupts().entries.fill(lookup, index, entry);
                entry
            }
        };
        if !entry.accepts(source_id) {
            let reason = FaultReason::InterruptSourceRefused;
            return Err(Fault { fpd: entry.fpd, ..Fault::new(reason) }.into());
        }
        // Entries of the posted form are refused when they are read.
        RemappedInterrupt::through(index, &entry).ok_or(fault(FaultReason::InterruptEntryReserved))
    }

    fn read_interrupt_entry(
        &self,
        table: InterruptTableAddress,
        index: u16,
    ) -> Result<InterruptRemappingEntry, Fault> {
        let caps = self.caps();
        // What it stays if a `GuestMemory` breaks its contract and never calls back.
        let mut read = Err(Fault::new(FaultReason::InterruptTableAccess));
        self.config.memory.with_snapshot(&mut |memory| {
            read = read_interrupt_entry(memory, caps, table, index);
        });
        read
    }
}
