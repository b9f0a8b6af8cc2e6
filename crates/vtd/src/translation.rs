//! How a request of an emulated device is answered.

use std::cell::Cell;

use vtd_cache::{CachedContext, Caches, HandleCache, Lookup, Tag, Translation};
use vtd_memory::GuestMemory;
use vtd_spec::planted::is_planted;
use vtd_spec::table::{self, ContextEntry, LegacyContextEntry, LegacyTranslation, PageSize};
use vtd_spec::{AddressType, FaultReason, FaultRecord, Gpa, Iova, Pasid, RequestKind, SourceId};
use vtd_walk::{
    Access, Fault, Granted, PasidLookup, RootTable, TableUpdates, Translated, read_context,
    read_legacy_context, read_pasid, translate, translate_legacy,
};

use crate::DmaError;
use crate::ats::{admit, admit_legacy, widened};
use crate::device::Device;
use crate::protected_memory::{ProtectedMemoryRegisters, ProtectedRegions};
use crate::shared::Shared;

/// Whether and how requests are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// TES is 0.
    Off,
    /// TES is 1.
    On(RootTable),
}

/// What requests are answered from.
#[derive(Debug)]
pub(crate) struct Translator {
    pub(crate) mode: Mode,
    pub(crate) caches: Caches,
    /// What no DMA reaches, whether it is translated or not.
    pub(crate) protected: ProtectedRegions,
}

/// A request without its device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) pasid: Option<Pasid>,
    pub(crate) iova: Iova,
    pub(crate) access: Access,
    /// Whether this is to be translated for its device to go on with, or a translation request.
    pub(crate) address_type: AddressType,
}

impl Shared {
    /// Answers an untranslated request and records its fault.
    pub(crate) fn translate(
        &self,
        device: &Device,
        request: Request,
    ) -> Result<Translated, DmaError> {
        let answer = self.answer(device, request);
        let answer = answer.and_then(|translated| self.admit(translated));
        if let Err(DmaError::Fault(fault)) = &answer {
            self.record_fault_of(device, request, fault);
        }
        answer
    }

    /// Looks up for a handle what its requests go through, under the lock for once; whether all of it is cached.
    pub(crate) fn resolve(
        &self,
        device: &Device,
        cache: &HandleCache,
        protected: &Cell<ProtectedRegions>,
    ) -> bool {
        let mut translator = self.translator();
        let untranslated = match translator.mode {
            _ if device.is_released() => None,
            Mode::Off => cache.pasid().is_none().then_some(true),
            Mode::On(RootTable::Legacy(_) | RootTable::Scalable(_)) => Some(false),
            Mode::On(RootTable::Abort | RootTable::Unusable) => None,
        };
        let caches = &mut translator.caches;
        let resolution = untranslated.and_then(|untranslated| caches.resolve(cache, untranslated));
        cache.resolve(resolution);
        protected.set(translator.protected);
        resolution.is_some()
    }

    /// Records the fault of a request.
    pub(crate) fn record_fault_of(&self, device: &Device, request: Request, fault: &Fault) {
        let mut pasid = request.pasid;
        // Planted (row 10): directory and entry faults have no PASID, or the others have 16 bits of it.
        if is_planted(10) && (0x50..0x5c).contains(&fault.reason.code()) {
            pasid = None;
        } else if is_planted(110) {
            pasid = pasid.map(|pasid| Pasid::from_low_bits(u64::from(pasid.get() & 0xffff)));
        }
        let record = FaultRecord {
            address: request.iova.page().0,
            source_id: device.source_id(),
            pasid,
            reason: fault.reason,
            kind: request_kind(request.access, request.address_type),
            execute: request.access.execute,
            privileged: request.access.privileged,
            address_type: request.address_type,
        };
        self.record_fault(&record, fault);
    }

    /// Blocks what leads into a protected memory region, without a record. The guard that the request is part of was opened
    /// before this looks, so the end of a change of PMEN waits for those that still see what was before.
    pub(crate) fn admit(&self, translated: Translated) -> Result<Translated, DmaError> {
        if !ProtectedMemoryRegisters::exist(self.caps()) {
            return Ok(translated);
        }
        self.translator().protected.admit(translated).ok_or(DmaError::Blocked)
    }

    /// Answers an untranslated or a translation request, and records nothing.
    pub(crate) fn answer(&self, device: &Device, request: Request) -> Result<Translated, DmaError> {
        if device.is_released() {
            return Err(DmaError::Released);
        }
        // Taken together: what is walked under this mode must not be entered once the mode has changed.
        let (mode, lookup) = {
            let translator = self.translator();
            (translator.mode, translator.caches.begin())
        };
        // Planted: one after the other.
        let lookup = if is_planted(1004) { self.translator().caches.begin() } else { lookup };
        let is_untranslated = request.address_type == AddressType::Untranslated;
        let is_interrupt = is_untranslated && request.is_to_interrupts();
        match mode {
            // No DMA, so neither the abort mode nor an unusable root table concerns it.
            _ if is_interrupt && request.access.write => Err(DmaError::Interrupt),
            Mode::Off if request.pasid.is_some() || !is_untranslated => Err(DmaError::Blocked),
            Mode::Off if is_interrupt => Err(DmaError::Interrupt),
            Mode::Off => Ok(untranslated(request.iova)),
            Mode::On(RootTable::Abort) => Err(DmaError::Blocked),
            Mode::On(RootTable::Unusable) => fault(FaultReason::RootTablePointer),
            Mode::On(RootTable::Legacy(_)) if request.pasid.is_some() => {
                fault(FaultReason::PasidUnderLegacy)
            }
            Mode::On(RootTable::Legacy(_)) if is_interrupt => {
                fault(FaultReason::LegacyInterruptRange)
            }
            Mode::On(RootTable::Scalable(_)) if is_interrupt => fault(FaultReason::InterruptRange),
            Mode::On(RootTable::Legacy(root)) => self.answer_legacy(device, request, root, lookup),
            Mode::On(RootTable::Scalable(root)) => {
                self.answer_scalable(device, request, root, lookup)
            }
        }
    }

    fn answer_legacy(
        &self,
        device: &Device,
        request: Request,
        root: Gpa,
        lookup: Lookup,
    ) -> Result<Translated, DmaError> {
        let cached = {
            let mut translator = self.translator();
            let caches = &mut translator.caches;
            let cached = match caches.context(device.id.key()) {
                Some(CachedContext::Legacy(context, tag)) => Some((context, Some(tag))),
                Some(CachedContext::Scalable(_)) | None => None,
            };
            if let Some((context, _)) = &cached {
                admit_legacy(context, &request)?;
            }
            if let Some((context, Some(tag))) = &cached
                && is_walked_legacy(context)
                && let Some(found) = caches.translation(*tag, request.iova, request.access)
            {
                let found = found.at(request.iova);
                let reason = FaultReason::LegacyInterruptRange;
                return Ok(outside_interrupts(found, reason, context.fpd)?);
            }
            cached
        };
        self.with_memory(|memory| {
            let caps = self.caps();
            let (context, tag) = match cached {
                Some(cached) => cached,
                None => {
                    let context = read_legacy_context(memory, caps, root, device.source_id())?;
                    admit_legacy(&context, &request)?;
                    let caches = &mut self.translator().caches;
                    if is_walked_legacy(&context) {
                        caches.miss_translation();
                    }
                    (context, caches.fill_legacy(lookup, device.id.key(), context))
                }
            };
            let updates = TableUpdates::Made;
            let translated =
                translate_legacy(memory, caps, &context, request.iova, request.access, updates)
                    .map_err(|reason| Fault { reason, fpd: context.fpd, field: "" })?;
            if let Some(tag) = tag
                && is_walked_legacy(&context)
            {
                self.fill(lookup, tag, &request, translated);
            }
            Ok(translated)
        })
    }

    fn answer_scalable(
        &self,
        device: &Device,
        request: Request,
        root: Gpa,
        lookup: Lookup,
    ) -> Result<Translated, DmaError> {
        let key = device.id.key();
        let caps = self.caps();
        let context = self.scalable_context(device, root, lookup)?;
        admit(&context, &request)?;
        let (pasid, request) = effective(&context, request)?;
        let cached = {
            let caches = &mut self.translator().caches;
            let cached = caches.pasid(key, pasid);
            if let Some(cached) = cached
                && is_walked(&cached.lookup)
                && let Some(found) = caches.translation(cached.tag, request.iova, request.access)
            {
                let found = found.at(request.iova);
                let reason = FaultReason::InterruptRange;
                return Ok(outside_interrupts(found, reason, cached.lookup.fpd)?);
            }
            cached.map(|cached| (cached.lookup, Some(cached.tag)))
        };
        self.with_memory(|memory| {
            let (found, tag) = match cached {
                Some(cached) => cached,
                None => {
                    let found = read_pasid(memory, caps, &context, pasid)?;
                    let caches = &mut self.translator().caches;
                    if is_walked(&found) {
                        caches.miss_translation();
                    }
                    (found, caches.fill_pasid(lookup, key, pasid, found))
                }
            };
            let updates = TableUpdates::Made;
            let translated =
                translate(memory, caps, &found.entry, request.iova, request.access, updates)
                    .map_err(|reason| Fault { reason, fpd: found.fpd, field: "" })?;
            if !is_walked(&found) && request.address_type == AddressType::TranslationRequest {
                return Ok(widened(caps, translated));
            }
            if let Some(tag) = tag
                && is_walked(&found)
            {
                self.fill(lookup, tag, &request, translated);
            }
            Ok(translated)
        })
    }

    /// The scalable-mode context entry of a device, from the cache or from its table.
    pub(crate) fn scalable_context(
        &self,
        device: &Device,
        root: Gpa,
        lookup: Lookup,
    ) -> Result<ContextEntry, Fault> {
        let (key, caps) = (device.id.key(), self.caps());
        let cached = self.translator().caches.context(key);
        if let Some(CachedContext::Scalable(context)) = cached {
            return Ok(context);
        }
        let context =
            self.with_memory(|memory| read_context(memory, caps, root, device.source_id()))?;
        self.translator().caches.fill_context(lookup, key, context);
        Ok(context)
    }

    /// The legacy-mode context entry of a device, from the cache or from its table.
    pub(crate) fn legacy_context(
        &self,
        device: &Device,
        root: Gpa,
        lookup: Lookup,
    ) -> Result<LegacyContextEntry, Fault> {
        let (key, caps) = (device.id.key(), self.caps());
        let cached = self.translator().caches.context(key);
        if let Some(CachedContext::Legacy(context, _)) = cached {
            return Ok(context);
        }
        let context =
            self.with_memory(|memory| read_legacy_context(memory, caps, root, device.source_id()))?;
        self.translator().caches.fill_legacy(lookup, key, context);
        Ok(context)
    }

    /// Whether an entry on the way of a request has FPD set, as the guest's tables stand: for faults that somebody else found.
    pub(crate) fn has_fpd(&self, source_id: SourceId, pasid: Option<Pasid>) -> bool {
        let Mode::On(root) = self.translator().mode else { return false };
        let caps = self.caps();
        let read = self.with_memory(|memory| match root {
            RootTable::Legacy(root) => {
                read_legacy_context(memory, caps, root, source_id).map(|context| context.fpd)
            }
            RootTable::Scalable(root) => {
                read_context(memory, caps, root, source_id).and_then(|context| {
                    let pasid = pasid.unwrap_or(context.rid_pasid);
                    read_pasid(memory, caps, &context, pasid).map(|found| found.fpd)
                })
            }
            RootTable::Abort | RootTable::Unusable => Ok(false),
        });
        read.unwrap_or_else(|fault| fault.fpd)
    }

    fn fill(&self, lookup: Lookup, tag: Tag, request: &Request, translated: Translated) {
        let translation = Translation::from(translated);
        let caches = &mut self.translator().caches;
        caches.fill_translation(lookup, tag, request.iova, request.access, translation);
    }

    /// Runs a walk with the memory map held still.
    pub(crate) fn with_memory<T>(&self, walk: impl FnOnce(&dyn GuestMemory) -> T) -> T
    where
        T: WalkResult,
    {
        let mut walk = Some(walk);
        let mut result = None;
        self.config.memory.with_snapshot(&mut |memory| {
            if let Some(walk) = walk.take() {
                result = Some(walk(memory));
            }
        });
        result.unwrap_or_else(T::unreachable_memory)
    }
}

/// What a walk is if a `GuestMemory` breaks its contract and never calls back: as if nothing could be read.
pub(crate) trait WalkResult {
    fn unreachable_memory() -> Self;
}

impl<T, E: From<Fault>> WalkResult for Result<T, E> {
    fn unreachable_memory() -> Self {
        Err(Fault::new(FaultReason::RootAccess).into())
    }
}

impl Request {
    /// Whether this would be an interrupt request on the bus: its address lies in the range of those and it has no PASID.
    pub(crate) fn is_to_interrupts(&self) -> bool {
        self.pasid.is_none() && self.iova.is_interrupt()
    }
}

/// What a fault record calls a request. A translation request is a read on the bus, whatever is to be done with the translation.
pub(crate) fn request_kind(access: Access, address_type: AddressType) -> RequestKind {
    if access.write && address_type != AddressType::TranslationRequest {
        RequestKind::Write
    } else {
        RequestKind::Read
    }
}

/// Which PASID a request uses, and with what privilege.
fn effective(context: &ContextEntry, request: Request) -> Result<(Pasid, Request), Fault> {
    match request.pasid {
        // Planted (row 6): PASIDE is ignored.
        Some(_) if !context.pasids && !is_planted(106) => {
            Err(Fault { reason: FaultReason::PasidDisabled, fpd: context.fpd, field: "PASIDE" })
        }
        Some(pasid) => Ok((pasid, request)),
        None => {
            let access = match context.rid_privileged {
                true => request.access.with_privilege(),
                false => request.access.without_privilege(),
            };
            Ok((context.rid_pasid, Request { access, ..request }))
        }
    }
}

/// A large page may cover the interrupt range, so a hit is looked at again.
fn outside_interrupts(
    found: Translated,
    reason: FaultReason,
    fpd: bool,
) -> Result<Translated, Fault> {
    match found.address.is_interrupt() {
        true => Err(Fault { reason, fpd, field: "" }),
        false => Ok(found),
    }
}

/// Whether translations through an entry come from a page walk, and so are worth a place in the IOTLB.
fn is_walked(found: &PasidLookup) -> bool {
    !matches!(found.entry.translation, table::Translation::PassThrough)
}

/// As [`is_walked`], for an entry of legacy mode.
fn is_walked_legacy(context: &LegacyContextEntry) -> bool {
    !matches!(context.translation, LegacyTranslation::PassThrough { .. })
}

pub(crate) fn untranslated(iova: Iova) -> Translated {
    Translated {
        page: Gpa(iova.page().0),
        size: PageSize::Size4K,
        address: Gpa(iova.0),
        granted: Granted::ALL,
        dirty: true,
        snoop: false,
    }
}

fn fault<T>(reason: FaultReason) -> Result<T, DmaError> {
    Err(DmaError::Fault(Fault::new(reason)))
}
