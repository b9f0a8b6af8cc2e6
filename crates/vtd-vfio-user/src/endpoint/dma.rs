//! The requests of an endpoint.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};
use vtd::spec::descriptor::{PageGroupResponse, ResponseCode};
use vtd::spec::{Gpa, Iova, PageRequest, Pasid, SourceId};
use vtd::{
    Access, DeviceId, DeviceTlbAnswer, DeviceTlbInvalidation, Endpoint, Granted, PageRequestError,
    TranslationRequest,
};

use super::Enabled;
use super::command::{Job, Kind};
use super::device_tlb::DeviceTlb;
use super::outcome::{Failure, Round};
use super::page_requests::PageGroups;
use crate::guest_map::GuestMap;
use crate::machine_unit::{MachineDma, MachineUnit};

/// How often a page is requested for one access.
const MOST_RETRIES: u64 = 16;
/// How often a translation is asked for again because it was invalidated before it could be used.
const MOST_TURNS: u32 = 1000;
const PAGE: u64 = 4096;

/// Makes the requests of an endpoint, and is what the unit calls.
pub(super) struct Requester {
    unit: MachineUnit,
    source_id: SourceId,
    device: OnceLock<DeviceId>,
    memory: GuestMap,
    pub(super) enabled: Enabled,
    /// Held to read while bytes are moved.
    moving: RwLock<()>,
    /// Held to read while a translation of it is used: an invalidation has been carried out when no request uses what it drops.
    tlb: RwLock<DeviceTlb>,
    groups: PageGroups,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    tlb_invalidations: AtomicU64,
    page_requests: AtomicU64,
    responses: AtomicU64,
    requests: AtomicU64,
}

/// What an endpoint has done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) tlb_entries: u32,
    pub(super) tlb_invalidations: u64,
    pub(super) page_requests: u64,
    pub(super) responses: u64,
    pub(super) requests: u64,
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Requester").field(&self.source_id).finish()
    }
}

/// Says whether a job is to end.
pub(super) type Stopped<'s> = &'s dyn Fn() -> bool;

impl Requester {
    pub(super) fn new(unit: MachineUnit, source_id: SourceId, memory: GuestMap) -> Self {
        Self {
            unit,
            source_id,
            device: OnceLock::new(),
            memory,
            enabled: Enabled::default(),
            moving: RwLock::default(),
            tlb: RwLock::default(),
            groups: PageGroups::default(),
            counts: Counts::default(),
        }
    }

    /// The unit has attached it.
    pub(super) fn attached(&self, device: DeviceId) {
        // It is attached once, when it is made.
        let _already = self.device.set(device);
    }

    pub(super) fn figures(&self) -> Figures {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            tlb_entries: u32::try_from(self.tlb().len()).unwrap_or(u32::MAX),
            tlb_invalidations: get(&self.counts.tlb_invalidations),
            page_requests: get(&self.counts.page_requests),
            responses: get(&self.counts.responses),
            requests: get(&self.counts.requests),
        }
    }

    pub(super) fn drop_translations(&self) {
        self.tlb().clear();
    }

    /// Waits until no request from before is moving bytes.
    pub(super) fn drain(&self) {
        drop(self.moving.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Nobody waits for page group responses any more.
    pub(super) fn give_up_page_requests(&self) {
        self.groups.give_up();
    }

    /// Does one round of a job. `number` counts rounds from 0.
    pub(super) fn round(
        &self,
        job: &Job,
        number: u64,
        stopped: Stopped<'_>,
        round: &mut Round,
    ) -> Result<(), Failure> {
        round.at = job.address;
        match job.kind {
            Kind::Untranslated { write } => {
                self.need(job, 0)?;
                let dma = self.dma(job.pasid)?;
                let access = access(job, write);
                self.move_pages(job, number, round, |at, most, step| {
                    self.untranslated(&dma, at, most, access, step)
                })
            }
            Kind::Translated { write } => {
                self.need(job, Enabled::ATS)?;
                let dma = Handles { own: self.dma(job.pasid)?, translated: self.dma(None)? };
                let mut retries = 0;
                let moved = self.move_pages(job, number, round, |at, most, step| {
                    self.through_tlb(job, &dma, at, most, write, stopped, step, &mut retries)
                });
                round.retries = retries;
                moved
            }
            Kind::Translate => self.translate(job, round),
            Kind::RequestPage => self.request_page(job, job.address, job.writable, stopped),
            Kind::DropTranslations => {
                match job.pasid {
                    Some(pasid) => self.tlb().forget(pasid),
                    None => self.tlb().clear(),
                }
                Ok(())
            }
        }
    }

    fn need(&self, job: &Job, bits: u8) -> Result<(), Failure> {
        let pasid = if job.pasid.is_some() { Enabled::PASID } else { 0 };
        match self.enabled.has(bits | pasid | Enabled::BUS_MASTER) {
            true => Ok(()),
            false => Err(Failure::NotEnabled),
        }
    }

    fn dma(&self, pasid: Option<Pasid>) -> Result<MachineDma, Failure> {
        let device = self.device.get().ok_or(Failure::Removed)?;
        self.unit.dma(*device, pasid).map_err(|_| Failure::Removed)
    }

    /// Moves the bytes of a job, a page at a time. `page` makes one request: it gets the address, the most bytes, and what
    /// moves them at an address of guest memory.
    fn move_pages(
        &self,
        job: &Job,
        number: u64,
        round: &mut Round,
        mut page: impl FnMut(u64, u64, &mut Step<'_>) -> Result<u64, Failure>,
    ) -> Result<(), Failure> {
        let pattern = job.pattern.wrapping_add(number);
        let length = u64::from(job.length);
        let write = matches!(
            job.kind,
            Kind::Untranslated { write: true } | Kind::Translated { write: true }
        );
        loop {
            let at = job.address.wrapping_add(round.moved);
            round.at = at;
            let most = (length - round.moved).min(PAGE - at % PAGE);
            let mut sum = 0;
            self.counts.requests.fetch_add(1, Ordering::Relaxed);
            let moved = page(at, most, &mut |address, length| {
                self.move_bytes(address, length, write.then_some(pattern), &mut sum)
            })?;
            round.value = round.value.wrapping_add(sum);
            round.moved += moved;
            if round.moved >= length {
                return Ok(());
            }
        }
    }

    fn untranslated(
        &self,
        dma: &MachineDma,
        at: u64,
        most: u64,
        access: Access,
        step: &mut Step<'_>,
    ) -> Result<u64, Failure> {
        dma.with_guard(|guard| {
            let found = guard.translate(Iova(at), access)?;
            let length = most.min(found.contiguous());
            step(found.address(), length)?;
            Ok(length)
        })
    }

    #[allow(clippy::too_many_arguments, reason = "what a request is made of")]
    fn through_tlb(
        &self,
        job: &Job,
        dma: &Handles,
        at: u64,
        most: u64,
        write: bool,
        stopped: Stopped<'_>,
        step: &mut Step<'_>,
        retries: &mut u64,
    ) -> Result<u64, Failure> {
        let access = access(job, write);
        let request = translation_request(job, write);
        let mut left = MOST_RETRIES;
        for _turn in 0..MOST_TURNS {
            // Translated requests have no PASID on the bus, so the guard is one of the device without. It does not keep invalidations
            // away that were fetched before it was opened; the lock does, from the look-up to the last byte.
            let used = dma.translated.with_guard(|guard| {
                let tlb = self.tlb.read().unwrap_or_else(PoisonError::into_inner);
                let found = tlb.look_up(job.pasid, job.privileged, at);
                let usable = found.filter(|(_, found)| allows(found.granted, access));
                let Some((address, found)) = usable else { return Ok(None) };
                let address = guard.translated(Gpa(address), access)?;
                let length = most.min(found.size - at % found.size);
                step(address, length)?;
                Ok::<_, Failure>(Some(length))
            })?;
            if let Some(length) = used {
                return Ok(length);
            }
            let granted = dma.own.with_guard(|guard| {
                let completion = guard.translation_request(Iova(at), request)?;
                self.tlb().insert(job.pasid, at, completion);
                Ok::<_, Failure>(completion.granted)
            })?;
            if allows(granted, access) {
                continue;
            }
            if !job.page_requests || left == 0 {
                return Err(Failure::NotGranted);
            }
            left -= 1;
            self.request_page(job, at, write, stopped)?;
            *retries += 1;
        }
        Err(Failure::NotGranted)
    }

    fn translate(&self, job: &Job, round: &mut Round) -> Result<(), Failure> {
        self.need(job, Enabled::ATS)?;
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let completion = self.dma(job.pasid)?.with_guard(|guard| {
            let completion = guard
                .translation_request(Iova(job.address), translation_request(job, job.writable))?;
            self.tlb().insert(job.pasid, job.address, completion);
            Ok::<_, Failure>(completion)
        })?;
        if !completion.grants_any() {
            return Err(Failure::NotGranted);
        }
        round.value = completion.page.0 + job.address % completion.size;
        let bits = [
            completion.granted.read,
            completion.granted.write,
            completion.granted.execute,
            completion.privileged,
            completion.untranslated_only,
        ];
        let bits = bits.iter().rev().fold(0, |word, bit| word << 1 | u64::from(*bit));
        round.moved = completion.size | bits;
        Ok(())
    }

    /// Asks for a page and waits for the answer.
    fn request_page(
        &self,
        job: &Job,
        at: u64,
        write: bool,
        stopped: Stopped<'_>,
    ) -> Result<(), Failure> {
        self.need(job, Enabled::PRI)?;
        let device = self.device.get().ok_or(Failure::Removed)?;
        let group_index = self.groups.open().ok_or(Failure::PageRequestFailed)?;
        let request = PageRequest {
            source_id: self.source_id,
            pasid: job.pasid,
            address: Iova(at).page(),
            read: true,
            write,
            execute: job.execute && job.pasid.is_some(),
            privileged: job.privileged && job.pasid.is_some(),
            last_in_group: true,
            group_index,
        };
        self.counts.page_requests.fetch_add(1, Ordering::Relaxed);
        let sent = loop {
            match self.unit.page_request(*device, request) {
                Err(PageRequestError::Busy) if !stopped() => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                sent => break sent,
            }
        };
        if let Err(error) = sent {
            self.groups.close(group_index);
            return Err(match error {
                PageRequestError::Fault(fault) => Failure::Fault(fault.reason.code()),
                PageRequestError::UnknownDevice(_) => Failure::Removed,
                PageRequestError::Blocked => Failure::Blocked,
                _ => Failure::PageRequestFailed,
            });
        }
        match self.groups.wait(group_index) {
            _ if stopped() => Err(Failure::Stopped),
            Some(ResponseCode::Success) => Ok(()),
            Some(code) => Err(Failure::of_response(code)),
            None => Err(Failure::PageRequestFailed),
        }
    }

    /// Writes a pattern, or adds up what is read.
    fn move_bytes(
        &self,
        address: Gpa,
        length: u64,
        pattern: Option<u64>,
        sum: &mut u64,
    ) -> Result<(), Failure> {
        let _moving = self.moving.read().unwrap_or_else(PoisonError::into_inner);
        if !self.enabled.has(Enabled::BUS_MASTER) {
            return Err(Failure::NotEnabled);
        }
        let memory = self.memory.memory().memory();
        let memory: &GuestMemoryMmap = &memory;
        let mut page = [0; 4096];
        let bytes = usize::try_from(length).ok().and_then(|length| page.get_mut(..length));
        let bytes = bytes.ok_or(Failure::NoMemory)?;
        let (words, _) = bytes.as_chunks_mut::<8>();
        match pattern {
            Some(pattern) => {
                words.fill(pattern.to_le_bytes());
                memory.write_slice(bytes, GuestAddress(address.0))
            }
            None => {
                let read = memory.read_slice(bytes, GuestAddress(address.0));
                let (words, _) = bytes.as_chunks::<8>();
                let words = words.iter().map(|word| u64::from_le_bytes(*word));
                *sum = words.fold(0, u64::wrapping_add);
                read
            }
        }
        .map_err(|_| Failure::NoMemory)
    }

    /// The device TLB, to change it.
    fn tlb(&self) -> RwLockWriteGuard<'_, DeviceTlb> {
        self.tlb.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handles of a device for requests with the job's PASID, and for translated ones.
struct Handles {
    own: MachineDma,
    translated: MachineDma,
}

/// Moves bytes at an address of guest memory.
type Step<'s> = dyn FnMut(Gpa, u64) -> Result<(), Failure> + 's;

fn access(job: &Job, write: bool) -> Access {
    let access = match (write, job.length) {
        (true, _) => Access::WRITE,
        (false, 0) => Access::ZERO_LENGTH_READ,
        (false, _) => Access::READ,
    };
    let access = if job.execute && !write { access.executing() } else { access };
    if job.privileged { access.with_privilege() } else { access.without_privilege() }
}

fn translation_request(job: &Job, write: bool) -> TranslationRequest {
    let request = match write {
        true => TranslationRequest::READ_WRITE,
        false => TranslationRequest::READ,
    };
    let request = if job.execute { request.executing() } else { request };
    if job.privileged { request.with_privilege() } else { request }
}

fn allows(granted: Granted, access: Access) -> bool {
    (granted.read || access.write)
        && (granted.write || !access.write)
        && (granted.execute || !access.execute)
}

impl Endpoint for Requester {
    fn invalidate_device_tlb(&self, invalidation: &DeviceTlbInvalidation) -> DeviceTlbAnswer {
        self.counts.tlb_invalidations.fetch_add(1, Ordering::Relaxed);
        self.tlb().invalidate(invalidation.pasids, invalidation.pages);
        DeviceTlbAnswer::Done
    }

    fn page_group_response(&self, response: &PageGroupResponse) {
        self.counts.responses.fetch_add(1, Ordering::Relaxed);
        let _unexpected = self.groups.answer(response);
    }
}
