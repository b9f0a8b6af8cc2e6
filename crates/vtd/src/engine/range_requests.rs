//! Invalidations over many bindings: one walk for all of them that are in the queue when it begins.
//!
//! A *range request* is a descriptor that has more than one PASID reconciled: PASID-cache invalidations but by PASID, and
//! context-cache invalidations. When one is to begin its walk, the engine reads ahead from it to the tail as it is now, whatever
//! stands between, and the walk is over the union of all range requests there. It then carries out descriptors in order as ever: each
//! drops what it drops from the caches, is told to the observer and counted at its turn; a range request that the walk has served is
//! done with that, and waits complete after the walk since they are behind the request that began it.
//!
//! Why that is right: an invalidation promises what was in the tables when the tail was moved past it, and the walk begins later. What
//! the tables say after that may be seen or not, as if the walk had been at the turn of the descriptor and the change behind it. The walk makes
//! the calls that one walk for each would: a pair is compared if any of the requests takes it, and once it is compared there is nothing
//! left for another. A call that the host refuses is not tried again by the requests that the same walk has served.
//!
//! So a guest that fills its queue with range requests has one walk done for all that were there when it began, and one for what it adds
//! meanwhile. Reading ahead takes one descriptor from the budget each, goes through the queue once at most, and ends early where nothing
//! can be added. Nothing of it is saved: the descriptor at the head is fetched again by a unit that is restored, and walks are idempotent.
//! Invalidations of translations (types 2 and 6) are not joined: each has the host drop what it names, and shadows compared.

use vtd_cache::{RangeRequest, RangeRequests, Reconciliation};
use vtd_spec::descriptor::{ContextCacheInvalidation, Descriptor, PasidCacheInvalidation};

use super::Engine;
use super::task::{Purpose, Source, Task, Work};
use crate::invalidation_queue::InvalidationQueue;
use crate::shared::Shared;

/// The queue being read ahead of the head, for a walk that is to begin.
#[derive(Clone, Debug)]
pub(super) struct LookAhead {
    queue: InvalidationQueue,
    /// The descriptor to be read next.
    next: u64,
    /// The tail as it was when this began, or what cannot be decoded.
    until: u64,
    requests: RangeRequests,
}

/// Range requests that a walk has served, or is serving, and whose turn has not come.
#[derive(Debug)]
pub(super) struct Served {
    /// The first place of the queue that was not read ahead.
    until: u64,
    requests: RangeRequests,
}

impl Served {
    /// Whether the head has come to what was not read ahead.
    pub(super) fn ends_at(&self, head: u64) -> bool {
        self.until == head
    }
}

impl LookAhead {
    fn is_over(&self) -> bool {
        self.next == self.until || self.requests.are_everything()
    }

    fn read(&mut self, shared: &Shared, budget: &mut u32) {
        shared.config.memory.with_snapshot(&mut |memory| {
            while *budget > 0 && !self.is_over() {
                *budget -= 1;
                let fetched = self.queue.fetch(memory, shared.caps(), self.next, self.until);
                // What stops the queue does so at its turn.
                let Ok(Some(descriptor)) = fetched else {
                    self.until = self.next;
                    return;
                };
                if let Some(request) = of_descriptor(&descriptor) {
                    self.requests.add(request);
                }
                self.next = self.queue.next(self.next);
            }
        });
    }

    /// The walk, and what it serves.
    fn end(&self) -> (Work, Served) {
        let Self { until, requests, .. } = self;
        let walk = Reconciliation::of_requests(requests.clone());
        let served = Served { until: *until, requests: requests.clone() };
        (Work::Reconcile(walk, Source::Guest), served)
    }
}

impl Engine {
    /// A range request at the head of the queue: it is done, or its walk begins.
    pub(super) fn serve_range(&mut self, shared: &Shared, request: RangeRequest) {
        // The guest may have written another descriptor than the one that was read ahead.
        if self.served.as_ref().is_some_and(|served| served.requests.cover(request)) {
            self.finish(shared, Purpose::Descriptor);
            return;
        }
        let Some(queue) = self.queue else { return };
        let (head, until) = {
            let registers = shared.registers();
            (registers.queue_head, registers.queue_tail())
        };
        let ahead = LookAhead { queue, next: queue.next(head), until, requests: request.into() };
        let mut work = Work::LookAhead(ahead);
        self.begin_walk_if_over(&mut work);
        self.tasks.push(Task { purpose: Purpose::Descriptor, work });
    }

    /// Reads on ahead of the head; then the walk takes the place of this.
    pub(super) fn look_ahead(&mut self, shared: &Shared, work: &mut Work, budget: &mut u32) {
        if let Work::LookAhead(ahead) = work {
            ahead.read(shared, budget);
        }
        self.begin_walk_if_over(work);
    }

    fn begin_walk_if_over(&mut self, work: &mut Work) {
        if let Work::LookAhead(ahead) = work
            && ahead.is_over()
        {
            let (walk, served) = ahead.end();
            self.served = Some(served);
            *work = walk;
        }
    }
}

/// What a descriptor asks to be reconciled, if it is more than one PASID.
fn of_descriptor(descriptor: &Descriptor) -> Option<RangeRequest> {
    match descriptor {
        Descriptor::ContextCache(invalidation) => Some(of_contexts(invalidation)),
        Descriptor::PasidCache(invalidation) => of_pasids(invalidation),
        _ => None,
    }
}

pub(super) fn of_contexts(invalidation: &ContextCacheInvalidation) -> RangeRequest {
    match invalidation {
        // By domain it is global: a context entry of scalable mode has no domain, and more may always go.
        ContextCacheInvalidation::Global | ContextCacheInvalidation::Domain(_) => {
            RangeRequest::Everything
        }
        ContextCacheInvalidation::Device { source_id, function_mask, .. } => {
            let ignored = function_mask.ignored_bits();
            RangeRequest::Requesters { source_id: *source_id, ignored }
        }
    }
}

pub(super) fn of_pasids(invalidation: &PasidCacheInvalidation) -> Option<RangeRequest> {
    match invalidation {
        PasidCacheInvalidation::Global => Some(RangeRequest::Everything),
        PasidCacheInvalidation::Domain(domain) => Some(RangeRequest::Domain(*domain)),
        PasidCacheInvalidation::Pasid { .. } => None,
    }
}
