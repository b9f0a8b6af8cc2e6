//! What an invalidation covers: no more than the architecture has every unit drop.

use vtd::spec::DomainId;
use vtd::spec::SourceId;
use vtd::spec::descriptor::{
    ContextCacheInvalidation, Descriptor, IotlbScope, PageRange, PasidCacheInvalidation,
    PasidIotlbInvalidation,
};

use super::pages::{Page, Reach, places_within};
use super::tables::SeenTables;
use super::told::{Invalidation, Told};
use super::versions::Times;
use crate::plain_walk::Context;

/// When something was read itself.
fn own(times: &Times) -> u64 {
    times.own
}

impl SeenTables {
    /// The guest is told that something is invalid.
    pub(super) fn forget(&mut self, told: &Told) {
        match &told.what {
            Invalidation::RootTable => {
                let root = |times: &Times| times.root;
                self.contexts.forget(told, root, .., |_, _| true);
                self.entries.forget(told, root, .., |_, _| true);
                self.pages.forget(told, root, .., |_, _| true);
            }
            Invalidation::Descriptor(Descriptor::ContextCache(invalidation)) => {
                self.forget_devices(told, invalidation);
            }
            Invalidation::Descriptor(Descriptor::PasidCache(invalidation)) => {
                self.entries.forget(told, own, .., |(_, held), entry| match *invalidation {
                    PasidCacheInvalidation::Global => true,
                    PasidCacheInvalidation::Domain(domain) => entry.domain() == domain,
                    PasidCacheInvalidation::Pasid { domain, pasid } => {
                        (entry.domain(), *held) == (domain, pasid)
                    }
                });
            }
            Invalidation::Descriptor(Descriptor::Iotlb(invalidation)) => match invalidation.scope {
                IotlbScope::Global => self.pages.forget(told, own, .., |_, _| true),
                IotlbScope::Domain(domain) => {
                    self.pages.forget(told, own, .., |_, page| page.domain == domain);
                }
                IotlbScope::Pages { domain, pages } => {
                    self.forget_second_stage(told, domain, pages.range());
                }
            },
            Invalidation::Descriptor(Descriptor::PasidIotlb(invalidation)) => {
                self.forget_first_stage(told, invalidation);
            }
            Invalidation::Descriptor(_) => {}
        }
    }

    /// Context entries, and with them all PASID-table entries of the devices: in scalable mode Linux tells of nothing else when it
    /// takes a device away.
    fn forget_devices(&mut self, told: &Told, invalidation: &ContextCacheInvalidation) {
        let names = |source_id: SourceId| match invalidation {
            ContextCacheInvalidation::Global => true,
            // No domain is in a context entry of scalable mode, so that it names none there.
            ContextCacheInvalidation::Domain(_) => false,
            ContextCacheInvalidation::Device { source_id: named, function_mask, .. } => {
                function_mask.matches(source_id, *named)
            }
        };
        self.contexts.forget(told, own, .., |source_id, context| match (context, invalidation) {
            (Context::Legacy(context), ContextCacheInvalidation::Domain(domain)) => {
                context.domain == *domain
            }
            (Context::Legacy(context), ContextCacheInvalidation::Device { domain, .. }) => {
                names(*source_id) && context.domain == *domain
            }
            _ => names(*source_id),
        });
        // What was read since by way of a context entry that goes, goes with it.
        let context = |times: &Times| times.context;
        self.entries.forget(told, context, .., |(source_id, _), _| names(*source_id));
    }

    /// Type 2 by page: the pages are those of the second stage, whether they are what requests name or what a first stage leads to.
    fn forget_second_stage(&mut self, told: &Told, domain: DomainId, range: PageRange) {
        let covers = |page: &Page| {
            let overlaps = match &page.reach {
                Reach::FirstStage => false,
                Reach::SecondStage => page.range().overlaps(range),
                Reach::Nested(pages) => pages.iter().any(|page| page.overlaps(range)),
            };
            page.domain == domain && overlaps
        };
        if self.has_nested {
            self.pages.forget(told, own, .., |_, page| covers(page));
            return;
        }
        let Some(largest) = self.largest else { return };
        for space in &self.spaces {
            self.pages
                .forget(told, own, places_within(*space, range, largest), |_, page| covers(page));
        }
    }

    /// Type 6: the first stage of a PASID, and nested translations by way of it.
    fn forget_first_stage(&mut self, told: &Told, invalidation: &PasidIotlbInvalidation) {
        let PasidIotlbInvalidation { domain, pasid, pages } = *invalidation;
        let range = pages.map_or(PageRange::EVERYTHING, |pages| pages.range());
        let Some(largest) = self.largest else { return };
        let spaces = self.spaces.iter().filter(|(_, own)| *own == Some(pasid));
        for space in spaces {
            self.pages.forget(told, own, places_within(*space, range, largest), |_, page| {
                let through = !matches!(page.reach, Reach::SecondStage);
                page.domain == domain && through && page.range().overlaps(range)
            });
        }
    }
}
