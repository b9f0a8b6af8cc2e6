//! Invalidation descriptors: fetched in order, carried out one at a time.

use vtd_cache::{
    Capacities, DeviceKey, DeviceScope, RangeRequest, Scope, ShadowScope, ShadowWalk, SlotScope,
    StageOneScope, StageOneWalk,
};
use vtd_host::{StageOneInvalidation, StageOneRange};
use vtd_spec::descriptor::{
    AddressMask, ContextCacheInvalidation, Descriptor, InterruptEntryCacheInvalidation,
    IotlbInvalidation, IotlbScope, PageRange, PasidCacheInvalidation, PasidIotlbInvalidation,
};
use vtd_spec::planted::is_planted;

use super::task::{Purpose, Source, Task, Work};
use super::{Engine, range_requests};
use crate::DiagnosticEvent;
use crate::device::Devices;
use crate::invalidation_queue::{InvalidationQueue, QueueStop};
use crate::shared::{Shared, count};

impl Engine {
    /// Fetches the next descriptor and carries it out, or begins to; what that takes from the budget, or `None` where nothing has
    /// changed.
    pub(super) fn serve_queue(&mut self, shared: &Shared) -> Option<u32> {
        // Planted (row 15): IQA as it is now, not as it was when the queue was enabled.
        if is_planted(15) && self.queue.is_some() {
            self.queue = Some(InvalidationQueue::new(shared.registers().queue_address()));
        }
        let queue = self.queue?;
        let begun = std::mem::take(&mut self.descriptor_begun);
        if (self.queue_closing && !begun) || self.wait.is_some() {
            return None;
        }
        let begun = begun.then_some(1);
        let (head, tail) = {
            let mut registers = shared.registers();
            let (head, stopped) = (registers.queue_head, registers.faults.stops_queue());
            let withdrawn = std::mem::take(&mut registers.tail_withdrawn);
            let passed = self.served.as_ref().is_some_and(|served| served.ends_at(head));
            // What was read ahead may be something else by now.
            if stopped || withdrawn || passed {
                self.served = None;
            }
            // What had begun before a time-out is carried to its end.
            if stopped && begun.is_none() {
                return None;
            }
            (head, registers.queue_tail())
        };
        let mut fetched = Ok(None);
        shared.config.memory.with_snapshot(&mut |memory| {
            fetched = queue.fetch(memory, shared.caps(), head, tail);
        });
        match fetched {
            Ok(None) => begun,
            Ok(Some(descriptor)) if self.is_held_back(shared, &descriptor) => begun,
            Ok(Some(descriptor)) => {
                if let Some(observer) = &shared.config.observer {
                    observer.descriptor(head, &descriptor);
                }
                self.carry_out(shared, &descriptor);
                Some(cost(&descriptor, &shared.config.capacities))
            }
            Err(stop) => {
                self.served = None;
                count(&shared.figures.queue_errors);
                if let Some(observer) = &shared.config.observer {
                    observer.queue_error(head, &stop.why);
                }
                // Planted (78): IQH moves past what has stopped the queue.
                if is_planted(78) {
                    self.advance_head(shared);
                }
                let message = shared.registers().stop_queue(stop.info);
                if let Some(message) = message {
                    shared.send(message);
                }
                let QueueStop { info, why, descriptor } = stop;
                shared.diagnose(DiagnosticEvent::QueueStopped {
                    offset: head,
                    info,
                    descriptor,
                    why,
                });
                begun
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
                // Planted (56): a wait is over when it is fetched.
                if is_planted(56) {
                    self.wait = None;
                    self.complete_wait(shared, wait);
                }
            }
            Descriptor::DeviceTlb(_) | Descriptor::PasidDeviceTlb(_) => {
                self.invalidate_device_tlb(shared, descriptor);
            }
            Descriptor::PageGroupResponse(response) => self.respond_to_page_group(shared, response),
            Descriptor::InterruptEntryCache(invalidation) => {
                self.invalidate_interrupts(shared, *invalidation);
            }
        }
    }

    /// A context-cache invalidation: PASID state of the devices goes with it, and their bindings are reconciled.
    pub(super) fn invalidate_contexts(
        &mut self,
        shared: &Shared,
        invalidation: &ContextCacheInvalidation,
        purpose: Purpose,
    ) {
        let request = range_requests::of_contexts(invalidation);
        match Scope::from(request).devices {
            DeviceScope::All => shared.translator().caches.invalidate_all(),
            devices => {
                let keys: Vec<_> = shared
                    .devices()
                    .iter()
                    .filter(|device| devices.contains(device.id.key(), device.source_id()))
                    .map(|device| device.id.key())
                    .collect();
                // Planted (62): a context-cache invalidation of a device leaves what is cached of it.
                if !is_planted(62) {
                    shared.translator().caches.invalidate_devices(keys.into_iter());
                }
            }
        }
        match purpose {
            Purpose::Descriptor => self.serve_range(shared, request),
            _ => self.begin(purpose, request.into(), Source::Guest),
        }
    }

    fn invalidate_pasids(&mut self, shared: &Shared, invalidation: PasidCacheInvalidation) {
        let request = range_requests::of_pasids(&invalidation);
        let scope = match invalidation {
            PasidCacheInvalidation::Global => {
                shared.translator().caches.invalidate_all();
                Scope::everything()
            }
            PasidCacheInvalidation::Domain(domain) => {
                shared.translator().caches.invalidate_pasid_domain(domain);
                RangeRequest::Domain(domain).into()
            }
            PasidCacheInvalidation::Pasid { domain, pasid } => {
                let devices = shared.devices();
                shared.translator().caches.invalidate_pasid(pasid, emulated(&devices));
                let slots = SlotScope::Pasids(pasid.get()..pasid.get() + 1);
                Scope { devices: DeviceScope::All, slots, domain: Some(domain) }
            }
        };
        // Planted (row 29): the descriptor counts as done, and what is behind it is taken up before the host is called.
        if is_planted(29) {
            self.begin(Purpose::Restore, scope, Source::Guest);
            self.advance_head(shared);
            let _cost = self.serve_queue(shared);
            return;
        }
        match request {
            Some(request) => self.serve_range(shared, request),
            None => self.begin(Purpose::Descriptor, scope, Source::Guest),
        }
    }

    pub(super) fn invalidate_iotlb(
        &mut self,
        shared: &Shared,
        scope: IotlbScope,
        purpose: Purpose,
    ) {
        let mut translator = shared.translator();
        let caches = &mut translator.caches;
        let (shadowed, reached) = match scope {
            IotlbScope::Global => {
                caches.invalidate_translations();
                (ShadowScope::All, Some(StageOneScope::All))
            }
            IotlbScope::Domain(domain) => {
                caches.invalidate_translation_domain(domain);
                (ShadowScope::Domain(domain), Some(StageOneScope::Domain(domain)))
            }
            IotlbScope::Pages { domain, pages } => {
                let range = pages.range();
                caches.invalidate_domain_pages(domain, range.first(), range.last());
                // By page it concerns second-stage tables alone.
                (ShadowScope::Pages(domain, range.first(), range.last()), None)
            }
        };
        drop(translator);
        match reached {
            _ if self.ledger.has_shadows() => {
                self.supersede(purpose);
                let work = Work::Shadow(ShadowWalk::new(shadowed), reached);
                // Planted (row 29): the descriptor counts as done, and what is behind it is taken up before the host is called.
                if is_planted(429) {
                    self.tasks.push(Task { purpose: Purpose::Restore, work });
                    self.advance_head(shared);
                    let _cost = self.serve_queue(shared);
                    return;
                }
                self.tasks.push(Task { purpose, work });
            }
            Some(scope) => self.begin_stage_one(scope, StageOneInvalidation::EVERYTHING, purpose),
            None => self.finish(shared, purpose),
        }
    }

    fn invalidate_pasid_iotlb(&mut self, shared: &Shared, invalidation: &PasidIotlbInvalidation) {
        let PasidIotlbInvalidation { domain, pasid, pages } = *invalidation;
        let range = pages.map(AddressMask::range);
        // Planted (row 18): an assertion on what the guest controls.
        assert!(!is_planted(18) || pasid.get() >> 19 == 0, "no guest uses so many PASIDs");
        // Planted (row 4): the number of pages is a shift of 32 bits.
        let last = |range: PageRange| match pages {
            Some(pages) if is_planted(4) => {
                range.first() + u64::from(1_u32.wrapping_shl(u32::from(pages.mask)) - 1)
            }
            _ => range.last(),
        };
        let devices = shared.devices();
        shared.translator().caches.invalidate_pasid_translations(
            domain,
            pasid,
            range.map(|range| (range.first(), last(range))),
            emulated(&devices),
        );
        drop(devices);
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
        self.supersede(purpose);
        let work = Work::StageOne(StageOneWalk::new(scope), invalidation);
        self.tasks.push(Task { purpose, work });
    }
}

/// What a descriptor takes from the budget before its task, if it has one, begins: more where it scans a cache.
fn cost(descriptor: &Descriptor, capacities: &Capacities) -> u32 {
    let scanned = match descriptor {
        Descriptor::Iotlb(IotlbInvalidation { scope: IotlbScope::Pages { pages, .. }, .. }) => {
            capacities.pasids as u64 + pages.range().pages().min(capacities.translations as u64)
        }
        Descriptor::PasidIotlb(PasidIotlbInvalidation { pages: Some(pages), .. }) => {
            pages.range().pages().min(capacities.translations as u64)
        }
        Descriptor::InterruptEntryCache(
            indices @ InterruptEntryCacheInvalidation::Indices { .. },
        ) => (indices.indices().len() as u64).min(capacities.interrupt_entries as u64),
        _ => 0,
    };
    // A place in a cache is looked at in a fraction of the time that an entry in guest memory takes.
    u32::try_from(scanned / 64).unwrap_or(u32::MAX).saturating_add(1)
}

/// The devices that may have something in the caches.
fn emulated(devices: &Devices) -> impl Iterator<Item = DeviceKey> {
    devices.iter().filter(|device| device.is_emulated()).map(|device| device.id.key())
}
